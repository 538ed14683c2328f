"""The cross-entropy method: CEM and iCEM for Box actions, CategoricalCEM for Discrete ones.

Fit a distribution over action sequences to the best of its own samples, again and again. Sources:
Rubinstein & Kroese 2004; as a planner in learned models, PETS (Chua et al. 2018, section 5); iCEM,
Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method for Real-time Planning", algorithm 1.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from gymnasium import spaces
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.planning.planner import ModelPlanner, action_bounds
from wm_agents.planning.sampling import (
    Buffer,
    SamplingConfig,
    Scorer,
    WarmStart,
    better_plans,
    colored_mixing,
    fill_normal,
    fill_uniform,
    take_candidates,
)
from wm_agents.protocols import ModelState, Plan
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

    # Dataclasses do not call the checks of their base by themselves.
    def __post_init__(self) -> None:
        super().__post_init__()
        require_integers(1, num_iterations=self.num_iterations, num_elites=self.num_elites)
        require_at_least(0, initial_std=self.initial_std, smallest_std=self.smallest_std)
        require_between(0, 0.999, momentum=self.momentum)
        _require_enough_samples(self.num_elites, self.num_samples)


@dataclass(frozen=True, kw_only=True)
class ICEMConfig(CEMConfig):
    """Settings of iCEM, the paper's names in brackets.

    Attributes:
        num_samples: Samples of the first iteration (N).
        num_iterations: Inner iterations.
        num_elites: Elites (K).
        noise_exponent: Color of the noise (beta): 0 white, 1 pink, 2 red, larger for smoother
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
            # Twice the elites at least: a Gaussian is not fitted to a selection of all.
            min(self.num_samples, max(int(count), 2 * self.num_elites))
            for count in decayed
        )


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
            colored noise does for Box actions).
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
        _require_enough_samples(self.num_elites, self.num_samples)


GaussianConfigT = TypeVar("GaussianConfigT", bound=CEMConfig)


class _GaussianPlanner(ModelPlanner[GaussianConfigT], Generic[GaussianConfigT]):
    """The Gaussian over action sequences that CEM and iCEM fit."""

    action_kinds = (spaces.Box,)

    def _prepare(self, actions: spaces.Box) -> None:
        config = self.config
        self._scorer = Scorer(self._model, self.objective, self._device, config.precision)
        self._low, self._high = action_bounds(actions, self._device)
        half_range = (self._high - self._low) / 2
        self._initial_std = config.initial_std * half_range  # [A]
        self._smallest_std = config.smallest_std * half_range  # [A]
        self._warm_mean = WarmStart()
        self._warm_starts = (self._warm_mean,)

    def _initial(self, num_rows: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [B, H, A] at the beginning of a plan."""
        middle = ((self._low + self._high) / 2).expand(num_rows, self.config.horizon, -1)
        # The mean is carried over, the deviation is not: a plan must be able to change its mind.
        return self._warm_mean.shifted(middle), self._initial_std.expand_as(middle)

    def _scaled(self, noise: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Turn standard noise [B, N, H, A] in place into candidates within the bounds."""
        # Clipped and not drawn again: the best action often lies on a bound, which drawing again never
        # reaches.
        return noise.mul_(std[:, None]).add_(mean[:, None]).clamp_(self._low, self._high)

    def _fitted(self, elites: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """The next mean and standard deviation from elites [B, K, H, A] and the current ones."""
        # Without correction, so that a single elite has deviation 0 and not NaN.
        elite_std, elite_mean = torch.std_mean(elites, 1, correction=0)
        momentum = self.config.momentum
        next_std = elite_std.lerp(std, momentum).maximum(self._smallest_std)
        return elite_mean.lerp(mean, momentum), next_std


class CEM(_GaussianPlanner[CEMConfig]):
    """Cross-entropy method for Box actions.

    The mean is among the samples, and the best sample of all iterations is the plan.
    It is made as every planner is, see `ModelPlanner`.
    """

    config_class = CEMConfig

    def _prepare(self, actions: spaces.Box) -> None:
        super()._prepare(actions)
        self._candidates = Buffer(self._device)

    def _plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        config = self.config
        mean, std = self._initial(len(state.observations))
        num_rows = len(mean)
        candidates = self._candidates.of_shape(num_rows, config.num_samples, *mean.shape[1:])
        best = mean
        best_values = torch.full((num_rows,), -torch.inf, device=self._device)
        for _ in range(config.num_iterations):
            fill_normal(candidates, generator)[:, 0] = 0.0  # the mean itself is a candidate
            self._scaled(candidates, mean, std)
            # Of one iteration alone; the best of all iterations is kept beside it.
            top = self._scorer.values(state, candidates).topk(config.num_elites, 1)
            elites = take_candidates(candidates, top.indices)
            best, best_values = better_plans(best, best_values, elites[:, 0], top.values[:, 0])
            mean, std = self._fitted(elites, mean, std)
        if config.has_warm_start:
            # The mean and not the best candidate: it is the less noisy place to go on from.
            self._warm_mean.keep(mean)
        num_candidates = config.num_iterations * config.num_samples
        return Plan(best, best_values, num_rows * num_candidates * config.horizon)


class ICEM(_GaussianPlanner[ICEMConfig]):
    """iCEM for Box actions: colored noise, kept elites and fewer samples in every iteration.

    The best sample of all iterations is the plan. It is made as every planner is, see
    `ModelPlanner`.
    """

    config_class = ICEMConfig

    def _prepare(self, actions: spaces.Box) -> None:
        super()._prepare(actions)
        config = self.config
        # Applied to all steps at once by a matrix product.
        self._mixing = colored_mixing(config.horizon, config.noise_exponent).to(self._device)
        # A buffer for each iteration: their numbers of samples differ.
        self._noise = [Buffer(self._device) for _ in range(config.num_iterations)]
        self._warm_elites = WarmStart(horizon_axis=2)
        self._warm_starts = (self._warm_mean, self._warm_elites)

    def _plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        config = self.config
        mean, std = self._initial(len(state.observations))
        best = mean
        best_values = torch.full((len(mean),), -torch.inf, device=self._device)
        # The last plan's elites one step further on, their last action drawn anew [B, K, H, A].
        fresh = self._draw(Buffer(self._device), config.num_kept, mean, std, generator)
        kept = self._warm_elites.shifted(fresh)
        num_candidates = 0
        for iteration, num_fresh in enumerate(config.sample_counts):
            fresh = self._draw(self._noise[iteration], num_fresh, mean, std, generator)
            is_last = iteration == config.num_iterations - 1
            # The mean itself is judged in the last iteration only (iCEM).
            candidates = torch.cat([fresh, kept, mean[:, None]] if is_last else [fresh, kept], 1)
            num_candidates += candidates.shape[1]
            top = self._scorer.values(state, candidates).topk(config.num_elites, 1)
            elites = take_candidates(candidates, top.indices)
            best, best_values = better_plans(best, best_values, elites[:, 0], top.values[:, 0])
            mean, std = self._fitted(elites, mean, std)
            # The best ones compete again in the next iteration.
            kept = elites[:, : config.num_kept]
        if config.has_warm_start:
            self._warm_mean.keep(mean)
            self._warm_elites.keep(kept)
        return Plan(best, best_values, len(mean) * num_candidates * config.horizon)

    def _draw(
        self, noise: Buffer, count: int, mean: Tensor, std: Tensor, generator: torch.Generator
    ) -> Tensor:
        white = fill_normal(noise.of_shape(len(mean), count, *mean.shape[1:]), generator)
        return self._scaled(self._mixing @ white, mean, std)


class CategoricalCEM(ModelPlanner[CategoricalCEMConfig]):
    """Cross-entropy method for Discrete actions, one categorical distribution per step.

    The best sample of all iterations is the plan. It is made as every planner is, see
    `ModelPlanner`.
    """

    config_class = CategoricalCEMConfig
    action_kinds = (spaces.Discrete,)

    def _prepare(self, actions: spaces.Discrete) -> None:
        self._scorer = Scorer(self._model, self.objective, self._device, self.config.precision)
        self._num_actions = int(actions.n)
        self._first_action = int(actions.start)
        self._draws = Buffer(self._device)
        self._repeats = Buffer(self._device)
        self._warm_probabilities = WarmStart()
        self._warm_elites = WarmStart(horizon_axis=2)
        self._warm_starts = (self._warm_probabilities, self._warm_elites)

    def _plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        config = self.config
        num_rows = len(state.observations)
        num_candidates = 0
        # Uniform and carried probabilities mixed, so that no action is ever excluded.
        probabilities = self._start(num_rows)
        # Within this class actions count from 0, whatever the space's first one is.
        kept = self._warm_elites.shifted(self._draw(probabilities, 0, config.num_elites, generator))
        # Worth minus infinity until it has been scored.
        best = kept[:, 0]
        best_values = torch.full((num_rows,), -torch.inf, device=self._device)
        for iteration in range(config.num_iterations):
            num_drawn = config.num_samples - config.num_elites
            drawn = self._draw(probabilities, iteration, num_drawn, generator)
            candidates = torch.cat([drawn, kept], 1)
            num_candidates += candidates.shape[1]
            values = self._scorer.values(state, candidates + self._first_action)
            top = values.topk(config.num_elites, 1)
            kept = take_candidates(candidates, top.indices)
            best, best_values = better_plans(best, best_values, kept[:, 0], top.values[:, 0])
            probabilities = self._fitted(kept, probabilities)
        if config.carried_share > 0.0:
            self._warm_probabilities.keep(probabilities)
            self._warm_elites.keep(kept)
        num_model_steps = num_rows * num_candidates * config.horizon
        return Plan(best + self._first_action, best_values, num_model_steps)

    def _start(self, num_rows: int) -> Tensor:
        """Probabilities [B, H, n]: uniform, mixed with the last plan's."""
        shape = (num_rows, self.config.horizon, self._num_actions)
        uniform = torch.full(shape, 1.0 / self._num_actions, device=self._device)
        return uniform.lerp(self._warm_probabilities.shifted(uniform), self.config.carried_share)

    def _draw(
        self, probabilities: Tensor, iteration: int, count: int, generator: torch.Generator
    ) -> Tensor:
        """Candidates [B, count, H] by inverting the cumulative probabilities.

        Some steps repeat the one before.
        """
        shape = (len(probabilities), count, self.config.horizon)
        uniform = fill_uniform(self._draws.of_shape(*shape), generator)
        bounds = probabilities.cumsum(2)[:, None, :, :-1]  # [B, 1, H, n - 1]
        actions = (uniform.unsqueeze(3) >= bounds).sum(3)
        repeat_draws = fill_uniform(self._repeats.of_shape(*shape), generator)
        # Repeating is halved with each iteration: long actions first, fine corrections later.
        is_repeat = repeat_draws < self.config.repeat_probability / 2**iteration
        # A step that repeats looks up the last step that does not.
        steps = torch.arange(self.config.horizon, device=self._device)
        # The largest step so far that does not repeat; step 0 repeats nothing.
        return actions.gather(2, torch.where(is_repeat, 0, steps).cummax(2).values)

    def _fitted(self, elites: Tensor, probabilities: Tensor) -> Tensor:
        shares = torch.nn.functional.one_hot(elites, self._num_actions).float().mean(1)
        fitted = shares.lerp(probabilities, self.config.momentum)
        # A probability of 0 would never come back.
        fitted.clamp_min_(self.config.smallest_probability)
        return fitted / fitted.sum(2, keepdim=True)


def _require_enough_samples(num_elites: int, num_samples: int) -> None:
    if num_elites > num_samples:
        raise ConfigError(f"num_elites={num_elites} is more than num_samples={num_samples}")
