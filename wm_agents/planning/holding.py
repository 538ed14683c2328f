"""Random actions that are held for a while, so that exploration reaches what dithering never does.

Each action lasts for floor(1 / u) steps, u uniform in (0, 1], so that a hold of at least n steps
has probability 1 / n. Source: Dabney, Ostrovski & Barreto 2021 (Temporally-extended epsilon-greedy
exploration), whose durations are zeta-distributed with the same heavy tail.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.training.config_checks import require_integers


class HeldActionAgent:
    """Draws an action from the space, holds it for a random time, draws the next.

    Args:
        action_space: Where actions come from; its own generator draws them, so seed it.
        longest_hold: No action is held for more steps; 1 draws one at every step.
        seed: Of the durations.

    Raises:
        ConfigError: `longest_hold` below 1.
    """

    def __init__(self, action_space: gym.Space[Any], longest_hold: int, seed: int) -> None:
        require_integers(1, longest_hold=longest_hold)
        self._action_space = action_space
        self._longest_hold = longest_hold
        self._generator = np.random.default_rng(seed)

    def predict(
        self,
        observation: Any,  # noqa: ARG002
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,  # noqa: ARG002
        deterministic: bool = False,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """The action for one observation.

        The state is the action with the steps for which it still holds.
        """
        action, steps_left = state or (None, 0)
        if steps_left == 0:
            action = self._action_space.sample()
            steps_left = min(int(1.0 / (1.0 - self._generator.random())), self._longest_hold)
        return action, (action, steps_left - 1)


class HeldRows:
    """Which rows of a batch in imagination act at random, and what they hold.

    Args:
        longest_holds: Steps [B] for which a row holds a random action at most; 1 is plain
            dithering.
        num_actions: Of the Discrete action space.
        exploration: Share of steps, about, that are random; rows with long holds begin them less
            often.
    """

    def __init__(self, longest_holds: Tensor, num_actions: int, exploration: float) -> None:
        self._actions = torch.zeros(len(longest_holds), dtype=torch.long)
        self._steps_left = torch.zeros(len(longest_holds))
        self._longest_holds = longest_holds.float()
        self._num_actions = num_actions
        # A hold of at most m steps lasts 1 + 1/2 + ... + 1/m on average.
        means = torch.cumsum(1.0 / torch.arange(1, int(longest_holds.max()) + 1), 0)
        self._start_probabilities = exploration / means[longest_holds - 1]

    def replace(self, actions: Tensor, generator: torch.Generator) -> Tensor:
        """The actions [B] to take: those given, but in rows that hold one."""
        draws = torch.rand(2, len(actions), generator=generator)
        drawn = torch.randint(self._num_actions, (len(actions),), generator=generator)
        begins = (self._steps_left == 0) & (draws[0] < self._start_probabilities)
        self._actions = torch.where(begins, drawn, self._actions)
        durations = (1.0 / (1.0 - draws[1])).floor().minimum(self._longest_holds)
        self._steps_left = torch.where(begins, durations, self._steps_left)
        is_held = self._steps_left > 0
        self._steps_left = (self._steps_left - 1).clamp(min=0)
        return torch.where(is_held, self._actions, actions)
