"""Does a certified horizon keep its promise, and how much of the measured one is left?

    python -m benchmarks.certified_horizon

A small model is fitted to each task and seed. Its held-out episodes are then split at random, half
and half, fifty times: one half certifies a horizon at a risk of .1, the other half says how many of
its windows left the tolerance within it (at most .1 was promised, on average over splits) and how
far the model really went (the last step by which at most a tenth had left). One row per task and
seed is added to the result, in place of an older one, so that a benchmark that was stopped goes on.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro

from benchmarks.report import RESULTS, add_missing_rows
from wm_agents.evaluation.certified import (
    CertifiedHorizon,
    certified_horizon,
    certified_steps,
    measured_steps,
)
from wm_agents.world_models import DeterministicConfig, DeterministicModel, FitConfig, TokenModel
from wm_envs import record

NAME = "certified_horizon"
KEY = ("task", "seed")
SMALL = DeterministicConfig(dynamics_widths=(64, 64), reward_widths=(32,), termination_widths=(16,))
MOTION = ("velocity_x", "velocity_y", "yaw_rate", "offset", "heading_error")
PONG = tuple(
    f"{thing}_{axis}_{frame}"
    for thing in ("player", "enemy", "ball")
    for axis in "xy"
    for frame in range(4)
)
NOTES = (
    "The tolerance is a share of each judged feature's standard deviation in training.",
    "Models are small, for one core: the horizons say nothing of what could be reached.",
)


@dataclass(frozen=True)
class Task:
    """An environment, who plays in it and what is judged."""

    env_id: str
    tolerance: float
    judged: tuple[str, ...] = ()
    max_episode_steps: int | None = None
    train_episodes: int = 60
    test_episodes: int = 100
    num_updates: int = 2000
    is_token: bool = False


TASKS = {
    "pendulum": Task("Pendulum-v1", 0.3, train_episodes=15),
    "cart_pole": Task("CartPole-v1", 0.02, train_episodes=100, test_episodes=200),
    "pong": Task("wm/Pong-v0", 1.5, PONG, 100, train_episodes=100),
    "driving": Task("wm/Driving-v0", 1.0, MOTION, 100),
    "perm_puzzle": Task("wm/PermPuzzle-v0", 0.1, is_token=True),
}


@dataclass(frozen=True)
class Config:
    """What to run."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Names in TASKS."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of recordings, weights, batches and splits."""
    num_splits: int = 50
    """Random halves of the held-out episodes."""
    alpha: float = 0.1
    """The risk."""
    redo: bool = False
    """Measure rows again that the result already has."""
    output_dir: Path = RESULTS
    """Folder for certified_horizon.json."""


def main(config: Config) -> dict[str, Any]:
    """Run every task and seed that is missing; returns all rows with their summary."""
    torch.set_num_threads(1)
    return add_missing_rows(
        NAME,
        [(task, seed) for seed in config.seeds for task in config.tasks],
        lambda task, seed: measure(task, seed, config),
        key=KEY,
        command=lambda task, seed: (
            f"python -m benchmarks.{NAME} --tasks {task} --seeds {seed} --redo"
        ),
        summarise=summarise,
        notes=NOTES,
        is_redone=config.redo,
        folder=config.output_dir,
    )


def measure(name: str, seed: int, config: Config) -> dict[str, Any]:
    """Fit one model and split its held-out episodes."""
    task, began = TASKS[name], time.perf_counter()
    report = certify(task, seed, config.alpha)
    splits = split_figures(report.episode_shares, config.alpha, config.num_splits, seed)
    finite = report.coverage[np.isfinite(report.coverage)]
    return {
        "alpha": config.alpha,
        "num_splits": config.num_splits,
        "tolerance_in_std": task.tolerance,
        "test_episodes": report.num_episodes,
        "horizon_examined": report.horizon,
        "certified_on_all": report.certified,
        "measured_on_all": report.measured,
        "interval_coverage_mean": float(finite.mean()),
        "interval_coverage_least": float(finite.min()),
        **splits,
        "seconds": time.perf_counter() - began,
    }


def certify(task: Task, seed: int, alpha: float) -> CertifiedHorizon:
    """Record, fit, and certify on all held-out episodes."""
    kwargs = {"max_episode_steps": task.max_episode_steps} if task.max_episode_steps else {}
    train = record(
        task.env_id, episodes=task.train_episodes, seed=seed, env_kwargs=kwargs, progress=False
    )
    test = record(
        task.env_id,
        episodes=task.test_episodes,
        seed=1_000_000 + 1000 * seed,
        env_kwargs=kwargs,
        progress=False,
    )
    if task.is_token:
        model: Any = TokenModel.for_env(task.env_id, seed=seed)
        model.fit(train)
    else:
        model = DeterministicModel.for_env(task.env_id, SMALL, seed=seed)
        model.fit(train, FitConfig(num_updates=task.num_updates, seed=seed))
    options: dict[str, Any] = {"train": train, "alpha": alpha, "seed": seed}
    options["feature_names"] = names_of(task)
    limits: float | dict[str, float] = task.tolerance
    if task.judged:
        shares = certified_horizon(
            model, test, tolerance=task.tolerance, horizon=1, **options
        ).tolerance
        limits = {name: shares[name] if name in task.judged else math.inf for name in shares}
    return certified_horizon(model, test, tolerance=limits, **options)


def names_of(task: Task) -> tuple[str, ...] | None:
    """What the environment calls its features; None where it does not say."""
    with gym.make(task.env_id) as env:
        fields = getattr(env.unwrapped, "observation_fields", None)
    return None if fields is None else tuple(field.name for field in fields)


def split_figures(
    shares: np.ndarray[Any, Any], alpha: float, num_splits: int, seed: int
) -> dict[str, Any]:
    """What half of the episodes certify, held against the other half.

    Args:
        shares: Of each episode the share of windows that have left by each step [n, H].
        alpha: The risk.
        num_splits: How many halves.
        seed: Draws them.
    """
    generator = np.random.default_rng(seed)
    violations, ratios, certified, measured = [], [], [], []
    for _ in range(num_splits):
        order = generator.permutation(len(shares))
        half = len(shares) // 2
        steps = certified_steps(shares[order[:half]], alpha)
        lost = shares[order[half:]].mean(axis=0)
        reached = measured_steps(shares[order[half:]], alpha)
        violations.append(float(lost[steps - 1]) if steps else 0.0)
        certified.append(steps)
        measured.append(reached)
        if reached:
            ratios.append(steps / reached)
    return {
        "violations": float(np.mean(violations)),
        "violations_worst_split": float(np.max(violations)),
        "certified_median": float(np.median(certified)),
        "measured_median": float(np.median(measured)),
        "ratio_median": float(np.median(ratios)) if ratios else None,
        "splits_with_ratio": len(ratios),
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, task by task."""
    summary: dict[str, Any] = {}
    for name in sorted({row["task"] for row in rows}):
        own = [row for row in rows if row["task"] == name]
        ratios = [row["ratio_median"] for row in own if row["ratio_median"] is not None]
        summary[name] = {
            "num_seeds": len(own),
            "violations": float(np.mean([row["violations"] for row in own])),
            "ratio_median": float(np.median(ratios)) if ratios else None,
            "certified_median": float(np.median([row["certified_median"] for row in own])),
            "measured_median": float(np.median([row["measured_median"] for row in own])),
            "interval_coverage_mean": float(
                np.mean([row["interval_coverage_mean"] for row in own])
            ),
        }
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
