"""Recorded plenary votes as arrays: what vote models are fitted on."""

from calendar import isleap
from collections.abc import Sequence
from datetime import date
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from wm_envs.errors import OptionError, TrajectoryError
from wm_envs.resolutions.codes import Vote
from wm_envs.resolutions.records import KINDS, Ballot, ResolutionRecord


class VoteArrays(TypedDict):
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


def vote_arrays(trajectories: Sequence[ResolutionRecord]) -> VoteArrays:
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
    return VoteArrays(
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
    """A date like 2012-12-01, or a year, on the scale of `VoteArrays`.

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
