"""Proximal policy optimisation on any Gymnasium vector environment, made for dreams: few operations per step.

Schulman et al. (2017), "Proximal policy optimization algorithms", with generalised advantage
estimation. SB3's PPO learns the same (through `SB3VecEnv`); this one keeps rollouts as arrays from
end to end, which is several times faster where an environment steps hundreds of rows at once.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn

from wm_agents.errors import ConfigError, NonFiniteError, SpaceError
from wm_agents.networks import Perceptron
from wm_agents.observation_rows import encoded_rows
from wm_agents.policy_gradient.running_standardizer import RunningStandardiser
from wm_agents.training.checkpoints import (
    CheckpointManager,
    load_checkpoint,
    refusing_misfits,
    save_checkpoint,
)
from wm_agents.training.config_checks import (
    require_at_least,
    require_between,
    require_integers,
    require_positive,
)
from wm_agents.training.finite import descend, require_finite
from wm_agents.training.progress import say_nothing_left
from wm_agents.training.stored_shapes import check_counts, check_shapes, reading_description
from wm_agents.world_models.neural import config_from_json
from wm_envs.data.spaces import space_from_json, space_to_json

Array = NDArray[Any]
KIND = "vector ppo policy"


@dataclass(frozen=True)
class VectorPPOConfig:
    """Settings of `VectorPPO`.

    Attributes:
        widths: Hidden units of policy and value network.
        activation: "elu", "relu", "silu" or "tanh".
        num_steps: Steps of every row between two updates.
        num_epochs: Passes over them.
        minibatch_size: Transitions per gradient step.
        discount: Per step.
        trace: Lambda of the advantages.
        clip: Range of the probability ratio.
        value_coefficient: Weight of the value's squared error.
        max_gradient_norm: Larger gradients are scaled down.
        normalize_observations: Standardise observations by all that were seen so far, as
            VecNormalize does. Columns that only hold 0 and 1 stay as they are.
    """

    widths: tuple[int, ...] = (96, 96)
    activation: str = "relu"
    num_steps: int = 64
    num_epochs: int = 3
    minibatch_size: int = 2048
    discount: float = 0.99
    trace: float = 0.95
    clip: float = 0.2
    value_coefficient: float = 0.5
    max_gradient_norm: float = 0.5
    normalize_observations: bool = True

    def __post_init__(self) -> None:
        counts = {
            "num_steps": self.num_steps,
            "num_epochs": self.num_epochs,
            "minibatch_size": self.minibatch_size,
        }
        require_integers(
            1, **counts, **{f"widths[{i}]": width for i, width in enumerate(self.widths)}
        )
        require_between(0, 1, discount=self.discount, trace=self.trace)
        require_at_least(0, value_coefficient=self.value_coefficient)
        require_positive(clip=self.clip, max_gradient_norm=self.max_gradient_norm)


@dataclass(frozen=True)
class Rollout:
    """T steps of B rows.

    Attributes:
        observations: [T, B, O].
        actions: [T, B].
        log_probabilities: [T, B].
        values: [T, B].
        rewards: [T, B].
        next_values: [T, B], 0 after a termination.
        ended: [T, B], whether the row was reset after this step.
    """

    observations: Tensor
    actions: Tensor
    log_probabilities: Tensor
    values: Tensor
    rewards: Tensor
    next_values: Tensor
    ended: Tensor

    def advantages(self, discount: float, trace: float) -> Tensor:
        """Generalised advantage estimates [T, B] (Schulman et al. 2016, eq. 16)."""
        errors = self.rewards + discount * self.next_values - self.values
        advantages, running = torch.zeros_like(errors), torch.zeros_like(errors[0])
        for step in range(len(errors) - 1, -1, -1):
            running = errors[step] + discount * trace * running * ~self.ended[step]
            advantages[step] = running
        return advantages


class VectorPPO(nn.Module):
    """A policy and a value for vector observations and Discrete actions.

    Args:
        observation_space: One-dimensional Box, of a single row.
        action_space: Discrete.
        config: None takes `VectorPPOConfig()`.
        seed: Draws weights, actions and minibatches.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        config: VectorPPOConfig | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__()
        shape = observation_space.shape or ()
        is_flat = isinstance(observation_space, spaces.Box) and len(shape) == 1 and shape[0] > 0
        if not (isinstance(action_space, spaces.Discrete) and is_flat):
            raise SpaceError(
                f"VectorPPO serves flat Box observations and Discrete actions, got {observation_space}, "
                f"{action_space}: wrap observations in FlattenObservation, take WorldModelPPO for Box actions"
            )
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config or VectorPPOConfig()
        self.seed = seed
        self.first_action = int(action_space.start)
        self.generator = torch.Generator().manual_seed(seed)
        sizes = (*shape, *self.config.widths)
        self.policy = Perceptron(
            (*sizes, int(action_space.n)), self.config.activation, self.generator, 0.01
        )
        self.value = Perceptron((*sizes, 1), self.config.activation, self.generator, 1.0)
        self.observation_units = RunningStandardiser(*shape)
        self.optimizer = torch.optim.Adam(self.parameters(), 1e-3, eps=1e-5, fused=True)
        self._observations: Array | None = None

    def learn(
        self,
        env: VectorEnv[Any, Any, Any],
        num_updates: int,
        *,
        learning_rate: tuple[float, float],
        entropy: tuple[float, float],
        checkpoints: CheckpointManager | None = None,
        checkpoint_every: int = 50,
    ) -> dict[str, float]:
        """Alternate rollouts and updates.

        Args:
            env: With autoreset disabled: ended rows are reset by `options["reset_mask"]`.
            num_updates: How often; a second call goes on for as many again. With checkpoints the
                updates count from the very first.
            learning_rate: At the beginning and at the end, linear in between.
            entropy: Weight of the policy's entropy, likewise.
            checkpoints: Where to save, every `checkpoint_every` updates and at the end. The same
                call goes on from the newest checkpoint there, to the bit as if it had never
                stopped. All rows start anew at a checkpoint, interrupted or not, since no dream or
                environment in general can be stored.
            checkpoint_every: In updates.

        Returns:
            Means over the last half: reward per step, entropy, share of rows that ended in a step,
                and of the ends
            with a reward of at least a half in size the share that were positive.

        Raises:
            ConfigError: On other autoreset modes, and on `num_updates` or `checkpoint_every` below
                1.
            CheckpointError: The checkpoints are of another run, or none of them is whole.
            NonFiniteError: A loss or gradient is not finite: nothing was updated or saved with it.
        """
        if env.metadata.get("autoreset_mode") != AutoresetMode.DISABLED:
            raise ConfigError(
                "VectorPPO resets ended rows itself: make the environment with autoreset disabled, by "
                "gym.make_vec(id, num_envs, autoreset_mode=AutoresetMode.DISABLED) where it has this option, else with "
                "vectorization_mode='sync', vector_kwargs={'autoreset_mode': AutoresetMode.DISABLED}"
            )
        require_integers(1, num_updates=num_updates, checkpoint_every=checkpoint_every)
        run = {
            "kind": "vector ppo",
            "config": asdict(self.config),
            "rows": env.num_envs,
            "updates": num_updates,
        }
        run |= {
            "learning_rate": learning_rate,
            "entropy": entropy,
            "checkpoint_every": checkpoint_every,
        }
        run |= {"seed": self.seed, "spaces": [str(self.observation_space), str(self.action_space)]}
        measured = self._resume(checkpoints, run)
        if len(measured) >= num_updates:
            say_nothing_left("VectorPPO", len(measured), num_updates, "updates", is_resumption=True)
        for update in range(len(measured), num_updates):
            if update == 0 or self._observations is None:
                self._observations = env.reset(
                    seed=int(torch.randint(1 << 31, (1,), generator=self.generator))
                )[0]
            done = update / num_updates
            rollout = self._collect(env)
            place = f"at update {update}"
            _require_finite_steps(rollout, place)
            self.optimizer.param_groups[0]["lr"] = learning_rate[0] + done * (
                learning_rate[1] - learning_rate[0]
            )
            figures = self._update(rollout, entropy[0] + done * (entropy[1] - entropy[0]), place)
            measured.append(figures)
            if (
                self.config.normalize_observations
            ):  # after the update, so that the policy that acted was trained
                self.observation_units.update(rollout.observations.flatten(0, 1))
            is_due = (update + 1) % checkpoint_every == 0 or update + 1 == num_updates
            if checkpoints is not None and is_due:
                checkpoints.save_state(update + 1, {**self.state(), "measured": measured}, run)
                self._observations = None
        half = measured[len(measured) // 2 :]
        return {name: float(np.mean([figures[name] for figures in half])) for name in half[0]}

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on to the bit between two calls of `learn`.

        Raises NonFiniteError.
        """
        require_finite(self.state_dict(), "a parameter, so it is not saved")
        return {
            "weights": self.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the `state` of an agent with the same spaces and settings.

        Raises CheckpointError.
        """
        with refusing_misfits("a run of VectorPPO"):
            self.load_state_dict(state["weights"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["generator"])
        self._observations = None

    def _resume(
        self, checkpoints: CheckpointManager | None, run: dict[str, Any]
    ) -> list[dict[str, float]]:
        """Bring back the newest checkpoint; what its updates measured, nothing without one."""
        found = None if checkpoints is None else checkpoints.latest_state(run)
        if found is None:
            return []
        with refusing_misfits("a run of VectorPPO"):
            measured: list[dict[str, float]] = found[1]["measured"]
            self.restore(found[1])
        return measured

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write spaces, settings and weights to one file (safetensors with JSON) and return its path."""
        metadata = {
            "kind": KIND,
            "config": asdict(self.config),
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
        }
        return save_checkpoint(Path(path), self.state_dict(), metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, seed: int = 0, device: str = "auto") -> Self:
        """Read a policy that `save` wrote.

        Args:
            path: The file.
            seed: Draws its actions from now on.
            device: "auto" or "cpu": this policy is too small for anything else.

        Raises:
            CheckpointError: The file is damaged or of another kind.
            ConfigError: Another device.
        """
        if device not in ("auto", "cpu"):
            raise ConfigError(
                f"VectorPPO runs on the CPU, got device={device!r}: give 'auto' or 'cpu'"
            )
        stored = load_checkpoint(Path(path), kind=KIND)
        with reading_description(path, "a policy of VectorPPO"):
            check_counts({"widths": stored.metadata["config"]["widths"]}, stored.tensors)
            # Files of before standardisation go on without it.
            config = config_from_json(
                VectorPPOConfig, {"normalize_observations": False, **stored.metadata["config"]}
            )
            make = partial(
                cls,
                space_from_json(stored.metadata["observation_space"]),
                space_from_json(stored.metadata["action_space"]),
                config,
            )
            tensors = {**_neutral_units(make), **stored.tensors}
            with torch.device("meta"):  # first without memory
                check_shapes(make(), tensors)
            agent = make(seed=seed)
            agent.load_state_dict(tensors)
        return agent

    @torch.no_grad()
    def act(
        self, observations: Array, deterministic: bool = False
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Actions [B] and their log-probabilities [B]."""
        rows = self.observation_units.normalise(torch.as_tensor(observations, dtype=torch.float32))
        logits = torch.log_softmax(self.policy(rows), 1)
        noise = (
            torch.ones_like(logits)
            if deterministic
            else torch.empty_like(logits).exponential_(generator=self.generator)
        )
        actions = (logits.exp() / noise).argmax(1)
        return actions.numpy() + self.first_action, logits.gather(1, actions[:, None]).squeeze(1)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,  # noqa: ARG002
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """SB3's form: actions for one observation or a batch.

        Raises SpaceError for what is no observation.
        """
        rows, is_single = encoded_rows(observation, self.observation_space)
        actions, _ = self.act(rows, deterministic)
        return (actions[0] if is_single else actions), state

    @torch.no_grad()
    def _collect(self, env: VectorEnv[Any, Any, Any]) -> Rollout:
        columns: list[list[Tensor]] = [[] for _ in range(7)]
        assert self._observations is not None
        observations = torch.as_tensor(self._observations, dtype=torch.float32).clone()
        for _ in range(self.config.num_steps):
            actions, log_probabilities = self.act(observations.numpy())
            following, rewards, terminated, truncated, _ = env.step(actions)
            ended = terminated | truncated
            after = torch.as_tensor(following, dtype=torch.float32).clone()
            seen = self.observation_units.normalise(torch.cat([observations, after]))
            values = self.value(seen).squeeze(1)
            present, next_values = values.split(len(observations))
            step = (
                observations,
                torch.from_numpy(actions),
                log_probabilities,
                present,
                torch.as_tensor(rewards, dtype=torch.float32),
                next_values * torch.from_numpy(~terminated),
                torch.from_numpy(ended),
            )
            for column, value in zip(columns, step, strict=True):
                column.append(value)
            if ended.any():
                after = torch.as_tensor(
                    env.reset(options={"reset_mask": ended})[0], dtype=torch.float32
                ).clone()
            observations = after
        self._observations = observations.numpy()
        return Rollout(*(torch.stack(column) for column in columns))

    def _update(self, rollout: Rollout, entropy_weight: float, place: str) -> dict[str, float]:
        config = self.config
        advantages = rollout.advantages(config.discount, config.trace)
        returns = (advantages + rollout.values).flatten()
        observations = self.observation_units.normalise(rollout.observations.flatten(0, 1))
        actions = rollout.actions.flatten() - self.first_action
        old, advantages = rollout.log_probabilities.flatten(), advantages.flatten()
        entropies = []
        for _ in range(config.num_epochs):
            for rows in torch.randperm(len(old), generator=self.generator).split(
                config.minibatch_size
            ):
                logits = torch.log_softmax(self.policy(observations[rows]), 1)
                chosen = logits.gather(1, actions[rows, None]).squeeze(1)
                gains = advantages[rows]
                if len(gains) > 1:  # one transition alone, the rest of a division, has no spread
                    gains = (gains - gains.mean()) / (gains.std() + 1e-8)
                ratio = torch.exp(chosen - old[rows])
                policy_loss = -torch.minimum(
                    ratio * gains, ratio.clamp(1 - config.clip, 1 + config.clip) * gains
                ).mean()
                value_loss = F.mse_loss(self.value(observations[rows]).squeeze(1), returns[rows])
                entropy = -(logits.exp() * logits).sum(1).mean()
                loss = (
                    policy_loss + config.value_coefficient * value_loss - entropy_weight * entropy
                )
                descend(
                    loss, self.optimizer, self.named_parameters(), place, config.max_gradient_norm
                )
                entropies.append(float(entropy.detach()))
        ends = rollout.rewards[rollout.ended & (rollout.rewards.abs() >= 0.5)]
        return {
            "reward": float(rollout.rewards.mean()),
            "entropy": float(np.mean(entropies)),
            "ended_share": float(rollout.ended.float().mean()),
            "won_share": float((ends > 0).float().mean()) if len(ends) else 0.5,
        }


def _neutral_units(make: partial[Any]) -> dict[str, Tensor]:
    """What files of before standardisation lack: units that change nothing."""
    size = make.args[0].shape[0]
    units = RunningStandardiser(size).state_dict()
    return {f"observation_units.{name}": value for name, value in units.items()}


def _require_finite_steps(rollout: Rollout, place: str) -> None:
    for name, given in (("an observation", rollout.observations), ("a reward", rollout.rewards)):
        if not bool(given.isfinite().all()):
            raise NonFiniteError(
                f"{name} is not finite {place}: nothing was updated; repair the environment"
            )
