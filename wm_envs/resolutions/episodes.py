"""Recorded resolutions as episodes of `wm/UNResolution-v0`, seen from one country's seat.

Replaying an episode's actions in `dynamics="recorded"` gives the same observations. A country that
did not vote took NO_ACTION: absent is not abstain.
"""

from collections.abc import Iterable

import numpy as np

from wm_envs.data.trajectories import Trajectories
from wm_envs.errors import OptionError, TrajectoryError
from wm_envs.resolutions.codes import OBSERVATION, ResolutionAction, ResolutionColumn, Stage
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.generator import topic_of
from wm_envs.resolutions.records import Ballot, ResolutionRecord, outcome_value


def recorded_trajectories(
    records: Iterable[ResolutionRecord], country: str, transitions: int = 4
) -> Trajectories:
    """The episodes of all records that have a vote or an outcome.

    Args:
        records: In any number; those of which nothing is known are left out.
        country: Code or name of the country whose seat it is.
        transitions: 4, or 3 for the historical layout, in which the committee's vote is taken in
            DRAFT.

    Raises:
        TrajectoryError: None has a vote or an outcome.
        OptionError: `transitions` is neither, or the country is unknown.
    """
    episodes = [recorded_episode(r, country, transitions) for r in records if has_course(r)]
    if not episodes:
        raise TrajectoryError("no trajectory has a vote or an outcome: nothing to learn from")
    return Trajectories.concatenate(episodes)


def recorded_episode(record: ResolutionRecord, country: str, transitions: int = 4) -> Trajectories:
    """What the country saw and did, as one episode; arguments and errors as above."""
    if transitions not in (3, 4):
        raise OptionError(f"transitions is 3 or 4, got {transitions!r}")
    code = code_of(country)
    if code is None:
        raise OptionError(f"country is a code like 'FR' or a name, got {country!r}")
    stages = [Stage.DRAFT]
    if record.committee_ballot is not None:
        stages.append(Stage.COMMITTEE_VOTE)
    if record.plenary_ballot is not None:
        stages.append(Stage.PLENARY_VOTE)
    stages.append(Stage.TERMINAL)
    # With three transitions an action leads into the stage in which it counts.
    action_stages = stages if transitions == 4 else stages[1:]
    next_stages = [*stages[1:], Stage.TERMINAL] if transitions == 4 else stages[1:]
    actions = [_action(record, code, stage, transitions) for stage in action_stages]
    observations = [_observation(record, code, Stage.DRAFT, 0, transitions)]
    for time, stage in enumerate(next_stages, 1):
        observations.append(_observation(record, code, stage, time, transitions))
    rewards = np.zeros(len(actions))
    if observations[-1][ResolutionColumn.IS_SPONSOR]:
        rewards[-1] = outcome_value(record)
    terminations = np.zeros(len(actions), np.bool_)
    terminations[-1] = True
    return Trajectories.from_arrays(
        np.array(observations), np.array(actions), rewards, terminations
    )


def has_course(record: ResolutionRecord) -> bool:
    """Whether anything is known of how it went."""
    return bool(record.plenary_ballot or record.committee_ballot or record.final_outcome)


def vote_of(ballot: Ballot | None, country: str) -> ResolutionAction:
    """The country's action in a vote; NO_ACTION where it is on no list."""
    if ballot is None:
        return ResolutionAction.NO_ACTION
    if country in ballot.in_favour:
        return ResolutionAction.YES
    if country in ballot.against:
        return ResolutionAction.NO
    if country in ballot.abstaining:
        return ResolutionAction.ABSTAIN
    return ResolutionAction.NO_ACTION


def _action(
    record: ResolutionRecord, country: str, stage: Stage, transitions: int
) -> ResolutionAction:
    if stage == Stage.COMMITTEE_VOTE:
        return vote_of(record.committee_ballot, country)
    if stage == Stage.PLENARY_VOTE:
        return vote_of(record.plenary_ballot, country)
    joins = country in record.additional_sponsors and country not in record.sponsors
    if stage == Stage.DRAFT and joins and transitions == 4:
        return ResolutionAction.COSPONSOR
    return ResolutionAction.NO_ACTION


def _observation(
    record: ResolutionRecord, country: str, stage: Stage, time: int, transitions: int
) -> list[float]:
    """One observation [O]; a tally shows once its vote is over."""
    row = [0.0] * len(OBSERVATION)
    row[ResolutionColumn.STAGE_DRAFT + stage] = 1.0
    row[ResolutionColumn.TOPIC] = topic_of(record.issues, record.committee)
    joined = {*record.additional_sponsors} - {*record.sponsors}
    if transitions == 3:
        # Joining is an action that this layout does not have.
        joined.discard(country)
    sponsors = {*record.sponsors, *(joined if time else ())}
    row[ResolutionColumn.NUM_SPONSORS] = len(sponsors)
    row[ResolutionColumn.IS_SPONSOR] = country in sponsors
    # With three transitions the stage that a vote leads to shows its tally already.
    is_early = transitions == 3
    if record.committee_ballot is not None and stage + is_early > Stage.COMMITTEE_VOTE:
        _show_tally(row, ResolutionColumn.COMMITTEE_YES, record.committee_ballot)
    if record.plenary_ballot is not None and stage + is_early > Stage.PLENARY_VOTE:
        _show_tally(row, ResolutionColumn.PLENARY_YES, record.plenary_ballot)
    row[ResolutionColumn.T] = time
    return row


def _show_tally(row: list[float], first_column: int, ballot: Ballot) -> None:
    """Write yes, no and abstentions, which are neighbors."""
    row[first_column : first_column + len(ballot.tally)] = map(float, ballot.tally)
