from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy import stats

from wm_agents.errors import ConfigError
from wm_agents.evaluation.comparisons import (
    exact_permutation_test,
    paired_difference,
    probability_of_improvement,
)

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
