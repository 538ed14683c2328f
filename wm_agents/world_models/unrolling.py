"""Imagination over several steps, written once for all models on top of their `step`."""

from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from wm_agents.errors import SpaceError
from wm_agents.protocols import ModelState, Prediction, Rollout, WorldModel


class Unrolled:
    """Gives a model with `start` and `step` its `predict` and `rollout`."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The state from which imagination begins; a subclass says what `hidden` is."""
        raise NotImplementedError

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step; a subclass gives it."""
        raise NotImplementedError

    def predict(self, observations: Tensor, actions: Tensor, generator: torch.Generator | None = None) -> Prediction:
        """One step from observations [B, O] with actions [B] (Discrete) or [B, A]."""
        return self.step(self.start(observations), actions, generator)[1]

    def rollout(self, start: ModelState | Tensor, actions: Tensor, generator: torch.Generator | None = None) -> Rollout:
        """Imagine H steps open loop for actions [B, H] or [B, H, A]."""
        return unroll(self, start, actions, generator)


def unroll(
    model: WorldModel, start: ModelState | Tensor, actions: Tensor, generator: torch.Generator | None = None
) -> Rollout:
    """Step a model through action sequences [B, H, ...] from a state or from observations [B, O]."""
    state = start if isinstance(start, ModelState) else model.start(start)
    if actions.ndim < 2 or actions.shape[1] < 1 or len(actions) != len(state.observations):
        raise SpaceError(
            f"expected actions [B, H, ...] for {len(state.observations)} rows and H >= 1, got {tuple(actions.shape)}"
        )
    observations, steps = [state.observations], []
    for step in range(actions.shape[1]):
        state, prediction = model.step(state, actions[:, step], generator)
        observations.append(prediction.observations)
        steps.append(prediction)
    spread = [step.disagreement for step in steps if step.disagreement is not None]
    return Rollout(
        torch.stack(observations, 1),
        torch.stack([step.rewards for step in steps], 1),
        torch.stack([step.terminations for step in steps], 1),
        torch.stack(spread, 1) if spread else None,
    )
