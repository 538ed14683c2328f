"""A country's seat in the General Assembly as a decision model: sponsor or not, then vote, stage by stage.

A text asks something (see `wm_agents.domains.resolutions.spatial`): with direction b, offset a,
slope v and width w, a country at position x with readiness m to agree and k to abstain has
utilities z = a + b . x + m of yes, -z of no and h = w + v . x + k of an abstention. That is linear
in (x, m, k) with features that only the text decides.
"""

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.mdp import Floats, TabularMDP

COSPONSOR, YES, NO, ABSTAIN, NO_ACTION = range(5)
DRAFT, COMMITTEE_VOTE, PLENARY_VOTE, TERMINAL = range(4)
TEXT_FIELDS = ("offset", "direction_1", "direction_2", "width", "slope_1", "slope_2")
SPATIAL_FEATURES = (
    "position_1",
    "position_2",
    "assent",
    "abstention",
    "popularity",
    "uncertainty",
    "outcome",
)
MAX_STEPS = 4

STAGE_MASKS = np.zeros((4, 5), np.bool_)
STAGE_MASKS[DRAFT, [COSPONSOR, NO_ACTION]] = True
STAGE_MASKS[COMMITTEE_VOTE, [YES, NO, ABSTAIN]] = True
STAGE_MASKS[PLENARY_VOTE, [YES, NO, ABSTAIN]] = True
STAGE_MASKS[TERMINAL, NO_ACTION] = True


def spatial_features(
    texts: Floats, stages: NDArray[np.int64], is_sponsor: NDArray[np.bool_], outcome: float
) -> Floats:
    """Features [N, 5, 7] by `SPATIAL_FEATURES` of the five actions in N steps.

    Args:
        texts: [N, 6], what the text asks, by `TEXT_FIELDS`.
        stages: [N].
        is_sponsor: [N].
        outcome: What a sponsor expects at the end, from -1, surely rejected, to 1, surely adopted.
    """
    offset, direction_1, direction_2, width, slope_1, slope_2 = texts.T
    one, zero = np.ones_like(offset), np.zeros_like(offset)
    agree = np.stack([direction_1, direction_2, one, zero, offset, zero, zero], 1)
    abstain = np.stack([slope_1, slope_2, zero, one, zero, width, zero], 1)
    features = np.zeros((len(texts), 5, len(SPATIAL_FEATURES)))
    is_vote = ((stages == COMMITTEE_VOTE) | (stages == PLENARY_VOTE))[:, None]
    features[:, YES], features[:, NO] = agree * is_vote, -agree * is_vote
    features[:, ABSTAIN] = abstain * is_vote
    features[:, :, -1] = (outcome * ((stages == TERMINAL) & is_sponsor))[:, None]
    return features


def seat_utilities(
    texts: Floats,
    stages: NDArray[np.int64],
    is_sponsor: NDArray[np.bool_],
    outcome: float,
    weights: Floats,
) -> Floats:
    """Utilities [N, 5] of the five actions, what follows included.

    Minus infinity for those that a stage has not.
    """
    features = spatial_features(texts, stages, is_sponsor, outcome)
    utilities = np.where(STAGE_MASKS[stages], features @ weights, -np.inf)
    # Sponsoring pays at the end; whatever else follows is the same for all actions.
    utilities[(stages == DRAFT) & ~is_sponsor, COSPONSOR] += weights[-1] * outcome
    return utilities


def staged_model(
    texts: Floats, stages: NDArray[np.int64], lengths: NDArray[np.int64], outcome: float
) -> TabularMDP:
    """The choices that recorded episodes offered, each step once as a sponsor and once not.

    One vote in 180 moves neither the stage nor, to speak of, the outcome, so only sponsoring has
    consequences: state 2 n is step n for a country that does not sponsor, 2 n + 1 for one that
    does.

    Args:
        texts: [N, 6], by `TEXT_FIELDS`, laid end to end.
        stages: [N].
        lengths: [K], steps of each episode, at most 4.
        outcome: As in `spatial_features`.
    """
    num_steps = len(stages)
    doubled, is_sponsor = np.repeat(np.arange(num_steps), 2), np.tile([False, True], num_steps)
    features = spatial_features(texts[doubled], stages[doubled], is_sponsor, outcome)
    is_last = np.zeros(num_steps, np.bool_)
    is_last[np.cumsum(lengths) - 1] = True
    states, actions = np.meshgrid(np.flatnonzero(~is_last[doubled]), np.arange(5), indexing="ij")
    joins = is_sponsor[states] | (actions == COSPONSOR)
    following = 2 * (doubled[states] + 1) + joins
    rows = (states * 5 + actions).ravel()
    shape = (num_steps * 10, num_steps * 2)
    transitions = sparse.csr_array((np.ones(len(rows)), (rows, following.ravel())), shape=shape)
    return TabularMDP(
        features,
        SPATIAL_FEATURES,
        mask=STAGE_MASKS[stages[doubled]],
        transitions=transitions,
        horizon=MAX_STEPS,
    )


def staged_demonstrations(
    is_sponsor: NDArray[np.bool_], actions: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Demonstrations:
    """Recorded steps [N] in the states of `staged_model`."""
    states = 2 * np.arange(len(actions)) + np.asarray(is_sponsor, np.int64)
    return Demonstrations.from_states(states, actions, lengths)
