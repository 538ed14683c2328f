"""Where metrics go.

Console, JSON lines, TensorBoard, Weights & Biases, or several of them, behind one protocol.
"""

import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol, Self, runtime_checkable

from wm_agents.errors import ConfigError
from wm_agents.training.config_checks import require_integers
from wm_envs.data.options import as_integer
from wm_envs.data.paths import user_path
from wm_envs.data.streams import can_write

_MAX_LINE = 16 * 2**20  # bytes of one record


@runtime_checkable
class Logger(Protocol):
    """Takes the metrics of a step; `close` may be called more than once."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records metrics at a step that is not smaller than the last."""

    def close(self) -> None:
        """Flushes and lets go of files."""


class _ClosesOnExit:
    """Makes a logger usable in a `with` block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Flushes and lets go of files."""


class ConsoleLogger(_ClosesOnExit):
    """Prints one aligned line for each step.

    Args:
        quiet: prints nothing.
        every: prints only each `every`-th call, beginning with the first.

    Raises:
        ConfigError: when `every` is below 1.
    """

    def __init__(self, quiet: bool = False, every: int = 1) -> None:
        require_integers(None, every=every)
        if every < 1:
            raise ConfigError(f"every={every}; give at least 1")
        self.quiet = quiet
        self.every = every
        self._num_calls = 0
        self._console: Any = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Prints the step and its metrics."""
        numbers = checked_metrics(step, metrics)
        self._num_calls += 1
        if self.quiet or (self._num_calls - 1) % self.every or not can_write(sys.stdout):
            return
        if self._console is None:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=True)
        cells = [f"{name} {value:>9.4g}" for name, value in numbers.items()]
        self._console.print(f"{step:>12,}  " + "  ".join(cells), markup=False)


class JSONLLogger(_ClosesOnExit):
    """Appends one JSON object for each step: {"step": 64, "loss": 0.25}.

    NaN and infinities are written as null.

    A last line that a kill left half written is cut off on opening, so that the file is always
    whole lines.

    Args:
        path: file; missing folders are made.
        resume_step: when a run is resumed from a checkpoint of this step, lines of later steps are
            cut off too, so that the finished file equals that of a run without interruption. None
            keeps all lines.

    Raises:
        ConfigError: when the file cannot be written or is not one of these.
    """

    def __init__(self, path: str | Path, resume_step: int | None = None) -> None:
        self.path = user_path(path).absolute()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b")  # noqa: SIM115 - it stays open until close()
        except OSError as error:
            raise ConfigError(
                f"cannot write {self.path}: {error.strerror}; give a writable folder"
            ) from error
        try:
            self._repair(resume_step)
        except BaseException:
            self._file.close()
            raise

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends one line and hands it to the operating system.

        So that a kill loses nothing that was logged.

        Raises:
            ConfigError: when a metric is no number, or the disk is full.
        """
        numbers = checked_metrics(step, metrics)
        record = {"step": step} | {
            name: value if math.isfinite(value) else None for name, value in numbers.items()
        }
        try:
            self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}; free space") from error

    def close(self) -> None:
        """Closes the file."""
        try:
            self._file.close()
        except OSError as error:  # what could not be written before cannot be now
            raise ConfigError(f"cannot write {self.path}: {error.strerror}; free space") from error

    def _repair(self, resume_step: int | None) -> None:
        self._file.seek(0)
        end = 0
        for line in _lines(self._file):
            is_whole = line.endswith(b"\n")
            step = _step_of(line)
            if step is None and (is_whole or not _is_record_start(line)):
                raise ConfigError(
                    f"{self.path} has the line {line[:60]!r}, which is no record; give another file"
                )
            if step is None or not is_whole or (resume_step is not None and step > resume_step):
                break
            end += len(line)
        if self._file.seek(0, os.SEEK_END) > end:
            self._file.truncate(end)
            self._file.seek(0, os.SEEK_END)


class TensorBoardLogger(_ClosesOnExit):
    """Writes TensorBoard event files.

    Args:
        directory: folder of the event files.
        resume_step: when a run is resumed, TensorBoard drops what it had from the next step on.

    Raises:
        ImportError: when tensorboard is not installed.
    """

    def __init__(self, directory: str | Path, resume_step: int | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoardLogger needs tensorboard: pip install 'wm-suite[agents]'"
            ) from error
        purge_step = None if resume_step is None else resume_step + 1
        self._make_writer = partial(SummaryWriter, str(user_path(directory)))
        self._writer = self._make_writer(purge_step=purge_step)
        self._process_id = os.getpid()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds each metric as a scalar; in a forked process to an event file of its own."""
        if self._process_id != os.getpid():  # the thread that writes stayed in the other process
            self._writer, self._process_id = self._make_writer(), os.getpid()
        for name, value in checked_metrics(step, metrics).items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes and closes the event file."""
        if self._process_id == os.getpid():
            self._writer.close()


class WandbLogger(_ClosesOnExit):
    """Sends metrics to Weights & Biases; its own environment variables choose account and mode.

    Args:
        project: name of the project.
        name: name of the run, None for one that wandb makes up.
        config: settings that are shown beside the run.
        directory: folder of wandb's local files.

    Raises:
        ImportError: when wandb is not installed.
    """

    def __init__(
        self,
        project: str,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        directory: str | Path | None = None,
    ) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ImportError(
                "WandbLogger needs wandb: pip install 'wm-suite[tracking]'"
            ) from error
        folder = None if directory is None else str(user_path(directory))
        self._run: Any = wandb.init(
            project=project, name=name, config=dict(config or {}), dir=folder
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Sends the metrics of one step."""
        self._run.log(checked_metrics(step, metrics), step=step)

    def close(self) -> None:
        """Finishes the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None


class LoggerGroup(_ClosesOnExit):
    """Passes metrics on to several loggers.

    Args:
        loggers: the loggers, which the group closes.
    """

    def __init__(self, *loggers: Logger) -> None:
        self.loggers = loggers

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs to each."""
        for logger in self.loggers:
            logger.log(step, metrics)

    def close(self) -> None:
        """Closes each, the others too when one fails."""
        with ExitStack() as stack:
            for logger in self.loggers:
                stack.callback(logger.close)


def script_loggers(
    folder: Path,
    name: str,
    config: Any,
    *,
    quiet: bool = False,
    tensorboard: bool = False,
    track: bool = False,
    resume_step: int | None = None,
) -> LoggerGroup:
    """What a training script logs to: JSON lines always, the rest when asked.

    Args:
        folder: Of the run; metrics.jsonl and the events lie in it.
        name: Of the run on Weights & Biases.
        config: Its settings, a dataclass.
        quiet: No lines on the console.
        tensorboard: TensorBoard events too.
        track: Weights & Biases too.
        resume_step: The step from which a resumed run logs again; None for a new run.
    """
    loggers: list[Logger] = [JSONLLogger(folder / "metrics.jsonl", resume_step=resume_step)]
    loggers.append(ConsoleLogger(quiet=quiet, every=50))
    if tensorboard:
        loggers.append(TensorBoardLogger(folder / "tensorboard", resume_step=resume_step))
    if track:
        loggers.append(WandbLogger("wm-suite", name, vars(config), folder))
    return LoggerGroup(*loggers)


def read_jsonl(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yields the records of a `JSONLLogger` file; a half-written last line is passed over.

    Raises:
        ConfigError: when the file cannot be read or a line is no record; the message names the
            line.
    """
    try:
        with open(user_path(path), "rb") as file:
            for number, line in enumerate(_lines(file), 1):
                is_whole = line.endswith(b"\n")
                if not is_whole and _is_record_start(line):
                    return
                if not is_whole or _step_of(line) is None:
                    raise ConfigError(f"{path}, line {number} is no record of a run: {line[:60]!r}")
                yield json.loads(line)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error


def run_directory(
    env_id: str,
    experiment: str,
    seed: int,
    root: str | Path = "runs",
    timestamp: float | None = None,
) -> Path:
    """Makes the folder `{root}/{env}__{experiment}__{seed}__{time}` of a new run.

    Characters that are no file name on some system, such as the slash of "wm/SequenceNext-v0",
    become "-"; a folder that is there already gets a number, so that no two runs share one.

    Args:
        env_id: id of the environment.
        experiment: name of the experiment, usually of the script.
        seed: seed of the run.
        root: folder of all runs.
        timestamp: time in seconds since 1970, None for now.

    Raises:
        ConfigError: when the folder cannot be made.
    """
    seconds = int(time.time() if timestamp is None else timestamp)
    name = re.sub(r"[^\w.=+-]+", "-", f"{env_id}__{experiment}__{seed}__{seconds}")
    number = 1
    while True:
        directory = user_path(root) / (name if number == 1 else f"{name}-{number}")
        try:
            directory.mkdir(parents=True)
            return directory
        except FileExistsError:
            # mkdir says the same of a root that is a file, where no number helps.
            if not directory.exists():
                raise ConfigError(f"cannot make {directory}: {root} is no folder") from None
            number += 1
        except OSError as error:
            raise ConfigError(
                f"cannot make {directory}: {error.strerror}; give a writable root"
            ) from error


def checked_metrics(step: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics as Python floats.

    Raises ConfigError on a negative step, a wrong name or no number.
    """
    number = as_integer(step)
    if number is None or number < 0:
        raise ConfigError(f"step={step!r}; give an integer of at least 0")
    numbers = {}
    for name, value in metrics.items():
        if not isinstance(name, str) or name == "step":
            raise ConfigError(f"a metric is named {name!r}; give text other than 'step'")
        try:
            numbers[name] = float(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"metric {name!r} is {value!r}; give one number") from error
    return numbers


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines, those that are longer than any record in pieces, which are none."""
    return iter(lambda: file.readline(_MAX_LINE), b"")


def _is_record_start(line: bytes) -> bool:
    """Whether a kill in the middle of writing a record can have left this.

    Anything else is somebody's file.
    """
    opening = b'{"step": '
    return len(line) < _MAX_LINE and (line.startswith(opening) or opening.startswith(line))


def _step_of(line: bytes) -> int | None:
    """The step of a record, None when the line is no record."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if isinstance(step, int) and not isinstance(step, bool) else None
