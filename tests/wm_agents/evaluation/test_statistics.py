"""Estimates with intervals, and comparisons of arms."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy import stats

from wm_agents.errors import ConfigError
from wm_agents.evaluation.statistics import (
    Interval,
    exact_permutation_test,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
    stratified_bootstrap,
    stratified_bootstrap_band,
    wilson_interval,
)


def test_interquartile_mean_by_hand():
    # Eight values: two are cut from each end, the mean of 3, 4, 5, 6 stays.
    assert interquartile_mean([100.0, 2, 3, 4, 5, 6, 7, -50]) == 4.5
    # Three values: a quarter rounds down to none.
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0


@pytest.mark.parametrize("num", [1, 2, 4, 7, 10, 33])
def test_interquartile_mean_equals_scipy_trimmed_mean(num):
    values = np.random.default_rng(num).normal(size=(3, num))
    np.testing.assert_allclose(
        interquartile_mean(values, axis=1), stats.trim_mean(values, 0.25, axis=1)
    )
    np.testing.assert_allclose(interquartile_mean(values), stats.trim_mean(values, 0.25, axis=None))
    np.testing.assert_allclose(interquartile_mean(values, axis=(0, 1)), interquartile_mean(values))


def test_interquartile_mean_over_middle_axes():
    values = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    by_hand = [
        [stats.trim_mean(values[i, :, :, k], 0.25, axis=None) for k in range(4)] for i in range(2)
    ]
    np.testing.assert_allclose(interquartile_mean(values, axis=(1, 2)), by_hand)


def test_bootstrap_of_one_task_agrees_with_scipy():
    values = np.random.default_rng(1).normal(size=30)
    ours = stratified_bootstrap(values, np.mean, num_resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(5)
    )
    assert ours.estimate == pytest.approx(values.mean())
    spread = values.std() / np.sqrt(30)
    assert abs(ours.low - theirs.confidence_interval.low) < 0.08 * spread
    assert abs(ours.high - theirs.confidence_interval.high) < 0.08 * spread


def test_bootstrap_is_stratified():
    # Within a task all runs agree, so that resampling within tasks cannot change the mean; mixing
    # tasks would.
    interval = stratified_bootstrap(
        [[0.0, 0.0, 0.0], [10.0, 10.0, 10.0]], np.mean, num_resamples=500
    )
    assert (interval.estimate, interval.low, interval.high) == (5.0, 5.0, 5.0)


def test_bootstrap_of_two_tasks_has_the_exact_distribution():
    # Two tasks of two runs: the mean is 0, 1/4, ... 1 with probabilities (1, 4, 6, 4, 1)/16.
    scores = [[0.0, 1.0], [0.0, 1.0]]
    assert (
        stratified_bootstrap(scores, np.mean, confidence=0.8).low == 0.25
    )  # the 10% point lies inside 1/16..5/16
    assert (
        stratified_bootstrap(scores, np.mean, confidence=0.96).low == 0.0
    )  # the 2% point lies below 1/16


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(300):
        interval = stratified_bootstrap(
            generator.normal(size=30), np.mean, num_resamples=500, seed=trial
        )
        covered += interval.low <= 0 <= interval.high
    assert 0.89 <= covered / 300 <= 0.98


def test_bootstrap_depends_on_its_seed_alone():
    values = np.random.default_rng(3).normal(size=(2, 10))
    assert stratified_bootstrap(values, seed=4) == stratified_bootstrap(values, seed=4)
    assert stratified_bootstrap(values, seed=4) != stratified_bootstrap(values, seed=5)


def test_resampling_in_pieces_gives_as_many_draws(monkeypatch):
    values = np.random.default_rng(3).normal(size=(2, 10))
    whole = stratified_bootstrap(values, num_resamples=101)
    monkeypatch.setattr("wm_agents.evaluation.statistics._MAX_RESAMPLED_NUMBERS", 300)
    assert stratified_bootstrap(values, num_resamples=101) == whole


def test_band_equals_the_interval_at_each_point():
    curves = np.random.default_rng(6).normal(size=(10, 3))
    estimate, low, high = stratified_bootstrap_band(curves, num_resamples=1000, seed=7)
    for k in range(3):
        point = stratified_bootstrap(curves[:, k], num_resamples=1000, seed=7)
        assert (estimate[k], low[k], high[k]) == pytest.approx(
            (point.estimate, point.low, point.high)
        )


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 17), (487, 500), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_equals_scipy(successes, trials, confidence):
    ours = wilson_interval(successes, trials, confidence)
    theirs = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= ours.estimate <= ours.high <= 1


def test_interval_prints_and_flattens():
    interval = Interval(0.97, 0.95, 0.99)
    assert str(interval) == "0.97 [0.95, 0.99]"
    assert interval.flatten("iqm") == {"iqm": 0.97, "iqm_low": 0.95, "iqm_high": 0.99}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interquartile_mean([]), "empty"),
        (lambda: interquartile_mean([1.0, np.nan]), r"values\[1\] is not finite"),
        (lambda: stratified_bootstrap([1.0]), "at least 2 runs"),
        (lambda: stratified_bootstrap([1.0, 2.0], confidence=95), "confidence=95"),
        (lambda: stratified_bootstrap([1.0, 2.0], num_resamples=0), "num_resamples=0"),
        (lambda: stratified_bootstrap(np.ones((2, 2, 2))), "shape"),
        (lambda: stratified_bootstrap_band(np.ones((1, 5))), "shape"),
        (lambda: wilson_interval(3, 2), "successes=3 of trials=2"),
        (lambda: wilson_interval(0, 0), "trials=0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


# The historical ablation of SequenceNext: four runs an arm, successes in 64 evaluation episodes, in
# percent.
FINAL_WITH, FINAL_WITHOUT = [95.31, 95.31, 95.31, 96.88], [90.62, 89.06, 95.31, 95.31]
BEST_WITH, BEST_WITHOUT = [98.44, 95.31, 95.31, 100.00], [95.31, 89.06, 96.88, 95.31]


def p_value_by_counting(x, y):
    """An independent enumeration: over 0/1 masks, in exact fractions."""
    pooled, size = [Fraction(str(value)) for value in [*x, *y]], len(x)

    def difference(mask):
        first = sum(value for value, is_first in zip(pooled, mask, strict=True) if is_first)
        return abs(first / size - (sum(pooled) - first) / (len(pooled) - size))

    observed = difference([True] * size + [False] * (len(pooled) - size))
    differences = [
        difference(mask) for mask in product([True, False], repeat=len(pooled)) if sum(mask) == size
    ]
    return Fraction(sum(value >= observed for value in differences), len(differences))


@pytest.mark.parametrize(("x", "y"), [(FINAL_WITH, FINAL_WITHOUT), (BEST_WITH, BEST_WITHOUT)])
def test_the_historical_ablation_is_not_significant(x, y):
    assert p_value_by_counting(x, y) == Fraction(20, 70)
    result = exact_permutation_test(x, y)
    assert result.p_value == pytest.approx(20 / 70, abs=1e-15)
    assert (result.num_arrangements, result.is_exact) == (70, True)


@pytest.mark.parametrize(("x", "y"), [(FINAL_WITH, FINAL_WITHOUT), (BEST_WITH, BEST_WITHOUT)])
def test_its_p_value_is_not_an_artefact_of_rounding(x, y):
    successes = [[round(value * 64 / 100) for value in arm] for arm in (x, y)]
    assert p_value_by_counting(*successes) == Fraction(20, 70)


def test_permutation_test_of_separated_arms():
    # Only the observed arrangement and its mirror image are as extreme: 2 of C(8, 4) = 70.
    result = exact_permutation_test([5, 6, 7, 8], [1, 2, 3, 4])
    assert result.p_value == pytest.approx(2 / 70)
    assert result.difference == 4.0


def test_permutation_test_agrees_with_scipy_for_unequal_arms():
    generator = np.random.default_rng(0)
    x, y = generator.normal(1, 1, size=5), generator.normal(0, 1, size=7)
    theirs = stats.permutation_test(
        (x, y), lambda a, b, axis: a.mean(axis) - b.mean(axis), vectorized=True, n_resamples=np.inf
    )
    assert exact_permutation_test(x, y).p_value == pytest.approx(
        p_value_by_counting(x, y).__float__()
    )
    assert exact_permutation_test(x, y).p_value == pytest.approx(theirs.pvalue, abs=0.02)


def test_equal_arms_have_p_one():
    assert exact_permutation_test([1.0, 1.0], [1.0, 1.0, 1.0]).p_value == 1.0
    # 0.1 + 0.2 != 0.3 in floating point: orders of summation must not break ties.
    assert exact_permutation_test([0.1, 0.2, 0.3], [0.3, 0.2, 0.1]).p_value == 1.0


def test_sampled_permutation_test_is_near_the_exact_one_and_never_zero():
    generator = np.random.default_rng(1)
    x, y = generator.normal(0.8, 1, size=8), generator.normal(0, 1, size=8)
    exact = exact_permutation_test(x, y)
    sampled = exact_permutation_test(x, y, max_arrangements=10, num_samples=20_000)
    assert not sampled.is_exact
    assert sampled.p_value == pytest.approx(exact.p_value, abs=0.015)
    assert sampled == exact_permutation_test(x, y, max_arrangements=10, num_samples=20_000)
    far = exact_permutation_test(np.arange(20) + 100.0, np.arange(20) * 1.0, num_samples=99)
    assert far.p_value == 1 / 100


def test_probability_of_improvement_by_hand():
    # Of the 6 pairs 2>1, 2=2, 2<3, 4>1, 4>2, 4>3: 4 wins and a tie.
    result = probability_of_improvement([2.0, 4.0], [1.0, 2.0, 3.0])
    assert result.estimate == pytest.approx(4.5 / 6)
    assert 0 <= result.low <= result.estimate <= result.high <= 1


def test_probability_of_improvement_equals_mann_whitney():
    generator = np.random.default_rng(2)
    x, y = generator.integers(0, 6, size=12), generator.integers(0, 5, size=9)
    expected = stats.mannwhitneyu(x, y).statistic / (12 * 9)
    assert probability_of_improvement(x, y).estimate == pytest.approx(expected)


def test_probability_of_improvement_interval_against_plain_resampling():
    generator = np.random.default_rng(3)
    x, y = generator.normal(0.5, 1, size=(2, 10)), generator.normal(0, 1, size=(2, 10))
    draws = []
    for _ in range(4000):
        rows = [
            (generator.choice(a, 10)[:, None] > generator.choice(b, 10)).mean()
            for a, b in zip(x, y, strict=True)
        ]
        draws.append(np.mean(rows))
    result = probability_of_improvement(x, y)
    assert (result.low, result.high) == pytest.approx(
        tuple(np.quantile(draws, [0.025, 0.975])), abs=0.02
    )


def test_probability_of_improvement_averages_tasks():
    assert (
        probability_of_improvement([[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]).estimate
        == 0.75
    )


def test_paired_difference_uses_the_pairs():
    seeds = np.random.default_rng(4).normal(scale=100, size=10)
    result = paired_difference(seeds + 1, seeds)
    assert (result.estimate, result.low, result.high) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_difference([1.0, 2.0], [1.0, 2.0, 3.0]), "equal shapes"),
        (lambda: probability_of_improvement(np.ones((2, 3)), np.ones((3, 3))), "2 tasks"),
        (lambda: probability_of_improvement([1.0, np.inf], [1.0, 2.0]), "not finite"),
        (lambda: exact_permutation_test(np.ones((2, 2)), [1.0]), r"give \[runs\]"),
        (lambda: exact_permutation_test([1.0], [2.0], num_samples=0), "num_resamples=0"),
    ],
)
def test_bad_arms_are_named(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
