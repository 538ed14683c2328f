"""Proximal policy optimization on any Gymnasium environment.

Schulman et al. (2017), "Proximal policy optimization algorithms", eq. 7 and 9, with generalized
advantage estimation. Rollouts stay arrays from end to end, which is several times faster than SB3's
PPO where an environment steps hundreds of rows at once. The network is in `actor_critic`, what
environments do in `rollouts`.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from wm_agents.errors import CheckpointError, ConfigError, SpaceError
from wm_agents.policy_gradient.actor_critic import (
    EARLIER_NAMES,
    ActorCritic,
    Minibatch,
    PPOConfig,
    scheduled,
)
from wm_agents.policy_gradient.environments import (
    VectorEnvMaker,
    same_step_envs,
    specification_of,
)
from wm_agents.policy_gradient.rollouts import RolloutBuffer, RolloutCollector, advantage_estimates
from wm_agents.policy_gradient.running_standardizer import RunningStandardizer
from wm_agents.policy_gradient.spaces import PolicySpaces
from wm_agents.training.checkpoints import (
    Checkpoint,
    CheckpointManager,
    refusing_misfits,
)
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.finite import descend, require_finite
from wm_agents.training.loggers import Logger
from wm_agents.training.progress import say_nothing_left
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import (
    check_counts,
    check_shapes,
    config_from_json,
    spaces_from,
)
from wm_agents.training.trainer import FitReport, Trainer
from wm_envs.data.display import html_card
from wm_envs.data.spaces import space_to_json

__all__ = ["PPO", "PPOConfig", "current_names"]

KIND = "vector ppo policy"
Callback = Callable[["PPO", dict[str, float]], bool | None]


class PPO(ActorCritic, Savable):
    """A policy and a value that learn by proximal policy optimization.

    Args:
        env: An id, an environment made by `gym.make`, a function from num_envs to a vector
            environment, or a vector environment in any autoreset mode. A pair (observation space,
            action space) makes an agent that can predict, and learns after `set_env`.
        config: None takes `PPOConfig()`.
        seed: Draws weights, actions, minibatches and the environments' seeds.
        env_kwargs: Options of the environment of an id.

    Attributes:
        report: Of the last call of `learn`.
        num_timesteps: Environment steps that were learned from.

    Raises:
        SpaceError: A space that `wm_envs.data.spaces` does not serve.
    """

    kind = KIND
    is_cpu_only = True  # this policy is too small for anything else
    report: FitReport | None

    def __init__(
        self,
        env: Any,
        config: PPOConfig | None = None,
        *,
        seed: int = 0,
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if not (config is None or isinstance(config, PPOConfig)):
            # What was written for WorldModelPPO comes here by its earlier name.
            raise ConfigError(
                f"config is a PPOConfig, got {config!r}: WorldModelPPO('MlpPolicy', env, ...) of "
                "earlier versions is now PPO(env, PPOConfig(world_model_coef=1.0)), where the "
                "weight is 0 by default"
            )
        config = config or PPOConfig()
        seed = checked_seed(seed)
        maker = None if isinstance(env, tuple) else _vector_maker(env, config, env_kwargs or {})
        made = None if maker is None else maker()
        known = PolicySpaces(*env) if made is None else _spaces_of(made)
        super().__init__(known, config, torch.Generator().manual_seed(seed))
        self.seed = seed
        self.env = made
        self._maker = maker
        # eps of the first PPO implementations, which published settings assume; the rate is set anew
        # in each update.
        self.optimizer = torch.optim.Adam(self.parameters(), 1e-3, eps=1e-5, fused=True)
        self.report = None
        self.num_timesteps = 0
        self._collector: RolloutCollector | None = None

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Of a single environment."""
        return self.spaces.observation_space

    @property
    def action_space(self) -> gym.Space[Any]:
        """Of a single environment."""
        return self.spaces.action_space

    def __repr__(self) -> str:
        num_parameters = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"PPO({num_parameters:,} parameters, {self.num_timesteps:,} steps learned, "
            f"observations: {self.spaces.observation_space}, actions: {self.spaces.action_space})"
        )

    def _repr_html_(self) -> str:
        facts = {
            "observations": self.spaces.observation_space,
            "actions": self.spaces.action_space,
            "steps": f"{self.num_timesteps:,}",
        }
        return html_card("PPO", facts)

    def __getstate__(self) -> dict[str, Any]:
        """Without environments, which a copy makes anew; a vector that was given stays behind."""
        maker = None if isinstance(self._maker, _Ready) else self._maker
        return {**super().__getstate__(), "env": None, "_maker": maker, "_collector": None}

    # --- environments

    def set_env(
        self, env: str | gym.Env[Any, Any] | VectorEnvMaker | VectorEnv[Any, Any, Any]
    ) -> None:
        """Learn in another environment from now on.

        Raises:
            SpaceError: It has other spaces.
        """
        maker = _vector_maker(env, self.config, {})
        made = maker()
        theirs = _spaces_of(made)
        # Bounds of observations may differ, as those of a dream and of the true environment do.
        is_same = theirs.observations.size == self.spaces.observations.size
        if not (is_same and theirs.action_space == self.spaces.action_space):
            raise SpaceError(
                f"this agent reads {self.spaces.observation_space} and acts in "
                f"{self.spaces.action_space}; the environment has {theirs.observation_space} and "
                f"{theirs.action_space}"
            )
        self.env = made
        self._maker = maker
        self._collector = None

    # --- learning

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        progress_bar: bool = False,
        *,
        logger: Logger | None = None,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        checkpoint_every: int = 50,
    ) -> Self:
        """Alternate rollouts and updates.

        Args:
            total_timesteps: Environment steps, rounded up to whole rollouts; a second call takes as
                many again. With checkpoints they count from the very first.
            callback: Called after every update with the agent and its figures; False stops.
            progress_bar: Show progress: a bar on a terminal, elsewhere a line now and then.
            logger: Receives the figures of every update.
            checkpoints: Where to save, every `checkpoint_every` updates and at the end. The same
                call resumes from the newest checkpoint there, bitwise as if it had never stopped.
                All environments start anew at a checkpoint, interrupted or not, since no
                environment in general can be stored.
            checkpoint_every: In updates.

        Raises:
            ConfigError: A number below 1, or no environment to learn in.
            CheckpointError: The checkpoints are of another run, or none of them is whole.
            NonFiniteError: An observation, reward, loss or gradient is not finite: nothing was
                updated or saved with it.
        """
        require_integers(1, total_timesteps=total_timesteps, checkpoint_every=checkpoint_every)
        if self.env is None and self._maker is None:
            raise ConfigError("this agent has no environment to learn in: call set_env first")
        if self.env is None:
            assert self._maker is not None
            self.env = self._maker()
        num_updates = math.ceil(total_timesteps / (self.config.n_steps * self.env.num_envs))
        restart_every = None if checkpoints is None else checkpoint_every
        run = _Run(self, self.env, num_updates, restart_every)

        def call_back(_: int, figures: dict[str, float]) -> bool | None:
            return None if callback is None else callback(self, figures)

        trainer = Trainer(
            run,
            num_updates,
            description="ppo",
            evaluate_every=1,
            checkpoints=checkpoints,
            checkpoint_every=checkpoint_every,
            progress=None if progress_bar else False,
            logger=logger,
            callback=call_back,
        )
        self.report = trainer.train()
        if not run.has_stepped:
            say_nothing_left(
                "PPO", self.report.num_updates, num_updates, "updates", is_resumption=True
            )
        return self

    def _update(self, rollout: RolloutBuffer, done: float, place: str) -> dict[str, float]:
        """Passes over a rollout; means of their figures."""
        config = self.config
        self.optimizer.param_groups[0]["lr"] = scheduled(config.learning_rate, done)
        ent_coef = scheduled(config.ent_coef, done)
        if config.world_model_coef > 0:
            self.target_units.update(rollout.next_observations.flatten(0, 1))
        transitions = self._transitions(rollout)
        measured: list[dict[str, float]] = []
        is_near = True
        for _ in range(config.n_epochs):
            if not is_near:
                break
            for batch in self._minibatches(rollout, transitions):
                terms, figures = self.losses(batch)
                measured.append(figures)
                limit = config.target_kl
                # Half as much again, as in Stable-Baselines3, so that the setting means the same in both.
                if limit is not None and figures["approx_kl"] > 1.5 * limit:
                    is_near = False
                    break
                loss = (
                    terms["policy"] + config.vf_coef * terms["value"] + ent_coef * terms["entropy"]
                )
                if "world_model" in terms:
                    loss = loss + config.world_model_coef * terms["world_model"]
                descend(loss, self.optimizer, self.named_parameters(), place, config.max_grad_norm)
        return {name: float(np.mean([row[name] for row in measured])) for name in measured[0]}

    def _transitions(self, rollout: RolloutBuffer) -> Minibatch:
        """All steps of a rollout, flat, with the features of an agent without memory."""
        gains = advantage_estimates(rollout, self.config.gamma, self.config.gae_lambda)
        return Minibatch(
            self.observation_units.normalize(rollout.observations.flatten(0, 1)),
            rollout.actions.flatten(0, 1),
            rollout.log_probs.flatten(),
            gains.flatten(),
            (gains + rollout.values).flatten(),
            rollout.next_observations.flatten(0, 1),
        )

    def _minibatches(self, rollout: RolloutBuffer, transitions: Minibatch) -> Iterator[Minibatch]:
        """All transitions of a rollout in random order; with a memory, whole environments of it."""
        batches = self._row_batches(rollout, transitions.features)
        if self.config.memory_width:
            batches = self._recurrent_batches(rollout)
        for rows, features in batches:
            yield Minibatch(features, *(column[rows] for column in transitions[1:]))

    def _row_batches(
        self, rollout: RolloutBuffer, features: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Indices [N] into flat steps, and their features."""
        kept = rollout.mask.flatten().nonzero().squeeze(1)
        order = torch.randperm(len(kept), generator=self.generator)
        for numbers in order.split(self.config.batch_size):
            rows = kept[numbers]
            yield rows, features[rows]

    def _recurrent_batches(self, rollout: RolloutBuffer) -> Iterator[tuple[Tensor, Tensor]]:
        """The same for whole environments, whose memories are computed anew from their first."""
        num_steps, num_envs = rollout.mask.shape
        # Whole environments, since a memory can only be computed from its beginning.
        order = torch.randperm(num_envs, generator=self.generator)
        for envs in order.split(max(1, self.config.batch_size // num_steps)):
            memory = rollout.memory[envs]
            features = []
            for step in range(num_steps):
                is_start = rollout.is_start[step, envs]
                now = self._features(rollout.observations[step, envs], memory, is_start)
                features.append(now.features)
                memory = now.memory
            rows = (torch.arange(num_steps)[:, None] * num_envs + envs).flatten()
            kept = rollout.mask.flatten()[rows]
            yield rows[kept], torch.cat(features)[kept]

    # --- files

    def state(self) -> dict[str, Any]:
        """All that `restore` needs between two calls of `learn`; raises NonFiniteError."""
        require_finite(self.state_dict(), "a parameter, so it is not saved")
        return {
            "weights": self.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "num_timesteps": self.num_timesteps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the `state` of an agent with the same spaces and settings.

        Raises CheckpointError.
        """
        with refusing_misfits("a run of PPO"):
            self.load_state_dict(state["weights"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["generator"])
            self.num_timesteps = int(state.get("num_timesteps", 0))
        self._collector = None

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Spaces, settings and weights.

        The optimizer is not in it: `learn(checkpoints=...)` keeps that.
        """
        description = {
            "config": asdict(self.config),
            "seed": self.seed,
            "observation_space": space_to_json(self.spaces.observation_space),
            "action_space": space_to_json(self.spaces.action_space),
        }
        return self.state_dict(), description

    @classmethod
    def _check_request(cls, path: str | os.PathLike[str], device: str, given: Any) -> None:
        super()._check_request(path, device, given)
        if str(path).endswith(".zip"):
            raise CheckpointError(
                f"{path} is a zip of Stable-Baselines3, which holds pickles: read it with the PPO "
                "of stable_baselines3, or train a PPO of wm_agents again"
            )

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        metadata = stored.metadata
        check_counts({"widths": metadata["config"]["widths"]}, stored.tensors)
        config = config_from_json(PPOConfig, current_names(metadata["config"]))
        known = spaces_from(metadata)
        make = partial(cls, known, config, seed=int(metadata.get("seed", 0)))
        tensors = {**_neutral_units(PolicySpaces(*known)), **stored.tensors}
        # First without memory: a file cannot ask for more than its own tensors take.
        with torch.device("meta"):
            check_shapes(make(), tensors)
        agent = make()
        agent.load_state_dict(tensors)
        return agent

    def _check_env(self, env: Any) -> None:
        self.set_env(env)  # where it goes on learning


def current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `VectorPPO` by their names in `PPOConfig`; others stay as they are."""
    named = {EARLIER_NAMES.get(name, name): value for name, value in settings.items()}
    # Files of before standardization go on without it.
    named.setdefault("normalize_observations", False)
    for name in ("learning_rate", "ent_coef"):
        if isinstance(named.get(name), list):
            named[name] = tuple(named[name])
    return named


class _Run:
    """A call of `PPO.learn` as the training loop sees it."""

    def __init__(
        self,
        agent: PPO,
        env: VectorEnv[Any, Any, Any],
        num_updates: int,
        restart_every: int | None,
    ) -> None:
        self.agent = agent
        self.env = env
        self.num_updates = num_updates
        self.restart_every = restart_every
        self.has_stepped = False

    def step(self, update: int) -> dict[str, float]:
        """A rollout and the passes over it."""
        self.has_stepped = True
        agent = self.agent
        # An interrupted run restarts its environments; so that the other is the same run, it does.
        is_restart = self.restart_every is not None and update % self.restart_every == 0
        if agent._collector is None or is_restart or update == 0:
            agent._collector = self._collector()
        rollout = agent._collector.collect(agent.config.n_steps, agent._act, agent._evaluate_step)
        place = f"at update {update}"
        rollout.require_finite(place)
        figures = agent._update(rollout, update / self.num_updates, place)
        if agent.config.normalize_observations:
            # After the update, so that the policy that acted was trained.
            agent.observation_units.update(rollout.observations.flatten(0, 1))
        agent.num_timesteps += rollout.mask.numel()
        return {**figures, **_rollout_figures(rollout)}

    def _collector(self) -> RolloutCollector:
        agent = self.agent
        seed = int(torch.randint(1 << 31, (1,), generator=agent.generator))
        return RolloutCollector(self.env, agent.spaces, agent.config.memory_width, seed)

    def state_dict(self) -> dict[str, Any]:
        """All of the agent but its environments."""
        return self.agent.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same run."""
        self.agent.restore(state)

    def fingerprint(self) -> dict[str, Any]:
        """Settings, seed, spaces and length."""
        spaces_ = self.agent.spaces
        return {
            "kind": "ppo",
            "config": asdict(self.agent.config),
            "num_envs": self.env.num_envs,
            "updates": self.num_updates,
            "checkpoint_every": self.restart_every,
            "seed": self.agent.seed,
            "spaces": [str(spaces_.observation_space), str(spaces_.action_space)],
        }


def _rollout_figures(rollout: RolloutBuffer) -> dict[str, float]:
    """What a rollout earned; returns and successes only where episodes ended."""
    # Of the ends that decided something, the share that was won.
    ends = rollout.rewards[rollout.ended & (rollout.rewards.abs() >= 0.5)]
    figures = {
        "reward": float(rollout.rewards.mean()),
        "ended_share": float(rollout.ended.float().mean()),
        "won_share": float((ends > 0).float().mean()) if len(ends) else 0.5,
    }
    if rollout.returns:
        figures["return"] = float(np.mean(rollout.returns))
    if rollout.successes:
        figures["success"] = float(np.mean(rollout.successes))
    return figures


@dataclass(frozen=True)
class _Ready:
    """Gives a vector environment that somebody made."""

    env: VectorEnv[Any, Any, Any]

    def __call__(self) -> VectorEnv[Any, Any, Any]:
        return self.env


def _vector_maker(
    env: Any, config: PPOConfig, options: Mapping[str, Any]
) -> Callable[[], VectorEnv[Any, Any, Any]]:
    """A function that makes the vector environment; with parts that can be pickled."""
    if isinstance(env, gym.Env):
        return partial(same_step_envs, specification_of(env), config.num_envs, dict(options))
    if isinstance(env, str):
        return partial(same_step_envs, env, config.num_envs, dict(options))
    if options:
        raise ConfigError(
            f"env_kwargs are of an id or an environment, got {dict(options)} beside {env!r}"
        )
    if callable(env):
        return partial(env, config.num_envs)
    return _Ready(env)


def _spaces_of(env: Any) -> PolicySpaces:
    if not isinstance(env, VectorEnv):
        raise ConfigError(
            "env is an id, an environment, a vector environment or a function that makes one, got "
            f"{env!r}"
        )
    return PolicySpaces(env.single_observation_space, env.single_action_space)


def _neutral_units(known: PolicySpaces) -> dict[str, Tensor]:
    """What files of before standardization lack: units that change nothing."""
    units = RunningStandardizer(known.observations.size).state_dict()
    return {f"observation_units.{name}": value for name, value in units.items()}
