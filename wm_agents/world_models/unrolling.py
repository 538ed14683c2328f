"""Imagination over several steps, written once for all models on top of their `step`."""

from typing import Any

import gymnasium as gym
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import SpaceError
from wm_agents.observation_rows import action_tensor, float_tensor
from wm_agents.protocols import ModelState, Prediction, Rollout, WorldModel

Numbers = Tensor | NDArray[Any]


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

    def predict(
        self, observations: Numbers, actions: Numbers, generator: torch.Generator | None = None
    ) -> Prediction:
        """One step from observations [B, O] with actions [B] (Discrete) or [B, A].

        Raises:
            SpaceError: What is no observation of the model's, or another number of actions.
        """
        state = self.start(float_tensor(observations, f"observations of {self.observation_space}"))
        acts = action_tensor(actions, self.action_space, state.observations.device)
        num_rows = len(state.observations)
        if acts.ndim < 1 or len(acts) != num_rows:
            raise SpaceError(
                f"expected actions [B, ...] for {num_rows} rows, got shape {tuple(acts.shape)}"
            )
        return self.step(state, acts, generator)[1]

    def rollout(
        self,
        start: ModelState | Numbers,
        actions: Numbers,
        generator: torch.Generator | None = None,
    ) -> Rollout:
        """Imagine H steps open loop for actions [B, H] or [B, H, A].

        Raises:
            SpaceError: What is no observation of the model's, or actions that do not fit the rows.
        """
        return unroll(self, start, actions, generator)


def unroll(
    model: WorldModel,
    start: ModelState | Numbers,
    actions: Numbers,
    generator: torch.Generator | None = None,
) -> Rollout:
    """Step a model through action sequences [B, H, ...] from a state or from observations [B, O]."""
    if isinstance(start, ModelState):
        state = start
    else:
        state = model.start(float_tensor(start, f"observations of {model.observation_space}"))
    actions = action_tensor(actions, model.action_space, state.observations.device)
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
