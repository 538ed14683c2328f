"""Known weights from sampled futures: `examples/irl_driving.py` by task and seed.

    python -m benchmarks.irl_sampled

Then the road is wet and the pendulum heavier: `changed_share_inferred_reward` is what the plan reaches
that is best there by the inferred weights, of the way from any plan to the best by the true ones, and
`changed_share_copied_plan` what the plan reaches that would have been best before.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.report import write_result

CHANGED = {"pendulum": 2.0, "driving": 0.6}
"""Mass of the pendulum and grip of the road, each 1 where the weights are inferred."""
EXAMPLE = Path(__file__).parents[1] / "examples" / "irl_driving.py"


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
            parts.append(run_example(task, seed))
            figures = {}
            for name, done in runs.items():
                if done:
                    figures |= figures_of(name, done)
            command = f"python -m benchmarks.irl_sampled --num-seeds {seed + 1}"
            write_result(
                "irl_sampled", figures | {"runs": runs}, seeds=range(seed + 1), command=command
            )
    return figures


def run_example(task: str, seed: int) -> dict[str, Any]:
    """The summary of the example, run as a user does."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--task", task, "--seed", str(seed), "--output-dir", folder]
        options += ["--changed", str(CHANGED[task])]
        subprocess.run([sys.executable, str(EXAMPLE), *options], check=True)
        summary: dict[str, Any] = json.loads(
            (Path(folder) / "summary.json").read_text(encoding="utf-8")
        )
    return summary


def figures_of(task: str, runs: list[dict[str, Any]]) -> dict[str, float]:
    """Median and worst cosine, and the share of true weights within their intervals."""
    cosines = [run["cosine"] for run in runs]
    shares = {}
    for name in ("inferred_reward", "copied_plan"):
        values = [run[f"changed_share_{name}"] for run in runs]
        shares[f"{task}_changed_share_{name}_median"] = float(np.median(values))
        shares[f"{task}_changed_share_{name}_worst"] = min(values)
    covered = sum(run["covered"] for run in runs)
    return {
        f"{task}_cosine_median": float(np.median(cosines)),
        f"{task}_cosine_worst": min(cosines),
        f"{task}_coverage_90": covered / sum(run["num_weights"] for run in runs),
        **shares,
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
