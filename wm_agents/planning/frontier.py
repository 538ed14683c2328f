"""A reason to seek what is new while nothing is known to pay: the edge of what was experienced."""

import torch
from torch import Tensor

from wm_envs.data.trajectories import Trajectories


class BeyondExperience:
    """A reward function: 1 for each imagined step that ends outside the range of experience in any feature.

    It stands in for the model's rewards as long as every real step paid the same and no episode
    ended by itself, when all plans are equal otherwise. A car that rolls further or an arm that
    swings faster than ever is beyond.

    Args:
        trajectories: The experience.
    """

    def __init__(self, trajectories: Trajectories) -> None:
        observations = torch.as_tensor(trajectories.observations)
        self._low, self._high = observations.amin(0), observations.amax(0)

    def __call__(self, observations: Tensor, actions: Tensor) -> Tensor:  # noqa: ARG002
        """Rewards [B, H] of observations [B, H + 1, O]."""
        after = observations[:, 1:]
        return ((after < self._low) | (after > self._high)).any(-1).to(observations.dtype)


def has_signal(trajectories: Trajectories) -> bool:
    """Whether anything that was experienced tells one future from another."""
    rewards = trajectories.rewards
    return bool(trajectories.terminations.any() or rewards.min() < rewards.max())
