r"""Stable-Baselines3's PPO on the real game, which the agent that imagines is compared with.

    python examples/sb3_pong.py --env-id wm/PongAtari-v0 --max-real-steps 100000 --seed 5 \
        --output-dir out

It reads the same features as `dream_pong.py`. Observations are the positions of the objects, an
easier input than pixels. Writes summary.json.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import wm_agents as wma
from wm_agents.domains.pong.sb3_baseline import BaselineConfig, run_baseline


@dataclass(frozen=True)
class Config(BaselineConfig):
    """What to run."""

    output_dir: Path = Path("runs/sb3_pong")
    """Folder for summary.json."""


def main(config: Config) -> dict[str, Any]:
    """Train and evaluate; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(1)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    summary = run_baseline(config)
    wma.plot_intervals(
        config.output_dir / "scores.png",
        {"mean game": summary["mean_score"], "worst game": summary["worst_game"]},
        "points won less points lost",
        title=f"PPO after {summary['real_steps']:,} real steps",
    )
    wma.write_summary(config.output_dir, summary, is_printed=True)
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
