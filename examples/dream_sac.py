"""Train SAC inside a learned world model, beside the same SAC on the real environment.

    python examples/dream_sac.py --env-id Pendulum-v1 --seed 0 --output-dir runs/dream_sac

The dream arm repeats: act for a while in the real environment, fit an ensemble to all real steps so
far, let SAC resume in short imagined branches from real states (model-based policy optimization,
Janner et al. 2019). Both arms have the same SAC with the same settings. What differs is where their
transitions come from, and how many gradient steps a real step is worth: imagined transitions are
cheap, so the dream takes more of them. Whether that alone is the gain is seen with
`--model-free-gradients`. Writes summary.json and learning_curves.png.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.evaluation.charts import times_fewer
from wm_agents.imagination.imagined_sac import (
    ComparisonConfig,
    comparison_summary,
    imagined_curve,
    model_free_curve,
)


@dataclass(frozen=True)
class Config(ComparisonConfig):
    """What to run."""

    seed: int = 0
    """First seed."""
    num_seeds: int = 1
    """Runs of each arm, with seeds counted upwards."""
    output_dir: Path = Path("runs/dream_sac")
    """Folder for summary.json and learning_curves.png."""
    num_threads: int = 1
    """Threads of torch."""


def main(config: Config) -> dict[str, float]:
    """Run both arms for every seed; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(config.num_threads)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    seeds = range(config.seed, config.seed + config.num_seeds)
    total = config.num_seeds * (config.model_free_steps + config.real_steps)
    with wma.progress(total, "real steps") as bar:
        dreams = [imagined_curve(config, seed, bar) for seed in seeds]
        real = [model_free_curve(config, seed, bar) for seed in seeds]
    summary = comparison_summary(config, dreams, real, config.random_return(config.seed))
    wma.write_summary(config.output_dir, summary)
    draw(config, dreams, real, summary)
    report(summary)
    wma.say_where(config.output_dir)
    return summary


def draw(
    config: Config,
    dreams: list[wma.LearningCurve],
    real: list[wma.LearningCurve],
    summary: dict[str, float],
) -> None:
    """Both curves over real steps."""
    arms = {"SAC in the dream": dreams, "SAC, model-free": real}
    title = ""
    if "times_fewer_real_steps" in summary:
        fewer = times_fewer(summary["times_fewer_real_steps"], "real steps")
        title = f"{config.env_id}: {fewer} in the dream"
    wma.plot_learning_curves(
        config.output_dir / "learning_curves.png",
        {label: [curve.returns for curve in curves] for label, curves in arms.items()},
        {label: curves[0].steps for label, curves in arms.items()},
        ylabel="Mean return",
        xlabel="Real steps",
        threshold=summary["threshold"],
        title=title,
    )


def report(summary: dict[str, float]) -> None:
    """The result in three lines."""
    print(f"{'':12}{'return':>10}{'real steps':>12}{'steps to threshold':>20}")
    for arm in ("dream", "model_free"):
        reached = summary.get(f"{arm}_steps_to_threshold")
        shown = "not reached" if reached is None else f"{reached:.0f}"
        mean_return = summary[f"{arm}_return"]
        real_steps = summary[f"{arm}_real_steps"]
        print(f"{arm:12}{mean_return:>10.1f}{real_steps:>12.0f}{shown:>20}")


if __name__ == "__main__":
    main(tyro.cli(Config))
