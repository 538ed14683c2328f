"""Two sets of results side by side: what a change made faster, slower, better or worse.

    python -m benchmarks.compare benchmarks/results runs/benchmarks
    python -m benchmarks.compare HEAD~5 HEAD
    python -m benchmarks.compare v0.1.0 benchmarks/results --only planning_speed --all-figures

A and B are folders of JSON files or git revisions, whose benchmarks/results is read. Where a figure
comes with its interval in both, it got worse when the intervals do not overlap on the worse side;
without intervals when it is worse by more than `--tolerance`. Speeds measured on other machines are
no comparison, and are marked. The exit status is 1 where something got worse.
"""

import fnmatch
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks.catalogue import FOLDER

ROOT = FOLDER.parent
Verdict = Literal["worse", "better", "same", "unclear", "only A", "only B"]

# Figures that say what was done, not how well.
BOOKKEEPING = re.compile(
    r"(^|[./ _])(seeds?|num_\w+|episodes|updates|updates_done|horizons?|confidence|curve|final|"
    r"by_seed|target|level|"
    r"threshold|real_steps|learning_rate\w*|changed_observations|games|frames\w*|points|"
    r"words_left_out|of|number|"
    r"\w*_by_seed|p_value|observations_changed\w*|repeat_action_probability|"
    r"evaluation_episodes)($|[./ ])"
)
LOWER_IS_BETTER = re.compile(
    r"second|error|loss|wrong|mae|rmse|steps_to|episodes_to|times?_of|lap|limit|p99"
)
HIGHER_IS_BETTER = re.compile(r"per_(cpu_)?second|ratio|fewer|less")  # wins where both are found
SPEED = re.compile(r"second|per_cpu|ratio|speed|plans|samples")


@dataclass(frozen=True)
class Config:
    """What to compare."""

    a: tyro.conf.Positional[str]
    """A folder of results, or a git revision: the older."""
    b: tyro.conf.Positional[str]
    """The newer."""
    only: tuple[str, ...] = ()
    """Results whose names match one of these patterns."""
    tolerance: float = 0.1
    """Relative change up to which figures without an interval count as equal."""
    all_figures: bool = False
    """Also show what stayed the same."""


@dataclass(frozen=True)
class Figure:
    """One number of a result, with its interval where the result has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Change:
    """One figure in both."""

    name: str
    a: Figure | None
    b: Figure | None
    verdict: Verdict
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        """B over A."""
        return self.b.value / self.a.value if self.a and self.b and self.a.value else None


def read(source: str) -> dict[str, dict[str, Any]]:
    """Results by name, from a folder or a git revision; SystemExit where there are none."""
    folder = Path(source)
    if folder.is_dir():
        texts = {
            path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json"))
        }
    else:
        texts = read_revision(source)
    if not texts:
        raise SystemExit(
            f"no results in {source!r}: give a folder of JSON files or a git revision that has some"
        )
    return {name: json.loads(text) for name, text in texts.items()}


def read_revision(revision: str) -> dict[str, str]:
    """The result files of a git revision."""
    if revision.startswith("-"):
        raise SystemExit(f"{revision!r} is neither a folder nor a revision")
    place = "benchmarks/results"
    try:
        listing = _git("ls-tree", "--name-only", "-z", revision, f"{place}/")
        paths = [path for path in listing.split("\0") if path.endswith(".json")]
        return {Path(path).stem: _git("show", f"{revision}:{path}") for path in paths}
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"{revision!r} is neither a folder nor a git revision: {error.stderr.strip()}"
        ) from error


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    ).stdout


def figures_of(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Path -> figure, without bookkeeping and with limits joined to what they limit."""
    numbers = dict(_leaves(result.get("figures", {}), ""))
    figures = {}
    for path, value in numbers.items():
        if BOOKKEEPING.search(path) or path.endswith(("_low", "_high", ".low", ".high")):
            continue
        low, high = _limits(path, numbers)
        figures[path] = Figure(value, low, high)
    return figures


def _limits(path: str, numbers: Mapping[str, float]) -> tuple[float | None, float | None]:
    """`x_low` and `x_high`, or `low` and `high` beside it in the same mapping."""
    parent = path.rpartition(".")[0]
    for low, high in ((f"{path}_low", f"{path}_high"), (f"{parent}.low", f"{parent}.high")):
        if low in numbers and high in numbers and numbers[low] <= numbers[path] <= numbers[high]:
            return numbers[low], numbers[high]
    return None, None


def _leaves(value: Any, path: str) -> Iterator[tuple[str, float]]:
    """All numbers.

    The rows of a list are known by their names, and lists of numbers are left out.
    """
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path, float(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping) and isinstance(item.get("name"), str):
                yield from _leaves(item, f"{path}.{item['name']}" if path else item["name"])


def judge(name: str, a: Figure, b: Figure, tolerance: float) -> Verdict:
    """Whether B is better or worse than A; see the module."""
    last = name.rpartition(".")[2]
    is_lower_better = bool(LOWER_IS_BETTER.search(last)) and not HIGHER_IS_BETTER.search(last)
    if None not in (a.low, a.high, b.low, b.high):
        rises, falls = b.low > a.high, b.high < a.low  # type: ignore[operator]
    else:
        margin = tolerance * max(abs(a.value), abs(b.value))
        rises, falls = b.value - a.value > margin, a.value - b.value > margin
    if not rises and not falls:
        return "same"
    return "worse" if rises == is_lower_better else "better"


def compare(
    a: Mapping[str, dict[str, Any]],
    b: Mapping[str, dict[str, Any]],
    only: tuple[str, ...] = (),
    tolerance: float = 0.1,
) -> list[Change]:
    """Every figure of both sets."""
    changes: list[Change] = []
    names = sorted({*a, *b})
    for name in (
        n for n in names if not only or any(fnmatch.fnmatch(n, pattern) for pattern in only)
    ):
        if name not in a or name not in b:
            changes.append(Change(name, None, None, "only A" if name in a else "only B"))
            continue
        is_elsewhere = a[name].get("machine") != b[name].get("machine")
        before, after = figures_of(a[name]), figures_of(b[name])
        for path in dict.fromkeys((*before, *after)):
            old, new = before.get(path), after.get(path)
            if old is None or new is None:
                changes.append(
                    Change(f"{name}: {path}", old, new, "only A" if new is None else "only B")
                )
                continue
            verdict = judge(path, old, new, tolerance)
            if is_elsewhere and SPEED.search(path):
                changes.append(Change(f"{name}: {path}", old, new, "unclear", "other machine"))
            else:
                changes.append(Change(f"{name}: {path}", old, new, verdict))
    return changes


def main(config: Config) -> list[Change]:
    """Print the table; gives all changes."""
    from rich.console import Console
    from rich.table import Table

    changes = compare(read(config.a), read(config.b), config.only, config.tolerance)
    table = Table("figure", "A", "B", "B / A", "verdict", title=f"A {config.a}, B {config.b}")
    shown = [
        change
        for change in changes
        if config.all_figures or change.verdict not in ("same", "unclear")
    ]
    styles = {"worse": "bold red", "better": "green"}
    for change in shown:
        ratio = "" if change.ratio is None else f"{change.ratio:.3g}"
        verdict = f"{change.verdict} {change.remark}".strip()
        cells = (change.name, _shown(change.a), _shown(change.b), ratio, verdict)
        table.add_row(*cells, style=styles.get(change.verdict))
    Console().print(table if shown else "nothing changed beyond intervals and tolerance")
    counts = {
        verdict: sum(change.verdict == verdict for change in changes)
        for verdict in ("worse", "better", "same")
    }
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return changes


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return ""
    interval = "" if figure.low is None else f" [{figure.low:.4g}, {figure.high:.4g}]"
    return f"{figure.value:.4g}{interval}"


if __name__ == "__main__":
    sys.exit(any(change.verdict == "worse" for change in main(tyro.cli(Config))))
