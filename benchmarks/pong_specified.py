"""Pong by how much of it is told: playing and predicting at each level of what is specified.

    python -m benchmarks.pong_specified --figures play --levels none --steps 10000 --seeds 5
    python -m benchmarks.pong_specified --figures model --levels none --steps 200000 --seeds 5
    python -m benchmarks.pong_specified --seeds --picture docs/images/pong_specified.svg  # draws only

`play` learns in a dream from so many real steps, counted from the first, with sticky actions, and
plays full games. `model` fits a world model to so many recorded steps without sticky actions and
imagines the games of two players that training never saw. Each finished run adds its row, in place
of an older one of the same figure, level, seed and steps; how many items a level tells is counted
by `wm_agents.domains.pong.specification`. The picture is made from the rows.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro

from benchmarks.report import RESULTS, add_row, read_figures
from wm_agents.domains.pong.dreaming import DreamConfig, DreamTraining
from wm_agents.domains.pong.open_loop import (
    NEWEST,
    OpenLoopConfig,
    errors_at,
    imagine,
    open_loop_windows,
    record_training,
    untrained_model,
)
from wm_agents.domains.pong.specification import Specified, specified_knowledge
from wm_agents.domains.pong.state import FEATURE_OF_PART, Part
from wm_agents.evaluation.plots import COLOURS

NAME = "pong_specified"
KEY = ("figure", "level", "steps", "seed")
NOTES = (
    "The observation is the objects' positions, an easier input than pixels.",
    "One row per finished run; seeds and levels that are missing were not run.",
    "The rows of the world model were run before forests were selected on open steps.",
    "The rows of play with 3,000 and 10,000 steps were run before policies read tiles.",
    "Rivals are quoted: OC-STORM from object positions, without sticky actions, 100,000 steps; "
    "PoE-World from programs, a language model's prior and a demonstration, 3,000 steps.",
)
RIVALS = {"OC-STORM": (100_000, 20.55), "PoE-World": (3_000, -12.3)}


@dataclass(frozen=True)
class Config:
    """What to run."""

    figures: tuple[Literal["play", "model"], ...] = ("play", "model")
    """Playing, predicting or both."""
    levels: tuple[Specified, ...] = ("none", "everything")
    """How much is told."""
    seeds: tuple[int, ...] = (5,)
    """One run of each figure, level and number of steps."""
    steps: tuple[int, ...] = (10_000,)
    """Real steps of a dream, or recorded steps of a world model."""
    games: int = 20
    """Full games after a dream, with sampled actions."""
    output_dir: Path = RESULTS
    """Folder for pong_specified.json."""
    checkpoints: Path | None = None
    """Folder from which interrupted dreams resume; None keeps nothing."""
    picture: Path | None = None
    """Where the curve is drawn, such as docs/images/pong_specified.svg."""
    dream: DreamConfig = field(default_factory=lambda: DreamConfig(env_id="wm/Pong-v0"))
    """Of a dream, but for what is said above."""
    model: OpenLoopConfig = field(
        default_factory=lambda: OpenLoopConfig(env_id="wm/Pong-v0", test_games=8, num_threads=1)
    )
    """Of a world model, but for what is said above."""


def main(config: Config) -> None:
    """Run what is asked for, then draw."""
    for seed in config.seeds:
        for steps in config.steps:
            for level in config.levels:
                if "play" in config.figures:
                    add(config, play(config, level, steps, seed))
                if "model" in config.figures:
                    for row in predict(config, level, steps, seed):
                        add(config, row)
    if config.picture is not None:
        draw(config.output_dir / f"{NAME}.json", config.picture)


def add(config: Config, row: dict[str, Any]) -> None:
    """Add a row to the result and print it."""
    command = (
        f"python -m benchmarks.{NAME} --figures {row['figure'].split()[0]} "
        f"--levels {row['level']} --steps {row['steps']} --seeds {row['seed']}"
    )
    if row["figure"] == "play":
        command += f" --games {config.games}"
        if config.dream.shares:
            shares = " ".join(f"{share:g}" for share in config.dream.shares)
            command += f" --dream.shares {shares}"
        if config.dream.dream_updates:
            updates = " ".join(str(number) for number in config.dream.dream_updates)
            command += f" --dream.dream-updates {updates}"
        column_share = config.dream.forest.column_share
        if column_share != DreamConfig().forest.column_share:
            command += f" --dream.forest.column-share {column_share:g}"
    add_row(
        NAME,
        row,
        key=KEY,
        summarise=summarise,
        command=command,
        notes=NOTES,
        folder=config.output_dir,
    )
    shown = {name: value for name, value in row.items() if name != "rounds"}
    print(json.dumps(shown), flush=True)


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and worst seed of each figure, level and number of steps."""
    summary = {}
    groups = sorted({tuple(row[name] for name in KEY[:-1]) for row in rows})
    for group in groups:
        name = "mean_score" if group[0] == "play" else "exact_share_step6"
        found = [row[name] for row in rows if tuple(row[key] for key in KEY[:-1]) == group]
        summary[", ".join(str(part) for part in group)] = {
            name: float(np.mean(found)),
            "worst_seed": float(min(found)),
            "num_seeds": float(len(found)),
        }
    return summary


def play(config: Config, level: Specified, steps: int, seed: int) -> dict[str, Any]:
    """Learn in a dream, then play full games."""
    dream = replace(config.dream, specified=level, max_real_steps=steps, seed=seed)
    training = DreamTraining(dream)
    folder = config.checkpoints
    checkpoints = None if folder is None else folder / f"{level}_{steps}_{seed}"
    training.train(checkpoints, callback=lambda _, figures: print(json.dumps(figures), flush=True))
    played = time.process_time()
    row: dict[str, Any] = {"figure": "play", "level": level, "steps": steps, "seed": seed}
    row |= training.evaluate(config.games)
    row["repeat_action_probability"] = config.dream.repeat_action_probability
    row["dream_updates"] = list(dream.round_updates)
    row["won_share"] = [figures["won_share"] for figures in training.rounds]
    row["real_points_won"] = [figures["real_points_won"] for figures in training.rounds]
    row["cpu_seconds"] = training.cpu_seconds + time.process_time() - played
    return row


def predict(config: Config, level: Specified, steps: int, seed: int) -> Iterator[dict[str, Any]]:
    """Fit a world model, then imagine the games of both test players."""
    began = time.process_time()
    run = replace(config.model, specified=level, train_steps=steps, seed=seed)
    env = gym.make(run.env_id, **run.env_kwargs)
    train = record_training(run)
    recorded = time.process_time()
    model, _ = untrained_model(run, env, train)
    model.fit(train)
    fitted = time.process_time()
    told = specified_knowledge(level).summary()
    for player in ("tracker", "planner"):
        windows, num_left_out = open_loop_windows(
            replace(run, test_player=player), env, model, train
        )
        imagined = imagine(model, windows)
        row: dict[str, Any] = {
            "figure": f"model {player}",
            "level": level,
            "steps": steps,
            "seed": seed,
            "train_steps": train.num_steps,
            "windows": len(imagined),
            "windows_left_out": num_left_out,
            "record_cpu_seconds": recorded - began,
            "fit_cpu_seconds": fitted - recorded,
        }
        real = windows.observations
        for step in (1, 6, run.horizon):
            row |= errors_at(step, real, imagined, windows.episodes)
            is_equal = imagined[:, step, NEWEST] == real[:, step, NEWEST]
            for part in Part:
                share = float(is_equal[:, FEATURE_OF_PART[part]].mean())
                row[f"{part.name.lower()}_exact_step{step}"] = share
        yield row | told


def _rows_of_pong_dream() -> list[dict[str, Any]]:
    """The runs of `benchmarks.pong_dream`, to which everything is told, as rows of this result."""
    rows = []
    for row in read_figures(RESULTS / "pong_dream.json")["rows"]:
        if row["arm"] == "dream" and row["repeat_action_probability"] > 0:
            told = specified_knowledge("everything").summary()
            rows.append({"steps": row["real_steps"], "mean_score": row["mean_score"]} | told)
    return rows


def draw(result: Path, picture: Path) -> None:
    """The mean score against what is told, one line for each number of real steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_figures(result)["rows"]
    rows = [row for row in rows if row["figure"] == "play"] + _rows_of_pong_dream()
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, steps in enumerate(sorted({row["steps"] for row in rows})):
        points = [row for row in rows if row["steps"] == steps]
        told = sorted({row["specified_count"] for row in points})
        means = [
            float(np.mean([row["mean_score"] for row in points if row["specified_count"] == count]))
            for count in told
        ]
        colour = COLOURS[number]
        axes.plot(told, means, "o-", color=colour, label=f"{steps:,} real steps")
        for row in points:
            axes.plot(row["specified_count"], row["mean_score"], "o", color=colour)
    for name, (steps, score) in RIVALS.items():
        axes.axhline(score, linestyle=":", color="#5A5A5A")
        axes.annotate(f"{name}, {steps:,} steps (quoted)", (1, score), fontsize=8, va="bottom")
    axes.set(
        xlabel="items told",
        ylabel="points won less points lost, mean of full games",
        xlim=(-1, 29),
        ylim=(-22, 23),
    )
    axes.legend(loc="center right")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Date": None} if picture.suffix == ".svg" else None)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(tyro.cli(Config))
