"""Ten expert episodes: adversarial IRL beside behavioral cloning, five seeds of two tasks.

    python -m benchmarks.irl_adversarial
    python -m benchmarks.irl_adversarial --mode nothing
    python -m benchmarks.irl_adversarial --mode world-model
    python -m benchmarks.irl_adversarial --mode world-model --env-id CartPole-v1 --num-seeds 3

Runs the script `examples/irl_imitation.py` by seed, as its user would. Shares are of the way from
random actions to the expert's return. AIRL starts from a cloned policy, from nothing, or from nothing
in a world model of the demonstrations and a log of random actions, where it takes no step of the task.
Settings were chosen on seeds from 100 on. With --env-id the result keeps the runs of the other task.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

import wm_agents as wma
from benchmarks.report import RESULTS, append_row, read_figures, read_rows, write_result

SCRIPT = Path(__file__).parents[1] / "examples" / "irl_imitation.py"


FLAGS = {
    "clone": (),
    "nothing": ("--from-nothing", "--num-envs=16"),
    "world-model": ("--from-nothing", "--in-world-model", "--num-envs=64"),
}
NAMES = {
    "clone": "irl_adversarial",
    "nothing": "irl_from_nothing",
    "world-model": "irl_in_world_model",
}
STEPS = {
    "clone": {"CartPole-v1": 12_000, "Pendulum-v1": 16_000},
    "nothing": {"CartPole-v1": 65_536, "Pendulum-v1": 98_304},
    "world-model": {"CartPole-v1": 65_536, "Pendulum-v1": 98_304},
}
"""Steps of AIRL by mode and task."""


@dataclass(frozen=True)
class Config:
    """What to run."""

    mode: Literal["clone", "nothing", "world-model"] = "clone"
    """Where AIRL starts, and where it acts."""
    num_seeds: int = 5
    """Seeds of each task."""
    env_id: Literal["CartPole-v1", "Pendulum-v1"] | None = None
    """The task; None for both."""
    folder: Path = Path("runs/irl_adversarial")
    """Where finished runs are kept, which are not run again."""


def main(config: Config) -> dict[str, Any]:
    """Run all; results are written once every seed of every task is there."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for env_id, num_steps in STEPS[config.mode].items():
        if config.env_id not in (None, env_id):
            continue
        for seed in range(config.num_seeds):
            run = finished_run(config, env_id, seed, num_steps)
            if config.mode != "clone":
                run = without_cloning(run)
            runs.setdefault(env_id, []).append(run)
            print(env_id, seed, f"share {run['share_airl']:.3f}", flush=True)
    if config.mode != "clone":
        draw(runs, config.folder / f"{NAMES[config.mode]}.png")
    runs = committed_runs(config) | runs
    command = f"python -m benchmarks.irl_adversarial --mode {config.mode}"
    seeds = sorted({run["seed"] for parts in runs.values() for run in parts})
    write_result(NAMES[config.mode], summarize(runs), seeds=seeds, command=command)
    return summarize(runs)


def committed_runs(config: Config) -> dict[str, list[dict[str, Any]]]:
    """By task those that are not run again, since another task was asked for."""
    if config.env_id is None:
        return {}
    path = RESULTS / f"{NAMES[config.mode]}.json"
    runs: dict[str, list[dict[str, Any]]] = read_figures(path)["runs"]
    return {env_id: parts for env_id, parts in runs.items() if env_id != config.env_id}


def draw(runs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """How the shares grew, over all seeds."""
    curves = {}
    steps = {}
    for env_id, parts in runs.items():
        curves[env_id] = [
            [
                (value - run["curve_random"]) / (run["curve_expert"] - run["curve_random"])
                for _, value in run["curve"]
            ]
            for run in parts
        ]
        steps[env_id] = [step for step, _ in parts[0]["curve"]]
    wma.plot_learning_curves(
        path,
        curves,
        steps,
        "share of the expert's return (random 0)",
        threshold=0.95,
        xlabel="steps of the learner",
        title=f"AIRL from ten episodes, {len(parts)} seeds",
    )


def finished_run(config: Config, env_id: str, seed: int, num_steps: int) -> dict[str, Any]:
    """The summary of a run, from the folder where it is there."""
    flags = FLAGS[config.mode]
    key = {"mode": config.mode, "env_id": env_id, "num_steps": num_steps, "flags": [*flags]}
    for row in read_rows(config.folder):
        if row["seed"] == seed and all(row[name] == value for name, value in key.items()):
            return {name: value for name, value in row.items() if name not in key}
    run = imitate(env_id, seed, num_steps, flags)
    append_row(config.folder, key | run)
    return run


def without_cloning(run: dict[str, Any]) -> dict[str, Any]:
    """A run beside the expert and random actions alone: cloning is compared with in one place."""
    return {name: value for name, value in run.items() if "cloning" not in name}


def imitate(env_id: str, seed: int, num_steps: int, flags: Sequence[str]) -> dict[str, Any]:
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
            if arm not in parts[0]:
                continue
            values = [part[arm] for part in parts]
            figures |= {
                f"{name} {arm} median": float(np.median(values)),
                f"{name} {arm} worst": float(np.min(values)),
            }
    return figures | {"runs": runs}


if __name__ == "__main__":
    main(tyro.cli(Config))
