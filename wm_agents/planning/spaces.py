"""Which action spaces a planner can serve, and what to do about the others."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from wm_agents.errors import SpaceError

CONTINUOUS_PLANNERS = "RandomShooting, CEM, ICEM or MPPI"
DISCRETE_PLANNERS = "RandomShooting, CategoricalCEM, BreadthFirstSearch, BestFirstSearch or MCTS"


def action_bounds(
    space: gym.Space[Any], planner: str, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The lowest and highest action [A] of a one-dimensional finite Box.

    Raises:
        SpaceError: Another space, other dimensions or infinite bounds.
    """
    if isinstance(space, gym.spaces.Discrete):
        raise SpaceError(
            f"{planner} plans for Box actions, not for {space}: use {DISCRETE_PLANNERS}"
        )
    if not isinstance(space, gym.spaces.Box):
        raise SpaceError(
            f"{planner} plans for Box actions, not for {space}: wrap the environment so that it has a Box"
        )
    if len(space.shape) != 1:
        raise SpaceError(
            f"{planner} plans for a Box of shape (A,), not {space.shape}: flatten with TransformAction"
        )
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise SpaceError(
            f"{planner} draws actions between finite bounds, {space} has none: use RescaleAction"
        )
    low = torch.as_tensor(space.low, dtype=torch.float32, device=device)
    return low, torch.as_tensor(space.high, dtype=torch.float32, device=device)


def num_discrete_actions(space: gym.Space[Any], planner: str) -> int:
    """The number of actions of a Discrete space that counts from zero.

    Raises:
        SpaceError: Another space, or one that starts elsewhere.
    """
    if isinstance(space, gym.spaces.Box):
        raise SpaceError(
            f"{planner} plans for Discrete actions, not for {space}: use {CONTINUOUS_PLANNERS}"
        )
    if not isinstance(space, gym.spaces.Discrete):
        raise SpaceError(
            f"{planner} plans for Discrete actions, not for {space}: number the combinations from 0"
        )
    if space.start != 0:
        raise SpaceError(
            f"{planner} counts actions from 0, {space} does not: shift them with TransformAction"
        )
    return int(space.n)


def check_action_space(space: gym.Space[Any], planner: str) -> None:
    """Raise SpaceError unless some planner serves the space.

    A flat finite Box, or a Discrete that counts from 0.
    """
    if isinstance(space, gym.spaces.Box):
        action_bounds(space, planner, torch.device("cpu"))
    else:
        num_discrete_actions(space, planner)
