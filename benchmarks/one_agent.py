"""One agent on many environments: the same steps for ours, Stable-Baselines3's and random play.

    python -m benchmarks.one_agent --tasks "wm/*" CartPole-v1 --arms world_model_agent ppo --seeds 0 1 2
    python -m benchmarks.one_agent --arms random --seeds 0
    python -m benchmarks.one_agent --collect

Each run of a task, an arm and a seed is one line of `rows.jsonl` in the output folder; the command
goes on where it was stopped. `--collect` makes benchmarks/results/one_agent.json and pictures of
all lines, and keeps the lines in one_agent_rows/ beside it; `--from-committed` goes on from those.
The zero of the scale is measured by `python -m benchmarks.one_agent_tasks.scale`.
"""

import datetime
import fnmatch
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import tyro

from benchmarks.one_agent_tasks import bsuite_suite
from benchmarks.one_agent_tasks.adapters import for_stable_baselines
from benchmarks.one_agent_tasks.arms import (
    ARMS,
    Learned,
    NotApplicable,
    learn,
    takes_flat_observations,
)
from benchmarks.one_agent_tasks.table import Task, tasks
from benchmarks.report import RESULTS, append_row, read_rows
from wm_agents.errors import ConfigError
from wm_agents.evaluation.episodes import EpisodeResults, evaluate
from wm_envs.data.paths import expand_paths

MAX_SEED = 9_999
EVALUATION_SEED = 1_000_000
"""Evaluation episodes start here; each training seed has `SEEDS_PER_RUN` of its own."""
SEEDS_PER_RUN = 100_000
MAX_EVALUATION_ENVS = 20
TIMED_DECISIONS = 300
COMMITTED_ROWS = RESULTS / "one_agent_rows"


@dataclass(frozen=True)
class Config:
    """What to run, or to collect."""

    tasks: tuple[str, ...] = ("*",)
    """Names of tasks or patterns, such as "bsuite/*"."""
    arms: tuple[str, ...] = ("world_model_agent", "ppo", "dqn", "sac", "recurrent_ppo", "random")
    """Which learners."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of every arm on every task each."""
    steps_scale: float = 1.0
    """Factor on the budgets of real steps; rows of another factor are rows of their own."""
    episodes: int | None = None
    """Evaluation episodes in place of each task's own number."""
    output_dir: Path = Path("runs/one_agent")
    """Folder of the finished rows."""
    from_committed: bool = False
    """Take the committed rows for finished, where the output folder has none of its own."""
    list: bool = False
    """List the tasks with their budgets and thresholds and run none."""
    collect: bool = False
    """Run nothing; write the result and the pictures from the rows that are there."""


def main(config: Config) -> int:
    """Run what is missing, or collect; returns the number of runs that failed."""
    config = expand_paths(config)
    known = tasks()
    chosen = choose(config, known)
    if config.from_committed and not read_rows(config.output_dir):
        for row in read_rows(COMMITTED_ROWS):
            append_row(config.output_dir, row)
    if config.list:
        for task in chosen:
            print(describe(task))
        return 0
    if config.collect:
        from benchmarks.one_agent_tasks.summary import collect

        rows = read_rows(config.output_dir)
        collect(config.output_dir, rows, known)
        keep_rows(rows, COMMITTED_ROWS)
        return 0
    return run_missing(config, chosen)


def keep_rows(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Put rows into a folder's; a run that was made again has its new row."""
    merged = {row_key(row): row for row in [*read_rows(folder), *rows]}
    (folder / "rows.jsonl").unlink(missing_ok=True)
    for row in merged.values():
        append_row(folder, row)


def choose(config: Config, known: dict[str, Task]) -> list[Task]:
    """The tasks that were asked for.

    Raises:
        ConfigError: A pattern without a task, an unknown arm, a seed or factor out of range.
    """
    for pattern in config.tasks:
        if not fnmatch.filter(known, pattern):
            raise ConfigError(f"no task matches {pattern!r}: --list gives their names")
    if unknown := sorted(set(config.arms) - set(ARMS)):
        raise ConfigError(f"no arms {unknown}: there are {', '.join(ARMS)}")
    for seed in config.seeds:
        if not 0 <= seed <= MAX_SEED:
            raise ConfigError(
                f"seed {seed}: give one from 0 to {MAX_SEED}, since those of evaluation begin "
                f"at {EVALUATION_SEED}"
            )
    if not config.steps_scale > 0:
        raise ConfigError(f"steps_scale={config.steps_scale}: give a number above 0")
    if config.episodes is not None and config.episodes < 1:
        raise ConfigError(f"episodes={config.episodes}: give at least 1")
    return [
        task
        for name, task in known.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in config.tasks)
    ]


def describe(task: Task) -> str:
    """One line: name, steps, threshold, and * where no setting may be chosen on it."""
    star = "*" if task.is_held_out else " "
    threshold = ""
    if task.threshold is not None:
        threshold = f"{task.threshold.value:g} ({task.threshold.kind})"
    return f"{task.name:38}{star} {task.budget:>9,} steps  {task.metric:13} {threshold}"


def run_missing(config: Config, chosen: list[Task]) -> int:
    """Run each task, arm and seed that has no row yet; whole seeds one after the other."""
    finished = {row_key(row) for row in read_rows(config.output_dir)}
    available = list(_installed(chosen))
    num_failed = 0
    for seed, task, arm in product(config.seeds, available, config.arms):
        if (task.name, arm, seed, config.steps_scale) in finished:
            continue
        try:
            row = run_one(task, arm, seed, config)
        except NotApplicable as reason:
            print(f"{task.name}, {arm}: skipped, {reason}", flush=True)
            continue
        except Exception:
            # One arm that breaks on one task must not cost the night's other rows.
            traceback.print_exc()
            print(f"{task.name}, {arm}, seed {seed}: failed", flush=True)
            num_failed += 1
            continue
        append_row(config.output_dir, row)
        print(
            f"{task.name}, {arm}, seed {seed}: {row['score']:.4g}, normalised "
            f"{row['normalised_score']:.3f}, {row['real_steps']:,} steps, "
            f"{row['cpu_seconds']:.0f} s",
            flush=True,
        )
    return num_failed


def _installed(chosen: list[Task]) -> Iterator[Task]:
    """The tasks whose packages are there; one line for each group of packages that is not."""
    told = set()
    for task in chosen:
        missing = task.missing_packages()
        if not missing:
            yield task
        elif task.needs not in told:
            told.add(task.needs)
            print(f"{task.name} and its like: skipped, not installed: {', '.join(missing)}")


def run_one(task: Task, arm: str, seed: int, config: Config) -> dict[str, Any]:
    """Learn and evaluate once; gives the row.

    Raises:
        NotApplicable: The arm cannot run there.
    """
    budget = max(1, round(task.budget * config.steps_scale))
    if task.metric == "bsuite":
        folder = bsuite_suite.logs_folder(config.output_dir, arm, seed, config.steps_scale)
        measured = _run_bsuite(task, arm, seed, budget, folder)
    else:
        measured = _run_episodes(task, arm, seed, budget, config.episodes or task.episodes)
    threshold = task.threshold_score
    is_met = None
    if threshold is not None:
        is_met = measured["score"] >= threshold and (
            task.max_cpu_seconds is None or measured["cpu_seconds"] <= task.max_cpu_seconds
        )
    return {
        "task": task.name,
        "arm": arm,
        "seed": seed,
        "steps_scale": config.steps_scale,
        "budget": budget,
        **measured,
        "normalised_score": task.normalise(measured["score"]),
        "threshold": threshold,
        "met": is_met,
        "date": datetime.date.today().isoformat(),
    }


def _run_episodes(task: Task, arm: str, seed: int, budget: int, episodes: int) -> dict[str, Any]:
    env = task.make()
    try:
        learned = learn(arm, env, seed, budget)
    finally:
        env.close()
    started = time.process_time()
    results = play(task, arm, learned, seed, episodes)
    score = results.mean_return
    if task.metric == "success_rate":
        if results.success_rate is None:
            raise RuntimeError(f"{task.name} reports no success")
        score = results.success_rate
    return {
        "mean_return": results.mean_return,
        "success_rate": results.success_rate,
        "score": score,
        "real_steps": learned.real_steps,
        "cpu_seconds": learned.cpu_seconds,
        "evaluation_cpu_seconds": time.process_time() - started,
        "evaluation_episodes": len(results.returns),
        "decisions_per_second": decision_speed(task, arm, learned, seed),
        "decisions": learned.decisions,
    }


def decision_speed(task: Task, arm: str, learned: Learned, seed: int) -> float:
    """Decisions per CPU-second, one observation at a time."""
    env = task.make()
    if takes_flat_observations(arm):
        env = for_stable_baselines(env)
    try:
        observation, _ = env.reset(seed=evaluation_seed(seed))
    finally:
        env.close()
    state = learned.agent.predict(observation, None)[1]
    started = time.process_time()
    for _ in range(TIMED_DECISIONS):
        state = learned.agent.predict(observation, state)[1]
    return TIMED_DECISIONS / (time.process_time() - started)


def play(task: Task, arm: str, learned: Learned, seed: int, episodes: int) -> EpisodeResults:
    """Whole episodes from seeds that no learner has seen.

    Raises:
        RuntimeError: The environment was reset with one of these seeds while the arm learned.
    """
    first = evaluation_seed(seed)
    if used := sorted(one for one in learned.seeds if one >= EVALUATION_SEED):
        raise RuntimeError(f"{arm} learned with the evaluation seeds {used[:3]} of {task.name}")

    def make() -> gym.Env[Any, Any]:
        env = task.make()
        return for_stable_baselines(env) if takes_flat_observations(arm) else env

    rows = gym.vector.SyncVectorEnv([make] * min(episodes, MAX_EVALUATION_ENVS))
    try:
        return evaluate(learned.agent, rows, episodes, seed=first)
    finally:
        rows.close()


def evaluation_seed(seed: int) -> int:
    """The seed of the first evaluation episode of a run."""
    return EVALUATION_SEED + SEEDS_PER_RUN * seed


def _run_bsuite(task: Task, arm: str, seed: int, budget: int, logs: Path) -> dict[str, Any]:
    """The score of what happens while the arm learns; nothing is evaluated afterwards."""
    bsuite_id = task.name.removeprefix("bsuite/")
    env = bsuite_suite.make_logged(bsuite_id, seed, logs)
    learned = learn(arm, env, seed, budget)
    score, mean_return, episodes = bsuite_suite.score_one(bsuite_id, logs)
    return {
        "mean_return": mean_return,
        "success_rate": None,
        "score": score,
        "real_steps": learned.real_steps,
        "cpu_seconds": learned.cpu_seconds,
        "evaluation_cpu_seconds": 0.0,
        "evaluation_episodes": episodes,
        "decisions": learned.decisions,
    }


def row_key(row: dict[str, Any]) -> tuple[str, str, int, float]:
    """What says which run a row is."""
    return row["task"], row["arm"], row["seed"], row["steps_scale"]


if __name__ == "__main__":
    sys.exit(min(main(tyro.cli(Config)), 1))
