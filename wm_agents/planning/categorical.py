"""The cross-entropy method for Discrete actions.

Fit one categorical distribution per step to the best samples.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.planning.cem import better_plans, take_candidates
from wm_agents.planning.noise import Buffer, fill_uniform
from wm_agents.planning.scoring import SamplingConfig, Scorer, planning_device, to_device
from wm_agents.planning.spaces import num_discrete_actions
from wm_agents.planning.warm_start import CarriedPlan
from wm_agents.protocols import ModelState, Objective, Plan, WorldModel
from wm_agents.training.config_checks import require_between, require_integers


@dataclass(frozen=True, kw_only=True)
class CategoricalCEMConfig(SamplingConfig):
    """Settings of the categorical CEM.

    Attributes:
        num_iterations: How often the distributions are fitted.
        num_elites: Samples K to which they are fitted; as many join the next plan, one step further
            on.
        smallest_probability: No action falls below this share, so that nothing is ruled out.
        momentum: Share of the old probabilities that each fit keeps, in [0, 1).
        repeat_probability: How often a drawn step repeats the action before it; halved in each
            iteration. Systems that are slow beside their time step need actions that last (what
            coloured noise does for Box actions).
        carried_share: Weight of the last plan's probabilities against uniform ones at the start; 0
            for no warm start.

    Raises:
        ConfigError: A value that cannot work, such as more elites than samples.
    """

    num_samples: int = 128
    num_iterations: int = 3
    num_elites: int = 10
    smallest_probability: float = 0.01
    momentum: float = 0.1
    repeat_probability: float = 0.5
    carried_share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integers(1, num_iterations=self.num_iterations, num_elites=self.num_elites)
        require_between(
            0, 1, repeat_probability=self.repeat_probability, carried_share=self.carried_share
        )
        require_between(0, 0.5, smallest_probability=self.smallest_probability)
        require_between(0, 0.999, momentum=self.momentum)
        if self.num_elites > self.num_samples:
            raise ConfigError(
                f"num_elites={self.num_elites} is more than num_samples={self.num_samples}"
            )


class CategoricalCEM:
    """Cross-entropy method for Discrete actions; the best sample of all iterations is the plan.

    Args:
        model: Imagines.
        objective: Judges.
        config: Settings.

    Raises:
        SpaceError: Actions that are not Discrete from 0.
    """

    def __init__(
        self,
        model: WorldModel,
        objective: Objective,
        config: CategoricalCEMConfig = CategoricalCEMConfig(),
    ) -> None:
        self.config = config
        self._device = planning_device(model, config.device)
        self._scorer = Scorer(model, objective, self._device, config.precision)
        self._num_actions = num_discrete_actions(model.action_space, "CategoricalCEM")
        self._draws, self._repeats = Buffer(self._device), Buffer(self._device)
        self._carried_probabilities = CarriedPlan()
        self._carried_elites = CarriedPlan(horizon_axis=2)

    @torch.no_grad()
    def plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        """Plan for B environments at once."""
        config, state = self.config, to_device(state, self._device)
        num_rows, num_candidates = len(state.observations), 0
        probabilities = self._start(num_rows)
        kept = self._carried_elites.shifted(
            self._draw(probabilities, 0, config.num_elites, generator)
        )
        best, best_values = kept[:, 0], torch.full((num_rows,), -torch.inf, device=self._device)
        for iteration in range(config.num_iterations):
            drawn = self._draw(
                probabilities, iteration, config.num_samples - config.num_elites, generator
            )
            candidates = torch.cat([drawn, kept], 1)
            num_candidates += candidates.shape[1]
            top = self._scorer.values(state, candidates).topk(config.num_elites, 1)
            kept = take_candidates(candidates, top.indices)
            best, best_values = better_plans(best, best_values, kept[:, 0], top.values[:, 0])
            probabilities = self._fit(kept, probabilities)
        if config.carried_share > 0.0:
            self._carried_probabilities.keep(probabilities)
            self._carried_elites.keep(kept)
        return Plan(best, best_values, num_rows * num_candidates * config.horizon)

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget the warm start of the masked environments [B], or of all."""
        self._carried_probabilities.reset(mask)
        self._carried_elites.reset(mask)

    def _start(self, num_rows: int) -> Tensor:
        """Probabilities [B, H, n]: uniform, mixed with the last plan's."""
        shape = (num_rows, self.config.horizon, self._num_actions)
        uniform = torch.full(shape, 1.0 / self._num_actions, device=self._device)
        return uniform.lerp(self._carried_probabilities.shifted(uniform), self.config.carried_share)

    def _draw(
        self, probabilities: Tensor, iteration: int, count: int, generator: torch.Generator
    ) -> Tensor:
        """Candidates [B, count, H] by inverting the cumulative probabilities, some steps repeating the one before."""
        shape = (len(probabilities), count, self.config.horizon)
        uniform = fill_uniform(self._draws.of_shape(*shape), generator)
        bounds = probabilities.cumsum(2)[:, None, :, :-1]
        actions = (uniform.unsqueeze(3) >= bounds).sum(3)
        is_repeat = (
            fill_uniform(self._repeats.of_shape(*shape), generator)
            < self.config.repeat_probability / 2**iteration
        )
        steps = torch.arange(self.config.horizon, device=self._device)
        return actions.gather(2, torch.where(is_repeat, 0, steps).cummax(2).values)

    def _fit(self, elites: Tensor, probabilities: Tensor) -> Tensor:
        shares = torch.nn.functional.one_hot(elites, self._num_actions).float().mean(1)
        fitted = shares.lerp(probabilities, self.config.momentum).clamp_min_(
            self.config.smallest_probability
        )
        return fitted / fitted.sum(2, keepdim=True)
