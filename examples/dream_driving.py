"""Learn to drive inside the learned model: SAC in imagination, beside the same SAC on the real car.

    python examples/dream_driving.py --seed 0 --output-dir runs/dream_driving

The dream arm fits the car's model to recorded laps of a noisy expert on one circuit, lets SAC drive
in short imagined branches from recorded places, drives for a while with what it learned, and fits
again. The rules of the reward and of leaving the road are given; what the car does is learned. Both
arms observe the same numbers, have one number for both pedals, decide 12.5 times a second
(`wm_agents/domains/driving/task.py`), and have the same SAC with the same settings. Real steps
count at 50 Hz, those of the recorded laps included. The returns of the expert and of a car that
brakes and stands are the references. Writes summary.json and learning_curves.png.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import wm_agents as wma
from wm_agents.domains.driving.sac import (
    DrivingSACConfig,
    compare_arms,
    train_in_imagination,
    train_model_free,
)
from wm_agents.evaluation.charts import times_fewer


@dataclass(frozen=True)
class Config(DrivingSACConfig):
    """What to run."""

    output_dir: Path = Path("runs/dream_driving")
    """Folder for summary.json and learning_curves.png."""


def main(config: Config) -> dict[str, Any]:
    """Run both arms; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(1)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    config.check()
    dream = train_in_imagination(config)
    model_free = train_model_free(config)
    reference = config.evaluation.reference_returns(config.seed)
    summary = compare_arms(config, dream, model_free, reference)
    wma.write_summary(config.output_dir, summary, is_printed=True)
    draw(config, dream, model_free, summary)
    return summary


def draw(
    config: Config, dream: wma.LearningCurve, model_free: wma.LearningCurve, summary: dict[str, Any]
) -> None:
    """Write learning_curves.png: both returns over real steps."""
    title = f"wm/Driving-v0, {Path(config.track).stem}"
    if summary["times_fewer_real_steps"] is not None:
        title += f": {times_fewer(summary['times_fewer_real_steps'], 'real steps')} in the dream"
    wma.plot_learning_curves(
        config.output_dir / "learning_curves.png",
        {"SAC in the dream": [dream.returns], "SAC, model-free": [model_free.returns]},
        {"SAC in the dream": dream.steps, "SAC, model-free": model_free.steps},
        ylabel="Mean return",
        xlabel="Real steps",
        threshold=round(summary["threshold"], 1),
        title=title,
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
