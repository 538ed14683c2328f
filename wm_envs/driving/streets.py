"""Random circuits of straights and tight bends, for learners that are to drive real ones.

The built-in random circuit (`track.random_track`) is a smooth closed wave whose bends have a radius
of 25 m or more. Real circuits are straights that end in hairpins of 10 m.
"""

import math

import numpy as np
from numpy.typing import NDArray

from wm_envs.driving.track import Track, find_touching, from_points
from wm_envs.errors import TrackError

Floats = NDArray[np.float64]

FEW_CORNERS, MANY_CORNERS = (5, 13), (24, 40)
SPACING = 3.0  # m, of the points along the centre line
SMOOTHING = 5.0  # m, the standard deviation of the Gaussian that rounds what joins the pieces
MIN_RADIUS, MAX_RADIUS = 9.0, 120.0  # m, of the arcs before they are smoothed
MAX_CURVATURE = 0.12  # 1/m, after that
MIN_LENGTH = 900.0  # m


def street_track(seed: int, corners: tuple[int, int] = FEW_CORNERS) -> Track:
    """A polygon around a centre whose corners are arcs; 1 to 5 km long.

    Args:
        seed: Of everything that is drawn.
        corners: The least and the largest number of them. Few stand between straights; of
            `MANY_CORNERS` one follows another, as often as not to the other side.
    """
    generator = np.random.default_rng([seed, 77])
    while True:
        track = _draw(generator, corners)
        if track is not None:
            return track


def _draw(generator: np.random.Generator, corners: tuple[int, int]) -> Track | None:
    """One try; None where the line touches itself or turns too sharply."""
    num_corners = int(generator.integers(corners[0], corners[1] + 1))
    size = generator.uniform(250.0, 800.0)
    angle = np.arange(num_corners) + generator.uniform(-0.35, 0.35, num_corners)
    angle *= math.tau / num_corners
    distance = size * generator.uniform(0.4, 1.0, num_corners)
    points = distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    radii = np.exp(generator.uniform(math.log(MIN_RADIUS), math.log(MAX_RADIUS), num_corners))
    arcs = [
        _arc(points[i - 1], points[i], points[(i + 1) % num_corners], radii[i])
        for i in range(num_corners)
    ]
    line = _smoothed(np.vstack(arcs))
    if generator.random() < 0.5:
        # In a mirror, so that as many circuits turn right as left.
        line = line * np.array([1.0, -1.0])
    share = np.linspace(0.0, math.tau, len(line), endpoint=False)
    waves, phase = int(generator.integers(1, 4)), generator.uniform(0.0, math.tau)
    right = generator.uniform(4.0, 7.0) * (1.0 + 0.15 * np.sin(waves * share + phase))
    left = right * generator.uniform(0.8, 1.2)
    steps = np.roll(line, -1, axis=0) - line
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    headings = np.arctan2(steps[:, 1], steps[:, 0])
    touching, _ = find_touching(line, steps, lengths, np.cumsum(lengths) - lengths, headings)
    if touching >= 0:
        return None
    try:
        track = from_points("street", line, right, left)
    except TrackError:
        return None
    if track.length < MIN_LENGTH or np.abs(track.curvature).max() > MAX_CURVATURE:
        return None
    return track


def _arc(before: Floats, corner: Floats, after: Floats, radius: float) -> Floats:
    """Points [K, 2] of the arc that rounds a corner, within half of the shorter edge."""
    to_before, to_after = before - corner, after - corner
    length_before, length_after = np.hypot(*to_before), np.hypot(*to_after)
    to_before, to_after = to_before / length_before, to_after / length_after
    inner = math.acos(min(max(float(to_before @ to_after), -1.0), 1.0))
    middle = to_before + to_after
    if np.hypot(*middle) < 1e-6:
        return corner[None]
    tangent = min(radius / math.tan(0.5 * inner), 0.48 * min(length_before, length_after))
    radius = tangent * math.tan(0.5 * inner)
    centre = corner + middle / np.hypot(*middle) * math.hypot(radius, tangent)
    first, last = corner + tangent * to_before - centre, corner + tangent * to_after - centre
    begin = math.atan2(first[1], first[0])
    turn = (math.atan2(last[1], last[0]) - begin + math.pi) % math.tau - math.pi
    num_points = max(2, int(radius * abs(turn) / SPACING) + 1)
    angle = begin + np.linspace(0.0, 1.0, num_points) * turn
    arc: Floats = centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return arc


def _smoothed(points: Floats) -> Floats:
    """The closed line at equal distances [M, 2], convolved with a Gaussian."""
    closed = np.vstack([points, points[:1]])
    place = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    num_points = round(place[-1] / SPACING)
    at = np.linspace(0.0, place[-1], num_points, endpoint=False)
    line = np.stack([np.interp(at, place, closed[:, axis]) for axis in range(2)], axis=1)
    frequency = math.tau * np.fft.rfftfreq(num_points, place[-1] / num_points)
    gain = np.exp(-0.5 * (SMOOTHING * frequency) ** 2)
    return np.fft.irfft(np.fft.rfft(line, axis=0) * gain[:, None], num_points, axis=0)
