"""Record random play, fit a world model and see how far ahead it can be trusted.

    python examples/fit_world_model.py --env-id Pendulum-v1 --steps 3000 --model ensemble --output-dir runs/fit

Works on any Gymnasium environment with Box or Discrete spaces. Writes summary.json (errors on held-out episodes at
several horizons, beside those of persistence, which predicts that nothing changes), open_loop.png, and the model with
its card (README.md, config.json, model.safetensors).
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
from wm_agents.training.cards import Card, save_with_card
from wm_agents.training.summary import make_output_directory, write_summary
from wm_agents.trajectories import Trajectories, WindowBatch
from wm_agents.world_models import (
    DeterministicModel,
    EnsembleModel,
    FitConfig,
    LatentModel,
    RecurrentModel,
    TabularModel,
    TokenModel,
)
from wm_envs.datasets import record

HORIZONS = (1, 2, 4, 8, 16, 32)
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
    model: Literal["deterministic", "ensemble", "recurrent", "latent", "token", "tabular"] = "ensemble"
    """Which world model; "token" and "tabular" are for observations of one-hots, bits or integers."""
    num_updates: int = 2000
    """Optimiser steps at most."""
    seed: int = 0
    """Seed of the environment, the actions, the weights and the batches."""
    output_dir: Path = Path("runs/fit_world_model")
    """Folder for summary.json, model.safetensors and open_loop.png."""
    device: str = "cpu"
    """Where to fit: "cpu", "cuda"."""
    quiet: bool = False
    """No progress bars."""


@dataclass(frozen=True)
class Errors:
    """Open-loop errors of one horizon, on held-out episodes."""

    model: float
    persistence: float
    exact: float


def main(config: Config) -> dict[str, float]:
    """Record, fit, test; returns the summary that is written."""
    make_output_directory(config.output_dir, has_pictures=True)
    train, test = record_split(config)
    env = gym.make(config.env_id)
    try:
        model, seconds = fit(config, env, train)
        errors = {horizon: measure(model, test, horizon) for horizon in HORIZONS if test.lengths.max() >= horizon}
    except (SpaceError, TrajectoryError) as error:
        raise SystemExit(f"{config.model} on {config.env_id}: {error}") from error
    summary = summarise(model, train, test, errors, seconds)
    write_summary(config.output_dir, summary)
    if config.model != "tabular":
        save_with_card(model, config.output_dir, card_of(config, summary))
    draw(config, model, test, errors)
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
    num_train = max(2, round(config.steps / probe["lengths"].mean()))
    num_test = max(2, num_train // 4)
    shown = False if config.quiet else None
    data = record(config.env_id, episodes=num_train + num_test, seed=config.seed, progress=shown)
    trajectories = Trajectories.from_arrays(**data)
    order = np.random.default_rng(config.seed).permutation(num_train + num_test)
    return trajectories.select(order[:num_train]), trajectories.select(order[num_train:])


def fit(config: Config, env: gym.Env[Any, Any], train: Trajectories) -> tuple[Any, float]:
    """The fitted model and the wall time that it took in seconds."""
    began = time.perf_counter()
    if config.model == "tabular":
        table = TabularModel(env.observation_space, env.action_space)
        table.fit(train)
        return table, time.perf_counter() - began
    model = MODELS[config.model](env.observation_space, env.action_space, seed=config.seed).to(config.device)
    options = FitConfig(num_updates=config.num_updates, seed=config.seed)
    model.fit(train, options, progress=False if config.quiet else None)
    return model.to("cpu"), time.perf_counter() - began


def measure(model: Any, test: Trajectories, horizon: int) -> Errors:
    """Root mean squared errors after `horizon` steps, in standard deviations of each feature, and the share exact."""
    batch = windows_of(test, horizon)
    predicted = imagine(model, batch)[:, -1]
    first, last = batch.observations[:, 0], batch.observations[:, -1]
    scale = test.observations.std(0)
    scale = np.where(np.ptp(test.observations, axis=0) > 0, scale, 1.0)
    errors = [float(np.sqrt(np.square((guess - last) / scale).mean())) for guess in (predicted, first)]
    return Errors(*errors, exact=float((predicted == last).all(1).mean()))


def windows_of(test: Trajectories, horizon: int, most: int = 2000) -> WindowBatch:
    """At most this many windows, evenly spaced."""
    windows = test.windows(horizon)
    return windows.batch(np.unique(np.linspace(0, len(windows) - 1, most).astype(int)))


def imagine(model: Any, batch: WindowBatch) -> NDArray[np.float32]:
    """Observations [B, H + 1, O] that the model expects under the recorded actions."""
    rollout = model.rollout(torch.as_tensor(batch.observations[:, 0]), torch.as_tensor(batch.actions))
    observations: NDArray[np.float32] = rollout.observations.numpy()
    return observations


def summarise(
    model: Any, train: Trajectories, test: Trajectories, errors: dict[int, Errors], seconds: float
) -> dict[str, float]:
    """Flat names to numbers."""
    batch = windows_of(test, 1)
    step = model.predict(torch.as_tensor(batch.observations[:, 0]), torch.as_tensor(batch.actions[:, 0]))
    summary = {
        "train_steps": train.num_steps,
        "test_steps": test.num_steps,
        "fit_seconds": seconds,
        "num_parameters": getattr(model, "num_parameters", 0),
        "reward_error": float(np.sqrt(np.square(step.rewards.numpy() - batch.rewards[:, 0]).mean())),
        "reward_std": float(test.rewards.std()),
    }
    for horizon, error in errors.items():
        summary[f"error_h{horizon}"] = error.model
        summary[f"persistence_h{horizon}"] = error.persistence
        summary[f"exact_h{horizon}"] = error.exact
    return summary


def draw(config: Config, model: Any, test: Trajectories, errors: dict[int, Errors]) -> None:
    """Error against horizon, and one held-out episode as it was and as the model imagined it from its first step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    draw_errors(left, config, errors)
    draw_episode(right, model, test)
    figure.savefig(config.output_dir / "open_loop.png", dpi=120)


def draw_errors(axes: Any, config: Config, errors: dict[int, Errors]) -> None:
    """Both axes logarithmic, unless the model is exact."""
    horizons = list(errors)
    axes.plot(horizons, [errors[h].persistence for h in horizons], "--", color="#5A5A5A", label="nothing changes")
    axes.plot(horizons, [errors[h].model for h in horizons], "o-", color="#0072B2", label=config.model)
    axes.set_xscale("log", base=2)
    axes.set_xticks(horizons, [str(horizon) for horizon in horizons])
    if all(error.model > 0 for error in errors.values()):
        axes.set_yscale("log")
    axes.set(xlabel="steps ahead", ylabel="error [standard deviations]", title=f"{config.env_id}, held-out episodes")
    axes.legend()


def draw_episode(axes: Any, model: Any, test: Trajectories, most_steps: int = 50) -> None:
    """The three features that vary most."""
    episode = test.episode(int(test.lengths.argmax()))
    horizon = min(len(episode.actions), most_steps)
    batch = WindowBatch(
        episode.observations[None, : horizon + 1],
        episode.actions[None, :horizon],
        episode.rewards[None, :horizon],
        episode.terminations[None, :horizon],
    )
    imagined, real = imagine(model, batch)[0], batch.observations[0]
    for feature, colour in zip(np.argsort(-real.std(0))[:3], ("#0072B2", "#D55E00", "#009E73"), strict=False):
        axes.plot(real[:, feature], color=colour, alpha=0.4, linewidth=4, label=f"feature {feature}, real")
        axes.plot(imagined[:, feature], color=colour, label=f"feature {feature}, imagined")
    axes.set(xlabel="step", title="an episode imagined from its first observation")
    axes.legend(fontsize=7)


if __name__ == "__main__":
    main(tyro.cli(Config))
