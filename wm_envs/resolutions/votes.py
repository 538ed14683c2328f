"""Recorded resolutions as what models learn from: plenary votes as arrays, and whole episodes.

An episode of `wm/UNResolution-v0` is seen from one country's seat; replaying its actions in
`dynamics="recorded"` gives the same observations. A country that did not vote took NO_ACTION: absent
is not abstain.
"""

from calendar import isleap
from collections.abc import Iterable, Sequence
from datetime import date
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from wm_envs.data.trajectories import Trajectories
from wm_envs.errors import OptionError, TrajectoryError
from wm_envs.resolutions.codes import OBSERVATION, ResolutionAction, ResolutionColumn, Stage, Vote
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.generator import topic_of
from wm_envs.resolutions.records import KINDS, Ballot, ResolutionRecord, outcome_value


class _VoteArrays(TypedDict):
    """R roll calls of C countries by date, as `wm_agents.domains.resolutions.VoteData` takes them.

    Attributes:
        votes: [R, C] int8, codes of `wm_envs.resolutions.codes.Vote`.
        years: [R] float64, the date as a year, such as 2012.91.
        kinds: [R] int8: 0 whole text, 1 paragraph, 2 amendment, 3 motion.
        issues: [R, I] bool.
        sponsors: [R, C] bool, True for those known to have submitted the text.
        titles: R texts: title and subject of what is voted on.
        descriptions: R texts as recorded.
        countries: C codes.
        issue_names: I names.
        ids: R trajectory ids.
    """

    votes: NDArray[np.int8]
    years: NDArray[np.float64]
    kinds: NDArray[np.int8]
    issues: NDArray[np.bool_]
    sponsors: NDArray[np.bool_]
    titles: list[str]
    descriptions: list[str]
    countries: list[str]
    issue_names: list[str]
    ids: list[str]


def vote_arrays(trajectories: Sequence[ResolutionRecord]) -> _VoteArrays:
    """The trajectories that have a named plenary vote and a date, in order of date.

    Raises:
        TrajectoryError: None of them has both.
    """
    dated = [(t, t.plenary_ballot, t.date) for t in trajectories]
    named = [(t, b, d) for t, b, d in dated if b is not None and d is not None and any(_lists(b))]
    if not named:
        raise TrajectoryError(
            "no trajectory has a plenary vote with names and a date: read a file of votes"
        )
    # Models are tested on what came later, hence the order of time.
    named.sort(key=lambda entry: entry[2])
    countries = sorted(
        {code for _, ballot, _ in named for codes in _lists(ballot) for code in codes}
    )
    issue_names = sorted({issue for t, _, _ in named for issue in t.issues})
    return _VoteArrays(
        votes=_votes([ballot for _, ballot, _ in named], countries),
        years=np.array([year_of(day) for _, _, day in named]),
        kinds=np.array([KINDS.index(t.kind) for t, _, _ in named], np.int8),
        issues=_membership([t.issues for t, _, _ in named], issue_names),
        sponsors=_membership(
            [(*t.sponsors, *t.additional_sponsors) for t, _, _ in named], countries
        ),
        titles=[f"{t.title} . {t.subject}" for t, _, _ in named],
        descriptions=[t.description or f"{t.title} {t.subject}" for t, _, _ in named],
        countries=countries,
        issue_names=issue_names,
        ids=[t.trajectory_id for t, _, _ in named],
    )


def _lists(ballot: Ballot) -> tuple[tuple[str, ...], ...]:
    return ballot.in_favour, ballot.abstaining, ballot.against


def _votes(ballots: list[Ballot], countries: list[str]) -> NDArray[np.int8]:
    place = {code: column for column, code in enumerate(countries)}
    votes = np.full((len(ballots), len(countries)), Vote.ABSENT, np.int8)
    for row, ballot in enumerate(ballots):
        for vote, codes in enumerate(_lists(ballot)):
            votes[row, [place[code] for code in codes]] = vote
    return votes


def _membership(sets: list[tuple[str, ...]], names: list[str]) -> NDArray[np.bool_]:
    place = {name: column for column, name in enumerate(names)}
    members = np.zeros((len(sets), len(names)), np.bool_)
    for row, chosen in enumerate(sets):
        members[row, [place[name] for name in chosen if name in place]] = True
    return members


def year_of(day: str) -> float:
    """A date like 2012-12-01, or a year, on the scale of `_VoteArrays`.

    Raises:
        OptionError: It is neither.
    """
    try:
        parsed = date.fromisoformat(day if "-" in day else f"{day}-01-01")
    except ValueError as error:
        raise OptionError(f"expected a date like 2012-12-01 or a year, got {day!r}") from error
    return parsed.year + (parsed - date(parsed.year, 1, 1)).days / (
        366 if isleap(parsed.year) else 365
    )


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
