"""Roll calls as arrays (`VoteData`), with the environments' codes of votes, stages, actions and columns."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import TrajectoryError
from wm_envs.data.display import short_repr
from wm_envs.resolutions.codes import QuestionKind as QuestionKind
from wm_envs.resolutions.codes import Vote
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.records import ResolutionRecord

Floats = NDArray[np.float32]


_OPENING = 0.7  # of a year: the middle of September
_YEAR_BEFORE_FIRST = 1945

CHOICES = (Vote.YES, Vote.ABSTAIN, Vote.NO)
"""What those who are present choose from, in the order of every last axis of three."""


@dataclass(frozen=True)
class VoteData:
    """R roll calls of C countries in order of date.

    Attributes:
        votes: [R, C] int8, by `Vote`: 0 yes, 1 abstain, 2 no, -1 absent.
        years: [R] float64, dates as years, never decreasing.
        kinds: [R] int8, by `QuestionKind`: 0 whole text, 1 paragraph, 2 amendment, 3 motion.
        issues: [R, I] bool.
        sponsors: [R, C] bool, True for those known to have submitted the text.
        titles: R texts: what is voted on.
        descriptions: R texts as recorded; novelty is judged on them.
        countries: C codes.
        issue_names: I names.
        ids: R names.
    """

    votes: NDArray[np.int8]
    years: NDArray[np.float64]
    kinds: NDArray[np.int8]
    issues: NDArray[np.bool_]
    sponsors: NDArray[np.bool_]
    titles: Sequence[str]
    descriptions: Sequence[str]
    countries: Sequence[str]
    issue_names: Sequence[str]
    ids: Sequence[str]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        num_rows, num_countries = self.votes.shape
        if num_rows == 0 or np.any((self.votes < Vote.ABSENT) | (self.votes > Vote.NO)):
            raise TrajectoryError(
                "votes are -1 (absent), 0 (yes), 1 (abstain) or 2 (no), with at least one roll call"
            )
        if not np.isfinite(self.years).all() or np.any(np.diff(self.years) < 0):
            raise TrajectoryError(
                "years are finite and never decrease: sort the roll calls by date"
            )
        lengths = {
            name: len(getattr(self, name))
            for name in ("years", "kinds", "issues", "titles", "descriptions", "ids")
        }
        wrong = {name: length for name, length in lengths.items() if length != num_rows}
        if wrong:
            raise TrajectoryError(f"expected {num_rows} roll calls in every array, got {wrong}")
        if len(self.countries) != num_countries or self.sponsors.shape != self.votes.shape:
            raise TrajectoryError(f"expected {num_countries} countries in countries and sponsors")
        if len(set(self.countries)) != num_countries:
            repeated = next(code for code in self.countries if list(self.countries).count(code) > 1)
            raise TrajectoryError(
                f"country {repeated!r} has two columns: merge them or leave one out"
            )

    @property
    def is_present(self) -> NDArray[np.bool_]:
        """[R, C]: the country voted."""
        return self.votes != Vote.ABSENT

    @property
    def sessions(self) -> NDArray[np.int64]:
        """[R], numbers of the Assembly's regular sessions by date: the first began in January 1946.

        A session opens in September and has the months until the next; what an emergency session
        decides counts to the regular one that it falls into.
        """
        numbers = np.floor(self.years - _OPENING).astype(np.int64) - _YEAR_BEFORE_FIRST
        return np.maximum(numbers, 1)

    @property
    def one_hot(self) -> Floats:
        """[R, C, 3]: the vote by `CHOICES`, zero where absent."""
        return (self.votes[..., None] == np.array(CHOICES, np.int8)).astype(np.float32)

    def between(self, first: float, last: float) -> NDArray[np.int64]:
        """Indices of the roll calls with first <= year < last."""
        return np.flatnonzero((self.years >= first) & (self.years < last))

    def column(self, country: str) -> int:
        """Where a country stands, by its code or any of its names.

        Raises:
            TrajectoryError: It is not among the countries.
        """
        code = country if country in self.countries else code_of(country)
        if code is None or code not in self.countries:
            raise TrajectoryError(
                f"country {country!r} is not among these {len(self.countries)}: give a code such as "
                f"{self.countries[0]}"
            )
        return list(self.countries).index(code)

    def select(self, rows: NDArray[np.int64]) -> "VoteData":
        """The roll calls of an index [R'], which stay in order of date."""
        return VoteData(
            votes=self.votes[rows],
            years=self.years[rows],
            kinds=self.kinds[rows],
            issues=self.issues[rows],
            sponsors=self.sponsors[rows],
            titles=[self.titles[row] for row in rows],
            descriptions=[self.descriptions[row] for row in rows],
            countries=self.countries,
            issue_names=self.issue_names,
            ids=[self.ids[row] for row in rows],
        )

    def fingerprint(self, before: float = np.inf) -> str:
        """A hash of the roll calls before a year, of all that is learned from them."""
        part = self.select(self.between(-np.inf, before))
        digest = sha256()
        for array in (part.votes, part.years, part.kinds, part.issues, part.sponsors):
            digest.update(np.ascontiguousarray(array).tobytes())
        for texts in (part.titles, part.countries, part.issue_names):
            digest.update(repr(list(texts)).encode())
        return digest.hexdigest()


def tally(votes: NDArray[np.int8]) -> NDArray[np.int64]:
    """Numbers [K, 3] of yes, abstain and no in votes [K, C]."""
    return np.stack([(votes == choice).sum(1) for choice in CHOICES], 1)


def record_contents(records: Sequence[ResolutionRecord]) -> dict[str, Any]:
    """What a set of records holds and what it lacks, as flat names and counts."""
    ballots = [record.plenary_ballot for record in records if record.plenary_ballot]
    votes = [(len(b.in_favour), len(b.against), len(b.abstaining)) for b in ballots]
    countries = {code for b in ballots for code in (*b.in_favour, *b.against, *b.abstaining)}
    dates = sorted(record.date for record in records if record.date)
    return {
        "num_votes": sum(map(sum, votes)),
        "votes_by_kind": dict(
            zip(("yes", "no", "abstain"), map(sum, zip(*votes, strict=True)), strict=False)
        ),
        "num_countries": len(countries),
        "has_namibia": "NA" in countries,
        "kinds": dict(Counter(record.kind for record in records)),
        "without_sponsors": sum(not record.sponsors for record in records),
        "without_title": sum(not record.title for record in records),
        "without_issue": sum(not record.issues for record in records),
        "without_committee_vote": sum(record.committee_ballot is None for record in records),
        "without_plenary_vote": sum(record.plenary_ballot is None for record in records),
        "first_date": dates[0] if dates else None,
        "last_date": dates[-1] if dates else None,
    }
