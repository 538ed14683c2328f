"""The network of PPO, its settings, and the loss terms of a minibatch.

Two parts are optional: a head that predicts the next observation from the policy's last hidden
layer and the action, and a recurrent cell whose memory policy and value read beside the
observation.

Letters: T steps, B environments side by side, N transitions of a minibatch, O observation,
A action, M memory, F features (an observation, and the memory where there is one), D the policy's
last hidden layer.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.errors import ConfigError
from wm_agents.networks import Perceptron, recurrent_cell
from wm_agents.policy_gradient.rollouts import PolicyStep
from wm_agents.policy_gradient.running_standardizer import RunningStandardizer
from wm_agents.policy_gradient.spaces import (
    PolicySpaces,
    categorical_log_probs,
    gaussian_log_probs,
)
from wm_agents.training.config_checks import (
    renamed_settings,
    require_at_least,
    require_between,
    require_integers,
    require_positive,
)
from wm_agents.training.onnx_export import export_policy, no_exporter

Schedule = float | tuple[float, float]
"""A constant, or the values at the beginning and the end of `learn`, linear in between."""


EARLIER_NAMES = {
    "num_steps": "n_steps",
    "num_epochs": "n_epochs",
    "minibatch_size": "batch_size",
    "discount": "gamma",
    "trace": "gae_lambda",
    "clip": "clip_range",
    "value_coefficient": "vf_coef",
    "max_gradient_norm": "max_grad_norm",
}
"""Settings of `VectorPPO` and what they are called now."""


@renamed_settings(**EARLIER_NAMES)
@dataclass(frozen=True)
class PPOConfig:
    """Settings of `PPO`, named as those of Stable-Baselines3.

    Attributes:
        num_envs: Environments side by side, where `PPO` makes them from an id, an environment or a
            function.
        n_steps: Steps of each between two updates.
        batch_size: Transitions per gradient step.
        n_epochs: Passes over a rollout.
        learning_rate: Adam's step size, or (first, last).
        gamma: Discount per step.
        gae_lambda: Of the advantage estimates.
        clip_range: Of the probability ratio.
        ent_coef: Weight of the policy's entropy, or (first, last).
        vf_coef: Weight of the value's squared error.
        max_grad_norm: Larger gradients are scaled down.
        target_kl: Divergence from the policy that collected the rollout at which its epochs stop,
            at 1.5 times as much; None never stops.
        normalize_advantage: Standardize the advantages of each minibatch.
        normalize_observations: Standardize observations by all that were seen so far, as
            VecNormalize does. Columns that only hold 0 and 1 stay as they are.
        widths: Hidden units of the policy and of the value network.
        activation: "elu", "relu", "silu" or "tanh".
        memory_width: Units of a recurrent cell before policy and value; 0 leaves it out.
        world_model_coef: Weight of the world-model loss; at 0 there is no world model.
        world_model_target: "next" is the observation that followed; "shuffled" is that of another
            transition of the same minibatch, a placebo with the same targets and no information.
        world_model_width: Hidden units of the world model's head.
    """

    num_envs: int = 16
    n_steps: int = 64
    batch_size: int = 256
    n_epochs: int = 4
    learning_rate: Schedule = 1e-3
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: Schedule = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    normalize_advantage: bool = True
    normalize_observations: bool = True
    widths: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    memory_width: int = 0
    world_model_coef: float = 0.0
    world_model_target: Literal["next", "shuffled"] = "next"
    world_model_width: int = 64

    def __post_init__(self) -> None:
        names = ("num_envs", "n_steps", "batch_size", "n_epochs", "world_model_width")
        require_integers(1, **{name: getattr(self, name) for name in names})
        require_integers(1, **{f"widths[{i}]": width for i, width in enumerate(self.widths)})
        require_integers(0, memory_width=self.memory_width)
        require_between(0, 1, gamma=self.gamma, gae_lambda=self.gae_lambda)
        require_at_least(0, vf_coef=self.vf_coef, world_model_coef=self.world_model_coef)
        require_positive(clip_range=self.clip_range, max_grad_norm=self.max_grad_norm)
        if self.target_kl is not None:
            require_positive(target_kl=self.target_kl)
        for number in (0.0, 1.0):
            require_positive(learning_rate=scheduled(self.learning_rate, number))
            require_at_least(0, ent_coef=scheduled(self.ent_coef, number))
        if self.world_model_target not in ("next", "shuffled"):
            raise ConfigError(
                f"world_model_target is 'next' or 'shuffled', got {self.world_model_target!r}"
            )


def scheduled(value: Schedule, done: float) -> float:
    """A schedule's value once a share `done` of the updates is done."""
    if isinstance(value, tuple | list):
        first, last = value
        return float(first + done * (last - first))
    return float(value)


class Minibatch(NamedTuple):
    """N transitions as the losses read them.

    Attributes:
        features: [N, F].
        actions: [N] or [N, A].
        log_probs: [N], of the policy that collected them.
        advantages: [N].
        returns: [N], what the values are to become.
        next_observations: [N, O].
    """

    features: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    next_observations: Tensor


class ActorCritic(nn.Module):
    """A policy and a value, with the loss terms that train them.

    Args:
        known: The environment's spaces.
        config: Sizes, and which optional parts there are.
        generator: Draws weights, then actions.
    """

    _action_centre: Tensor
    _action_unit: Tensor

    def __init__(self, known: PolicySpaces, config: PPOConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.spaces = known
        self.config = config
        self.generator = generator
        config, generator = self.config, self.generator
        size = self.spaces.observations.size
        num_actions = self.spaces.num_actions
        sizes = (size + config.memory_width, *config.widths)
        # The optional parts are drawn last, so that the policy starts alike with and without them.
        self.policy = Perceptron((*sizes, num_actions), config.activation, generator, 0.01)
        self.value = Perceptron((*sizes, 1), config.activation, generator, 1.0)
        self.observation_units = RunningStandardizer(size)
        units = self.spaces.action_units
        if units is not None:
            self.log_std = nn.Parameter(torch.zeros(num_actions))
            self.register_buffer("_action_centre", torch.tensor(units.centre), persistent=False)
            self.register_buffer("_action_unit", torch.tensor(units.unit), persistent=False)
        if config.memory_width:
            self.memory = recurrent_cell(size, config.memory_width, generator)
        if config.world_model_coef > 0:
            width = sizes[-1] + num_actions
            self.world_model = Perceptron(
                (width, config.world_model_width, size), "relu", generator, 1.0
            )
            self.target_units = RunningStandardizer(size)

    def start_memory(self, num_rows: int) -> Tensor:
        """The memory [B, M] of episodes that begin."""
        return torch.zeros(num_rows, self.config.memory_width)

    def _features(
        self, observations: Tensor, memory: Tensor, is_start: Tensor | None
    ) -> PolicyStep:
        """Features and memory of observations [B, O]; the actions are those of `_act`."""
        rows = self.observation_units.normalize(observations)
        if self.config.memory_width:
            # What an earlier episode left behind says nothing of this one.
            if is_start is not None:
                memory = memory * ~is_start[:, None]
            memory = self.memory(rows, memory)
            rows = torch.cat([rows, memory], 1)
        return PolicyStep(rows, rows, rows, memory)

    @torch.no_grad()
    def _act(
        self,
        observations: Tensor,
        memory: Tensor,
        is_start: Tensor | None,
        deterministic: bool = False,
    ) -> PolicyStep:
        step = self._features(observations, memory, is_start)
        outputs = self.policy(step.features)
        if self.spaces.is_continuous:
            mean, spread = self._gaussian(outputs)
            noise = torch.randn(mean.shape, generator=self.generator)
            actions = mean if deterministic else mean + spread * noise
            log_probs = self._log_probs(outputs, actions)[0]
            return step._replace(actions=actions, log_probs=log_probs)
        logits = torch.log_softmax(outputs, 1)
        noise = torch.ones_like(logits)
        if not deterministic:
            # The largest of probabilities over exponential noise is a draw from them.
            noise = torch.empty_like(logits).exponential_(generator=self.generator)
        actions = (logits.exp() / noise).argmax(1)
        log_probs = logits.gather(1, actions[:, None]).squeeze(1)
        return step._replace(actions=actions, log_probs=log_probs)

    def _evaluate_step(self, step: PolicyStep, next_obs: Tensor) -> tuple[Tensor, Tensor]:
        """Values before and after a step, each [B]."""
        # The memory after this step: it has read the present observation, not yet the next.
        following = self._features(next_obs, step.memory, None).features
        # One product of twice the rows costs less than two of them.
        values = self.value(torch.cat([step.features, following])).squeeze(1)
        before, after = values.split(len(next_obs))
        return before, after

    def _gaussian(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [N, A] and standard deviation [A] of actions, in the environment's units."""
        mean = self._action_centre + self._action_unit * outputs
        return mean, self._action_unit * self.log_std.exp()

    def _log_probs(self, outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Log probability [N] of actions and entropy (a mean) of the policy's outputs [N, ...].

        Of vectors in units of their bounds.
        """
        if self.spaces.is_continuous:
            mean, spread = self._gaussian(outputs)
            return gaussian_log_probs(actions, mean, spread, self.log_std)
        log_probs, entropy = categorical_log_probs(actions, outputs)
        return log_probs, entropy.mean()

    def predict(
        self,
        observation: Any,
        state: Tensor | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Act on one observation or a batch, as Stable-Baselines3's policies do.

        Args:
            observation: One observation, or a batch of B.
            state: The memory [B, M] that the previous call returned; None starts all episodes.
            episode_start: Which rows start an episode now [B].
            deterministic: Take the likeliest action.

        Returns:
            The action or actions, and the memory to pass on; None without one.

        Raises:
            SpaceError: What is no observation of the space that the agent was made for.
        """
        rows, is_single = self.spaces.checked_rows(observation)
        if not self.config.memory_width:
            step = self._act(rows, self.start_memory(len(rows)), None, deterministic)
            return self.spaces.predicted_actions(step.actions, is_single), state
        memory = self.start_memory(len(rows)) if state is None else state
        starts = None if episode_start is None else torch.as_tensor(np.atleast_1d(episode_start))
        step = self._act(rows, memory, starts, deterministic)
        return self.spaces.predicted_actions(step.actions, is_single), step.memory

    def export_onnx(self, path: str | os.PathLike[str]) -> Path:
        """Write the likeliest action as an ONNX file and return its path.

        See `onnx_export.export_policy`.

        Raises:
            ConfigError: The policy has a memory.
            MissingExtraError: onnx and onnxscript are not installed.
        """
        if self.config.memory_width:
            raise ConfigError(no_exporter(self))
        units = self.observation_units.shift, self.observation_units.scale
        action_units = (
            (self._action_centre, self._action_unit) if self.spaces.is_continuous else None
        )
        return export_policy(
            self.policy,
            units,
            self.spaces.observation_space,
            self.spaces.action_space,
            action_units,
            path,
        )

    def predict_next(self, observation: Any, action: Any) -> NDArray[np.float32]:
        """Next observations [B, O] that the world model expects, as rows of the codec.

        Args:
            observation: One observation, or a batch of B.
            action: As many actions.

        Raises:
            ConfigError: There is no world model, or it reads a memory.
        """
        if self.config.world_model_coef == 0 or self.config.memory_width:
            raise ConfigError("predict_next needs world_model_coef above 0 and memory_width=0")
        rows, is_single = self.spaces.checked_rows(observation)
        codec = self.spaces.actions
        encoded = codec.encode_one(action)[None] if is_single else codec.encode(action)
        if isinstance(self.spaces.action_space, spaces.Discrete):
            encoded = encoded - int(self.spaces.action_space.start)
        with torch.no_grad():
            latents = _latents(self.policy, self.observation_units.normalize(rows))
            predicted = self._predicted(latents, torch.as_tensor(encoded))
        expected: NDArray[np.float32] = self.target_units.restore(predicted).numpy()
        return expected

    def _predicted(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Next observations [N, O] in `target_units`."""
        pairs = torch.cat([latents, self.spaces.action_inputs(actions)], 1)
        predicted: Tensor = self.world_model(pairs)
        return predicted

    def losses(self, batch: Minibatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The loss terms of a minibatch by name, and figures worth a look."""
        latents = _latents(self.policy, batch.features)  # [N, D]
        log_probs, entropy = self._log_probs(self.policy.layers[-1](latents), batch.actions)
        gains = batch.advantages
        # One transition alone, the rest of a division, has no spread.
        if self.config.normalize_advantage and len(gains) > 1:
            gains = (gains - gains.mean()) / (gains.std() + 1e-8)
        log_ratio = log_probs - batch.log_probs
        reach = self.config.clip_range
        objective, ratio = clipped_objective(log_ratio, gains, reach)
        terms = {
            "policy": -objective.mean(),
            "value": F.mse_loss(self.value(batch.features).squeeze(1), batch.returns),
            "entropy": -entropy,
        }
        figures = {
            "entropy": float(entropy.detach()),
            "policy_loss": float(terms["policy"].detach()),
            "value_loss": float(terms["value"].detach()),
            # (r - 1) - log r, which has less variance than -log r (Schulman 2020).
            "approx_kl": float((ratio - 1 - log_ratio).detach().mean()),
            "clip_fraction": float(((ratio - 1).abs() > reach).float().mean()),
        }
        if self.config.world_model_coef > 0:
            differences = self._prediction_differences(latents, batch)
            terms["world_model"] = differences.square().mean()
            raw = self.target_units.raw_errors(differences.detach())
            figures["world_model_loss"] = float(terms["world_model"].detach())
            figures["world_model_mse"] = float(raw.square().mean())
        return terms, figures

    def _prediction_differences(self, latents: Tensor, batch: Minibatch) -> Tensor:
        """The predicted next observations less the recorded ones [N, O], in `target_units`."""
        targets = batch.next_observations
        if self.config.world_model_target == "shuffled":
            if len(targets) == 1:
                # Its only target is its own, which is no placebo.
                return latents.sum(1, keepdim=True) * torch.zeros_like(targets)
            # Each row takes the target of its successor in a random cycle, so none its own.
            cycle = torch.randperm(len(targets), generator=self.generator)
            others = torch.empty_like(cycle)
            others[cycle] = cycle.roll(-1)
            targets = targets[others]
        return self._predicted(latents, batch.actions) - self.target_units.normalize(targets)


def _latents(network: Perceptron, rows: Tensor) -> Tensor:
    """The last hidden layer [N, D] of rows [N, F]."""
    for layer in network.layers[:-1]:
        rows = network.activate(layer(rows))
    return rows


def clipped_objective(log_ratio: Tensor, gains: Tensor, clip_range: float) -> tuple[Tensor, Tensor]:
    """What a policy gains by each action (Schulman et al. 2017, eq. 7), and the ratios, both [...].

    Args:
        log_ratio: Log probabilities of the actions by the policy, less those by the one that acted.
        gains: Advantages.
        clip_range: How far from 1 a ratio may go and still count.
    """
    ratio = log_ratio.clamp(-20, 20).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return torch.minimum(ratio * gains, clipped * gains), ratio
