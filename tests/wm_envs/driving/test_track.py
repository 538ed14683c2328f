import hashlib
import math
import time

import gymnasium as gym
import numpy as np
import pytest

from tests.support.circuits import NAMES, circuit, needs_circuits
from wm_envs.driving import track as tracks
from wm_envs.driving.spline import ClosedSpline, solve_cyclic
from wm_envs.driving.track import MAX_POINTS, from_points, make_track, read_csv
from wm_envs.errors import TrackError

HEADER = "# x_m,y_m,w_tr_right_m,w_tr_left_m"


def ring(num_points=100, radius=100.0, right=4.0, left=6.0):
    angle = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    return np.stack(
        [
            radius * np.cos(angle),
            radius * np.sin(angle),
            np.full(num_points, right),
            np.full(num_points, left),
        ],
        axis=1,
    )


def write(path, rows, header=HEADER):
    lines = [header, *(",".join(f"{value:.6f}" for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_cyclic_system_is_solved():
    generator = np.random.default_rng(0)
    below, above = generator.uniform(0.5, 1, 7), generator.uniform(0.5, 1, 7)
    diagonal, right = generator.uniform(3, 4, 7), generator.normal(size=7)
    matrix = np.diag(diagonal) + np.diag(above[:-1], 1) + np.diag(below[1:], -1)
    matrix[0, -1], matrix[-1, 0] = below[0], above[-1]
    np.testing.assert_allclose(
        solve_cyclic(below, diagonal, above, right), np.linalg.solve(matrix, right), rtol=1e-12
    )


def test_a_spline_through_a_circle_is_a_circle():
    spline = ClosedSpline(ring(60)[:, :2])
    points, first, second = spline(np.linspace(0, spline.length, 500))
    assert abs(spline.length - 200 * math.pi) < 1e-3
    np.testing.assert_allclose(np.hypot(*points.T), 100, atol=1e-3)
    np.testing.assert_allclose(np.hypot(*first.T), 1, atol=1e-5)
    np.testing.assert_allclose(
        first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0], 0.01, rtol=5e-3
    )


def test_a_file_becomes_tables(tmp_path):
    track = read_csv(write(tmp_path / "ring.csv", ring()))
    assert track.name == "ring"
    assert abs(track.length - 200 * math.pi) < 1e-3
    assert track.num_points == 628
    np.testing.assert_allclose(track.curvature, 0.01, rtol=2e-3)
    np.testing.assert_allclose(track.right, 4.0)
    np.testing.assert_allclose(track.left, 6.0)
    # Counter-clockwise, so that the left is inside.
    np.testing.assert_allclose(
        track.position(np.array([0.0, 100 * math.pi]), np.array([10.0, -5.0])),
        [[90, 0], [-105, 0]],
        atol=2e-2,
    )
    assert abs(track.at(track.right, 3.3) - 4.0) < 1e-9


def test_clockwise_roads_turn_right(tmp_path):
    track = read_csv(write(tmp_path / "ring.csv", ring()[::-1]))
    np.testing.assert_allclose(track.curvature, -0.01, rtol=2e-3)


def test_a_repeated_first_point_closes_the_line(tmp_path):
    rows = ring()
    closed = read_csv(write(tmp_path / "a.csv", np.vstack([rows, rows[:1]])))
    np.testing.assert_array_equal(closed.x, read_csv(write(tmp_path / "b.csv", rows)).x)


@pytest.mark.parametrize("name", ["oval", "figure_eight", "random"])
def test_built_in_circuits_are_closed_and_smooth(name):
    track = make_track(name, seed=4)
    gap = math.hypot(track.x[0] - track.x[-1], track.y[0] - track.y[-1])
    assert abs(gap - track.spacing) < 1e-3
    assert np.abs(track.curvature).max() <= 0.04
    turns = np.sum(track.curvature) * track.spacing / (2 * math.pi)
    assert abs(turns - (0 if name == "figure_eight" else 1)) < 1e-3
    # The heading is the integral of the curvature.
    middle = (track.curvature[1:] + track.curvature[:-1]) / 2
    np.testing.assert_allclose(
        np.cumsum(middle) * track.spacing, track.heading[1:] - track.heading[0], atol=1e-3
    )


def test_random_circuits_follow_their_seed():
    first, again, other = make_track("random", 1), make_track("random", 1), make_track("random", 2)
    np.testing.assert_array_equal(first.x, again.x)
    assert first.length != other.length
    lengths = [make_track("random", seed).length for seed in range(20)]
    assert 1500 < min(lengths) < max(lengths) < 4500


def bow_tie():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    points = np.stack([100 * np.sin(angle), 100 * np.sin(angle) * np.cos(angle)], axis=1)
    return np.hstack([points, np.full((200, 2), 4.0)])


def hairpin(gap):
    """Out and back at a distance of `gap`, with round ends."""
    x = np.linspace(0, 300, 61)
    bend = np.linspace(-math.pi / 2, math.pi / 2, 12)[1:-1]
    out = np.stack([x, np.zeros_like(x)], axis=1)
    pin = np.stack([300 + 20 * np.cos(bend), 20 * (1 + np.sin(bend))], axis=1)
    back = np.stack([x[::-1], np.where((x[::-1] < 220) & (x[::-1] > 80), gap, 40.0)], axis=1)
    end = np.stack([-20 * np.cos(bend), 20 * (1 - np.sin(bend))], axis=1)
    points = np.vstack([out, pin, back, end])
    return np.hstack([points, np.full((len(points), 2), 3.0)])


def broken(kind):
    rows = ring()
    if kind == "nan":
        rows[17, 1] = np.nan
    elif kind == "infinite":
        rows[17, 0] = np.inf
    elif kind == "zero width":
        rows[17, 2] = 0.0
    elif kind == "negative width":
        rows[17, 3] = -1.0
    elif kind == "open":
        rows = rows[:60]
    elif kind == "three points":
        rows = rows[::34]
    elif kind == "twice":
        rows = np.insert(rows, 17, rows[17], axis=0)
    elif kind == "touching":
        rows = hairpin(1.0)
    elif kind == "through one point":
        rows = bow_tie()
    elif kind == "tiny":
        rows[:, :2] /= 10
        rows[:, 2:] = 2
    return rows


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "line 19: expected finite metres"),
        ("infinite", "line 19: expected finite metres"),
        ("zero width", "line 19: widths of 0 m right and 6 m left: both are positive"),
        ("negative width", "line 19: widths of 4 m right and -1 m left"),
        ("open", "line 61: the line is open, 1"),
        ("three points", "3 points: give 8 to 10000"),
        ("twice", "line 19: the next point is the same: delete"),
        ("touching", "the line touches itself at line"),
        ("through one point", "the line touches itself at line"),
        ("tiny", "the circuit is 63 m long, 200 to 40000 can be driven"),
    ],
)
def test_a_file_that_is_no_circuit_is_refused(kind, message, tmp_path):
    path = write(tmp_path / "bad.csv", broken(kind))
    with pytest.raises(TrackError, match=message) as caught:
        read_csv(path)
    assert str(path) in str(caught.value)
    with pytest.raises(TrackError):
        gym.make("wm/Driving-v0", track=str(path))


@pytest.mark.parametrize(("right", "left"), [(4.0, 52.0), (4.0, 60.0), (4.0, 99.0)])
@pytest.mark.parametrize("is_clockwise", [False, True])
def test_a_road_wider_than_the_radius_of_its_bend_is_refused(right, left, is_clockwise, tmp_path):
    rows = ring(radius=50.0, right=right, left=left)
    if is_clockwise:
        rows = rows[::-1, [0, 1, 3, 2]]
    side = "right" if is_clockwise else "left"
    message = rf"near line \d+ the road reaches {left:.1f} m to the {side}, .* radius of 50\.0 m.*w_tr_{side}_m"
    with pytest.raises(TrackError, match=message):
        read_csv(write(tmp_path / "wide.csv", rows))
    with pytest.raises(TrackError, match="near point"):
        from_points("wide", rows[:, :2], rows[:, 2], rows[:, 3])


def test_a_wide_road_outside_of_a_bend_is_welcome(tmp_path):
    track = read_csv(write(tmp_path / "outside.csv", ring(radius=50.0, right=99.0, left=48.0)))
    assert (track.curvature * track.left).max() < 1


@pytest.mark.parametrize("shift", range(0, 144, 8))
def test_one_fold_is_named_wherever_the_file_begins(shift, tmp_path):
    """The ends of an oval have a radius of 20 m; one of them is 22 m wide inside."""
    rows = hairpin(40.0)
    rows[61:71, 3] = 26.0
    line = (int(np.flatnonzero(rows[:, 0] > 319)[0]) - shift) % len(rows) + 2
    with pytest.raises(TrackError, match="the road reaches 26") as caught:
        read_csv(write(tmp_path / "fold.csv", np.roll(rows, -shift, axis=0)))
    named = int(str(caught.value).split("near line ")[1].split()[0])
    assert min(abs(named - line), len(rows) - abs(named - line)) <= 8


@pytest.mark.parametrize("num_repeated", [2, 3, 5, 40, 100])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_file_that_runs_over_its_start_is_told_so(num_repeated, noise, tmp_path):
    rows = ring()
    again = rows[:num_repeated].copy()
    again[:, :2] *= 1 + noise / 100
    path = write(tmp_path / "more.csv", np.vstack([rows, again]))
    with pytest.raises(
        TrackError, match=r"line \d+: from here to its end the file runs over its start again"
    ) as caught:
        read_csv(path)
    first = int(str(caught.value).split("line ")[1].split(":")[0])
    assert (
        abs(first - 102) <= 1 or num_repeated == 100
    )  # whole laps: the second one begins anywhere
    kept = path.read_text(encoding="utf-8").splitlines()[: first - 1]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    assert read_csv(path).length == pytest.approx(200 * math.pi, abs=0.5)  # the remedy is one


def test_a_last_point_between_the_first_ones_or_beside_the_first_is_told_so(tmp_path):
    rows = ring()
    between = rows[:1].copy()
    between[0, :2] = 0.7 * rows[0, :2] + 0.3 * rows[1, :2]
    beside = rows[:1].copy()
    beside[0, :2] += (1.5, -0.2)
    for last in (between, beside):
        with pytest.raises(
            TrackError, match=r"line 102: .* runs over its start again, for 1 point: delete"
        ):
            read_csv(write(tmp_path / "more.csv", np.vstack([rows, last])))
    with pytest.raises(
        TrackError, match=r"runs over its start again|the last point is the first one again"
    ):
        read_csv(write(tmp_path / "twice.csv", np.vstack([rows, rows[:1], rows[:1]])))


@needs_circuits
@pytest.mark.parametrize("name", NAMES[:3])
def test_a_real_circuit_with_a_part_driven_twice_is_told_so(name, tmp_path):
    rows = np.loadtxt(circuit(name), delimiter=",")
    for num_repeated in (2, 10, 50):
        with pytest.raises(TrackError, match="runs over its start again"):
            read_csv(write(tmp_path / "more.csv", np.vstack([rows, rows[:num_repeated]])))


DIGESTS = {
    "Austin": "c1dae4961a7c06cd",
    "Catalunya": "5183871c9035ecfc",
    "Hockenheim": "3015b0e287d491e5",
    "IMS": "f2e75aa2e1a27308",
    "Melbourne": "90cb0b63a0f953fc",
    "Montreal": "a393037d2c04ac5b",
    "Monza": "cc222c8fe9fbd90b",
    "Norisring": "e4ff94ae9c1006ee",
    "Nuerburgring": "17f80189e3e036e1",
    "Sakhir": "1625db7e7b3e9f26",
    "SaoPaulo": "9dd9e52de8165685",
    "Sepang": "bf9c7f7742266059",
    "Silverstone": "9e8272e460ba66b4",
    "Spa": "7937a0048e6600ef",
    "Spielberg": "8ea435599727f68b",
}


@needs_circuits
@pytest.mark.parametrize("name", NAMES)
def test_real_circuits_are_read_as_ever(name):
    track = read_csv(circuit(name))
    tables = (track.x, track.y, track.heading, track.curvature, track.right, track.left)
    # The last bits of a square root or an angle are the processor's; 0 is added since -0 is not 0.
    rounded = [np.round(table, 6) + 0.0 for table in tables]
    content = b"".join(table.tobytes() for table in rounded)
    assert hashlib.sha256(content).hexdigest()[:16] == DIGESTS[name]


def test_parallel_roads_at_a_distance_are_welcome(tmp_path):
    assert read_csv(write(tmp_path / "good.csv", hairpin(12.0))).length > 600


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1,2,3\n" * 20,
            "line 1: expected the four columns x_m,y_m,w_tr_right_m,w_tr_left_m, got 3",
        ),
        (f"{HEADER}\n" + "1,2,3,4,5\n" * 20, "line 2: expected the four columns"),
        ("x,y,right,left\n1,2,3,4\n", "line 1: expected four numbers"),
        (f"{HEADER}\n1,2,1_0,4\n", "line 2: expected four numbers"),
        (f"{HEADER}\n1,2,fast,4\n", "line 2: expected four numbers"),
        ("", "0 points: give 8"),
        ("1e300,0,1,1\n", "line 1: expected finite metres below 1,000 km"),
        (
            "# x_m,y_m,w_tr_left_m,w_tr_right_m\n",
            "line 1: the columns are x_m,y_m,w_tr_right_m,w_tr_left_m in this",
        ),
        ("y_m, x_m, w_tr_right_m, w_tr_left_m\n", "line 1: the columns are x_m,y_m"),
    ],
)
def test_wrong_text_is_refused(text, message, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TrackError, match=message):
        read_csv(path)


@pytest.mark.parametrize("num_points", [60, 101, 200])
@pytest.mark.parametrize(("height", "is_bridge"), [(45.0, False), (90.0, True)])
def test_a_crossing_between_points_is_judged_by_its_angle(num_points, height, is_bridge, tmp_path):
    """An eight that crosses itself at 25 degrees, or at 48, wherever its points lie."""
    for shift in np.linspace(0.0, 1.0, 7):
        angle = 2 * np.pi * (np.arange(num_points) + 0.01 + shift) / num_points
        rows = np.column_stack(
            [400 * np.cos(angle), height * np.sin(2 * angle), np.full((num_points, 2), 5.0)]
        )
        path = write(tmp_path / "eight.csv", rows)
        if is_bridge:
            assert read_csv(path).length > 1600
        else:
            with pytest.raises(TrackError, match="touches itself"):
                read_csv(path)


def test_ten_thousand_points_are_checked_in_seconds(tmp_path):
    path = write(tmp_path / "dense.csv", ring(9999, radius=2000.0))
    read_csv(path)  # compiles
    began = time.process_time()
    assert read_csv(path).length == pytest.approx(2 * math.pi * 2000.0, rel=1e-6)
    assert time.process_time() - began < 6.0


def test_widths_in_centimetres_are_refused(tmp_path):
    with pytest.raises(
        TrackError, match=r"line 2: widths of 400 m right and 600 m left: .* more than 100 m"
    ):
        read_csv(write(tmp_path / "wide.csv", ring(right=400.0, left=600.0)))


def test_a_kink_is_named_by_its_line(tmp_path):
    rows = ring(num_points=200)
    rows[50, :2] *= 1.1
    with pytest.raises(TrackError, match="near line 52 the line turns with a radius of"):
        read_csv(write(tmp_path / "kink.csv", rows))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(TrackError, match="1073741824 bytes are no circuit"):
        read_csv(path)


def test_other_files_are_refused(tmp_path):
    binary = tmp_path / "bad.csv"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    for track in (binary, tmp_path / "missing.csv", tmp_path, "hexagon", "", 3, None):
        with pytest.raises(TrackError):
            make_track(track)


def test_a_sharp_corner_is_refused():
    square = np.array([[0, 0], [100, 0], [100, 100], [0, 100]], float)
    points = np.concatenate(
        [
            a + (b - a) * np.linspace(0, 1, 50, endpoint=False)[:, None]
            for a, b in zip(square, np.roll(square, -1, 0), strict=True)
        ]
    )
    with pytest.raises(TrackError, match=r"near point \d+ the line turns with a radius of"):
        from_points("square", points, np.full(200, 4.0), np.full(200, 4.0))


def test_a_long_circuit_gets_a_wider_spacing():
    rows = ring(3000, radius=2500.0)
    track = from_points("long", rows[:, :2], rows[:, 2], rows[:, 3])
    assert track.num_points == MAX_POINTS
    assert 1.9 < track.spacing < 1.95


@needs_circuits
@pytest.mark.parametrize("name", NAMES)
def test_real_circuits_are_read(name):
    track = tracks.read_csv(circuit(name))
    assert 2000 < track.length < 7100
    turns = np.sum(track.curvature) * track.spacing / (2 * math.pi)
    assert abs(abs(turns) - 1) < 0.01
    assert np.abs(track.curvature).max() < 0.2


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("# x_m", "x_m"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n") + "\r\n",
    ],
    ids=["header without #", "byte order mark", "Windows"],
)
def test_usual_ways_to_write_a_file_are_read(tmp_path, change):
    good = write(tmp_path / "good.csv", ring())
    other = tmp_path / "OTHER.CSV"
    other.write_bytes(change(good.read_text(encoding="utf-8")).encode())
    assert make_track(other).length == make_track(good).length


def test_a_name_that_no_system_takes_is_refused():
    with pytest.raises(TrackError):
        make_track("a" * 5000 + ".csv")
