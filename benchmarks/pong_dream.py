"""Scores in the original Pong after learning in imagination, beside PPO's and a planner's.

    python -m benchmarks.pong_dream --seeds 0 1 2 --arms dream
    python -m benchmarks.pong_dream --seeds 0 --arms dream --repeat-action-probability 0
    python -m benchmarks.pong_dream --seeds 0 --arms ppo planner random

PPO takes as many real steps. Each run adds one row to the result as soon as it is over, in place
of an older row of the same arm, noise and seed: so a benchmark that was stopped still counts for
the seeds that it finished, and the result says how many these are. The positions of the objects are
an easier input than the screen. The planner knows the true rules: it is the upper end.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro

from benchmarks.report import RESULTS, add_row
from wm_agents.domains.pong.dreaming import DreamConfig, DreamTraining
from wm_agents.domains.pong.sb3_baseline import BaselineConfig, run_baseline
from wm_agents.evaluation.episodes import RandomAgent, evaluate
from wm_envs import record
from wm_envs.pong.planner import PlanningPlayer

Arm = Literal["dream", "ppo", "planner", "random"]
NAME = "pong_dream"
KEY = ("arm", "repeat_action_probability", "env_id", "seed")
NOTES = (
    "The observation is the objects' positions, an easier input than pixels.",
    "The view of the game is told much of the rules: PongView says what.",
    "One row per finished run; seeds that are missing were not run.",
)


@dataclass(frozen=True)
class Config:
    """What to run."""

    env_id: str = "wm/PongAtari-v0"
    """Either Pong."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """One run of every arm each."""
    arms: tuple[Arm, ...] = ("dream", "ppo", "planner", "random")
    """Which players."""
    repeat_action_probability: float = 0.25
    """Sticky actions."""
    max_real_steps: int = 100_000
    """Of the two that learn."""
    games: int = 20
    """Full games of each evaluation."""
    output_dir: Path = RESULTS
    """Folder for pong_dream.json."""
    dream: DreamConfig = field(default_factory=DreamConfig)
    """Of learning in imagination, but for what is said above."""


def main(config: Config) -> dict[str, Any]:
    """Run seed by seed and arm by arm; returns all rows with their summary."""
    figures: dict[str, Any] = {}
    for seed in config.seeds:
        for arm in config.arms:
            wall = time.perf_counter()
            cpu = time.process_time()
            row: dict[str, Any] = {
                "arm": arm,
                "seed": seed,
                "env_id": config.env_id,
                "repeat_action_probability": config.repeat_action_probability,
            }
            row |= RUNS[arm](config, seed)
            row["total_seconds"] = time.perf_counter() - wall
            row["total_cpu_seconds"] = time.process_time() - cpu
            figures = add_row(
                NAME,
                row,
                key=KEY,
                summarise=summarise,
                command=command_of(config, arm, seed),
                notes=NOTES,
                folder=config.output_dir,
            )
            shown = {name: value for name, value in row.items() if name != "rounds"}
            print(json.dumps(shown), flush=True)
    return figures


def command_of(config: Config, arm: Arm, seed: int) -> str:
    """The command line that measures one row again.

    Options of the dream that were changed are not part of it.
    """
    options = {
        "--env-id": config.env_id,
        "--repeat-action-probability": f"{config.repeat_action_probability:g}",
    }
    options |= {"--max-real-steps": str(config.max_real_steps), "--games": str(config.games)}
    shared = " ".join(f"{name} {value}" for name, value in options.items())
    return f"python -m benchmarks.{NAME} --seeds {seed} --arms {arm} {shared}"


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and worst seed of each arm."""
    summary = {}
    for arm, noise, env_id in sorted({_group(row) for row in rows}):
        scores = [row["mean_score"] for row in rows if _group(row) == (arm, noise, env_id)]
        name = f"{arm}, sticky {noise:g}, {env_id}"
        summary[name] = {
            "mean_score": float(np.mean(scores)),
            "worst_seed": min(scores),
            "num_seeds": len(scores),
        }
    return summary


def _group(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY[:-1])


def run_dream(config: Config, seed: int) -> dict[str, Any]:
    """PPO in the world model, with the figures of its rounds."""
    training = DreamTraining(replace(config.dream, **_shared(config, seed)))
    training.train(callback=lambda _, figures: print(json.dumps(figures), flush=True))
    return training.evaluate(config.games) | {"rounds": training.rounds}


def run_ppo(config: Config, seed: int) -> dict[str, Any]:
    """PPO of Stable-Baselines3, on the same features."""
    return run_baseline(BaselineConfig(**_shared(config, seed), games=config.games))


def _shared(config: Config, seed: int) -> dict[str, Any]:
    names = ("env_id", "repeat_action_probability", "max_real_steps")
    return {"seed": seed} | {name: getattr(config, name) for name in names}


def run_planner(config: Config, seed: int) -> dict[str, Any]:
    """The planner that knows the rules."""
    options = {"repeat_action_probability": config.repeat_action_probability}
    games = record(
        config.env_id,
        episodes=config.games,
        policy=PlanningPlayer(seed + 50_000, env_kwargs=options),
        seed=seed + 50_000,
        env_kwargs=options,
        progress=False,
    )
    ends = np.cumsum(games.lengths)
    scores = np.add.reduceat(games.rewards, np.concatenate([[0], ends[:-1]]))
    return _scores(scores, games.lengths)


def run_random(config: Config, seed: int) -> dict[str, Any]:
    """Uniformly random actions."""
    options = {"repeat_action_probability": config.repeat_action_probability}
    agent = RandomAgent(gym.make(config.env_id).action_space, seed)
    results = evaluate(agent, config.env_id, config.games, seed=seed + 50_000, env_kwargs=options)
    return _scores(results.returns, results.lengths)


def _scores(scores: Any, lengths: Any) -> dict[str, Any]:
    return {
        "mean_score": float(scores.mean()),
        "worst_game": float(scores.min()),
        "games": len(scores),
        "mean_length": float(lengths.mean()),
    }


RUNS: dict[Arm, Callable[[Config, int], dict[str, Any]]] = {
    "dream": run_dream,
    "ppo": run_ppo,
    "planner": run_planner,
    "random": run_random,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Config))
