from math import inf, isnan, nan

import numpy as np
import pytest

from wm_agents.errors import ConfigError
from wm_agents.evaluation.thresholds import (
    CensoredMedian,
    CensoredTimes,
    LearningCurve,
    median_steps,
    steps_to_threshold,
    threshold_ratio,
)


def times(values, censored=()):
    return CensoredTimes(np.array(values, dtype=float), np.isin(np.arange(len(values)), censored))


def test_steps_to_threshold_by_hand():
    curves = [
        [0.1, 0.9, 0.2, 0.9, 0.95],
        [0.0, 0.1, 0.2, 0.3, 0.89],
        [0.9, 0.9, 0.9, 0.9, 0.9],
        [-inf] * 5,
    ]
    found = steps_to_threshold(curves, [10, 20, 30, 40, 50], 0.9)
    assert found.times.tolist() == [20, 50, 10, 50]
    assert found.is_censored.tolist() == [False, True, False, True]
    assert found.num_censored == 2


def test_a_sustained_threshold_ignores_a_lucky_evaluation():
    curves = [[0.1, 0.9, 0.2, 0.9, 0.95], [0.1, 0.1, 0.1, 0.1, 0.9]]
    found = steps_to_threshold(curves, [10, 20, 30, 40, 50], 0.9, sustain=2)
    # The second run reaches it at its last evaluation only, which is not yet twice.
    assert found.times.tolist() == [40, 50]
    assert found.is_censored.tolist() == [False, True]


def test_median_without_censoring():
    assert times([30, 10, 20]).median() == CensoredMedian(20, False)
    assert times([10, 20, 30, 40]).median() == CensoredMedian(20, False)


def test_median_counts_failures():
    # Dropping the failures would give 15; they are the slower half.
    median = times([10, 20, 100, 100, 100], censored=[2, 3, 4]).median()
    assert median == CensoredMedian(100, True)
    assert str(median) == ">= 100"
    assert times([10, 20, 30, 100, 100], censored=[3, 4]).median() == CensoredMedian(30, False)


def test_kaplan_meier_by_hand():
    # At risk 5, 4, 2, 1: survival 4/5 at 1, 3/5 at 2, (5 is lost at 3), 3/10 at 4: the median is 4,
    # not 2 or 3.
    assert times([1, 2, 3, 4, 5], censored=[2]).median() == CensoredMedian(4, False)
    # (1 - 1/4)(1 - 1/3) is one half exactly, though not in floating point.
    assert times([1, 2, 9, 9], censored=[2, 3]).median() == CensoredMedian(2, False)


def test_kaplan_meier_against_a_plain_loop():
    generator = np.random.default_rng(0)
    for _ in range(200):
        observed = CensoredTimes(
            generator.integers(1, 9, size=9).astype(float), generator.random(9) < 0.5
        )
        survival, expected = 1.0, CensoredMedian(observed.times.max(), True)
        for time in sorted(set(observed.times)):
            finishing = ((observed.times == time) & ~observed.is_censored).sum()
            survival *= 1 - finishing / (observed.times >= time).sum()
            if survival <= 0.5 + 1e-9:
                expected = CensoredMedian(time, False)
                break
        assert observed.median() == expected


def test_ratio_of_constant_arms():
    ratio = threshold_ratio(times([100, 100, 100]), times([20, 20, 20]))
    assert (ratio.estimate, ratio.low, ratio.high) == (5, 5, 5)
    assert not ratio.is_lower_bound
    assert not ratio.is_upper_bound


def test_ratio_with_a_censored_numerator_is_a_lower_bound():
    ratio = threshold_ratio(times([100] * 10, censored=range(10)), times([20] * 10))
    assert ratio.is_lower_bound
    assert (ratio.estimate, ratio.low, ratio.high) == (5, 5, inf)
    assert str(ratio) == ">= 5 [5, inf]"


def test_ratio_with_a_censored_denominator_is_an_upper_bound():
    ratio = threshold_ratio(times([20] * 10), times([100] * 10, censored=range(10)))
    assert (ratio.is_lower_bound, ratio.is_upper_bound) == (False, True)
    assert (ratio.estimate, ratio.low, ratio.high) == (0.2, 0, 0.2)


def test_ratio_of_two_censored_arms_is_unknown():
    ratio = threshold_ratio(times([100, 100], censored=[0, 1]), times([50, 50], censored=[0, 1]))
    assert isnan(ratio.estimate)
    assert (ratio.low, ratio.high) == (0, inf)
    assert str(ratio).startswith("unknown")


def test_an_uncertain_median_makes_the_upper_limit_infinite():
    # 6 of 10 finish, so that the median is known, but many a resample has 5 failures or more.
    ratio = threshold_ratio(times([50] * 6 + [100] * 4, censored=[6, 7, 8, 9]), times([10] * 10))
    assert not ratio.is_lower_bound
    assert (ratio.estimate, ratio.low, ratio.high) == (5, 5, inf)


def test_ratio_interval_against_plain_resampling():
    generator = np.random.default_rng(1)
    a, b = generator.integers(50, 100, size=9) * 1.0, generator.integers(10, 20, size=9) * 1.0
    draws = [
        np.median(generator.choice(a, 9)) / np.median(generator.choice(b, 9)) for _ in range(5000)
    ]
    ratio = threshold_ratio(times(a), times(b))
    assert ratio.estimate == np.median(a) / np.median(b)
    assert (ratio.low, ratio.high) == pytest.approx(
        tuple(np.quantile(draws, [0.025, 0.975])), rel=0.06
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steps_to_threshold([[1.0, nan]], [1, 2], 0.5), "NaN"),
        (lambda: steps_to_threshold([[1.0, 2.0]], [1, 2, 3], 0.5), "curves"),
        (lambda: steps_to_threshold([[1.0, 2.0]], [2, 2], 0.5), "increasing"),
        (lambda: steps_to_threshold([[1.0, 2.0]], [1, 2], 0.5, sustain=3), "sustain=3"),
        (lambda: threshold_ratio(times([1, 2]), times([0, 0])), "0 steps"),
        (lambda: times([]), "R >= 1"),
        (lambda: times([inf]), "finite"),
    ],
)
def test_bad_curves_are_named(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_steps_of_learning_curves_count_failures():
    steps = np.array([100, 200, 300])
    good = LearningCurve(steps, np.array([0.0, 5.0, 9.0]))
    bad = LearningCurve(steps, np.array([0.0, 1.0, 2.0]))
    assert good.steps_to(5.0) == 200
    assert bad.steps_to(5.0) is None
    assert median_steps([good, good, bad], 5.0) == 200
    assert median_steps([good, bad, bad], 5.0) == np.inf
