"""A policy for vectors of numbers, learned by gradients through a world model.

An ensemble is fitted to the recorded steps, and fitted again as they grow. From recorded
observations it imagines a window of steps; the policy goes up the gradient of the rewards in the
window and of a value at its end, straight through the model, and the value is learned from the same
windows (Xu et al. 2022, "Accelerated policy learning with parallel differentiable simulation",
sec. 3, with a learned model in place of the simulation, as Hafner et al. 2020, "Dream to control").

Letters: B rows (environments side by side), N imagined rows, H steps of a window, O observation,
A actions.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces as gym_spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.errors import NonFiniteError
from wm_agents.learners.base import Learner, VectorStep
from wm_agents.learners.replay_buffer import ReplayBuffer
from wm_agents.networks import follow_parameters, smooth_perceptron
from wm_agents.policy_gradient.rollouts import lambda_returns
from wm_agents.policy_gradient.running_standardizer import RunningStandardizer
from wm_agents.policy_gradient.spaces import PolicySpaces
from wm_agents.training.checkpoints import Checkpoint
from wm_agents.training.finite import gradient_step
from wm_agents.world_models.ensemble import EnsembleConfig, EnsembleModel
from wm_agents.world_models.fitting import FitConfig

MAX_GRAD_NORM = 0.5
VALUE_SCALE = 10.0
"""Mean sizes of a reward in the unit of values."""
NOISE_MEMORY = 0.7
"""Of exploring noise, from one step to the next, since noise that is new each step goes nowhere."""


@dataclass(frozen=True)
class ImaginedPolicyConfig:
    """Settings of `ImaginedPolicy`.

    Attributes:
        first_fit: Steps before the first fit of the model; a quarter of all if that is less.
        refit_growth: The model is fitted again each time there are so many times as many steps.
        fit_updates: Updates of each fit; half of them where weights are there already.
        num_members: Networks of the model.
        model_width: Hidden units in each of two layers of the model.
        num_windows: Imagined windows after each fit, each an update of the policy.
        last_windows: After the last fit, while the learning rate falls to a tenth.
        num_rows: N, imagined side by side.
        horizon: H.
        gamma: Discount per step.
        gae_lambda: Of the returns that values are learned from.
        learning_rate: Of policy and values.
        width: Hidden units in each of two layers of both.
        value_updates: After each window.
        slow_share: Of the value network that its slow copy takes over after each update.
        noise: Standard deviation of noise on imagined and on exploring actions, in units of the
            bounds.
        capacity: Steps kept.
        max_features: Numbers of an observation that a model can be asked for.
    """

    first_fit: int = 1000
    refit_growth: float = 1.5
    fit_updates: int = 2000
    num_members: int = 3
    model_width: int = 128
    num_windows: int = 150
    last_windows: int = 300
    num_rows: int = 192
    horizon: int = 16
    gamma: float = 0.99
    gae_lambda: float = 0.95
    learning_rate: float = 1e-3
    width: int = 128
    value_updates: int = 4
    slow_share: float = 0.05
    noise: float = 0.1
    capacity: int = 100_000
    max_features: int = 256


class ImaginedPolicy(Learner):
    """Learns from imagined steps alone; the model learns from the steps of all learners."""

    config: ImaginedPolicyConfig
    name: ClassVar[str] = "imagined policy"

    def __init__(
        self,
        spaces: PolicySpaces,
        num_rows: int,
        total_steps: int,
        seed: int,
        config: ImaginedPolicyConfig | None = None,
    ) -> None:
        super().__init__(spaces, num_rows, total_steps, seed, config or ImaginedPolicyConfig())
        if not spaces.is_continuous:
            self.withdrawal = "actions are counted"
        size, width = spaces.observations.size, self.config.width
        if size > self.config.max_features:
            self.withdrawal = f"observations of {size:,} numbers are too large to imagine"
        self._row_space = gym_spaces.Box(-np.inf, np.inf, (size,), np.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = smooth_perceptron(size, width, spaces.num_actions)
            self.values = smooth_perceptron(size, width, 1)
        with torch.no_grad():
            last = self.policy[-1]
            assert isinstance(last, nn.Linear)
            last.weight.mul_(0.1)
            last.bias.zero_()
        self.slow_values = copy.deepcopy(self.values).requires_grad_(False)
        rate = self.config.learning_rate
        self._optimizers = {
            "policy": torch.optim.Adam(self.policy.parameters(), rate),
            "values": torch.optim.Adam(self.values.parameters(), rate),
        }
        self.units = RunningStandardizer(size)
        per_row = max(64, self.config.capacity // num_rows)
        self.replay = ReplayBuffer(num_rows, min(per_row, total_steps // num_rows + 2))
        self.model: EnsembleModel | None = None
        self.draws = np.random.default_rng([seed, 6])
        self.generator = torch.Generator().manual_seed(seed)
        self.num_fits = 0
        self.num_updates = 0
        self._next_fit = float(self.at_most_a_quarter(self.config.first_fit))
        self._noise = torch.zeros(num_rows, spaces.num_actions)

    @property
    def can_act(self) -> bool:
        """Whether there is a model in which something was learned."""
        return not self.withdrawal and self.num_updates > 0

    # --- acting

    @torch.no_grad()
    def act(
        self,
        obs: Tensor,
        is_start: NDArray[np.bool_],  # noqa: ARG002
        own: NDArray[np.bool_],
        greedy: NDArray[np.bool_],
    ) -> Tensor:
        """The policy's actions with noise that lasts; at random before there is a model."""
        shape = (len(obs), self.spaces.num_actions)
        fresh = torch.randn(shape, generator=self.generator)
        self._noise = NOISE_MEMORY * self._noise + (1 - NOISE_MEMORY**2) ** 0.5 * fresh
        if not (self.can_act and own.any()):
            return self.executed((0.5 * self._noise).clamp(-1, 1))
        noise = 2 * self.config.noise * self._noise
        noise[torch.from_numpy(greedy)] = 0.0
        return self.executed((self._decide(self.units.normalize(obs)) + noise).clamp(-1, 1))

    def _decide(self, inputs: Tensor) -> Tensor:
        """Actions [N, A] in units of the bounds for standardized observations [N, O]."""
        actions: Tensor = torch.tanh(self.policy(inputs))
        return actions

    @torch.no_grad()
    def predict(
        self,
        obs: Tensor,
        state: Any,
        is_start: NDArray[np.bool_],  # noqa: ARG002
    ) -> tuple[Tensor, Any]:
        """The policy's actions."""
        return self.executed(self._decide(self.units.normalize(obs))), state

    # --- learning

    def observe(self, step: VectorStep, own: NDArray[np.bool_]) -> dict[str, float]:  # noqa: ARG002
        """Keep the steps; when there are enough new ones fit the model and imagine."""
        self.num_seen += len(step.rewards)
        if self.withdrawal:
            return {}
        self.replay.keep(step)
        self.units.update(step.obs)
        if self.num_seen < self._next_fit or not self.effort:
            return {}
        self._next_fit = max(self._next_fit * self.config.refit_growth, self.num_seen + 1)
        is_last = self._next_fit > self.total_steps
        num_windows = self.config.last_windows if is_last else self.config.num_windows
        try:
            self._fit()
            return self._learn(num_windows, is_last)
        except NonFiniteError as error:
            # Recorded steps were checked before: what is not finite was imagined.
            self.withdrawal = f"imagination failed after {self.num_seen:,} steps: {error}"
            return {}

    def _fit(self) -> None:
        """Fit the model to all recorded steps, from its present weights if it has any."""
        actions = self.spaces.actions.row_space
        if self.model is None:
            widths = (self.config.model_width,) * 2
            config = EnsembleConfig(
                num_members=self.config.num_members, dynamics_widths=widths, reward_widths=widths
            )
            self.model = EnsembleModel(self._row_space, actions, config, seed=self.seed)
        is_warm = self.num_fits > 0
        share = self.effort * (0.5 if is_warm else 1.0)
        settings = FitConfig(
            num_updates=max(1, round(share * self.config.fit_updates)),
            horizon=4,
            is_warm_start=is_warm,
            holdout=0.0,
            seed=self.seed + self.num_fits,
        )
        self.model.fit(self.replay.trajectories(self._row_space, actions), settings)
        self.num_fits += 1

    def _learn(self, num_windows: int, is_last: bool) -> dict[str, float]:
        """Imagine windows, each with a step up the policy's gradient and some of the values'."""
        figures: dict[str, float] = {}
        num_windows = max(1, round(self.effort * num_windows))
        for number in range(num_windows):
            fall = 0.9 * number / num_windows if is_last else 0.0
            for optimizer in self._optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = self.config.learning_rate * (1 - fall)
            figures = self._window()
        return figures

    def _window(self) -> dict[str, float]:
        """One window of N rows from recorded observations."""
        assert self.model is not None
        config = self.config
        scale = VALUE_SCALE * (self.replay.reward_size or 1.0)
        obs = self.replay.starts(config.num_rows, self.draws)
        state = self.model.start(obs)
        alive = torch.ones(len(obs))
        inputs = [self.units.normalize(obs)]
        rewards, lives, objective = [], [alive], torch.zeros(len(obs))
        for step in range(config.horizon):
            noise = torch.randn(len(obs), self.spaces.num_actions, generator=self.generator)
            actions = (self._decide(inputs[-1]) + config.noise * noise).clamp(-1, 1)
            state, predicted = self.model.step(state, self.executed(actions))
            objective = objective + config.gamma**step * alive * predicted.rewards / scale
            alive = alive * (1 - predicted.terminations)
            inputs.append(self.units.normalize(state.observations))
            rewards.append(predicted.rewards.detach() / scale)
            lives.append(alive)
        value = self.slow_values(inputs[-1])[:, 0]
        objective = objective + config.gamma**config.horizon * alive * value
        # Per step, so that the unit does not depend on the horizon.
        loss = -objective.mean() * VALUE_SCALE / config.horizon
        place = f"at update {self.num_updates} of the imagined policy"
        optimizer = self._optimizers["policy"]
        gradient_step(loss, optimizer, self.policy.named_parameters(), place, MAX_GRAD_NORM)
        self.num_updates += 1
        value_loss = self._learn_values(
            torch.stack(inputs).detach(), torch.stack(rewards), torch.stack(lives).detach()
        )
        return {
            "value_loss": value_loss,
            "imagined_return": float(objective.mean().detach() * scale),
        }

    def _learn_values(self, inputs: Tensor, rewards: Tensor, lives: Tensor) -> float:
        """Towards lambda-returns of a window: inputs [H + 1, N, O], rewards [H, N], lives [H + 1, N]."""
        config = self.config
        with torch.no_grad():
            values = self.slow_values(inputs)[..., 0]
        # The chance to go on, given that the row got so far.
        goes_on = lives[1:] / lives[:-1].clamp_min(1e-6)
        goals = lambda_returns(rewards, values, config.gamma * goes_on, config.gae_lambda)
        rows, goal, weight = inputs[:-1].flatten(0, 1), goals.flatten(), lives[:-1].flatten()
        total, named = 0.0, list(self.values.named_parameters())
        place = f"at update {self.num_updates} of imagined values"
        for _ in range(config.value_updates):
            batch = torch.randint(len(rows), (4 * config.num_rows,), generator=self.generator)
            errors = self.values(rows[batch])[:, 0] - goal[batch]
            loss = (weight[batch] * errors.square()).mean()
            total += float(gradient_step(loss, self._optimizers["values"], named, place, 1.0))
            follow_parameters(self.slow_values, self.values, config.slow_share)
        return total / config.value_updates

    # --- files

    def state_dict(self) -> dict[str, Any]:
        """Networks, model, optimizers, counters and the recorded steps."""
        model = None
        if self.model is not None:
            model = {
                "tensors": dict(self.model.state_dict()),
                "description": self.model.description(),
            }
        return {
            "policy": dict(self.policy.state_dict()),
            "values": dict(self.values.state_dict()),
            "slow_values": dict(self.slow_values.state_dict()),
            "model": model,
            "optimizers": {name: one.state_dict() for name, one in self._optimizers.items()},
            "units": dict(self.units.state_dict()),
            "draws": self.draws.bit_generator.state,
            "generator": self.generator.get_state(),
            "counts": [self.num_seen, self.num_updates, self.num_fits],
            "numbers": [self._next_fit],
            "withdrawal": self.withdrawal,
            "replay": self.replay.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of a learner for the same spaces."""
        self.policy.load_state_dict(state["policy"])
        self.values.load_state_dict(state["values"])
        self.slow_values.load_state_dict(state["slow_values"])
        self.model = None
        if state["model"] is not None:
            stored = Checkpoint(state["model"]["tensors"], state["model"]["description"])
            self.model = EnsembleModel.of_checkpoint(stored, None)
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.units.load_state_dict(state["units"])
        self.draws.bit_generator.state = state["draws"]
        self.generator.set_state(state["generator"])
        self.num_seen, self.num_updates, self.num_fits = state["counts"]
        self._next_fit = state["numbers"][-1]
        self.withdrawal = state["withdrawal"]
        self.replay.load_state_dict(state["replay"])
        self._noise.zero_()

    def acting_state(self) -> dict[str, Any]:
        """Without the recorded steps."""
        return self.state_dict() | {"replay": self.replay.empty_state()}

    def decision(self) -> str:
        """How much was imagined."""
        if self.withdrawal:
            return self.withdrawal
        if self.model is None:
            return "no model yet"
        return f"{self.num_updates:,} imagined windows, model fitted {self.num_fits} times"
