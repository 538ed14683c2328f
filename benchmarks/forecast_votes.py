"""Votes of the General Assembly forecast on two splits of time, beside simple predictions.

    python -m benchmarks.forecast_votes --votes runs/un

The model is fitted on the 24 years before a split, once for each seed of its perceptrons, and
forecasts each roll call of the split with what was known the day before. All settings were chosen
on 2006-2011 and years before; 2012-2016 is what is reported. Every predictor is also given as the
share of always-yes errors that it removes. --votes is what examples/build_trajectories.py wrote.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.report import write_result
from wm_agents.domains.resolutions import ClassifierConfig, VoteData, VoteModel, VoteModelConfig
from wm_agents.domains.resolutions import evaluation as scores
from wm_agents.domains.resolutions.pictures import save_errors_removed
from wm_envs.resolutions.records import read_trajectories
from wm_envs.resolutions.votes import vote_arrays

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "forecast_votes.png"
VALIDATION = (2006, 2012)
TEST = (2012, 2017)
NUM_REVEALED = 10
NUM_DRAWS = 3  # of the countries that are revealed


@dataclass(frozen=True)
class Config:
    """What to measure."""

    votes: Path = Path("runs/un")
    """Trajectories of recorded votes."""
    num_seeds: int = 3
    """Seeds of the perceptrons on the test years; the validation years take the first."""
    spatial: bool = True
    """Fit spatial models of the test years too, with a fifth of the votes held out."""


def main(config: Config) -> dict[str, Any]:
    """Fit, forecast, score; returns the figures of the test years, with the others beside."""
    torch.set_num_threads(1)
    data = VoteData(**vote_arrays(read_trajectories(config.votes)))
    beside: dict[str, Any] = {}
    runs: list[dict[str, Any]] = []
    for seed in range(config.num_seeds):
        runs.append(forecast_figures(data, TEST, seed))
        write(averaged(runs) | beside, len(runs))
        if seed == 0:
            beside["validation"] = {name_of(VALIDATION): forecast_figures(data, VALIDATION, 0)}
            write(averaged(runs) | beside, len(runs))
    if config.spatial:
        beside["spatial"] = scores.spatial_scores(data, data.between(*TEST))
    figures = averaged(runs) | beside
    write(figures, len(runs))
    save_errors_removed({**beside["validation"], name_of(TEST): figures}, PICTURE)
    print(scores.score_table(figures))
    return figures


def forecast_figures(data: VoteData, years: tuple[int, int], seed: int) -> dict[str, Any]:
    """All figures of the roll calls within [first, last), fitted before the first."""
    started = time.process_time()
    config = VoteModelConfig(classifier=replace(ClassifierConfig(), seed=seed))
    model = VoteModel(config)
    model.fit(data, train_before=float(years[0]))
    forecast = model.forecast(data.between(*years))
    is_novel = scores.novelty_masks(model, data, forecast.rows)
    figures = scores.forecast_scores(data, forecast, is_novel)
    figures |= scores.revealed_scores(model, data, forecast, NUM_REVEALED, NUM_DRAWS)
    figures["baselines"] = scores.baseline_scores(data, forecast, is_novel)
    figures["cpu_seconds"] = time.process_time() - started
    print(f"{name_of(years)}, seed {seed}: {figures}", flush=True)
    return figures


def averaged(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over runs, with the range of the main figures; simple predictions know no seed."""
    figures: dict[str, Any] = dict(runs[0])
    for name, value in runs[0].items():
        if isinstance(value, float):
            figures[name] = float(np.mean([run[name] for run in runs]))
    figures["by_seed"] = {
        name: [run[name] for run in runs]
        for name in ("accuracy", "errors_removed", "calibration_error", "tally_interval_coverage")
    }
    return figures


def name_of(years: tuple[int, int]) -> str:
    """Such as 2012-2016."""
    return f"{years[0]}-{years[1] - 1}"


def write(figures: dict[str, Any], num_seeds: int) -> None:
    """After each part, so that a run that was stopped counts for what it finished."""
    command = f"python -m benchmarks.forecast_votes --votes runs/un --num-seeds {num_seeds}"
    write_result("forecast_votes", figures, seeds=range(num_seeds), command=command)


if __name__ == "__main__":
    main(tyro.cli(Config))
