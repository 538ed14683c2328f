"""Record random play, fit a world model and see how far ahead it can be trusted.

    python examples/fit_world_model.py --env-id Pendulum-v1 --steps 3000 --model ensemble
    --output-dir runs/fit

Works on any Gymnasium environment with Box or Discrete spaces. Writes summary.json (errors on
held-out episodes at several horizons, beside those of persistence, which predicts that nothing
changes), open_loop.png, and the model with its card (README.md, config.json, model.safetensors).
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.errors import SpaceError, TrajectoryError
from wm_agents.evaluation.open_loop import HORIZONS, open_loop_error
from wm_agents.evaluation.open_loop_report import OpenLoopReport
from wm_agents.networks import choose_device
from wm_agents.training.cards import Card, save_with_card
from wm_agents.training.summary import make_output_directory, write_summary
from wm_agents.world_models import (
    DeterministicModel,
    EnsembleModel,
    FitConfig,
    LatentModel,
    RecurrentModel,
    TabularModel,
    TokenModel,
)
from wm_envs import record
from wm_envs.data.paths import expand_paths
from wm_envs.data.trajectories import Trajectories, TrajectoryBatch

MODELS: dict[str, type[Any]] = {
    "deterministic": DeterministicModel,
    "ensemble": EnsembleModel,
    "recurrent": RecurrentModel,
    "latent": LatentModel,
    "token": TokenModel,
    "tabular": TabularModel,
}


@dataclass(frozen=True)
class Config:
    """What to record and fit."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id; "module:id" imports the module first."""
    steps: int = 3000
    """Steps of random play to learn from; a quarter more is recorded for the test."""
    model: Literal["deterministic", "ensemble", "recurrent", "latent", "token", "tabular"] = (
        "ensemble"
    )
    """Which world model.

    "token" and "tabular" are for observations of one-hots, bits or integers.
    """
    num_updates: int = 2000
    """Optimiser steps at most."""
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
    config = expand_paths(config)
    choose_device(config.device)
    make_output_directory(config.output_dir, has_pictures=True)
    train, test = record_split(config)
    env = gym.make(config.env_id)
    try:
        model, seconds = fit(config, env, train)
        report = measure(config, model, train, test)
    except (SpaceError, TrajectoryError) as error:
        raise SystemExit(f"{config.model} on {config.env_id}: {error}") from error
    summary = summarise(model, train, test, report, seconds)
    write_summary(config.output_dir, summary)
    if config.model != "tabular":
        save_with_card(model, config.output_dir, card_of(config, summary))
    draw(config, model, test, report)
    print(json.dumps(summary, indent=2))
    return summary


def card_of(config: Config, summary: dict[str, float]) -> Card:
    """What a stranger has to know about the model."""
    sizes = f"--steps {config.steps} --num-updates {config.num_updates} --seed {config.seed}"
    return Card(
        title=f"A {config.model} world model of {config.env_id}",
        env_id=config.env_id,
        scores=summary,
        command=f"python examples/fit_world_model.py --env-id {config.env_id} --model {config.model} {sizes}",
        seeds=(config.seed,),
        evaluation="Open-loop errors on held-out episodes, in standard deviations of each feature.",
        limits="It knows what random actions reach.",
        tags=("world-model",),
    )


def record_split(config: Config) -> tuple[Trajectories, Trajectories]:
    """Whole episodes with `steps` steps in all, or a few more, and a quarter as many for the test."""
    if config.steps < 1:
        raise SystemExit(f"steps is at least 1, got {config.steps}")
    probe = record(config.env_id, episodes=8, seed=config.seed, progress=False)
    num_train = max(2, round(config.steps / probe.lengths.mean()))
    num_test = max(2, num_train // 4)
    shown = False if config.quiet else None
    data = record(config.env_id, episodes=num_train + num_test, seed=config.seed, progress=shown)
    order = np.random.default_rng(config.seed).permutation(num_train + num_test)
    return data.select(order[:num_train]), data.select(order[num_train:])


def fit(config: Config, env: gym.Env[Any, Any], train: Trajectories) -> tuple[Any, float]:
    """The fitted model and the wall time that it took in seconds."""
    began = time.perf_counter()
    if config.model == "tabular":
        table = TabularModel(env.observation_space, env.action_space)
        table.fit(train)
        return table, time.perf_counter() - began
    model = MODELS[config.model](env.observation_space, env.action_space, seed=config.seed)
    model.to(choose_device(config.device))
    options = FitConfig(num_updates=config.num_updates, seed=config.seed)
    model.fit(train, options, progress=False if config.quiet else None)
    return model.to("cpu"), time.perf_counter() - began


def measure(config: Config, model: Any, train: Trajectories, test: Trajectories) -> OpenLoopReport:
    """Open-loop errors at the horizons that the held-out episodes allow, as in examples/scorecard.py."""
    fresh = np.setdiff1d(np.arange(test.num_episodes), test.duplicates(train).episodes)
    if not len(fresh):
        raise TrajectoryError(
            "every held-out episode also occurs in training: this task has too few different ones"
        )
    held_out = test.select(fresh)
    horizons = [horizon for horizon in HORIZONS if horizon <= held_out.lengths.max()]
    return open_loop_error(model, held_out, horizons, train=train, num_samples=0, seed=config.seed)


def windows_of(test: Trajectories, horizon: int, most: int = 2000) -> TrajectoryBatch[NDArray[Any]]:
    """At most this many windows, evenly spaced."""
    starts = test.window_starts(horizon)
    return test.windows(
        horizon, starts[np.unique(np.linspace(0, len(starts) - 1, most).astype(int))]
    )


def imagine(model: Any, batch: TrajectoryBatch[NDArray[Any]]) -> NDArray[np.float32]:
    """Observations [B, H + 1, O] that the model expects under the recorded actions."""
    rollout = model.rollout(
        torch.as_tensor(batch.observations[:, 0]), torch.as_tensor(batch.actions)
    )
    observations: NDArray[np.float32] = rollout.observations.numpy()
    return observations


def summarise(
    model: Any, train: Trajectories, test: Trajectories, report: OpenLoopReport, seconds: float
) -> dict[str, float]:
    """Flat names to numbers."""
    batch = windows_of(test, 1)
    step = model.predict(
        torch.as_tensor(batch.observations[:, 0]), torch.as_tensor(batch.actions[:, 0])
    )
    summary = {
        "train_steps": train.num_steps,
        "test_steps": test.num_steps,
        "fit_seconds": seconds,
        "num_parameters": getattr(model, "num_parameters", 0),
        "reward_error": float(
            np.sqrt(np.square(step.rewards.numpy() - batch.rewards[:, 0]).mean())
        ),
        "reward_std": float(test.rewards.std()),
    }
    figures = report.summary()
    for horizon in report.horizons:
        for name in (f"error_h{horizon}", f"persistence_h{horizon}", f"exact_h{horizon}"):
            if name in figures:  # a share is exact only where numbers are whole
                summary[name] = figures[name]
    return summary


def draw(config: Config, model: Any, test: Trajectories, report: OpenLoopReport) -> None:
    """Error against horizon, and one held-out episode as it was and as the model imagined it from its first step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    draw_errors(left, config, report)
    draw_episode(right, model, test)
    figure.savefig(config.output_dir / "open_loop.png", dpi=120)


def draw_errors(axes: Any, config: Config, report: OpenLoopReport) -> None:
    """Both axes logarithmic, unless the model is exact."""
    horizons = list(report.horizons)
    errors = [report.error(horizon) for horizon in horizons]
    persistence = [report.error(horizon, "persistence") for horizon in horizons]
    axes.plot(horizons, persistence, "--", color="#5A5A5A", label="nothing changes")
    axes.plot(horizons, errors, "o-", color="#0072B2", label=config.model)
    axes.set_xscale("log", base=2)
    axes.set_xticks(horizons, [str(horizon) for horizon in horizons])
    if min(errors) > 0:
        axes.set_yscale("log")
    axes.set(
        xlabel="steps ahead",
        ylabel="error [standard deviations]",
        title=f"{config.env_id}, held-out episodes",
    )
    axes.legend()


def draw_episode(axes: Any, model: Any, test: Trajectories, most_steps: int = 50) -> None:
    """The three features that vary most."""
    episode = test.episode(int(test.lengths.argmax()))
    horizon = min(len(episode.actions), most_steps)
    batch = episode.windows(horizon, starts=[0])
    imagined, real = imagine(model, batch)[0], batch.observations[0]
    for feature, colour in zip(
        np.argsort(-real.std(0))[:3], ("#0072B2", "#D55E00", "#009E73"), strict=False
    ):
        axes.plot(
            real[:, feature], color=colour, alpha=0.4, linewidth=4, label=f"feature {feature}, real"
        )
        axes.plot(imagined[:, feature], color=colour, label=f"feature {feature}, imagined")
    axes.set(xlabel="step", title="an episode imagined from its first observation")
    axes.legend(fontsize=7)


if __name__ == "__main__":
    main(tyro.cli(Config))
