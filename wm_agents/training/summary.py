"""The folder in which a script leaves its results, and the summary that a program can read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wm_agents.errors import ConfigError
from wm_envs.data.files import replacing, without_infinities
from wm_envs.data.paths import user_path


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
        (folder / "summary.json").touch()
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
        is_printed: Whether the same text goes to the standard output.
    """
    path = user_path(folder) / "summary.json"
    write_json(path, summary)
    if is_printed:
        print(json.dumps(without_infinities(summary), indent=2))
    return path


def write_json(path: Path, content: Any) -> None:
    """Write a whole file of indented JSON or none, with null for numbers that are not finite."""
    with replacing(path) as file:
        json.dump(without_infinities(content), file, indent=2, allow_nan=False)
        file.write("\n")
