"""Fit a world model to random experience and say how far it can be trusted, in one page.

    python examples/scorecard.py --env-id Pendulum-v1 --seed 3 --output-dir out
    python examples/scorecard.py --env-id wm/PermPuzzle-v0 --seed 3 --output-dir out

Writes scorecard.html, scorecard.json and summary.json (trusted_steps, certified_steps,
planning_gap, mean_return, worst_error_h16, error_h16, persistence_h16, step_us_b1, ...). The
planning gap needs the true dynamics: those of the wm/ environments, and Gymnasium's classic control
tasks.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro

import wm_agents as wma
from wm_agents import planning, world_models
from wm_agents.domains.true_dynamics import ask_what_if, measure_gap
from wm_agents.evaluation.certified import required_episodes
from wm_agents.evaluation.out_of_distribution import OODDetector, ood_auroc
from wm_agents.planning.collector import ActionRepeatAgent
from wm_envs.branches import BranchCoverage, branch_coverage
from wm_envs.errors import OptionError

ALPHA, NOVELTY_ALPHA = 0.1, 0.25  # risks of the guarantee, and of scores from half the episodes
MAX_REPLAYED = 5000  # steps, without the compiler


@dataclass(frozen=True)
class Config:
    """What to measure."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/scorecard")
    """Folder for the page and the two JSON files."""
    train_steps: int = 3000
    """Real steps, at random, that the model is fitted to."""
    test_steps: int = 3000
    """Real steps that are held out."""
    model: Literal["auto", "deterministic", "ensemble", "token"] = "auto"
    """"auto" takes tokens where all observations are whole numbers, else the ensemble."""
    model_width: int = 128
    """Units in each hidden layer of the ensemble's members."""
    num_updates: int = 3000
    """Optimizer steps of the fit."""
    planning_episodes: int = 10
    """Episodes of each arm of the planning gap; 0 leaves it out."""
    planning_steps: int = 200
    """Steps after which an episode of the planning gap is cut."""
    planning_horizon: int = 20
    """Steps that the planner looks ahead; forward search looks as far as it needs to."""
    num_threads: int = 1
    """Threads of torch."""
    quiet: bool = False
    """No progress, only the closing result."""


def main(config: Config) -> dict[str, float]:
    """Collect, fit, plan and evaluate; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(config.num_threads)
    wma.make_output_directory(config.output_dir)
    began = time.perf_counter()
    env = gym.make(config.env_id)
    train = collect(config.env_id, config.train_steps, 2 * config.seed)
    test_seed = 2 * config.seed + 1_000_001
    # The last episode may be cut short, so that one more is begun than a guarantee takes.
    played = collect(config.env_id, config.test_steps, test_seed, required_episodes(ALPHA) + 1)
    try:
        test = wma.unseen_episodes(played, train)
    except wma.TrajectoryError as error:
        raise SystemExit(str(error)) from error
    model, fit_seconds = fit(config, train)
    # Puzzles are searched; the tree of a long game has no end.
    is_puzzle = train.is_lattice and int(train.lengths.max()) <= config.planning_steps
    gap, rates = measure_gap(
        config.env_id,
        env,
        model,
        partial(planner, config, is_puzzle=is_puzzle),
        episodes=config.planning_episodes,
        seed=config.seed,
        max_steps=config.planning_steps,
        progress=False if config.quiet else None,
    )
    title = f"{config.env_id} · {type(model).__name__} · {train.num_steps:,} real steps"
    card = wma.scorecard(
        model,
        test,
        config.output_dir,
        title=title,
        gap=gap,
        fit_seconds=fit_seconds,
        counterfactual=ask_what_if(config.env_id, env, model, test, seed=config.seed),
        branches=replay(config.env_id, played, test_seed),
        novelty=face_other_play(config, model, train, test),
        alpha=ALPHA,
        horizons=wma.fitting_horizons(test),
        train=train,
        env=env,
        seed=config.seed,
    )
    seconds = time.perf_counter() - began
    summary = {**card.summary, **rates, "real_steps": float(train.num_steps), "seconds": seconds}
    wma.write_summary(config.output_dir, summary)
    for found in (card.certified, card.counterfactual):
        print("" if found is None else f"{found}\n", end="")
    print(f"{card.verdict}\n{card.page_path} shows why.")
    return summary


def collect(
    env_id: str, num_steps: int, seed: int, num_episodes: int = 1, repeat: int = 1
) -> wma.Trajectories:
    """Random experience of so many steps and episodes at least; the last may be cut short."""
    env = gym.make(env_id)
    experience = wma.Collector(env, seed)
    agent = ActionRepeatAgent(env.action_space, repeat, seed) if repeat > 1 else None
    experience.collect(num_steps, agent)
    while experience.trajectories().num_episodes < num_episodes:
        experience.collect(500)
    return experience.trajectories()


def fit(config: Config, train: wma.Trajectories) -> tuple[Any, float]:
    """A model of the environment, fitted with a progress bar, and the seconds that it took."""
    widths = (config.model_width, config.model_width)
    ensemble = world_models.EnsembleConfig(dynamics_widths=widths)
    kinds: dict[str, tuple[type[Any], Any]] = {
        "deterministic": (world_models.DeterministicModel, None),
        "ensemble": (world_models.EnsembleModel, ensemble),
        "token": (world_models.TokenModel, None),
    }
    default = "token" if train.is_lattice else "ensemble"
    model_class, shape = kinds[default if config.model == "auto" else config.model]
    model = model_class.for_env(config.env_id, shape, seed=config.seed)
    options = world_models.FitConfig(num_updates=config.num_updates, seed=config.seed)
    began = time.perf_counter()
    model.fit(train, options, progress=False if config.quiet else None)
    return model, time.perf_counter() - began


def replay(env_id: str, played: wma.Trajectories, seed: int) -> BranchCoverage | None:
    """Which branches of the rules the held-out play exercised; None where there are no rules."""
    try:
        return branch_coverage(env_id, played, seed=seed, num_envs=1, max_steps=MAX_REPLAYED)
    except OptionError as error:
        print(f"No branches: {error}.")
        return None


def face_other_play(
    config: Config, model: Any, train: wma.Trajectories, test: wma.Trajectories
) -> dict[str, float | None] | None:
    """Do scores tell where the model errs, in held-out play and in play that holds its actions?"""
    horizon = min(16, int(np.median(test.lengths)))
    half = test.num_episodes // 2
    if half < required_episodes(NOVELTY_ALPHA):
        return None
    detector = OODDetector(model, train, test.select(range(half)), seed=config.seed)
    other = collect(config.env_id, config.test_steps // 2, 2 * config.seed + 2_000_001, repeat=8)
    faced = {"as in training": test.select(range(half, test.num_episodes)), "held actions": other}
    return ood_auroc(
        detector, faced, horizon=horizon, tolerance=0.3, train=train, alpha=NOVELTY_ALPHA
    )


def planner(config: Config, model: wma.WorldModel, *, is_puzzle: bool) -> wma.Planner:
    """ICEM for Box actions, search in puzzles, else samples."""
    objective = planning.DiscountedReturn()
    horizon = config.planning_horizon
    if isinstance(model.action_space, gym.spaces.Box):
        return planning.ICEM(model, objective, planning.ICEMConfig(horizon=horizon))
    if is_puzzle:
        return planning.BreadthFirstSearch(model, objective)
    samples = planning.CategoricalCEMConfig(horizon=horizon)
    return planning.CategoricalCEM(model, objective, samples)


if __name__ == "__main__":
    main(tyro.cli(Config))
