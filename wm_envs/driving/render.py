"""State row -> picture: the road around the car from above, a map, and the instruments.

The camera looks where the car goes: up in the picture is forward. Pixels are x right and y down.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.driving import dynamics
from wm_envs.kernel import kernel
from wm_envs.rendering import canvas
from wm_envs.rendering.canvas import Colour, Image

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 640, 480
SCALE = 5.0  # pixels per metre
CAR = (WIDTH / 2, 345.0)
BEHIND, AHEAD, STEP = 40.0, 90.0, 2.0  # of the road that is drawn, m

GRASS = (94, 134, 84)
MOWN = (88, 128, 79)
ASPHALT = (72, 75, 82)
EDGE = (238, 236, 228)
CENTRE = (110, 113, 120)
KERB_RED, KERB_WHITE = (200, 60, 50), (240, 238, 232)
LINE = (86, 180, 233)
PLAN = (250, 196, 60)
BODY = (196, 40, 46)
WING = (30, 32, 38)
HELMET = (245, 245, 245)
PANEL = (28, 31, 37)
INK = (236, 236, 232)
PALE = (120, 124, 132)
GREEN = (70, 180, 110)
RED = (220, 80, 60)
COLD, WARM, HOT = (70, 130, 220), (70, 180, 110), (220, 80, 60)
MAP_BOX = (WIDTH - 166.0, 10.0, 156.0, 130.0)
STRIPE = 12.0  # of the mown grass, m
KERB_CURVATURE = 0.012  # 1/m: sharper bends have kerbs


def draw(
    state: Any,
    parameters: Any,
    *,
    line: Floats | None = None,
    plan: Floats | None = None,
    alternatives: Sequence[Floats] = (),
) -> Image:
    """The picture of a state row, uint8 [480, 640, 3].

    Args:
        state: A state row.
        parameters: The parameter row.
        line: Offsets of the racing line [N] at the points of the circuit, m.
        plan: Planned path as (distance along the centre line, offset) [H, 2], m.
        alternatives: Other candidates, drawn faintly beneath the plan.
    """
    image = canvas.blank(WIDTH, HEIGHT, GRASS)
    camera = _Camera(state, parameters)
    _draw_grass(image, camera)
    _draw_road(image, camera, parameters)
    if line is not None:
        _draw_racing_line(image, camera, parameters, line)
    for path in alternatives:
        points = road_points(parameters, path[:, 0], path[:, 1])
        canvas.draw_path(image, camera.see(*points), PALE, thickness=1.5)
    if plan is not None:
        points = road_points(parameters, plan[:, 0], plan[:, 1])
        canvas.draw_path(image, camera.see(*points), PLAN, thickness=3.0)
    _draw_car(image, state)
    _draw_map(image, state, parameters)
    _draw_instruments(image, state, parameters)
    return image


class _Camera:
    """Turns points of the plane into pixels around the car, which looks up."""

    def __init__(self, state: Any, parameters: Any) -> None:
        self.distance = float(state["distance"])
        self.x, self.y, direction = (
            float(v[0]) for v in _centre(parameters, np.array([self.distance]))
        )
        offset = float(state["offset"])
        self.x = self.x - offset * math.sin(direction)
        self.y = self.y + offset * math.cos(direction)
        self.heading = direction + float(state["heading_error"])

    def see(self, x: Floats, y: Floats) -> Floats:
        """Pixels [M, 2] of points of the plane."""
        forward = (x - self.x) * math.cos(self.heading) + (y - self.y) * math.sin(self.heading)
        left = -(x - self.x) * math.sin(self.heading) + (y - self.y) * math.cos(self.heading)
        return np.stack([CAR[0] - SCALE * left, CAR[1] - SCALE * forward], axis=-1)


def road_points(parameters: Any, distance: Floats, offset: Floats) -> tuple[Floats, Floats]:
    """Points of the plane, x and y, at distances along the centre line and offsets from it."""
    x, y, direction = _centre(parameters, distance)
    return x - offset * np.sin(direction), y + offset * np.cos(direction)


def _centre(parameters: Any, distance: Floats) -> tuple[Floats, Floats, Floats]:
    x, y, heading = (_look_up(parameters, name, distance) for name in ("x", "y", "heading"))
    return x, y, heading


def _look_up(parameters: Any, name: str, distance: Floats) -> Floats:
    place = np.mod(distance, float(parameters["length"])) * float(parameters["inverse_spacing"])
    index = np.minimum(place.astype(np.int64), int(parameters["num_points"]) - 1)
    table = parameters[name]
    looked_up: Floats = table[index] + (place - index) * (table[index + 1] - table[index])
    return looked_up


def _draw_grass(image: Image, camera: _Camera) -> None:
    """Mown stripes that move with the world, so that speed is seen."""
    _paint_stripes(image, camera.x, math.cos(camera.heading), math.sin(camera.heading), MOWN)


@kernel
def _paint_stripes(
    image: Image, camera_x: float, cosine: float, sine: float, colour: Colour
) -> None:
    for row in range(HEIGHT):
        start = camera_x + (CAR[1] - row) / SCALE * cosine - CAR[0] / SCALE * sine
        for column in range(WIDTH):
            stripe = math.floor((start + column / SCALE * sine) / STRIPE)
            if stripe % 2 == 0:
                for channel in range(3):
                    image[row, column, channel] = colour[channel]


def _draw_road(image: Image, camera: _Camera, parameters: Any) -> None:
    start = math.floor((camera.distance - BEHIND) / STEP) * STEP
    distance = np.arange(start, camera.distance + AHEAD, STEP)
    left, right = _look_up(parameters, "left", distance), _look_up(parameters, "right", distance)
    edges = [camera.see(*road_points(parameters, distance, offset)) for offset in (left, -right)]
    stripes = (np.round(distance / STEP).astype(np.int64) // 2) % 2 == 0
    colours = np.where(stripes[:-1, None], KERB_RED, KERB_WHITE).astype(np.uint8)
    bends = np.abs(_look_up(parameters, "curvature", distance)) > KERB_CURVATURE
    for edge, offset in zip(edges, (left + 1.2, -right - 1.2), strict=True):
        outer = camera.see(*road_points(parameters, distance, offset))
        for first, end in _runs(bends[:-1]):
            part = slice(first, end + 1)
            canvas.fill_strip(image, edge[part], outer[part], colours[first:end])
    asphalt = np.broadcast_to(np.array(ASPHALT, np.uint8), colours.shape).copy()
    canvas.fill_strip(image, edges[0], edges[1], asphalt)
    for edge in edges:
        canvas.draw_path(image, edge, EDGE)
    centre = camera.see(*road_points(parameters, distance, np.zeros_like(distance)))
    for first, end in _runs(stripes[:-1]):
        canvas.draw_path(image, centre[first : end + 1], CENTRE, thickness=1.5)


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First index and end of each run of flags that are set."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _draw_racing_line(image: Image, camera: _Camera, parameters: Any, line: Floats) -> None:
    distance = np.arange(camera.distance - BEHIND, camera.distance + AHEAD, STEP)
    closed = np.append(line, line[0])
    place = np.mod(distance, float(parameters["length"])) * float(parameters["inverse_spacing"])
    offset = np.interp(place, np.arange(len(closed)), closed)
    canvas.draw_path(image, camera.see(*road_points(parameters, distance, offset)), LINE)


# The car, about 1.5 times its size so that the tyres can be seen


def _draw_car(image: Image, state: Any) -> None:
    steer = dynamics.MAX_STEER * float(state["steering"])
    grow = 1.5 * SCALE
    places = ((1.6, 0.85, steer), (1.6, -0.85, steer), (-2.0, 0.85, 0.0), (-2.0, -0.85, 0.0))
    for wheel, (forward, left, angle) in zip(("fl", "fr", "rl", "rr"), places, strict=True):
        colour = tyre_colour(float(state[f"temperature_{wheel}"]))
        _box(
            image,
            (CAR[0] - grow * left, CAR[1] - grow * forward),
            0.5 * grow,
            0.95 * grow,
            angle,
            WING,
        )
        _box(
            image,
            (CAR[0] - grow * left, CAR[1] - grow * forward),
            0.34 * grow,
            0.75 * grow,
            angle,
            colour,
        )
    x, y = CAR
    _box(image, (x, y - 2.35 * grow), 1.7 * grow, 0.35 * grow, 0.0, WING)
    _box(image, (x, y + 2.55 * grow), 1.4 * grow, 0.4 * grow, 0.0, WING)
    nose = [(x - 0.18 * grow, y - 2.4 * grow), (x + 0.18 * grow, y - 2.4 * grow)]
    canvas.fill_polygon(image, [*nose, (x + 0.5 * grow, y), (x - 0.5 * grow, y)], BODY)
    canvas.fill_polygon(
        image,
        [
            (x - 0.6 * grow, y),
            (x + 0.6 * grow, y),
            (x + 0.3 * grow, y + 2.5 * grow),
            (x - 0.3 * grow, y + 2.5 * grow),
        ],
        BODY,
    )
    canvas.fill_disc(image, (x, y + 0.2 * grow), 0.3 * grow, HELMET)


def _box(
    image: Image,
    centre: tuple[float, float],
    width: float,
    length: float,
    angle: float,
    colour: Colour,
) -> None:
    """A rectangle whose long side points up, turned to the left by `angle`."""
    sine, cosine = math.sin(angle), math.cos(angle)
    corners = [
        (-width / 2, -length / 2),
        (width / 2, -length / 2),
        (width / 2, length / 2),
        (-width / 2, length / 2),
    ]
    turned = [
        (centre[0] + x * cosine + y * sine, centre[1] - x * sine + y * cosine) for x, y in corners
    ]
    canvas.fill_polygon(image, turned, colour)


def tyre_colour(temperature: float) -> Colour:
    """Blue when cold, green at the best temperature, red when hot.

    50 C away is the end of the scale.
    """
    share = (temperature - dynamics.BEST_TEMPERATURE) / 50.0
    end = HOT if share > 0 else COLD
    share = min(abs(share), 1.0)
    return tuple(round(w + share * (e - w)) for w, e in zip(WARM, end, strict=True))  # type: ignore[return-value]


# Map and instruments


def _draw_map(image: Image, state: Any, parameters: Any) -> None:
    left, top, width, height = MAP_BOX
    canvas.fill_rectangle(image, (left, top), (width, height), PANEL, radius=8)
    points = int(parameters["num_points"])
    indices = np.linspace(0, points, 140).astype(np.int64)
    x = np.asarray(parameters["x"][indices], np.float64)
    y = np.asarray(parameters["y"][indices], np.float64)
    scale = min((width - 24) / np.ptp(x), (height - 24) / np.ptp(y))
    middle = ((x.max() + x.min()) / 2, (y.max() + y.min()) / 2)
    pixels = np.stack(
        [left + width / 2 + scale * (x - middle[0]), top + height / 2 - scale * (y - middle[1])],
        axis=1,
    )
    canvas.draw_path(image, pixels, INK, thickness=3)
    at_x, at_y, _ = _centre(parameters, np.array([float(state["distance"])]))
    car = (
        left + width / 2 + scale * (at_x[0] - middle[0]),
        top + height / 2 - scale * (at_y[0] - middle[1]),
    )
    canvas.fill_disc(image, car, 5, BODY)


def _draw_instruments(image: Image, state: Any, parameters: Any) -> None:
    canvas.fill_rectangle(image, (10, 10), (178, 130), PANEL, radius=8)
    speed = 3.6 * math.hypot(float(state["vx"]), float(state["vy"]))
    canvas.draw_text(image, (22, 22), f"{speed:3.0f}", INK, scale=4)
    canvas.draw_text(image, (104, 36), "km/h", PALE, scale=2)
    share = 100 * float(state["distance"]) / float(parameters["length"])
    clock = int(state["time"]) * dynamics.TIME_STEP - float(state["lap_started"])
    canvas.draw_text(image, (22, 62), f"lap {int(state['laps']) + 1} {share:3.0f} %", INK, scale=2)
    canvas.draw_text(image, (22, 84), f"{clock:6.2f} s", INK, scale=2)
    for row, (name, colour) in enumerate((("throttle", GREEN), ("brake", RED))):
        y = 105 + 14 * row
        canvas.draw_text(image, (22, y + 1), name, PALE)
        _draw_bar(image, 76, y, 100 * float(state[name]), 100, colour)
    canvas.fill_rectangle(image, (10, HEIGHT - 122), (134, 112), PANEL, radius=8)
    canvas.draw_text(image, (22, HEIGHT - 114), "tyres C, tread", PALE)
    for index, wheel in enumerate(("fl", "fr", "rl", "rr")):
        x, y = 22 + 62 * (index % 2), HEIGHT - 98 + 42 * (index // 2)
        temperature, wear = float(state[f"temperature_{wheel}"]), float(state[f"wear_{wheel}"])
        canvas.fill_rectangle(image, (x, y), (46, 24), tyre_colour(temperature), radius=5)
        canvas.draw_centred_text(image, (x + 23, y + 12), f"{temperature:.0f}", INK, scale=2)
        _draw_bar(image, x, y + 28, 46 * wear, 46, INK, height=4)
    canvas.fill_rectangle(image, (WIDTH - 90, HEIGHT - 40), (80, 30), PANEL, radius=8)
    canvas.draw_text(image, (WIDTH - 82, HEIGHT - 34), "fuel", PALE)
    _draw_bar(image, WIDTH - 82, HEIGHT - 22, 64 * float(state["fuel"]), 64, PLAN, height=6)


def _draw_bar(
    image: Image, x: float, y: float, length: float, full: float, colour: Colour, height: float = 8
) -> None:
    canvas.fill_rectangle(image, (x, y), (full, height), (58, 62, 70), radius=2)
    if length >= 1:
        canvas.fill_rectangle(image, (x, y), (length, height), colour, radius=2)
