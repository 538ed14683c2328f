"""Fit a world model to random experience and say how far it can be trusted, in one page.

    python examples/scorecard.py --env-id Pendulum-v1 --seed 3 --output-dir out
    python examples/scorecard.py --env-id wm/PermPuzzle-v0 --seed 3 --output-dir out

Writes scorecard.html, scorecard.json and summary.json (trusted_steps, planning_gap, mean_return,
worst_error_h16, error_h16, persistence_h16, ...). The planning gap needs the true dynamics: those
of the wm/ environments, and Gymnasium's classic control tasks.
"""

import functools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for benchmarks, when run as a script

from benchmarks.true_dynamics import DYNAMICS, true_model
from wm_agents.errors import ConfigError
from wm_agents.evaluation.charts import counted
from wm_agents.evaluation.episodes import EpisodeResults, RandomAgent, evaluate
from wm_agents.evaluation.open_loop import HORIZONS
from wm_agents.evaluation.planning_gap import PlanningGap, planning_gap
from wm_agents.evaluation.scorecard import Scorecard, scorecard
from wm_agents.planning import (
    ICEM,
    BreadthFirstSearch,
    CategoricalCEM,
    CategoricalCEMConfig,
    DiscountedReturn,
    ICEMConfig,
    OracleModel,
    PlanningAgent,
)
from wm_agents.planning.collector import Collector
from wm_agents.protocols import Planner, WorldModel
from wm_agents.training.summary import make_output_directory, write_summary
from wm_agents.world_models import (
    DeterministicModel,
    EnsembleConfig,
    EnsembleModel,
    FitConfig,
    TokenModel,
)
from wm_envs import oracle
from wm_envs.data.paths import expand_paths
from wm_envs.data.trajectories import Trajectories
from wm_envs.errors import OptionError

ModelName = Literal["auto", "deterministic", "ensemble", "token"]


@dataclass(frozen=True)
class Config:
    """What to measure."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id with flat Box or Discrete observations."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/scorecard")
    """Folder for the page and the two JSON files."""
    train_steps: int = 3000
    """Real steps, at random, that the model is fitted to."""
    test_steps: int = 3000
    """Real steps that are held out."""
    model: ModelName = "auto"
    """Which model.

    "auto" takes tokens where all observations are whole numbers, else the ensemble.
    """
    model_width: int = 128
    """Units in each hidden layer of the ensemble's members."""
    num_updates: int = 3000
    """Optimiser steps of the fit."""
    planning_episodes: int = 10
    """Episodes of each arm of the planning gap; 0 leaves it out."""
    planning_horizon: int = 20
    """Steps that the planner looks ahead; forward search looks as far as it needs to."""
    num_threads: int = 1
    """Threads of torch."""
    quiet: bool = False
    """No progress, only the closing result."""


def main(config: Config) -> dict[str, float]:
    """Collect, fit, plan and judge; returns the summary that is written."""
    config = expand_paths(config)
    torch.set_num_threads(config.num_threads)
    make_output_directory(config.output_dir)
    started = time.perf_counter()
    env = gym.make(config.env_id)
    train = collect(config.env_id, config.train_steps, 2 * config.seed)
    test = without(collect(config.env_id, config.test_steps, 2 * config.seed + 1_000_001), train)
    if not config.quiet:
        print(f"Fitting to {train.num_steps:,} real steps of {config.env_id}.")
    model = fit(config, env, train)
    gap, rates = measure_gap(config, env, model, train.is_lattice)
    card = judge(config, env, model, train, test, gap)
    summary = {
        **card.summary,
        **rates,
        "real_steps": float(train.num_steps),
        "seconds": time.perf_counter() - started,
    }
    write_summary(config.output_dir, summary)
    print(card.verdict)
    print(f"{card.page_path} shows why.")
    return summary


def collect(env_id: str, num_steps: int, seed: int) -> Trajectories:
    """Random experience; the last episode may be cut short."""
    experience = Collector(gym.make(env_id), seed)
    experience.collect(num_steps)
    return experience.trajectories()


def without(trajectories: Trajectories, seen: Trajectories) -> Trajectories:
    """The episodes that do not occur in `seen`: short tasks repeat themselves by chance."""
    fresh = np.setdiff1d(
        np.arange(trajectories.num_episodes), trajectories.duplicates(seen).episodes
    )
    if not len(fresh):
        raise SystemExit(
            "every held-out episode also occurs in training: this task has too few different episodes"
        )
    return trajectories.select(fresh)


def fit(config: Config, env: gym.Env[Any, Any], train: Trajectories) -> Any:
    """A model of the environment, fitted with a progress bar."""
    name = ("token" if train.is_lattice else "ensemble") if config.model == "auto" else config.model
    spaces = env.observation_space, env.action_space
    widths = (config.model_width, config.model_width)
    model: Any
    if name == "ensemble":
        model = EnsembleModel(*spaces, EnsembleConfig(dynamics_widths=widths), seed=config.seed)
    else:
        model = {"deterministic": DeterministicModel, "token": TokenModel}[name](
            *spaces, seed=config.seed
        )
    options = FitConfig(num_updates=config.num_updates, seed=config.seed)
    model.fit(train, options, progress=False if config.quiet else None)
    return model


def measure_gap(
    config: Config, env: gym.Env[Any, Any], model: WorldModel, is_discrete: bool
) -> tuple[PlanningGap | None, dict[str, float]]:
    """Plan with the model and with the true dynamics: the gap, and success rates where the environment has them.

    There is no gap where the true dynamics are not at hand or no better than chance, and none was
    asked for without episodes.
    """
    truth = true_dynamics(config.env_id, env)
    if truth is None or config.planning_episodes == 0:
        return None, {}
    if not config.quiet:
        episodes = counted(config.planning_episodes, "episode")
        print(f"Planning {episodes} with the model, with the true dynamics, and at random.")
    arms = {
        "": play(
            config, PlanningAgent(model, planner(config, model, is_discrete), seed=config.seed)
        ),
        "oracle_": play_truth(config, truth, planner(config, truth, is_discrete)),
        "random_": play(config, RandomAgent(env.action_space, config.seed)),
    }
    rates = {
        f"{name}success_rate": arm.success_rate
        for name, arm in arms.items()
        if arm.success_rate is not None
    }
    try:
        return planning_gap(*(arm.returns for arm in arms.values())), rates
    except ConfigError as error:
        print(f"No planning gap: {error}.")
        return None, rates


def true_dynamics(env_id: str, env: gym.Env[Any, Any]) -> WorldModel | None:
    """The environment's own rules as a model.

    Native ones, or those written down for classic control.
    """
    if env_id in DYNAMICS:
        return true_model(env_id)
    try:
        oracle.rules_of(env_id)
    except OptionError:
        return None
    return OracleModel(
        functools.partial(oracle.rollout, env_id), env.observation_space, env.action_space
    )


def planner(config: Config, model: WorldModel, is_discrete: bool) -> Planner:
    """A planner that fits the spaces.

    ICEM for Box actions, search where states are whole numbers, else samples.
    """
    objective = DiscountedReturn()
    if isinstance(model.action_space, gym.spaces.Box):
        return ICEM(model, objective, ICEMConfig(horizon=config.planning_horizon))
    if is_discrete:
        return BreadthFirstSearch(model, objective)
    return CategoricalCEM(model, objective, CategoricalCEMConfig(horizon=config.planning_horizon))


def play(config: Config, agent: Any) -> EpisodeResults:
    """Whole episodes from the same starts for every arm."""
    return evaluate(agent, config.env_id, config.planning_episodes, seed=config.seed + 10_000)


def play_truth(config: Config, truth: WorldModel, chosen: Planner) -> EpisodeResults:
    """The oracle reads the states of the very environment that it acts in."""
    if not isinstance(truth, OracleModel):
        return play(config, PlanningAgent(truth, chosen, seed=config.seed))
    envs = gym.make_vec(config.env_id, config.planning_episodes)
    try:
        agent = PlanningAgent(truth, chosen, env=envs, seed=config.seed)
        return evaluate(agent, envs, config.planning_episodes, seed=config.seed + 10_000)
    finally:
        envs.close()


def judge(
    config: Config,
    env: gym.Env[Any, Any],
    model: WorldModel,
    train: Trajectories,
    test: Trajectories,
    gap: PlanningGap | None,
) -> Scorecard:
    """The scorecard, at the horizons that the episodes allow."""
    longest = int(test.lengths.max())
    return scorecard(
        model,
        test,
        config.output_dir,
        title=f"{config.env_id} · {type(model).__name__} · {train.num_steps:,} real steps",
        gap=gap,
        horizons=[step for step in HORIZONS if step <= longest],
        train=train,
        env=env,
        seed=config.seed,
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
