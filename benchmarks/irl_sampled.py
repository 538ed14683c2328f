"""Known weights from sampled futures, on driving and on the pendulum: `examples/irl_driving.py` by task and seed.

python -m benchmarks.irl_sampled
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.report import write_result
from examples import irl_driving


@dataclass(frozen=True)
class Config:
    """What to run."""

    num_seeds: int = 3
    """Of each task."""


def main(config: Config) -> dict[str, Any]:
    """Run all; results are written after every run."""
    runs: dict[str, list[dict[str, Any]]] = {"pendulum": [], "driving": []}
    figures: dict[str, Any] = {}
    for seed in range(config.num_seeds):
        for task, parts in runs.items():
            with tempfile.TemporaryDirectory() as folder:
                settings = irl_driving.Config(task=task, seed=seed, output_dir=Path(folder))  # type: ignore[arg-type]
                parts.append(irl_driving.main(settings))
            figures = {}
            for name, done in runs.items():
                if done:
                    figures[f"{name}_cosine_median"] = float(
                        np.median([part["cosine"] for part in done])
                    )
                    figures[f"{name}_cosine_worst"] = min(part["cosine"] for part in done)
                    covered = sum(part["covered"] for part in done)
                    figures[f"{name}_coverage_90"] = covered / sum(
                        part["num_weights"] for part in done
                    )
            command = f"python -m benchmarks.irl_sampled --num-seeds {seed + 1}"
            write_result(
                "irl_sampled", figures | {"runs": runs}, seeds=range(seed + 1), command=command
            )
    return figures


if __name__ == "__main__":
    main(tyro.cli(Config))
