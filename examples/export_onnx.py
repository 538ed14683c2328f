"""Fit a small world model and write it as ONNX, to run anywhere without torch.

    python examples/export_onnx.py --env-id Pendulum-v1 --output-dir out
    python examples/run_onnx.py --model out/model.onnx

Writes model.onnx and summary.json with the largest difference between both on held-out steps.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import tyro

import wm_agents as wma
import wm_envs
from wm_agents.training.summary import make_output_directory, write_summary


@dataclass(frozen=True)
class Config:
    """What to fit and where to write it."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id."""
    episodes: int = 20
    """Episodes of random play to learn from; a quarter more is recorded for the check."""
    num_updates: int = 2000
    """Optimizer steps."""
    width: int = 64
    """Units in each of the two hidden layers."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/export_onnx")
    """Folder for model.onnx and summary.json."""
    quiet: bool = False
    """No progress bars."""


def main(config: Config) -> dict[str, float]:
    """Record, fit, export and compare; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(1)
    make_output_directory(config.output_dir, has_pictures=True)
    total = config.episodes + max(1, config.episodes // 4)
    recorded = wm_envs.record(config.env_id, episodes=total, seed=config.seed, progress=False)
    train = recorded.select(np.arange(config.episodes))
    test = recorded.select(np.arange(config.episodes, total))
    widths = (config.width, config.width)
    model = wma.DeterministicModel.for_env(
        config.env_id, wma.DeterministicConfig(dynamics_widths=widths), seed=config.seed
    )
    options = wma.FitConfig(num_updates=config.num_updates, seed=config.seed)
    model.fit(train, options, progress=False if config.quiet else None)
    path = model.export_onnx(config.output_dir / "model.onnx")
    differences = largest_differences(model, path, test)
    wma.plot_intervals(
        config.output_dir / "differences.png", differences, "largest difference to ONNX Runtime"
    )
    summary = {
        "largest_difference": max(differences.values()),
        "kilobytes": path.stat().st_size / 1000,
        "num_parameters": float(model.num_parameters),
    }
    write_summary(config.output_dir, summary)
    print(f"{path}: {summary}")
    wma.say_where(config.output_dir)
    return summary


def largest_differences(
    model: wma.DeterministicModel, path: Path, test: wma.Trajectories
) -> dict[str, float]:
    """The largest differences of what torch and ONNX Runtime predict, over all held-out steps."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows, actions = test.start_observations, test.actions
    theirs = session.run(None, {"observations": rows, "actions": actions})
    ours = model.predict(rows, actions)
    tensors = (ours.observations, ours.rewards, ours.terminations)
    names = ("observations", "rewards", "ends")
    return {
        name: float(np.abs(ours.numpy() - theirs).max())
        for name, ours, theirs in zip(names, tensors, theirs, strict=True)
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
