"""iCEM: the cross-entropy method with coloured noise, kept elites and fewer samples in every iteration.

Source: Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method for Real-time Planning",
algorithm 1.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.planning.cem import ActionGaussian, CEMConfig, better_plans, take_candidates
from wm_agents.planning.noise import Buffer, coloured_mixing, fill_normal
from wm_agents.planning.scoring import Scorer, planning_device, to_device
from wm_agents.planning.spaces import action_bounds
from wm_agents.planning.warm_start import CarriedPlan
from wm_agents.protocols import ModelState, Objective, Plan, WorldModel
from wm_agents.training.config_checks import require_at_least, require_between


@dataclass(frozen=True, kw_only=True)
class ICEMConfig(CEMConfig):
    """Settings of iCEM, the paper's names in brackets.

    Attributes:
        num_samples: Samples of the first iteration (N).
        num_iterations: Inner iterations.
        num_elites: Elites (K).
        noise_exponent: Colour of the noise (beta): 0 white, 1 pink, 2 red, larger for smoother
            actions.
        sample_decay: Each iteration has this factor fewer samples (gamma), at least 1 and never
            below 2 K samples.
        kept_share: Share of the elites that join the next iteration and, one step further on, the
            next plan (xi).
    """

    num_samples: int = 64
    num_iterations: int = 3
    num_elites: int = 10
    noise_exponent: float = 2.0
    sample_decay: float = 1.25
    kept_share: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, noise_exponent=self.noise_exponent)
        require_at_least(1, sample_decay=self.sample_decay)
        require_between(0, 1, kept_share=self.kept_share)

    @property
    def num_kept(self) -> int:
        """Elites that are kept."""
        return round(self.kept_share * self.num_elites)

    @property
    def sample_counts(self) -> tuple[int, ...]:
        """Fresh samples of each iteration."""
        decayed = (self.num_samples * self.sample_decay**-i for i in range(self.num_iterations))
        return tuple(
            min(self.num_samples, max(int(count), 2 * self.num_elites)) for count in decayed
        )


class ICEM:
    """iCEM for Box actions; the best sample of all iterations is the plan.

    Args:
        model: Imagines.
        objective: Judges.
        config: Settings.

    Raises:
        SpaceError: Actions that are not a finite Box of shape (A,).
    """

    def __init__(
        self, model: WorldModel, objective: Objective, config: ICEMConfig = ICEMConfig()
    ) -> None:
        self.config = config
        self._device = planning_device(model, config.device)
        self._scorer = Scorer(model, objective, self._device, config.precision)
        self._gaussian = ActionGaussian(
            config, *action_bounds(model.action_space, "ICEM", self._device)
        )
        self._mixing = coloured_mixing(config.horizon, config.noise_exponent).to(self._device)
        self._noise = [Buffer(self._device) for _ in range(config.num_iterations)]
        self._carried_mean = CarriedPlan()
        self._carried_elites = CarriedPlan(horizon_axis=2)

    @torch.no_grad()
    def plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        """Plan for B environments at once."""
        config, state = self.config, to_device(state, self._device)
        middle, std = self._gaussian.start(len(state.observations))
        mean = self._carried_mean.shifted(middle)
        best, best_values = mean, torch.full((len(mean),), -torch.inf, device=self._device)
        kept, num_candidates = self._carried(mean, std, generator), 0
        for iteration, num_fresh in enumerate(config.sample_counts):
            fresh = self._draw(self._noise[iteration], num_fresh, mean, std, generator)
            is_last = iteration == config.num_iterations - 1
            candidates = torch.cat([fresh, kept, mean[:, None]] if is_last else [fresh, kept], 1)
            num_candidates += candidates.shape[1]
            top = self._scorer.values(state, candidates).topk(config.num_elites, 1)
            elites = take_candidates(candidates, top.indices)
            best, best_values = better_plans(best, best_values, elites[:, 0], top.values[:, 0])
            mean, std = self._gaussian.fit(elites, mean, std)
            kept = elites[:, : config.num_kept]
        self._keep(mean, kept)
        return Plan(best, best_values, len(mean) * num_candidates * config.horizon)

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget the warm start of the masked environments [B], or of all."""
        self._carried_mean.reset(mask)
        self._carried_elites.reset(mask)

    def _carried(self, mean: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
        """The last plan's elites one step further on, their last action drawn anew [B, K, H, A]."""
        fresh = self._draw(Buffer(self._device), self.config.num_kept, mean, std, generator)
        return self._carried_elites.shifted(fresh)

    def _keep(self, mean: Tensor, elites: Tensor) -> None:
        if self.config.has_warm_start:
            self._carried_mean.keep(mean)
            self._carried_elites.keep(elites)

    def _draw(
        self, noise: Buffer, count: int, mean: Tensor, std: Tensor, generator: torch.Generator
    ) -> Tensor:
        white = fill_normal(noise.of_shape(len(mean), count, *mean.shape[1:]), generator)
        return self._gaussian.scale(self._mixing @ white, mean, std)
