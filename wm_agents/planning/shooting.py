"""Random shooting: draw action sequences uniformly, execute the first action of the best."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.planning.noise import Buffer, fill_uniform
from wm_agents.planning.scoring import SamplingConfig, Scorer, planning_device, to_device
from wm_agents.planning.spaces import action_bounds, num_discrete_actions
from wm_agents.protocols import ModelState, Objective, Plan, WorldModel


@dataclass(frozen=True, kw_only=True)
class RandomShootingConfig(SamplingConfig):
    """Random shooting has no settings but those of all sampling planners."""


class RandomShooting:
    """Uniform candidates, the best is the plan; serves Box and Discrete actions and carries nothing over.

    Args:
        model: Imagines.
        objective: Judges.
        config: Settings.

    Raises:
        SpaceError: Actions that are neither Discrete from 0 nor a finite Box of shape (A,).
    """

    def __init__(
        self,
        model: WorldModel,
        objective: Objective,
        config: RandomShootingConfig = RandomShootingConfig(),
    ) -> None:
        self.config = config
        self._device = planning_device(model, config.device)
        self._scorer = Scorer(model, objective, self._device, config.precision)
        self._num_actions = 0
        if isinstance(model.action_space, gym.spaces.Discrete):
            self._num_actions = num_discrete_actions(model.action_space, "RandomShooting")
        else:
            self._low, self._high = action_bounds(
                model.action_space, "RandomShooting", self._device
            )
        self._noise = Buffer(self._device)

    @torch.no_grad()
    def plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        """Plan for B environments at once."""
        state = to_device(state, self._device)
        candidates = self._draw(len(state.observations), generator)
        values = self._scorer.values(state, candidates)
        best_values, best = values.max(1)
        actions = candidates[torch.arange(len(best), device=self._device), best]
        return Plan(
            actions,
            best_values,
            candidates.shape[0] * self.config.num_samples * self.config.horizon,
        )

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Nothing to forget."""

    def _draw(self, num_rows: int, generator: torch.Generator) -> Tensor:
        shape = (num_rows, self.config.num_samples, self.config.horizon)
        if self._num_actions:
            uniform = fill_uniform(self._noise.of_shape(*shape), generator)
            return (uniform * self._num_actions).long()
        uniform = fill_uniform(self._noise.of_shape(*shape, len(self._low)), generator)
        return torch.addcmul(self._low, uniform, self._high - self._low)
