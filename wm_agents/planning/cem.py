"""The cross-entropy method: fit a Gaussian to the best of its own samples, again and again.

Source: Rubinstein & Kroese 2004; as a planner in learned models, PETS (Chua et al. 2018, section
5).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.planning.noise import Buffer, fill_normal
from wm_agents.planning.scoring import SamplingConfig, Scorer, planning_device, to_device
from wm_agents.planning.spaces import action_bounds
from wm_agents.planning.warm_start import CarriedPlan
from wm_agents.protocols import ModelState, Objective, Plan, WorldModel
from wm_agents.training.config_checks import require_at_least, require_between, require_integers


@dataclass(frozen=True, kw_only=True)
class CEMConfig(SamplingConfig):
    """Settings of CEM.

    Attributes:
        num_iterations: How often the Gaussian is fitted.
        num_elites: Samples K to which it is fitted.
        initial_std: Its standard deviation at first, as a share of half the action range.
        smallest_std: It never shrinks below this, as a share of half the action range.
        momentum: Share of the old mean and standard deviation that each fit keeps, in [0, 1).
        has_warm_start: Begin from the last plan, one step further on.

    Raises:
        ConfigError: A value that cannot work, such as more elites than samples.
    """

    num_iterations: int = 5
    num_elites: int = 50
    initial_std: float = 0.5
    smallest_std: float = 0.0
    momentum: float = 0.1
    has_warm_start: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integers(1, num_iterations=self.num_iterations, num_elites=self.num_elites)
        require_at_least(0, initial_std=self.initial_std, smallest_std=self.smallest_std)
        require_between(0, 0.999, momentum=self.momentum)
        if self.num_elites > self.num_samples:
            raise ConfigError(
                f"num_elites={self.num_elites} is more than num_samples={self.num_samples}"
            )


class ActionGaussian:
    """The Gaussian over action sequences that CEM fits: where it starts, how it is drawn from and fitted.

    Args:
        config: Settings.
        low: Lowest action [A].
        high: Highest action [A].
    """

    def __init__(self, config: CEMConfig, low: Tensor, high: Tensor) -> None:
        self._config = config
        self._low = low
        self._high = high
        half_range = (high - low) / 2
        self._initial_std = config.initial_std * half_range
        self._smallest_std = config.smallest_std * half_range

    def start(self, num_rows: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [B, H, A] before anything is known."""
        middle = ((self._low + self._high) / 2).expand(num_rows, self._config.horizon, -1)
        return middle, self._initial_std.expand_as(middle)

    def scale(self, noise: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Turn standard noise [B, N, H, A] in place into candidates within the bounds."""
        return noise.mul_(std[:, None]).add_(mean[:, None]).clamp_(self._low, self._high)

    def fit(self, elites: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """The next mean and standard deviation from elites [B, K, H, A] and the present ones."""
        elite_std, elite_mean = torch.std_mean(elites, 1, correction=0)
        momentum = self._config.momentum
        return elite_mean.lerp(mean, momentum), elite_std.lerp(std, momentum).maximum(
            self._smallest_std
        )


class CEM:
    """Cross-entropy method for Box actions; the mean is among the samples, and the best sample is the plan.

    Args:
        model: Imagines.
        objective: Judges.
        config: Settings.

    Raises:
        SpaceError: Actions that are not a finite Box of shape (A,).
    """

    def __init__(
        self, model: WorldModel, objective: Objective, config: CEMConfig = CEMConfig()
    ) -> None:
        self.config = config
        self._device = planning_device(model, config.device)
        self._scorer = Scorer(model, objective, self._device, config.precision)
        self._gaussian = ActionGaussian(
            config, *action_bounds(model.action_space, "CEM", self._device)
        )
        self._candidates = Buffer(self._device)
        self._carried = CarriedPlan()

    @torch.no_grad()
    def plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        """Plan for B environments at once."""
        config, state = self.config, to_device(state, self._device)
        middle, std = self._gaussian.start(len(state.observations))
        mean = self._carried.shifted(middle)
        candidates = self._candidates.of_shape(len(mean), config.num_samples, *mean.shape[1:])
        best, best_values = mean, torch.full((len(mean),), -torch.inf, device=self._device)
        for _ in range(config.num_iterations):
            fill_normal(candidates, generator)[:, 0] = 0.0
            self._gaussian.scale(candidates, mean, std)
            top = self._scorer.values(state, candidates).topk(config.num_elites, 1)
            elites = take_candidates(candidates, top.indices)
            best, best_values = better_plans(best, best_values, elites[:, 0], top.values[:, 0])
            mean, std = self._gaussian.fit(elites, mean, std)
        if config.has_warm_start:
            self._carried.keep(mean)
        return Plan(
            best,
            best_values,
            len(mean) * config.num_iterations * config.num_samples * config.horizon,
        )

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget the warm start of the masked environments [B], or of all."""
        self._carried.reset(mask)


def take_candidates(candidates: Tensor, index: Tensor) -> Tensor:
    """The candidates [B, K, ...] of an index [B, K] into [B, N, ...]."""
    return candidates[torch.arange(len(index), device=index.device)[:, None], index]


def better_plans(
    plans: Tensor, values: Tensor, new_plans: Tensor, new_values: Tensor
) -> tuple[Tensor, Tensor]:
    """Row by row the plan [B, H, ...] of the higher value [B]; the old one where they are equal."""
    is_better = (new_values > values).view(-1, *[1] * (plans.dim() - 1))
    return torch.where(is_better, new_plans, plans), torch.maximum(values, new_values)
