"""Driving learned from nothing in a fitted model, and what the expert's laps would be worth.

    python -m benchmarks.driving_from_scratch --seeds 1 2 3
    python -m benchmarks.driving_from_scratch --seeds 1 --arms "no expert"

Each seed learns with as many real steps in both arms: those before the first fit are random on the
oval, or the noisy expert's on the training circuits. Both are timed on ten random circuits and on
the unseen real ones (every third of the folder), none of which was driven in learning or in choosing
settings; two laps from a rolling start on the line, the last one beside the expert's. Settings were
chosen on seeds 0, 7 and 11 and on other circuits. A finished row is kept in the output folder.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.report import RESULTS, append_row, read_rows, write_result
from wm_agents.domains.driving.from_scratch import (
    SPECIFIED,
    Driver,
    Foresight,
    FromScratchConfig,
    beside_expert,
    drive_circuits,
    expert_times,
    learn_to_drive,
    new_driver,
)
from wm_agents.domains.driving.recording import split_circuits
from wm_agents.training.checkpoints import load_checkpoint, save_checkpoint
from wm_envs.data.paths import expand_paths
from wm_envs.driving.track import Track, make_track, random_track

NAME = "driving_from_scratch"
CIRCUITS = Path(__file__).parents[1].parent / "shared" / "data" / "racetracks"
NUM_RANDOM, FIRST_RANDOM = 10, 6000
FIRST_STEPS = 10_000
ARMS = {
    "no expert": {"first_steps": FIRST_STEPS, "expert_steps": 0},
    "expert's laps": {"first_steps": 0, "expert_steps": FIRST_STEPS},
}
DRIVERS = ("policy", "with foresight")


@dataclass(frozen=True)
class Config:
    """What to run."""

    seeds: tuple[int, ...] = (1, 2, 3)
    """One run of each arm; none of those on which settings were chosen."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Which of the arms."""
    circuits: Path = CIRCUITS
    """Folder of real circuits."""
    output_dir: Path = Path("runs/driving_from_scratch")
    """Folder of finished rows."""
    results_dir: Path = RESULTS
    """Folder of driving_from_scratch.json."""


def main(config: Config) -> dict[str, Any]:
    """Run what is missing; returns the figures."""
    torch.set_num_threads(1)
    config = expand_paths(config)
    _, unseen = split_circuits(config.circuits)
    sets = {
        "random": [random_track(FIRST_RANDOM + number) for number in range(NUM_RANDOM)],
        "real": [make_track(path) for path in unseen],
    }
    rows = [finished_row(arm, seed, sets, config) for seed in config.seeds for arm in config.arms]
    figures = {
        "told": SPECIFIED,
        "circuits": [track.name for track in sets["real"]],
        "arms": {arm: summarize([row for row in rows if row["arm"] == arm]) for arm in config.arms},
        "rows": rows,
    }
    command = f"python -m benchmarks.{NAME} --seeds {' '.join(map(str, config.seeds))}"
    if config.arms != tuple(ARMS):
        command += " --arms " + " ".join(f'"{arm}"' for arm in config.arms)
    write_result(NAME, figures, seeds=config.seeds, command=command, folder=config.results_dir)
    print(figures["arms"], flush=True)
    return figures


def finished_row(
    arm: str, seed: int, sets: dict[str, list[Track]], config: Config
) -> dict[str, Any]:
    """The row of a run, which is made where it is missing."""
    for row in read_rows(config.output_dir):
        if row["arm"] == arm and row["seed"] == seed:
            return row
    driver, figures = learned(arm, seed, config)
    row = {"arm": arm, "seed": seed, **figures}
    for name, tracks in sets.items():
        experts = [expert_times(track) for track in tracks]
        for label in DRIVERS:
            foresight = Foresight(driver)
            act = foresight.act if label == "with foresight" else driver.act
            row[f"{name}, {label}"] = beside_expert(drive_circuits(act, tracks), experts)
    append_row(config.output_dir, row)
    for name in sets:
        print(arm, seed, name, [row[f"{name}, {label}"] for label in DRIVERS], flush=True)
    return row


def learned(arm: str, seed: int, config: Config) -> tuple[Driver, dict[str, Any]]:
    """What a run learned and its figures, from its file where an earlier one was stopped later."""
    settings = FromScratchConfig(seed=seed, **ARMS[arm])
    path = config.output_dir / f"{arm.replace(' ', '_').replace(chr(39), '')}_{seed}.safetensors"
    if path.exists():
        stored = load_checkpoint(path)
        driver = new_driver(settings)
        for name, network in driver.networks().items():
            prefix = f"{name}."
            network.load_state_dict(
                {
                    key.removeprefix(prefix): tensor
                    for key, tensor in stored.tensors.items()
                    if key.startswith(prefix)
                }
            )
        return driver, stored.metadata["figures"]
    driver = learn_to_drive(
        settings, lambda driver: print(arm, seed, driver.history[-1], flush=True)
    )
    tensors = {
        f"{name}.{key}": tensor
        for name, network in driver.networks().items()
        for key, tensor in network.state_dict().items()
    }
    figures = {
        "real_steps": driver.explorer.num_steps,
        "cpu_seconds": driver.history[-1]["cpu_seconds"],
        "rounds": driver.history,
    }
    save_checkpoint(path, tensors, {"arm": arm, "seed": seed, "figures": figures})
    return driver, figures


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all seeds: clean circuits of all, and the mean share of the expert's speed on those."""
    figures: dict[str, Any] = {
        "num_seeds": len(rows),
        "real_steps": max(row["real_steps"] for row in rows),
        "cpu_seconds": float(np.mean([row["cpu_seconds"] for row in rows])),
    }
    for key in (f"{name}, {label}" for name in ("random", "real") for label in DRIVERS):
        results = [row[key] for row in rows]
        shares = [share for result in results for share in result["shares"] if share is not None]
        figures[key] = {
            "clean": sum(result["clean"] for result in results),
            "circuits": sum(result["circuits"] for result in results),
            "clean_by_seed": [result["clean"] for result in results],
            "clean_at_97_percent": sum(result["clean_at_97_percent"] for result in results),
            "speed_of_expert": float(np.mean(shares)) if shares else None,
            "slowest": min(shares) if shares else None,
        }
    return figures


if __name__ == "__main__":
    main(tyro.cli(Config))
