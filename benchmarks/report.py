"""Results as JSON that says by itself what was measured, with which versions, on what, when, and how to repeat it."""

import datetime
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

# `benchmarks.run` sends the results of a run elsewhere through the environment, to be compared with the committed ones.
RESULTS = Path(os.environ.get("WM_SUITE_RESULTS") or Path(__file__).parent / "results")
ALWAYS = ("numpy", "numba", "gymnasium")
WHEN_IMPORTED = {
    "torch": "torch",
    "stable_baselines3": "stable-baselines3",
    "scipy": "scipy",
    "ale_py": "ale-py",
    "ray": "ray",
}


def write_result(
    name: str, figures: Mapping[str, Any], *, seeds: int | Sequence[int], command: str, folder: Path = RESULTS
) -> Path:
    """Write `<folder>/<name>.json` and give its path.

    Args:
        name: The benchmark's name, a plain word.
        figures: What was measured: names to numbers, lists or further mappings; NaN and infinity are refused.
        seeds: The seed or seeds that the figures come from.
        command: The command line that measures them again, from the root of the repository.
        folder: Where to write.

    Raises:
        ValueError: A figure is not finite; nothing is written.
    """
    result = {
        "name": name,
        "command": command,
        "date": datetime.date.today().isoformat(),
        "seeds": [seeds] if isinstance(seeds, int) else list(seeds),
        "machine": machine(),
        "versions": versions(),
        "figures": figures,
    }
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(text, encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """The processor and what of it is ours; no names of hosts or users."""
    return {
        "processor": _processor_model() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Versions of Python, of what every environment needs, and of the heavier packages where they were imported."""
    imported = [distribution for module, distribution in WHEN_IMPORTED.items() if module in sys.modules]
    return {"python": platform.python_version(), **{package: version(package) for package in (*ALWAYS, *imported)}}


def _processor_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
