"""Linear tile coding: a number as the shares of the two nearest of some centers.

A policy that aims multiplies what it reads: how fast one thing moves times how far away another is.
A small network learns products of tiles with a fraction of the updates that it needs for products
of plain numbers (Sutton & Barto 2018, section 9.5.4).

Shape letters: B rows, C numbers of a row, K centers of all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wm_envs.data.compiled import compiled

Array = NDArray[Any]

# Distances from 0 of the centers: dense where a difference decides most, coarse far away.
NEAR = (2, 4, 8, 12, 16, 24)
FAR = (4, 8, 12, 16, 24, 32, 48, 64, 96)


def centers_within(distances: tuple[int, ...], span: int) -> NDArray[np.float64]:
    """Centers on both sides of 0, in ascending order: the distances up to 0.6 of a span, or 1."""
    within = [distance for distance in distances if distance <= 0.6 * span] or [1]
    return np.array([-distance for distance in reversed(within)] + [0, *within], np.float64)


@dataclass(frozen=True)
class TileCoding:
    """The centers of C numbers.

    Attributes:
        centers: Of all numbers [K], each number's at least two in ascending order.
        firsts: The first center of each number, and K [C + 1].
    """

    centers: Array
    firsts: Array

    @classmethod
    def of(cls, centers: Sequence[Array]) -> Self:
        """The coding of so many numbers."""
        firsts = np.cumsum([0, *(len(those) for those in centers)])
        return cls(np.concatenate([np.zeros(0), *centers]), firsts)

    def __call__(self, numbers: Array) -> NDArray[np.float32]:
        """The shares [B, K] of numbers [B, C].

        Each number's sum to 1; a number beyond its first or last center is taken for it.
        """
        out = np.zeros((len(numbers), len(self.centers)), np.float32)
        _write_shares(numbers, self.centers, self.firsts, out)
        return out


def compressed(differences: Array) -> Array:
    """Differences of order one, the small ones told apart best."""
    return np.sign(differences) * np.log1p(np.abs(differences)) / 3.0


@compiled
def _write_shares(numbers: Array, centers: Array, firsts: Array, out: Array) -> None:
    for row in range(len(numbers)):
        for column in range(len(firsts) - 1):
            lower = firsts[column]
            last = firsts[column + 1] - 1
            number = min(max(float(numbers[row, column]), centers[lower]), centers[last])
            while lower < last - 1 and centers[lower + 1] <= number:
                lower += 1
            share = (number - centers[lower]) / (centers[lower + 1] - centers[lower])
            out[row, lower] = 1.0 - share
            out[row, lower + 1] = share
