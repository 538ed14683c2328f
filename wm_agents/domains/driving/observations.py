"""Observations of the car as its world models take them: spaces, maps of circuits, and geometry.

A model's observation is the environment's 37 numbers in SI units (`observation="extended"`,
`normalize=False`), the number of the circuit, and two ratios: 40 numbers, `COLUMN_NAMES`. What of
them follows from the others is not learned. Three layouts, each knowing more:

    plain       the 37 numbers alone, all predicted
    map         the curvature and the road ahead are looked up on the circuit's map at the predicted
                position
    kinematics  besides, position, offset and heading follow from the predicted velocities, so that
                a network predicts speeds, accelerations, actuators and temperatures only, and sees
                nothing else
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.world_models import DerivedFeature, FeatureLayout
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.columns import PREVIEWS, observation_fields
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.dynamics import MIN_FACTOR, TIME_STEP
from wm_envs.driving.observations import CURVATURES_AHEAD
from wm_envs.driving.track import Track, make_track


class DerivedColumn(IntEnum):
    """Columns of a model's observation behind those of the environment."""

    CIRCUIT = 37
    SIDESLIP_RATIO = 38
    YAW_RATIO = 39


ENV_OPTIONS: dict[str, Any] = {"normalize": False, "observation": "extended"}
"""Options of `wm/Driving-v0` under which it gives the 37 numbers that models extend."""
FIELDS = observation_fields(is_normalised=False, is_extended=True)
COLUMN_NAMES = (
    *(field.name for field in FIELDS),
    *(column.name.lower() for column in DerivedColumn),
)
NUM_COLUMNS = len(COLUMN_NAMES)
AHEAD = tuple(range(CURVATURES_AHEAD.start, CURVATURES_AHEAD.stop))
ALWAYS_ZERO = (  # a flat road moves no car upwards and tilts none
    Column.VELOCITY_Z,
    Column.ACCELERATION_Z,
    Column.ROLL_RATE,
    Column.PITCH_RATE,
)
MIN_SPEED = 5.0  # m/s; the ratios divide by at least this
MAX_OFFSET = 20.0  # m, the bound of the observation
LAST_POSITION = 0.9999999  # the largest track position that float32 tells from a whole lap
LAYOUTS = ("plain", "map", "kinematics")


class CircuitMap:
    """The maps of several circuits as tensors.

    An observation names its own by its column `circuit`.

    Args:
        tracks: The circuits, in the order of their numbers.
        grips: The grip of each as a share of the usual one, for models that are told; None for 1.
    """

    def __init__(self, tracks: Sequence[Track], grips: Sequence[float] | None = None) -> None:
        self.grips = torch.ones(len(tracks)) if grips is None else torch.tensor(grips)
        longest = max(track.num_points for track in tracks)
        self.lengths = torch.tensor([track.length for track in tracks], dtype=torch.float32)
        self._sizes = torch.tensor([track.num_points for track in tracks])
        tables = torch.zeros(len(tracks), longest + 1, 3)
        for number, track in enumerate(tracks):
            columns = np.stack([track.curvature, track.right, track.left], axis=1)
            tables[number, : track.num_points] = torch.as_tensor(columns, dtype=torch.float32)
            # Closed by the first point, so that a lookup never has to wrap.
            tables[number, track.num_points] = tables[number, 0]
        self._tables = tables.flatten(0, 1)
        self._row_size = longest + 1

    @classmethod
    def of(cls, paths: Sequence[str | Path]) -> "CircuitMap":
        """The maps of CSV files, or of built-in circuits by their names, in their order."""
        return cls([make_track(path) for path in paths])

    load = of  # its name in the cards of earlier models

    def length_of(self, circuit: Tensor) -> Tensor:
        """Lengths [...] of circuits [...], m."""
        return self.lengths.to(circuit.device)[circuit]

    def at(self, circuit: Tensor, distance: Tensor) -> Tensor:
        """Curvature, half widths to the right and left [..., 3] at distances on circuits [...]."""
        length = self.length_of(circuit)
        size = self._sizes.to(circuit.device)[circuit]
        tables = self._tables.to(circuit.device)
        place = torch.remainder(distance, length) / length * size
        index = torch.minimum(place.long(), size - 1)
        share = (place - index)[..., None]
        row = circuit * self._row_size + index
        return torch.lerp(tables[row], tables[row + 1], share)


@dataclass(frozen=True)
class _Geometry:
    """The functions of derived columns on a map."""

    circuits: CircuitMap

    def road(self, _: Tensor, after: Tensor) -> Tensor:
        """Curvature at ten distances ahead, at the car, and the half widths there, [..., 13]."""
        circuit = after[..., DerivedColumn.CIRCUIT].long()
        distance = after[..., Column.TRACK_POSITION] * self.circuits.length_of(circuit)
        ahead = torch.tensor([*PREVIEWS, 0.0], device=after.device)
        road = self.circuits.at(circuit[..., None], distance[..., None] + ahead)  # [..., 11, 3]
        widths = road[..., -1, 1:].clamp_max(MAX_OFFSET)
        return torch.cat([road[..., 0].clamp(-0.5, 0.5), widths], -1)

    def motion(self, before: Tensor, after: Tensor) -> Tensor:
        """Position, offset and heading error [..., 3] after a step.

        The midpoint rule with the mean of both velocities; two passes, since the rate depends on
        the offset in the middle.
        """
        circuit = before[..., DerivedColumn.CIRCUIT].long()
        length = self.circuits.length_of(circuit)
        velocities = (Column.VELOCITY_X, Column.VELOCITY_Y, Column.YAW_RATE)
        vx, vy, yaw_rate = (0.5 * (before[..., c] + after[..., c]) for c in velocities)
        distance = before[..., Column.TRACK_POSITION] * length
        offset = before[..., Column.OFFSET]
        heading = before[..., Column.HEADING_ERROR]
        bend = self.circuits.at(circuit, distance + 0.5 * TIME_STEP * vx)[..., 0]
        rate = vx / (1.0 - offset * bend).clamp_min(MIN_FACTOR)
        for _ in range(2):
            middle = heading + 0.5 * TIME_STEP * (yaw_rate - bend * rate)
            aside = vx * torch.sin(middle) + vy * torch.cos(middle)
            factor = (1.0 - (offset + 0.5 * TIME_STEP * aside) * bend).clamp_min(MIN_FACTOR)
            rate = (vx * torch.cos(middle) - vy * torch.sin(middle)) / factor
        position = torch.remainder(distance + TIME_STEP * rate, length) / length
        turned = heading + TIME_STEP * (yaw_rate - bend * rate)
        wrapped = torch.remainder(turned + torch.pi, 2 * torch.pi) - torch.pi
        new_offset = (offset + TIME_STEP * aside).clamp(-MAX_OFFSET, MAX_OFFSET)
        return torch.stack([position, new_offset, wrapped], -1)


def ratios(_: Tensor, after: Tensor) -> Tensor:
    """Sideways speed and yaw rate over forward speed, [..., 2].

    The slip of both axles is linear in them.
    """
    speed = after[..., Column.VELOCITY_X].clamp_min(MIN_SPEED)
    sideways = (after[..., Column.VELOCITY_Y], after[..., Column.YAW_RATE])
    return torch.stack([value / speed for value in sideways], -1)


def make_layout(kind: str, circuits: CircuitMap) -> FeatureLayout:
    """One of `LAYOUTS`."""
    geometry = _Geometry(circuits)
    constant = (*map(int, ALWAYS_ZERO), int(DerivedColumn.CIRCUIT))
    wear = tuple(range(Column.WEAR_FL, Column.WEAR_RR + 1))
    slow = (*wear, int(Column.FUEL))  # what a second wears off is nothing to the motion
    here = (int(Column.CURVATURE_0M), int(Column.RIGHT_WIDTH), int(Column.LEFT_WIDTH))
    place = (int(Column.TRACK_POSITION), int(Column.OFFSET), int(Column.HEADING_ERROR))
    ratio_columns = (int(DerivedColumn.SIDESLIP_RATIO), int(DerivedColumn.YAW_RATIO))
    road = DerivedFeature((*AHEAD, *here), geometry.road)
    slip = DerivedFeature(ratio_columns, ratios)
    if kind == "kinematics":
        return FeatureLayout(
            NUM_COLUMNS,
            copies=tuple((column, column) for column in (*constant, *slow)),
            absolutes=(int(Column.ACCELERATION_X), int(Column.ACCELERATION_Y)),
            ignored=(*constant, *slow, int(Column.TRACK_POSITION), *AHEAD),
            for_heads=(int(Column.OFFSET), int(Column.HEADING_ERROR), *here),
            derived=(DerivedFeature(place, geometry.motion), road, slip),
        )
    return FeatureLayout(
        NUM_COLUMNS,
        copies=tuple((column, column) for column in constant),
        angles=(int(Column.HEADING_ERROR),),
        ignored=constant,
        derived=(road, slip) if kind == "map" else (slip,),
    )


def model_observation_space() -> gym.spaces.Box:
    """The space of the 40 numbers."""
    low = [*(field.low for field in FIELDS), 0.0, -30.0, -2.0]
    high = [*(field.high for field in FIELDS), 1000.0, 30.0, 2.0]
    return gym.spaces.Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)


def env_observation_space() -> gym.spaces.Box:
    """The space of the environment's 37 numbers in SI units."""
    low = np.array([field.low for field in FIELDS], np.float32)
    high = np.array([field.high for field in FIELDS], np.float32)
    return gym.spaces.Box(low, high, dtype=np.float32)


def car_action_space() -> gym.spaces.Box:
    """Steering, throttle and brake."""
    low = np.array([-1, 0, 0], np.float32)
    return gym.spaces.Box(low, np.ones(3, np.float32), dtype=np.float32)


def extend(observations: NDArray[np.float32], circuit: int) -> NDArray[np.float32]:
    """Observations [..., 37] in SI units as the model's [..., 40]."""
    speed = np.maximum(observations[..., Column.VELOCITY_X], MIN_SPEED)
    derived = [
        np.full_like(speed, circuit),
        observations[..., Column.VELOCITY_Y] / speed,
        observations[..., Column.YAW_RATE] / speed,
    ]
    extended = np.concatenate([observations, np.stack(derived, axis=-1)], axis=-1)
    return extended.astype(np.float32)


def extend_trajectories(trajectories: Trajectories, circuit: int) -> Trajectories:
    """Episodes of one circuit with the model's observations."""
    return Trajectories.from_arrays(
        extend(trajectories.observations, circuit),
        trajectories.actions,
        trajectories.rewards,
        trajectories.terminations,
        trajectories.truncations,
        trajectories.lengths,
    )


def has_derived_columns(observations: Tensor | NDArray[np.float32]) -> bool:
    """Whether these are a model's 40 numbers, not the environment's 37."""
    return observations.shape[-1] != len(Column)


_MIRRORED_SIGNS = (
    Column.VELOCITY_Y,
    Column.ACCELERATION_Y,
    Column.YAW_RATE,
    Column.STEERING,
    Column.OFFSET,
    Column.HEADING_ERROR,
    *AHEAD,
    Column.CURVATURE_0M,
    DerivedColumn.SIDESLIP_RATIO,
    DerivedColumn.YAW_RATIO,
)
_MIRRORED_PAIRS = (
    (Column.TEMPERATURE_FL, Column.TEMPERATURE_FR),
    (Column.TEMPERATURE_RL, Column.TEMPERATURE_RR),
    (Column.WEAR_FL, Column.WEAR_FR),
    (Column.WEAR_RL, Column.WEAR_RR),
    (Column.RIGHT_WIDTH, Column.LEFT_WIDTH),
)


def mirrored(trajectories: Trajectories) -> Trajectories:
    """The same driving seen in a mirror, where left is right."""
    signs = np.ones(NUM_COLUMNS, np.float32)
    signs[list(_MIRRORED_SIGNS)] = -1.0
    order = list(range(NUM_COLUMNS))
    for left, right in _MIRRORED_PAIRS:
        order[left] = int(right)
        order[right] = int(left)
    return Trajectories.from_arrays(
        trajectories.observations[:, order] * signs,
        trajectories.actions * np.array([-1.0, 1.0, 1.0], np.float32),
        trajectories.rewards,
        trajectories.terminations,
        trajectories.truncations,
        trajectories.lengths,
    )
