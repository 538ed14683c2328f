"""Fit a world model to recorded resolutions and say how well it foresees what no rule decides.

    python examples/world_model_resolutions.py --trajectories runs/un --country FR --epochs 60
    --output-dir runs/wm

Episodes are split by resolution and time: the first 60% fit, the next 20% stop the fitting, the
last 20% are scored. Numbers that a rule copies (topic, time, a tally that stands) are left out of
the score. Writes summary.json, per_trajectory.json, tallies.png and losses.png.
"""

import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from wm_agents.domains.resolutions.world_model import (
    PLENARY,
    ResolutionModel,
    ResolutionModelConfig,
    step_errors,
    steps_of,
)
from wm_agents.errors import ConfigError
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths
from wm_envs.data.trajectories import Trajectories
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.episodes import has_course, recorded_trajectories
from wm_envs.resolutions.records import ResolutionRecord, read_trajectories


@dataclass(frozen=True)
class Config:
    """What to fit."""

    trajectories: tuple[Path, ...] = (Path("runs/un"),)
    """Trajectory files or folders."""
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
    config = expand_paths(config)
    torch.set_num_threads(config.num_threads)
    started = time.perf_counter()
    settings = ResolutionModelConfig(
        num_epochs=config.epochs,
        dropout=config.dropout,
        seed=config.seed,
        transitions=config.transitions,
    )
    country = code_of(config.country)
    if country is None:
        raise ConfigError(f"expected a country's code or name, got {config.country!r}")
    make_output_directory(config.output_dir, has_pictures=True)
    read = [t for path in config.trajectories for t in read_trajectories(path)]
    kept = [t for t in read if has_course(t) and (t.date or "") >= config.since]
    parts = split(kept)
    training, validation, test = (
        recorded_trajectories(p, country, config.transitions) for p in parts
    )
    model = ResolutionModel(settings)
    fitted = model.fit(training, validation)
    errors = step_errors(model, test)
    baseline = mean_tally_errors(training, test)
    summary = {
        "country": country,
        "num_read": len(read),
        "num_trajectories": [len(part) for part in parts],
        "num_transitions": [len(part.actions) for part in (training, validation, test)],
        "split_dates": [part[0].date for part in parts],
        **{
            f"mae_{name}" if name != "stage_wrong" else name: mean_of(error)
            for name, error in errors.items()
        },
        "baseline_training_mean": baseline,
        "best_epoch": fitted["best_epoch"],
        "diversity": diversity(test, parts[2]),
        "seed": config.seed,
        "seconds": time.perf_counter() - started,
    }
    write(config.output_dir, summary, errors, test, parts[2])
    draw(config.output_dir, model, test, fitted["validation_losses"])
    print(json.dumps(summary, indent=2))
    return summary


def split(
    trajectories: list[ResolutionRecord],
) -> tuple[list[ResolutionRecord], list[ResolutionRecord], list[ResolutionRecord]]:
    """60/20/20 by time; all votes on one resolution stay together.

    Raises ConfigError for fewer than ten.
    """
    resolutions: dict[str, list[ResolutionRecord]] = {}
    for trajectory in sorted(trajectories, key=lambda t: t.date or ""):
        resolutions.setdefault(trajectory.symbol or trajectory.trajectory_id, []).append(trajectory)
    groups = list(resolutions.values())
    if len(groups) < 10:
        raise ConfigError(
            f"only {len(groups)} resolutions: ten at least are needed for three parts"
        )
    cuts = (0, int(0.6 * len(groups)), int(0.8 * len(groups)), len(groups))
    first, second, third = (
        [t for g in groups[a:b] for t in g] for a, b in itertools.pairwise(cuts)
    )
    return first, second, third


def mean_of(values: NDArray[np.float64]) -> float | None:
    """The mean over the steps that count; None where there are none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def mean_tally_errors(training: Trajectories, test: Trajectories) -> dict[str, float | None]:
    """Mean absolute errors of the training period's mean plenary tally."""
    tallies = []
    for part in (training, test):
        observations, _, following, _, _ = steps_of(part)
        happens = (observations[:, PLENARY].sum(1) == 0) & (following[:, PLENARY].sum(1) > 0)
        tallies.append(following[happens][:, PLENARY].numpy())
    if not len(tallies[0]) or not len(tallies[1]):
        return dict.fromkeys(("plenary_yes", "plenary_no", "plenary_abstain"))
    errors = np.abs(tallies[1] - tallies[0].mean(0)).mean(0)
    return dict(
        zip(("plenary_yes", "plenary_no", "plenary_abstain"), map(float, errors), strict=True)
    )


def diversity(test: Trajectories, trajectories: list[ResolutionRecord]) -> dict[str, float]:
    """How different the test episodes are: few distinct ones would make a good score cheap."""
    starts = np.concatenate([[0], (test.lengths + 1).cumsum()[:-1]])
    episodes = {
        test.observations[a : a + n + 1].tobytes()
        for a, n in zip(starts, test.lengths, strict=True)
    }
    shares = np.bincount(test.actions, minlength=5) / len(test.actions)
    entropy = -float(sum(share * np.log2(share) for share in shares if share > 0))
    return {
        "distinct_episodes": len(episodes) / len(test.lengths),
        "distinct_titles": len({t.title for t in trajectories}) / len(trajectories),
        "distinct_lengths": len(set(test.lengths.tolist())),
        "topics": len(set(test.observations[:, 4].tolist())),
        "action_entropy_bits": entropy,
        "std_of_yes": float(test.observations[starts + test.lengths, 10].std()),
    }


def write(
    folder: Path,
    summary: dict[str, Any],
    errors: dict[str, NDArray[np.float64]],
    test: Trajectories,
    trajectories: list[ResolutionRecord],
) -> None:
    """summary.json and the errors of each resolution."""
    write_summary(folder, summary)
    bounds = np.concatenate([[0], test.lengths.cumsum()])
    rows = [
        {
            "trajectory_id": trajectory.trajectory_id,
            "title": trajectory.title,
            **{name: mean_of(error[bounds[k] : bounds[k + 1]]) for name, error in errors.items()},
        }
        for k, trajectory in enumerate(trajectories)
    ]
    (folder / "per_trajectory.json").write_text(
        json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def draw(folder: Path, model: ResolutionModel, test: Trajectories, losses: list[float]) -> None:
    """Predicted against counted plenary tallies, and the validation loss."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    observations, actions, following, _, _ = steps_of(test)
    happens = (observations[:, PLENARY].sum(1) == 0) & (following[:, PLENARY].sum(1) > 0)
    with torch.no_grad():
        predicted = (
            model.predict(observations[happens], actions[happens]).observations[:, PLENARY].numpy()
        )
    counted = following[happens][:, PLENARY].numpy()
    figure, panels = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    for place, (name, colour) in enumerate(
        (("yes", "#009E73"), ("no", "#D55E00"), ("abstain", "#E0A800"))
    ):
        limit = max(counted[:, place].max(initial=1.0), predicted[:, place].max(initial=1.0)) * 1.05
        panels[place].plot([0, limit], [0, limit], color="#999999", linewidth=1)
        panels[place].scatter(predicted[:, place], counted[:, place], s=9, color=colour, alpha=0.7)
        panels[place].set(title=name, xlabel="predicted", ylabel="counted")
    figure.savefig(folder / "tallies.png", dpi=110)
    plt.close(figure)
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot(range(1, len(losses) + 1), losses)
    axes.set(xlabel="epoch", ylabel="validation loss")
    figure.savefig(folder / "losses.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(tyro.cli(Config))
