"""Rewards inferred from recorded votes: the order of countries on the map, and later votes.

    python -m benchmarks.irl_votes --votes runs/un

The inference of `examples/irl_resolutions.py` on several splits into demonstrations and other roll
calls, and with each kind of features: does the map order countries as other roll calls do, and are
later votes predicted? What is known of a later text includes the votes of the years up to it, as
for any forecast.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.report import write_result
from wm_agents.domains.resolutions.vote_rewards import FeatureKind, infer_rewards, read_votes


@dataclass(frozen=True)
class Config:
    """What to run."""

    votes: Path
    """What build_trajectories.py wrote."""
    num_seeds: int = 3
    """Splits, for the precedent features."""
    num_resamples: int = 100
    """Of the bootstrap, on the first split."""


def main(config: Config) -> dict[str, Any]:
    """Run all; returns the figures."""
    figures: dict[str, Any] = {}
    runs: list[tuple[FeatureKind, int]] = [
        *(("precedent", seed) for seed in range(config.num_seeds)),
        ("alignment", 0),
        ("stage", 0),
    ]
    data = read_votes(config.votes)
    for features, seed in runs:
        started = time.perf_counter()
        num_resamples = config.num_resamples if seed == 0 else 0
        inference = infer_rewards(data, features, num_resamples=num_resamples, seed=seed)
        seconds = time.perf_counter() - started
        figures[f"{features}_{seed}"] = inference.figures | {"seed": seed, "seconds": seconds}
        write(config, figures)  # after each, so that a run that is stopped leaves what it has
    return figures


def write(config: Config, figures: dict[str, Any]) -> None:
    """The runs so far, with means over the splits."""
    parts = [part for name, part in figures.items() if name.startswith("precedent")]
    orders = [f"spearman_{name}" for name in ("axis", "agreement", "direction_weight", "shuffled")]
    names = [*orders, "log_loss", "log_loss_baseline"]
    means = {name: float(np.mean([part[name] for part in parts])) for name in names}
    command = f"python -m benchmarks.irl_votes --votes runs/un --num-seeds {config.num_seeds}"
    seeds = range(config.num_seeds)
    write_result("irl_votes", means | {"runs": figures}, seeds=seeds, command=command)


if __name__ == "__main__":
    main(tyro.cli(Config))
