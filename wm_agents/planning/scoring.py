"""How candidate action sequences are judged: one fused rollout and one call of the objective for all of them.

Every sampling planner asks its `Scorer` for the values of [B, N] candidates; nothing here knows how
they were drawn.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.networks import choose_device
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


def planning_device(model: WorldModel, device: str) -> torch.device:
    """The device to plan on; a module is moved there unless "auto" (see `SamplingConfig`).

    Raises:
        ConfigError: There is no such device here; the model stays where it is.
    """
    if device != "auto":
        chosen = choose_device(device)
        if isinstance(model, torch.nn.Module):
            model.to(chosen)
        return chosen
    parameter = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def to_device(state: ModelState, device: torch.device) -> ModelState:
    """A model state whose tensors lie on the device."""
    if state.observations.device == device:
        return state
    return ModelState(
        state.observations.to(device), tuple(tensor.to(device) for tensor in state.hidden)
    )


class Scorer:
    """Values of candidate sequences under a model and an objective.

    Args:
        model: Imagines.
        objective: Judges.
        device: Where planning happens, see `planning_device`.
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
            model predicts is
        summed and compared in float32. A value that is not finite counts as minus infinity, so that
        a diverging model never attracts a planner.
        """
        num_rows, num_candidates = candidates.shape[:2]
        actions = candidates.flatten(0, 1)
        with self._autocast():
            rollout = self._model.rollout(state.repeat(num_candidates), actions)
        if self._precision != "float32":
            rollout = rollout.map(Tensor.float)
        values = self._objective(rollout, actions).float()
        return values.nan_to_num_(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf).view(
            num_rows, num_candidates
        )

    def _autocast(self) -> AbstractContextManager[object]:
        if self._precision == "float32":
            return nullcontext()
        return torch.autocast(self._device_type, torch.bfloat16)
