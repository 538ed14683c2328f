"""Ten expert episodes: adversarial IRL beside behavioral cloning, five seeds of two tasks.

    python -m benchmarks.irl_adversarial

Runs the script `examples/irl_imitation.py` by seed, as its user would. Shares are of the way from
random actions to the expert's return. AIRL starts from a cloned policy; one seed of CartPole starts
from nothing as well, to see what the inferred reward alone teaches.
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

SCRIPT = Path(__file__).parents[1] / "examples" / "irl_imitation.py"


@dataclass(frozen=True)
class Config:
    """What to run."""

    num_seeds: int = 5
    """Seeds of each task."""
    cart_pole_steps: int = 12_000
    """Steps of AIRL."""
    pendulum_steps: int = 16_000
    """Steps of AIRL."""
    scratch_steps: int = 40_000
    """Steps of AIRL on CartPole from nothing; 0 leaves it out."""


def main(config: Config) -> dict[str, Any]:
    """Run all; results are written after every seed."""
    jobs = []
    for seed in range(config.num_seeds):
        jobs.append(("CartPole-v1", seed, config.cart_pole_steps, []))
        jobs.append(("Pendulum-v1", seed, config.pendulum_steps, []))
    if config.scratch_steps:
        scratch = ("CartPole-v1 from nothing", 0, config.scratch_steps, ["--no-starts-from-clone"])
        jobs.insert(2, scratch)
    runs: dict[str, list[dict[str, Any]]] = {}
    for name, seed, num_steps, flags in jobs:
        runs.setdefault(name, []).append(imitate(name.split()[0], seed, num_steps, flags))
        print(name, runs[name][-1], flush=True)
        num_done = len(runs["CartPole-v1"])
        arguments = f"--num-seeds {num_done} --scratch-steps {config.scratch_steps}"
        write_result(
            "irl_adversarial",
            summarize(runs),
            seeds=range(num_done),
            command=f"python -m benchmarks.irl_adversarial {arguments}",
        )
    return summarize(runs)


def imitate(env_id: str, seed: int, num_steps: int, flags: list[str]) -> dict[str, Any]:
    """The summary of one run of the script."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"env-id": env_id, "seed": seed, "total-timesteps": num_steps}
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        command = [sys.executable, str(SCRIPT), *arguments, *flags, f"--output-dir={folder}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary: dict[str, Any] = json.loads(
            (Path(folder) / "summary.json").read_text(encoding="utf-8")
        )
    return summary


def summarize(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians and worst seeds, and every run."""
    figures: dict[str, Any] = {}
    for name, parts in runs.items():
        for arm in ("share_airl", "share_cloning"):
            values = [part[arm] for part in parts]
            figures |= {
                f"{name} {arm} median": float(np.median(values)),
                f"{name} {arm} worst": float(np.min(values)),
            }
    return figures | {"runs": runs}


if __name__ == "__main__":
    main(tyro.cli(Config))
