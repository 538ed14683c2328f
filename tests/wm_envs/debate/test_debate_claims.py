import numpy as np
import pytest

from wm_envs.debate import dynamics
from wm_envs.debate.allocations import check_allocations
from wm_envs.debate.claims import Arena, Polarity, Stake, grow_forest
from wm_envs.debate.tendencies import DEFAULT_ALLOCATIONS, TENDENCIES, Tendency
from wm_envs.errors import DebateError, ObservationError, OptionError

PRO, CON = Polarity.PRO, Polarity.CON
SHARES = check_allocations(DEFAULT_ALLOCATIONS)


def test_a_forest_by_hand():
    stakes = [
        Stake(0, Tendency.MEANING, PRO, 0.5, Tendency.MEANING),
        Stake(0, Tendency.MEANING, CON, 0.5, Tendency.COMFORT, parent=0),
        Stake(0, Tendency.STATUS, CON, 1.0, Tendency.CONNECTION),
        Stake(1, Tendency.MEANING, PRO, 1.0, Tendency.CURIOSITY),
    ]
    forest = grow_forest(stakes, DEFAULT_ALLOCATIONS)
    expected = dict.fromkeys(TENDENCIES, 0.0)
    expected[Tendency.MEANING] = 0.5 * 0.10 - 0.5 * 0.18 + 1.0 * 0.10
    expected[Tendency.STATUS] = -0.20
    np.testing.assert_allclose(forest.scores, list(expected.values()), atol=1e-12)
    assert forest.winner is Tendency.MEANING
    assert forest.total_stakes == 4
    assert [forest.claim_of(node) for node in (7, 8, 9)] == ["meaning", "meaning", "status"]
    text = forest.describe(Tendency.MEANING, ["one", "two"])
    assert text.splitlines() == [
        "This person acts to serve what life is for. (net +0.060)",
        "  PRO 0.100 by curiosity: two",
        "  PRO 0.050 by meaning: one",
        "    CON 0.090 by comfort: one",
    ]


@pytest.mark.parametrize("weight", [np.nan, np.inf, -0.1, 1.1, True, "1", None])
def test_a_stake_weighs_from_zero_to_one(weight):
    with pytest.raises(DebateError, match="weight of a stake"):
        Stake(0, Tendency.STATUS, PRO, weight, Tendency.STATUS)


@pytest.mark.parametrize("parent", [0, 1, -1])
def test_an_answer_follows_a_stake_on_the_same_claim(parent):
    stakes = [
        Stake(0, Tendency.STATUS, PRO, 1.0, Tendency.STATUS),
        Stake(0, Tendency.MEANING, CON, 1.0, Tendency.STATUS, parent),
    ]
    with pytest.raises(DebateError, match="no earlier stake"):
        grow_forest(stakes, DEFAULT_ALLOCATIONS)


def test_the_arena_scores_as_the_rounds_of_the_environment():
    generator = np.random.default_rng(0)
    relevance = generator.dirichlet(np.full(7, 0.3), size=40)
    names = ("zealot", "juror", "challenger", "advocate", "partisan", "silent", "zealot")
    result = Arena(strategies=names, rebuttal=3.0).debate(relevance, SHARES, 0.15)
    scores = np.zeros(7)
    num_nodes = 0
    for row in relevance:
        weights = np.zeros((7, 7))
        for seat, name in enumerate(names):
            dynamics.script(dynamics.STRATEGIES.index(name), seat, row, scores, weights[seat])
        weights[np.abs(weights) < dynamics.MIN_WEIGHT] = 0
        for seat in range(7):
            for claim in range(7):
                scores[claim] += dynamics.stake_value(
                    row, SHARES, seat, claim, weights[seat, claim], 3.0
                )
                num_nodes += weights[seat, claim] != 0
    # Answers lighter than the lightest stake are left out of the trees.
    np.testing.assert_allclose(
        list(result.scores.values()), scores, atol=40 * 7 * dynamics.MIN_WEIGHT * 0.2
    )
    stakes = result.forest
    assert (stakes.parents[7:] < 7).sum() == num_nodes
    answers = stakes.parents >= 7
    assert answers.sum() > 40
    assert (stakes.signs[answers] == -1).all()
    np.testing.assert_array_equal(
        stakes.observations[answers], stakes.observations[stakes.parents[answers]]
    )


def test_the_result_says_what_changed():
    relevance = np.tile([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (3, 1))
    result = Arena(strategies=("juror",) * 7).debate(relevance, SHARES, 0.5)
    assert result.winner is Tendency.CURIOSITY
    assert result.winning_score == pytest.approx(
        3.0
    )  # everybody stakes 1 on it, and influence adds up to 1
    assert result.total_stakes == 21
    assert result.allocations[Tendency.CURIOSITY] == 0.5  # the ceiling: 0.55 without it
    assert sum(result.allocations.values()) == pytest.approx(1)
    for tendency in TENDENCIES:
        change = result.allocations[tendency] - DEFAULT_ALLOCATIONS[tendency]
        assert result.allocation_changes[tendency] == pytest.approx(change)
        assert result.claims[tendency].score == result.scores[tendency]


def test_silence_has_no_winner_and_changes_nothing():
    result = Arena(strategies=("silent",) * 7).debate(np.full((5, 7), 0.5), SHARES, 0.5)
    assert (result.winner, result.winning_score, result.total_stakes) == (None, 0.0, 0)
    assert set(result.allocation_changes.values()) == {0.0}


def test_unknown_scripts_are_refused():
    with pytest.raises(OptionError, match="strategies"):
        Arena(strategies=("loud",) * 7)


@pytest.mark.parametrize(
    "relevance",
    [np.full((3, 6), 0.5), np.full((3, 7), np.nan), np.full((3, 7), 2.0), np.full(7, 0.5)],
)
def test_relevance_is_seven_numbers_from_zero_to_one(relevance):
    with pytest.raises(ObservationError, match="the scorer gave"):
        Arena().debate(relevance, DEFAULT_ALLOCATIONS, 0.1)


@pytest.mark.parametrize("rate", [np.nan, -0.1, 5.0, "fast"])
def test_the_rate_is_a_share(rate):
    with pytest.raises(DebateError, match="learning rate"):
        Arena().debate(np.full((3, 7), 0.5), DEFAULT_ALLOCATIONS, rate)


@pytest.mark.parametrize(
    "options", [{"rebuttal": np.nan}, {"rebuttal": -1}, {"min_allocation": 0.3}]
)
def test_an_arena_with_wrong_numbers_is_refused(options):
    with pytest.raises((OptionError, DebateError), match=r"rebuttal|bounds"):
        Arena(**options)
