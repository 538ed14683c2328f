"""The columns of the car's observation, with their units, scales and bounds."""

import math
from typing import Any

from wm_envs.rules import Field, ObservationSpec

PREVIEWS = (10.0, 20.0, 30.0, 45.0, 60.0, 80.0, 100.0, 125.0, 150.0, 180.0)  # m ahead
WHEELS = ("fl", "fr", "rl", "rr")
WHEEL_NAMES = ("front left", "front right", "rear left", "rear right")

# Name, unit, scale, bounds in the unit, meaning.
Row = tuple[str, str, float, float, float, str]


def observation_fields(*, is_normalised: bool = True, is_extended: bool = False) -> ObservationSpec:
    """The 34 columns, or 37, with the bounds of the normalised numbers or those in SI units."""
    rows = [*_motion_rows(), *_tyre_rows(), *_road_rows()]
    if is_extended:
        rows += _extended_rows()
    fields = []
    for name, unit, scale, low, high, meaning in rows:
        divisor = scale if is_normalised else 1.0
        fields.append(Field(name, unit, low / divisor, high / divisor, meaning))
    return ObservationSpec(fields)


def _motion_rows() -> list[Row]:
    """What an inertial sensor and the actuators show."""
    velocity = (100.0, -150.0, 150.0, "velocity in the car's frame")
    force = (50.0, -100.0, 100.0, "specific force, mean of a step")
    turning = (5.0, -10.0, 10.0, "angular velocity")
    pedal = (1.0, 0.0, 1.0, "pedal as applied")
    return [
        *((f"velocity_{axis}", "m/s", *velocity) for axis in "xyz"),
        *((f"acceleration_{axis}", "m/s^2", *force) for axis in "xyz"),
        *((f"{axis}_rate", "rad/s", *turning) for axis in ("roll", "pitch", "yaw")),
        ("steering", "1", 1.0, -1.0, 1.0, "steering as applied"),
        ("throttle", "1", *pedal),
        ("brake", "1", *pedal),
    ]


def _tyre_rows() -> list[Row]:
    """Tyres by wheel, and the tank."""
    rows: list[Row] = []
    for wheel, wheel_name in zip(WHEELS, WHEEL_NAMES, strict=True):
        meaning = f"temperature of the {wheel_name} tyre"
        rows.append((f"temperature_{wheel}", "C", 120.0, 0.0, 200.0, meaning))
    for wheel, wheel_name in zip(WHEELS, WHEEL_NAMES, strict=True):
        rows.append((f"wear_{wheel}", "1", 1.0, 0.0, 1.0, f"what remains of the {wheel_name} tyre"))
    rows.append(("fuel", "1", 1.0, 0.0, 1.0, "what remains in the tank"))
    return rows


def _road_rows() -> list[Row]:
    """Where the car is on the road, and the bends ahead."""
    heading = "heading against the centre line's, to the left"
    rows: list[Row] = [
        ("track_position", "1", 1.0, 0.0, 1.0, "share of the lap"),
        ("offset", "m", 5.0, -20.0, 20.0, "to the left of the centre line"),
        ("heading_error", "rad", math.pi, -math.pi, math.pi, heading),
    ]
    for ahead in PREVIEWS:
        name = f"curvature_{ahead:.0f}m"
        rows.append((name, "1/m", 0.1, -0.5, 0.5, "curvature of the centre line ahead"))
    return rows


def _extended_rows() -> list[Row]:
    """What makes the end of an episode a function of the observation."""
    return [
        ("curvature_0m", "1/m", 0.1, -0.5, 0.5, "curvature of the centre line at the car"),
        ("right_width", "m", 5.0, 0.0, 20.0, "from the centre line to the right edge"),
        ("left_width", "m", 5.0, 0.0, 20.0, "from the centre line to the left edge"),
    ]


# The extended observation begins with the standard one, so that one enum serves both.
DrivingColumn: Any = observation_fields(is_extended=True).columns("DrivingColumn", module=__name__)
