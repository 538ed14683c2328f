"""Recorded trajectories as episodes of `wm/UNResolution-v0`, seen from one country's seat.

Replaying an episode's actions in `dynamics="recorded"` gives the same observations. A country that
did not vote took NO_ACTION: absent is not abstain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from wm_envs.errors import OptionError, TrajectoryError
from wm_envs.resolutions import dynamics
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.generator import topic_of
from wm_envs.resolutions.records import Ballot, Trajectory, outcome_value

NUM_FIELDS = 14


@dataclass(frozen=True)
class RecordedEpisode:
    """Observations [T + 1, 14], actions [T] and rewards [T] of a trajectory."""

    trajectory: Trajectory
    observations: NDArray[np.float32]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]


class EpisodeArrays(TypedDict):
    """K episodes end to end, as `wm_agents.Trajectories.from_arrays` takes them."""

    observations: NDArray[np.float32]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    lengths: NDArray[np.int64]


def recorded_episode(trajectory: Trajectory, country: str, transitions: int = 4) -> RecordedEpisode:
    """What the country saw and did.

    Args:
        trajectory: With a vote or an outcome.
        country: Its code or name.
        transitions: 4, or 3 for the historical layout, in which the committee's vote is taken in
            DRAFT.

    Raises:
        OptionError: `transitions` is neither, or the country is unknown.
    """
    if transitions not in (3, 4):
        raise OptionError(f"transitions is 3 or 4, got {transitions!r}")
    code = code_of(country)
    if code is None:
        raise OptionError(f"country is a code like 'FR' or a name, got {country!r}")
    country = code
    stages = [dynamics.DRAFT]
    stages += [dynamics.COMMITTEE_VOTE] * (trajectory.committee_ballot is not None)
    stages += [dynamics.PLENARY_VOTE] * (trajectory.plenary_ballot is not None)
    stages += [dynamics.TERMINAL]
    rows = [_observation(trajectory, country, stages[0], 0, transitions)]
    acting_in = [*stages] if transitions == 4 else stages[1:]
    actions = [_action(trajectory, country, stage, transitions) for stage in acting_in]
    reached = [*stages[1:], dynamics.TERMINAL] if transitions == 4 else stages[1:]
    for time, stage in enumerate(reached, 1):
        rows.append(_observation(trajectory, country, stage, time, transitions))
    rewards = np.zeros(len(actions))
    if rows[-1][6]:
        rewards[-1] = outcome_value(trajectory)
    return RecordedEpisode(
        trajectory, np.array(rows, np.float32), np.array(actions, np.int64), rewards
    )


def episode_arrays(
    trajectories: Sequence[Trajectory], country: str, transitions: int = 4
) -> EpisodeArrays:
    """The episodes of all trajectories that have a vote or an outcome.

    Raises:
        TrajectoryError: None has.
        OptionError: The country is unknown.
    """
    episodes = [recorded_episode(t, country, transitions) for t in trajectories if has_course(t)]
    if not episodes:
        raise TrajectoryError("no trajectory has a vote or an outcome: nothing to learn from")
    lengths = np.array([len(episode.actions) for episode in episodes], np.int64)
    terminations = np.zeros(lengths.sum(), np.bool_)
    terminations[lengths.cumsum() - 1] = True
    return EpisodeArrays(
        observations=np.concatenate([episode.observations for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]),
        terminations=terminations,
        truncations=np.zeros_like(terminations),
        lengths=lengths,
    )


def has_course(trajectory: Trajectory) -> bool:
    """Whether anything is known of how it went."""
    return bool(
        trajectory.plenary_ballot or trajectory.committee_ballot or trajectory.final_outcome
    )


def vote_of(ballot: Ballot | None, country: str) -> int:
    """The country's action in a vote."""
    if ballot is None:
        return dynamics.NO_ACTION
    lists = {
        dynamics.YES: ballot.in_favour,
        dynamics.NO: ballot.against,
        dynamics.ABSTAIN: ballot.abstaining,
    }
    return next((action for action, codes in lists.items() if country in codes), dynamics.NO_ACTION)


def _action(trajectory: Trajectory, country: str, stage: int, transitions: int) -> int:
    if stage == dynamics.COMMITTEE_VOTE:
        return vote_of(trajectory.committee_ballot, country)
    if stage == dynamics.PLENARY_VOTE:
        return vote_of(trajectory.plenary_ballot, country)
    joins = country in trajectory.additional_sponsors and country not in trajectory.sponsors
    return (
        dynamics.COSPONSOR
        if stage == dynamics.DRAFT and joins and transitions == 4
        else dynamics.NO_ACTION
    )


def _observation(
    trajectory: Trajectory, country: str, stage: int, time: int, transitions: int
) -> list[float]:
    """The fields in order; a tally shows once its vote is over."""
    row = [0.0] * NUM_FIELDS
    row[stage] = 1.0
    row[4] = topic_of(trajectory.issues, trajectory.committee)
    joined = {*trajectory.additional_sponsors} - {*trajectory.sponsors}
    if transitions == 3:
        joined.discard(country)  # joining is an action that this layout does not have
    everybody = {*trajectory.sponsors, *(joined if time else ())}
    row[5], row[6] = len(everybody), country in everybody
    shown_after = (1, 2) if transitions == 4 else (0, 1)
    if trajectory.committee_ballot is not None and stage > shown_after[0]:
        row[7:10] = _tally(trajectory.committee_ballot)
    if trajectory.plenary_ballot is not None and stage > shown_after[1]:
        row[10:13] = _tally(trajectory.plenary_ballot)
    row[13] = time
    return row


def _tally(ballot: Ballot) -> list[float]:
    return [float(count) for count in ballot.tally]
