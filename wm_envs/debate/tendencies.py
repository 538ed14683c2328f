"""The seven tendencies that compete for a person's conduct, and how much influence each has by default."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


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
