"""Infer what a walker on a grid wants from fifty of its walks.

    python examples/irl_gridworld.py --output-dir runs/irl_gridworld

The walker knows a goal, some hazards and some mud, and prefers better walks by the exponential of
their reward. From its walks alone, MaxEntIRL infers a reward for every cell. Writes summary.json
(value_ratio: what the best policy for the inferred reward earns under the true one, as a share of
the best), and grid.png, both rewards side by side.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
import tyro
from numpy.typing import NDArray

from wm_agents.irl import (
    TabularMDP,
    Demonstrations,
    MaxEntConfig,
    MaxEntIRL,
    choose_prior_std,
    optimal_policy,
    policy_value,
    soft_value_iteration,
)
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths

Floats = NDArray[np.float64]
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))
"""Up, down, left, right, stay."""


@dataclass(frozen=True)
class Config:
    """The world, the walks and the fit."""

    size: int = 8
    """Cells on a side."""
    num_walks: int = 50
    """Demonstrations."""
    horizon: int = 20
    """Steps of a walk."""
    slip: float = 0.0
    """Chance that a move goes astray, to a random neighbour."""
    rationality: float = 5.0
    """Inverse temperature of the walker: its rewards count this many times in the exponent."""
    prior_stds: tuple[float, ...] = (0.3, 0.6, 1.2)
    """Prior standard deviations of a cell's scaled reward.

    The one that foresees held-out walks best is taken.
    """
    seed: int = 0
    """Seed of world and walks."""
    output_dir: Path = Path("runs/irl_gridworld")
    """Folder for summary.json and grid.png."""


@dataclass(frozen=True)
class World:
    """A grid with S cells.

    Its model with one feature per cell, true rewards [S], and where walks begin [S].
    """

    model: TabularMDP
    rewards: Floats
    starts: Floats


def main(config: Config) -> dict[str, Any]:
    """Walk, infer, check, write; returns the summary."""
    config = expand_paths(config)
    if config.num_walks < 5:
        raise SystemExit(
            f"the prior is chosen on five folds: num_walks is at least 5, got {config.num_walks}"
        )
    make_output_directory(config.output_dir, has_pictures=True)
    world = make_world(config)
    policy = soft_value_iteration(
        world.model, config.rationality * spread(world.rewards, world.model)
    ).probabilities
    walks = walk(world, policy, config)
    started = time.perf_counter()
    prior_std = choose_prior_std(world.model, walks, config.prior_stds)
    irl = MaxEntIRL(world.model, MaxEntConfig(prior_std=prior_std))
    fit = irl.fit(walks)
    seconds = time.perf_counter() - started
    uniform = np.full((config.horizon, *world.model.mask.shape), 1 / len(MOVES))
    aimless = MaxEntIRL(world.model, irl.config).fit(walk(world, uniform, config))
    others = walk(
        world, policy, config, stream=2
    )  # neither the fit nor the choice of the prior has seen these
    # Cells where nobody could go by chance or choice say nothing, so rewards are compared where
    # walks went.
    visited = np.unique(walks.states)
    summary = {
        "value_ratio": value_ratio(world, fit.weights),
        "value_ratio_of_aimless_walks": value_ratio(world, aimless.weights),
        "correlation": float(np.corrcoef(fit.weights[visited], world.rewards[visited])[0, 1]),
        "coverage_90": coverage(fit.low, fit.high, config.rationality * world.rewards),
        "held_out_log_likelihood": irl.log_likelihood(others),
        "held_out_log_likelihood_uniform": -float(np.log(len(MOVES))),
        "rank": fit.identifiability.rank,
        "num_cells": world.model.num_states,
        "prior_std": prior_std,
        "fit_seconds": seconds,
        "seed": config.seed,
    }
    write_summary(config.output_dir, summary)
    save_picture(world, fit.weights, config)
    print(json.dumps(summary, indent=2))
    return summary


def make_world(config: Config) -> World:
    """A goal in the far corner, a sixth of the cells hazards, a sixth mud."""
    num_cells = config.size**2
    generator = np.random.default_rng(config.seed)
    rewards = generator.choice([0.0, -1.0, -0.4], num_cells, p=[4 / 6, 1 / 6, 1 / 6])
    rewards[-1] = 1.0
    features = np.repeat(np.eye(num_cells)[:, None], len(MOVES), 1)
    names = [f"cell_{row}_{column}" for row in range(config.size) for column in range(config.size)]
    model = TabularMDP(features, names, transitions=transitions(config), horizon=config.horizon)
    return World(model, rewards, np.full(num_cells, 1 / num_cells))


def transitions(config: Config) -> Any:
    """[S * A, S]: where moves lead; a wall holds the walker back."""
    size, num_moves = config.size, len(MOVES)
    cells = np.arange(size**2)
    row, column = np.divmod(cells, size)
    reached = [
        np.clip(row + down, 0, size - 1) * size + np.clip(column + right, 0, size - 1)
        for down, right in MOVES
    ]
    table = np.zeros((size**2, num_moves, size**2))
    for move, cell in enumerate(reached):
        table[cells, move, cell] += 1 - config.slip
        for astray in reached[:4]:
            table[cells, move, astray] += config.slip / 4
    return sparse.csr_array(table.reshape(-1, size**2))


def spread(rewards: Floats, model: TabularMDP) -> Floats:
    """Rewards [S, A] from rewards of cells [S]."""
    return np.repeat(rewards[:, None], model.num_actions, 1)


def walk(world: World, policy: Floats, config: Config, stream: int = 1) -> Demonstrations:
    """Walks of a policy [T, S, A] from random cells.

    Each stream of random numbers gives other ones.
    """
    generator = np.random.default_rng([config.seed, stream])
    cells = generator.choice(len(world.starts), config.num_walks, p=world.starts)
    table = world.model.transitions.toarray().reshape(*world.model.mask.shape, -1)
    states, actions = [], []
    for time_step in range(config.horizon):
        moves = draw(policy[time_step, cells], generator)
        states.append(cells)
        actions.append(moves)
        cells = draw(table[cells, moves], generator)
    lengths = np.full(config.num_walks, config.horizon)
    return Demonstrations.from_states(
        np.stack(states, 1).ravel(), np.stack(actions, 1).ravel(), lengths
    )


def draw(probabilities: Floats, generator: np.random.Generator) -> NDArray[np.int64]:
    """One index [N] from each row of probabilities [N, M]."""
    shares = generator.random(len(probabilities))[:, None]
    return np.minimum((probabilities.cumsum(1) < shares).sum(1), probabilities.shape[1] - 1)


def value_ratio(world: World, weights: Floats) -> float:
    """True value of the best policy for these rewards, as a share of the best possible."""
    true = spread(world.rewards, world.model)
    best = policy_value(world.model, optimal_policy(world.model, true), true, world.starts)
    inferred = optimal_policy(world.model, spread(weights, world.model))
    return policy_value(world.model, inferred, true, world.starts) / best


def coverage(low: Floats, high: Floats, rewards: Floats) -> float:
    """Share of intervals that hold the true reward.

    A constant on all cells changes no choice and is taken off.
    """
    shift = float(np.median(rewards - (low + high) / 2))
    return float(((low + shift <= rewards) & (rewards <= high + shift)).mean())


def save_picture(world: World, weights: Floats, config: Config) -> None:
    """The true and the inferred reward of each cell."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    shown = (("true reward", world.rewards), ("inferred", weights - np.median(weights)))
    for axes, (title, values) in zip(figure.subplots(1, 2), shown, strict=True):
        limit = float(np.abs(values).max())
        image = axes.imshow(values.reshape(config.size, -1), cmap="RdBu", vmin=-limit, vmax=limit)
        axes.set(title=title, xticks=[], yticks=[])
        figure.colorbar(image, ax=axes, shrink=0.8)
    figure.savefig(config.output_dir / "grid.png")


if __name__ == "__main__":
    main(tyro.cli(Config))
