"""Record an expert with noise on several circuits: what models of the car learn from.

    python examples/record_driving.py --circuits FOLDER --output-dir runs/driving_data

Random starts, circuits mixed, the expert at different paces, colored noise of different strength
on its actions, and pulses on single channels: most rows drive well, some slide, a few leave the
road. Writes trajectories.npz and summary.json.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

import wm_agents as wma
from wm_agents.domains.driving.recording import record_widely, split_circuits
from wm_envs.data.fetching import data_folder

CIRCUITS = data_folder("circuits")


@dataclass(frozen=True)
class Config:
    """What to record."""

    circuits: Path = CIRCUITS
    """Folder of CSV files.

    Every third of them in alphabetical order, from the third on, is never recorded.
    """
    episodes: int = 60
    """Episodes per circuit."""
    steps: int = 400
    """Steps of an episode at most, 50 a second."""
    seed: int = 0
    """Seed of starts and noise."""
    output_dir: Path = Path("runs/driving_data")
    """Folder for trajectories.npz and summary.json."""


def main(config: Config) -> dict[str, Any]:
    """Record the training circuits; returns the summary that is written."""
    config = wma.expand_paths(config)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    training, unseen = split_circuits(config.circuits)
    parts = [
        record_widely(path, config.episodes, config.steps, config.seed + 1000 * number)
        for number, path in enumerate(training)
    ]
    trajectories = wma.Trajectories.concatenate(parts)
    trajectories.save(config.output_dir / "trajectories.npz")
    summary = {
        "steps": trajectories.num_steps,
        "episodes": trajectories.num_episodes,
        "departures": int(trajectories.terminations.sum()),
        "training_circuits": [path.stem for path in training],
        "unseen_circuits": [path.stem for path in unseen],
        "seed": config.seed,
    }
    shares = {
        path.stem: float(part.terminations.sum() / part.num_episodes)
        for path, part in zip(training, parts, strict=True)
    }
    wma.plot_intervals(
        config.output_dir / "departures.png", shares, "share of episodes that leave the road"
    )
    wma.write_summary(config.output_dir, summary, is_printed=True)
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
