"""An inferred reward where the world has changed: `examples/irl_transfer.py` by seed.

    python -m benchmarks.irl_transfer

Ten episodes of a pendulum's expert and a log of random actions give a world model and a reward of the
state alone. `home_share_*` are of the way from random actions to the expert on that pendulum, where
the policy learned in the world model alone; `share_*` of the way from random actions to PPO on the
true reward where the mass has changed.
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

from benchmarks.report import append_row, read_rows, write_result

SCRIPT = Path(__file__).parents[1] / "examples" / "irl_transfer.py"


@dataclass(frozen=True)
class Config:
    """What to run."""

    num_seeds: int = 5
    """Seeds."""
    mass: float = 1.5
    """Of the changed pendulum."""
    folder: Path = Path("runs/irl_transfer")
    """Where finished runs are kept, which are not run again."""


def main(config: Config) -> dict[str, Any]:
    """Run all; the result is written once every seed is there."""
    runs = [finished_run(config, seed) for seed in range(config.num_seeds)]
    figures: dict[str, Any] = {}
    for name in runs[0]:
        if "share_" in name:
            values = [run[name] for run in runs]
            figures[f"{name} median"] = float(np.median(values))
            figures[f"{name} worst"] = float(np.min(values))
    write_result(
        "irl_transfer",
        figures | {"runs": runs},
        seeds=range(config.num_seeds),
        command=f"python -m benchmarks.irl_transfer --num-seeds {config.num_seeds}",
    )
    return figures


def finished_run(config: Config, seed: int) -> dict[str, Any]:
    """The summary of a run of the script, from the folder where it is there."""
    for row in read_rows(config.folder):
        if (row["seed"], row["mass"]) == (seed, config.mass):
            return row
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--seed={seed}", f"--mass={config.mass}", f"--output-dir={folder}"]
        subprocess.run(
            [sys.executable, str(SCRIPT), *options], check=True, stdout=subprocess.DEVNULL
        )
        summary: dict[str, Any] = json.loads(
            (Path(folder) / "summary.json").read_text(encoding="utf-8")
        )
    append_row(config.folder, summary)
    shares = {name: round(value, 3) for name, value in summary.items() if "share_" in name}
    print(seed, shares, flush=True)
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
