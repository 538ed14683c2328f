"""The one-agent table from its rows: interquartile means, what is missed, and the heat map."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.one_agent_tasks import arms, bsuite_suite
from benchmarks.one_agent_tasks.table import Task
from benchmarks.report import RESULTS, write_result
from wm_agents.errors import ConfigError
from wm_agents.evaluation.plots import COLOURS
from wm_agents.evaluation.statistics import interquartile_mean, stratified_bootstrap

PACKAGES = ("stable-baselines3", "sb3-contrib", "bsuite", "popgym", "box2d")
OURS = "world_model_agent"
IMAGES = Path(__file__).parents[2] / "docs" / "images"
COLUMNS = {
    "world model agent": (OURS,),
    "PPO": ("ppo",),
    "DQN or SAC": ("dqn", "sac"),
    "recurrent PPO": ("recurrent_ppo",),
    "random": ("random",),
}
"""Columns of the picture; no task has rows of two arms of one column."""

ABLATION_COLUMNS = {arm.replace("_", " "): (arm,) for arm in arms.OURS}
"""Columns of the second picture: the agent, and what it is without each of its parts."""

BSUITE_MEAN = 0.80
BSUITE_CATEGORY = 0.60
BSUITE_PEERS = ("dqn", "recurrent_ppo")

Rows = Sequence[Mapping[str, Any]]


def collect(
    folder: Path, rows: Rows, tasks: Mapping[str, Task], images: Path | None = None
) -> dict[str, Any]:
    """Write the result and the pictures from all rows at full budgets; gives the figures.

    Args:
        folder: Output folder of the runs, where bsuite's files are.
        rows: What the runs measured.
        tasks: All tasks by name.
        images: Folder of one_agent.png and, where parts of the agent were left out,
            one_agent_ablation.png; None takes that of the docs, and beside the results where those
            are sent elsewhere.

    Raises:
        ConfigError: There are no rows at full budgets.
    """
    full = [row for row in rows if row["steps_scale"] == 1.0 and row["task"] in tasks]
    if not full:
        raise ConfigError(f"no rows at --steps-scale 1 in {folder}: run some tasks first")
    if images is None:
        is_committed = Path(__file__).parents[1] / "results" == RESULTS
        images = IMAGES if is_committed else RESULTS
    figures: dict[str, Any] = {
        "tasks": by_task(full, tasks),
        "bsuite": by_bsuite_experiment(folder, full),
        "packages": packages(),
    }
    figures["missed"] = missed(figures, tasks)
    figures["not_measured"] = not_measured(figures, tasks)
    figures["specialised"] = {
        name: {
            "normalised_score": specialised_score(task),
            "source": task.specialised.source,
        }
        for name, task in tasks.items()
        if task.specialised is not None
    }
    seeds = sorted({row["seed"] for row in full})
    command = "python -m benchmarks.one_agent && python -m benchmarks.one_agent --collect"
    path = write_result("one_agent", figures, seeds=seeds, command=command)
    draw(*heat_map_values(figures, tasks), images / "one_agent.png")
    labels, values = ablation_values(figures)
    if labels:
        draw(labels, values, images / "one_agent_ablation.png", list(ABLATION_COLUMNS))
    print(f"written to {path} and {images}")
    for line in figures["missed"]:
        print(f"missed: {line}")
    print(f"not measured yet: {len(figures['not_measured'])} tasks of the agent")
    return figures


def packages() -> dict[str, str]:
    """Versions of the other suites and libraries, where they are installed."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def by_task(rows: Rows, tasks: Mapping[str, Task]) -> dict[str, dict[str, Any]]:
    """Figures by task and arm, in the order of the table; bsuite's settings are left out."""
    groups: dict[str, dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if tasks[row["task"]].metric != "bsuite":
            groups[row["task"]][row["arm"]].append(row)
    return {
        name: {arm: one_cell(task, groups[name][arm]) for arm in groups[name]}
        for name, task in tasks.items()
        if name in groups
    }


def one_cell(task: Task, rows: Rows) -> dict[str, Any]:
    """What the seeds of one arm on one task give together."""
    score = interquartile_mean([row["score"] for row in rows])
    seconds = float(np.mean([row["cpu_seconds"] for row in rows]))
    success = [row["success_rate"] for row in rows if row["success_rate"] is not None]
    threshold = task.threshold_score
    is_met = None
    if threshold is not None:
        is_met = score >= threshold
        if task.max_cpu_seconds is not None:
            is_met = is_met and seconds <= task.max_cpu_seconds
    return {
        **with_interval("normalised_score", [task.normalise(row["score"]) for row in rows]),
        "score": score,
        "mean_return": interquartile_mean([row["mean_return"] for row in rows]),
        "success_rate": interquartile_mean(success) if success else None,
        "threshold": threshold,
        "met": is_met,
        "score_by_seed": {str(row["seed"]): row["score"] for row in rows},
        "num_seeds": len(rows),
        "real_steps": int(np.mean([row["real_steps"] for row in rows])),
        "cpu_seconds": seconds,
        "decisions_per_second": _mean(row["decisions_per_second"] for row in rows),
    }


def with_interval(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """Interquartile mean with its 95% interval, which a single run does not have."""
    if len(values) < 2:
        return {name: float(values[0]), f"{name}_low": None, f"{name}_high": None}
    return {**stratified_bootstrap(values).flatten(name)}


def by_bsuite_experiment(folder: Path, rows: Rows) -> dict[str, Any]:
    """Scores of bsuite by arm: the mean, experiments and categories, from runs of whole seeds."""
    done: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["task"].startswith("bsuite/"):
            done[row["arm"], row["seed"]].append(row)
    wanted = {f"bsuite/{setting.bsuite_id}" for setting in bsuite_suite.settings()}
    scores: dict[str, list[dict[str, dict[str, float]]]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    for (arm, seed), found in sorted(done.items()):
        if {row["task"] for row in found} == wanted:
            scores[arm].append(
                bsuite_suite.score_all(bsuite_suite.logs_folder(folder, arm, seed, 1.0))
            )
            seconds[arm].append(sum(row["cpu_seconds"] for row in found))
    return {
        arm: {
            **with_interval("mean", [_mean(one["experiments"].values()) for one in runs]),
            "num_seeds": len(runs),
            "cpu_seconds": _mean(seconds[arm]),
            "categories": _averages([one["categories"] for one in runs]),
            "experiments": _averages([one["experiments"] for one in runs]),
        }
        for arm, runs in scores.items()
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _averages(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: interquartile_mean([run[name] for run in runs]) for name in runs[0]}


def missed(figures: Mapping[str, Any], tasks: Mapping[str, Task]) -> list[str]:
    """Plain sentences on every threshold that our agent was measured on and did not reach."""
    lines = []
    for name, by_arm in figures["tasks"].items():
        cell = by_arm.get(OURS)
        if cell is None:
            continue
        if cell["real_steps"] > tasks[name].budget:
            lines.append(f"{name}: took {cell['real_steps']:,} of {tasks[name].budget:,} steps")
        if cell["met"] is not False:
            continue
        text = f"{name}: {cell['score']:.4g}, asked for {cell['threshold']:.4g}"
        limit = tasks[name].max_cpu_seconds
        if limit is not None and cell["cpu_seconds"] > limit:
            text += f", {cell['cpu_seconds']:.0f} CPU-seconds, asked for {limit:.0f}"
        lines.append(text)
    ours = figures["bsuite"].get(OURS)
    if ours is not None:
        lines += _missed_in_bsuite(ours, figures["bsuite"])
    return lines


def _missed_in_bsuite(ours: Mapping[str, Any], arms: Mapping[str, Any]) -> list[str]:
    lines = []
    if ours["mean"] < BSUITE_MEAN:
        lines.append(f"bsuite: mean {ours['mean']:.3f}, asked for {BSUITE_MEAN}")
    for category, score in ours["categories"].items():
        if score < BSUITE_CATEGORY:
            lines.append(f"bsuite, {category}: {score:.3f}, asked for {BSUITE_CATEGORY}")
    better = [peer for peer in BSUITE_PEERS if peer in arms and arms[peer]["mean"] >= ours["mean"]]
    texts = [f"{peer} has {arms[peer]['mean']:.3f}" for peer in better]
    return [*lines, *(f"bsuite: mean {ours['mean']:.3f}, {text}" for text in texts)]


def not_measured(figures: Mapping[str, Any], tasks: Mapping[str, Task]) -> list[str]:
    """Tasks on which our agent has no row at its full budget; bsuite counts as one."""
    names = [
        name
        for name, task in tasks.items()
        if task.metric != "bsuite" and OURS not in figures["tasks"].get(name, {})
    ]
    return names if OURS in figures["bsuite"] else [*names, "bsuite"]


def specialised_score(task: Task) -> float:
    """Our specialised agent's score between random play and the best known."""
    assert task.specialised is not None
    if task.specialised.is_normalised:
        return task.specialised.score
    return task.normalise(task.specialised.score)


def draw(
    labels: Sequence[str],
    values: NDArray[np.float64],
    path: Path,
    columns: Sequence[str] = (*COLUMNS, "specialised"),
) -> None:
    """A heat map: a line for each task and each of bsuite's experiments, a column for each arm."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    white_to_blue = LinearSegmentedColormap.from_list("house", ["#FFFFFF", COLOURS[0]])
    colours = white_to_blue.with_extremes(bad="#EEEEEE")
    height = 1.2 + 0.26 * len(labels)
    figure, axes = plt.subplots(figsize=(8.4, height), layout="constrained")
    axes.imshow(np.clip(values, 0, 1), cmap=colours, vmin=0, vmax=1, aspect="auto")
    for line, column in np.ndindex(*values.shape):
        value = values[line, column]
        if np.isfinite(value):
            colour = "white" if value > 0.6 else "black"
            text = f"{value + 0.0:.2f}"
            axes.text(column, line, text, ha="center", va="center", color=colour, fontsize=8)
    names = [name.replace(" ", "\n", 1) for name in columns]
    axes.set_xticks(range(len(columns)), names, fontsize=9)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_xlabel("0 is random play, 1 the best known; * no setting was chosen on it", fontsize=9)
    for side in axes.spines.values():
        side.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def heat_map_values(
    figures: Mapping[str, Any], tasks: Mapping[str, Task]
) -> tuple[list[str], NDArray[np.float64]]:
    """Labels of the lines, and normalised scores [lines, columns]; NaN where nothing was measured."""
    labels: list[str] = []
    lines: list[list[float]] = []
    for name, cells in figures["tasks"].items():
        task = tasks[name]
        scores = {arm: cell["normalised_score"] for arm, cell in cells.items()}
        special = float("nan") if task.specialised is None else specialised_score(task)
        labels.append(name + (" *" if task.is_held_out else ""))
        lines.append([*_columns(scores), special])
    for experiment in bsuite_suite.EXPERIMENTS:
        scores = {
            arm: cell["experiments"][experiment]
            for arm, cell in figures["bsuite"].items()
            if experiment in cell["experiments"]
        }
        if scores:
            labels.append(f"bsuite/{experiment} *")
            lines.append([*_columns(scores), float("nan")])
    return labels, np.array(lines, np.float64).reshape(len(labels), len(COLUMNS) + 1)


def ablation_values(figures: Mapping[str, Any]) -> tuple[list[str], NDArray[np.float64]]:
    """The same for the tasks on which parts of the agent were left out."""
    scores = {
        name: {arm: cell["normalised_score"] for arm, cell in cells.items()}
        for name, cells in figures["tasks"].items()
    }
    labels = [name for name, cells in scores.items() if set(cells) & (set(arms.OURS) - {OURS})]
    lines = [_columns(scores[name], ABLATION_COLUMNS) for name in labels]
    return labels, np.array(lines, np.float64).reshape(len(labels), len(ABLATION_COLUMNS))


def _columns(
    scores: Mapping[str, float], columns: Mapping[str, Sequence[str]] = COLUMNS
) -> list[float]:
    found = []
    for names in columns.values():
        here = [scores[arm] for arm in names if arm in scores]
        found.append(here[0] if here else float("nan"))
    return found
