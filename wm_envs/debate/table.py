"""Relevance computed beforehand, as the environments use it.

One row for each observation, grouped by person.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_envs.debate.dynamics import MAX_OBSERVATIONS, MAX_PERSONS
from wm_envs.debate.observations import Observations
from wm_envs.debate.relevance import Relevance, check_scores
from wm_envs.errors import ObservationError, OptionError

DEFAULT_TABLE = "relevance.json"


@dataclass(frozen=True)
class RelevanceTable:
    """Relevance of the observations of several persons.

    Attributes:
        persons: Names.
        first_rows: [persons + 1]; person p has the rows first_rows[p] up to first_rows[p + 1].
        relevance: float32 [rows, 7], each number in 0..1.
    """

    persons: tuple[str, ...]
    first_rows: NDArray[np.int64]
    relevance: NDArray[np.float32]

    @classmethod
    def of(cls, persons: Mapping[str, ArrayLike]) -> "RelevanceTable":
        """From relevance [N, 7] by person.

        Raises OptionError on sizes beyond what a state has room for.
        """
        if not isinstance(persons, Mapping) or not 1 <= len(persons) <= MAX_PERSONS:
            raise OptionError(
                f"relevance maps 1 to {MAX_PERSONS} persons to arrays [N, 7], got {type(persons)}"
            )
        try:
            arrays = [check_scores(rows, len(np.asarray(rows))) for rows in persons.values()]
        except (ObservationError, TypeError, ValueError) as error:
            raise OptionError(f"relevance: {error}") from error
        counts = [len(rows) for rows in arrays]
        if min(counts) < 1 or sum(counts) > MAX_OBSERVATIONS:
            raise OptionError(
                f"each person needs an observation and all together at most {MAX_OBSERVATIONS}, "
                f"got {counts}"
            )
        first_rows = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(tuple(persons), first_rows, np.concatenate(arrays).astype(np.float32))

    @classmethod
    def score(cls, observations: Observations, scorer: Relevance) -> "RelevanceTable":
        """By a scorer; neighbours with the same `source_id` are one person."""
        groups = {
            name: [o.content for o in group]
            for name, group in groupby(observations, lambda o: o.source_id)
        }
        return cls.of(
            {name: check_scores(scorer.score(texts), len(texts)) for name, texts in groups.items()}
        )

    def to_plain(self) -> dict[str, Any]:
        """Persons to lists of rows, rounded to four decimals."""
        parts = np.split(self.relevance.astype(np.float64).round(4), self.first_rows[1:-1])
        return {name: part.tolist() for name, part in zip(self.persons, parts, strict=True)}


@cache
def default_table() -> RelevanceTable:
    """The corpus by the default scorer; `python -m wm_envs.debate.table` computes it again."""
    text = files("wm_envs.debate").joinpath("corpora", DEFAULT_TABLE).read_text(encoding="utf-8")
    return RelevanceTable.of(json.loads(text))


def _rows_as_lines(table: RelevanceTable) -> str:
    blocks = []
    for name, rows in table.to_plain().items():
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        blocks.append(f"{json.dumps(name)}: [\n  {lines}]")
    return "{" + ",\n ".join(blocks) + "}\n"


def main() -> None:
    """Write the default table."""
    from pathlib import Path

    from wm_envs.debate.observations import load_corpus
    from wm_envs.debate.relevance import default_relevance

    table = RelevanceTable.score(load_corpus(), default_relevance())
    path = Path(__file__).parent / "corpora" / DEFAULT_TABLE
    path.write_text(_rows_as_lines(table), encoding="utf-8")
    print(f"wrote {len(table.relevance)} rows to {path}")


if __name__ == "__main__":
    main()
