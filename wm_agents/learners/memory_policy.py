"""A policy with a memory of its episode, and a world model on the same tokens.

Proximal policy optimization (Schulman et al. 2017, eq. 7) on whole episodes that a causal
transformer reads, with a head that predicts the next observation and reward from the token and the
action. The prediction makes the memory keep what will be asked of it later.

Letters: R segments, T steps, F inputs of a token, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.learners.base import Learner, VectorStep
from wm_agents.policy_gradient.actor_critic import clipped_objective
from wm_agents.policy_gradient.collector import sample_categorical
from wm_agents.policy_gradient.reinforce_updates import FlatAdam, rewards_to_go
from wm_agents.policy_gradient.running_standardizer import RunningStandardizer
from wm_agents.policy_gradient.sequence_model import (
    Cache,
    NetworkConfig,
    SequenceModel,
    Sizes,
)
from wm_agents.policy_gradient.spaces import (
    PolicySpaces,
    categorical_log_probs,
    gaussian_log_probs,
)
from wm_agents.training.finite import stacked_gradient_step


@dataclass(frozen=True)
class MemoryPolicyConfig:
    """Settings of `MemoryPolicy`, named as those of `PPOConfig`.

    Attributes:
        context_length: Steps of an episode after which the memory starts anew. A limit of shorter
            episodes is part of the task, since such a memory sees it coming.
        batch_steps: Steps of finished segments between two updates.
        minibatch_steps: Steps of a gradient step, about.
        n_epochs: Passes over a batch, fewer where the policy has moved by `target_kl`.
        learning_rate: Adam's step size at the beginning; it falls linearly to a tenth.
        gamma: Discount per step.
        gae_lambda: Of the advantage estimates.
        clip_range: Of the probability ratio.
        ent_coef: Weight of the policy's entropy at the beginning; it falls linearly to a tenth.
        vf_coef: Weight of the value's squared error.
        world_model_coef: Weight of the error of predicted observations and rewards.
        max_grad_norm: Larger gradients are scaled down.
        target_kl: Divergence at which the epochs of a batch stop.
        width: Size of a token.
        extremes_decay: Per update, of the lowest and highest return seen.
    """

    context_length: int = 128
    batch_steps: int = 2048
    minibatch_steps: int = 512
    n_epochs: int = 4
    learning_rate: float = 2e-3
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.02
    vf_coef: float = 0.5
    world_model_coef: float = 1.0
    max_grad_norm: float = 0.5
    target_kl: float = 0.03
    width: int = 64
    extremes_decay: float = 0.98


class Segment(NamedTuple):
    """T steps of one episode from where the memory started, as the network reads them.

    Attributes:
        inputs: [T + 1, F], the last of them after the last step.
        actions: [T] or [T, A].
        log_probs: [T], of the policy that acted.
        rewards: [T].
        is_bootstrapped: Whether something came after the last step.
    """

    inputs: Tensor
    actions: Tensor
    log_probs: Tensor
    rewards: Tensor
    is_bootstrapped: bool


class Batch(NamedTuple):
    """R segments of up to T steps side by side.

    Attributes:
        inputs: [R, T, F].
        actions: [R, T] or [R, T, A].
        log_probs: [R, T].
        advantages: [R, T].
        returns: [R, T], in units of the value head.
        targets: [R, T, O + 1], next observations and rewards.
        mask: [R, T], 1 where a step happened.
    """

    inputs: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    targets: Tensor
    mask: Tensor

    def select(self, index: Tensor) -> "Batch":
        """Some segments, cut to the longest of them."""
        rows = [column[index] for column in self]
        length = int(rows[-1].sum(1).max())
        return Batch(*(column[:, :length] for column in rows))


class MemoryState(NamedTuple):
    """What `predict` passes on: the attention's cache, steps in it, and the actions before.

    Attributes:
        cache: Keys and values of the steps so far.
        ages: Steps since the memory of each row started [N].
        previous: The last actions as inputs [N, A].
    """

    cache: Cache | None
    ages: NDArray[np.int64]
    previous: Tensor


class MemoryPolicy(Learner):
    """Learns from the episodes that it acted in itself.

    Args:
        spaces: Of a single environment.
        num_rows: Environments side by side.
        total_steps: Environment steps over which schedules run.
        seed: Of weights, actions and minibatches.
        config: None takes `MemoryPolicyConfig()`.
    """

    config: MemoryPolicyConfig
    name: ClassVar[str] = "memory policy"

    def __init__(
        self,
        spaces: PolicySpaces,
        num_rows: int,
        total_steps: int,
        seed: int,
        config: MemoryPolicyConfig | None = None,
    ) -> None:
        super().__init__(spaces, num_rows, total_steps, seed, config or MemoryPolicyConfig())
        size, num_actions = spaces.observations.size, spaces.num_actions
        sizes = Sizes(
            num_inputs=size + num_actions,
            num_policy_outputs=num_actions,
            num_action_features=num_actions,
            num_targets=size + 1,
            is_continuous=spaces.is_continuous,
        )
        network = NetworkConfig(
            width=self.config.width, value_width=64, context_length=self.config.context_length
        )
        self.model = SequenceModel(network, sizes, [seed], torch.device("cpu"), spaces.action_units)
        with torch.no_grad():
            # The first policy is near uniform, whatever the observations.
            self.model.parameters["policy.weight"].mul_(0.01)
        self.optimizer = FlatAdam(self.model.flat, self.config.learning_rate)
        self.generator = torch.Generator().manual_seed(seed)
        self.draws = np.random.default_rng([seed, 1])
        self.num_updates = 0
        # The lowest and the highest discounted return seen so far.
        self._low = self._high = 0.0
        self._segments: list[Segment] = []
        self._num_waiting = 0
        self._state = self._fresh(num_rows)
        self._open: list[list[tuple[Tensor, Tensor, Tensor, float]]] = [[] for _ in range(num_rows)]
        self._is_whole = np.zeros(num_rows, np.bool_)
        self._acted: tuple[Tensor, Tensor] | None = None

    # --- acting

    def _fresh(self, num_rows: int) -> MemoryState:
        previous = torch.zeros(num_rows, self.spaces.num_actions)
        return MemoryState(None, np.zeros(num_rows, np.int64), previous)

    @torch.no_grad()
    def _tokens(
        self, obs: Tensor, state: MemoryState, is_start: NDArray[np.bool_]
    ) -> tuple[Tensor, Tensor, Cache, NDArray[np.int64]]:
        """Inputs [N, F] and tokens [N, D] of the next step, the cache with it, and its ages."""
        anew = is_start | (state.ages >= self.config.context_length)
        ages = np.where(anew, 0, state.ages)
        previous = state.previous * torch.from_numpy(~anew)[:, None]
        inputs = torch.cat([obs, previous], 1)
        if state.cache is None or not ages.any():
            tokens, attended = self.model.encode_first(inputs[None])
            cache = self.model.cache_first(attended)
        else:
            cache = state.cache.copy()
            cache.starts = torch.from_numpy(cache.time - ages)
            self._forget(cache, int(ages.max()))
            tokens = self.model.encode_next(inputs[None], cache)
        return inputs, tokens[0], cache, ages + 1

    @staticmethod
    def _forget(cache: Cache, num_kept: int) -> None:
        """Drop what no row attends to any more."""
        if cache.keys[0].shape[2] > num_kept:
            cache.keys = [key[:, :, -num_kept:] for key in cache.keys]
            cache.values = [value[:, :, -num_kept:] for value in cache.values]

    def act(
        self,
        obs: Tensor,
        is_start: NDArray[np.bool_],
        own: NDArray[np.bool_],
        greedy: NDArray[np.bool_],
    ) -> Tensor:
        """Draw actions from the policy; the likeliest ones where greedy.

        The memory of a row starts when the row becomes its own.
        """
        if not own.any():
            self._acted = None
            self._state = self._fresh(len(obs))
            if self.spaces.is_continuous:
                return torch.zeros(len(obs), self.spaces.num_actions)
            return torch.zeros(len(obs), dtype=torch.int64)
        inputs, tokens, cache, ages = self._tokens(obs, self._state, is_start)
        with torch.no_grad():
            outputs = self.model.policy(tokens[None])[0]
        if self.spaces.is_continuous:
            noise = torch.randn(outputs.shape, generator=self.generator)
            noise[torch.from_numpy(greedy)] = 0.0
            actions = outputs + self.model.action_spread()[0].detach() * noise
        else:
            uniform = torch.rand(len(obs), generator=self.generator)
            actions = sample_categorical(outputs, uniform)
            actions = torch.where(torch.from_numpy(greedy), outputs.argmax(1), actions)
        self._acted = inputs, outputs
        self._state = MemoryState(cache, np.where(own, ages, 0), self._state.previous)
        return actions

    def predict(
        self, obs: Tensor, state: MemoryState | None, is_start: NDArray[np.bool_]
    ) -> tuple[Tensor, MemoryState]:
        """The likeliest actions."""
        if state is None or len(state.ages) != len(obs):
            state = self._fresh(len(obs))
        _, tokens, cache, ages = self._tokens(obs, state, is_start)
        with torch.no_grad():
            outputs = self.model.policy(tokens[None])[0]
        actions = outputs if self.spaces.is_continuous else outputs.argmax(1)
        return actions, MemoryState(cache, ages, self.spaces.action_inputs(actions))

    # --- learning

    def observe(self, step: VectorStep, own: NDArray[np.bool_]) -> dict[str, float]:
        """Keep the rows that acted by this policy; update once enough segments are whole."""
        self.num_seen += len(own)
        if self._acted is None:
            return {}
        is_resting = self.effort == 0
        inputs, outputs = self._acted
        executed = self.spaces.action_inputs(step.actions)
        self._state = self._state._replace(previous=executed)
        with torch.no_grad():
            log_probs = self._log_probs(outputs, step.actions)[0]
        anew = self._state.ages == 1
        self._is_whole = np.where(anew, own, self._is_whole & own) & (not is_resting)
        has_closed = step.ended | (self._state.ages >= self.config.context_length)
        for row in np.flatnonzero(self._is_whole):
            if anew[row]:
                self._open[row] = []
            self._open[row].append(
                (inputs[row], step.actions[row], log_probs[row], float(step.rewards[row]))
            )
            if has_closed[row]:
                self._close(int(row), step, executed[row])
        if self._num_waiting >= self.config.batch_steps:
            return self._update()
        return {}

    def _close(self, row: int, step: VectorStep, executed: Tensor) -> None:
        """Put the open segment of a row among those to learn from."""
        steps = self._open[row]
        last = torch.cat([step.next_obs[row], executed])
        inputs = torch.stack([item[0] for item in steps] + [last])
        self._segments.append(
            Segment(
                inputs,
                torch.stack([item[1] for item in steps]),
                torch.stack([item[2] for item in steps]),
                torch.tensor([item[3] for item in steps]),
                # A limit within the memory's reach is seen coming, and ends the task.
                is_bootstrapped=not step.ended[row],
            )
        )
        self._open[row] = []
        self._num_waiting += len(steps)

    def _log_probs(self, outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log probability and entropy [...] of actions under outputs [..., A]."""
        if self.spaces.is_continuous:
            log_std = self.model.parameters["log_std"][0, 0]
            spread = self.model.action_spread()[0, 0]
            log_probs, entropy = gaussian_log_probs(actions, outputs, spread, log_std)
            return log_probs, entropy.expand_as(log_probs)
        return categorical_log_probs(actions, outputs)

    @property
    def return_scale(self) -> float:
        """The distance of the extreme returns, of which values and advantages are shares.

        Dividing advantages by their own spread, as is usual, would turn the noise of a policy that
        is still at chance into gradients of full size, and its entropy would be gone before the
        memory has learned anything.
        """
        return self._high - self._low or 1.0

    def _update(self) -> dict[str, float]:
        """Passes over all whole segments."""
        segments, self._segments, self._num_waiting = self._segments, [], 0
        batch = self._batch(segments)
        figures: list[dict[str, float]] = []
        self.optimizer.learning_rate = self.config.learning_rate * (1 - 0.9 * self.done)
        num_parts = max(1, round(int(batch.mask.sum()) / self.config.minibatch_steps))
        for _ in range(self.config.n_epochs):
            order = torch.from_numpy(self.draws.permutation(len(segments)))
            for index in order.tensor_split(min(num_parts, len(segments))):
                loss, measured = self._losses(batch.select(index))
                figures.append(measured)
                if measured["approx_kl"] > 1.5 * self.config.target_kl:
                    self.num_updates += 1
                    return _means(figures)
                stacked_gradient_step(
                    self.model.backward(loss),
                    self.optimizer.step,
                    self.config.max_grad_norm,
                    f"at update {self.num_updates} of the memory policy",
                )
        self.num_updates += 1
        return _means(figures)

    def _batch(self, segments: list[Segment]) -> Batch:
        """Segments side by side, with advantages by the present values."""
        lengths = torch.tensor([len(item.rewards) for item in segments])
        mask = (torch.arange(int(lengths.max())) < lengths[:, None]).float()
        inputs = _padded([item.inputs for item in segments])  # [R, T + 1, F]
        rewards = _padded([item.rewards for item in segments])
        size = self.spaces.observations.size
        targets = torch.cat([inputs[:, 1:, :size], rewards.unsqueeze(-1)], -1)
        self._measure(inputs, targets, rewards, mask)
        with torch.no_grad():
            values = torch.cat(
                [
                    self.model.value(self.model.encode(part[None]).flatten(1, 2)).view(
                        part.shape[:2]
                    )
                    for part in inputs.split(256)
                ]
            )
        goes_on = torch.tensor([float(item.is_bootstrapped) for item in segments])
        rows = torch.arange(len(segments))
        # After an end nothing has a value.
        values = values * torch.cat([mask, torch.zeros(len(segments), 1)], 1) + torch.zeros_like(
            values
        ).index_put((rows, lengths), values[rows, lengths] * goes_on)
        advantages = self._advantages(rewards / self.return_scale, values, mask)
        return Batch(
            inputs[:, :-1],
            _padded([item.actions for item in segments]),
            _padded([item.log_probs for item in segments]),
            advantages,
            advantages + values[:, :-1],
            targets,
            mask,
        )

    def _measure(self, inputs: Tensor, targets: Tensor, rewards: Tensor, mask: Tensor) -> None:
        """Update the units of inputs, targets and returns by what was seen."""
        flat = mask.flatten()[None]
        self.model.input_units = _updated(self.model.input_units, inputs[:, :-1], flat)
        self.model.target_units = _updated(self.model.target_units, targets, flat)
        sizes = rewards_to_go(rewards, self.config.gamma)[mask > 0]
        # Extremes are forgotten slowly: what early blunders cost must not make all else small.
        keep = self.config.extremes_decay
        low, high = min(0.0, float(sizes.min())), max(0.0, float(sizes.max()))
        self._low = min(low, keep * self._low + (1 - keep) * low)
        self._high = max(high, keep * self._high + (1 - keep) * high)

    def _advantages(self, rewards: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Generalized advantage estimates [R, T] (Schulman et al. 2016, eq. 16)."""
        gamma = self.config.gamma
        errors = (rewards + gamma * values[:, 1:] - values[:, :-1]) * mask
        # The sum of the equation is that of rewards to go, over errors.
        return rewards_to_go(errors, gamma * self.config.gae_lambda) * mask

    def _losses(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss of a minibatch, and figures worth a look."""
        config = self.config
        share = batch.mask / batch.mask.sum()
        tokens = self.model.encode(batch.inputs[None]).flatten(1, 2)  # [1, R * T, D]
        shape = batch.mask.shape
        outputs = self.model.policy(tokens).view(*shape, -1)
        log_probs, entropy = self._log_probs(outputs, batch.actions)
        mean = (batch.advantages * share).sum()
        gains = batch.advantages - mean
        log_ratio = log_probs - batch.log_probs
        objective, ratio = clipped_objective(log_ratio, gains, config.clip_range)
        policy = -(objective * share).sum()
        values = self.model.value(tokens).view(shape)
        value = ((values - batch.returns).square() * share).sum()
        actions = self.spaces.action_inputs(batch.actions).flatten(0, 1)[None]
        predicted = self.model.next_observation(tokens, actions)
        targets = self.model.target_units.normalize(batch.targets.flatten(0, 1)[None])
        errors = (predicted - targets).square().sum(-1).view(shape)
        world = (errors * share).sum()
        disorder = (entropy * share).sum()
        ent_coef = config.ent_coef * (1 - 0.9 * self.done)
        loss = (
            policy + config.vf_coef * value - ent_coef * disorder + config.world_model_coef * world
        )
        figures = {
            "policy_loss": float(policy.detach()),
            "value_loss": float(value.detach()),
            "entropy": float(disorder.detach()),
            "world_model_loss": float(world.detach()),
            "approx_kl": float(((ratio - 1 - log_ratio) * share).sum().detach()),
        }
        return loss, figures

    # --- files

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, units, counters and whole segments; those under way begin anew."""
        waiting = self._segments
        return {
            "parameters": self.model.flat.detach().clone(),
            "moments": {name: value.clone() for name, value in self.optimizer.moments.items()},
            "input_units": self.model.input_units.state_dict(),
            "target_units": self.model.target_units.state_dict(),
            "generator": self.generator.get_state(),
            "draws": self.draws.bit_generator.state,
            "counts": [self.num_seen, self.num_updates],
            "return_limits": [self._low, self._high],
            # All segments behind one another, since there may be thousands of them.
            "lengths": [len(item.rewards) for item in waiting],
            "are_bootstrapped": [item.is_bootstrapped for item in waiting],
            "columns": [torch.cat(column) for column in list(zip(*waiting, strict=True))[:4]],
        }

    def acting_state(self) -> dict[str, Any]:
        """Without the segments that wait for an update."""
        return self.state_dict() | {"lengths": [], "are_bootstrapped": [], "columns": []}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of a learner for the same spaces."""
        with torch.no_grad():
            self.model.flat.copy_(state["parameters"])
            for name, value in state["moments"].items():
                self.optimizer.moments[name].copy_(value)
        for units in ("input_units", "target_units"):
            standardizer = RunningStandardizer(*getattr(self.model, units).mean.shape)
            standardizer.load_state_dict(state[units])
            setattr(self.model, units, standardizer)
        self.generator.set_state(state["generator"])
        self.draws.bit_generator.state = state["draws"]
        self.num_seen, self.num_updates = state["counts"]
        self._low, self._high = state["return_limits"]
        lengths = [int(length) for length in state["lengths"]]
        self._num_waiting = sum(lengths)
        self._segments = []
        if lengths:
            inputs, *others = state["columns"]
            parts = [
                inputs.split([length + 1 for length in lengths]),
                *(column.split(lengths) for column in others),
            ]
            rows = zip(*parts, state["are_bootstrapped"], strict=True)
            self._segments = [Segment(*row) for row in rows]
        self._state = self._fresh(self.num_rows)


def _updated(units: RunningStandardizer, rows: Tensor, mask: Tensor) -> RunningStandardizer:
    return units.updated(rows.flatten(0, 1)[None], mask)


def _padded(parts: list[Tensor]) -> Tensor:
    """Ragged [T, ...] side by side, zeros behind."""
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
