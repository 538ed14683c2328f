"""What a planner carries from one real step to the next: its last plan, one step further on."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError


class CarriedPlan:
    """A tensor of plans [B, ...] with the horizon along one axis, that moves on by one step between calls.

    Args:
        horizon_axis: The axis of the horizon.
    """

    def __init__(self, horizon_axis: int = 1) -> None:
        self._axis = horizon_axis
        self._plans: Tensor | None = None
        self._is_fresh = torch.zeros(0, dtype=torch.bool)

    def shifted(self, initial: Tensor) -> Tensor:
        """The carried plans without their first step; rows that carry nothing get `initial`, as does the last step.

        Args:
            initial: What a fresh row starts from, of the shape of the plans.
        """
        if self._plans is None or self._plans.shape != initial.shape:
            return initial
        length = initial.shape[self._axis]
        moved = self._plans.narrow(self._axis, 1, length - 1)
        plans = torch.cat([moved, initial.narrow(self._axis, length - 1, 1)], self._axis)
        if not bool(self._is_fresh.any()):
            return plans
        fresh = self._is_fresh.to(plans.device).view(-1, *[1] * (plans.dim() - 1))
        return torch.where(fresh, initial, plans)

    def keep(self, plans: Tensor) -> None:
        """Carry these plans to the next call."""
        self._plans = plans
        self._is_fresh = torch.zeros(len(plans), dtype=torch.bool)

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget the rows of a mask [B], or all.

        Raises:
            ConfigError: A mask of another length than the carried plans.
        """
        if mask is None:
            self._plans = None
        elif self._plans is not None:
            if np.shape(mask) != (len(self._plans),):
                raise ConfigError(
                    f"the reset mask has shape {np.shape(mask)}, but plans are carried for {len(self._plans)} "
                    "environments: call reset() without a mask when their number changes"
                )
            self._is_fresh |= torch.as_tensor(np.asarray(mask, np.bool_))
