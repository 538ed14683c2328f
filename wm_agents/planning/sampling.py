"""What planners that sample action sequences share: settings, noise, scores and warm starts.

Random numbers are drawn into preallocated buffers and correlated in time by one matrix product. All
candidates of all environments are scored by one fused rollout and one call of the objective.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.protocols import ModelState, Objective, WorldModel
from wm_agents.training.config_checks import require_integers

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """What every planner that samples action sequences needs.

    Attributes:
        horizon: Steps H of a candidate sequence.
        num_samples: Candidate sequences N per environment.
        device: "auto" plans where the model's parameters lie; a name such as "cuda" moves the model
            there.
        precision: Of the model's evaluation; "bfloat16" is faster on hardware that has it and
            rounds predictions. Candidate actions, returns and plans are float32 in any case.

    Raises:
        ConfigError: A number below 1, or an unknown precision.
    """

    horizon: int = 16
    num_samples: int = 500
    device: str = "auto"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        require_integers(1, horizon=self.horizon, num_samples=self.num_samples)
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f'precision is "float32" or "bfloat16", got {self.precision!r}')


class Scorer:
    """Values of candidate sequences under a model and an objective.

    Args:
        model: Imagines.
        objective: What is maximized.
        device: Where planning happens.
        precision: Of the model's evaluation.
    """

    def __init__(
        self, model: WorldModel, objective: Objective, device: torch.device, precision: Precision
    ) -> None:
        self._model = model
        self._objective = objective
        self._device_type = device.type
        self._precision = precision

    def values(self, state: ModelState, candidates: Tensor) -> Tensor:
        """Values [B, N] of candidates [B, N, H] or [B, N, H, A] from a state of B rows.

        Only the model runs in low precision: candidates enter as they were drawn, and what the
        model predicts is summed and compared in float32. A value that is not finite counts as minus
        infinity, so that a diverging model never attracts a planner.
        """
        num_rows, num_candidates = candidates.shape[:2]
        actions = candidates.flatten(0, 1)
        with self._autocast():
            rollout = self._model.rollout(state.repeat(num_candidates), actions)
        # Values are compared with each other: that needs full precision.
        if self._precision != "float32":
            rollout = rollout.map(Tensor.float)
        values = self._objective(rollout, actions).float()
        # What is not a number is worth nothing, and never the best.
        return values.nan_to_num_(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf).view(
            num_rows, num_candidates
        )

    def _autocast(self) -> AbstractContextManager[object]:
        if self._precision == "float32":
            return nullcontext()
        return torch.autocast(self._device_type, torch.bfloat16)


def take_candidates(candidates: Tensor, index: Tensor) -> Tensor:
    """The candidates [B, K, ...] of an index [B, K] into [B, N, ...]."""
    return candidates[torch.arange(len(index), device=index.device)[:, None], index]


def better_plans(
    plans: Tensor, values: Tensor, new_plans: Tensor, new_values: Tensor
) -> tuple[Tensor, Tensor]:
    # By row: index [B, 1] and [B, K] together address [B, K].
    """Row by row the plan [B, H, ...] of the higher value [B]; the old one where they are equal."""
    # Strictly greater, so that equal values keep the plan that came first.
    is_better = (new_values > values).view(-1, *[1] * (plans.dim() - 1))
    return torch.where(is_better, new_plans, plans), torch.maximum(values, new_values)


class WarmStart:
    """Plans [B, ...] with the horizon along one axis, shifted by one step between calls.

    Args:
        horizon_axis: The axis of the horizon.
    """

    def __init__(self, horizon_axis: int = 1) -> None:
        self._axis = horizon_axis
        self._plans: Tensor | None = None
        self._is_fresh = torch.zeros(0, dtype=torch.bool)

    def shifted(self, initial: Tensor) -> Tensor:
        """The carried plans without their first step.

        Rows that carry nothing get `initial`, as does the last step.

        Args:
            initial: What a fresh row starts from, of the shape of the plans.
        """
        # Another shape means other environments or another horizon.
        if self._plans is None or self._plans.shape != initial.shape:
            return initial
        length = initial.shape[self._axis]
        moved = self._plans.narrow(self._axis, 1, length - 1)
        # The new last step is the initial one.
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
                    f"the reset mask has shape {np.shape(mask)}, but plans are carried for "
                    f"{len(self._plans)} environments: call reset() without a mask when their "
                    "number changes"
                )
            self._is_fresh |= torch.as_tensor(np.asarray(mask, np.bool_))


def fill_normal(buffer: Tensor, generator: torch.Generator) -> Tensor:
    """Overwrite a buffer with standard normal numbers.

    A CPU generator gives the same numbers on every device.
    """
    # In place where the generator lives on the device.
    if generator.device == buffer.device:
        return buffer.normal_(generator=generator)
    return buffer.copy_(torch.randn(buffer.shape, generator=generator, device=generator.device))


def fill_uniform(buffer: Tensor, generator: torch.Generator) -> Tensor:
    """Overwrite a buffer with numbers uniform in [0, 1); see `fill_normal`."""
    if generator.device == buffer.device:
        return buffer.uniform_(generator=generator)
    return buffer.copy_(torch.rand(buffer.shape, generator=generator, device=generator.device))


class Buffer:
    """A tensor that is allocated once and again only when its shape changes."""

    def __init__(self, device: torch.device) -> None:
        self._tensor = torch.empty(0, device=device)

    def of_shape(self, *shape: int) -> Tensor:
        """The tensor with this shape; its contents are undefined."""
        if self._tensor.shape != shape:
            self._tensor = torch.empty(shape, device=self._tensor.device)
        return self._tensor


def colored_mixing(horizon: int, exponent: float) -> Tensor:
    """The matrix M [H, H] that turns white noise z [H, A] into colored noise M z.

    Its variance is 1 at every step. The power at frequency f falls as f^-exponent (0 white, 1 pink,
    2 red); the constant part has the power of the lowest frequency. Source: Timmer & König 1995, as
    used by iCEM (Pinneri et al. 2020, section 3.1).
    """
    cycles = np.arange(horizon // 2 + 1)
    has_sine = (cycles > 0) & (2 * cycles < horizon)
    # The power of a frequency f is f^-exponent, its amplitude the root of that.
    amplitudes = (np.maximum(cycles, 1) / horizon) ** (-exponent / 2.0)
    amplitudes[~has_sine] *= math.sqrt(0.5)  # a wave that has no sine part carries half the power
    angles = 2.0 * math.pi * np.outer(np.arange(horizon), cycles) / horizon
    columns = [np.cos(angles) * amplitudes, (np.sin(angles) * amplitudes)[:, has_sine]]
    mixing = np.concatenate(columns, axis=1)
    return torch.as_tensor(
        # Each step has the variance 1 again, whatever the color.
        mixing / np.linalg.norm(mixing, axis=1, keepdims=True),
        dtype=torch.float32,
    )


def smooth_mixing(horizon: int, smoothing: float) -> Tensor:
    """The matrix [H, H] of n_t = smoothing * n_(t-1) + sqrt(1 - smoothing^2) z_t.

    Correlated noise of unit variance.
    """
    steps = np.arange(horizon)
    lags = steps[:, None] - steps[None, :]
    mixing = np.where(lags >= 0, float(smoothing) ** np.maximum(lags, 0), 0.0)
    # Later draws enter with the rest of the variance; the first one carries its own in full.
    mixing[:, 1:] *= math.sqrt(1.0 - smoothing**2)
    return torch.as_tensor(mixing, dtype=torch.float32)
