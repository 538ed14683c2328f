"""How Gymnasium spaces enter a network, and how they are stored as JSON."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from wm_agents.errors import SpaceError
from wm_agents.networks import Affine
from wm_agents.observation_rows import observation_tensor
from wm_agents.world_models.normalisation import change_of_units, divisors, spread
from wm_envs.data.trajectories import Trajectories


def observation_size(space: gym.Space[Any]) -> int:
    """O.

    The length of a Box's vector, or the number of values of a Discrete space, which enters as its
    one-hot.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.shape[0] > 0:
        return int(space.shape[0])
    raise SpaceError(
        f"world models serve Discrete and one-dimensional Box observations, got {space}: flatten it first, with "
        "gymnasium.wrappers.FlattenObservation"
    )


def action_size(space: gym.Space[Any]) -> int:
    """The number of network inputs that an action takes."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return int(space.shape[0])
    raise SpaceError(
        f"world models serve Discrete and one-dimensional Box actions, got {space}: wrap the environment in "
        "gymnasium.wrappers.TransformAction"
    )


_SMALLEST_SHARE = 1e-3  # of half the range; actions that vary less are not measured by the bounds
_LARGEST_SHARE = 10.0


class ActionEncoder(nn.Module):
    """Actions as network inputs: one-hots for Discrete, about -1..1 for Box.

    The unit of a Box action is half the range between its bounds, where there are any and the
    recorded actions make use of it; else it is measured, since a network that is shown 1e-30 does
    not see it.
    """

    centre: Tensor
    radius: Tensor

    def __init__(self, space: gym.Space[Any]) -> None:
        super().__init__()
        self.size = action_size(space)
        self.first = int(space.start) if isinstance(space, spaces.Discrete) else None
        centre, radius = torch.zeros(self.size), torch.ones(self.size)
        if isinstance(space, spaces.Box):
            # In float64, in which the range of a float32 does not overflow.
            low, high = torch.as_tensor(space.low).double(), torch.as_tensor(space.high).double()
            is_bounded = torch.isfinite(low) & torch.isfinite(high) & (high > low)
            centre = torch.where(is_bounded, (low + high) / 2, centre).float()
            radius = torch.where(is_bounded, (high - low) / 2, radius).float()
        self.register_buffer("centre", centre)
        self.register_buffer("radius", radius)

    def forward(self, actions: Tensor) -> Tensor:
        """Actions [...] or [..., A] -> inputs [..., size]."""
        if self.first is None:
            return (actions.to(self.centre.dtype) - self.centre) / self.radius
        return F.one_hot(actions.long() - self.first, self.size).to(self.centre.dtype)

    def fit(self, actions: Any) -> Affine:
        """Measure the unit of recorded actions [S, A] where the present one does not suit them.

        Returns:
            From inputs in the unit that is now in use to inputs in the one before, for weights that
            are to be kept.
        """
        if self.first is not None or not len(actions):
            return Affine.identity(self.size, self.centre.device)
        rows = torch.as_tensor(actions, device=self.centre.device).double()
        mean = rows.mean(0)
        spreads = spread(rows, mean)
        distance = (rows - self.centre.double()).abs().amax(0)
        is_fine = (spreads == 0) | (spreads >= _SMALLEST_SHARE * self.radius.double())
        is_fine &= distance <= _LARGEST_SHARE * self.radius.double()
        old = self.centre.clone(), self.radius.clone()
        self.centre.copy_(torch.where(is_fine, old[0].double(), mean))
        self.radius.copy_(torch.where(is_fine, old[1].double(), divisors(spreads)))
        return change_of_units(old, (self.centre, self.radius), torch.ones_like(is_fine))


def check_fit_spaces(
    trajectories: Trajectories, observation_space: gym.Space[Any], action_space: gym.Space[Any]
) -> None:
    """Raise SpaceError unless trajectories could come from an environment with these spaces."""
    size = observation_size(observation_space)
    if trajectories.observations.shape[1] != size:
        raise SpaceError(
            f"the model expects observations of size {size} from {observation_space}, the trajectories have "
            f"{trajectories.observations.shape[1]}"
        )
    actions = trajectories.actions
    if isinstance(action_space, spaces.Discrete):
        first, last = int(action_space.start), int(action_space.start + action_space.n) - 1
        if actions.ndim != 1:
            raise SpaceError(
                f"{action_space} needs integer actions [S], the trajectories have shape {actions.shape}"
            )
        odd = np.flatnonzero((actions < first) | (actions > last))
        if len(odd):
            raise SpaceError(f"actions, row {odd[0]}: {actions[odd[0]]} is outside {action_space}")
    elif actions.ndim != 2 or actions.shape[1] != action_size(action_space):
        raise SpaceError(
            f"{action_space} needs actions [S, {action_size(action_space)}], got shape {actions.shape}"
        )


def space_to_json(space: gym.Space[Any]) -> dict[str, Any]:
    """A JSON description of a Discrete or Box space."""
    if isinstance(space, spaces.Discrete):
        return {"type": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.Box):  # repr keeps infinities, which JSON has no word for
        bounds = {
            name: [repr(float(x)) for x in getattr(space, name).ravel()] for name in ("low", "high")
        }
        return {
            "type": "box",
            "shape": list(space.shape),
            "dtype": np.dtype(space.dtype).name,
            **bounds,
        }
    raise SpaceError(f"only Discrete and Box spaces are stored, got {space}")


def space_from_json(description: dict[str, Any]) -> gym.Space[Any]:
    """The space of `space_to_json`."""
    if description["type"] == "discrete":
        return spaces.Discrete(description["n"], start=description["start"])
    dtype = np.dtype(description["dtype"]).type
    low, high = (
        np.array([float(x) for x in description[name]], dtype).reshape(description["shape"])
        for name in ("low", "high")
    )
    return spaces.Box(low, high, dtype=dtype)


def as_actions(space: gym.Space[Any], actions: Any, device: torch.device) -> Tensor:
    """Actions as the tensor that the space calls for: int64 indices or float32 vectors."""
    dtype = torch.int64 if isinstance(space, spaces.Discrete) else torch.float32
    return torch.as_tensor(actions, dtype=dtype, device=device)


def check_observations(observations: Any, size: int, device: torch.device) -> Tensor:
    """Observations as float32 [B, O].

    Raises SpaceError for any other shape and for what is not finite numbers.
    """
    return observation_tensor(observations, size, device)
