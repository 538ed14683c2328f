"""Roll calls as arrays, checked once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import TrajectoryError

ABSENT, YES, ABSTAIN, NO = -1, 0, 1, 2
CLASS_NAMES = ("yes", "abstain", "no")
NUM_KINDS = 4

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class VoteData:
    """R roll calls of C countries in order of date.

    Attributes:
        votes: [R, C] int8: 0 yes, 1 abstain, 2 no, -1 absent.
        years: [R] float64, dates as years, never decreasing.
        kinds: [R] int8: 0 whole text, 1 paragraph, 2 amendment, 3 motion.
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

    def __post_init__(self) -> None:
        num_rows, num_countries = self.votes.shape
        if num_rows == 0 or np.any((self.votes < ABSENT) | (self.votes > NO)):
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
        return self.votes != ABSENT

    @property
    def one_hot(self) -> Floats:
        """[R, C, 3]: the vote, zero where absent."""
        return (self.votes[..., None] == np.arange(3, dtype=np.int8)).astype(np.float32)

    def between(self, first: float, last: float) -> NDArray[np.int64]:
        """Indices of the roll calls with first <= year < last."""
        return np.flatnonzero((self.years >= first) & (self.years < last))
