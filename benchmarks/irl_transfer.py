"""An inferred reward where the world has changed: `examples/irl_transfer.py` by seed.

    python -m benchmarks.irl_transfer

AIRL infers a reward of the pendulum's state from ten episodes of an expert, at home. Where the mass has
changed `share_inferred_reward` is what a new PPO reaches on that reward, of the way from random
actions to the same PPO on the true reward; the shares of cloning, of AIRL's own policy and of the
expert's rule say what those reach who learn nothing there. At home shares are of the expert's return.
Settings and masses were chosen on seed 100, before any of these seeds was run. `forgetful` says what
comes of it, at the first mass alone, where the discriminator remembers eight rounds and not all.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import wm_agents as wma
from benchmarks.report import append_row, read_rows, write_result

SCRIPT = Path(__file__).parents[1] / "examples" / "irl_transfer.py"


NUM_FORGETFUL_ROUNDS = 8


@dataclass(frozen=True)
class Config:
    """What to run."""

    num_seeds: int = 5
    """Seeds."""
    masses: tuple[float, ...] = (1.5, 2.0, 2.5)
    """Of the changed pendulums."""
    num_forgetful: int = 1
    """Seeds that are run again with a discriminator that forgets."""
    folder: Path = Path("runs/irl_transfer")
    """Where finished runs are kept, which are not run again."""


def main(config: Config) -> dict[str, Any]:
    """Run all; the result is written once every seed is there."""
    runs = [finished_run(config, seed, config.masses) for seed in range(config.num_seeds)]
    forgetful = [
        finished_run(config, seed, config.masses[:1], NUM_FORGETFUL_ROUNDS)
        for seed in range(config.num_forgetful)
    ]
    figures = summarize(runs)
    command = f"python -m benchmarks.irl_transfer --num-seeds {config.num_seeds}"
    write_result(
        "irl_transfer",
        figures | {"runs": runs, "forgetful": forgetful},
        seeds=range(config.num_seeds),
        command=command,
    )
    draw(runs, config.folder / "irl_transfer.png")
    return figures


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Median true returns by the mass of the pendulum."""
    by_mass = {
        float(mass): {name: [run["returns"][mass][name] for run in runs] for name in returns}
        for mass, returns in runs[0]["returns"].items()
    }
    words = {
        "true_reward": "PPO, true reward",
        "inferred_reward": "PPO, inferred reward",
        "expert": "the expert's rule",
        "airl_policy": "AIRL's own policy",
        "cloning": "behavioral cloning",
    }
    lines = {
        label: [float(np.median(returns.get(name, np.nan))) for returns in by_mass.values()]
        for name, label in words.items()
    }
    title = f"Rewards and policies of a pendulum of mass 1, {len(runs)} seeds"
    label = "mean true return of an episode"
    wma.plot_lines(path, list(by_mass), lines, "mass of the pendulum", label, title)


def summarize(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and worst seeds of each share, by mass."""
    correlations = [run["reward_correlation"] for run in runs]
    figures: dict[str, Any] = {
        "reward_correlation median": float(np.median(correlations)),
        "reward_correlation worst": float(np.min(correlations)),
        "cpu_seconds of a seed": float(np.median([run["cpu_seconds"] for run in runs])),
    }
    for mass, shares in runs[0]["shares"].items():
        for name in shares:
            values = [run["shares"][mass][name] for run in runs]
            figures[f"mass {mass} share_{name} median"] = float(np.median(values))
            figures[f"mass {mass} share_{name} worst"] = float(np.min(values))
    return figures


def finished_run(
    config: Config, seed: int, masses: Sequence[float], num_replay_rounds: int | None = None
) -> dict[str, Any]:
    """The summary of a run of the script, from the folder where it is there."""
    names = [f"{mass:g}" for mass in masses]
    key = {"seed": seed, "num_replay_rounds": num_replay_rounds}
    for row in read_rows(config.folder):
        if list(row["shares"]) == ["1", *names] and all(
            row.get(name) == value for name, value in key.items()
        ):
            return row
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--seed={seed}", f"--output-dir={folder}", "--masses", *names]
        if num_replay_rounds is not None:
            options.append(f"--num-replay-rounds={num_replay_rounds}")
        subprocess.run(
            [sys.executable, str(SCRIPT), *options], check=True, stdout=subprocess.DEVNULL
        )
        summary: dict[str, Any] = json.loads(
            (Path(folder) / "summary.json").read_text(encoding="utf-8")
        )
    summary |= key
    append_row(config.folder, summary)
    shares = {
        mass: run["inferred_reward"] for mass, run in summary["shares"].items() if mass != "1"
    }
    print(seed, shares, flush=True)
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
