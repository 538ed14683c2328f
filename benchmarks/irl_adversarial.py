"""Ten expert episodes: adversarial IRL beside behaviour cloning, five seeds of two tasks.

    python -m benchmarks.irl_adversarial

`examples/irl_imitation.py` by seed. Shares are of the way from random actions to the expert's
return. AIRL starts from a cloned policy; one seed of CartPole starts from nothing as well, to see
what the inferred reward alone teaches.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.report import write_result
from examples import irl_imitation


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
    torch.set_num_threads(1)
    runs: dict[str, list[dict[str, Any]]] = {}
    steps = {"CartPole-v1": config.cart_pole_steps, "Pendulum-v1": config.pendulum_steps}
    jobs = [
        (name, irl_imitation.Config(env_id=name, total_timesteps=n, seed=seed))  # type: ignore[arg-type]
        for seed in range(config.num_seeds)
        for name, n in steps.items()
    ]
    if config.scratch_steps:
        scratch = irl_imitation.Config(
            env_id="CartPole-v1",
            total_timesteps=config.scratch_steps,
            starts_from_clone=False,
            seed=0,
        )
        jobs.insert(2, ("CartPole-v1 from nothing", scratch))
    for name, settings in jobs:
        runs.setdefault(name, []).append(irl_imitation.imitate(settings))
        print(name, runs[name][-1], flush=True)
        arguments = f"--num-seeds {len(runs['CartPole-v1'])} --scratch-steps {config.scratch_steps}"
        command = f"python -m benchmarks.irl_adversarial {arguments}"
        write_result(
            "irl_adversarial",
            summarise(runs),
            seeds=range(len(runs["CartPole-v1"])),
            command=command,
        )
    return summarise(runs)


def summarise(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
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
