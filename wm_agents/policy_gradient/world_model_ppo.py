"""Stable-Baselines3's PPO with a world-model auxiliary loss, so that comparisons are not of REINFORCE only.

Schulman et al. (2017), "Proximal policy optimization algorithms", eq. 9, plus one term: the squared
error of a head that predicts the raw next observation, in units of its spread, from the policy's
latent and the action. With weight 0 nothing is left of it: the parameters that follow from a seed
are those of SB3's own PPO, bit for bit, unless the bounds of Box actions are such that SB3's
Gaussian of spread 1 around 0 is no start (see `BoundedActorCriticPolicy`).
"""

import contextlib
import math
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import explained_variance
from torch import Tensor

from wm_agents.errors import CheckpointError, ConfigError, NonFiniteError
from wm_agents.networks import choose_device
from wm_agents.policy_gradient.reinforce import other_rows
from wm_agents.policy_gradient.world_model_policy import WorldModelPolicy, check_spaces
from wm_agents.sb3.checkpoints import (
    restart_environments,
    run_of,
    set_training_state,
    training_state,
)
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.config_checks import require_integers
from wm_agents.training.finite import clip_gradient, non_finite_gradient
from wm_agents.training.progress import say_nothing_left
from wm_envs.data.paths import user_path

Callbacks = None | Callable[..., Any] | list[BaseCallback] | BaseCallback


class TransitionSamples(NamedTuple):
    """A minibatch of B transitions; the first six are SB3's."""

    observations: Tensor
    actions: Tensor
    old_values: Tensor
    old_log_prob: Tensor
    advantages: Tensor
    returns: Tensor
    next_observations: Tensor


class TransitionBuffer(RolloutBuffer):
    """SB3's rollout buffer with the observations that followed.

    Attributes:
        next_observations: Like `observations` [T, N, ...]. After an episode's last step it is what
            that step led to, not the first observation of the next episode, which `observations[t +
            1]` is.
    """

    next_observations: NDArray[Any]

    def reset(self) -> None:
        """Forget the rollout."""
        super().reset()
        self.next_observations = np.zeros_like(self.observations)

    def get(self, batch_size: int | None = None) -> Generator[Any, None, None]:
        """Minibatches of `TransitionSamples` in an order that NumPy's global generator draws, as SB3 does."""
        if not self.generator_ready:
            self.next_observations = self.swap_and_flatten(self.next_observations)
        yield from super().get(batch_size)

    def _get_samples(self, batch_inds: NDArray[np.int64], env: Any = None) -> Any:
        samples = super()._get_samples(batch_inds, env)
        return TransitionSamples(*samples, self.to_torch(self.next_observations[batch_inds]))


class NextObservationRecorder(BaseCallback):
    """Writes next observations into the rollout buffer, before SB3 adds the rest of the same step.

    Raises:
        NonFiniteError: An observation or reward is not finite.
    """

    def _on_rollout_start(self) -> None:
        check_rows_finite("observation", self.model._last_obs, self.num_timesteps)

    def _on_step(self) -> bool:
        new_observations, rewards, infos = (
            self.locals[name] for name in ("new_obs", "rewards", "infos")
        )
        followed = np.array(new_observations)
        for row in np.flatnonzero(self.locals["dones"]):
            followed[row] = infos[row]["terminal_observation"]
        for name, values in (
            ("observation", followed),
            ("observation", new_observations),
            ("reward", rewards),
        ):
            check_rows_finite(name, values, self.num_timesteps)
        buffer: Any = self.locals["rollout_buffer"]
        buffer.next_observations[buffer.pos] = followed.reshape(
            buffer.next_observations[buffer.pos].shape
        )
        return True

    def _on_rollout_end(self) -> None:
        """Take the rollout into the units of the world model's targets."""
        agent: Any = self.model
        if agent.world_model_coef > 0:
            followed = agent.rollout_buffer.next_observations  # [T, N, ...]
            rows = torch.as_tensor(followed.reshape(-1, *followed.shape[2:]), device=agent.device)
            agent.policy.target_units.update(agent.policy.observation_features(rows))


class WorldModelPPO(PPO):
    """PPO whose policy also predicts the next observation.

    `evaluate_policy`, callbacks, schedules and loggers of SB3 work as they do with `PPO`. Beside
    SB3's entries, "train/world_model_loss" is logged, the mean squared error over the observation's
    features in units of their spread, and "train/world_model_mse", the same in the environment's
    units. What the policy reads is not standardised, as in SB3: wrap environments whose
    observations are far from order one in SB3's VecNormalize.

    Args:
        policy: "MlpPolicy" or a subclass of `WorldModelPolicy`.
        env: An environment, an id, or an SB3 `VecEnv`, such as `SB3VecEnv` over a Gymnasium vector
            environment.
        world_model_coef: Weight of the world-model loss; at 0 it is not computed.
        world_model_target: "next" is the observation that followed; "shuffled" is that of another
            transition of the same minibatch, a placebo with the same targets and no information.
        **arguments: Those of `PPO`; `policy_kwargs={"world_model_width": 64}` sizes the head.

    Raises:
        ConfigError: A weight, target or device that cannot work, or a policy or buffer without room
            for the world model.
        SpaceError: An observation or action space that is neither Box nor Discrete, or Box actions
            without bounds or of whole numbers.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": WorldModelPolicy}
    policy: WorldModelPolicy
    rollout_buffer: TransitionBuffer

    def __init__(
        self,
        policy: str | type[WorldModelPolicy],
        env: Any,
        *,
        world_model_coef: float = 1.0,
        world_model_target: Literal["next", "shuffled"] = "next",
        **arguments: Any,
    ) -> None:
        if not (math.isfinite(world_model_coef) and world_model_coef >= 0):
            raise ConfigError(f"world_model_coef is not negative, got {world_model_coef}")
        if world_model_target not in ("next", "shuffled"):
            raise ConfigError(
                f"world_model_target is 'next' or 'shuffled', got {world_model_target!r}"
            )
        self.world_model_coef = world_model_coef
        self.world_model_target = world_model_target
        self._checkpoints: CheckpointManager | None = None
        self._checkpoint_every = 1
        buffer_class = arguments.pop("rollout_buffer_class", None) or TransitionBuffer
        _check_subclass("rollout_buffer_class", buffer_class, TransitionBuffer)
        if not isinstance(policy, str):
            _check_subclass("policy", policy, WorldModelPolicy)
        if env is not None:
            env = maybe_make_env(env, arguments.get("verbose", 0))
            check_spaces(env.observation_space, env.action_space)
        if (
            "device" in arguments
        ):  # SB3 takes the CPU without a word where a GPU is asked for and missing
            arguments["device"] = choose_device(arguments["device"])
        super().__init__(policy, env, rollout_buffer_class=buffer_class, **arguments)

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weight of each loss term; a world-model term of weight 0 is left out."""
        weights = {"policy": 1.0, "entropy": self.ent_coef, "value": self.vf_coef}
        return weights | (
            {"world_model": self.world_model_coef} if self.world_model_coef > 0 else {}
        )

    def learn(
        self,
        total_timesteps: int,
        callback: Callbacks = None,
        log_interval: int = 1,
        tb_log_name: str = "WorldModelPPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
        *,
        checkpoints: CheckpointManager | None = None,
        checkpoint_every: int = 10,
    ) -> Self:
        """Train as SB3's `PPO.learn` does.

        Args:
            total_timesteps: Steps; a second call takes as many again. With checkpoints they count
                from the very first.
            callback: SB3's.
            log_interval: SB3's.
            tb_log_name: SB3's.
            reset_num_timesteps: SB3's; stays True with checkpoints.
            progress_bar: SB3's.
            checkpoints: Where to save, every `checkpoint_every` rollouts and at the end. The same
                call on a new agent made with the same arguments goes on from the newest checkpoint
                there, to the bit as if it had never stopped. All environments start anew at a
                checkpoint, interrupted or not, from seeds that follow from the agent's, since no
                environment in general can be stored.
            checkpoint_every: In rollouts.

        Raises:
            ConfigError: `total_timesteps` or `checkpoint_every` below 1, or checkpoints without a
                count from the first.
            CheckpointError: The checkpoints are of another run, or none of them is whole.
            NonFiniteError: An observation, reward, loss or gradient is not finite; parameters are
                those before it.
        """
        require_integers(1, total_timesteps=total_timesteps, checkpoint_every=checkpoint_every)
        if checkpoints is not None and not reset_num_timesteps:
            raise ConfigError(
                "with checkpoints the steps count from the first: leave reset_num_timesteps=True"
            )
        callbacks = [NextObservationRecorder(), *_as_list(callback)]
        arguments = (
            total_timesteps,
            callbacks,
            log_interval,
            tb_log_name,
            reset_num_timesteps,
            progress_bar,
        )
        self._checkpoints, self._checkpoint_every = checkpoints, checkpoint_every
        try:
            return super().learn(*arguments)
        finally:
            self._checkpoints = None

    def _setup_learn(self, *arguments: Any, **named: Any) -> tuple[int, BaseCallback]:
        """SB3's, then the newest checkpoint."""
        prepared = super()._setup_learn(*arguments, **named)
        found = None if self._checkpoints is None else self._checkpoints.latest_state(self._run())
        if found is not None:
            set_training_state(self, found[1])
            restart_environments(self)
            done, total = self.num_timesteps, prepared[0]
            if done >= total:
                say_nothing_left("WorldModelPPO", done, total, "steps", is_resumption=True)
        return prepared

    def train(self) -> None:
        """Update the policy from the collected rollout.

        `n_epochs` passes, fewer where `target_kl` stops them.
        """
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        epochs: list[list[dict[str, float]]] = []
        is_near = True
        while is_near and len(epochs) < self.n_epochs:
            epochs.append([])
            is_near = self._train_epoch(epochs[-1])
            self._n_updates += 1
        self._log(epochs)
        if self._checkpoints is not None:
            self._save_when_due(self._checkpoints)

    def _save_when_due(self, checkpoints: CheckpointManager) -> None:
        num_rollouts = self.num_timesteps // (self.n_steps * self.n_envs)
        if (
            num_rollouts % self._checkpoint_every == 0
            or self.num_timesteps >= self._total_timesteps
        ):
            checkpoints.save_state(self.num_timesteps, training_state(self), self._run())
            restart_environments(self)

    def _run(self) -> dict[str, Any]:
        return {
            **run_of(self),
            "checkpoint_every": self._checkpoint_every,
        }  # the environments start anew as often

    def _train_epoch(self, measured: list[dict[str, float]]) -> bool:
        """One pass over the rollout.

        False where the policy has moved too far from the one that collected it.
        """
        for samples in self.rollout_buffer.get(self.batch_size):
            terms, diagnostics = self._losses(samples, len(measured))
            assert terms.keys() == self.loss_weights.keys(), "every term has one weight"
            weighted = [weight * terms[name] for name, weight in self.loss_weights.items()]
            loss = torch.stack(weighted).sum()
            values = {name: term.item() for name, term in terms.items()} | {"loss": loss.item()}
            measured.append(values | diagnostics)
            if self.target_kl is not None and diagnostics["approx_kl"] > 1.5 * self.target_kl:
                return False
            self._check_finite(values)
            self._descend(loss)
        return True

    def _losses(
        self, samples: TransitionSamples, number: int
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The loss terms of a minibatch, and what else is worth a look."""
        actions = samples.actions
        if isinstance(self.action_space, spaces.Discrete):
            actions = actions.long().flatten()
        evaluation = self.policy.evaluate_transitions(samples.observations, actions)
        log_ratio = evaluation.log_probabilities - samples.old_log_prob
        entropies = (
            -evaluation.log_probabilities if evaluation.entropies is None else evaluation.entropies
        )
        terms = {
            "policy": self._policy_loss(log_ratio, samples.advantages),
            "entropy": -entropies.mean(),
            "value": self._value_loss(evaluation.values, samples),
        }
        diagnostics = self._diagnostics(log_ratio.detach())
        if self.world_model_coef > 0:
            differences = self._prediction_differences(evaluation.latents, actions, samples, number)
            terms["world_model"] = differences.square().mean()
            raw = self.policy.target_units.raw_errors(differences.detach())
            diagnostics["world_model_mse"] = raw.square().mean().item()
        return terms, diagnostics

    def _policy_loss(self, log_ratio: Tensor, advantages: Tensor) -> Tensor:
        """Minus the clipped surrogate objective (eq. 7)."""
        if self.normalize_advantage and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        ratio, reach = log_ratio.exp(), self._now(self.clip_range)
        return -torch.min(advantages * ratio, advantages * ratio.clamp(1 - reach, 1 + reach)).mean()

    def _value_loss(self, values: Tensor, samples: TransitionSamples) -> Tensor:
        """Squared error against the lambda-returns, where asked for with the change of the values clipped."""
        if self.clip_range_vf is not None:
            reach = self._now(self.clip_range_vf)
            values = samples.old_values + (values - samples.old_values).clamp(-reach, reach)
        return F.mse_loss(samples.returns, values)

    def _prediction_differences(
        self, latents: Tensor, actions: Tensor, samples: TransitionSamples, number: int
    ) -> Tensor:
        """The predicted next observations less the recorded ones [B, O], in units of the targets."""
        targets = self.policy.observation_features(samples.next_observations)
        if self.world_model_target == "shuffled":
            if (
                len(targets) == 1
            ):  # the rest of a division: its only target is its own, which is no placebo
                return latents.sum(1, keepdim=True) * torch.zeros_like(targets)
            draws = np.random.default_rng([self.seed or 0, self._n_updates, number])
            targets = targets[torch.from_numpy(other_rows(len(targets), draws)).to(targets.device)]
        predicted = self.policy.world_model(latents, self.policy.action_inputs(actions))
        return predicted - self.policy.target_units.normalise(targets)

    def _diagnostics(self, log_ratio: Tensor) -> dict[str, float]:
        """The estimator (r - 1) - log r of the divergence, and the share of ratios that are clipped."""
        ratio = log_ratio.exp()
        return {
            "approx_kl": (ratio - 1 - log_ratio).mean().item(),
            "clip_fraction": ((ratio - 1).abs() > self._now(self.clip_range)).float().mean().item(),
        }

    def _now(self, schedule: Any) -> float:
        return float(schedule(self._current_progress_remaining))

    def _descend(self, loss: Tensor) -> None:
        self.policy.optimizer.zero_grad()
        loss.backward()
        norm = clip_gradient(self.policy.parameters(), self.max_grad_norm)
        if not math.isfinite(norm.item()):
            self._check_finite({f"the gradient of {non_finite_gradient(self.policy)}": norm.item()})
        self.policy.optimizer.step()

    def _check_finite(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"{name} is {value} after {self._n_updates} passes and {self.num_timesteps} steps: this step was "
                    "not taken; scale the observations and rewards or lower learning_rate"
                )

    def _log(self, epochs: list[list[dict[str, float]]]) -> None:
        names = {"entropy": "entropy_loss", "policy": "policy_gradient_loss", "value": "value_loss"}
        names |= {"world_model": "world_model_loss", "clip_fraction": "clip_fraction"}
        names |= {"world_model_mse": "world_model_mse"}
        measured = [values for epoch in epochs for values in epoch]
        for name in (name for name in names if name in measured[0]):
            self.logger.record(
                f"train/{names[name]}", float(np.mean([values[name] for values in measured]))
            )
        self.logger.record(
            "train/approx_kl", float(np.mean([values["approx_kl"] for values in epochs[-1]]))
        )
        self.logger.record("train/loss", measured[-1]["loss"])
        buffer = self.rollout_buffer
        self.logger.record(
            "train/explained_variance",
            explained_variance(buffer.values.ravel(), buffer.returns.ravel()),
        )
        if hasattr(self.policy, "log_std"):
            self.logger.record("train/std", self.policy.log_std.exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name in ("clip_range", "clip_range_vf"):
            if getattr(self, name) is not None:
                self.logger.record(f"train/{name}", self._now(getattr(self, name)))

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_checkpoints"]

    def save(
        self, path: Any, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None
    ) -> None:
        """Write SB3's zip, whole or not at all; it gets the suffix ".zip" where it has none.

        Raises:
            CheckpointError: The folder cannot be written or the disk is full; an earlier file there
                is unchanged.
        """
        if not isinstance(path, str | Path):
            super().save(path, exclude, include)
            return
        target = user_path(path)
        target = target if target.suffix else target.with_suffix(".zip")
        temporary = target.with_name(f".{target.stem}.{os.getpid()}.zip")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            super().save(temporary, exclude, include)
            os.replace(temporary, target)
        except OSError as error:
            raise CheckpointError(
                f"cannot write {target}: {error.strerror}; give a writable folder"
            ) from error
        finally:
            # Where the folder itself is missing there is nothing to remove.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @classmethod
    def load(
        cls,
        path: Any,
        env: Any = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        *,
        trust: bool = False,
        **arguments: Any,
    ) -> Self:
        """Read an agent from SB3's zip.

        Args:
            path: What `save` wrote.
            env: Where to go on training; None is enough to predict.
            device: Where the parameters go; "auto" takes what is here, wherever the agent was
                trained.
            custom_objects: Replacements by name for what should not be read.
            print_system_info: Print the versions of here and of the file.
            force_reset: Reset the environment before training goes on.
            trust: SB3's format holds pickles, which can run any code when they are read. Pass True
                for files that come from you or from somebody you would run programs of.
            **arguments: Attributes to change.

        Raises:
            CheckpointError: Without `trust=True`, and for files that are missing, damaged or of
                another kind.
            ConfigError: There is no such device.
        """
        if not trust:
            raise CheckpointError(
                f"{path} can run any code when it is read: pass trust=True if you know who wrote it"
            )
        path = user_path(path) if isinstance(path, str | Path) else path
        options = (choose_device(device), custom_objects, print_system_info, force_reset)
        try:
            agent = super().load(path, env, *options, **arguments)
            agent._checkpoints = None
            return agent
        except Exception as error:  # what a damaged pickle raises has no bounds
            raise CheckpointError(
                f"{path} is no agent that WorldModelPPO.save wrote, or damaged: {error}"
            ) from error


def check_rows_finite(name: str, values: Any, num_steps: int) -> None:
    """Raise NonFiniteError for the first environment whose value [N, ...] is not finite."""
    if np.isfinite(values).all():
        return
    row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
    raise NonFiniteError(
        f"the {name} of environment {row} is not finite at step {num_steps}: repair the environment"
    )


def _check_subclass(name: str, given: Any, needed: type) -> None:
    if not (isinstance(given, type) and issubclass(given, needed)):
        raise ConfigError(
            f"{name} is a subclass of {needed.__name__}, got {given!r}: derive it from that"
        )


def _as_list(callback: Callbacks) -> list[BaseCallback]:
    if callback is None or isinstance(callback, list):
        return callback or []
    return [callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)]
