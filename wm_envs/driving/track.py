"""Closed circuits as tables along the centre line.

From a CSV file, or the oval, the figure eight and random ones.

A position is (s, n): the distance along the centre line and the offset to its left, both in metres.
Curvature is positive where the road turns left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.data.paths import user_path
from wm_envs.driving.spline import ClosedSpline
from wm_envs.errors import TrackError
from wm_envs.kernel import kernel
from wm_envs.rules import Array

Floats = NDArray[np.float64]

TABLES = ("x", "y", "heading", "curvature", "right", "left")  # of a circuit, in a parameter row
SPACING = 1.0  # of the tables, m
# Of the tables: a longer circuit gets a wider spacing.
MAX_POINTS = 8192
COLUMNS = ("x_m", "y_m", "w_tr_right_m", "w_tr_left_m")
BUILT_IN = ("oval", "figure_eight", "random")
MAX_BYTES, MIN_ROWS, MAX_ROWS = 2_000_000, 8, 10_000
MIN_LENGTH, MAX_LENGTH = 200.0, 40_000.0  # m; the car looks 180 m ahead
MIN_WIDTH = 2.5  # of the whole road, m
MAX_HALF_WIDTH = 100.0  # m: more are not metres
MAX_CURVATURE = 0.5  # 1/m
# m that the inner edge of a bend may run backwards. It does where the road is wider than the radius
# of the bend, since the normals cross there. Measured circuits have up to 0.22 m, at single hairpin
# points.
MAX_BACKWARDS = 0.5
# M between two parts of the line that run alongside.
TOUCHING_DISTANCE = 2.0
# Parts that meet at a wider angle are a bridge.
CROSSING_ANGLE = math.radians(30.0)


@dataclass(frozen=True)
class Track:
    """A circuit as tables of N points at equal distances, the first not repeated.

    Attributes:
        name: The file's name without its ending, or the built-in name.
        length: Length of the centre line, m.
        x: East, [N] m.
        y: North, [N] m.
        heading: Direction of the centre line, [N] rad, unwrapped.
        curvature: Of the centre line, [N] 1/m, positive to the left.
        right: From the centre line to the right edge, [N] m.
        left: From the centre line to the left edge, [N] m.
    """

    name: str
    length: float
    x: Floats
    y: Floats
    heading: Floats
    curvature: Floats
    right: Floats
    left: Floats

    @property
    def num_points(self) -> int:
        """Points of the tables, N."""
        return len(self.x)

    @property
    def spacing(self) -> float:
        """Distance between the points of the tables, m."""
        return self.length / self.num_points

    def at(self, table: Floats, distance: Floats | float) -> Floats:
        """A table [N], linearly interpolated at distances along the centre line."""
        place = np.mod(distance, self.length) / self.spacing
        index = np.minimum(place.astype(np.int64), self.num_points - 1)
        share = place - index
        interpolated: Floats = (1 - share) * table[index] + share * table[
            (index + 1) % self.num_points
        ]
        return interpolated

    def position(self, distance: Floats, offset: Floats) -> Floats:
        """Points [M, 2] of the plane at distances and offsets [M]."""
        turn = np.append(
            self.heading,
            self.heading[0] + round((self.heading[-1] - self.heading[0]) / math.tau) * math.tau,
        )
        place = np.mod(distance, self.length) / self.spacing
        heading = np.interp(place, np.arange(len(turn)), turn)
        x, y = self.at(self.x, distance), self.at(self.y, distance)
        return np.stack([x - offset * np.sin(heading), y + offset * np.cos(heading)], axis=-1)


def fill_track(row: Array, track: Track) -> None:
    """Write the tables of a circuit into a parameter row [1], closed by the first point."""
    row["num_points"] = track.num_points
    row["length"] = track.length
    row["inverse_spacing"] = 1.0 / track.spacing
    for name in TABLES:
        table = getattr(track, name)
        last = table[0]
        if name == "heading":
            # Whole turns on, so that interpolation to the first point does not swing back.
            last = table[0] + math.tau * round((table[-1] - table[0]) / math.tau)
        row[name][0, : track.num_points + 1] = np.append(table, last)


def track_of(parameters: Any, name: str = "circuit") -> Track:
    """The circuit in a parameter row, its tables as float64."""
    row = parameters.reshape(-1)[0]
    num_points = int(row["num_points"])
    tables = {table: np.array(row[table][:num_points], np.float64) for table in TABLES}
    return Track(name=name, length=float(row["length"]), **tables)


def make_track(track: str | Path, seed: int = 0) -> Track:
    """A built-in circuit by its name, or the circuit of a CSV file; `seed` chooses the random one.

    Raises:
        TrackError: The name is unknown, or the file is no circuit.
    """
    if track == "oval":
        return oval()
    if track == "figure_eight":
        return figure_eight()
    if track == "random":
        return random_track(seed)
    if not isinstance(track, str | Path) or not str(track).lower().endswith(".csv"):
        raise TrackError(f"track is one of {BUILT_IN} or the path of a .csv file, got {track!r}")
    return read_csv(user_path(track))


def oval() -> Track:
    """Two straights of 300 m and two bends of 80 m radius with transitions of 60 m.

    About 1,220 m.
    """
    radius, transition, straight = 80.0, 60.0, 300.0
    # A transition turns half of what an arc of its length does.
    arc = math.pi * radius - transition
    corners = np.cumsum([0.0, straight, transition, arc, transition])
    step = 0.01
    distance = np.arange(0.0, corners[-1], step)
    curvature = np.interp(distance, corners, np.array([0.0, 0.0, 1.0, 1.0, 0.0]) / radius)
    heading = np.cumsum(curvature) * step
    heading *= math.pi / heading[-1]
    path: Floats = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * step
    half = path[:: round(4.0 / step)]
    # The other half is the first one turned around.
    whole = np.vstack([half, path[-1] - half])
    return from_points("oval", whole, np.full(len(whole), 6.0), np.full(len(whole), 6.0))


def figure_eight() -> Track:
    """The lemniscate of Bernoulli with half axes of 250 m, a bridge where it crosses itself.

    About 1,311 m.
    """
    angle = np.linspace(0.0, math.tau, 400, endpoint=False)
    scale = 250.0 / (1.0 + np.sin(angle) ** 2)
    points = np.stack([scale * np.cos(angle), scale * np.sin(angle) * np.cos(angle)], axis=1)
    return from_points("figure_eight", points, np.full(400, 6.0), np.full(400, 6.0))


def random_track(seed: int) -> Track:
    """A circuit around a centre whose distance is a random Fourier series.

    It is 2 to 4 km long and curved by 0.04 1/m at most.
    """
    generator = np.random.default_rng(seed)
    angle = np.linspace(0.0, math.tau, 600, endpoint=False)
    waves = np.arange(2, 8)
    amplitudes = generator.uniform(0.1, 0.5, len(waves)) / waves**0.7
    phases = generator.uniform(0.0, math.tau, len(waves))
    shape = np.cos(waves * angle[:, None] + phases) @ amplitudes
    shape /= np.abs(shape).max()
    size, half_width = generator.uniform(280.0, 480.0), np.full(600, generator.uniform(5.0, 7.0))
    for amplitude in 0.6 * 0.85 ** np.arange(40):
        distance = size * (1.0 + amplitude * shape)
        points = np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)
        track = _tables("random", points, half_width, half_width)
        if np.abs(track.curvature).max() <= 0.04:
            return track
    raise AssertionError("the circle that is left is curved by 1/280 1/m")


def from_points(
    name: str, points: Floats, right: Floats, left: Floats, lines: Sequence[int] | None = None
) -> Track:
    """The circuit through points [K, 2] with the half widths [K] at them, all in m.

    Errors name points by their lines.

    Raises:
        TrackError: The length or the curvature is out of bounds, or the road is wider than the
            radius of a bend.
    """
    track = _tables(name, points, right, left, lines)
    folded = _folded(track)
    if folded is not None:
        curvature = track.curvature[folded]
        side = "left" if curvature > 0 else "right"
        width = track.left[folded] if curvature > 0 else track.right[folded]
        number = int(
            np.hypot(points[:, 0] - track.x[folded], points[:, 1] - track.y[folded]).argmin()
        )
        raise TrackError(
            f"{name}: near {_point(number, lines)} the road reaches {width:.1f} m to the {side}, "
            "past the centre of a "
            f"bend with a radius of {1 / abs(curvature):.1f} m, so that its inner edge runs "
            "backwards: make it "
            f"narrower than the radius there (w_tr_{side}_m), or smooth the line"
        )
    return track


def _point(number: int, lines: Sequence[int] | None) -> str:
    return f"point {number}" if lines is None else f"line {lines[number]}"


def _tables(
    name: str, points: Floats, right: Floats, left: Floats, lines: Sequence[int] | None = None
) -> Track:
    """The tables of `from_points`, whatever the road's width; raises TrackError."""
    spline = ClosedSpline(points)
    if not MIN_LENGTH <= spline.length <= MAX_LENGTH:
        raise TrackError(
            f"{name}: the circuit is {spline.length:.0f} m long, {MIN_LENGTH:.0f} to "
            f"{MAX_LENGTH:.0f} can be driven: "
            "give x and y in metres"
        )
    num_points = min(MAX_POINTS, round(spline.length / SPACING))
    distance = np.linspace(0.0, spline.length, num_points, endpoint=False)
    place, first, second = spline(distance)
    curvature = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / np.hypot(
        first[:, 0], first[:, 1]
    ) ** 3
    if (sharpest := np.abs(curvature).max()) > MAX_CURVATURE:
        number = int(np.abs(spline.knots[:-1] - distance[np.abs(curvature).argmax()]).argmin())
        raise TrackError(
            f"{name}: near {_point(number, lines)} the line turns with a radius of "
            f"{1 / sharpest:.2f} m, "
            f"{1 / MAX_CURVATURE:.0f} m is the least: smooth the line"
        )
    return Track(
        name=name,
        length=spline.length,
        x=place[:, 0].copy(),
        y=place[:, 1].copy(),
        heading=np.unwrap(np.arctan2(first[:, 1], first[:, 0])),
        curvature=curvature,
        right=np.interp(distance, spline.knots, np.append(right, right[0])),
        left=np.interp(distance, spline.knots, np.append(left, left[0])),
    )


def _folded(track: Track) -> int | None:
    """The sharpest point of a fold whose inner edge runs `MAX_BACKWARDS` or more backwards."""
    inner = np.where(track.curvature > 0, track.left, track.right)
    # While the centre line goes on by ds, the inner edge does by (1 - n kappa) ds.
    excess = inner * np.abs(track.curvature) - 1.0
    is_folded = excess > 0.0
    if is_folded.all():
        return int(excess.argmax())
    # From a point that is not folded on, so that no fold lies across the seam of the tables.
    start = int(np.flatnonzero(~is_folded)[0])
    order = (np.arange(track.num_points) + start) % track.num_points
    fold_of = np.cumsum(~is_folded[order])  # constant over each fold
    backwards = np.bincount(fold_of, np.where(is_folded[order], excess[order], 0.0)) * track.spacing
    if backwards.max() <= MAX_BACKWARDS:
        return None
    members = order[(fold_of == backwards.argmax()) & is_folded[order]]
    return int(members[excess[members].argmax()])


def read_csv(path: Path) -> Track:
    """The circuit of a file with the columns x_m, y_m, w_tr_right_m, w_tr_left_m.

    Lines that start with # are comments.

    The last point leads on to the first; it may also be the first one again. A file that goes
    further over its start is refused, as is a road wider than the radius of its bend, where the
    normals of the line would cross.

    Raises:
        TrackError: With file, line and remedy.
    """
    lines, rows = _read_rows(path)
    if (
        len(rows) > 1 and np.hypot(*(rows[0, :2] - rows[-1, :2])) < 1e-6
    ):  # closed by repeating its first point
        lines, rows = lines[:-1], rows[:-1]
    if not MIN_ROWS <= len(rows) <= MAX_ROWS:
        raise TrackError(
            f"{path}: {len(rows)} points: give {MIN_ROWS} to {MAX_ROWS}, best one every 5 m"
        )
    _check_widths(path, lines, rows)
    _check_ends(path, lines, rows)
    _check_steps(path, lines, rows[:, :2])
    _check_touching(path, lines, rows[:, :2])
    try:
        track = from_points(path.stem, rows[:, :2], rows[:, 2], rows[:, 3], lines)
    except TrackError as error:
        raise TrackError(f"{path}: {error}") from None
    return track


def _read_rows(path: Path) -> tuple[list[int], Floats]:
    """Line numbers and the four columns of all points."""
    try:
        if not path.is_file():
            raise TrackError(
                f"{path}: no such file: give the path of a CSV file of {', '.join(COLUMNS)}"
            )
        if (size := path.stat().st_size) > MAX_BYTES:
            raise TrackError(
                f"{path}: {size} bytes are no circuit: give a point every few metres, in less than "
                f"{MAX_BYTES} bytes"
            )
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise TrackError(
            f"{path}: cannot be read as UTF-8 text ({error}): save it as plain CSV"
        ) from error
    lines: list[int] = []
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        names = tuple(cell.strip() for cell in line.lstrip().removeprefix("#").split(","))
        if names != COLUMNS and sorted(names) == sorted(
            COLUMNS
        ):  # also in a comment: it says what the numbers are
            raise TrackError(
                f"{path}, line {number}: the columns are {','.join(COLUMNS)} in this order, got "
                f"{line!r}"
            )
        if line.strip() and not line.lstrip().startswith("#") and (rows or names != COLUMNS):
            lines.append(number)
            rows.append(_read_row(path, number, line))
    return lines, np.array(rows, np.float64).reshape(-1, 4)


def _read_row(path: Path, number: int, line: str) -> list[float]:
    cells = line.split(",")
    # Exactly four: with another number the columns would be others than we take them for.
    if len(cells) != 4:
        raise TrackError(
            f"{path}, line {number}: expected the four columns {','.join(COLUMNS)}, got "
            f"{len(cells)}: {line[:80]!r}"
        )
    try:
        row = [float(cell.replace("_", "?")) for cell in cells]  # float() takes 1_0 for 10
    except ValueError:
        raise TrackError(
            f"{path}, line {number}: expected four numbers (other lines start with #), got "
            f"{line[:80]!r}"
        ) from None
    if not all(math.isfinite(value) and abs(value) < 1e6 for value in row):
        raise TrackError(
            f"{path}, line {number}: expected finite metres below 1,000 km from an origin of your "
            "choice, "
            f"got {line[:80]!r}"
        )
    return row


def _check_widths(path: Path, lines: list[int], rows: Floats) -> None:
    widths = rows[:, 2:]
    is_bad = ((widths <= 0.0) | (widths > MAX_HALF_WIDTH)).any(axis=1) | (
        widths.sum(axis=1) < MIN_WIDTH
    )
    if is_bad.any():
        number, (right, left) = lines[int(is_bad.argmax())], widths[is_bad.argmax()]
        raise TrackError(
            f"{path}, line {number}: widths of {right:g} m right and {left:g} m left: both are "
            "positive and make at "
            f"least {MIN_WIDTH} m together, and neither is more than {MAX_HALF_WIDTH:.0f} m"
        )


def _check_ends(path: Path, lines: list[int], rows: Floats) -> None:
    """No points at the end that lie on the road behind the start.

    A recording of more than a lap has some.
    """
    num_points = len(rows)
    half = num_points // 2
    count = 0
    while count < half - 1 and _is_on_start(rows, num_points - 1 - count, half):
        count += 1
    if _turns_back(rows[: num_points - count, :2]):
        count += 1
    if count:
        raise TrackError(
            f"{path}, line {lines[-count]}: from here to its end the file runs over its start "
            f"again, for {count} "
            f"point{'s' if count > 1 else ''}: delete them, the last point is the one before the "
            "first"
        )


def _turns_back(points: Floats) -> bool:
    """Whether the last point lies so close to the first that the way between leads aside."""
    closing = points[0] - points[-1]
    before, after = points[-1] - points[-2], points[1] - points[0]
    length = np.hypot(*closing)
    if not 1e-3 <= length < 0.5 * min(np.hypot(*before), np.hypot(*after)):
        return False
    # More than 30 degrees from the way into the last point, or from that out of the first one.
    return any(closing @ step < 0.866 * length * np.hypot(*step) for step in (before, after))


def _is_on_start(rows: Floats, index: int, half: int) -> bool:
    """Whether a point lies abreast of a step of the first half, on the road there.

    Its way leads in that direction, too.
    """
    point, before = rows[index, :2], rows[index - 1, :2]
    first = rows[:half, :2]
    along = rows[1 : half + 1, :2] - first
    lengths = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    offset = point - first
    share = (offset * along).sum(axis=1) / lengths**2
    aside = (along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0]) / lengths  # m to the left
    width = np.where(aside > 0, rows[:half, 3], rows[:half, 2])
    is_near = (share >= 0.0) & (share <= 1.0) & (np.abs(aside) <= width)
    # Outside of a bend a point may be past one step and before the next.
    is_between = (share < 0.0) & (np.roll(share, 1) > 1.0) & (np.hypot(*offset.T) <= width)
    is_near[1:] |= is_between[1:]
    step = point - before
    is_same_way = along @ step >= 0.5 * lengths * np.hypot(*step)
    return bool((is_near & is_same_way).any())


def _check_steps(path: Path, lines: list[int], points: Floats) -> None:
    """No point twice in a row, and no gap where the ends should meet."""
    steps = np.hypot(*(np.roll(points, -1, axis=0) - points).T)
    short = np.flatnonzero(steps < 1e-3)
    if len(short) and short[0] == len(points) - 1:
        raise TrackError(
            f"{path}, line {lines[-1]}: the last point is the first one again: delete it"
        )
    if len(short):
        raise TrackError(
            f"{path}, line {lines[short[0]]}: the next point is the same: delete one of them"
        )
    if steps[-1] > 5.0 * steps[:-1].max():
        raise TrackError(
            f"{path}, line {lines[-1]}: the line is open, {steps[-1]:.1f} m from its last point to "
            "its first: "
            "add the points that are missing"
        )


def _check_touching(path: Path, lines: list[int], points: Floats) -> None:
    """No two parts of the line in one place.

    Where they cross at a wide angle, there is a bridge.
    """
    along = np.roll(points, -1, axis=0) - points
    steps: Floats = np.hypot(*along.T)
    heading: Floats = np.arctan2(along[:, 1], along[:, 0])
    one, other = find_touching(points, along, steps, np.cumsum(steps) - steps, heading)
    if one >= 0:
        raise TrackError(
            f"{path}, line {lines[one]}: the line touches itself at line {lines[other]}: keep its "
            "parts "
            f"{TOUCHING_DISTANCE:.0f} m apart, or let them cross at 30 degrees or more and between "
            "their points"
        )


@kernel
def find_touching(
    points: Array, along: Array, steps: Array, place: Array, heading: Array
) -> tuple[int, int]:
    """The first point whose step meets another part of the line, and that part.

    -1 and -1 where there is none.

    Steps [K] lead from each point [K, 2] to the next. Each is compared with those that are more
    than 20 m away along the line: is its point near them, or do both cross?
    """
    size = len(points)
    total = place[size - 1] + steps[size - 1]
    for i in range(size):
        for j in range(size):
            gap = abs(place[j] - place[i])
            if min(gap, total - gap) <= max(20.0, 2.5 * max(steps[i], steps[j])):
                continue
            x, y = points[i, 0] - points[j, 0], points[i, 1] - points[j, 1]
            ahead = (x * along[j, 0] + y * along[j, 1]) / (steps[j] * steps[j])
            share = min(max(ahead, 0.0), 1.0)
            distance = math.hypot(x - share * along[j, 0], y - share * along[j, 1])
            if distance >= max(TOUCHING_DISTANCE, steps[i]):
                continue
            turn = along[i, 0] * along[j, 1] - along[i, 1] * along[j, 0]
            is_meeting = distance < TOUCHING_DISTANCE
            if not is_meeting and turn != 0.0:
                here = (along[j, 0] * y - along[j, 1] * x) / turn
                there = (along[i, 0] * y - along[i, 1] * x) / turn
                is_meeting = 0.0 <= here <= 1.0 and 0.0 <= there <= 1.0
            angle = abs((heading[j] - heading[i] + 0.5 * math.pi) % math.pi - 0.5 * math.pi)
            if (is_meeting and angle < CROSSING_ANGLE) or x * x + y * y < 0.01:
                return i, j
    return -1, -1
