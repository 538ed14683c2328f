"""Periodic cubic splines through points of a closed curve."""

import numpy as np
from numpy.typing import NDArray

from wm_envs.kernel import kernel
from wm_envs.rules import Array

Floats = NDArray[np.float64]

ARC_LENGTH_PASSES = 3
GAUSS_NODES, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(5)


class ClosedSpline:
    """A twice differentiable closed curve through given points, in arc length.

    The parameter is the chord length first; each pass then replaces it by the arc length of the
    curve found so far, so that equal steps of the parameter are equal distances along the curve to
    about 1e-6.

    Args:
        points: Points [K, 2] in order, the first not repeated at the end, m.

    Attributes:
        length: Length of the curve, m.
        knots: Distance along the curve of each point and of the first one again, [K + 1], m.
    """

    def __init__(self, points: Floats) -> None:
        closed = np.vstack([points, points[:1]])
        steps: Floats = np.hypot(*np.diff(closed, axis=0).T)
        for _ in range(ARC_LENGTH_PASSES):
            self.knots: Floats = np.concatenate([[0.0], np.cumsum(steps)])
            self._values = closed
            self._second = second_derivatives(self.knots, closed)
            steps = self._arc_lengths()
        self.length = float(self.knots[-1])

    def __call__(self, distances: Floats) -> tuple[Floats, Floats, Floats]:
        """Points, first and second derivatives, each [M, 2], at distances [M] along the curve."""
        return evaluate(self.knots, self._values, self._second, distances)

    def _arc_lengths(self) -> Floats:
        """Length of each piece [K], by Gauss-Legendre quadrature with five nodes."""
        widths = np.diff(self.knots)
        nodes = self.knots[:-1, None] + widths[:, None] * (GAUSS_NODES + 1) / 2
        _, first, _ = self(nodes.ravel())
        speeds = np.hypot(first[:, 0], first[:, 1]).reshape(nodes.shape)
        lengths: Floats = speeds @ GAUSS_WEIGHTS * widths / 2
        return lengths


def second_derivatives(knots: Floats, values: Floats) -> Floats:
    """Second derivatives [K + 1, D] of the periodic cubic spline with values [K + 1, D].

    The last value is equal to the first.

    From the continuity of the first derivative (de Boor, A Practical Guide to Splines, 1978).
    """
    widths = np.diff(knots)
    slopes = np.diff(values, axis=0) / widths[:, None]
    before = np.roll(widths, 1)
    right = 6.0 * (slopes - np.roll(slopes, 1, axis=0))
    # Column by column, as the kernel solves for one vector.
    solved = np.empty_like(right)
    for column in range(right.shape[1]):
        solved[:, column] = solve_cyclic(
            before, 2.0 * (before + widths), widths, np.ascontiguousarray(right[:, column])
        )
    return np.vstack([solved, solved[:1]])


def evaluate(
    knots: Floats, values: Floats, second: Floats, at: Floats
) -> tuple[Floats, Floats, Floats]:
    """Value, first and second derivative [M, D] of a cubic spline.

    `at` [M] taken modulo the period.
    """
    at = np.mod(at, knots[-1])
    piece = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    width = np.diff(knots)[piece][:, None]
    b = ((at - knots[piece]) / width[:, 0])[:, None]
    a = 1.0 - b
    low = values[piece]
    high = values[piece + 1]
    second_low = second[piece]
    second_high = second[piece + 1]
    value = a * low + b * high + ((a**3 - a) * second_low + (b**3 - b) * second_high) * width**2 / 6
    first = (high - low) / width + (
        (3 * b**2 - 1) * second_high - (3 * a**2 - 1) * second_low
    ) * width / 6
    return value, first, a * second_low + b * second_high


@kernel
def solve_cyclic(below: Array, diagonal: Array, above: Array, right: Array) -> Array:
    """Solve a cyclic tridiagonal system.

    Thomas elimination with the corners as a rank-one term (Sherman & Morrison).

    `below[0]` and `above[-1]` are the corners of the matrix.
    """
    size = len(diagonal)
    corner_low, corner_high = above[size - 1], below[0]
    # Any number but 0 would do; this one keeps the first pivot away from 0.
    shift = -diagonal[0]
    factor, first, second = np.empty(size), np.empty(size), np.empty(size)
    pivot = diagonal[0] - shift
    first[0], second[0] = right[0] / pivot, shift / pivot
    for i in range(1, size):
        factor[i] = above[i - 1] / pivot
        entry = diagonal[i] - (corner_low * corner_high / shift if i == size - 1 else 0.0)
        pivot = entry - below[i] * factor[i]
        term = corner_low if i == size - 1 else 0.0
        first[i] = (right[i] - below[i] * first[i - 1]) / pivot
        second[i] = (term - below[i] * second[i - 1]) / pivot
    for i in range(size - 2, -1, -1):
        first[i] -= factor[i + 1] * first[i + 1]
        second[i] -= factor[i + 1] * second[i + 1]
    share = corner_high / shift
    weight = (first[0] + share * first[size - 1]) / (1.0 + second[0] + share * second[size - 1])
    return first - weight * second
