"""Learn to drive without an expert and without recorded laps, then lap circuits never seen.

    python examples/drive_from_scratch.py --seed 1 --output-dir out
    python examples/drive_from_scratch.py --circuits one.csv another.csv --output-dir out

Real cars explore the oval at random; an ensemble learns what a decision of 0.08 s does to the car; a
policy learns by gradients through that model on random circuits, drives real cars on them, and both
go on (`wm_agents/domains/driving/from_scratch.py`). What is told is printed. It is then timed on ten
random circuits and on real ones, all of which it never drove, beside the expert; once by itself and
once with foresight, which tries variations of it in the model. `wm data fetch circuits` says how to
get real circuits; without any the random ones serve. Writes summary.json and learning_curves.png.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import wm_agents as wma
from wm_agents.domains.driving.from_scratch import (
    SPECIFIED,
    Driver,
    Foresight,
    FromScratchConfig,
    beside_expert,
    drive_circuits,
    expert_times,
    learn_to_drive,
)
from wm_agents.domains.driving.recording import split_circuits
from wm_envs.data.fetching import data_folder
from wm_envs.driving.track import Track, make_track, random_track

MAX_STEPS = 300_000  # real ones, which is what the task allows
TEST_SEED = 6000  # the random circuits of tests have seeds from here on


@dataclass(frozen=True)
class Config(FromScratchConfig):
    """What to run."""

    circuits: tuple[Path, ...] = ()
    """CSV files of circuits to be timed on; none takes the unseen ones of the data folder, if any."""
    num_random: int = 10
    """Random circuits to be timed on."""
    laps: int = 2
    """Laps from a rolling start on the line; the last one is timed."""
    has_foresight: bool = True
    """Time the driver that tries variations in the model, too."""
    output_dir: Path = Path("runs/drive_from_scratch")
    """Folder for summary.json and learning_curves.png."""


def main(config: Config) -> dict[str, Any]:
    """Learn and drive; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(1)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    sets = circuits_of(config)  # before minutes of learning, should one be no circuit
    print(f"told: {SPECIFIED}", flush=True)
    curves: dict[str, list[float]] = {name: [] for name in sets}

    def evaluate(driver: Driver) -> None:
        for name, tracks in sets.items():
            rows = drive_circuits(driver.act, tracks, config.laps)
            curves[name].append(sum(row["driven"] for row in rows) / len(rows))
        shares = ", ".join(f"{name} {values[-1]:.2f}" for name, values in curves.items())
        print(f"{driver.explorer.num_steps} real steps, of all laps: {shares}", flush=True)

    driver = learn_to_drive(config, evaluate)
    results = {}
    for name, tracks in sets.items():
        experts = [expert_times(track, config.laps) for track in tracks]
        results[name] = compare(config, driver, tracks, experts)
    summary = {
        "told": SPECIFIED,
        "real_steps": driver.explorer.num_steps,
        "results": results,
        "rounds": driver.history,
        "seed": config.seed,
    }
    wma.write_summary(config.output_dir, summary, is_printed=True)
    wma.plot_learning_curves(
        config.output_dir / "learning_curves.png",
        {name: [values] for name, values in curves.items()},
        [row["real_steps"] for row in driver.history],
        ylabel=f"Share of {config.laps} laps driven",
        xlabel="Real steps",
        title="Driving from scratch, on circuits never driven",
    )
    return summary


def compare(
    config: Config, driver: Driver, tracks: Sequence[Track], experts: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """The policy and, where asked for, the same with foresight, beside the expert."""
    figures = {"policy": beside_expert(drive_circuits(driver.act, tracks, config.laps), experts)}
    if config.has_foresight:
        foresight = Foresight(driver)
        rows = drive_circuits(foresight.act, tracks, config.laps)
        changed = foresight.num_changed / foresight.num_decisions
        figures["with foresight"] = beside_expert(rows, experts) | {"changed": round(changed, 4)}
    return figures


def circuits_of(config: Config) -> dict[str, list[Track]]:
    """The circuits by the name of their set; raises ConfigError and TrackError."""
    if config.laps < 1 or config.num_random < 1:
        raise wma.ConfigError(f"laps={config.laps}, num_random={config.num_random}: give 1 or more")
    if config.real_steps > MAX_STEPS:
        raise wma.ConfigError(
            f"{config.real_steps} real steps are more than {MAX_STEPS}: give fewer rounds, or "
            "shorter ones"
        )
    seeds = range(TEST_SEED, TEST_SEED + config.num_random)
    sets = {"random": [random_track(seed) for seed in seeds]}
    paths = list(config.circuits)
    folder = data_folder("circuits")
    if not paths and any(folder.glob("*.csv")):
        _, paths = split_circuits(folder)
    if paths:
        sets["given"] = [make_track(path) for path in paths]
    return sets


if __name__ == "__main__":
    main(tyro.cli(Config))
