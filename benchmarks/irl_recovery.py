"""Recovery of known utilities: countries of the generator act, and their weights are inferred.

    python -m benchmarks.irl_recovery

Twenty countries a seed, each in 200 episodes of `wm/UNResolution-v0` in which every text is put to
the vote. The country samples its actions by the utilities that the environment knows; see
examples/irl_resolutions.py. Beside it: the same with actions shuffled
between episodes, and with a prior learned from the twenty.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro

from benchmarks.report import write_result
from wm_agents.domains.resolutions.resolution_mdp import recover_utilities, recovery_figures
from wm_envs.data.progress import progress


@dataclass(frozen=True)
class Config:
    """What to run."""

    num_seeds: int = 10
    """Seeds; each draws its own countries and episodes."""
    num_countries: int = 20
    """Countries a seed."""
    num_trajectories: int = 200
    """Episodes of each."""
    num_resamples: int = 100
    """Of the bootstrap; 0 leaves it out, which is several times as fast."""
    name: str = "irl_recovery"
    """Of the result."""


def main(config: Config) -> dict[str, Any]:
    """Play, infer, compare; returns the figures."""
    started = time.perf_counter()
    parts = []
    with progress(config.num_seeds, "seeds") as bar:
        for seed in range(config.num_seeds):
            part = recover_utilities(
                config.num_countries, config.num_trajectories, config.num_resamples, seed
            )
            parts.append(part)
            bar.advance()
            rounded = {name: round(value, 4) for name, value in recovery_figures([part]).items()}
            print(seed, rounded, flush=True)
    figures = recovery_figures(parts) | {
        "seconds": time.perf_counter() - started,
        "num_fits": sum(len(part.cosines) for part in parts),
        "trajectories_per_fit": config.num_trajectories,
    }
    command = (
        f"python -m benchmarks.irl_recovery --num-seeds {config.num_seeds} "
        f"--num-countries {config.num_countries} --num-trajectories {config.num_trajectories} "
        f"--num-resamples {config.num_resamples} --name {config.name}"
    )
    write_result(config.name, figures, seeds=range(config.num_seeds), command=command)
    print({name: np.round(value, 4) for name, value in figures.items()})
    return figures


if __name__ == "__main__":
    main(tyro.cli(Config))
