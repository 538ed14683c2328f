"""Inferred rewards on recorded votes: does the map order countries as other roll calls do, are later votes foreseen?

    python -m benchmarks.irl_votes --votes runs/un

`examples/irl_resolutions.py` on several splits into demonstrations and other roll calls, and with
each kind of features. What is known of a later text includes the votes of the years up to it, as
for any forecast.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.report import write_result
from examples import irl_resolutions


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
    runs = [("precedent", seed) for seed in range(config.num_seeds)] + [
        ("alignment", 0),
        ("stage", 0),
    ]
    for features, seed in runs:
        with tempfile.TemporaryDirectory() as folder:
            settings = irl_resolutions.Config(
                votes=config.votes,
                features=features,  # type: ignore[arg-type]
                seed=seed,
                num_resamples=config.num_resamples if seed == 0 else 0,
                output_dir=Path(folder),
            )
            figures[f"{features}_{seed}"] = irl_resolutions.main(settings)
        parts = [value for name, value in figures.items() if name.startswith("precedent")]
        names = [
            f"spearman_{name}" for name in ("axis", "agreement", "direction_weight", "shuffled")
        ]
        means = {
            name: float(np.mean([part[name] for part in parts]))
            for name in (*names, "log_loss", "log_loss_baseline")
        }
        command = f"python -m benchmarks.irl_votes --votes runs/un --num-seeds {config.num_seeds}"
        write_result(
            "irl_votes", means | {"runs": figures}, seeds=range(config.num_seeds), command=command
        )
    return figures


if __name__ == "__main__":
    main(tyro.cli(Config))
