"""Forecast the votes of the General Assembly, before they are cast and after ten are known.

    python examples/forecast_votes.py --votes runs/un --train-before 2012 --test-from 2012 --output-dir runs/forecast

Reads what build_trajectories.py wrote; where nothing was written, generated votes stand in, and the
summary says so. Fits on roll calls before --train-before, forecasts each one
from --test-from on with what was known the day before: parameters stay fixed, earlier votes of the
test period count as history (with --frozen not even those). Writes summary.json (accuracy,
macro_f1, accuracy_novel, mae_yes, ..., beside the baselines), spatial_model.json for
`dynamics="fitted"`, and pictures: the errors of "everybody votes yes" that each predictor removes, a
map of the countries, predicted against real tallies, and a card for each of --cards.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import wm_agents as wma
from wm_agents.domains.resolutions import SpatialModel, VoteData, VoteModel
from wm_agents.domains.resolutions import evaluation as scores
from wm_agents.domains.resolutions.pictures import (
    save_cards,
    save_errors_removed,
    save_map,
    save_tallies,
)
from wm_agents.training.config_checks import require_integers
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.generator import generated_records
from wm_envs.resolutions.records import ResolutionRecord, read_trajectories
from wm_envs.resolutions.votes import vote_arrays, year_of


@dataclass(frozen=True)
class Config:
    """What to forecast from what."""

    votes: Path = Path("runs/un")
    """Trajectory file or folder, as build_trajectories.py writes it.

    The default that is not there, or "generated", takes votes that the calibrated generator draws.
    """
    train_before: str = "2012-01-01"
    """Parameters are fitted on roll calls before this date (a date or a year)."""
    test_from: str = "2012-01-01"
    """Roll calls from this date on are forecast."""
    test_until: str = "9999-01-01"
    """And before this one."""
    frozen: bool = False
    """Let no vote from --train-before on become history either."""
    spatial: bool = True
    """Fit spatial voting models too, in 1 to 3 dimensions, with a fifth of the votes held out."""
    num_revealed: int = 10
    """Random countries whose votes become known."""
    num_draws: int = 3
    """Draws of them."""
    cards: tuple[str, ...] = ("US", "FR", "RU", "CN", "IN", "BR")
    """Countries that get a card."""
    seed: int = 0
    """Seed of the draws; the model has its own."""
    output_dir: Path = Path("runs/forecast")
    """Folder for summary.json, spatial_model.json and pictures."""
    num_threads: int = 1
    """Threads of torch."""
    quiet: bool = False
    """No progress, only the closing result."""


def main(config: Config) -> dict[str, Any]:
    """Fit, forecast, score; returns the summary that is written."""
    config = wma.expand_paths(config)
    counts = {name: getattr(config, name) for name in ("num_revealed", "num_draws", "num_threads")}
    require_integers(1, **counts)
    require_integers(0, seed=config.seed)
    torch.set_num_threads(config.num_threads)
    started = time.perf_counter()
    train_before = year_of(config.train_before)
    first = year_of(config.test_from)
    last = year_of(config.test_until)
    if first < train_before or last <= first:
        raise wma.ConfigError(f"expected train_before <= test_from < test_until, got {config}")
    folder = wma.make_output_directory(config.output_dir, has_pictures=True)
    records, is_generated = read_or_generate(config)
    data = VoteData(**vote_arrays(records))
    rows = data.between(first, last)
    if len(rows) == 0:
        latest = f"{data.years[-1]:.2f}"
        raise wma.ConfigError(f"no roll call from {config.test_from} on; the last is of {latest}")
    cards = [code_of(card) or card for card in config.cards]
    unknown = sorted(set(cards) - set(data.countries))
    if unknown:
        raise wma.ConfigError(
            f"no votes of {unknown}, for whom a card was asked: give codes such as FR"
        )

    model = VoteModel()
    history_until = train_before if config.frozen else np.inf
    if not config.quiet:
        print(f"{len(data.years)} roll calls, {len(rows)} to forecast", flush=True)
    model.fit(data, train_before=train_before, history_until=history_until)
    if not config.quiet:
        print(f"fitted after {time.perf_counter() - started:.0f} s", flush=True)
    forecast = model.forecast(rows)

    is_novel = scores.novelty_masks(model, data, rows)
    summary = scores.forecast_scores(data, forecast, is_novel)
    summary |= scores.revealed_scores(
        model, data, forecast, config.num_revealed, config.num_draws, config.seed
    )
    summary["baselines"] = scores.baseline_scores(data, forecast, is_novel)
    if config.spatial:
        summary["spatial"] = scores.spatial_scores(data, rows, config.seed)
        columns = scores.countries_with_votes(data, rows)
        spatial = SpatialModel()
        spatial.fit(data.votes[rows][:, columns])
        spatial.write_dynamics(folder / "spatial_model.json", data, rows, columns)
        save_map(data, rows, columns, spatial, folder / "map.png")
    save_tallies(data, forecast, folder / "tallies.png")
    period = f"{int(data.years[rows[0]])}-{int(data.years[rows[-1]])}"
    save_errors_removed({period: summary}, folder / "errors_removed.png")
    save_cards(data, forecast, cards, folder)
    summary |= {
        "train_before": config.train_before,
        "test_from": config.test_from,
        "is_history_frozen": config.frozen,
        "is_generated": is_generated,
        "seed": config.seed,
        "seconds": time.perf_counter() - started,
    }
    wma.write_summary(folder, summary)
    print(scores.score_table(summary))
    wma.say_where(folder)
    return summary


def read_or_generate(config: Config) -> tuple[list[ResolutionRecord], bool]:
    """The records to learn from, and whether nobody ever cast these votes."""
    is_default = config.votes == Config.votes and not config.votes.exists()
    if is_default or str(config.votes) == "generated":
        print("Generated votes; `wm data fetch votes` says how to get recorded ones.", flush=True)
        return generated_records(range(2000, 2017), seed=config.seed), True
    return read_trajectories(config.votes), False


if __name__ == "__main__":
    main(tyro.cli(Config))
