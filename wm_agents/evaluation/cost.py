"""What a world model costs: parameters, time of its fit and of a step, and memory."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from wm_agents.errors import ConfigError
from wm_agents.protocols import WorldModel
from wm_agents.training.config_checks import require_integers
from wm_agents.training.fitted import check_fitted
from wm_envs.data.trajectories import Trajectories

BATCHES = (1, 1024)
_SECONDS = 0.25  # of measuring, for each batch
_MIN_CALLS = 5
# Models hold configurations, codecs and views, which may refer back to each other.
_MAX_DEPTH = 12  # of objects inside each other


@dataclass(frozen=True)
class ModelCost:
    """What a model costs on this machine.

    Attributes:
        num_parameters: Numbers that were learned by gradients; 0 for rules and tables.
        fit_seconds: Wall time of the fit, where it was told.
        batches: Rows that were stepped together.
        step_microseconds: Median wall time of one step of each batch.
        megabytes: Of all numbers that the model holds, learned or not.
        num_threads: Of torch, while it was measured.
    """

    num_parameters: int
    fit_seconds: float | None
    batches: tuple[int, ...]
    step_microseconds: tuple[float, ...]
    megabytes: float
    num_threads: int

    @property
    def row_microseconds(self) -> tuple[float, ...]:
        """Microseconds a row of each batch."""
        pairs = zip(self.step_microseconds, self.batches, strict=True)
        return tuple(microseconds / rows for microseconds, rows in pairs)

    def summary(self) -> dict[str, float]:
        """Flat names to numbers: num_parameters, step_us_b1, row_us_b1024, megabytes, ..."""
        numbers = {"num_parameters": float(self.num_parameters), "megabytes": self.megabytes}
        for rows, step, row in zip(
            self.batches, self.step_microseconds, self.row_microseconds, strict=True
        ):
            numbers[f"step_us_b{rows}"] = step
            numbers[f"row_us_b{rows}"] = row
        return numbers if self.fit_seconds is None else numbers | {"fit_seconds": self.fit_seconds}

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and numbers."""
        return asdict(self) | {"row_microseconds": list(self.row_microseconds)}


@torch.no_grad()
def model_cost(
    model: WorldModel,
    trajectories: Trajectories,
    *,
    fit_seconds: float | None = None,
    batches: Sequence[int] = BATCHES,
) -> ModelCost:
    """Measure single steps, without randomness, from recorded observations.

    Args:
        model: The world model.
        trajectories: Where observations and actions come from; they repeat in large batches.
        fit_seconds: Wall time of the fit, if it is known.
        batches: Rows to step together.

    Raises:
        ConfigError: No batches, or one below 1.
        NotFittedError: The model was never fitted.
    """
    check_fitted(model)
    if not batches:
        raise ConfigError("no batches to measure: give at least one, such as 1")
    for rows in batches:
        require_integers(1, batches=rows)
    times = tuple(_step_microseconds(model, trajectories, int(rows)) for rows in batches)
    return ModelCost(
        num_parameters=_num_parameters(model),
        fit_seconds=fit_seconds,
        batches=tuple(int(rows) for rows in batches),
        step_microseconds=times,
        megabytes=num_bytes(model) / 1e6,
        num_threads=torch.get_num_threads(),
    )


def num_bytes(model: Any) -> int:
    """Of the tensors and arrays that an object holds, each counted once."""
    seen: set[int] = set()
    return _num_bytes(model, seen, 0)


def _num_bytes(value: Any, seen: set[int], depth: int) -> int:
    # Shared tensors are counted once.
    if id(value) in seen or depth > _MAX_DEPTH:
        return 0
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, str | bytes):
        # Text is what a rule program consists of.
        return len(value)  # a program is a text
    parts: list[Any] = []
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple | set):
        parts = list(value)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        parts = list(vars(value).values())
    return sum(_num_bytes(part, seen, depth + 1) for part in parts)


def _num_parameters(model: Any) -> int:
    if isinstance(model, torch.nn.Module):
        return sum(parameter.numel() for parameter in model.parameters())
    return int(getattr(model, "num_parameters", 0))


def _step_microseconds(model: WorldModel, trajectories: Trajectories, rows: int) -> float:
    device = getattr(model, "device", None)
    # Over and over, where fewer steps are recorded than rows are asked for.
    steps = np.arange(rows) % trajectories.num_steps
    observations = trajectories.start_observations[steps]
    state = model.start(torch.as_tensor(observations, device=device))
    actions = torch.as_tensor(trajectories.actions[steps], device=device)
    return 1e6 * median_seconds(lambda: model.step(state, actions))


def median_seconds(call: Callable[[], Any]) -> float:
    """Of a call, after a first one that may have to make ready."""
    # The first call allocates and compiles.
    call()
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < _MIN_CALLS or time.perf_counter() - began < _SECONDS:
        before = time.perf_counter()
        call()
        # Otherwise only the launch of the kernels would be timed.
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - before)
    return float(np.median(seconds))
