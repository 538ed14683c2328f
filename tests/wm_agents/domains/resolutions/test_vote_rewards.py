import numpy as np
import pytest

from tests.support.analytic_votes import assembly
from wm_agents.domains.resolutions.features import FeatureBuilder
from wm_agents.domains.resolutions.vote_rewards import (
    LAST_VOTE,
    alignment_problem,
    precedent_problem,
    principal_positions,
    stage_problem,
    text_directions,
)
from wm_agents.errors import ConfigError
from wm_agents.irl import MaxEntIRL, compare


@pytest.fixture(scope="module")
def data():
    return assembly(num_years=8)


@pytest.fixture(scope="module")
def precedent(data):
    rows = data.between(2003, 2008)
    predictors = FeatureBuilder(data, 2006).build(rows)
    return precedent_problem(
        data, rows, predictors, principal_positions(data.votes[data.between(2000, 2003)])
    )


def test_precedent_weights_tell_the_two_sides_apart(precedent):
    rows = np.arange(len(precedent.votes))
    lasting = precedent.without(LAST_VOTE)
    weights = [
        MaxEntIRL(*lasting.decisions(f"C{i}", rows)[:1]).fit(lasting.decisions(f"C{i}", rows)[1])
        for i in (0, 29)
    ]
    place = lasting.feature_names.index("direction_1")
    assert weights[0].weights[place] * weights[1].weights[place] < 0
    assert LAST_VOTE not in lasting.feature_names
    assert lasting.shared.shape[2] == precedent.shared.shape[2] - 1


def test_features_of_the_state_alone_are_hardly_identified(data):
    """One's own vote moves a tally by one in thirty here, and nothing else."""
    rows = data.between(2005, 2008)
    model, demonstrations = stage_problem(data, rows).decisions("C1", np.arange(len(rows)))
    fit = MaxEntIRL(model).fit(demonstrations)
    assert fit.identifiability.rank == 1
    assert [name for name, _ in fit.ranked()] in ([], ["plenary_support"])


def test_alignment_by_hand(data):
    rows = data.between(2007, 2008)
    problem = alignment_problem(data, rows, ("C0", "C29"))
    theirs = data.votes[rows, 0]
    yes = int(np.flatnonzero(theirs == 0)[0])
    place = problem.feature_names.index("agrees_with_C0")
    np.testing.assert_array_equal(problem.features("C5", np.array([yes]))[0, :, place], [1, 0.5, 0])
    np.testing.assert_array_equal(problem.features("C0", np.array([yes]))[0, :, place], [0, 0, 0])
    absent = np.flatnonzero(theirs == -1)
    assert not problem.features("C5", absent)[:, :, place].any()
    model, demonstrations = problem.decisions("C0", np.arange(len(rows)))
    assert "constant: agrees_with_C0" in MaxEntIRL(model).fit(demonstrations).flags
    with pytest.raises(ConfigError, match="XX"):
        alignment_problem(data, rows, ("XX",))


def test_all_are_put_before_texts_on_which_references_have_voted(data):
    rows = data.between(2005, 2008)
    problem = alignment_problem(data, rows, ("C0", "C29"))
    every = np.arange(len(rows))
    np.testing.assert_array_equal(problem.situations(every), problem.features("C5", every))
    fits = {
        f"C{i}": MaxEntIRL(problem.decisions(f"C{i}", every)[0]).fit(
            problem.decisions(f"C{i}", every)[1]
        )
        for i in (1, 2, 3, 20, 21, 22)
    }
    positions = compare(fits, problem.situations(every), action_values=(1, 0, -1)).positions[:, 0]
    assert max(positions[:3]) < min(positions[3:]) or min(positions[:3]) > max(
        positions[3:]
    )  # the two blocs


def test_directions_are_least_squares():
    positions = np.random.default_rng(0).normal(size=(30, 2))
    truth = np.array([[0.5, 1.0, -1.0], [0.0, 2.0, 0.0]])
    scores = truth @ np.column_stack([np.ones(30), positions]).T
    scores[:, 0] = 99
    positions[0] = 0  # unknown countries are left out
    np.testing.assert_allclose(text_directions(scores, positions), truth, atol=1e-9)


def test_who_never_voted_is_refused(precedent):
    precedent.votes[:, 3] = -1
    with pytest.raises(ConfigError, match="C3 voted on none"):
        precedent.decisions("C3", np.arange(len(precedent.votes)))
