"""Results as JSON that says by itself what was measured, with which versions, on what, when.

And how to repeat it.
"""

import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

# `benchmarks.run` sends the results of a run elsewhere through the environment, to be compared with
# the committed ones.
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
    name: str,
    figures: Mapping[str, Any],
    *,
    seeds: int | Sequence[int],
    command: str,
    folder: Path = RESULTS,
) -> Path:
    """Write `<folder>/<name>.json` and give its path.

    Args:
        name: The benchmark's name, a plain word.
        figures: What was measured: names to numbers, lists or further mappings; NaN and infinity
            are refused.
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


def add_row(
    name: str,
    row: Mapping[str, Any],
    *,
    key: Sequence[str],
    summarise: Callable[[list[dict[str, Any]]], Mapping[str, Any]],
    command: str,
    notes: Sequence[str] = (),
    folder: Path = RESULTS,
) -> dict[str, Any]:
    """Write `<folder>/<name>.json` with one more row, in place of an older one with the same key.

    Gives all figures.

    A benchmark of many long runs that was stopped still counts for what it finished.

    Args:
        name: The benchmark's name, a plain word; `python -m benchmarks.<name>` measures all rows
            again.
        row: What one run measured, with its key and its seed.
        key: The names in a row that say which run it is; rows are sorted by them.
        summarise: From all rows to what is said of them together.
        command: The command line that measures this row alone again; it and the date become part of
            the row.
        notes: What a reader has to know.
        folder: Where the result is and is written.

    Raises:
        KeyError: The row lacks a name of its key; nothing is written.
        ValueError: A figure is not finite; nothing is written.
    """

    def place(one: Mapping[str, Any]) -> list[str]:
        return [str(one[part]) for part in key]

    path = folder / f"{name}.json"
    older = read_figures(path)["rows"] if path.exists() else []
    new = {**row, "command": command, "date": datetime.date.today().isoformat()}
    rows = sorted([*(one for one in older if place(one) != place(new)), new], key=place)
    figures = {"summary": summarise(rows), "notes": list(notes), "rows": rows}
    seeds = sorted({one["seed"] for one in rows})
    write_result(name, figures, seeds=seeds, command=f"python -m benchmarks.{name}", folder=folder)
    return figures


def add_missing_rows(
    name: str,
    runs: Sequence[tuple[Any, ...]],
    measure: Callable[..., Mapping[str, Any]],
    *,
    key: Sequence[str],
    command: Callable[..., str],
    summarise: Callable[[list[dict[str, Any]]], Mapping[str, Any]],
    notes: Sequence[str] = (),
    is_redone: bool = False,
    folder: Path = RESULTS,
) -> dict[str, Any]:
    """Measure the runs that a result has no row of, and give all figures; see `add_row`.

    Args:
        name: The benchmark's name.
        runs: What is told apart by the key, as tuples in its order.
        measure: From the parts of a run to its row without the key.
        key: The names in a row that say which run it is.
        command: From the parts of a run to the command line that measures it alone again.
        summarise: From all rows to what is said of them together.
        notes: What a reader has to know.
        is_redone: Whether rows that are there are measured again.
        folder: Where the result is and is written.
    """
    path = folder / f"{name}.json"
    figures: dict[str, Any] = {}
    if path.exists():
        figures = read_figures(path)
    done = {tuple(row[part] for part in key) for row in figures.get("rows", [])}
    for run in runs:
        if run in done and not is_redone:
            continue
        row = {**dict(zip(key, run, strict=True)), **measure(*run)}
        print(json.dumps(row), flush=True)
        # Written after every run: what a stopped benchmark has measured is never lost.
        figures = add_row(
            name,
            row,
            key=key,
            summarise=summarise,
            command=command(*run),
            notes=notes,
            folder=folder,
        )
    return figures


def read_figures(path: Path) -> dict[str, Any]:
    """The figures of a result that `write_result` wrote."""
    return dict(json.loads(path.read_text(encoding="utf-8"))["figures"])


def read_rows(folder: Path, name: str = "rows") -> list[dict[str, Any]]:
    """All finished rows of `<folder>/<name>.jsonl`; a line that a kill cut off is no row."""
    path = folder / f"{name}.jsonl"
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def append_row(folder: Path, row: Mapping[str, Any], name: str = "rows") -> None:
    """Add a line, below one that a kill cut off; other processes may do the same."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    text = json.dumps(row, allow_nan=False) + "\n"
    if path.exists() and path.stat().st_size and path.read_bytes()[-1:] != b"\n":
        text = "\n" + text
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def machine() -> dict[str, Any]:
    """The processor and what of it is ours; no names of hosts or users."""
    return {
        "processor": _processor_model() or platform.machine(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Versions of Python, of what every environment needs.

    And of the heavier packages where they were imported.
    """
    imported = [
        distribution for module, distribution in WHEN_IMPORTED.items() if module in sys.modules
    ]
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in (*ALWAYS, *imported)},
    }


def _processor_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None
    )
