"""World models of the car: what of it is geometry, and the fitting that the driving examples share.

The observation is extended by the number of the circuit and two ratios (40 numbers in all, see
`COLUMNS`). Three layouts, each knowing more:

    plain       the 37 numbers alone, all predicted
    map         the curvature and the road ahead are looked up on the circuit's map at the predicted
    place kinematics  besides, place, offset and heading follow from the predicted velocities, so
    that a network has to
                predict speeds, accelerations, actuators and temperatures only, and sees nothing
                else
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.world_models import (
    DeterministicConfig,
    DeterministicModel,
    FitConfig,
    FitReport,
    Known,
    Layout,
)
from wm_agents.world_models.neural import NeuralModel
from wm_agents.world_models.segments import SegmentSource
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.columns import PREVIEWS, observation_fields
from wm_envs.driving.dynamics import MIN_FACTOR, TIME_STEP
from wm_envs.driving.track import Track, make_track

FIELDS = observation_fields(is_normalised=False, is_extended=True)
COLUMNS = (*(field.name for field in FIELDS), "circuit", "sideslip_ratio", "yaw_ratio")
VX, VY, AX, AY, YAW_RATE, STEERING, THROTTLE, BRAKE = 0, 1, 3, 4, 8, 9, 10, 11
TEMPERATURES, WEAR, FUEL = (12, 13, 14, 15), (16, 17, 18, 19), 20
PLACE, OFFSET, HEADING = 21, 22, 23
AHEAD, BEND, RIGHT, LEFT = tuple(range(24, 34)), 34, 35, 36
CIRCUIT, SIDESLIP_RATIO, YAW_RATIO = 37, 38, 39
ALWAYS_ZERO = (2, 5, 6, 7)
SLOWEST = 5.0  # m/s; the ratios divide by at least this
LAYOUTS = ("plain", "map", "kinematics")


class CircuitMap:
    """The maps of several circuits as tensors; an observation names its own by its column `circuit`.

    Args:
        tracks: The circuits, in the order of their numbers.
    """

    def __init__(self, tracks: Sequence[Track]) -> None:
        longest = max(track.num_points for track in tracks)
        self.lengths = torch.tensor([track.length for track in tracks], dtype=torch.float32)
        self._sizes = torch.tensor([track.num_points for track in tracks])
        tables = torch.zeros(len(tracks), longest + 1, 3)
        for number, track in enumerate(tracks):
            columns = np.stack([track.curvature, track.right, track.left], axis=1)
            tables[number, : track.num_points] = torch.as_tensor(columns, dtype=torch.float32)
            tables[number, track.num_points] = tables[number, 0]
        self._tables, self._row = tables.flatten(0, 1), longest + 1

    def at(self, circuit: Tensor, distance: Tensor) -> Tensor:
        """Curvature and half widths to the right and left [..., 3] at distances [...] on circuits [...]."""
        length, size = self.lengths[circuit], self._sizes[circuit]
        place = torch.remainder(distance, length) / length * size
        index = torch.minimum(place.long(), size - 1)
        share = (place - index)[..., None]
        row = circuit * self._row + index
        return torch.lerp(self._tables[row], self._tables[row + 1], share)


@dataclass(frozen=True)
class Geometry:
    """The functions of `Known` columns on a map."""

    circuits: CircuitMap

    def road(self, _: Tensor, after: Tensor) -> Tensor:
        """Curvature at ten distances ahead, at the car, and the half widths there, [..., 13]."""
        circuit = after[..., CIRCUIT].long()
        distance = after[..., PLACE] * self.circuits.lengths[circuit]
        ahead = torch.tensor([*PREVIEWS, 0.0])
        seen = self.circuits.at(circuit[..., None], distance[..., None] + ahead)
        widths = seen[..., -1, 1:].clamp_max(20.0)
        return torch.cat([seen[..., 0].clamp(-0.5, 0.5), widths], -1)

    def motion(self, before: Tensor, after: Tensor) -> Tensor:
        """Place, offset and heading error [..., 3] after a step with the mean of both velocities (midpoint rule)."""
        circuit = before[..., CIRCUIT].long()
        length = self.circuits.lengths[circuit]
        vx, vy, yaw_rate = (0.5 * (before[..., c] + after[..., c]) for c in (VX, VY, YAW_RATE))
        distance, offset, heading = (
            before[..., PLACE] * length,
            before[..., OFFSET],
            before[..., HEADING],
        )
        bend = self.circuits.at(circuit, distance + 0.5 * TIME_STEP * vx)[..., 0]
        rate = vx / (1.0 - offset * bend).clamp_min(MIN_FACTOR)
        for _ in range(2):
            middle = heading + 0.5 * TIME_STEP * (yaw_rate - bend * rate)
            aside = vx * torch.sin(middle) + vy * torch.cos(middle)
            factor = (1.0 - (offset + 0.5 * TIME_STEP * aside) * bend).clamp_min(MIN_FACTOR)
            rate = (vx * torch.cos(middle) - vy * torch.sin(middle)) / factor
        place = torch.remainder(distance + TIME_STEP * rate, length) / length
        turned = (
            torch.remainder(heading + TIME_STEP * (yaw_rate - bend * rate) + torch.pi, 2 * torch.pi)
            - torch.pi
        )
        return torch.stack([place, (offset + TIME_STEP * aside).clamp(-20, 20), turned], -1)


def ratios(_: Tensor, after: Tensor) -> Tensor:
    """Sideways speed and yaw rate over forward speed, [..., 2].

    The slip of both axles is linear in them.
    """
    speed = after[..., VX].clamp_min(SLOWEST)
    return torch.stack([after[..., VY] / speed, after[..., YAW_RATE] / speed], -1)


def make_layout(kind: str, circuits: CircuitMap) -> Layout:
    """One of `LAYOUTS`."""
    geometry = Geometry(circuits)
    constant = (*ALWAYS_ZERO, CIRCUIT)
    slow = (*WEAR, FUEL)  # what a second wears off is nothing to the motion
    known = [Known((SIDESLIP_RATIO, YAW_RATIO), ratios)]
    if kind == "plain":
        return Layout(
            len(COLUMNS),
            copies=tuple((c, c) for c in constant),
            angles=(HEADING,),
            unseen=constant,
            known=tuple(known),
        )
    road = Known((*AHEAD, BEND, RIGHT, LEFT), geometry.road)
    if kind == "map":
        return Layout(
            len(COLUMNS),
            copies=tuple((c, c) for c in constant),
            angles=(HEADING,),
            unseen=constant,
            known=(road, *known),
        )
    return Layout(
        len(COLUMNS),
        copies=tuple((c, c) for c in (*constant, *slow)),
        absolutes=(AX, AY),
        unseen=(*constant, *slow, PLACE, *AHEAD),
        for_outcomes=(OFFSET, HEADING, BEND, RIGHT, LEFT),
        known=(Known((PLACE, OFFSET, HEADING), geometry.motion), road, *known),
    )


def model_space() -> gym.spaces.Box:
    """The space of the 40 numbers."""
    low = [*(field.low for field in FIELDS), 0.0, -30.0, -2.0]
    high = [*(field.high for field in FIELDS), 1000.0, 30.0, 2.0]
    return gym.spaces.Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)


def extend(observations: NDArray[np.float32], circuit: int) -> NDArray[np.float32]:
    """Observations [..., 37] in SI units as the model's [..., 40]."""
    speed = np.maximum(observations[..., VX], SLOWEST)
    more = [
        np.full_like(speed, circuit),
        observations[..., VY] / speed,
        observations[..., YAW_RATE] / speed,
    ]
    return np.concatenate([observations, np.stack(more, axis=-1)], axis=-1).astype(np.float32)


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


def action_space() -> gym.spaces.Box:
    """Steering, throttle and brake."""
    return gym.spaces.Box(
        np.array([-1, 0, 0], np.float32), np.ones(3, np.float32), dtype=np.float32
    )


def new_model(
    layout: Layout, *, widths: tuple[int, ...] = (128, 128), seed: int = 0
) -> DeterministicModel:
    """A general model on the 40 numbers; `network.CarModel` is the one that is planned in."""
    config = DeterministicConfig(
        dynamics_widths=widths, reward_widths=(64,), termination_widths=(64,)
    )
    return DeterministicModel(model_space(), action_space(), config, layout=layout, seed=seed)


def fit_driving(
    model: NeuralModel, trajectories: Trajectories, num_updates: int, seed: int
) -> FitReport:
    """Fit a general model with the settings that were found on the training circuits."""
    config = FitConfig(
        num_updates=num_updates,
        batch_size=512,
        horizon=16,
        learning_rate=2e-3,
        curriculum_start=0.5,
        seed=seed,
    )
    return model.fit(trajectories, config, progress=False)


@torch.no_grad()
def error_bands(
    model: NeuralModel,
    fresh: Trajectories,
    horizon: int,
    coverage: float = 0.9,
    num_windows: int = 600,
) -> NDArray[np.float64]:
    """Half widths [H, 2] of intervals of offset (m) and speed (m/s), h steps ahead, on episodes that were not fitted.

    Split conformal prediction: the quantile of the absolute errors, with one rank more for what is
    finite.
    """
    segment = SegmentSource(fresh, model.device).spread(num_windows, horizon)
    rollout = model.rollout(segment.observations[:, 0], segment.actions)
    errors = (rollout.observations - segment.observations)[:, 1:, [OFFSET, VX]].abs()
    errors[segment.mask == 0] = torch.nan
    level = min(coverage * (1 + 1 / len(errors)), 1.0)
    return torch.nanquantile(errors, level, dim=0).double().numpy()


def load_circuits(paths: Sequence[str | Path]) -> CircuitMap:
    """The maps of files, or of built-in circuits by their names, numbered in their order."""
    return CircuitMap([make_track(path) for path in paths])
