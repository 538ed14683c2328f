"""The seven tendencies that compete for a person's conduct.

Beside them the columns of a seat's observation.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from wm_envs.rules import Field, Kind, ObservationSpec


class Tendency(StrEnum):
    """One of the seven; its number in arrays is its place in this list."""

    SURVIVAL = "survival"
    STATUS = "status"
    MEANING = "meaning"
    CONNECTION = "connection"
    AUTONOMY = "autonomy"
    COMFORT = "comfort"
    CURIOSITY = "curiosity"

    @property
    def index(self) -> int:  # type: ignore[override]  # a tendency is a name; nobody searches in it
        """The tendency's place in every array of seven."""
        return TENDENCIES.index(self)


TENDENCIES: tuple[Tendency, ...] = tuple(Tendency)
NUM_TENDENCIES = len(TENDENCIES)

DEFAULT_ALLOCATIONS: Mapping[Tendency, float] = MappingProxyType(
    {
        Tendency.SURVIVAL: 0.18,
        Tendency.STATUS: 0.12,
        Tendency.MEANING: 0.10,
        Tendency.CONNECTION: 0.20,
        Tendency.AUTONOMY: 0.12,
        Tendency.COMFORT: 0.18,
        Tendency.CURIOSITY: 0.10,
    }
)

CLAIMS: Mapping[Tendency, str] = MappingProxyType(
    {
        Tendency.SURVIVAL: "This person acts to stay safe, fed and alive.",
        Tendency.STATUS: "This person acts to rank high in the eyes of others.",
        Tendency.MEANING: "This person acts to serve what life is for.",
        Tendency.CONNECTION: "This person acts to love, be loved and belong.",
        Tendency.AUTONOMY: "This person acts to be free and to owe nobody.",
        Tendency.COMFORT: "This person acts to be at ease and undisturbed.",
        Tendency.CURIOSITY: "This person acts to find out and to understand.",
    }
)


def _of_each(
    name: str, low: float, high: float, meaning: str, kind: Kind = "number"
) -> list[Field]:
    return [Field(f"{name}_{tendency}", "1", low, high, meaning, kind) for tendency in TENDENCIES]


OBSERVATION = ObservationSpec(
    [
        Field("budget", "1", 0.0, 1.0, "share of the budget that is left in this debate"),
        Field("round", "1", 0.0, 1.0, "share of the debate's rounds that are over"),
        Field("debate", "1", 0.0, 1.0, "share of the debates that are over"),
        *_of_each("seat", 0.0, 1.0, "the agent's tendency, one-hot", "one-hot"),
        *_of_each("relevance", 0.0, 1.0, "of the observation"),
        *_of_each("score", -10.0, 10.0, "net score of a claim"),
        *_of_each("allocation", 0.0, 1.0, "of influence"),
    ]
)
# A group's column for tendency i is that of the first tendency plus i.
DebateColumn: Any = OBSERVATION.columns("DebateColumn", module=__name__)
