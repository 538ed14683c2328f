"""Which weights the demonstrations can tell at all, whatever was chosen in them.

A weight matters only through differences between actions: of the feature itself and of what is
expected to follow. The second moment of these differences in the visited states, under even-handed
choice, is the Fisher information at zero weights. Directions in its null space change no
probability; demonstrations say nothing about them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wm_agents.irl.decision_model import Floats

TOLERANCE = 1e-9
_PART = 1e-4  # share of a unit weight within the null space from which on it counts as unidentified


@dataclass(frozen=True)
class Identifiability:
    """Rank and null directions of the covariance of feature differences, in standardised units.

    Attributes:
        feature_names: F names.
        eigenvalues: [F], falling; the information per decision along each axis.
        rank: How many directions can be told.
        null_directions: [F - rank, F], unit vectors along which nothing can be told.
        is_identified: [F] bool, False for weights that have a part in a null direction.
    """

    feature_names: tuple[str, ...]
    eigenvalues: Floats
    rank: int
    null_directions: Floats
    is_identified: NDArray[np.bool_]

    @property
    def is_full(self) -> bool:
        """Whether every weight can be told."""
        return self.rank == len(self.feature_names)

    def sentences(self) -> tuple[str, ...]:
        """Each null direction in words, largest parts first."""
        return tuple(self._sentence(direction) for direction in self.null_directions)

    def _sentence(self, direction: Floats) -> str:
        order = np.argsort(-np.abs(direction))
        parts = [
            f"{direction[i]:+.2f} {self.feature_names[i]}"
            for i in order
            if abs(direction[i]) > 0.05
        ]
        return f"not identified: {' '.join(parts)}"


def identify(
    information: Floats,
    feature_names: tuple[str, ...],
    *,
    floor: float = 0.0,
    tolerance: float = TOLERANCE,
) -> Identifiability:
    """Split weights into what can and what cannot be told.

    Args:
        information: [F, F], mean outer product of feature differences.
        feature_names: F names.
        floor: Information that rounding alone can bring about, which counts as zero.
        tolerance: Share of the largest eigenvalue below which one counts as zero.
    """
    values, vectors = np.linalg.eigh((information + information.T) / 2)
    order = np.argsort(-values)
    values, vectors = np.maximum(values[order], 0.0), vectors[:, order]
    rank = int((values > max(tolerance * values[0], floor)).sum())
    null = _simplest(vectors[:, rank:]) if rank < len(values) else np.zeros((0, len(values)))
    is_identified = np.sqrt((vectors[:, rank:] ** 2).sum(1)) < _PART
    return Identifiability(feature_names, values, rank, null, is_identified)


def _simplest(basis: Floats) -> Floats:
    """The same null space spanned by rows with few parts each, so that they can be read.

    Reduced row echelon form.
    """
    rows = basis.T.copy()
    pivot = 0
    for column in range(rows.shape[1]):
        if pivot == len(rows):
            break
        best = pivot + int(np.abs(rows[pivot:, column]).argmax())
        if abs(rows[best, column]) < 1e-8:
            continue
        rows[[pivot, best]] = rows[[best, pivot]]
        rows[pivot] /= rows[pivot, column]
        others = np.arange(len(rows)) != pivot
        rows[others] -= np.outer(rows[others, column], rows[pivot])
        pivot += 1
    scaled: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled
