"""The rules, by hand and by property."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wm_envs.debate import dynamics
from wm_envs.debate.allocations import check_allocations, reallocated
from wm_envs.debate.tendencies import DEFAULT_ALLOCATIONS, TENDENCIES, Tendency
from wm_envs.errors import DebateError

# survival, status, meaning, connection, autonomy, comfort, curiosity
SCORES = [1.646, 1.024, 3.010, 0.926, 1.816, 3.289, 2.365]
ANSWER = [0.170540, 0.112912, 0.117076, 0.179868, 0.121352, 0.188049, 0.110202]
PEAKED = np.array([0.1, 0.6, 0.0, 0.05, 0.05, 0.2, 0.0])
EVEN = np.full(7, 1 / 7)
SCORE_LISTS = st.lists(st.floats(-1e12, 1e12), min_size=7, max_size=7)


def script(name, seat, relevance=PEAKED, scores=None):
    weights = np.full(7, 9.0)
    dynamics.script(
        dynamics.STRATEGIES.index(name),
        seat,
        relevance,
        np.zeros(7) if scores is None else scores,
        weights,
    )
    return weights


def test_the_known_answer_to_six_decimals():
    allocations = reallocated(DEFAULT_ALLOCATIONS, dict(zip(TENDENCIES, SCORES, strict=True)), 0.15)
    np.testing.assert_allclose(allocations, ANSWER, atol=5e-7)
    assert allocations.sum() == pytest.approx(1, abs=1e-12)


def test_without_a_positive_score_nothing_changes():
    before = check_allocations(DEFAULT_ALLOCATIONS)
    np.testing.assert_array_equal(reallocated(before, [-1, 0, -2, -0.5, 0, 0, -3], 0.5), before)


def assert_allowed(allocations, minimum, maximum):
    assert allocations.min() >= minimum
    assert allocations.max() <= maximum
    assert abs(allocations.sum() - 1) < 1e-9


def test_allocations_stay_in_their_bounds_and_sum_to_one():
    generator = np.random.default_rng(0)
    num_cases = num_at_bounds = 0
    while num_cases < 10_000:
        minimum, maximum = generator.uniform(0, 1 / 7), generator.uniform(1 / 7, 1)
        if num_cases % 100 == 0:
            minimum, maximum = (1 / 7, maximum) if num_cases % 200 else (minimum, 1 / 7)
        start = generator.dirichlet(np.full(7, generator.choice([0.05, 1.0, 20.0])))
        scores = generator.normal(size=7) * 10.0 ** generator.integers(-9, 10)
        if not (scores > 0).any():
            continue
        allocations = reallocated(start, scores, generator.uniform(), minimum, maximum)
        assert_allowed(allocations, minimum, maximum)
        num_cases += 1
        num_at_bounds += bool((allocations == minimum).any() or (allocations == maximum).any())
    assert num_at_bounds > 5_000  # so that the projection was at work


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-1e12, 1e12), min_size=7, max_size=7),
    st.floats(0, 1),
    st.floats(0, 1 / 7),
    st.floats(1 / 7, 1),
)
def test_no_scores_break_the_bounds(scores, learning_rate, minimum, maximum):
    allocations = reallocated(check_allocations(EVEN), scores, learning_rate, minimum, maximum)
    if max(scores) > 0:
        assert_allowed(allocations, minimum, maximum)


def test_the_projection_is_the_nearest_point():
    generator = np.random.default_rng(0)
    for _ in range(200):
        values = generator.normal(size=7)
        projected = values.copy()
        dynamics.project(projected, 0.03, 0.5)
        # Optimality: no feasible direction e_i - e_j brings it nearer.
        gradient = projected - values
        can_rise, can_fall = projected < 0.5 - 1e-12, projected > 0.03 + 1e-12
        assert gradient[can_rise].min() >= gradient[can_fall].max() - 1e-9
        assert projected.sum() == pytest.approx(1, abs=1e-12)
        assert 0.03 <= projected.min() <= projected.max() <= 0.5


def test_bounds_that_leave_one_answer():
    np.testing.assert_allclose(reallocated(EVEN, SCORES, 1.0, 1 / 7, 0.5), EVEN, atol=1e-12)
    np.testing.assert_allclose(reallocated(EVEN, SCORES, 1.0, 0.0, 1 / 7), EVEN, atol=1e-12)


BAD = [
    ([0.2] * 7, SCORES, 0.1, 0.03, 0.5),
    (EVEN, [1, np.nan, 0, 0, 0, 0, 0], 0.1, 0.03, 0.5),
    (EVEN, [1, np.inf, 0, 0, 0, 0, 0], 0.1, 0.03, 0.5),
    (EVEN, [1] * 6, 0.1, 0.03, 0.5),
    (EVEN, SCORES, 1.5, 0.03, 0.5),
    (EVEN, SCORES, np.nan, 0.03, 0.5),
    (EVEN, SCORES, 0.1, 0.2, 0.5),
    (EVEN, SCORES, 0.1, 0.03, 0.1),
    (EVEN, SCORES, 0.1, np.nan, 0.5),
    ({"survival": 1.0}, SCORES, 0.1, 0.03, 0.5),
    ({**DEFAULT_ALLOCATIONS, "hunger": 0.0}, SCORES, 0.1, 0.03, 0.5),
    (["a"] * 7, SCORES, 0.1, 0.03, 0.5),
]


@pytest.mark.parametrize("case", BAD, ids=range(len(BAD)))
def test_bad_input_is_a_debate_error(case):
    with pytest.raises(DebateError):
        reallocated(*case)


def test_scores_of_a_tree_by_hand():
    # Root 0 with PRO 0.5 (answered by CON 0.2, itself answered by CON 0.05) and CON 0.1; root 1
    # alone.
    parents = np.array([-1, -1, 0, 2, 3, 0])
    signs = np.array([1.0, 1, 1, -1, -1, -1])
    amounts = np.array([0.0, 0, 0.5, 0.2, 0.05, 0.1])
    scores = np.zeros(6)
    dynamics.score_nodes(parents, signs, amounts, scores)
    np.testing.assert_allclose(scores, [0.25, 0, 0.35, 0.15, 0.05, 0.1])


def test_the_winner_is_the_highest_positive_score():
    assert dynamics.best_claim(np.array([0.1, 0.3, 0.3, 0, 0, 0, 0])) == 1
    assert dynamics.best_claim(np.array([-0.1, 0, 0, 0, 0, 0, -1])) == dynamics.NOBODY


def test_support_is_the_relevance_or_the_lead_of_the_strongest():
    assert dynamics.support(PEAKED, 5, 0.3) == 0.2
    assert dynamics.support(PEAKED, 5, -0.3) == pytest.approx(0.4)
    assert dynamics.support(PEAKED, 1, -0.3) == 0


def test_what_a_stake_is_worth():
    shares = np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert dynamics.stake_value(PEAKED, shares, 5, 5, 0.2, 2.0) == pytest.approx(0.02)
    # 0.3 beyond its support, answered by status (the strongest other reader) with weight 0.6.
    assert dynamics.stake_value(PEAKED, shares, 5, 5, 0.5, 2.0) == pytest.approx(0.05 - 0.6 * 0.2)
    # Against survival the observation bears 0.5; 0.25 more is answered by survival itself.
    assert dynamics.stake_value(PEAKED, shares, 1, 0, -0.75, 2.0) == pytest.approx(
        -(0.75 * 0.2 - 0.5 * 0.3)
    )
    # An answer weighs at most 1.
    assert dynamics.stake_value(PEAKED, shares, 2, 2, 1.0, 9.0) == pytest.approx(0.1 - 0.2)
    assert dynamics.stake_value(PEAKED, shares, 2, 2, 0.0, 9.0) == 0


def test_scripts_by_hand():
    comfort, status = Tendency.COMFORT.index, Tendency.STATUS.index
    np.testing.assert_array_equal(script("silent", comfort), np.zeros(7))
    np.testing.assert_array_equal(script("partisan", comfort), [0, 0, 0, 0, 0, 0.2, 0])
    np.testing.assert_array_equal(script("zealot", comfort), [0, 0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(script("juror", comfort), PEAKED)
    standing = np.array([5.0, 1, 1, 1, 1, 9, 1])  # comfort leads, survival is its strongest rival
    np.testing.assert_allclose(
        script("challenger", comfort, scores=standing), [-0.5, 0, 0, 0, 0, 0.2, 0]
    )
    advocate = script("advocate", comfort)
    np.testing.assert_allclose(advocate, [-0.02, 0.6, -0.04, -0.03, -0.03, 0.2, -0.04])
    np.testing.assert_allclose(script("advocate", status)[[0, 1]], [-0.1, 0.6])


@pytest.mark.parametrize("claim", range(7))
@pytest.mark.parametrize("conviction", [-1.0, -0.7, -0.5, -0.2, 0.0, 0.2, 0.5, 0.7, 1.0])
def test_convictions_and_weights_are_inverse(claim, conviction):
    weight = dynamics.weight_of(PEAKED, claim, conviction)
    assert abs(weight) <= 1
    assert np.sign(weight) in (0, np.sign(conviction))
    again = dynamics.weight_of(PEAKED, claim, dynamics.conviction_of(PEAKED, claim, weight))
    assert again == pytest.approx(weight, abs=1e-12)


def test_half_a_conviction_stakes_what_the_observation_bears():
    assert dynamics.weight_of(PEAKED, 5, 0.5) == pytest.approx(0.2)
    assert dynamics.weight_of(PEAKED, 5, -0.5) == pytest.approx(-0.4)
    assert dynamics.weight_of(PEAKED, 5, 0.25) == pytest.approx(0.1)
    assert dynamics.weight_of(PEAKED, 5, 0.75) == pytest.approx(0.6)


def test_a_budget_scales_stakes_down():
    weights = np.array([0.5, -0.5, 0, 0, 0, 0, 1.0])
    assert dynamics.within_budget(weights, 4.0) == 2.0
    assert dynamics.within_budget(weights, 0.5) == 0.5
    np.testing.assert_allclose(weights, [0.125, -0.125, 0, 0, 0, 0, 0.25])
