"""A progress bar that shows on a terminal and stays silent in files, pipes and notebooks."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wm_agents.errors import ConfigError
from wm_envs.streams import is_progress_shown


class ProgressBar:
    """What `progress` yields; `advance` is called as work gets done.

    Attributes:
        num_done: how much is done.
    """

    def __init__(self, display: Any = None, task: Any = None) -> None:
        self.num_done = 0
        self._display = display
        self._task = task

    def advance(self, num: int = 1, **metrics: float) -> None:
        """Moves the bar by `num` and shows the metrics beside it."""
        self.num_done += num
        if self._display is not None:
            shown = {"metrics": "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())} if metrics else {}
            self._display.update(self._task, advance=num, **shown)


@contextmanager
def progress(total: int, description: str, enabled: bool | None = None, num_done: int = 0) -> Iterator[ProgressBar]:
    """Shows a bar on the standard error stream while the block runs.

    Args:
        total: amount of work, in the unit of `advance`, at least 0.
        description: what is being done, in a word or two.
        enabled: True or False to force it; None shows it only on a terminal.
        num_done: amount that is done already, as when a run is resumed.

    Yields:
        A `ProgressBar`.

    Raises:
        ConfigError: on a negative total.
    """
    if total < 0:
        raise ConfigError(f"total={total}; give at least 0")
    if not is_progress_shown(enabled):
        bar = ProgressBar()
        bar.num_done = num_done
        yield bar
        return
    with _make_display() as display:
        bar = ProgressBar(display, display.add_task(description, total=total, completed=num_done, metrics=""))
        bar.num_done = num_done
        yield bar


def _make_display() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}", style="dim", markup=False),
        console=Console(stderr=True, force_terminal=True),
    )


def say_nothing_left(learner: str, done: int, total: int, unit: str, *, is_resumption: bool) -> None:
    """Tell that a call of `learn` has nothing to do, because its total counts from the very first step.

    Args:
        learner: Who was asked to learn, such as "Reinforce".
        done: How much was learned before, in `unit`.
        total: What the call asked for, counted from the first.
        unit: Such as "steps".
        is_resumption: The call was to go on from checkpoints; a run that finished there is no mistake, so that it is
            logged. Otherwise it is a warning.
    """
    message = (
        f"{learner}.learn has nothing left to do: {done} of {total} {unit} are done, and they count from the very "
        f"first; ask for more than {done} to go on"
    )
    if is_resumption:
        logging.getLogger(__name__).warning(message)
    else:
        warnings.warn(message, stacklevel=3)
