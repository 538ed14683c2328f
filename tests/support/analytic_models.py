"""World models whose best plans are known by hand."""

import gymnasium as gym
import torch

from wm_agents.protocols import ModelState, Prediction, Rollout
from wm_agents.world_models.unrolling import Unrolled


class PointModel(Unrolled):
    """A point [x] that moves by its action in [-1, 1]; the reward is minus its squared distance from `goal`.

    Counts the rows that it steps.
    """

    def __init__(self, goal: float = 2.0, low: float = -1.0, high: float = 1.0) -> None:
        self.observation_space = gym.spaces.Box(-100.0, 100.0, (1,))
        self.action_space = gym.spaces.Box(low, high, (1,))
        self.goal = goal
        self.num_steps = 0

    def start(self, observations, hidden=()):
        return ModelState(observations, hidden)

    def step(self, state, actions, generator=None):
        self.num_steps += len(actions)
        after = state.observations + actions
        rewards = -((after[:, 0] - self.goal) ** 2)
        return ModelState(after, state.hidden), Prediction(
            after, rewards, torch.zeros_like(rewards)
        )


class CodeModel(Unrolled):
    """Pays 1 for each action that equals the secret's next symbol; [time] is what is observed."""

    def __init__(self, secret: tuple[int, ...], num_actions: int = 4) -> None:
        self.observation_space = gym.spaces.Box(0.0, 100.0, (1,))
        self.action_space = gym.spaces.Discrete(num_actions)
        self.secret = torch.tensor(secret)
        self.num_steps = 0

    def start(self, observations, hidden=()):
        return ModelState(observations, hidden)

    def step(self, state, actions, generator=None):
        self.num_steps += len(actions)
        time = state.observations[:, 0].long().clamp_max(len(self.secret) - 1)
        rewards = (actions == self.secret[time]).float()
        after = state.observations + 1.0
        return ModelState(after, state.hidden), Prediction(
            after, rewards, torch.zeros_like(rewards)
        )


class GridModel(Unrolled):
    """A grid [x, y] of the given size with moves right, left, up, down; entering `goal` pays 1.

    A row of `walls` cannot be entered. `pit` ends the episode with reward -1. `hidden` counts the
    steps.
    """

    MOVES = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])

    def __init__(self, size: int = 5, goal=(4, 4), walls=(), pit=None) -> None:
        self.observation_space = gym.spaces.Box(0.0, float(size), (2,))
        self.action_space = gym.spaces.Discrete(4)
        self.size = size
        self.goal = torch.tensor(goal)
        self.walls = torch.tensor(walls).reshape(-1, 2)
        self.pit = torch.tensor(pit if pit is not None else (-1, -1))
        self.num_steps = 0

    def start(self, observations, hidden=()):
        return ModelState(observations, hidden or (torch.zeros(len(observations)),))

    def step(self, state, actions, generator=None):
        self.num_steps += len(actions)
        before = state.observations.long()
        after = (before + self.MOVES[actions]).clamp(0, self.size - 1)
        is_wall = (after[:, None] == self.walls).all(2).any(1)
        after = torch.where(is_wall[:, None], before, after)
        is_pit = (after == self.pit).all(1)
        rewards = (after == self.goal).all(1).float() - is_pit.float()
        hidden = (state.hidden[0] + 1,)
        return ModelState(after.float(), hidden), Prediction(after.float(), rewards, is_pit.float())


def rollout_of(rewards, terminations=None, observations=None, disagreement=None) -> Rollout:
    """A rollout of the given rewards [B, H]; observations count the steps unless given."""
    rewards = torch.tensor(rewards, dtype=torch.float32)
    num_rows, horizon = rewards.shape
    steps = torch.arange(horizon + 1.0).expand(num_rows, -1).unsqueeze(2)
    return Rollout(
        steps if observations is None else torch.tensor(observations, dtype=torch.float32),
        rewards,
        torch.zeros_like(rewards)
        if terminations is None
        else torch.tensor(terminations, dtype=torch.float32),
        None if disagreement is None else torch.tensor(disagreement, dtype=torch.float32),
    )
