"""Environments that take seconds to solve, and a loop in which one learner acts alone."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from wm_agents.learners.base import Learner, VectorStep
from wm_agents.policy_gradient.spaces import PolicySpaces

Step = tuple[Any, float, bool, bool, dict[str, Any]]


class Identity(gym.Env[int, int]):
    """The next observation is the action; the reward is 1 where the action is the observation."""

    observation_space = spaces.Discrete(3)
    action_space = spaces.Discrete(3)
    length = 8

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.state = int(self.np_random.integers(3))
        self.num_steps = 0
        return self.state, {}

    def step(self, action: int) -> Step:
        reward = float(action == self.state)
        self.state = int(action)
        self.num_steps += 1
        return self.state, reward, False, self.num_steps == self.length, {}


class Target(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """The reward is how near the action is to the number shown, 0 at best; a step ends it."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Box(-2, 2, (1,))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.shown = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.shown, {}

    def step(self, action: NDArray[np.float32]) -> Step:
        return self.shown, -float((action - self.shown)[0] ** 2), True, False, {}


class Bandit(gym.Env[int, int]):
    """Four arms that pay 1 with these probabilities; a step ends the episode."""

    observation_space = spaces.Discrete(1)
    action_space = spaces.Discrete(4)
    chances = (0.1, 0.3, 0.9, 0.2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        return 0, {}

    def step(self, action: int) -> Step:
        return 0, float(self.np_random.random() < self.chances[action]), True, False, {}


class Chain(gym.Env[int, int]):
    """Twelve places; +1 at the last, where the episode ends, after 11 steps forward at least.

    A step back leads to the first place, so that at random one episode of some hundred gets there.
    """

    observation_space = spaces.Discrete(12)
    action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.place = 0
        self.num_steps = 0
        return 0, {}

    def step(self, action: int) -> Step:
        self.place = self.place + 1 if action == 1 else 0
        self.num_steps += 1
        is_goal = self.place == 11
        return self.place, float(is_goal), is_goal, self.num_steps == 20 and not is_goal, {}


class Errands(gym.Env[NDArray[np.float32], int]):
    """Seven places in a row, and a point at each end by turns; two frames are shown, with the score.

    Actions stay, go down and go up. At random few ends are reached in the 30 steps of an episode, of
    which five are possible.
    """

    observation_space = spaces.Box(0, 30, (6,))
    action_space = spaces.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.frame = (3, 6 * int(self.np_random.integers(2)), 0)
        self.old = self.frame
        self.num_steps = 0
        return self._shown(), {}

    def step(self, action: int) -> Step:
        place, end, score = self.old = self.frame
        place = min(max(place + (0, -1, 1)[action], 0), 6)
        is_there = place == end
        self.frame = (place, 6 - end if is_there else end, score + is_there)
        self.num_steps += 1
        return self._shown(), float(is_there), False, self.num_steps == 30, {}

    def _shown(self) -> NDArray[np.float32]:
        return np.array([*self.frame, *self.old], np.float32)


class Sampled(gym.Env[Any, Any]):
    """Any spaces; observations and rewards are drawn, and one thing may be wrong.

    Args:
        observation_space: Drawn from.
        action_space: What actions are checked against.
        length: Steps of an episode; None never ends.
        fault: What is wrong once: "nan start", "nan observation", "nan reward" or "shape".
        at_step: When, counted over all episodes.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        length: int | None = 10,
        fault: str = "",
        at_step: int = 50,
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.length = length
        self.fault = fault
        self.at_step = at_step
        self.num_steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        if seed is not None:
            self.observation_space.seed(seed)
        self.age = 0
        return self._observation("nan start"), {}

    def step(self, action: Any) -> Step:
        assert self.action_space.contains(action), action
        self.age += 1
        self.num_steps += 1
        reward = float(self.np_random.random())
        if self._is_due("nan reward"):
            reward = float("nan")
        observation = self._observation("nan observation")
        return observation, reward, False, self.age == self.length, {}

    def _observation(self, fault: str) -> Any:
        if self._is_due("shape"):
            return np.zeros(7, np.float32)
        observation = self.observation_space.sample()
        return observation * np.float32("nan") if self._is_due(fault) else observation

    def _is_due(self, fault: str) -> bool:
        if fault != self.fault or self.num_steps < self.at_step:
            return False
        self.fault = ""
        return True


for _task in (Identity, Target, Bandit, Chain, Errands):
    gym.register(f"test/Small{_task.__name__}-v0", _task, disable_env_checker=True)


def play(
    learner: Learner, task: type[gym.Env[Any, Any]], num_steps: int, is_greedy: bool = False
) -> NDArray[np.float32]:
    """Let one learner act in all rows and see all of it; the rewards [num_steps, B]."""
    envs = SyncVectorEnv([task] * learner.num_rows, autoreset_mode=AutoresetMode.SAME_STEP)
    spaces_of_task = learner.spaces
    obs = spaces_of_task.encode_observations(envs.reset(seed=0)[0])
    is_start = own = np.ones(learner.num_rows, np.bool_)
    earned = []
    for _ in range(num_steps):
        actions = learner.act(obs, is_start, own, own & is_greedy)
        following, rewards, terminated, truncated, infos = envs.step(
            spaces_of_task.decode_actions(actions)
        )
        ended = terminated | truncated
        new_obs = spaces_of_task.encode_observations(following)
        next_obs = new_obs.clone()
        if ended.any():
            next_obs[ended] = spaces_of_task.encode_final(infos, np.flatnonzero(ended))
        step = VectorStep(
            obs,
            actions,
            rewards.astype(np.float32),
            terminated,
            truncated,
            next_obs,
            is_start,
        )
        learner.observe(step, own & (not is_greedy))
        earned.append(step.rewards)
        obs, is_start = new_obs, ended
    return np.stack(earned)


def spaces_of(task: type[gym.Env[Any, Any]]) -> PolicySpaces:
    """The spaces of one of the tasks above."""
    return PolicySpaces(task.observation_space, task.action_space)
