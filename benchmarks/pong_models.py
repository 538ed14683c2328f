"""Which idea makes a world model of Pong hold: an ablation from regression to situations.

    python -m benchmarks.pong_models

All rows learn the same recorded games and imagine the same windows of games of a player that
training never saw, under the recorded actions. The table gives, for the sixth step, the mean
squared error over the 56 and the 14 newest features [px²], its median, the share of windows exact
in all 14 and the ball's error in pixels, and the error of the thirtieth.

    persistence    nothing changes
    regression     one perceptron on standardised differences of the newest frame, one-step loss;
                   the older frames shift
    absolute       the same without the residual: the newest frame itself is predicted
    weighted       the ball counts ten times as much
    rounding       the regression's predictions are rounded to pixels after every step
    multi_step     the regression with an open-loop loss over six steps from the start
    curriculum     the same, after a one-step phase, over 1, 2, 4, 6 steps
    ensemble       the mean of five
    recurrent      a gated recurrent unit that has read eight steps
    latent         a recurrent state-space model with a stochastic latent
    tokens         each feature of the newest frame classified, from the observation alone
    history        parts decided one after the other, by networks that read symbols
    situations     the same, with clear situations memorized; this is examples/world_model_pong.py
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import Tensor

from benchmarks.report import RESULTS, write_result
from wm_agents.domains.pong.object_view import PongView
from wm_agents.domains.pong.open_loop import (
    BALL_X,
    BALL_Y,
    NEWEST,
    OpenLoopConfig,
    errors_at,
    play_test,
    record_training,
)
from wm_agents.domains.pong.state import STACK as NUM_FRAMES
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models import (
    DeterministicModel,
    EnsembleModel,
    FeatureLayout,
    FitConfig,
    LatentModel,
    RecurrentModel,
    TokenConfig,
    TokenModel,
    frame_stack,
)
from wm_agents.world_models.object_fitting import ObjectConfig
from wm_agents.world_models.objects import ObjectModel
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories
from wm_envs.pong.columns import NUM_FEATURES

NUM_CONTEXT = 8  # steps that recurrent models read before a window
BALL_WEIGHT = 10.0
STACK = frame_stack(NUM_FRAMES, NUM_FEATURES, is_interleaved=True)
ROWS = (
    "persistence", "regression", "absolute", "weighted", "rounding", "multi_step", "curriculum",
    "ensemble", "recurrent", "latent", "tokens", "history", "situations",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What to run."""

    env_ids: tuple[str, ...] = ("wm/Pong-v0", "wm/PongAtari-v0")
    """Both games."""
    rows: tuple[str, ...] = ROWS
    """Rows of the table."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds of `situations`; the other rows take the first."""
    train_steps: int = 200_000
    """Recorded steps, at most."""
    test_games: int = 16
    """Games of the test player."""
    num_updates: int = 6000
    """Optimiser steps of each regression; the part networks take a quarter each."""
    repeat_action_probability: float = 0.0
    """Sticky actions."""
    num_threads: int = 2
    """Threads of torch."""
    output_dir: Path = RESULTS
    """Folder for pong_models.json."""
    name: str = "pong_models"
    """Of the result."""
    model: ObjectConfig = field(default_factory=ObjectConfig)
    """Of the last two rows, but for the number of updates."""


class Weighted(DeterministicModel):
    """The regression with the ball's errors counted `BALL_WEIGHT` times."""

    def targets(self, before: Tensor, after: Tensor) -> Tensor:
        """Standardised differences, the ball's stretched."""
        return super().targets(before, after) * self._stretch()

    def decode(self, before: Tensor, normalized_targets: Tensor, acts: Tensor) -> Tensor:
        """Undo the stretching, then as always."""
        return super().decode(before, normalized_targets / self._stretch(), acts)

    def _stretch(self) -> Tensor:
        is_ball = [column in (BALL_X, BALL_Y) for column in self.layout.differences]
        return torch.where(torch.tensor(is_ball), BALL_WEIGHT**0.5, 1.0)


class Rounded(Unrolled):
    """A model whose predictions are rounded to whole pixels after every step."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.observation_space = model.observation_space
        self.action_space = model.action_space

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """As the model."""
        return self.model.start(observations, hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """As the model, rounded."""
        after, prediction = self.model.step(state, actions, generator)
        pixels = after.observations.round()
        return ModelState(pixels, after.hidden), replace(prediction, observations=pixels)


class Still(Unrolled):
    """Nothing changes."""

    observation_space: Any = None
    action_space: Any = None

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The observations."""
        return ModelState(observations, hidden)

    def step(
        self,
        state: ModelState,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> tuple[ModelState, Prediction]:
        """The same again."""
        zeros = torch.zeros(len(actions))
        return state, Prediction(state.observations, zeros, zeros)


def main(config: Config) -> dict[str, Any]:
    """Run all rows on all games, write the table; returns the figures."""
    torch.set_num_threads(config.num_threads)
    figures: dict[str, Any] = {}
    for env_id in config.env_ids:
        figures[env_id] = run_game(config, env_id)
    write_result(
        config.name,
        figures,
        seeds=config.seeds,
        command=command_of(config),
        folder=config.output_dir,
    )
    return figures


def command_of(config: Config) -> str:
    """The command line that measures the same again."""
    settings = {
        name: getattr(config, name)
        for name in ("train_steps", "test_games", "num_updates", "num_threads")
    }
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings.items())
    return f"python -m benchmarks.pong_models --seeds {' '.join(map(str, config.seeds))} {options}"


def run_game(config: Config, env_id: str) -> dict[str, Any]:
    """The table of one game."""
    options = OpenLoopConfig(
        env_id=env_id,
        seed=config.seeds[0],
        train_steps=config.train_steps,
        test_games=config.test_games,
        repeat_action_probability=config.repeat_action_probability,
    )
    env = gym.make(env_id, **options.env_kwargs)
    train = record_training(options)
    test, _, rows = play_test(options, env)
    rows = window_starts(test, train, rows, options.horizon)
    fitted: dict[str, Any] = {}
    table = {}
    print(f"{env_id}: {train.num_steps} steps, {len(rows)} windows")
    for name in config.rows:
        seeds = config.seeds if name == "situations" else config.seeds[:1]
        results = []
        for seed in seeds:
            began = time.perf_counter()
            fitted[name] = MAKERS[name](config, env, train, seed, fitted)
            seconds = time.perf_counter() - began
            results.append(
                measure(fitted[name], test, rows, options.horizon) | {"seconds": seconds}
            )
        table[name] = {
            key: float(np.mean([result[key] for result in results])) for key in results[0]
        }
        if len(results) > 1:
            table[name]["exact_share_step6_worst"] = min(
                result["exact_share_step6"] for result in results
            )
        show(name, table[name])
    return {"train_steps": train.num_steps, "windows": len(rows), "table": table}


def window_starts(test: Trajectories, train: Trajectories, rows: Any, horizon: int) -> Any:
    """Window starts with room before and after, whose first step training never saw."""
    position = rows - test.step_starts[test.episode_of_step[rows]]
    has_room = (position >= NUM_CONTEXT) & (
        position + horizon <= test.lengths[test.episode_of_step[rows]]
    )
    return np.setdiff1d(rows[has_room], test.duplicates(train).steps)


def measure(model: Any, test: Trajectories, rows: Any, horizon: int) -> dict[str, float]:
    """The figures of one model."""
    first = test.observation_of_step[rows]
    window = first[:, None] + np.arange(-NUM_CONTEXT, horizon + 1)
    observations = torch.as_tensor(test.observations[window])
    actions = torch.as_tensor(test.actions[rows[:, None] + np.arange(-NUM_CONTEXT, horizon)])
    if isinstance(model, ObjectModel):
        state = model.starts(test).select(torch.as_tensor(rows))
    else:
        state = warmed(model, observations, actions)
    with torch.no_grad():
        imagined = model.rollout(state, actions[:, NUM_CONTEXT:]).observations.numpy()
    real = observations[:, NUM_CONTEXT:].numpy()
    episodes = test.episode_of_step[rows]
    figures = errors_at(6, real, imagined, episodes)
    figures |= errors_at(horizon, real, imagined, episodes)
    return {name: value for name, value in figures.items() if np.isfinite(value)}


@torch.no_grad()
def warmed(model: Any, observations: Tensor, actions: Tensor) -> ModelState:
    """The model's state after `NUM_CONTEXT` recorded steps."""
    state = model.start(observations[:, 0])
    for step in range(NUM_CONTEXT):
        after, _ = model.step(state, actions[:, step])
        state = model.start(observations[:, step + 1], after.hidden)
    return state


def show(name: str, row: dict[str, float]) -> None:
    """One line of the table."""
    keys = (
        "mse56_step6",
        "mse14_step6",
        "median14_step6",
        "exact_share_step6",
        "ball_rmse_step6",
        "mse14_step30",
    )
    print(
        f"{name:12}"
        + "".join(f"{row.get(key, float('nan')):14.4f}" for key in keys)
        + f"{row['seconds']:8.0f} s",
        flush=True,
    )


Maker = Callable[[Config, Any, Trajectories, int, dict[str, Any]], Any]


def regression(
    model_class: type[Any],
    *,
    layout: FeatureLayout = STACK,
    horizon: int = 1,
    curriculum_start: float = 0.0,
    **more: Any,
) -> Maker:
    """A maker of a fitted model of the library."""

    def make(config: Config, env: Any, train: Trajectories, seed: int, _: dict[str, Any]) -> Any:
        model = model_class(
            env.observation_space, env.action_space, layout=layout, seed=seed, **more
        )
        fit = FitConfig(
            num_updates=config.num_updates,
            horizon=horizon,
            curriculum_start=curriculum_start,
            patience=1000,
            seed=seed,
        )
        model.fit(train, fit, progress=False)
        return model

    return make


def tokens(config: Config, env: Any, train: Trajectories, seed: int, _: dict[str, Any]) -> Any:
    """Classified features of the observation alone."""
    model = TokenModel(
        env.observation_space, env.action_space, TokenConfig(is_optimistic=False), seed=seed
    )
    fit = FitConfig(num_updates=config.num_updates, horizon=1, patience=1000, seed=seed)
    model.fit(train, fit, progress=False)
    return model


def parts(min_purity: float) -> Maker:
    """Parts and symbols, with situations looked up from this purity on."""

    def make(config: Config, env: Any, train: Trajectories, seed: int, _: dict[str, Any]) -> Any:
        num_updates = max(config.num_updates // 4, 1)
        shape = replace(config.model, num_updates=num_updates, min_purity=min_purity)
        view = PongView.calibrated(train.observations, train.actions, train.lengths)
        model = ObjectModel(env.observation_space, env.action_space, view, shape, seed=seed)
        model.fit(train)
        return model

    return make


MAKERS: dict[str, Maker] = {
    "persistence": lambda *_: Still(),
    "regression": regression(DeterministicModel),
    "absolute": regression(
        DeterministicModel, layout=replace(STACK, absolutes=tuple(NEWEST.tolist()))
    ),
    "weighted": regression(Weighted),
    "rounding": lambda *arguments: Rounded(
        arguments[-1].get("regression") or MAKERS["regression"](*arguments)
    ),
    "multi_step": regression(DeterministicModel, horizon=6),
    "curriculum": regression(DeterministicModel, horizon=6, curriculum_start=0.5),
    "ensemble": regression(EnsembleModel),
    "recurrent": regression(RecurrentModel, horizon=6),
    "latent": regression(LatentModel, horizon=6),
    "tokens": tokens,
    "history": parts(1.1),
    "situations": parts(0.98),
}

if __name__ == "__main__":
    main(tyro.cli(Config))
