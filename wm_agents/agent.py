"""`WorldModelAgent`: one agent with one configuration for any Gymnasium environment.

It is told nothing but the spaces. Several ways of acting learn side by side from the same
experience: a policy with a memory of its episode, values on features of a world model, a policy
that learns in imagination, a table of what followed what, and search in exact rules. Each episode
is acted in by one of them; their returns are measured, those that earn less get fewer episodes, and
the best acts in the end.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import (
    CheckpointError,
    ConfigError,
    NonFiniteError,
    NotFittedError,
    SpaceError,
)
from wm_agents.evaluation.episodes import EpisodeResults, evaluate
from wm_agents.evaluation.open_loop import fitting_horizons, unseen_episodes
from wm_agents.evaluation.scorecard import Scorecard, scorecard
from wm_agents.learners.base import Learner, VectorStep
from wm_agents.learners.race import LEARNERS, Race, RaceConfig
from wm_agents.planning.collector import Collector
from wm_agents.planning.defaults import fit_model
from wm_agents.policy_gradient.environments import same_step_envs, specification_of
from wm_agents.policy_gradient.spaces import PolicySpaces
from wm_agents.training.checkpoints import Checkpoint
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.packing import pack_state, unpack_state
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import config_from_json, spaces_from
from wm_agents.training.trainer import Checkpoints, FitReport, Trainer
from wm_envs.data.display import html_card
from wm_envs.data.spaces import space_to_json
from wm_envs.data.trajectories import Trajectories

MAX_ROWS = 1_000_000
"""Environments side by side that a file may ask memory for."""

Callback = Callable[["WorldModelAgent", dict[str, float]], bool | None]


@dataclass(frozen=True)
class WorldModelAgentConfig:
    """The one configuration.

    Attributes:
        max_envs: Environments side by side at most; fewer where there are fewer steps to take.
        steps_per_env: So many steps for each of them at least.
        round_steps: Steps of all environments between two reports.
        race: How episodes are shared out between ways of acting.
    """

    max_envs: int = 64
    steps_per_env: int = 5000
    round_steps: int = 32
    race: RaceConfig = field(default_factory=RaceConfig)


class WorldModelAgent(Savable):
    """Learns to act in any Gymnasium environment.

    Args:
        env: An id, an environment, or a vector environment in SAME_STEP mode. An environment that
            `gym.make` made is made anew as often as there are rows. Spaces alone make an agent that
            is loaded to predict.
        seed: Of everything that is drawn, environments included.
        config: None takes `WorldModelAgentConfig()`, which is what results are quoted with.
        env_kwargs: Options of the environment of an id.

    Attributes:
        num_timesteps: Real steps taken so far.
        decisions: What was measured and decided, one line by name.
        report: Of the last call of `learn`.

    Raises:
        SpaceError: A space that `wm_envs.data.spaces` does not serve.
    """

    kind = "world model agent"
    is_cpu_only = True

    def __init__(
        self,
        env: str | gym.Env[Any, Any] | VectorEnv[Any, Any, Any] | PolicySpaces,
        seed: int = 0,
        config: WorldModelAgentConfig | None = None,
        *,
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config or WorldModelAgentConfig()
        self.seed = checked_seed(seed)
        self._env = None if isinstance(env, PolicySpaces) else env
        self._env_kwargs = dict(env_kwargs or {})
        self.spaces = (
            env
            if isinstance(env, PolicySpaces)
            else PolicySpaces(*_spaces_of(env, self._env_kwargs))
        )
        self.num_timesteps = 0
        self.decisions: dict[str, str] = {}
        self.report: FitReport | None = None
        self._race: Race | None = None

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Of a single environment."""
        return self.spaces.observation_space

    @property
    def action_space(self) -> gym.Space[Any]:
        """Of a single environment."""
        return self.spaces.action_space

    @property
    def learners(self) -> tuple[Learner, ...]:
        """The ways of acting, once learning has begun."""
        return () if self._race is None else tuple(self._race.learners)

    def __repr__(self) -> str:
        acts = "has not learned yet"
        if self._race is not None:
            acts = f"acts by its {self._race.best.name}"
        return f"WorldModelAgent({_name_of(self._env)}, {self.num_timesteps:,} steps, {acts})"

    def _repr_html_(self) -> str:
        facts = {
            "environment": _name_of(self._env),
            "steps": f"{self.num_timesteps:,}",
            "acts by": "nothing yet" if self._race is None else self._race.best.name,
        }
        return html_card("WorldModelAgent", facts | self.decisions)

    # --- learning

    def learn(
        self,
        total_timesteps: int,
        callback: Callback | None = None,
        progress_bar: bool = False,
        *,
        checkpoints: Checkpoints = None,
        checkpoint_every: int = 200,
    ) -> Self:
        """Take so many real steps, and learn from them.

        Args:
            total_timesteps: At most so many real steps, those of all environments side by side. A
                second call goes on with as many more.
            callback: Called every `round_steps` steps with the agent and its figures; False stops.
            progress_bar: Show progress: a bar on a terminal, elsewhere a line now and then.
            checkpoints: A folder; the same call resumes from its newest checkpoint. With another
                `total_timesteps` it is refused, since schedules depend on it: to extend a run,
                repeat its call and call `learn` again, with another folder or none. Environments
                start anew at each checkpoint, interrupted or not.
            checkpoint_every: In rounds.

        Raises:
            ConfigError: Fewer steps than environments.
            NonFiniteError: An observation or reward that is not finite; nothing was learned from it.
            CheckpointError: The checkpoints are of another run, or none of them is whole.
        """
        require_integers(1, total_timesteps=total_timesteps, checkpoint_every=checkpoint_every)
        num_envs = None if self._race is None else self._race.num_rows
        env = self._make_envs(total_timesteps, num_envs)
        if total_timesteps < env.num_envs:
            raise ConfigError(
                f"total_timesteps={total_timesteps} is less than one step of {env.num_envs} "
                f"environments side by side: give at least {env.num_envs}"
            )
        if self._race is None:
            self._race = Race(
                self.spaces, env.num_envs, total_timesteps, self.seed, self.config.race
            )
        else:
            self._race.extend(total_timesteps)
        restart_every = None if checkpoints is None else checkpoint_every
        run = _Run(self, self._race, env, total_timesteps, restart_every)

        def call_back(_: int, figures: dict[str, float]) -> bool | None:
            return None if callback is None else callback(self, figures)

        try:
            with _one_thread():
                self.report = Trainer(
                    run,
                    None,
                    description="learn",
                    evaluate_every=10,
                    checkpoints=checkpoints,
                    checkpoint_every=checkpoint_every,
                    progress=None if progress_bar else False,
                    callback=call_back,
                    headline=("return",),
                ).train()
        finally:
            self.decisions = self._race.decisions()
            if not self._is_own(env):
                env.close()
        return self

    def _make_envs(
        self, total_timesteps: int, num_envs: int | None = None
    ) -> VectorEnv[Any, Any, Any]:
        """As many environments side by side as the steps are worth, or `num_envs` of them."""
        env = self._env
        if env is None:
            raise ConfigError("this agent has no environment: give env= to load")
        if isinstance(env, VectorEnv):
            return _checked_vector(env, num_envs)
        if isinstance(env, gym.Env) and not _is_remakable(env):
            single = SyncVectorEnv([lambda: env], autoreset_mode=AutoresetMode.SAME_STEP)
            return _checked_vector(single, num_envs)
        if num_envs is None:
            affordable = max(1, total_timesteps // self.config.steps_per_env)
            num_envs = min(self.config.max_envs, 2 ** int(math.log2(affordable)))
        made_from = env if isinstance(env, str) else specification_of(env)
        return same_step_envs(made_from, num_envs, self._env_kwargs)

    def _is_own(self, env: VectorEnv[Any, Any, Any]) -> bool:
        """Whether closing a vector environment would close what the user gave."""
        return env is self._env or (isinstance(self._env, gym.Env) and not _is_remakable(self._env))

    # --- acting

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,  # noqa: ARG002 - the best action known is one action
    ) -> tuple[Any, Any]:
        """Act on one observation or a batch, as Stable-Baselines3's policies do.

        Args:
            observation: One observation, or a batch of B.
            state: What the previous call returned; None starts all episodes.
            episode_start: Which rows start an episode now [B].
            deterministic: Taken for compatibility.

        Raises:
            NotFittedError: Nothing was learned yet.
            SpaceError: What is no observation of the environment.
        """
        best = self._learned().best
        rows, is_single = self.spaces.checked_rows(observation)
        starts = np.zeros(len(rows), np.bool_)
        if state is None:
            starts[:] = True
        elif episode_start is not None:
            starts = np.asarray(episode_start, np.bool_).reshape(-1)
            if len(starts) != len(rows):
                raise SpaceError(
                    f"episode_start says something of {len(starts)} episodes, but there are "
                    f"{len(rows)} observations: give one value for each"
                )
        actions, state = best.predict(rows, state, starts)
        return self.spaces.predicted_actions(actions, is_single), state

    def evaluate(
        self, episodes: int = 100, seed: int = 1_000_000, *, progress: bool | None = False
    ) -> EpisodeResults:
        """Fresh episodes on seeds that learning does not use; see `wm_agents.evaluation.evaluate`."""
        self._learned()
        # Side by side, since most ways of acting take as long for one row as for many.
        env = self._make_envs(self.config.steps_per_env * min(episodes, 16))
        try:
            return evaluate(self, env, episodes, seed=seed, progress=progress)
        finally:
            if not self._is_own(env):
                env.close()

    def scorecard(
        self, output_dir: str | Path, num_steps: int = 4000, seed: int = 2_000_000
    ) -> Scorecard:
        """Fit a world model to steps of this agent and to random ones, and judge it in one page.

        Args:
            output_dir: Where scorecard.json and scorecard.html are written.
            num_steps: Real steps that the model is fitted to, and as many that are held out. Half
                of them are random.
            seed: Of these steps; learning uses lower ones.

        Raises:
            NotFittedError: Nothing was learned yet.
            ConfigError: There is no single environment, fewer than 2 steps are asked for, or the
                folder cannot be written.
            TrajectoryError: All held-out episodes also occur among the others.
        """
        self._learned()
        require_integers(2, num_steps=num_steps)
        env = self._single_env()

        def record(seed: int) -> Trajectories:
            random, own = Collector(env, seed), Collector(env, seed + 1)
            random.collect(num_steps // 2)
            own.collect(num_steps - num_steps // 2, self)
            return Trajectories.concatenate([random.trajectories(), own.trajectories()])

        try:
            train = record(seed)
            test = unseen_episodes(record(seed + 2), train)
            model = fit_model(self.observation_space, self.action_space, train, self.seed)
            return scorecard(
                model,
                test,
                output_dir,
                title=f"{_name_of(self._env)}, {type(model).__name__}, {train.num_steps:,} steps",
                horizons=fitting_horizons(test),
                train=train,
                env=env,
                seed=self.seed,
            )
        finally:
            if env is not self._env:
                env.close()

    def _single_env(self) -> gym.Env[Any, Any]:
        if self._env is None or isinstance(self._env, VectorEnv):
            raise ConfigError(
                "a scorecard is recorded in a single environment: make the agent with an id or an "
                "environment, or give one as env= to load"
            )
        if isinstance(self._env, gym.Env):
            if not _is_remakable(self._env):
                return self._env
            return gym.make(specification_of(self._env))
        return gym.make(self._env, **self._env_kwargs)

    # --- files

    def _stored(self) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        """What acts; recorded steps and the other ways of acting stay behind."""
        race = self._learned()
        structure: Any
        tensors, structure = pack_state(race.best.acting_state())
        return tensors, {
            "seed": self.seed,
            "num_timesteps": self.num_timesteps,
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
            "learner": race.best.name,
            "config": asdict(race.best.config),
            "num_rows": race.num_rows,
            "total_steps": race.total_steps,
            "decisions": self.decisions,
            "state": structure,
        }

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        metadata = stored.metadata
        agent = cls(PolicySpaces(*spaces_from(metadata)), int(metadata["seed"]))
        agent.num_timesteps = int(metadata["num_timesteps"])
        agent.decisions = {str(name): str(line) for name, line in metadata["decisions"].items()}
        num_rows = int(metadata["num_rows"])
        if not 1 <= num_rows <= MAX_ROWS:
            raise CheckpointError(f"num_rows is 1 to {MAX_ROWS:,}, got {num_rows}")
        kinds = {learner.name: settings for settings, learner in LEARNERS.items()}
        settings = config_from_json(kinds[metadata["learner"]], metadata.get("config", {}))
        _check_sizes(settings, stored.tensors)
        agent.config = replace(agent.config, race=RaceConfig(learners=(settings,)))
        race = Race(
            agent.spaces, num_rows, int(metadata["total_steps"]), agent.seed, agent.config.race
        )
        race.learners[0].load_state_dict(unpack_state(metadata["state"], stored.tensors))
        race.num_steps = agent.num_timesteps
        agent._race = race
        return agent

    def _settle(self, env: Any, device: str, given: Any) -> None:
        super()._settle(env, device, given)
        if env is not None:
            self._env = env

    def _check_env(self, env: Any) -> None:
        observation_space, action_space = _spaces_of(env, {})
        if (observation_space, action_space) != (self.observation_space, self.action_space):
            raise SpaceError(
                f"this agent reads {self.observation_space} and acts in {self.action_space}; the "
                f"environment has {observation_space} and {action_space}"
            )

    def _learned(self) -> Race:
        if self._race is None:
            raise NotFittedError("this agent has not learned yet: call learn first")
        return self._race


class _Run:
    """Learning as the training loop sees it; an update is a round of steps of all environments."""

    def __init__(
        self,
        agent: WorldModelAgent,
        race: Race,
        env: VectorEnv[Any, Any, Any],
        total_timesteps: int,
        restart_every: int | None,
    ) -> None:
        self.agent = agent
        self.race = race
        self.env = env
        self._first = race.num_steps
        self._total = total_timesteps
        self._restart_every = restart_every
        self._obs: Tensor | None = None
        self._is_start = np.ones(env.num_envs, np.bool_)
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)
        self._recent: deque[float] = deque(maxlen=100)

    def position(self) -> tuple[int, int]:
        """Real steps of this call, and how many it may take: whole steps of all environments."""
        whole = self._total - self._total % self.env.num_envs
        return self.race.num_steps - self._first, max(whole, self.env.num_envs)

    def step(self, update: int) -> dict[str, float]:
        """A round of steps."""
        is_restart = self._restart_every is not None and update % self._restart_every == 0
        if self._obs is None or is_restart:
            self._reset()
        figures: dict[str, float] = {}
        done, total = self.position()
        num_steps = min(self.agent.config.round_steps, (total - done) // self.env.num_envs)
        for _ in range(num_steps):
            figures.update(self._step_all())
            self.agent.num_timesteps = self.race.num_steps
        if self._recent:
            figures["return"] = float(np.mean(self._recent))
        return figures

    def _reset(self) -> None:
        """All episodes begin anew, from another seed at each number of steps."""
        random = np.random.default_rng([self.agent.seed, self.race.num_steps, 6])
        seed = int(random.integers(2**20))
        obs = self.agent.spaces.encode_observations(self.env.reset(seed=seed)[0])
        self._require_finite(obs, np.zeros(0))
        self._obs = obs
        self._is_start[:] = True
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self.race.assign(np.arange(self.env.num_envs))

    def _step_all(self) -> dict[str, float]:
        """One step of all environments."""
        spaces = self.agent.spaces
        assert self._obs is not None
        actions = self.race.act(self._obs, self._is_start)
        following, rewards, terminated, truncated, infos = self.env.step(
            spaces.decode_actions(actions)
        )
        ended = terminated | truncated
        following_obs = spaces.encode_observations(following)
        next_obs = spaces.with_final(following_obs, ended, infos)
        self._require_finite(torch.cat([next_obs, following_obs]), rewards)
        step = VectorStep(
            self._obs,
            actions,
            np.asarray(rewards, np.float32),
            terminated,
            truncated,
            next_obs,
            self._is_start.copy(),
        )
        figures = self.race.observe(step)
        self._returns += rewards
        self._lengths += 1
        # An environment without ends would else never say what a way of acting earns.
        is_counted = ended | (self._lengths >= self.race.config.max_episode)
        for row in np.flatnonzero(is_counted):
            self.race.record(int(row), float(self._returns[row]))
            self._recent.append(float(self._returns[row]))
        self._returns[is_counted] = 0.0
        self._lengths[is_counted] = 0
        self._obs = following_obs
        self._is_start = ended.copy()
        self.race.assign(np.flatnonzero(is_counted))
        return figures

    def _require_finite(self, obs: Tensor, rewards: NDArray[Any]) -> None:
        if not bool(obs.isfinite().all()):
            raise NonFiniteError(
                f"an observation is not finite after step {self.race.num_steps}: nothing was "
                "learned from it; repair the environment"
            )
        if not bool(np.isfinite(rewards).all()):
            raise NonFiniteError(
                f"a reward is {rewards[~np.isfinite(rewards)][0]} after step "
                f"{self.race.num_steps}: nothing was learned from it; repair the environment"
            )

    def state_dict(self) -> dict[str, Any]:
        """The race; environments begin anew."""
        return self.race.state_dict() | {
            "first": self._first,
            "total_steps": self.race.total_steps,
            "recent": list(self._recent),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a race of the same run."""
        self.race.load_state_dict(state)
        self._first = state["first"]
        self.race.extend(state["total_steps"] - self.race.num_steps)
        self._recent.extend(state["recent"])
        self.agent.num_timesteps = self.race.num_steps

    def fingerprint(self) -> dict[str, Any]:
        """Which run this is."""
        # A second call is no resumption of the first, whose folder it may have been given.
        later = {"first_step": self._first} if self._first else {}
        return later | {
            "kind": self.agent.kind,
            "seed": self.agent.seed,
            "env": _name_of(self.agent._env),
            "total_timesteps": self._total,
            "num_envs": self.env.num_envs,
            "spaces": [str(self.agent.observation_space), str(self.agent.action_space)],
        }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small networks lose more by waiting for torch's other threads than they gain by them."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _spaces_of(env: Any, options: Mapping[str, Any]) -> tuple[gym.Space[Any], gym.Space[Any]]:
    if isinstance(env, VectorEnv):
        return env.single_observation_space, env.single_action_space
    if isinstance(env, gym.Env):
        return env.observation_space, env.action_space
    if not isinstance(env, str):
        raise ConfigError(
            f"env is an id, an environment or a vector environment, got {env!r}: pass one of these"
        )
    made = gym.make(env, **options)
    spaces = made.observation_space, made.action_space
    made.close()
    return spaces


def _check_sizes(settings: Any, tensors: Mapping[str, Tensor]) -> None:
    """Refuse settings of networks far larger than what a file holds, before they take memory."""
    num_stored = sum(tensor.numel() for tensor in tensors.values())
    for name in ("width", "context_length"):
        size = int(getattr(settings, name, 0))
        if size**2 > num_stored:
            raise CheckpointError(f"the file has {name}={size}, but only {num_stored:,} numbers")


def _is_remakable(env: gym.Env[Any, Any]) -> bool:
    """Whether `gym.make` can make it anew, wrappers included."""
    if env.spec is None:
        return False
    # Arguments of a wrapper that keeps none are unknown.
    return all(wrapper.kwargs is not None for wrapper in env.spec.additional_wrappers)


def _checked_vector(
    env: VectorEnv[Any, Any, Any], num_envs: int | None
) -> VectorEnv[Any, Any, Any]:
    """The same vector environment, if it can be learned in."""
    mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    if mode != AutoresetMode.SAME_STEP:
        raise ConfigError(
            f"this vector environment resets in mode {mode}: make it with "
            "autoreset_mode=AutoresetMode.SAME_STEP"
        )
    if num_envs not in (None, env.num_envs):
        raise ConfigError(
            f"this agent learned in {num_envs} environments side by side, and the one given has "
            f"{env.num_envs}: give an id, or a vector environment of {num_envs}"
        )
    return env


def _name_of(env: Any) -> str:
    if isinstance(env, str):
        return env
    spec = getattr(env, "spec", None)
    return "an environment" if spec is None else str(spec.id)
