"""Forecast the votes of the General Assembly, before they are cast and after ten are known.

    python examples/forecast_votes.py --votes runs/un --train-before 2012 --test-from 2012
    --output-dir runs/forecast

Reads what build_trajectories.py wrote. Fits on roll calls before --train-before, forecasts each one
from --test-from on with what was known the day before: parameters stay fixed, earlier votes of the
test period count as history (with --frozen not even those). Writes summary.json (accuracy,
macro_f1, accuracy_novel, mae_yes, ..., beside the baselines), spatial_model.json for
`dynamics="fitted"`, and pictures: a map of the countries, predicted against real tallies, and a
card for each of --cards.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from wm_agents.domains.resolutions import (
    Forecast,
    SpatialConfig,
    SpatialModel,
    VoteData,
    VoteModel,
    held_out_accuracy,
    interval_coverage,
    novelty,
    tally_errors,
    tf_idf,
    vote_metrics,
)
from wm_agents.domains.resolutions.baselines import all_baselines, revealed_at_random
from wm_agents.domains.resolutions.pictures import save_cards, save_map, save_tallies
from wm_agents.errors import ConfigError
from wm_agents.training.config_checks import require_integers
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths
from wm_envs.resolutions.countries import code_of
from wm_envs.resolutions.generator import topic_of
from wm_envs.resolutions.records import read_trajectories
from wm_envs.resolutions.votes import vote_arrays, year_of


@dataclass(frozen=True)
class Config:
    """What to forecast from what."""

    votes: Path = Path("runs/un")
    """Trajectory file or folder, as build_trajectories.py writes it."""
    train_before: str = "2012-01-01"
    """Parameters are fitted on roll calls before this date (a date or a year)."""
    test_from: str = "2012-01-01"
    """Roll calls from this date on are forecast."""
    test_until: str = "9999-01-01"
    """And before this one."""
    frozen: bool = False
    """Let no vote from --train-before on become history either."""
    spatial: bool = True
    """Fit the spatial voting model in 1 to 3 dimensions with a fifth of the test period's votes held out."""
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
    config = expand_paths(config)
    check(config)
    torch.set_num_threads(config.num_threads)
    started = time.perf_counter()
    train_before, first, last = (
        year_of(d) for d in (config.train_before, config.test_from, config.test_until)
    )
    if first < train_before or last <= first:
        raise ConfigError(f"expected train_before <= test_from < test_until, got {config}")
    make_output_directory(config.output_dir, has_pictures=True)
    data = VoteData(**vote_arrays(read_trajectories(config.votes)))
    rows = data.between(first, last)
    if len(rows) == 0:
        raise ConfigError(
            f"no roll call from {config.test_from} on; the last is of {data.years[-1]:.2f}"
        )
    cards = [code_of(card) or card for card in config.cards]
    unknown = sorted(set(cards) - set(data.countries))
    if unknown:
        raise ConfigError(
            f"no votes of {unknown}, for whom a card was asked: give codes such as FR"
        )
    if not config.quiet:
        print(f"{len(data.years)} roll calls, {len(rows)} to forecast", flush=True)
    model = VoteModel().fit(data, train_before, train_before if config.frozen else np.inf)
    if not config.quiet:
        print(f"fitted after {time.perf_counter() - started:.0f} s", flush=True)
    forecast = model.forecast(rows)
    is_novel = {
        "novel": novelty(tf_idf(data.descriptions, data.years < train_before), data.years, rows),
        "novel_subject": novelty(model.builder.full_rows, data.years, rows),
    }
    summary = {**score(data, forecast, is_novel), **after_revealing(model, data, forecast, config)}
    summary["baselines"] = baseline_scores(data, forecast, is_novel)
    if config.spatial:
        summary["spatial"] = spatial_scores(data, rows, config)
        columns = np.flatnonzero((data.votes[rows] >= 0).sum(0) >= 20)
        fitted = SpatialModel().fit(data.votes[rows][:, columns])
        write_spatial_model(data, rows, columns, fitted, config.output_dir / "spatial_model.json")
        save_map(data, rows, columns, fitted, config.output_dir / "map.png")
    save_tallies(data, forecast, config.output_dir / "tallies.png")
    save_cards(data, forecast, cards, config.output_dir)
    settings = {
        "train_before": config.train_before,
        "test_from": config.test_from,
        "is_history_frozen": config.frozen,
    }
    summary = {**summary, **settings, "seed": config.seed, "seconds": time.perf_counter() - started}
    write_summary(config.output_dir, summary)
    print(table(summary))
    return summary


def check(config: Config) -> None:
    """Raise ConfigError for numbers that would fail after minutes, or score something else than asked."""
    require_integers(
        1,
        num_revealed=config.num_revealed,
        num_draws=config.num_draws,
        num_threads=config.num_threads,
    )
    require_integers(0, seed=config.seed)


def score(
    data: VoteData, forecast: Forecast, is_novel: dict[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    """The figures of the forecast before the vote."""
    votes = data.votes[forecast.rows]
    figures: dict[str, Any] = {
        **vote_metrics(forecast.probabilities, votes),
        "num_roll_calls": len(votes),
    }
    for name, mask in is_novel.items():
        figures[f"accuracy_{name}"] = accuracy_where(forecast.probabilities, votes, mask)
        figures[f"share_{name}"] = float(mask.mean())
    figures.update(tally_errors(forecast.tallies, votes))
    figures["tally_interval_coverage"] = interval_coverage(forecast.intervals, votes)
    for kind, name in enumerate(("whole", "paragraph", "amendment", "motion")):
        figures[f"accuracy_{name}"] = accuracy_where(
            forecast.probabilities, votes, data.kinds[forecast.rows] == kind
        )
    return figures


def accuracy_where(
    probabilities: NDArray[Any], votes: NDArray[np.int8], mask: NDArray[np.bool_]
) -> float | None:
    """Accuracy on the roll calls of a mask; None where there are none."""
    return vote_metrics(probabilities[mask], votes[mask])["accuracy"] if mask.any() else None


def after_revealing(
    model: VoteModel, data: VoteData, forecast: Forecast, config: Config
) -> dict[str, float]:
    """Accuracy on the countries that were not revealed."""
    votes, figures = data.votes[forecast.rows], []
    for draw in range(config.num_draws):
        revealed = revealed_at_random(votes, config.num_revealed, config.seed + draw)
        updated = model.update(forecast, revealed)
        hidden = np.where(revealed, -1, votes).astype(np.int8)
        figures.append(
            {**vote_metrics(updated.probabilities, hidden), **tally_errors(updated.tallies, votes)}
        )
    names = ("accuracy", "macro_f1", "log_loss", "mae_yes", "mae_no", "mae_abstain")
    return {
        f"{name}_after_{config.num_revealed}": float(np.mean([f[name] for f in figures]))
        for name in names
    }


def baseline_scores(
    data: VoteData, forecast: Forecast, is_novel: dict[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    """The same figures for the simple predictions, with the same attendance for all."""
    votes, scores = data.votes[forecast.rows], {}
    assert forecast.predictors is not None
    for name, probabilities in all_baselines(forecast.predictors).items():
        figures: dict[str, Any] = vote_metrics(probabilities, votes)
        for kind, mask in is_novel.items():
            figures[f"accuracy_{kind}"] = accuracy_where(probabilities, votes, mask)
        figures.update(tally_errors((probabilities * forecast.attendance[..., None]).sum(1), votes))
        scores[name] = figures
    return scores


def spatial_scores(data: VoteData, rows: NDArray[np.int64], config: Config) -> dict[str, Any]:
    """Accuracy on a held-out fifth of the test period's votes, by dimensions."""
    votes = data.votes[rows]
    votes = votes[:, (votes >= 0).sum(0) >= 20]
    return {
        f"{size}d": held_out_accuracy(votes, SpatialConfig(num_dimensions=size), seed=config.seed)
        for size in (1, 2, 3)
    }


def write_spatial_model(
    data: VoteData,
    rows: NDArray[np.int64],
    chosen: NDArray[np.int64],
    model: SpatialModel,
    path: Path,
) -> None:
    """A two-dimensional model of the period's votes, as `dynamics="fitted"` reads it."""
    absence = 1 - (data.votes[rows][:, chosen] >= 0).mean(0)
    columns = np.column_stack([model.positions, model.assent, model.abstention, absence])
    numbers = np.column_stack([model.offsets, model.directions, model.widths, model.slopes])
    drafts = [
        {
            "symbol": data.ids[row],
            "title": data.titles[row],
            "topic": min(
                topic_of(
                    [n for n, has in zip(data.issue_names, data.issues[row], strict=True) if has]
                ),
                7,
            ),
            "parameters": [round(float(x), 4) for x in numbers[place]],
        }
        for place, row in enumerate(rows)
    ]
    countries = {
        data.countries[c]: [round(float(x), 4) for x in column]
        for c, column in zip(chosen, columns, strict=True)
    }
    path.write_text(json.dumps({"countries": countries, "drafts": drafts}) + "\n", encoding="utf-8")


def table(summary: dict[str, Any]) -> str:
    """The figures beside the baselines, for the terminal."""
    names = (
        "accuracy",
        "macro_f1",
        "accuracy_novel",
        "log_loss",
        "mae_yes",
        "mae_no",
        "mae_abstain",
    )
    lines = ["  ".join([f"{'':16}", *(f"{name:>14}" for name in names)])]
    for label, figures in (*summary["baselines"].items(), ("forecast", summary)):
        values = [figures[name] for name in names]
        shown = [f"{v:14.4f}" if v is not None else " " * 14 for v in values]
        lines.append("  ".join([f"{label:16}", *shown]))
    others = [
        n
        for n in summary
        if "after" in n or n.startswith(("accuracy_", "calibration", "tally", "share", "seconds"))
    ]
    lines += [f"{name}: {summary[name]:.4f}" for name in others if summary[name] is not None]
    if "spatial" in summary:
        lines += [
            f"spatial {size}: {figures['accuracy']:.4f}"
            for size, figures in summary["spatial"].items()
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Config))
