"""Scores of forecasts of votes and of world models, beside simple predictions.

Accuracy, macro-F1, log loss and calibration on the cells where the country voted; errors and
interval coverage of tallies; errors of the steps that a world model predicts.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wm_agents.domains.resolutions.data import CHOICES, Floats, QuestionKind, VoteData, tally
from wm_agents.domains.resolutions.features import Predictors
from wm_agents.domains.resolutions.history import novelty, tf_idf
from wm_agents.domains.resolutions.spatial import SpatialConfig, held_out_accuracy
from wm_agents.domains.resolutions.vote_model import Forecast, VoteModel
from wm_agents.domains.resolutions.world_model import (
    COMMITTEE,
    PLENARY,
    STAGES,
    TALLY_NAMES,
    ResolutionModel,
    decided,
    expected_tally,
    steps_of,
)
from wm_agents.errors import ConfigError
from wm_envs.data.trajectories import Trajectories
from wm_envs.resolutions.codes import ResolutionColumn, Vote
from wm_envs.resolutions.records import ResolutionRecord

MIN_VOTES = 20
"""A country with fewer votes in a period has no position in its spatial model."""

# Metrics


def vote_metrics(probabilities: Floats, votes: NDArray[np.int8]) -> dict[str, float]:
    """Accuracy, macro-F1, log loss and expected calibration error over the cells that are present.

    `errors_removed` is the share of the errors of "everybody votes yes" that are not made, the unit
    that compares chambers.

    Args:
        probabilities: [K, C, 3] or [N, 3].
        votes: [K, C] or [N], by `Vote`.
    """
    is_present = votes != Vote.ABSENT
    chances = probabilities[is_present]
    truth = votes[is_present].astype(np.int64)
    predicted = chances.argmax(1)
    is_right = predicted == truth
    chances_of_truth = np.clip(chances[np.arange(len(truth)), truth], 1e-6, 1)
    accuracy = float(is_right.mean())
    share_of_yes = float((truth == Vote.YES).mean())
    return {
        "accuracy": accuracy,
        "errors_removed": (accuracy - share_of_yes) / max(1 - share_of_yes, 1e-9),
        "macro_f1": macro_f1(predicted, truth),
        "log_loss": float(-np.log(chances_of_truth).mean()),
        "calibration_error": calibration_error(chances.max(1), is_right),
        "num_votes": len(truth),
    }


def macro_f1(predicted: NDArray[np.int64], truth: NDArray[np.int64], num_classes: int = 3) -> float:
    """Mean over the classes of 2 TP / (2 TP + FP + FN)."""
    scores = []
    for label in range(num_classes):
        hits = np.sum((predicted == label) & (truth == label))
        total = np.sum(predicted == label) + np.sum(truth == label)
        scores.append(2 * hits / total if total else 0.0)
    return float(np.mean(scores))


def calibration_error(confidence: Floats, is_right: NDArray[np.bool_], num_bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over bins of confidence, weighted by size.

    Guo et al. 2017, equation 3.
    """
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = []
    for number in np.unique(bins):
        is_inside = bins == number
        gap = abs(float(confidence[is_inside].mean()) - float(is_right[is_inside].mean()))
        gaps.append(gap * float(is_inside.mean()))
    return float(np.sum(gaps))


def tally_errors(tallies: Floats, votes: NDArray[np.int8]) -> dict[str, float]:
    """Mean absolute error of expected tallies [K, 3] of yes, abstain and no."""
    yes, abstain, no = np.abs(tallies - tally(votes)).mean(0)
    return {"mae_yes": float(yes), "mae_no": float(no), "mae_abstain": float(abstain)}


def interval_coverage(intervals: Floats, votes: NDArray[np.int8]) -> float:
    """Share of tallies within their intervals [K, 3, 2]."""
    counts = tally(votes)
    is_within = (counts >= intervals[..., 0]) & (counts <= intervals[..., 1])
    return float(is_within.mean())


# Simple predictions


def all_baselines(predictors: Predictors) -> dict[str, Floats]:
    """Probabilities [K, C, 3] of each simple prediction, by name.

    `always_yes`: everybody votes yes. `country_mode`: each country's habits on the issues of the
    text. `precedent`: its last vote on the same text, and its habits where there was none.
    `text_neighbours`: votes on similar texts, weighted by similarity and age.
    """
    rates = predictors.issue_rates
    always_yes = np.full((*rates.shape[:2], len(CHOICES)), 0.05, np.float32)
    always_yes[..., Vote.YES] = 0.9
    has_precedent = predictors.precedent.sum(2, keepdims=True) > 0
    # Not quite sure: a single vote that changed would make the log loss infinite.
    repeated = 0.9 * predictors.precedent + 0.1 / 3
    total = predictors.neighbors.sum(2, keepdims=True)
    return {
        "always_yes": always_yes,
        "country_mode": rates,
        "precedent": np.where(has_precedent, repeated, rates),
        "text_neighbours": predictors.neighbors / np.maximum(total, 1e-9),
    }


def revealed_at_random(votes: NDArray[np.int8], num_revealed: int, seed: int) -> NDArray[np.bool_]:
    """A mask [K, C] with this many of the countries that vote, drawn anew for each roll call."""
    generator = np.random.default_rng(seed)
    is_absent = votes == Vote.ABSENT
    order = np.argsort(generator.random(votes.shape) + is_absent, axis=1)  # the absent come last
    mask = np.zeros(votes.shape, np.bool_)
    np.put_along_axis(mask, order[:, :num_revealed], True, axis=1)
    return mask & ~is_absent


# Scores of a forecast


def novelty_masks(
    model: VoteModel, data: VoteData, rows: NDArray[np.int64]
) -> dict[str, NDArray[np.bool_]]:
    """Which roll calls [K] have no similar text before them.

    `novel` by the text as recorded, `novel_subject` by the title that they are given.
    """
    recorded = tf_idf(data.descriptions, data.years < model.train_before)
    return {
        "novel": novelty(recorded, data.years, rows),
        "novel_subject": novelty(model.builder.full_rows, data.years, rows),
    }


def forecast_scores(
    data: VoteData, forecast: Forecast, is_novel: dict[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    """The figures of a forecast before the vote.

    Args:
        data: All roll calls.
        forecast: Of some of them.
        is_novel: Masks [K] by name, see `novelty_masks`.
    """
    votes = data.votes[forecast.rows]
    probabilities = forecast.probabilities
    figures: dict[str, Any] = {
        **vote_metrics(probabilities, votes),
        "num_roll_calls": len(votes),
    }
    for name, mask in is_novel.items():
        figures[f"accuracy_{name}"] = _accuracy_where(probabilities, votes, mask)
        figures[f"share_{name}"] = float(mask.mean())
    figures |= tally_errors(forecast.tallies, votes)
    figures["tally_interval_coverage"] = interval_coverage(forecast.intervals, votes)
    for kind in QuestionKind:
        mask = data.kinds[forecast.rows] == kind
        figures[f"accuracy_{kind.name.lower()}"] = _accuracy_where(probabilities, votes, mask)
    return figures


def baseline_scores(
    data: VoteData, forecast: Forecast, is_novel: dict[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    """The same figures for the simple predictions, with the same attendance for all."""
    votes = data.votes[forecast.rows]
    assert forecast.predictors is not None
    scores = {}
    for name, probabilities in all_baselines(forecast.predictors).items():
        figures: dict[str, Any] = vote_metrics(probabilities, votes)
        for kind, mask in is_novel.items():
            figures[f"accuracy_{kind}"] = _accuracy_where(probabilities, votes, mask)
        tallies = (probabilities * forecast.attendance[..., None]).sum(1)
        scores[name] = figures | tally_errors(tallies, votes)
    return scores


def revealed_scores(
    model: VoteModel,
    data: VoteData,
    forecast: Forecast,
    num_revealed: int,
    num_draws: int = 1,
    seed: int = 0,
) -> dict[str, float]:
    """Figures on the other countries once some are known, means over draws of them.

    Args:
        model: What made the forecast.
        data: All roll calls.
        forecast: Of some of them.
        num_revealed: Random countries whose votes become known in each roll call.
        num_draws: Draws of them.
        seed: Of the draws.
    """
    votes = data.votes[forecast.rows]
    draws = []
    for draw in range(num_draws):
        is_revealed = revealed_at_random(votes, num_revealed, seed + draw)
        updated = model.update(forecast, is_revealed)
        hidden = np.where(is_revealed, Vote.ABSENT, votes).astype(np.int8)
        figures = vote_metrics(updated.probabilities, hidden)
        # Tallies count everybody, those that are known included.
        figures |= tally_errors(updated.tallies, votes)
        figures["tally_interval_coverage"] = interval_coverage(updated.intervals, votes)
        draws.append(figures)
    names = (
        "accuracy",
        "errors_removed",
        "macro_f1",
        "log_loss",
        "mae_yes",
        "mae_no",
        "mae_abstain",
        "tally_interval_coverage",
    )
    return {
        f"{name}_after_{num_revealed}": float(np.mean([figures[name] for figures in draws]))
        for name in names
    }


def spatial_scores(data: VoteData, rows: NDArray[np.int64], seed: int = 0) -> dict[str, Any]:
    """Accuracy of spatial models on a held-out fifth of a period's votes, by dimensions."""
    votes = data.votes[rows][:, countries_with_votes(data, rows)]
    return {
        f"{size}d": held_out_accuracy(votes, SpatialConfig(num_dimensions=size), seed=seed)
        for size in (1, 2, 3)
    }


def countries_with_votes(data: VoteData, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Columns of the countries with at least `MIN_VOTES` votes in these roll calls."""
    return np.flatnonzero(data.is_present[rows].sum(0) >= MIN_VOTES)


def _accuracy_where(
    probabilities: NDArray[Any], votes: NDArray[np.int8], mask: NDArray[np.bool_]
) -> float | None:
    """Accuracy on the roll calls of a mask; None where there are none."""
    if not mask.any():
        return None
    return vote_metrics(probabilities[mask], votes[mask])["accuracy"]


def score_table(summary: Mapping[str, Any]) -> str:
    """Figures of a forecast beside those of its baselines, for a terminal.

    Args:
        summary: `forecast_scores`, with "baselines" and, where there are any, "spatial".
    """
    names = (
        "accuracy",
        "errors_removed",
        "macro_f1",
        "accuracy_novel",
        "log_loss",
        "mae_yes",
        "mae_no",
        "mae_abstain",
    )
    lines = ["  ".join([" " * 16, *(f"{name:>14}" for name in names)])]
    for label, figures in (*summary["baselines"].items(), ("forecast", summary)):
        cells = [_cell(figures[name]) for name in names]
        lines.append("  ".join([f"{label:16}", *cells]))
    prefixes = ("accuracy_", "calibration", "tally", "share", "seconds")
    for name, value in summary.items():
        if ("after" in name or name.startswith(prefixes)) and value is not None:
            lines.append(f"{name}: {value:.4f}")
    for size, figures in summary.get("spatial", {}).items():
        lines.append(f"spatial {size}: {figures['accuracy']:.4f}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return " " * 14 if value is None else f"{value:14.4f}"


# Scores of a world model


def split_by_resolution(
    records: Sequence[ResolutionRecord],
) -> tuple[list[ResolutionRecord], list[ResolutionRecord], list[ResolutionRecord]]:
    """60/20/20 by time; all votes on one resolution stay together, so that none is in two parts.

    Raises:
        ConfigError: Fewer than ten resolutions.
    """
    resolutions: dict[str, list[ResolutionRecord]] = {}
    for record in sorted(records, key=lambda record: record.date or ""):
        resolutions.setdefault(record.symbol or record.trajectory_id, []).append(record)
    groups = list(resolutions.values())
    if len(groups) < 10:
        raise ConfigError(
            f"only {len(groups)} resolutions: ten at least are needed for three parts"
        )
    cuts = (0, int(0.6 * len(groups)), int(0.8 * len(groups)), len(groups))
    first, second, third = (
        list(itertools.chain.from_iterable(groups[start:stop]))
        for start, stop in itertools.pairwise(cuts)
    )
    return first, second, third


def step_errors(
    model: ResolutionModel, trajectories: Trajectories
) -> dict[str, NDArray[np.float64]]:
    """Errors by step [S], not a number where a rule copies.

    Wrong stage, absolute errors of sponsors and tallies.
    """
    observations, actions, next_obs, _, _ = steps_of(trajectories)
    with torch.no_grad():
        predicted = model.predict(observations, actions).observations
        heads = model.distributions(observations, actions)
    is_decided = decided(observations, next_obs)
    sponsors = ResolutionColumn.NUM_SPONSORS
    is_wrong = heads.stage.argmax(1) != next_obs[:, STAGES].argmax(1)
    errors = {
        "stage_wrong": is_wrong.double(),
        "sponsors": (predicted[:, sponsors] - next_obs[:, sponsors]).abs().double(),
    }
    masks = {"stage_wrong": is_decided["stage"], "sponsors": is_decided["sponsors"]}
    for name, columns in (("committee", COMMITTEE), ("plenary", PLENARY)):
        distances = (expected_tally(getattr(heads, name)) - next_obs[:, columns]).abs().double()
        for place, vote in enumerate(TALLY_NAMES):
            errors[f"{name}_{vote}"] = distances[:, place]
            masks[f"{name}_{vote}"] = is_decided[name]
    return {
        name: np.where(masks[name].numpy(), error.numpy(), np.nan) for name, error in errors.items()
    }


def plenary_tallies(
    trajectories: Trajectories, model: ResolutionModel | None = None
) -> NDArray[np.float32]:
    """Plenary tallies [N, 3] of yes, no and abstain, at the steps that decide one.

    As counted, or as a model predicts them.
    """
    observations, actions, next_obs, _, _ = steps_of(trajectories)
    is_decided = decided(observations, next_obs)["plenary"]
    if model is None:
        return next_obs[is_decided][:, PLENARY].numpy()
    with torch.no_grad():
        predicted = model.predict(observations[is_decided], actions[is_decided]).observations
    return predicted[:, PLENARY].numpy()


def mean_tally_errors(training: Trajectories, test: Trajectories) -> dict[str, float | None]:
    """Mean absolute errors of the training period's mean plenary tally; None without tallies."""
    names = [f"plenary_{vote}" for vote in TALLY_NAMES]
    known = plenary_tallies(training)
    counted = plenary_tallies(test)
    if not len(known) or not len(counted):
        return dict.fromkeys(names)
    errors = np.abs(counted - known.mean(0)).mean(0)
    return dict(zip(names, map(float, errors), strict=True))


def mean_where_finite(values: NDArray[np.float64]) -> float | None:
    """The mean over the steps that count; None where there are none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def episode_diversity(test: Trajectories, records: Sequence[ResolutionRecord]) -> dict[str, float]:
    """How different the test episodes are: few distinct ones would make a good score cheap."""
    episodes = {episode.observations.tobytes() for episode in test}
    shares = np.bincount(test.actions, minlength=5) / test.num_steps
    entropy = -float(sum(share * np.log2(share) for share in shares if share > 0))
    lasts = test.step_starts + np.arange(test.num_episodes) + test.lengths
    return {
        "distinct_episodes": len(episodes) / test.num_episodes,
        "distinct_titles": len({record.title for record in records}) / len(records),
        "distinct_lengths": len(set(test.lengths.tolist())),
        "topics": len(set(test.observations[:, ResolutionColumn.TOPIC].tolist())),
        "action_entropy_bits": entropy,
        "std_of_yes": float(test.observations[lasts, ResolutionColumn.PLENARY_YES].std()),
    }


def errors_by_record(
    errors: Mapping[str, NDArray[np.float64]],
    test: Trajectories,
    records: Sequence[ResolutionRecord],
) -> list[dict[str, Any]]:
    """One row for each resolution: its name, its title and its mean errors."""
    rows = []
    for number, record in enumerate(records):
        steps = test.episode_of_step == number
        means = {name: mean_where_finite(error[steps]) for name, error in errors.items()}
        rows.append({"trajectory_id": record.trajectory_id, "title": record.title, **means})
    return rows
