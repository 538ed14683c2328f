"""Intervals, growth laws and pictures of the open questions, from their rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reward_balance import hypervolume
from wm_agents.evaluation import stratified_bootstrap
from wm_agents.evaluation.thresholds import CensoredTimes, steps_to_threshold

Row = Mapping[str, Any]
Rows = Sequence[Row]
SOLVED = 0.9
NUM_RESAMPLES = 2000
NO_LAW = ("base",)
"""An axis of a single value, along which no power law is fitted."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def summarize(question: str, rows: Rows) -> dict[str, Any]:
    """What a question's rows say: each cell, and what the question asks of them together."""
    groups = grouped(rows)
    figures: dict[str, Any] = {"cells": [cell_figures(key, group) for key, group in groups.items()]}
    if question == "scaling":
        figures["growth_laws"] = growth_laws(groups)
        figures["advantages"] = advantages(groups)
    elif question == "structure":
        figures["smallest_that_solves"] = smallest_that_solves(figures["cells"])
    elif question == "scalarization":
        figures["vector_returns"] = vector_return_figures(groups)
    elif question == "parents":
        figures["breaks"] = breaks(figures["cells"])
    return figures


Key = tuple[str, str, float]
"""Arm, axis, and value on it."""


def grouped(rows: Rows) -> dict[Key, list[Row]]:
    """The runs of each cell."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault((row["arm"], row["axis"], row["value"]), []).append(row)
    return groups


def times_of(group: Rows) -> CensoredTimes:
    """Episodes until each run was at 90%."""
    return steps_to_threshold([row["curve"] for row in group], group[0]["episodes"], SOLVED)


def cell_figures(key: Key, group: Rows) -> dict[str, Any]:
    """Success with its interval, and the median of the episodes to 90%.

    The median is None where fewer than half of the runs got there.
    """
    arm, axis, value = key
    interval = stratified_bootstrap([row["success"] for row in group])
    times = times_of(group)
    median = times.median()
    return {
        "arm": arm,
        "axis": axis,
        "value": value,
        "runs": len(group),
        "runs_at_90": len(group) - times.num_censored,
        "iqm": interval.estimate,
        "iqm_low": interval.low,
        "iqm_high": interval.high,
        "median_episodes_to_90": None if median.is_censored else median.value,
        "num_parameters": group[0]["num_parameters"],
        "cpu_seconds": float(sum(row["cpu_seconds"] for row in group)),
    }


# --- growth laws


def growth_laws(groups: Mapping[Key, Rows]) -> list[dict[str, Any]]:
    """Exponents b of episodes to 90% = a * value^b, for each arm and axis.

    Fitted by least squares to the logarithms of the cells' medians, of those cells in which half
    of the runs got there; of fewer than three such cells nothing is said. The interval resamples
    the runs of each cell.
    """
    return [
        {"arm": arm, "axis": axis, **law(cells)}
        for arm, axis, cells in _along_axes(groups)
        if len(cells) >= 3
    ]


def _along_axes(groups: Mapping[Key, Rows]) -> Iterator[tuple[str, str, dict[float, Rows]]]:
    axes = dict.fromkeys((arm, axis) for arm, axis, _ in groups if axis not in NO_LAW)
    for arm, axis in axes:
        yield arm, axis, {v: group for (a, x, v), group in groups.items() if (a, x) == (arm, axis)}


def law(cells: Mapping[float, Rows]) -> dict[str, Any]:
    """The exponent over these cells by their value, with its interval."""
    solved = {v: times_of(group) for v, group in cells.items()}
    solved = {v: times for v, times in solved.items() if not times.median().is_censored}
    figures: dict[str, Any] = {
        "values": sorted(cells),
        "values_solved": sorted(solved),
        "exponent": None,
    }
    if len(solved) < 3:
        return figures
    values = np.array(sorted(solved))
    medians = [solved[v].median().value for v in values]
    draws = np.random.default_rng(0)
    slopes = [
        slope(values, [_resampled_median(solved[v], draws) for v in values])
        for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.quantile(slopes, (0.025, 0.975))
    exponent = slope(values, medians)
    return {**figures, "exponent": exponent, "low": float(low), "high": float(high)}


def slope(values: NDArray[np.float64], times: Sequence[float]) -> float:
    """Of log(times) against log(values), by least squares."""
    return float(np.polyfit(np.log(values), np.log(times), 1)[0])


def _resampled_median(times: CensoredTimes, draws: np.random.Generator) -> float:
    # A censored time stands for one beyond the budget, which the median rarely is here.
    return float(np.median(draws.choice(times.times, len(times.times))))


def advantages(groups: Mapping[Key, Rows]) -> list[dict[str, Any]]:
    """How many times more episodes the arm without a world model takes, in each cell.

    A lower bound where fewer than half of the runs without it got there, None where that is so of
    the runs with it. Beside it the difference of success, without interval: see the cells.
    """
    found = []
    for arm, axis, value in groups:
        if not arm.endswith(", with"):
            continue
        task = arm.removesuffix(", with")
        fast = times_of(groups[arm, axis, value]).median()
        slow = times_of(groups[f"{task}, without", axis, value]).median()
        found.append(
            {
                "task": task,
                "axis": axis,
                "value": value,
                "ratio": None if fast.is_censored else slow.value / fast.value,
                "is_lower_bound": slow.is_censored,
            }
        )
    return found


# --- the other questions


def smallest_that_solves(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The cell of the fewest parameters whose success is 90% with all of its interval."""
    solving = [cell for cell in cells if cell["iqm_low"] >= SOLVED]
    if not solving:
        return None
    return dict(min(solving, key=lambda cell: cell["num_parameters"]))


def vector_return_figures(groups: Mapping[Key, Rows]) -> list[dict[str, Any]]:
    """Each arm's mean return by component, and the hypervolume of its runs.

    The reference point of a task is (0, the worst prediction of any run); a volume is a share of
    the rectangle up to (1, 0), the best that there could be.
    """
    found = []
    for (arm, _, _), group in groups.items():
        task = arm.split(", ")[0]
        worst = min(
            row["vector_return"][1]
            for (other, _, _), rows in groups.items()
            if other.split(", ")[0] == task
            for row in rows
        )
        points = np.array([row["vector_return"] for row in group])
        interval = _bootstrap(points, lambda some, worst=worst: _share(some, worst))
        goal = _bootstrap(points, lambda some: float(some[:, 0].mean()))
        prediction = _bootstrap(points, lambda some: float(some[:, 1].mean()))
        found.append(
            {"arm": arm, "goal": goal, "prediction": prediction, "hypervolume_share": interval}
        )
    return found


def _share(points: NDArray[np.float64], worst: float) -> float:
    return hypervolume(points, (0.0, worst)) / -worst


def _bootstrap(
    points: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], float]
) -> list[float]:
    """An estimate with the limits of its 95% interval over runs."""
    draws = np.random.default_rng(0)
    resampled = [
        statistic(points[draws.integers(len(points), size=len(points))])
        for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.quantile(resampled, (0.025, 0.975))
    return [statistic(points), float(low), float(high)]


def breaks(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The lowest rate of each kind of error at which an arm's success is below 90%.

    None where it held at all rates that were tried; 0 where it did not get there without errors.
    """
    found = []
    for arm, axis in dict.fromkeys((c["arm"], c["axis"]) for c in cells if c["axis"] != "base"):
        own = [c for c in cells if c["arm"] == arm and c["axis"] in (axis, "base")]
        failing = [c["value"] for c in own if c["iqm"] < SOLVED]
        found.append({"arm": arm, "error": axis, "breaks_at": min(failing, default=None)})
    return found


# --- pictures


def draw(question: str, figures: Mapping[str, Any], path: Path) -> None:
    """The question's picture: success along axes, or a dot with its interval for each arm."""
    from matplotlib.figure import Figure

    cells = figures["cells"]
    axes_names = dict.fromkeys(
        (c["arm"].split(", ")[0], c["axis"]) for c in cells if c["axis"] != "base"
    )
    if question in ("scaling", "parents"):
        figure = Figure(figsize=(12, 3 * -(-len(axes_names) // 3)), layout="constrained")
        for number, (task, axis) in enumerate(axes_names, start=1):
            panel = figure.add_subplot(-(-len(axes_names) // 3), 3, number)
            draw_axis(panel, cells, task, axis, question)
    else:
        tasks = list(dict.fromkeys(c["arm"].split(", ")[0] for c in cells))
        height = 0.8 + 0.3 * max(sum(c["arm"].startswith(t + ", ") for c in cells) for t in tasks)
        figure = Figure(figsize=(4.2 * len(tasks) + 1, height), layout="constrained")
        for number, task in enumerate(tasks, start=1):
            own = [c for c in cells if c["arm"].startswith(task + ", ")]
            draw_arms(figure.add_subplot(1, len(tasks), number), own, task)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_axis(panel: Any, cells: Sequence[Any], task: str, axis: str, question: str) -> None:
    """Success of a task's arms along one axis."""
    arms = dict.fromkeys(c["arm"] for c in cells if c["arm"].startswith(task + ", "))
    # Without errors a parent of rules is the base; a language model has a cell of its own for that.
    shares_base = question == "parents" and axis != "language model"
    wanted = (axis, "base") if shares_base else (axis,)
    for arm, colour in zip(arms, COLOURS, strict=False):
        own = sorted(
            (c for c in cells if c["arm"] == arm and c["axis"] in wanted), key=lambda c: c["value"]
        )
        if not own:
            continue
        middle = np.array([c["iqm"] for c in own])
        limits = np.array([[c["iqm_low"], c["iqm_high"]] for c in own]).T
        label = arm.split(", ")[1]
        values = [c["value"] for c in own]
        panel.errorbar(values, middle, np.abs(limits - middle), fmt="o-", color=colour, label=label)
    panel.set_ylim(-0.05, 1.05)
    panel.set_title(f"{task}: {axis}", fontsize=10)
    panel.set_xlabel("rate of errors" if question == "parents" else axis, fontsize=9)
    panel.set_ylabel("success", fontsize=9)
    panel.legend(fontsize=8)


def draw_arms(panel: Any, cells: Sequence[Any], task: str) -> None:
    """A dot with its interval for each arm of a task."""
    for place, cell in enumerate(reversed(cells)):
        panel.plot([cell["iqm_low"], cell["iqm_high"]], [place, place], color=COLOURS[0])
        panel.plot(cell["iqm"], place, "o", color=COLOURS[0])
    labels = [cell["arm"].split(", ", 1)[1] for cell in reversed(cells)]
    panel.set_yticks(range(len(cells)), labels, fontsize=8)
    panel.set_xlim(-0.02, 1.02)
    panel.axvline(SOLVED, color="#5A5A5A", linewidth=1, linestyle=":")
    panel.set_xlabel("success, interquartile mean with 95% interval", fontsize=8)
    panel.set_title(task, fontsize=10)
