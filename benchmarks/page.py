"""The page of all benchmarks, docs/benchmarks.md, written from the JSON files alone.

    python -m benchmarks.page

Each result has the command that makes it again, what it ran on, and its figures; those in `CHARTS`
have a picture. A result of a benchmark that this module has never heard of gets its section all the
same.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalogue import FOLDER, benchmarks, summary
from benchmarks.compare import figures_of
from benchmarks.report import RESULTS
from benchmarks.tuning import UNTUNED

PAGE = FOLDER.parent / "docs" / "benchmarks.md"
MAX_ROWS = 16
OURS = "tab:blue"
THEIRS = "tab:gray"


@dataclass(frozen=True)
class Bar:
    """One line of a chart."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    is_ours: bool = True


@dataclass(frozen=True)
class Chart:
    """How the figures of some results are drawn.

    Attributes:
        pattern: A regular expression for the names of the results.
        axis: What the bars measure, with its unit.
        bars: From the figures to the bars.
        is_log: Whether the axis is logarithmic.
    """

    pattern: str
    axis: str
    bars: Callable[[Mapping[str, Any]], list[Bar]]
    is_log: bool = False


def plans(figures: Mapping[str, Any]) -> list[Bar]:
    """Plans per CPU-second, ours and others'."""
    rows = figures["plans_per_cpu_second"].items()
    return [Bar(name, value, is_ours=name.startswith("wm ")) for name, value in rows]


def headline_speeds(figures: Mapping[str, Any]) -> list[Bar]:
    """Single environments and the largest batches."""
    wanted = re.compile(r" single$| x 4096 NextStep$")
    rows = [row for row in figures["rows"] if wanted.search(row["name"])]
    return [
        Bar(row["name"], row["steps_per_cpu_second"], is_ours=row["name"].startswith("wm/"))
        for row in rows
    ]


def named_speeds(figures: Mapping[str, Any]) -> list[Bar]:
    """Mappings or rows with steps per CPU-second."""
    rows = (
        figures["rows"]
        if "rows" in figures
        else [{"name": name, **row} for name, row in figures.items()]
    )
    return [
        Bar(
            row["name"],
            row["steps_per_cpu_second"],
            is_ours=not re.match("CartPole|ALE", row["name"]),
        )
        for row in rows
        if row.get("steps_per_cpu_second")
    ]


def driving_speeds(figures: Mapping[str, Any]) -> list[Bar]:
    """Our two forms and the peers' tracks."""
    found = [(name, value) for name, value in figures.items() if "steps_per_cpu_second" in name]
    return [
        Bar(
            re.sub(r",? ?_?steps_per_cpu_second", "", name), value, is_ours="race track" not in name
        )
        for name, value in found
    ]


def returns(figures: Mapping[str, Any]) -> list[Bar]:
    """Mean returns of the four agents with their intervals."""
    bars = []
    for name in ("random", "model_free", "learned", "oracle"):
        row = figures[name]
        label = f"{name.replace('_', '-')} ({row['num_seeds']} seeds)"
        is_ours = name in ("learned", "oracle")
        bars.append(
            Bar(label, row["mean_return"], row["mean_return_low"], row["mean_return_high"], is_ours)
        )
    return bars


def puzzle_rates(figures: Mapping[str, Any]) -> list[Bar]:
    """Success against real steps, method by method."""
    return [
        Bar(
            f"{name.replace('_', ' ')}, {steps} steps",
            row["success_rate"],
            row["low"],
            row["high"],
            name == "learned",
        )
        for name in ("learned", "table", "dqn_hindsight")
        for steps, row in figures.get(name, {}).items()
    ]


def arms(figures: Mapping[str, Any]) -> list[Bar]:
    """Interquartile means of the arms of an ablation."""
    found = [name for name in ("with", "without", "placebo") if f"iqm_{name}" in figures]
    return [
        Bar(
            name,
            figures[f"iqm_{name}"],
            figures[f"iqm_{name}_low"],
            figures[f"iqm_{name}_high"],
            name == "with",
        )
        for name in found
    ]


def ray_speeds(figures: Mapping[str, Any]) -> list[Bar]:
    """Steps per second by number of workers."""
    return [
        Bar(f"{name} worker(s)", row["steps_per_second"])
        for name, row in figures["workers"].items()
    ]


CHARTS = (
    Chart("planning_speed", "plans per CPU-second", plans),
    Chart("throughput", "steps per CPU-second", headline_speeds, is_log=True),
    Chart("domain_throughput|pong_throughput", "steps per CPU-second", named_speeds, is_log=True),
    Chart("driving_speed", "steps per CPU-second", driving_speeds, is_log=True),
    Chart("control_.*", "mean return", returns),
    Chart("puzzles_.*", "success rate", puzzle_rates),
    Chart("symbolic_learning_(recall|solved)", "greedy success rate, interquartile mean", arms),
    Chart("ray_scaling", "environment steps per second of wall time", ray_speeds),
)


def write_page(results: Path = RESULTS, page: Path = PAGE) -> Path:
    """Write the page and its pictures, which go to `images/benchmarks` beside it.

    Gives the page's path.
    """
    documents = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))
    ]
    pictures = page.parent / "images" / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    lines = [
        *introduction(),
        *(line for document in documents for line in section(document, pictures)),
    ]
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return page


def introduction() -> Iterator[str]:
    """What the page is and how it is made again."""
    yield "# Benchmarks"
    yield ""
    yield (
        "Written by `python -m benchmarks.page` from the files in `benchmarks/results`. One "
        "command runs them all:"
    )
    yield ""
    yield "```console"
    yield "$ python -m benchmarks.run --all --peer-python ../peers/bin/python"
    yield "$ python -m benchmarks.compare HEAD~1 HEAD    # what a change did"
    yield "```"
    yield ""
    yield (
        "Peers run in the same process or, where they need other packages, in turns from a Python "
        "of their own that"
    )
    yield (
        "`--peer-python` names. Speeds are per CPU-second unless the axis says otherwise. Blue "
        "bars are ours, grey"
    )
    yield "ones are others' or the baseline; thin lines are 95% intervals."
    yield ""


def section(result: Mapping[str, Any], pictures: Path) -> Iterator[str]:
    """One result."""
    name, figures = result["name"], result["figures"]
    yield f"## {name.replace('_', ' ').capitalize()}"
    yield ""
    if about := _about(name):
        yield about
        yield ""
    if name in UNTUNED:
        yield f"Untuned: {UNTUNED[name]}. See [how we try to fool ourselves](fooling-ourselves.md)."
        yield ""
    if picture := draw(name, figures, pictures):
        yield f"![{name.replace('_', ' ')}](images/benchmarks/{picture.name})"
        yield ""
    yield from table(figures)
    yield "```console"
    yield from (f"$ {command}" for command in result["command"].split(" && "))
    yield "```"
    yield ""
    versions = ", ".join(f"{package} {number}" for package, number in result["versions"].items())
    machine = (
        f"{result['machine']['processor']}, {result['machine']['cores']} cores, "
        f"{result['machine']['system']}"
    )
    yield f"{result['date']}; {machine}; seeds {_seeds(result['seeds'])}; {versions}."
    yield ""


def _about(name: str) -> str:
    """The first line of the benchmark's docstring.

    By the longest module name that the result's name begins with.
    """
    matching = [benchmark for benchmark in benchmarks() if name.startswith(benchmark.module)]
    return summary(max(matching, key=lambda benchmark: len(benchmark.module))) if matching else ""


def _seeds(seeds: list[int]) -> str:
    is_range = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} to {seeds[-1]}" if is_range else ", ".join(map(str, seeds))


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """The first figures, with intervals; the file has all."""
    found = figures_of({"figures": figures})
    if not found:
        return
    yield "| Figure | Value |"
    yield "|---|---:|"
    for path, figure in list(found.items())[:MAX_ROWS]:
        interval = "" if figure.low is None else f" [{figure.low:,.4g}, {figure.high:,.4g}]"
        yield f"| {path.replace('_', ' ').replace('|', '/')} | {number(figure.value)}{interval} |"
    if len(found) > MAX_ROWS:
        yield f"| and {len(found) - MAX_ROWS} more in the file | |"
    yield ""


def number(value: float) -> str:
    """With separators where it is large, with four digits where it is not."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def draw(name: str, figures: Mapping[str, Any], folder: Path) -> Path | None:
    """The picture of a result.

    None where none is planned or the figures have changed their form.
    """
    chart = next((chart for chart in CHARTS if re.fullmatch(chart.pattern, name)), None)
    try:
        bars = chart.bars(figures) if chart else []
    except (KeyError, TypeError, AttributeError):
        return None
    if chart is None or not bars:
        return None
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.7 + 0.28 * len(bars)), layout="constrained")
    places = range(len(bars))[::-1]
    axes.barh(
        places, [bar.value for bar in bars], color=[OURS if bar.is_ours else THEIRS for bar in bars]
    )
    for place, bar in zip(places, bars, strict=True):
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [place, place], color="black", linewidth=1.5)
    axes.set_yticks(places, [bar.label for bar in bars])
    axes.set_xlabel(chart.axis)
    if chart.is_log:
        axes.set_xscale("log")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


if __name__ == "__main__":
    print(f"written to {write_page()}")
