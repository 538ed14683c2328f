"""Fit a world model to recorded resolutions; score how well it predicts what no rule decides.

    python examples/world_model_resolutions.py --trajectories runs/un --country FR --epochs 60 --output-dir runs/wm

Episodes are split by resolution and time: the first 60% fit, the next 20% stop the fitting, the
last 20% are scored. Numbers that a rule copies (topic, time, a tally that stands) are left out of
the score. Writes summary.json, per_trajectory.json, tallies.png and losses.png.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import wm_agents as wma
from wm_agents.domains.resolutions import ResolutionModel, ResolutionModelConfig
from wm_agents.domains.resolutions import evaluation as scores
from wm_agents.domains.resolutions.pictures import save_losses, save_predicted_tallies
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.records import read_trajectories
from wm_envs.resolutions.votes import has_course, recorded_trajectories


@dataclass(frozen=True)
class Config:
    """What to fit."""

    trajectories: tuple[Path, ...] = (Path("runs/un"),)
    """ResolutionRecord files or folders."""
    country: str = "FR"
    """Whose seat, a code or a name."""
    since: str = "1992-01-01"
    """Resolutions before this date are left out."""
    transitions: int = 4
    """4, or 3 for the historical layout."""
    epochs: int = 60
    """Passes over the training steps at most."""
    dropout: float = 0.1
    """Share of hidden units left out in a step."""
    seed: int = 0
    """Seed of weights and order."""
    output_dir: Path = Path("runs/world_model_resolutions")
    """Folder for what is written."""
    num_threads: int = 1
    """Threads of torch."""


def main(config: Config) -> dict[str, Any]:
    """Read, split, fit, score; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(config.num_threads)
    started = time.perf_counter()
    model = ResolutionModel(
        ResolutionModelConfig(
            num_epochs=config.epochs,
            dropout=config.dropout,
            seed=config.seed,
            transitions=config.transitions,
        )
    )
    country = code_of(config.country)
    if country is None:
        raise wma.ConfigError(f"expected a country's code or name, got {config.country!r}")
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    read = [record for path in config.trajectories for record in read_trajectories(path)]
    kept = [record for record in read if has_course(record) and (record.date or "") >= config.since]
    parts = scores.split_by_resolution(kept)
    training, validation, test = (
        recorded_trajectories(part, country, config.transitions) for part in parts
    )

    report = model.fit(training, validation=validation)
    errors = scores.step_errors(model, test)
    summary = {
        "country": country,
        "num_read": len(read),
        "num_trajectories": [len(part) for part in parts],
        "num_transitions": [part.num_steps for part in (training, validation, test)],
        "split_dates": [part[0].date for part in parts],
        **{
            name if name == "stage_wrong" else f"mae_{name}": scores.mean_where_finite(error)
            for name, error in errors.items()
        },
        "baseline_training_mean": scores.mean_tally_errors(training, test),
        "best_epoch": int(report.metrics["best_epoch"]),
        "diversity": scores.episode_diversity(test, parts[2]),
        "seed": config.seed,
        "seconds": time.perf_counter() - started,
    }
    wma.write_summary(folder, summary, is_printed=True)
    rows = scores.errors_by_record(errors, test, parts[2])
    wma.write_json(folder / "per_trajectory.json", rows)
    save_predicted_tallies(
        scores.plenary_tallies(test, model), scores.plenary_tallies(test), folder / "tallies.png"
    )
    save_losses([row["loss"] for row in report.history], folder / "losses.png")
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
