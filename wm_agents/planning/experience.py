"""Real steps in one environment, counted and kept as trajectories, however often collecting is interrupted."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import CheckpointError, ConfigError, SpaceError
from wm_agents.protocols import Agent
from wm_envs.data.trajectories import Trajectories


class Experience:
    """Acts in an environment and remembers everything; an episode goes on from one `collect` to the next.

    Args:
        env: A Gymnasium environment with observations of a flat Box or of Discrete.
        seed: Of the environment's resets and its random actions.

    Attributes:
        num_steps: Real steps taken so far.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int) -> None:
        space = env.observation_space
        is_flat = isinstance(space, gym.spaces.Box) and len(space.shape) == 1
        if not is_flat and not isinstance(space, gym.spaces.Discrete):
            raise SpaceError(
                f"expected flat observations, got {space}: wrap with FlattenObservation"
            )
        self.num_steps = 0
        self._env = env
        self._episodes: list[
            list[tuple[Any, ...]]
        ] = []  # (observation, action, reward, terminated, truncated)
        self._last_observations: list[Any] = []
        self._observation: Any = None
        self._agent_state: Any = None
        self._seed: int | None = seed
        env.action_space.seed(seed)

    def collect(self, num_steps: int, agent: Agent | None = None) -> None:
        """Take real steps with an agent, or at random.

        An agent with `resume` is told of the episode so far.
        """
        self._agent_state = None
        resume = getattr(agent, "resume", None)
        if self._observation is not None and resume is not None:
            seen, actions = ([step[place] for step in self._episodes[-1]] for place in (0, 1))
            self._agent_state = resume(self._raw(seen), np.stack(actions))
        for _ in range(num_steps):
            if self._observation is None:
                self._begin()
            self._step(agent)

    def trajectories(self) -> Trajectories:
        """Everything so far; an episode that still goes on is kept as far as it went.

        Raises:
            ConfigError: Nothing was collected.
        """
        if not self._episodes:
            raise ConfigError("no experience yet: collect at least one step")
        episodes = zip(self._episodes, self._last_observations, strict=True)
        return Trajectories.concatenate([self._episode(steps, last) for steps, last in episodes])

    def state(self) -> dict[str, Any]:
        """All that `replay` needs, for `pack_state`.

        The actions taken, and a hash of what came of them.
        """
        actions = [step[1] for steps in self._episodes for step in steps]
        return {
            "actions": np.stack(actions) if actions else np.zeros(0),
            "hash": self._hash(),
            "action_space": self._env.action_space.np_random.bit_generator.state,
        }

    def replay(self, state: Mapping[str, Any]) -> None:
        """Take the steps of another run again: environments cannot be stored, but they repeat themselves.

        Args:
            state: What `state` gave in a run with the same environment and seed; nothing was
                collected here yet.

        Raises:
            CheckpointError: The environment answered otherwise than it did then.
        """
        for action in state["actions"]:
            if self._observation is None:
                self._begin()
            self._take(action)
        if self._hash() != state["hash"]:
            raise CheckpointError(
                "the environment does not repeat itself: with the same seed and actions it gave other observations, "
                "rewards or ends than in the stored run; start again with an empty folder"
            )
        self._env.action_space.np_random.bit_generator.state = state["action_space"]

    def _hash(self) -> str:
        digest = sha256()
        for steps, last in zip(self._episodes, self._last_observations, strict=True):
            for observation, _, *outcome in steps:
                digest.update(observation.tobytes() + np.array(outcome, np.float64).tobytes())
            digest.update(last.tobytes())
        return digest.hexdigest()

    def _begin(self) -> None:
        self._observation, _ = self._env.reset(seed=self._seed)
        self._seed = None
        self._agent_state = None
        self._episodes.append([])
        self._last_observations.append(None)

    def _step(self, agent: Agent | None) -> None:
        if agent is None:
            action = self._env.action_space.sample()
        else:
            action, self._agent_state = agent.predict(self._observation, self._agent_state)
        self._take(action)

    def _take(self, action: Any) -> None:
        after, reward, terminated, truncated, _ = self._env.step(action)
        self._episodes[-1].append(
            (self._row(self._observation), action, float(reward), terminated, truncated)
        )
        self._last_observations[-1] = self._row(after)
        self._observation = None if terminated or truncated else after
        self.num_steps += 1

    def _row(self, observation: Any) -> NDArray[np.float32]:
        space = self._env.observation_space
        if isinstance(space, gym.spaces.Discrete):
            return np.eye(int(space.n), dtype=np.float32)[int(observation) - int(space.start)]
        return np.array(observation, np.float32)

    def _raw(self, rows: list[NDArray[np.float32]]) -> NDArray[Any]:
        """Stored rows as the environment gave them."""
        space = self._env.observation_space
        stacked = np.stack(rows)
        return (
            stacked.argmax(1) + space.start if isinstance(space, gym.spaces.Discrete) else stacked
        )

    def _episode(self, steps: list[tuple[Any, ...]], last: NDArray[np.float32]) -> Trajectories:
        observations, actions, rewards, terminations, truncations = zip(*steps, strict=True)
        return Trajectories.from_arrays(
            np.stack([*observations, last]),
            np.stack(actions),
            np.array(rewards),
            np.array(terminations, np.bool_),
            np.array(truncations, np.bool_),
            lengths=[len(actions)],
        )
