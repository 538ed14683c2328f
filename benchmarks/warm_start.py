"""What a return costs: iCEM and CEM with the same budgets and warm start, on three tasks.

    python -m benchmarks.warm_start
    python -m benchmarks.warm_start --tasks pendulum --episodes 20

Both plan on the true dynamics, so that no model's error comes between them, from the same starts
and with the same grid of samples and iterations; both carry the last plan over. Each arm has the
same number of random trials of its settings, on other starts, at one budget in the middle. Returns
are those of whole episodes, all starts as one batch; what a decision costs is measured apart, one
environment at a time, arms and budgets by turns.

Finished trials and evaluations are kept in the output folder: the command goes on where it was
stopped.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.report import RESULTS, append_row, read_figures, read_rows, write_result
from benchmarks.tuning import Settings, random_search
from benchmarks.warm_start_tasks import PlanningTask, tasks
from wm_agents.evaluation.statistics import percentile_limits, stratified_bootstrap_band
from wm_agents.planning import CEM, ICEM
from wm_agents.planning.planner import ModelPlanner, action_bounds
from wm_agents.protocols import ModelState
from wm_envs.data.paths import expand_paths

BUDGETS = ((4, 1), (8, 1), (8, 2), (16, 2), (32, 2), (64, 3))
"""(samples, iterations)"""
TUNING_BUDGET = (16, 2)
FIRST_TUNING_SEED = 1000
NUM_TUNING_SEEDS = 10
SHARED: dict[str, list[Any]] = {
    "elite_share": [0.1, 0.2, 0.4],
    "initial_std": [0.5, 0.25, 1.0],
    "smallest_std": [0.0, 0.05, 0.2],
    "momentum": [0.1, 0.0, 0.4],
}
ARMS: dict[str, dict[str, list[Any]]] = {
    "CEM": SHARED,
    "iCEM": SHARED
    | {
        "noise_exponent": [2.0, 0.5, 1.0, 3.0],
        "kept_share": [0.3, 0.1, 0.6],
        "sample_decay": [1.25, 1.0],
    },
}
"""The choices of each arm's settings, the default first."""
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "planners_return_cpu.png"
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Config:
    """How long to measure."""

    tasks: tuple[str, ...] = ("pendulum", "cart_pole_swing_up", "driving")
    """Which tasks; each has a result of its own."""
    episodes: int = 20
    """Episodes of each arm and budget, each with a seed of its own."""
    num_trials: int = 10
    """Settings that are tried for each arm."""
    num_decisions: int = 10
    """Decisions of each of the seven turns in which a budget's cost is measured."""
    tolerance: float = 0.02
    """Share of the way from random actions to the best return that may be missing."""
    output_dir: Path = Path("runs/warm_start")
    """Folder of finished trials and rows."""
    results_dir: Path = RESULTS
    """Folder of warm_start_<task>.json."""
    picture: Path = PICTURE
    """Where the curves are drawn."""


def main(config: Config) -> dict[str, Any]:
    """Measure what is missing task by task; returns the figures."""
    torch.set_num_threads(1)
    config = expand_paths(config)
    figures = {}
    known = tasks()
    for name in config.tasks:
        figures[name] = run_task(known[name], config)
        command = f"python -m benchmarks.warm_start --tasks {name} --episodes {config.episodes}"
        command += f" --num-trials {config.num_trials}"
        seeds = list(range(config.episodes))
        write_result(
            f"warm_start_{name}",
            figures[name],
            seeds=seeds,
            command=command,
            folder=config.results_dir,
        )
        print(name, figures[name]["equal_return"], flush=True)
    draw(committed(config.results_dir) | figures, config.picture)
    return figures


def committed(folder: Path) -> dict[str, Any]:
    """The figures of all tasks that were ever measured, so that a picture has them all."""
    paths = {name: folder / f"warm_start_{name}.json" for name in tasks()}
    return {name: read_figures(path) for name, path in paths.items() if path.exists()}


def run_task(task: PlanningTask, config: Config) -> dict[str, Any]:
    """Tune, evaluate, time and compare."""
    folder = config.output_dir / task.name
    seeds = list(range(config.episodes))

    def score(arm: str, settings: Settings, seeds: Sequence[int]) -> Sequence[float]:
        returns: list[float] = episode_returns(
            task, planner(task, arm, TUNING_BUDGET, settings), seeds
        ).tolist()
        return returns

    tuning = random_search(
        ARMS,
        score,
        num_trials=config.num_trials,
        seeds=range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + NUM_TUNING_SEEDS),
        evaluation_seeds=seeds,
        folder=folder,
    )
    best = {arm: record["best"] for arm, record in tuning.items()}
    returns = evaluated(task, best, seeds, folder)
    costs = decision_costs(task, best, config.num_decisions)
    return summarize(task, tuning, returns, costs, config)


def planner(
    task: PlanningTask, arm: str, budget: tuple[int, int], settings: Settings
) -> ModelPlanner[Any]:
    """An arm with a budget; at least two elites, so that there is a spread to fit."""
    num_samples, num_iterations = budget
    options = {name: value for name, value in settings.items() if name != "elite_share"}
    options["num_elites"] = max(2, round(settings["elite_share"] * num_samples))
    kind = ICEM if arm == "iCEM" else CEM
    return kind(
        horizon=task.horizon, num_samples=num_samples, num_iterations=num_iterations, **options
    ).bind(task.model)


def evaluated(
    task: PlanningTask, best: dict[str, Settings], seeds: list[int], folder: Path
) -> list[dict[str, Any]]:
    """Each arm's returns with each budget; what is in the folder is not run again."""
    rows = []
    finished = {(row["arm"], row["budget"]): row for row in read_rows(folder)}
    for budget in BUDGETS:
        for arm, settings in best.items():
            name = budget_name(budget)
            row = finished.get((arm, name))
            if row is None or (row["settings"], row["seeds"]) != (settings, seeds):
                began = time.process_time()
                returns = episode_returns(task, planner(task, arm, budget, settings), seeds)
                row = {
                    "arm": arm,
                    "budget": name,
                    "settings": settings,
                    "seeds": seeds,
                    "returns": returns.tolist(),
                }
                append_row(folder, row)
                seconds = time.process_time() - began
                print(
                    f"{task.name}, {arm}, {name}: {returns.mean():.2f}, {seconds:.0f} s", flush=True
                )
            rows.append(row)
    return rows


def budget_name(budget: tuple[int, int]) -> str:
    """As `25 x 3`: samples x iterations."""
    return "{} x {}".format(*budget)


def episode_returns(
    task: PlanningTask, search: ModelPlanner[Any], seeds: Sequence[int]
) -> NDArray[np.float64]:
    """The return [B] of an episode from each start, planned as one batch."""
    generator = torch.Generator().manual_seed(seeds[0])
    search.reset()
    return play(task, seeds, lambda state: search.plan(state, generator).actions[:, 0])


def random_returns(task: PlanningTask, seeds: Sequence[int]) -> NDArray[np.float64]:
    """The return [B] of uniform actions."""
    generator = torch.Generator().manual_seed(seeds[0])
    low, high = action_bounds(task.model.action_space)

    def act(_: ModelState) -> Tensor:
        return low + torch.rand(len(seeds), len(low), generator=generator) * (high - low)

    return play(task, seeds, act)


def play(
    task: PlanningTask, seeds: Sequence[int], act: Callable[[ModelState], Tensor]
) -> NDArray[np.float64]:
    """The return [B] of an episode from each start."""
    state = task.start(seeds)
    total = torch.zeros(len(seeds), dtype=torch.float64)
    is_over = torch.zeros(len(seeds), dtype=torch.bool)
    for _ in range(task.num_decisions):
        state, prediction = task.model.step(state, act(state))
        total += torch.where(is_over, 0.0, prediction.rewards.double())
        is_over |= prediction.terminations > 0.5
    return total.numpy()


def decision_costs(
    task: PlanningTask, best: dict[str, Settings], num_decisions: int, num_turns: int = 7
) -> dict[tuple[str, str], list[float]]:
    """CPU milliseconds of one decision in one environment, one number a turn."""
    searches = {
        (arm, budget_name(budget)): planner(task, arm, budget, settings)
        for budget in BUDGETS
        for arm, settings in best.items()
    }
    generator = torch.Generator().manual_seed(0)
    state = task.start([0])
    for search in searches.values():  # compile and allocate before the clock runs
        search.plan(state, generator)
    costs: dict[tuple[str, str], list[float]] = {key: [] for key in searches}
    for _ in range(num_turns):
        for key, search in searches.items():
            began = time.process_time()
            for _ in range(num_decisions):
                search.plan(state, generator)
            costs[key].append(1000 * (time.process_time() - began) / num_decisions)
    return costs


def summarize(
    task: PlanningTask,
    tuning: dict[str, Any],
    returns: list[dict[str, Any]],
    costs: dict[tuple[str, str], list[float]],
    config: Config,
) -> dict[str, Any]:
    """Curves with intervals, the cost of equal return, and a row for each start."""
    seeds = list(range(config.episodes))
    random_play = float(random_returns(task, seeds).mean())
    names = [budget_name(budget) for budget in BUDGETS]
    by_key = {(row["arm"], row["budget"]): np.array(row["returns"]) for row in returns}
    table = {arm: np.stack([by_key[arm, name] for name in names], 1) for arm in tuning}  # [B, K]
    turns = {arm: np.stack([costs[arm, name] for name in names], 1) for arm in tuning}
    curves = {}
    for arm, values in table.items():
        means, low, high = stratified_bootstrap_band(values, np.mean)
        curves[arm] = {
            name: {
                "mean_return": float(means[place]),
                "mean_return_low": float(low[place]),
                "mean_return_high": float(high[place]),
                "cpu_ms_per_decision": float(np.median(turns[arm][:, place])),
                "cpu_ms_by_turn": costs[arm, name],
            }
            for place, name in enumerate(names)
        }
    rows = [
        {
            "arm": row["arm"],
            "budget": row["budget"],
            "seed": seed,
            "return": value,
            "real_steps": task.num_decisions,
            "cpu_seconds": float(np.median(costs[row["arm"], row["budget"]]))
            * task.num_decisions
            / 1000,
        }
        for row in returns
        for seed, value in zip(row["seeds"], row["returns"], strict=True)
    ]
    return {
        "random_return": random_play,
        "horizon": task.horizon,
        "decisions": task.num_decisions,
        "specified": "the true dynamics and rewards, in every arm",
        "curves": curves,
        "equal_return": equal_return(table, turns, random_play, config.tolerance),
        "tuning": tuning,
        "rows": rows,
    }


def equal_return(
    table: dict[str, NDArray[np.float64]],
    turns: dict[str, NDArray[np.float64]],
    random_play: float,
    tolerance: float,
) -> dict[str, Any]:
    """CPU of CEM's cheapest sufficient budget over iCEM's, with an interval.

    A budget suffices that misses at most `tolerance` of the way from random actions to the best
    mean return of either arm at any budget. Starts and turns of the clock are drawn anew for the
    interval. Where an arm has no such budget the ratio is null, and `share_known` is the share of
    resamples in which both have one.

    Args:
        table: Returns [B, K] of each arm, by start and budget.
        turns: CPU of a decision [T, K] of each arm, by turn and budget.
        random_play: The return of random actions.
        tolerance: The share.
    """
    num_starts = len(table["CEM"])
    num_turns = len(turns["CEM"])
    draws = np.random.default_rng(0)
    ratios = []
    for _ in range(NUM_RESAMPLES):
        starts = draws.integers(num_starts, size=num_starts)
        clock = draws.integers(num_turns, size=num_turns)
        drawn = {arm: values[starts] for arm, values in table.items()}
        cost = {arm: np.median(values[clock], 0) for arm, values in turns.items()}
        places = _cheapest(drawn, cost, random_play, tolerance)
        ratios.append(_ratio(places, cost))
    cost = {arm: np.median(values, 0) for arm, values in turns.items()}
    places = _cheapest(table, cost, random_play, tolerance)
    known = [ratio for ratio in ratios if ratio is not None]
    figures: dict[str, Any] = {
        "value": _ratio(places, cost),
        "share_known": len(known) / NUM_RESAMPLES,
    }
    if figures["value"] is not None:
        low, high = percentile_limits(np.array(known), 0.95)
        figures |= {"low": float(low), "high": float(high)}
    names = {
        f"{arm}: cheapest budget": None if place is None else BUDGET_NAMES[place]
        for arm, place in places.items()
    }
    return {**names, "CEM over iCEM": figures}


BUDGET_NAMES = [budget_name(budget) for budget in BUDGETS]


def _cheapest(
    table: dict[str, NDArray[np.float64]],
    cost: dict[str, NDArray[np.float64]],
    random_play: float,
    tolerance: float,
) -> dict[str, int | None]:
    """The place of each arm's cheapest sufficient budget."""
    means = {arm: values.mean(0) for arm, values in table.items()}
    best = max(float(values.max()) for values in means.values())
    enough = best - tolerance * (best - random_play)
    places: dict[str, int | None] = {}
    for arm, values in means.items():
        sufficient = np.flatnonzero(values >= enough)
        places[arm] = None
        if len(sufficient):
            places[arm] = int(sufficient[np.argmin(cost[arm][sufficient])])
    return places


def _ratio(places: dict[str, int | None], cost: dict[str, NDArray[np.float64]]) -> float | None:
    other, ours = places["CEM"], places["iCEM"]
    if other is None or ours is None:
        return None
    return float(cost["CEM"][other] / cost["iCEM"][ours])


def draw(figures: dict[str, Any], path: Path) -> None:
    """Return against CPU, a panel for each task."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        1, len(figures), figsize=(4 * len(figures), 3.4), layout="constrained", squeeze=False
    )
    for axes, (name, task) in zip(panels[0], figures.items(), strict=True):
        for arm, budgets in task["curves"].items():
            points = list(budgets.values())  # from the smallest budget to the largest
            costs = [point["cpu_ms_per_decision"] for point in points]
            axes.plot(costs, [point["mean_return"] for point in points], marker="o", label=arm)
            limits = ([point[f"mean_return_{end}"] for point in points] for end in ("low", "high"))
            axes.fill_between(costs, *limits, alpha=0.2)
        axes.set_xscale("log")
        axes.set_xlabel("CPU of a decision, ms")
        axes.set_title(f"{name.replace('_', ' ')}, {len(seeds_of(task))} starts")
    panels[0][0].set_ylabel("mean return")
    panels[0][-1].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def seeds_of(figures: dict[str, Any]) -> set[int]:
    """The starts of a task's rows."""
    return {row["seed"] for row in figures["rows"]}


if __name__ == "__main__":
    main(tyro.cli(Config))
