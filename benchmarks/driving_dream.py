"""Real steps until SAC drives, inside the learned car and on the real one, by seed.

    python -m benchmarks.driving_dream --seeds 0 1 2 --control-seeds 0

A seed has a dream and a model-free run, and its threshold is 90% of the way from random decisions
to its own model-free run's final return. A run that never gets there counts with infinitely many
steps. The control is the model-free arm with twenty times its gradient steps: five per real step,
where the dream takes nine. Each seed's row is written as soon as it is over, in place of an older
row of that seed.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.report import RESULTS, write_result
from wm_agents.domains.driving import sac

NAME = "driving_dream"
COMPARED = (
    "dream_return",
    "model_free_return",
    "dream_over_expert",
    "dream_over_model_free",
    "times_fewer_real_steps",
)


@dataclass(frozen=True)
class Config:
    """What to run."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One dream and one model-free run each."""
    control_seeds: tuple[int, ...] = ()
    """Seeds of the control, each of them among the rows."""
    control_gradients: int = 20
    """Gradient steps of the control per decision, which is four real steps."""
    control_decisions: int = 2000
    """Decisions of the control."""
    control_every: int = 125
    """Decisions between evaluations of the control."""
    output_dir: Path = RESULTS
    """Folder for driving_dream.json."""
    example: sac.DrivingSACConfig = field(default_factory=sac.DrivingSACConfig)
    """Settings of both arms, but for the seed."""


def main(config: Config) -> dict[str, Any]:
    """Run seed by seed; returns all rows with their summary."""
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for seed in config.seeds:
        settings = replace(config.example, seed=seed)
        reference = settings.evaluation.reference_returns(seed)
        dream = sac.train_in_imagination(settings)
        model_free = sac.train_model_free(settings)
        row = sac.compare_arms(settings, dream, model_free, reference)
        figures = add(config, row)
        print(json.dumps(row), flush=True)
    for seed in config.control_seeds:
        figures = add(config, control(config, seed, rows_of(config)[seed]))
    return figures


def control(config: Config, seed: int, row: dict[str, Any]) -> dict[str, Any]:
    """A row with a model-free run of many gradient steps, and when it reached the threshold."""
    settings = replace(
        config.example,
        seed=seed,
        model_free_gradients=config.control_gradients,
        model_free_decisions=config.control_decisions,
        evaluate_every=config.control_every,
    )
    curve = sac.train_model_free(settings)
    reached = curve.steps_to(row["threshold"])
    figures: dict[str, Any] = {
        "gradient_steps_per_decision": config.control_gradients,
        "steps_to_threshold": reached,
        "times_the_dream": None,
        "curve": [curve.steps.tolist(), curve.returns.round(2).tolist()],
    }
    if reached and row["dream_steps_to_threshold"]:
        figures["times_the_dream"] = reached / row["dream_steps_to_threshold"]
    return row | {"control": figures}


def rows_of(config: Config) -> dict[int, dict[str, Any]]:
    """The rows so far, by seed."""
    path = config.output_dir / f"{NAME}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["figures"]["rows"] if path.exists() else []
    return {row["seed"]: row for row in rows}


def add(config: Config, row: dict[str, Any]) -> dict[str, Any]:
    """Write the result with one more row."""
    by_seed = rows_of(config) | {row["seed"]: row}
    rows = [by_seed[seed] for seed in sorted(by_seed)]
    figures = {**summarize(rows), "rows": rows}
    command = f"python -m benchmarks.driving_dream --seeds {' '.join(map(str, sorted(by_seed)))}"
    controlled = [seed for seed in sorted(by_seed) if "control" in by_seed[seed]]
    if controlled:
        command += f" --control-seeds {' '.join(map(str, controlled))}"
    write_result(NAME, figures, seeds=sorted(by_seed), command=command, folder=config.output_dir)
    return figures


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and worst seed of what is compared; a figure is null where a run did not get there."""
    shares = [
        row
        | {
            "dream_over_expert": row["dream_return"] / row["expert_return"],
            "dream_over_model_free": row["dream_return"] / row["model_free_return"],
        }
        for row in rows
    ]
    figures: dict[str, Any] = {"num_seeds": len(rows), "expert_return": rows[0]["expert_return"]}
    for name in COMPARED:
        values = [-np.inf if row[name] is None else row[name] for row in shares]
        for statistic, value in (("median", np.median(values)), ("worst", np.min(values))):
            figures[f"{name}_{statistic}"] = float(value) if np.isfinite(value) else None
    figures["seeds_at_threshold"] = sum(row["dream_steps_to_threshold"] is not None for row in rows)
    return figures


if __name__ == "__main__":
    main(tyro.cli(Config))
