"""Files that are written whole or not at all."""

import contextlib
import glob
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from wm_envs.data.paths import absolute_path


@contextmanager
def replacing(path: str | os.PathLike[str], mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """A stream whose content becomes the file at the end; after an error or a kill an earlier file is as it was.

    Missing folders are made, the content is on the disk before the file takes its name, and what
    killed writers left behind is swept.

    Args:
        path: The file.
        mode: "w" for text in UTF-8, "wb" for bytes.

    Raises:
        OSError: The disk is full or the folder not writable; an earlier file is unchanged.
    """
    target = absolute_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(partial, mode, encoding="utf-8" if mode == "w" else None) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    _flush_folder(target.parent)


def _sweep(target: Path) -> None:
    """Delete unfinished files of the same name whose writers live no more."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        owner = re.fullmatch(r"\..+\.(\d+)\.tmp", left.name)
        if owner is not None and not _is_alive(int(owner[1])):
            with contextlib.suppress(OSError):  # what cannot be removed is no reason not to write
                left.unlink()


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where asking by a signal would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _flush_folder(directory: Path) -> None:
    """Make the rename itself survive a power cut; not every system lets folders be flushed."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def without_infinities(value: Any) -> Any:
    """The same mappings and lists with None in the place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {name: without_infinities(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_infinities(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
