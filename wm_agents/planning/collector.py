"""Steps taken in one environment, kept by `Collector`, and `ActionRepeatAgent` that explores."""

from collections.abc import Mapping
from copy import deepcopy
from hashlib import sha256
from itertools import chain
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.protocols import Agent
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_envs.data.progress import progress as progress_of
from wm_envs.data.spaces import ActionCodec, ObservationCodec
from wm_envs.data.trajectories import Trajectories


class Collector:
    """Acts in an environment and keeps every step; an episode resumes with the next `collect`.

    Args:
        env: A Gymnasium environment with spaces that the codecs serve.
        seed: Of the environment's resets and its random actions.

    Attributes:
        num_steps: Real steps taken so far.

    Raises:
        SpaceError: A space that no codec serves.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int) -> None:
        seed = checked_seed(seed)
        self._observations = ObservationCodec(env.observation_space)
        self._actions = ActionCodec(env.action_space)
        self.num_steps = 0
        self._env = env
        # One list per episode of (observation row, action, reward, terminated, truncated).
        self._episodes: list[list[tuple[Any, ...]]] = []
        self._last_rows: list[Any] = []
        # The observations of the current episode as the environment gave them, one ahead of its
        # steps; none when the next step begins an episode.
        self._current: list[Any] = []
        self._agent_state: Any = None
        self._seed: int | None = seed
        env.action_space.seed(seed)

    def collect(
        self, num_steps: int, agent: Agent | None = None, *, progress: bool | None = False
    ) -> None:
        """Take real steps with an agent, or at random.

        An agent with `resume` is told of the episode so far.

        Args:
            num_steps: How many.
            agent: Who acts; None takes random actions.
            progress: A bar on a terminal, elsewhere lines; None: there only of long work.
        """
        self._agent_state = None
        resume = getattr(agent, "resume", None)
        # An episode that is under way was acted in by somebody else so far: the agent is shown all
        # of it.
        if self._current and resume is not None:
            actions = [step[1] for step in self._episodes[-1]]
            self._agent_state = resume(
                _batch(self._env.observation_space, self._current[:-1]),
                _batch(self._env.action_space, actions),
            )
        with progress_of(num_steps, "collect", progress) as bar:
            for _ in range(num_steps):
                if not self._current:
                    self._begin()
                self._step(agent)
                bar.advance()

    def trajectories(self) -> Trajectories:
        """Everything so far; an episode that is not over yet is kept as far as it went.

        Raises:
            ConfigError: Nothing was collected.
        """
        # Stacking needs at least one episode.
        if not self._episodes:
            raise ConfigError("nothing was collected yet: collect at least one step")
        episodes = zip(self._episodes, self._last_rows, strict=True)
        return Trajectories.concatenate([self._episode(steps, last) for steps, last in episodes])

    def state(self) -> dict[str, Any]:
        """All that `replay` needs, for `pack_state`.

        The actions taken, and a hash of what came of them.
        """
        actions = [step[1] for step in chain.from_iterable(self._episodes)]
        return {
            "actions": _batch(self._env.action_space, actions),
            "hash": self._hash(),
            "action_space": self._env.action_space.np_random.bit_generator.state,
        }

    def replay(self, state: Mapping[str, Any]) -> None:
        """Take the steps of another run again.

        Environments cannot be stored, but they repeat themselves.

        Args:
            state: What `state` gave in a run with the same environment and seed; nothing was
                collected here yet.

        Raises:
            CheckpointError: The environment answered otherwise than it did then.
        """
        # How an action is cut out of a batch depends on the kind of space, not on the batch's size.
        batches = batch_space(self._env.action_space, 1)
        for action in iterate(batches, state["actions"]):
            if not self._current:
                self._begin()
            self._take(action)
        if self._hash() != state["hash"]:
            raise CheckpointError(
                "the environment does not repeat itself: with the same seed and actions it gave "
                "other observations, rewards or ends than in the stored run; start again with an "
                "empty folder"
            )
        self._env.action_space.np_random.bit_generator.state = state["action_space"]

    def _hash(self) -> str:
        # Observations, rewards and ends of the whole run, which a resumed one has to give again.
        digest = sha256()
        for steps, last in zip(self._episodes, self._last_rows, strict=True):
            for observation, _, *outcome in steps:
                digest.update(observation.tobytes() + np.array(outcome, np.float64).tobytes())
            digest.update(last.tobytes())
        return digest.hexdigest()

    def _begin(self) -> None:
        observation, _ = self._env.reset(seed=self._seed)
        self._seed = None  # later resets draw on the environment's own generator
        # An agent's memory ends with the episode.
        self._agent_state = None
        self._current = [deepcopy(observation)]
        self._episodes.append([])
        self._last_rows.append(self._observations.encode_one(observation))

    def _step(self, agent: Agent | None) -> None:
        if agent is None:
            action = self._env.action_space.sample()
        else:
            action, self._agent_state = agent.predict(self._current[-1], self._agent_state)
        self._take(action)

    def _take(self, action: Any) -> None:
        after, reward, terminated, truncated, _ = self._env.step(action)
        outcome = (float(reward), terminated, truncated)
        self._episodes[-1].append((self._last_rows[-1], action, *outcome))
        # One row ahead of the steps: the observation that the next action answers.
        self._last_rows[-1] = self._observations.encode_one(after)
        if terminated or truncated:
            self._current = []
        else:
            # A copy, since environments may write the next observation into the same array.
            self._current.append(deepcopy(after))
        self.num_steps += 1

    def _episode(self, steps: list[tuple[Any, ...]], last: NDArray[np.float32]) -> Trajectories:
        rows, actions, rewards, terminations, truncations = zip(*steps, strict=True)
        return Trajectories.from_arrays(
            np.stack([*rows, last]),
            self._actions.encode(_batch(self._env.action_space, list(actions))),
            np.array(rewards),
            np.array(terminations, np.bool_),
            np.array(truncations, np.bool_),
            lengths=[len(actions)],
            observation_space=self._env.observation_space,
            action_space=self._env.action_space,
        )


class ActionRepeatAgent:
    """Draws an action from the space, repeats it for a random time, draws the next.

    Exploration then reaches what independent random actions never do. Each action lasts for
    floor(1 / u) steps, u uniform in (0, 1], so that at least n steps have probability 1 / n.
    Source: Dabney, Ostrovski & Barreto 2021 (Temporally-extended epsilon-greedy exploration), whose
    durations are zeta-distributed with the same heavy tail.

    Args:
        action_space: Where actions come from; its own generator draws them, so seed it.
        max_repeat: No action lasts for more steps; 1 draws one at every step.
        seed: Of the durations.

    Raises:
        ConfigError: `max_repeat` below 1.
    """

    def __init__(self, action_space: gym.Space[Any], max_repeat: int, seed: int) -> None:
        require_integers(1, max_repeat=max_repeat)
        self._action_space = action_space
        self._max_repeat = max_repeat
        self._generator = np.random.default_rng(checked_seed(seed))

    def predict(
        self,
        observation: Any,  # noqa: ARG002
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,  # noqa: ARG002
        deterministic: bool = False,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """The action for one observation.

        The state is the action with the steps for which it is still to be repeated.
        """
        action, steps_left = state or (None, 0)
        if steps_left == 0:
            action = self._action_space.sample()
            # 1 - random() lies in (0, 1], which keeps the quotient finite.
            # A heavy tail (P(k) ~ 1/k^2): mostly single steps, and now and then a long repetition,
            # with no scale of its own.
            steps_left = min(int(1.0 / (1.0 - self._generator.random())), self._max_repeat)
        return action, (action, steps_left - 1)


def _batch(space: gym.Space[Any], values: list[Any]) -> Any:
    """Single values of a space as the batch that a vector environment would give."""
    out: Any = create_empty_array(space, len(values))
    return concatenate(space, values, out)
