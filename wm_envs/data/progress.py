"""The progress of all long work: a bar on a terminal, in files and pipes a line now and then."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from wm_envs.data.errors import OptionError
from wm_envs.data.streams import can_write, is_notebook, is_terminal

SECONDS_PER_LINE = 0.5
"""In a notebook, where the same line is written anew."""

SECONDS_PER_LOG_LINE = 10.0
"""In files and pipes, where lines stay: work that takes less says nothing there."""


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


@contextlib.contextmanager
def progress(
    total: int, description: str, enabled: bool | None = None, num_done: int = 0
) -> Iterator[ProgressBar]:
    """Show on the standard error stream how far the block is.

    A bar on a terminal, one line that is written anew in a notebook. In files and pipes a new line
    every ten seconds, after minutes more seldom, and nothing of work that takes less than that.

    Args:
        total: Amount of work, in the unit of `advance`, at least 0.
        description: What is being done, in a word or two.
        enabled: False shows nothing. True writes the last line in files and pipes too, however
            short the work.
        num_done: Amount that is done already, as when a run is resumed.

    Raises:
        OptionError: A negative total.
    """
    if total < 0:
        raise OptionError(f"total={total}: give at least 0")
    display = _display_for(enabled)
    if display is None:
        yield ProgressBar(num_done)
        return
    with display:
        task = display.add_task(description, total=total, completed=num_done, metrics="")
        yield ProgressBar(num_done, display, task)


def _display_for(enabled: bool | None) -> Any:
    """Where progress is shown; None where it is unwanted or nothing can be written."""
    if enabled is False or not can_write(sys.stderr):
        return None
    if is_notebook():
        return _LineDisplay()
    bar = _make_display() if is_terminal(sys.stderr) else None
    return bar or _LogDisplay(says_end=enabled is True)


class _LineDisplay:
    """One line of text that is written anew, for notebooks, which show no escape codes.

    It has the methods of `rich.progress.Progress` that are called here.
    """

    def __init__(self) -> None:
        self._description, self._metrics, self._width = "", "", 0
        self._total, self._num_done = 0, 0
        self._began = self._written = time.monotonic()

    def __enter__(self) -> "_LineDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        self._write("\n")

    def add_task(self, description: str, *, total: int, completed: int, metrics: str) -> int:
        """Begin with a task, of which there is one."""
        self._description, self._total = description, total
        self._num_done, self._metrics = completed, metrics
        self._write("")
        return 0

    def update(self, task: int, *, advance: int, metrics: str = "") -> None:  # noqa: ARG002
        """Go on, and write it if a moment has passed."""
        self._num_done += advance
        self._metrics = metrics or self._metrics
        if time.monotonic() - self._written > SECONDS_PER_LINE:
            self._write("")

    def _write(self, end: str) -> None:
        line = self._line()
        # Blanks cover what a longer line before it left.
        padding = " " * max(0, self._width - len(line))
        self._width = len(line)
        sys.stderr.write(f"\r{line}{padding}{end}")
        sys.stderr.flush()

    def _line(self) -> str:
        self._written = time.monotonic()
        seconds = self._written - self._began
        line = f"{self._description} {self._num_done:,}/{self._total:,} {seconds:.0f} s"
        return f"{line}  {self._metrics}".rstrip()


class _LogDisplay(_LineDisplay):
    """Lines that stay, for files and pipes: seldom ones, and the last one if there was another."""

    def __init__(self, *, says_end: bool) -> None:
        super().__init__()
        self._says_end = says_end

    def __exit__(self, *_: object) -> None:
        if self._says_end:
            self._write("\n")

    def add_task(self, description: str, *, total: int, completed: int, metrics: str) -> int:
        """Begin with a task, of which there is one."""
        self._description, self._total = description, total
        self._num_done, self._metrics = completed, metrics
        return 0

    def update(self, task: int, *, advance: int, metrics: str = "") -> None:  # noqa: ARG002
        """Go on, and write it if that was not done for long; after an hour every three minutes."""
        self._num_done += advance
        self._metrics = metrics or self._metrics
        now = time.monotonic()
        if now - self._written > max(SECONDS_PER_LOG_LINE, (now - self._began) / 20):
            self._says_end = True
            self._write("\n")

    def _write(self, end: str) -> None:
        # A pipe that nobody reads any more stops no work.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"{self._line()}{end}")
            sys.stderr.flush()


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
