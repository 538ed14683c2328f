"""Worlds whose dynamics are known, as trajectories and as models with a known flaw."""

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from wm_agents.protocols import ModelState, Prediction, Rollout
from wm_agents.world_models.unrolling import unroll
from wm_envs.data.trajectories import Trajectories


def walk(
    lengths: list[int], seed: int = 0, noise: float = 0.0, has_ends: bool = False
) -> Trajectories:
    """A walker: feature 0 moves by 0.5 x action (plus noise), feature 1 counts steps by 2.

    Pays the new feature 0.
    """
    generator = np.random.default_rng(seed)
    observations, actions, rewards, terminations, truncations = [], [], [], [], []
    for length in lengths:
        action = generator.uniform(-1, 1, (length, 1)).astype(np.float32)
        moves = 0.5 * action[:, 0] + noise * generator.normal(size=length)
        place = np.concatenate([[generator.normal()], np.zeros(length)])
        place[1:] = place[0] + np.cumsum(moves)
        count = 2.0 * np.arange(length + 1) + generator.integers(10)
        observations.append(np.stack([place, count], 1))
        actions.append(action)
        rewards.append(place[1:])
        is_last = np.arange(length) == length - 1
        terminations.append(is_last & has_ends)
        truncations.append(is_last & (not has_ends))
    return Trajectories(
        np.concatenate(observations).astype(np.float32),
        np.concatenate(actions),
        np.concatenate(rewards),
        np.concatenate(terminations),
        np.concatenate(truncations),
        np.array(lengths),
    )


class WalkModel:
    """The walker's dynamics, with a drift of feature 0 per step, sampled noise, and an end at a given count."""

    def __init__(self, drift: float = 0.0, noise: float = 0.0, ends_at: float = 1e9) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))
        self.action_space = gym.spaces.Box(-1, 1, (1,))
        self.drift, self.noise, self.ends_at = drift, noise, ends_at

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        return ModelState(observations, hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        place = state.observations[:, 0] + 0.5 * actions[:, 0] + self.drift
        if generator is not None:
            place = place + self.noise * torch.randn(len(place), generator=generator)
        count = state.observations[:, 1] + 2
        observations = torch.stack([place, count], 1)
        return ModelState(observations), Prediction(
            observations, place, (count >= self.ends_at).float()
        )

    def predict(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Prediction:
        return self.step(self.start(observations), actions, generator)[1]

    def rollout(
        self, start: ModelState | Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Rollout:
        return unroll(self, start, actions, generator)


class RememberingModel(WalkModel):
    """Carries the sum of all observations of feature 0 and actions that it has seen, and predicts it as the reward."""

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        return ModelState(observations, hidden or (torch.zeros(len(observations)),))

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        memory = state.hidden[0] + state.observations[:, 0] + actions[:, 0]
        after, prediction = super().step(state, actions, generator)
        return ModelState(after.observations, (memory,)), Prediction(
            prediction.observations, memory, prediction.terminations
        )
