"""What the ways of acting of `WorldModelAgent` have in common: a step of many rows, and a learner.

Letters: B rows (environments side by side), O observation, A action.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.policy_gradient.spaces import PolicySpaces
from wm_envs.data.display import short_repr


@dataclass(frozen=True)
class VectorStep:
    """One step of B environments side by side.

    Attributes:
        obs: What the step began with [B, O].
        actions: Indices that count from 0 [B], or vectors [B, A] in the environment's units.
        rewards: [B].
        terminated: [B], ends that the environment's rules made.
        truncated: [B], ends by a limit alone.
        next_obs: What the step led to [B, O], at an end the episode's last observation.
        is_start: [B], whether the episode began with `obs`.
    """

    obs: Tensor
    actions: Tensor
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    next_obs: Tensor
    is_start: NDArray[np.bool_]

    __repr__ = short_repr

    @property
    def ended(self) -> NDArray[np.bool_]:
        """[B], whether the episode ended with this step."""
        return self.terminated | self.truncated


class Learner(ABC):
    """One way of acting that learns from the steps of all.

    Args:
        spaces: Of a single environment.
        num_rows: Environments side by side, B.
        total_steps: Environment steps that `learn` is going to take, over which schedules run.
        seed: Of everything that is drawn.
        config: Settings of the kind of learner, a frozen dataclass.

    Attributes:
        withdrawal: Why this learner no longer takes part, "" while it does.
        effort: Share of its updates that it does; 0 while nothing is left to gain.
        num_seen: Steps of all rows that it was shown.
    """

    name: ClassVar[str]
    needs_counted_actions: ClassVar[bool] = False
    withdrawal: str = ""
    effort: float = 1.0

    def __init__(
        self, spaces: PolicySpaces, num_rows: int, total_steps: int, seed: int, config: Any
    ) -> None:
        self.spaces = spaces
        self.num_rows = num_rows
        self.total_steps = total_steps
        self.seed = seed
        self.config = config
        self.num_seen = 0
        if self.needs_counted_actions and spaces.is_continuous:
            self.withdrawal = "actions cannot be counted"

    @property
    def done(self) -> float:
        """Share of the steps that it was shown, by which schedules run."""
        return min(1.0, self.num_seen / max(1, self.total_steps))

    def at_most_a_quarter(self, num_steps: int) -> int:
        """So many steps, or a quarter of those that learning takes in all where that is less.

        What waits for a fixed number of steps would never begin where few are taken.
        """
        return min(num_steps, self.total_steps // 4)

    def executed(self, actions: Tensor) -> Tensor:
        """Indices [B] as they are; vectors [B, A] from units of the bounds to the environment's."""
        units = self.spaces.action_units
        if units is None:
            return actions
        # `ActionUnits` has half of the half range as its unit where there are bounds.
        half = torch.from_numpy(units.unit) * 2
        return torch.from_numpy(units.centre) + half * actions

    @abstractmethod
    def act(
        self,
        obs: Tensor,
        is_start: NDArray[np.bool_],
        own: NDArray[np.bool_],
        greedy: NDArray[np.bool_],
    ) -> Tensor:
        """Actions of all rows [B] or [B, A]; those of rows that are not its own are unused.

        Called for every step, also where no row is its own.

        Args:
            obs: [B, O].
            is_start: Which rows begin an episode [B].
            own: Which rows act by this learner, from the first step of their episode [B].
            greedy: Which of them take the best action known, so that its return can be measured.
        """

    @abstractmethod
    def observe(self, step: VectorStep, own: NDArray[np.bool_]) -> dict[str, float]:
        """Take in a step of all rows, of which `own` [B] explored by this learner, and learn.

        Returns:
            Figures of an update, if there was one.
        """

    @abstractmethod
    def predict(self, obs: Tensor, state: Any, is_start: NDArray[np.bool_]) -> tuple[Tensor, Any]:
        """The best actions known for observations [N, O] of episodes apart from training."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on from episodes that begin anew, for `pack_state`."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same kind of learner."""

    @property
    def lead(self) -> float:
        """Share of the episodes that it asks for before returns can tell, 0 for most."""
        return 0.0

    def acting_state(self) -> dict[str, Any]:
        """What of `state_dict` is needed to act; `load_state_dict` takes it as well."""
        return self.state_dict()

    @property
    def can_act(self) -> bool:
        """Whether it knows enough to act at all."""
        return not self.withdrawal

    def decision(self) -> str:
        """What it found out about the environment, as one line."""
        return self.withdrawal
