"""Model predictive path integral control: average perturbed plans, weighted by how well they did.

Source: Williams et al. 2017, "Information Theoretic MPC for Model-Based Reinforcement Learning",
algorithm 2.
"""

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from wm_agents.planning.planner import ModelPlanner, action_bounds
from wm_agents.planning.sampling import (
    Buffer,
    SamplingConfig,
    Scorer,
    WarmStart,
    fill_normal,
    smooth_mixing,
)
from wm_agents.protocols import ModelState, Plan
from wm_agents.training.config_checks import (
    require_at_least,
    require_between,
    require_integers,
    require_positive,
)

MIN_GAP = -1e20  # stands for minus infinity where infinities would give NaN


@dataclass(frozen=True, kw_only=True)
class MPPIConfig(SamplingConfig):
    """Settings of MPPI, the paper's names in brackets.

    Attributes:
        num_iterations: How often the plan is perturbed and averaged.
        temperature: Low values follow the best sample, high values average all (lambda).
        is_temperature_relative: Measure the temperature in standard deviations of the samples'
            values, so that it suits rewards of any size; else in the objective's units, as in the
            paper.
        noise_std: Standard deviation of the perturbations, as a share of half the action range.
        smoothing: Correlation of the perturbations of neighbouring steps, in [0, 1).
        has_warm_start: Begin from the last plan, one step further on.

    Raises:
        ConfigError: A value that cannot work.
    """

    num_iterations: int = 2
    temperature: float = 0.2
    is_temperature_relative: bool = True
    noise_std: float = 0.5
    smoothing: float = 0.5
    has_warm_start: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integers(1, num_iterations=self.num_iterations)
        require_at_least(0, noise_std=self.noise_std)
        require_between(0, 0.999, smoothing=self.smoothing)
        require_positive(temperature=self.temperature)


class MPPI(ModelPlanner[MPPIConfig]):
    """MPPI for Box actions; the weighted mean is the plan, evaluated once more for its value.

    It is made as every planner is, see `ModelPlanner`.
    """

    config_class = MPPIConfig
    action_kinds = (spaces.Box,)

    def _prepare(self, actions: spaces.Box) -> None:
        config = self.config
        self._scorer = Scorer(self._model, self.objective, self._device, config.precision)
        self._low, self._high = action_bounds(actions, self._device)
        self._std = config.noise_std * (self._high - self._low) / 2  # [A]
        self._mixing = smooth_mixing(config.horizon, config.smoothing).to(self._device)
        self._noise = Buffer(self._device)
        self._warm_plans = WarmStart()
        self._warm_starts = (self._warm_plans,)

    def _plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        config = self.config
        num_rows = len(state.observations)
        middle = ((self._low + self._high) / 2).expand(num_rows, config.horizon, -1)
        plans = self._warm_plans.shifted(middle)
        for _ in range(config.num_iterations):
            candidates = self._perturb(plans, generator)
            weights = self._weights(self._scorer.values(state, candidates))
            # The mean of candidates within the bounds lies within the bounds.
            plans = torch.einsum("bn,bnha->bha", weights, candidates)
        # The plan is none of the candidates, and its value is not known yet.
        values = self._scorer.values(state, plans[:, None])[:, 0]
        if config.has_warm_start:
            self._warm_plans.keep(plans)
        num_candidates = config.num_iterations * config.num_samples + 1
        return Plan(plans, values, num_rows * num_candidates * config.horizon)

    def _perturb(self, plans: Tensor, generator: torch.Generator) -> Tensor:
        """Candidates [B, N, H, A] around the plans; the first is the plan itself."""
        shape = (len(plans), self.config.num_samples, *plans.shape[1:])
        white = fill_normal(self._noise.of_shape(*shape), generator)
        # The plan itself competes: no iteration has to be worse than it.
        white[:, 0] = 0.0
        noise = (self._mixing @ white).mul_(self._std)
        return noise.add_(plans[:, None]).clamp_(self._low, self._high)

    def _weights(self, values: Tensor) -> Tensor:
        """Softmax weights [B, N] of values [B, N]; uniform where no value is finite."""
        # Where nothing is finite there is no best, and all gaps are to be equal.
        best = values.amax(1, keepdim=True).clamp_min(torch.finfo(values.dtype).min)
        gaps = (values - best).clamp_min(MIN_GAP)
        temperature: float | Tensor = self.config.temperature
        if self.config.is_temperature_relative:
            # Impossible candidates have no part in the scale of the others.
            spread = gaps.masked_fill(gaps <= MIN_GAP, 0.0).std(1, correction=0, keepdim=True)
            # Without a spread all gaps are 0 and any temperature will do.
            temperature = temperature * torch.where(spread > 0.0, spread, 1.0)
        return torch.softmax(gaps / temperature, 1)
