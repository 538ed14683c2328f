"""Record random play, fit a world model and see how far ahead it can be trusted.

    python examples/fit_world_model.py --env-id Pendulum-v1 --steps 3000 --model ensemble --output-dir runs/fit

Works on any Gymnasium environment. Writes summary.json (errors on held-out episodes at several
horizons, beside those of persistence, which predicts that nothing changes), open_loop.png, and the
model with its card (README.md, config.json, model.safetensors).
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import wm_agents as wma
import wm_envs
from wm_agents.networks import choose_device
from wm_agents.planning.defaults import ModelName


@dataclass(frozen=True)
class Config:
    """What to record and fit."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id; "module:id" imports the module first."""
    steps: int = 3000
    """Steps of random play to learn from; a quarter more is recorded for the test."""
    model: ModelName = "ensemble"
    """Which world model.

    "token" and "tabular" are for observations of one-hots, bits or integers; "auto" takes tokens for
    these, else "deterministic".
    """
    num_updates: int = 2000
    """Optimizer steps at most."""
    seed: int = 0
    """Seed of the environment, the actions, the weights and the batches."""
    output_dir: Path = Path("runs/fit_world_model")
    """Folder for summary.json, model.safetensors and open_loop.png."""
    device: str = "cpu"
    """Where to fit: "cpu", "cuda" or "auto"."""
    quiet: bool = False
    """No progress bars."""


def main(config: Config) -> dict[str, float]:
    """Record, fit, test; returns the summary that is written."""
    config = wma.expand_paths(config)
    choose_device(config.device)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    if config.steps < 1:
        raise SystemExit(f"steps is at least 1, got {config.steps}")
    shown = False if config.quiet else None
    train, test = wm_envs.record_split(
        config.env_id, config.steps, seed=config.seed, progress=shown
    )
    try:
        began = time.perf_counter()
        model = wma.fit_model(
            train.observation_space,
            train.action_space,
            train,
            config.seed,
            name=config.model,
            num_updates=config.num_updates,
            device=config.device,
            progress=shown,
        )
        seconds = time.perf_counter() - began
        held_out = wma.unseen_episodes(test, train)
        horizons = wma.fitting_horizons(held_out)
        report = wma.open_loop_error(
            model, held_out, horizons, train=train, num_samples=0, seed=config.seed
        )
    except (wma.SpaceError, wma.TrajectoryError) as error:
        raise SystemExit(f"{config.model} on {config.env_id}: {error}") from error
    summary = summarize(model, train, test, report) | {"fit_seconds": seconds}
    wma.write_summary(config.output_dir, summary, is_printed=True)
    wma.save_with_card(model, config.output_dir, card_of(config, summary))
    draw(config, model, test, report)
    return summary


def summarize(
    model: Any, train: wma.Trajectories, test: wma.Trajectories, report: wma.OpenLoopReport
) -> dict[str, float]:
    """Flat names to numbers."""
    starts = test.window_starts(1)
    starts = starts[np.unique(np.linspace(0, len(starts) - 1, 2000).astype(int))]
    steps = test.windows(1, starts)
    predicted = model.predict(
        torch.as_tensor(steps.observations[:, 0]), torch.as_tensor(steps.actions[:, 0])
    )
    reward_errors = predicted.rewards.numpy() - steps.rewards[:, 0]
    summary = {
        "train_steps": train.num_steps,
        "test_steps": test.num_steps,
        "num_parameters": getattr(model, "num_parameters", 0),
        "reward_error": float(np.sqrt(np.square(reward_errors).mean())),
        "reward_std": float(test.rewards.std()),
    }
    figures = report.summary()
    for horizon in report.horizons:
        for name in (f"error_h{horizon}", f"persistence_h{horizon}", f"exact_h{horizon}"):
            if name in figures:  # a share is exact only where numbers are whole
                summary[name] = figures[name]
    return summary


def card_of(config: Config, summary: dict[str, float]) -> wma.Card:
    """What a stranger has to know about the model."""
    shown = ("env_id", "model", "seed")
    return wma.Card(
        title=f"A {config.model} world model of {config.env_id}",
        env_id=config.env_id,
        scores=summary,
        command=wma.command_line("examples/fit_world_model.py", config, shown),
        seeds=(config.seed,),
        evaluation="Open-loop errors on held-out episodes, in standard deviations of each feature.",
        limits="It knows what random actions reach.",
        tags=("world-model",),
    )


def draw(config: Config, model: Any, test: wma.Trajectories, report: wma.OpenLoopReport) -> None:
    """Error against horizon, and the longest held-out episode, at most 50 steps of it."""
    episode = test.episode(int(test.lengths.argmax()))
    window = episode.windows(min(episode.num_steps, 50), starts=[0])
    imagined = model.rollout(window.observations[:, 0], window.actions).observations.numpy()
    path = config.output_dir / "open_loop.png"
    title = f"{config.env_id}, held-out episodes"
    wma.plot_open_loop(path, report, window.observations[0], imagined[0], config.model, title)


if __name__ == "__main__":
    main(tyro.cli(Config))
