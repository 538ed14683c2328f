"""Rewards as small networks, for what no list of features says."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from wm_agents.networks import Perceptron
from wm_agents.observation_rows import action_tensor, float_tensor
from wm_agents.policy_gradient.spaces import ActionUnits
from wm_agents.world_models.normalisation import units


class RewardNetwork(nn.Module):
    """g(s) or g(s, a): a perceptron on standardised observations and, unless it is of states only, actions.

    Args:
        num_inputs: Size of an observation.
        action_space: Discrete or Box.
        widths: Hidden layers.
        is_state_only: Leave the action out: such rewards carry over to other dynamics (Fu et al.
            2018, theorem 5.1).
        generator: Draws the weights.
    """

    def __init__(
        self,
        num_inputs: int,
        action_space: gym.Space[Any],
        widths: Sequence[int] = (32, 32),
        *,
        is_state_only: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.action_space, self.is_state_only = action_space, is_state_only
        num_actions = 0 if is_state_only else spaces.flatdim(action_space)
        self.perceptron = Perceptron((num_inputs + num_actions, *widths, 1), "relu", generator)
        self.register_buffer("mean", torch.zeros(num_inputs))
        self.register_buffer("std", torch.ones(num_inputs))
        self.action_units = None
        if isinstance(action_space, spaces.Box):
            self.action_units = ActionUnits.of(action_space).or_plain(action_space)

    def standardise(self, observations: Tensor) -> None:
        """Take the units of observations [N, O]; what is constant in them is only shifted."""
        self.mean, self.std = units(observations)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Rewards [N] of observations [N, O] and actions [N] (Discrete) or [N, A], tensors or arrays."""
        observations = float_tensor(observations, "observations [N, O]")
        actions = action_tensor(actions, self.action_space, observations.device)
        inputs = (observations - self.mean) / self.std
        if not self.is_state_only:
            inputs = torch.cat([inputs, self._encoded(actions)], 1)
        rewards: Tensor = self.perceptron(inputs)[:, 0]
        return rewards

    def _encoded(self, actions: Tensor) -> Tensor:
        """Discrete actions as one-hots, Box actions in units of their bounds."""
        encoded = encoded_actions(actions, self.action_space)
        if self.action_units is None:
            return encoded
        centre, unit = (
            torch.from_numpy(values)
            for values in (self.action_units.centre, self.action_units.unit)
        )
        return (encoded - centre) / unit


def encoded_actions(actions: Tensor, action_space: gym.Space[Any]) -> Tensor:
    """Discrete actions [N] as one-hot rows, Box actions as they are."""
    if isinstance(action_space, spaces.Discrete):
        return F.one_hot(actions.long() - int(action_space.start), int(action_space.n)).float()
    return actions.reshape(len(actions), -1).float()
