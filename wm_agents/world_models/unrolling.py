"""Imagination over several steps, and the states before recorded ones, for all models alike."""

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, SpaceError
from wm_agents.observation_rows import action_tensor, check_actions, float_tensor
from wm_agents.protocols import ModelState, Prediction, Rollout, WorldModel
from wm_agents.training.onnx_export import no_exporter
from wm_envs.data.trajectories import Trajectories

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
        check_actions(acts, self.action_space, 1)
        return self.step(state, acts, generator)[1]

    def export_onnx(self, path: str | os.PathLike[str]) -> Path:  # noqa: ARG002
        """Write one step as ONNX; models that can override this.

        Raises:
            ConfigError: This model has no exporter.
        """
        raise ConfigError(no_exporter(self))

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
    """Step a model through actions [B, H, ...] from a state or from observations [B, O]."""
    if isinstance(start, ModelState):
        state = start
    else:
        state = model.start(float_tensor(start, f"observations of {model.observation_space}"))
    actions = action_tensor(actions, model.action_space, state.observations.device)
    # A single action sequence needs a batch axis, too: [H] would be taken for a batch of B = H.
    if actions.ndim < 2 or actions.shape[1] < 1 or len(actions) != len(state.observations):
        raise SpaceError(
            f"expected actions [B, H, ...] for {len(state.observations)} rows and H >= 1, got "
            f"{tuple(actions.shape)}"
        )
    check_actions(actions, model.action_space, 2)
    # The first observation is the given one, so that H steps give H + 1 observations.
    observations, steps = [state.observations], []
    for step in range(actions.shape[1]):
        state, prediction = model.step(state, actions[:, step], generator)
        observations.append(prediction.observations)
        steps.append(prediction)
    # Models of one network have no disagreement to report.
    spread = [step.disagreement for step in steps if step.disagreement is not None]
    return Rollout(
        torch.stack(observations, 1),
        torch.stack([step.rewards for step in steps], 1),
        torch.stack([step.terminations for step in steps], 1),
        torch.stack(spread, 1) if spread else None,
    )


@torch.no_grad()
def recorded_states(model: WorldModel, trajectories: Trajectories) -> ModelState:
    """The state before every recorded step [S].

    A model that carries more than the observation is led through each episode from its beginning:
    it imagines each recorded action and is then shown what was really observed, so that its memory
    is what it is in use.
    """
    if hasattr(model, "starts"):  # a model that knows a shorter way
        states: ModelState = model.starts(trajectories)
        return states
    device = getattr(model, "device", None)

    def observations(rows: Any) -> torch.Tensor:
        return torch.as_tensor(trajectories.observations[rows], device=device)

    plain = model.start(observations(trajectories.observation_of_step))
    # An ensemble's members are drawn anew: they are no memory of the episode.
    if not plain.hidden or not getattr(model, "has_memory", True):
        return plain
    hidden = tuple(values.clone() for values in plain.hidden)
    # Longest first: the episodes that still go on are then the first rows of the walk.
    order = (-trajectories.lengths).argsort(kind="stable")
    starts, lengths = trajectories.step_starts[order], trajectories.lengths[order]
    walk = model.start(observations(trajectories.observation_of_step[starts]))
    for position in range(int(lengths[0])):
        steps = starts[lengths > position] + position
        index = torch.as_tensor(steps, device=plain.observations.device)
        # Every episode that is this long, at the same step of each.
        for values, walked in zip(hidden, walk.hidden, strict=True):
            values[index] = walked
        num_going = int((lengths > position + 1).sum())
        if num_going == 0:
            break
        # Episodes that end here leave the walk.
        rows = walk.select(torch.arange(num_going, device=plain.observations.device))
        actions = torch.as_tensor(trajectories.actions[steps[:num_going]], device=device)
        after, _ = model.step(rows, actions)
        # The recorded observation replaces the imagined one; only the memory is carried on.
        walk = model.start(
            observations(trajectories.observation_of_step[steps[:num_going]] + 1), after.hidden
        )
    return ModelState(plain.observations, hidden)
