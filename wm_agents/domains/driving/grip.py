"""Online estimation of the road's grip by maximum likelihood, for a model that is told the grip.

One `DrivingModel` sees the grip of the road beside the car. It learns from recordings of which the
grip is known; on the road a filter asks which of a few grips explains best what the accelerometer
and the gyroscope have shown so far, one step ahead. The model then imagines with that one number.

Shape letters: B cars, G grips, E ensemble members, S futures of a car, H horizon.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.driving.network import MOTION_COLUMNS, DrivingModel, Force, Motion
from wm_agents.domains.driving.risk import (
    NOISES,
    NoisyDrivers,
    RiskModel,
    paths_by_member,
)
from wm_agents.domains.driving.rollouts import CompiledDynamics, Floats, LearnedPaths, PathColumn
from wm_agents.errors import ConfigError
from wm_envs.driving.track import Track

GRIPS = tuple(round(0.6 + 0.05 * number, 2) for number in range(13))  # 0.6 to 1.2
MEMORY = 0.99  # of the evidence, from step to step: two seconds, so that a change is noticed
# Errors of the model go on from step to step, so that each step counts as less than a whole one.
WEIGHT = 0.3
MAX_ERROR = 4.0  # in standard deviations; larger ones say that the model errs, not which grip
SENSED = [Force.AX, Force.AY, Force.YAW_CHANGE]


class GripFilter:
    """The probability of each of a few grips, from one-step errors of a model.

    Args:
        model: Fitted, with `knows_grip`.
        error_stds: Standard deviations [3] of its errors at the true grip, see `sensed_errors`.
        num_cars: B.

    Attributes:
        evidence: Log likelihoods [B, G], up to a constant; all alike at first.

    Raises:
        ConfigError: The model does not know the grip.
    """

    def __init__(self, model: DrivingModel, error_stds: Tensor, num_cars: int) -> None:
        if not model.config.knows_grip:
            raise ConfigError("the model does not see the grip: fit one with knows_grip=True")
        self.model = model
        self.error_stds = error_stds
        self.evidence = torch.zeros(num_cars, len(GRIPS))

    @property
    def estimates(self) -> NDArray[np.float64]:
        """The mean of the grips under their probabilities [B]; all grips are alike at first."""
        shares = torch.softmax(self.evidence, -1).double()
        return (shares @ torch.tensor(GRIPS, dtype=torch.float64)).numpy()

    @property
    def nearest(self) -> NDArray[np.int64]:
        """The number of the grip of `GRIPS` that is nearest to the estimate [B]."""
        return np.abs(self.estimates[:, None] - np.array(GRIPS)).argmin(axis=1)

    def update(
        self,
        observations: NDArray[np.float32],
        actions: NDArray[np.float32],
        next_observations: NDArray[np.float32],
        is_valid: NDArray[np.bool_],
    ) -> None:
        """Take in one step: observations [B, 37 or 40], actions [B, 3], and what came.

        Args:
            observations: Before.
            actions: Taken.
            next_observations: After.
            is_valid: False where the step was none, as after an end; evidence begins anew there.
        """
        errors = sensed_errors(self.model, observations, actions, next_observations, GRIPS)
        scaled = (errors / self.error_stds).clamp(-MAX_ERROR, MAX_ERROR)  # [G, B, 3]
        gained = -0.5 * WEIGHT * scaled.square().sum(-1).T
        valid = torch.as_tensor(is_valid)[:, None]
        self.evidence = torch.where(valid, MEMORY * self.evidence + gained, 0.0)
        self.evidence -= self.evidence.amax(-1, keepdim=True)


@torch.no_grad()
def sensed_errors(
    model: DrivingModel,
    observations: NDArray[np.float32],
    actions: NDArray[np.float32],
    next_observations: NDArray[np.float32],
    grips: Sequence[float],
) -> Tensor:
    """Errors of both accelerations and the change of the yaw rate [G, B, 3], one step ahead."""
    before = torch.as_tensor(observations)[:, MOTION_COLUMNS]  # [B, 12]
    after = torch.as_tensor(next_observations)[:, MOTION_COLUMNS]
    turned = after[:, Motion.YAW_RATE] - before[:, Motion.YAW_RATE]
    sensed = torch.stack([after[:, Motion.AX], after[:, Motion.AY], turned], -1)
    size = (len(grips), *before.shape)
    every = before.expand(size).reshape(-1, before.shape[-1])  # [G * B, 12]
    taken = torch.as_tensor(actions).expand(len(grips), -1, -1).reshape(-1, actions.shape[-1])
    grip = torch.tensor(grips).repeat_interleave(len(before))[:, None]
    forces = model.forces(every.expand(model.num_members, -1, -1), taken, grip).mean(0)
    return forces[:, SENSED].view(len(grips), len(before), len(SENSED)) - sensed


class FilteringDrivers(NoisyDrivers):
    """Noisy drivers on a road of unknown grip, which a filter estimates while they drive.

    Args:
        track: A circuit file.
        num_cars: B.
        seed: Draws starts, paces and noise.
        grip: Of the road, which only the drivers know.
        grip_filter: Estimates it; None for nobody who does.
        noises: See `NoisyDrivers`.
    """

    def __init__(
        self,
        track: str | Path | Track,
        num_cars: int,
        seed: int,
        grip: float,
        grip_filter: GripFilter | None,
        noises: Sequence[float] = NOISES,
    ) -> None:
        super().__init__(track, num_cars, seed, noises, grip)
        self.grip_filter = grip_filter
        self._is_new = np.zeros(num_cars, np.bool_)

    def step(self, is_handed_over: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Drive one step and learn from it; see `NoisyDrivers.step`."""
        before = self.observations
        terminated = super().step(is_handed_over)
        if self.grip_filter is not None:
            self.grip_filter.update(before, self.last_actions, self.observations, ~self._is_new)
        # The step after an end puts the car at a new start.
        self._is_new = terminated
        return terminated


@dataclass(frozen=True)
class GripRiskModel(RiskModel):
    """Imagines the futures of each car at the grip that a filter has found for it.

    Attributes:
        by_grip: The dynamics of the model at each of `GRIPS`.
    """

    by_grip: tuple[CompiledDynamics, ...] = ()

    @classmethod
    def of(cls, model: DrivingModel) -> "GripRiskModel":
        """The learned model of a car, which knows the grip."""
        return cls(None, tuple(CompiledDynamics(model, grip) for grip in GRIPS))

    def paths(self, drivers: NoisyDrivers, disturbances: Floats) -> Floats:
        """Paths [B * S, H + 1, 9] under disturbances [B * S, H, 5]; see `RiskModel.paths`.

        Raises:
            ConfigError: Nobody estimates the grip of these drivers' road.
        """
        if not isinstance(drivers, FilteringDrivers) or drivers.grip_filter is None:
            raise ConfigError("the grip is not estimated: give FilteringDrivers with a filter")
        num_samples = len(disturbances) // len(drivers.observations)
        numbers = drivers.grip_filter.nearest
        paths: Floats = np.empty((len(disturbances), disturbances.shape[1] + 1, len(PathColumn)))
        for number in np.unique(numbers):
            cars = np.flatnonzero(numbers == number)
            rows = (cars[:, None] * num_samples + np.arange(num_samples)).ravel()
            model = LearnedPaths(self.by_grip[number], drivers.env.parameters, drivers.expert)
            state = model.start(torch.as_tensor(drivers.observations[cars])).repeat(num_samples)
            paths[rows] = paths_by_member(model, state, torch.from_numpy(disturbances[rows]))
        return paths
