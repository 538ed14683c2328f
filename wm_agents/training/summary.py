"""The folder in which a script leaves its results, and the summary that a program can read."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from wm_agents.errors import ConfigError


def make_output_directory(folder: Path) -> Path:
    """Make a folder and prove that it can be written, before any work is done.

    Raises:
        ConfigError: It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").touch()
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror}; choose another output folder") from error
    return folder


def write_summary(folder: Path, summary: Mapping[str, float]) -> Path:
    """Write `summary.json`: flat names to numbers, with null for what is not finite."""
    finite = {name: value if math.isfinite(value) else None for name, value in summary.items()}
    path = folder / "summary.json"
    path.write_text(json.dumps(finite, indent=2) + "\n", encoding="utf-8")
    return path
