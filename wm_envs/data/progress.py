"""The progress bar of all long work: shown on a terminal, silent in files and pipes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wm_envs.data.errors import OptionError
from wm_envs.data.streams import is_progress_shown


class ProgressBar:
    """What `progress` yields; `advance` is called as work gets done.

    Attributes:
        num_done: How much is done.
    """

    def __init__(self, num_done: int = 0, display: Any = None, task: Any = None) -> None:
        self.num_done = num_done
        self._display = display
        self._task = task

    def advance(self, num: int = 1, **metrics: float) -> None:
        """Move the bar by `num` and show the metrics beside it."""
        self.num_done += num
        if self._display is None:
            return
        fields = {}
        if metrics:
            fields["metrics"] = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self._display.update(self._task, advance=num, **fields)


@contextmanager
def progress(
    total: int, description: str, enabled: bool | None = None, num_done: int = 0
) -> Iterator[ProgressBar]:
    """Show a bar on the standard error stream while the block runs.

    Args:
        total: Amount of work, in the unit of `advance`, at least 0.
        description: What is being done, in a word or two.
        enabled: True or False to force it; None shows it only on a terminal.
        num_done: Amount that is done already, as when a run is resumed.

    Raises:
        OptionError: A negative total.
    """
    if total < 0:
        raise OptionError(f"total={total}: give at least 0")
    display = _make_display() if is_progress_shown(enabled) else None
    if display is None:
        yield ProgressBar(num_done)
        return
    with display:
        task = display.add_task(description, total=total, completed=num_done, metrics="")
        yield ProgressBar(num_done, display, task)


def _make_display() -> Any:
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
    except ImportError:
        return None
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}", style="dim", markup=False),
        console=Console(stderr=True, force_terminal=True),
    )
