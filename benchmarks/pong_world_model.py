"""How far the world model of Pong can be trusted: both games, with and without sticky actions.

    python -m benchmarks.pong_world_model

Each run is that of `examples/world_model_pong.py`, tested in games of two players that training
never saw: one that follows the ball with errors, and a planner that wins. One row per finished run
and test player is added to the result, in place of an older one, so that a benchmark that was
stopped still counts for what it finished. Intervals resample whole games.
"""

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro

from benchmarks.report import RESULTS, add_row
from wm_agents.domains.pong.object_view import PongView
from wm_agents.domains.pong.open_loop import (
    OpenLoopConfig,
    imagine,
    open_loop_windows,
    record_training,
    summarize,
)
from wm_agents.training.summary import without_infinities
from wm_agents.world_models.objects import ObjectModel

NAME = "pong_world_model"
KEY = ("env_id", "repeat_action_probability", "player", "seed")
SHOWN = (
    "mse56_step6", "mse14_step6", "median14_step6", "exact_share_step6", "ball_rmse_step6",
    "mse14_step30", "exact_share_step30", "fast_exact_share_step6", "persistence_mse56_step6",
    "constant_velocity_mse56_step6", "spread_mse14_step6", "model_beside_spread_mse14_step6",
    "spread_mse14_step30", "model_beside_spread_mse14_step30",
)  # fmt: skip
NOTES = (
    "The view of the game is told much of the rules: PongView says what; the rest is estimated.",
    "The observation is the objects' positions, an easier input than pixels.",
    "One row per finished run and test player; seeds that are missing were not run.",
)


@dataclass(frozen=True)
class Config:
    """What to run."""

    env_ids: tuple[str, ...] = ("wm/PongAtari-v0", "wm/Pong-v0")
    """Games."""
    noises: tuple[float, ...] = (0.0, 0.25)
    """Sticky actions, of the original; the compiled game is measured without."""
    seeds: tuple[int, ...] = (100, 101, 102)
    """Of recordings, players, weights and batches."""
    players: tuple[Literal["tracker", "planner"], ...] = ("tracker", "planner")
    """Whose games are the test."""
    output_dir: Path = RESULTS
    """Folder for pong_world_model.json."""
    run: OpenLoopConfig = field(default_factory=OpenLoopConfig)
    """Of each run, but for what is said above."""


def main(config: Config) -> dict[str, Any]:
    """Run everything seed by seed; returns all rows with their summary."""
    figures: dict[str, Any] = {}
    for seed in config.seeds:
        for env_id in config.env_ids:
            for noise in config.noises if env_id == "wm/PongAtari-v0" else (0.0,):
                run = replace(config.run, env_id=env_id, seed=seed, repeat_action_probability=noise)
                for row in measure(run, config.players):
                    figures = add(config, row)
                    shown = {name: row[name] for name in (*KEY, *SHOWN) if name in row}
                    print(json.dumps(shown), flush=True)
    return figures


def measure(run: OpenLoopConfig, players: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Fit one model and test it in the games of each player."""
    torch.set_num_threads(run.num_threads)
    train = record_training(run)
    env = gym.make(run.env_id, **run.env_kwargs)
    wall = time.perf_counter()
    cpu = time.process_time()
    view = PongView.calibrated(train.observations, train.actions, train.lengths)
    model = ObjectModel(env.observation_space, env.action_space, view, run.model, seed=run.seed)
    model.fit(train)
    cost = {"fit_seconds": time.perf_counter() - wall, "fit_cpu_seconds": time.process_time() - cpu}
    rows = []
    for player in players:
        test = replace(run, test_player=player)
        windows, num_left_out = open_loop_windows(test, env, model, train)
        row: dict[str, Any] = {
            "env_id": run.env_id,
            "repeat_action_probability": run.repeat_action_probability,
            "seed": run.seed,
            "player": player,
            "train_steps": train.num_steps,
            "test_games": run.test_games,
            "windows_left_out": num_left_out,
        }
        errors = summarize(test, windows, imagine(model, windows))
        rows.append(row | cost | without_infinities(errors))
    return rows


def add(config: Config, row: dict[str, Any]) -> dict[str, Any]:
    """Write the result with one more row."""
    command = command_of(config, row)
    return add_row(
        NAME,
        row,
        key=KEY,
        summarise=summarise,
        command=command,
        notes=NOTES,
        folder=config.output_dir,
    )


def command_of(config: Config, row: dict[str, Any]) -> str:
    """The command line that measures one row again.

    Other options of the run that were changed are not part of it.
    """
    options = {
        "--env-ids": row["env_id"],
        "--noises": f"{row['repeat_action_probability']:g}",
        "--seeds": row["seed"],
    }
    options |= {"--players": row["player"], "--run.train-steps": config.run.train_steps}
    options |= {"--run.test-games": row["test_games"]}
    return f"python -m benchmarks.{NAME} " + " ".join(
        f"{name} {value}" for name, value in options.items()
    )


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over the training seeds."""
    summary = {}
    for env_id, noise, player in sorted({_group(row) for row in rows}):
        group = [row for row in rows if _group(row) == (env_id, noise, player)]
        means = {
            name: float(np.mean([row[name] for row in group])) for name in SHOWN if name in group[0]
        }
        worst = min(row["exact_share_step6"] for row in group)
        name = f"{env_id}, sticky {noise:g}, {player}"
        summary[name] = means | {"exact_share_step6_worst_seed": worst, "num_seeds": len(group)}
    return summary


def _group(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY[:-1])


if __name__ == "__main__":
    main(tyro.cli(Config))
