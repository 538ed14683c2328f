"""Real steps that SAC needs inside a learned world model and on the real environment, by seed.

    python -m benchmarks.dream

Both arms have the same SAC, as in `examples/dream_sac.py`. The threshold is 90% of the way from
random actions to what the model-free arm scores in its last three evaluations; a run that never
reaches it counts with infinitely many steps. Results are written after every seed.
"""

from dataclasses import dataclass
from typing import Any

import torch
import tyro

from benchmarks.report import write_result
from wm_agents.evaluation.thresholds import LearningCurve
from wm_agents.imagination.imagined_sac import (
    ComparisonConfig,
    comparison_summary,
    imagined_curve,
    model_free_curve,
)
from wm_envs.data.progress import progress


@dataclass(frozen=True)
class Config:
    """What to run."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id with a flat Box observation and a Box action."""
    num_seeds: int = 10
    """Runs of each arm."""
    real_steps: int = 600
    """Real steps of the dream arm."""
    model_free_steps: int = 6000
    """Real steps of the model-free arm."""
    model_free_gradients: int = 1
    """SAC's gradient steps per real step in the model-free arm.

    Other than 1, results go to a file of their own.
    """


def main(config: Config) -> dict[str, Any]:
    """Run both arms seed by seed; returns the figures."""
    torch.set_num_threads(1)
    settings = ComparisonConfig(
        env_id=config.env_id,
        real_steps=config.real_steps,
        model_free_steps=config.model_free_steps,
        model_free_gradients=config.model_free_gradients,
    )
    gradients = config.model_free_gradients
    name = "dream_sac" if gradients == 1 else f"dream_sac_gradients_{gradients}"
    options = f"--real-steps {config.real_steps} --model-free-steps {config.model_free_steps}"
    options += f" --model-free-gradients {gradients}"
    random_return = settings.random_return(0)
    dreams: list[LearningCurve] = []
    real: list[LearningCurve] = []
    figures: dict[str, Any] = {}
    total = config.num_seeds * (settings.real_steps + settings.model_free_steps)
    with progress(total, "real steps") as bar:
        for seed in range(config.num_seeds):
            dreams.append(imagined_curve(settings, seed, bar))
            real.append(model_free_curve(settings, seed, bar))
            figures = comparison_summary(settings, dreams, real, random_return)
            figures |= by_seed(dreams, real)
            command = f"python -m benchmarks.dream --num-seeds {seed + 1} {options}"
            write_result(name, figures, seeds=range(seed + 1), command=command)
            print(seed, dreams[-1].returns.round(1), real[-1].returns.round(1), flush=True)
    return figures


def by_seed(dreams: list[LearningCurve], real: list[LearningCurve]) -> dict[str, Any]:
    """Each run's own curve."""
    arms = {"dream": dreams, "model_free": real}
    return {
        f"{name}_returns_by_seed": [curve.returns.tolist() for curve in curves]
        for name, curves in arms.items()
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
