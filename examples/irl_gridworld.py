"""Infer what a walker on a grid wants from fifty of its walks.

    python examples/irl_gridworld.py --output-dir runs/irl_gridworld

The walker knows a goal, some hazards and some mud, and prefers better walks by the exponential of
their reward. From its walks alone, MaxEntIRL infers a reward for every cell. Writes summary.json
(value_ratio: what the best policy for the inferred reward earns under the true one, as a share of
the best), and grid.png, both rewards side by side.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

import wm_agents as wma
from wm_agents.irl.gridworld import Gridworld, coverage


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
    """Probability that a move goes astray, to a random neighbor."""
    rationality: float = 5.0
    """Inverse temperature of the walker: its rewards count this many times in the exponent."""
    prior_stds: tuple[float, ...] = (0.3, 0.6, 1.2)
    """Prior standard deviations of a cell's scaled reward.

    The one that predicts held-out walks best is taken.
    """
    seed: int = 0
    """Seed of world and walks."""
    output_dir: Path = Path("runs/irl_gridworld")
    """Folder for summary.json and grid.png."""


def main(config: Config) -> dict[str, Any]:
    """Walk, infer, check, write; returns the summary."""
    config = wma.expand_paths(config)
    if config.num_walks < 5:
        raise SystemExit(
            f"the prior is chosen on five folds: num_walks is at least 5, got {config.num_walks}"
        )
    wma.make_output_directory(config.output_dir, has_pictures=True)

    # Demonstrations.
    world = Gridworld.make(config.size, config.horizon, config.slip, config.seed)
    expert = world.expert(config.rationality)
    walks = world.walks(expert, config.num_walks, [config.seed, 1])

    # The reward behind them.
    started = time.perf_counter()
    prior_std = wma.choose_prior_std(world.mdp, walks, config.prior_stds)
    irl = wma.MaxEntIRL(world.mdp, wma.MaxEntConfig(prior_std=prior_std))
    fit = irl.fit(walks)
    seconds = time.perf_counter() - started

    # What it is worth: beside a reward from aimless walks, and on walks that neither the fit nor
    # the choice of the prior has used.
    aimless_walks = world.walks(world.uniform(), config.num_walks, [config.seed, 1])
    aimless = wma.MaxEntIRL(world.mdp, irl.config).fit(aimless_walks)
    held_out = world.walks(expert, config.num_walks, [config.seed, 2])
    # Cells where nobody could go by chance or choice say nothing, so rewards are compared where
    # walks went.
    visited = np.unique(walks.states)
    summary = {
        "value_ratio": world.value_ratio(fit.weights),
        "value_ratio_of_aimless_walks": world.value_ratio(aimless.weights),
        "correlation": float(np.corrcoef(fit.weights[visited], world.rewards[visited])[0, 1]),
        "coverage_90": coverage(fit.low, fit.high, config.rationality * world.rewards),
        "held_out_log_likelihood": irl.log_likelihood(held_out),
        "held_out_log_likelihood_uniform": -float(np.log(world.mdp.num_actions)),
        "rank": fit.identifiability.rank,
        "num_cells": world.mdp.num_states,
        "prior_std": prior_std,
        "fit_seconds": seconds,
        "seed": config.seed,
    }
    wma.write_summary(config.output_dir, summary, is_printed=True)
    save_picture(world, fit.weights, config)
    return summary


def save_picture(world: Gridworld, weights: NDArray[np.float64], config: Config) -> None:
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
