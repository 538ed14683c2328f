"""The folder in which a script leaves its results, and the summary that a program can read."""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wm_agents.errors import ConfigError
from wm_envs.data.files import replacing, without_infinities
from wm_envs.data.paths import user_path
from wm_envs.data.streams import can_write


def make_output_directory(folder: Path, *, has_pictures: bool = False) -> Path:
    """Make a folder and prove that it can be written, before any work is done.

    Args:
        folder: Where results go.
        has_pictures: Whether a picture is drawn at the end, for which matplotlib has to be there.

    Raises:
        ConfigError: It cannot be made or written.
        ImportError: A picture is to be drawn and matplotlib is not installed.
    """
    if has_pictures:
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise ImportError("plots need matplotlib: pip install 'wm-suite[plots]'") from error
    folder = user_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Its own file, which is gone at once: work that fails leaves no empty result behind.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"cannot write into {folder}: {error.strerror}; choose another output folder"
        ) from error
    return folder


def write_summary(folder: Path, summary: Mapping[str, Any], *, is_printed: bool = False) -> Path:
    """Write `summary.json`.

    Args:
        folder: Where.
        summary: Names to what JSON can hold; numbers that are not finite become null.
        is_printed: Whether the same text goes to the standard output, and where it was written to
            the standard error stream.
    """
    path = user_path(folder) / "summary.json"
    write_json(path, summary)
    if is_printed:
        print(json.dumps(without_infinities(summary), indent=2))
        say_where(path.parent)
    return path


def say_where(folder: Path) -> None:
    """Say on the standard error stream which files lie in a folder, the pictures first."""
    files = [path for path in user_path(folder).iterdir() if path.is_file()]
    names = [path.name for path in sorted(files, key=lambda path: (not is_seen(path), path.name))]
    if can_write(sys.stderr):
        print(f"Written into {folder}: {', '.join(names)}", file=sys.stderr, flush=True)


def is_seen(path: Path) -> bool:
    """Whether a file is for the eye."""
    return path.suffix in (".png", ".svg", ".html", ".gif", ".md")


def write_json(path: Path, content: Any) -> None:
    """Write a whole file of indented JSON or none, with null for numbers that are not finite."""
    with replacing(path) as file:
        json.dump(without_infinities(content), file, indent=2, allow_nan=False)
        file.write("\n")
