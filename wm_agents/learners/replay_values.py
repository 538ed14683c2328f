"""Action values learned from all recorded steps, on features that a world model shapes.

An encoder is trained to predict what its own features, the reward and the end of the episode become
after an action; values and, for vectors of numbers, a policy are learned on these features (Fujimoto
et al. 2025, "Towards general-purpose model-free reinforcement learning", sec. 4). Values are the
smaller of two critics', over three steps, with the target networks of TD3 (Fujimoto et al. 2018,
sec. 4 and 5) for vectors, and for counted actions the largest of the smaller values.

Letters: N transitions of a batch, O observation, A actions, D features.
"""

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.learners.base import Learner, VectorStep
from wm_agents.learners.replay_buffer import ReplayBuffer
from wm_agents.networks import follow_parameters
from wm_agents.policy_gradient.running_standardizer import RunningStandardizer
from wm_agents.policy_gradient.spaces import PolicySpaces
from wm_agents.training.finite import gradient_step

MAX_GRAD_NORM = 20.0
VALUE_SCALE = 10.0
"""Mean sizes of a reward in the unit of values, in which their errors are squared, not clipped."""


@dataclass(frozen=True)
class ReplayValuesConfig:
    """Settings of `ReplayValues`.

    Attributes:
        gamma: Discount per step.
        capacity: Steps kept.
        batch_size: Transitions per update.
        n_step: Rewards that a target sums before it asks the target network. For vectors of numbers
            only in the early updates, and one later: longer sums spread rare rewards sooner, but
            hold what others did then, from which a policy cannot tell its best action.
        learning_rate: Adam's step size at the beginning; it falls linearly to a tenth.
        width: Units of hidden layers, and of the features.
        target_every: Updates between two copies into the target networks.
        first_steps: Steps at random before the first update; a quarter of all if that is less.
        early_updates: So many updates are done as soon as there are steps, one for each step, since
            what acts badly for long learns from poor steps and leaves the race.
        steps_per_update: So many steps are worth an update, between half of `max_updates` and all.
        max_updates: Updates over the whole of learning at most; those that are left after the early
            ones are spread over the steps that are left, at most one for each.
        epsilon: Share of steps that explore at the end of learning; it falls from 1.
        max_repeat: An exploring action is repeated for a time drawn up to so many steps.
        noise: Standard deviation of exploring vectors, in units of the bounds.
        model_coef: Weight of the world model's errors; 0 leaves the encoder to the values.
        averaging: Per update, of the running mean of weights that acts. The newest weights alone
            may have unlearned what those before them did well (Izmailov et al. 2018, sec. 3).
    """

    gamma: float = 0.99
    capacity: int = 200_000
    batch_size: int = 128
    n_step: int = 3
    learning_rate: float = 5e-4
    width: int = 128
    target_every: int = 250
    first_steps: int = 1000
    early_updates: int = 10_000
    steps_per_update: int = 3
    max_updates: int = 60_000
    epsilon: float = 0.05
    max_repeat: int = 16
    noise: float = 0.2
    model_coef: float = 1.0
    averaging: float = 0.998


def _layers(*sizes: int) -> nn.Sequential:
    """Affine maps with layer norm and ReLU between them."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(before, after))
        if number < len(sizes) - 2:
            layers += [nn.LayerNorm(after), nn.ReLU()]
    return nn.Sequential(*layers)


class _Networks(nn.Module):
    """Encoder, world model, two critics, and a policy where actions are vectors."""

    def __init__(self, num_inputs: int, num_actions: int, width: int, is_continuous: bool) -> None:
        super().__init__()
        self.width = width
        self.is_continuous = is_continuous
        self.encoder = _layers(num_inputs, width, width)
        self.model = _layers(width + num_actions, width, width + 2)
        num_inputs = width + num_actions if is_continuous else width
        num_outputs = 1 if is_continuous else num_actions
        self.critics = nn.ModuleList(
            [_layers(num_inputs, width, width, num_outputs) for _ in range(2)]
        )
        if is_continuous:
            self.policy = _layers(width, width, num_actions)

    def encode(self, obs: Tensor) -> Tensor:
        """Features [N, D], of unit spread."""
        features: Tensor = F.layer_norm(self.encoder(obs), (self.width,)).relu()
        return features

    def act(self, features: Tensor) -> Tensor:
        """Vectors [N, A] within -1 and 1."""
        actions: Tensor = torch.tanh(self.policy(features))
        return actions

    def values(self, features: Tensor, actions: Tensor | None = None) -> Tensor:
        """Both critics' values [2, N] of vectors, or [2, N, A] of all counted actions."""
        if self.is_continuous:
            assert actions is not None
            inputs = torch.cat([features, actions], 1)
            return torch.stack([critic(inputs).squeeze(1) for critic in self.critics])
        return torch.stack([critic(features) for critic in self.critics])


class ReplayValues(Learner):
    """Learns from the steps of all learners."""

    config: ReplayValuesConfig
    name: ClassVar[str] = "replay values"

    def __init__(
        self,
        spaces: PolicySpaces,
        num_rows: int,
        total_steps: int,
        seed: int,
        config: ReplayValuesConfig | None = None,
    ) -> None:
        super().__init__(spaces, num_rows, total_steps, seed, config or ReplayValuesConfig())
        size, num_actions = spaces.observations.size, spaces.num_actions
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = _Networks(size, num_actions, self.config.width, spaces.is_continuous)
        self.target = copy.deepcopy(self.networks).requires_grad_(False)
        self.averaged = copy.deepcopy(self.target)
        self.units = RunningStandardizer(size)
        self._set_optimizers()
        self.draws = np.random.default_rng([seed, 3])
        self.generator = torch.Generator().manual_seed(seed)
        self.num_updates = 0
        self._due = 0.0
        per_row = max(64, self.config.capacity // num_rows)
        self.replay = ReplayBuffer(num_rows, min(per_row, total_steps // num_rows + 2))
        self._repeats = np.zeros(num_rows, np.int64)
        self._repeated: Tensor | None = None

    def _set_optimizers(self) -> None:
        networks, rate = self.networks, self.config.learning_rate
        shaped = {name: getattr(networks, name) for name in ("encoder", "model", "critics")}
        self._shaped = [
            pair for name, part in shaped.items() for pair in part.named_parameters(name)
        ]
        self._optimizer = torch.optim.Adam([one for _, one in self._shaped], rate, fused=True)
        self._policy_optimizer = None
        if self.spaces.is_continuous:
            self._policy_optimizer = torch.optim.Adam(
                networks.policy.parameters(), rate, fused=True
            )

    # --- acting

    @torch.no_grad()
    def _greedy(self, obs: Tensor) -> Tensor:
        """Indices [B], or vectors [B, A] in units of the bounds."""
        features = self.averaged.encode(self.units.normalize(obs))
        if self.spaces.is_continuous:
            return self.averaged.act(features)
        return self.averaged.values(features).mean(0).argmax(1)

    def act(
        self,
        obs: Tensor,
        is_start: NDArray[np.bool_],
        own: NDArray[np.bool_],
        greedy: NDArray[np.bool_],
    ) -> Tensor:
        """The best actions with exploration: random ones, repeated for a while."""
        num_rows = len(obs)
        if not own.any():
            return self.executed(self._random(num_rows))
        epsilon = 1.0
        if self.num_seen >= self.at_most_a_quarter(self.config.first_steps):
            epsilon = max(self.config.epsilon, 0.3 * (1 - self.done / 0.3))
        # A repetition lasts long on average, so it begins seldom.
        self._repeats[is_start] = 0
        is_idle = self._repeats <= 0
        mean_repeat = (1 + self.config.max_repeat) / 2
        share = epsilon / (epsilon + (1 - epsilon) * mean_repeat)
        begins = is_idle & (self.draws.random(num_rows) < share)
        lengths = self.draws.integers(1, self.config.max_repeat + 1, num_rows)
        self._repeats = np.where(begins, lengths, self._repeats)
        fresh = self._random(num_rows)
        if self._repeated is None:
            self._repeated = fresh
        mask = torch.from_numpy(begins)
        is_random = torch.from_numpy((self._repeats > 0) & ~greedy)
        if self.spaces.is_continuous:
            mask, is_random = mask[:, None], is_random[:, None]
        self._repeated = torch.where(mask, fresh, self._repeated)
        best = self._greedy(obs)
        if self.spaces.is_continuous:
            noise = torch.randn(best.shape, generator=self.generator) * self.config.noise
            noise[torch.from_numpy(greedy)] = 0.0
            best = (best + noise).clamp(-1, 1)
        self._repeats -= 1
        return self.executed(torch.where(is_random, self._repeated, best))

    def _random(self, num_rows: int) -> Tensor:
        if self.spaces.is_continuous:
            shape = (num_rows, self.spaces.num_actions)
            return 2 * torch.rand(shape, generator=self.generator) - 1
        return torch.randint(self.spaces.num_actions, (num_rows,), generator=self.generator)

    def _inputs(self, actions: Tensor) -> Tensor:
        """What networks read of executed actions [N, A]: one-hot, or in units of the bounds."""
        inputs = self.spaces.action_inputs(actions)
        return inputs / 2 if self.spaces.is_continuous else inputs

    def predict(
        self,
        obs: Tensor,
        state: Any,
        is_start: NDArray[np.bool_],  # noqa: ARG002
    ) -> tuple[Tensor, Any]:
        """The best actions."""
        return self.executed(self._greedy(obs)), state

    # --- memory

    def observe(self, step: VectorStep, own: NDArray[np.bool_]) -> dict[str, float]:  # noqa: ARG002
        """Keep the step of every row, and do the updates that are due."""
        self.replay.keep(step)
        self.units.update(step.obs)
        self.num_seen += len(step.rewards)
        if self.num_seen < self.at_most_a_quarter(self.config.first_steps):
            return {}
        self._due += self.effort * len(step.rewards) * self._updates_per_step()
        figures: dict[str, float] = {}
        while self._due >= 1:
            self._due -= 1
            figures = self._update()
        return figures

    def _updates_per_step(self) -> float:
        """How many updates are due for each step, at most one."""
        most = self.config.max_updates
        if self.num_updates < min(self.config.early_updates, most):
            return 1.0
        wanted = min(most, max(most // 2, self.total_steps // self.config.steps_per_update))
        left = max(1, self.total_steps - self.num_seen)
        return min(1.0, (wanted - self.num_updates) / left)

    def _batch(self) -> tuple[Tensor, ...]:
        """N random steps, and what followed each of them over some steps."""
        config, n_step = self.config, self.config.n_step
        if self.spaces.is_continuous and self.num_updates >= config.early_updates:
            n_step = 1
        return self.replay.draw(config.batch_size, n_step, config.gamma, self.draws)

    # --- learning

    def _update(self) -> dict[str, float]:
        """One step down the errors of values and world model; then of the policy."""
        obs, actions, rewards, next_obs, terminated, returns, last_obs, discount = self._batch()
        reward_scale = self.replay.reward_size or 1.0
        scale = VALUE_SCALE * reward_scale
        self._set_learning_rate()
        obs, next_obs, last_obs = (self.units.normalize(rows) for rows in (obs, next_obs, last_obs))
        inputs = self._inputs(actions)
        with torch.no_grad():
            # What n steps and what one step led to, in one pass.
            ahead = self.target.encode(torch.cat([last_obs, next_obs]))
            following, next_features = ahead.chunk(2)
            goal = returns / scale + discount * self._target_values(following)
        features = self.networks.encode(obs)
        predicted = self.networks.model(torch.cat([features, inputs], 1))
        model_loss = (
            F.mse_loss(predicted[:, 2:], next_features)
            + F.smooth_l1_loss(predicted[:, 0], rewards / reward_scale)
            + F.binary_cross_entropy_with_logits(predicted[:, 1], terminated)
        )
        values = self._values(features, actions, inputs)
        value_loss = F.smooth_l1_loss(values, goal.expand_as(values))
        loss = value_loss + self.config.model_coef * model_loss
        place = f"at update {self.num_updates} of replay values"
        gradient_step(loss, self._optimizer, self._shaped, place, MAX_GRAD_NORM)
        if self._policy_optimizer is not None:
            self._update_policy(features.detach())
        self.num_updates += 1
        self._average()
        if self.num_updates % self.config.target_every == 0:
            self.target.load_state_dict(self.networks.state_dict())
        return {
            "value_loss": float(value_loss.detach()),
            "model_loss": float(model_loss.detach()),
            "value": float(values.detach().mean()) * scale,
        }

    def _values(self, features: Tensor, actions: Tensor, inputs: Tensor) -> Tensor:
        """Both critics' values [2, N] of the actions that were taken."""
        if self.spaces.is_continuous:
            return self.networks.values(features, inputs)
        index = actions[None, :, None].expand(2, -1, 1)
        return self.networks.values(features).gather(2, index).squeeze(2)

    def _target_values(self, features: Tensor) -> Tensor:
        """What the target networks expect from there on [N]."""
        if not self.spaces.is_continuous:
            # The smaller of both critics, so that what one of them overrates is not chosen.
            return self.target.values(features).amin(0).amax(1)
        actions = self.target.act(features)
        noise = torch.randn(actions.shape, generator=self.generator) * self.config.noise
        actions = (actions + noise.clamp(-0.3, 0.3)).clamp(-1, 1)
        return self.target.values(features, actions).amin(0)

    def _update_policy(self, features: Tensor) -> None:
        assert self._policy_optimizer is not None
        outputs = self.networks.policy(features)
        self.networks.critics.requires_grad_(False)
        values = self.networks.values(features, torch.tanh(outputs))
        self.networks.critics.requires_grad_(True)
        # Keeps outputs out of the flat ends of tanh.
        loss = -values.mean() + 1e-4 * outputs.square().mean()
        place = f"at update {self.num_updates} of the policy on replay values"
        shaped = self.networks.policy.named_parameters()
        gradient_step(loss, self._policy_optimizer, shaped, place, MAX_GRAD_NORM)

    def _set_learning_rate(self) -> None:
        for optimizer in (self._optimizer, self._policy_optimizer):
            if optimizer is not None:
                for group in optimizer.param_groups:
                    group["lr"] = self.config.learning_rate * (1 - 0.9 * self.done)

    def _average(self) -> None:
        """Move the weights that act towards the newest ones, at first as their plain mean."""
        share = max(1 - self.config.averaging, 1 / self.num_updates)
        follow_parameters(self.averaged, self.networks, share)

    # --- files

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers, counters and the recorded steps."""
        optimizers = [self._optimizer, self._policy_optimizer]
        return {
            "networks": dict(self.networks.state_dict()),
            "target": dict(self.target.state_dict()),
            "averaged": dict(self.averaged.state_dict()),
            "optimizers": [one.state_dict() for one in optimizers if one is not None],
            "units": dict(self.units.state_dict()),
            "draws": self.draws.bit_generator.state,
            "generator": self.generator.get_state(),
            "counts": [self.num_seen, self.num_updates],
            "numbers": [self._due],
            "replay": self.replay.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of a learner for the same spaces."""
        self.networks.load_state_dict(state["networks"])
        self.target.load_state_dict(state["target"])
        self.averaged.load_state_dict(state["averaged"])
        optimizers = [self._optimizer, self._policy_optimizer]
        present = [one for one in optimizers if one is not None]
        for optimizer, stored in zip(present, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.units.load_state_dict(state["units"])
        self.draws.bit_generator.state = state["draws"]
        self.generator.set_state(state["generator"])
        # Older files count the steps of the replay here, which acting does not need.
        self.num_seen, self.num_updates = state["counts"][:2]
        self._due = state["numbers"][-1]
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
        self._repeats[:] = 0
        self._repeated = None

    def acting_state(self) -> dict[str, Any]:
        """Without the recorded steps and the optimizers."""
        return self.state_dict() | {"replay": self.replay.empty_state()}
