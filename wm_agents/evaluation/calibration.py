"""Are intervals and probabilities right: coverage, and scores of predicted events."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from wm_agents.errors import ConfigError
from wm_agents.evaluation.windows import EvaluationWindows, model_rollout
from wm_agents.protocols import ModelState, WorldModel
from wm_agents.training.config_checks import checked_outcomes, checked_seed
from wm_envs.data.display import short_repr, span

LEVELS = (0.5, 0.8, 0.9, 0.95)
_MAX_STARTS = 128


@dataclass(frozen=True)
class Calibration:
    """How often intervals hold the recorded future.

    Attributes:
        levels: Nominal coverage.
        coverage: Measured coverage [horizons, levels], averaged over features that vary.
        width: Mean width of the intervals [horizons, levels], in standard deviations of the
            features.
        num_samples: Samples per start; 0 where the model gave the intervals itself.
        is_calibrated: False where the model gives intervals and says that no held-out episodes set
            their width.
    """

    levels: tuple[float, ...]
    coverage: NDArray[np.float64]
    width: NDArray[np.float64]
    num_samples: int
    is_calibrated: bool = True

    __repr__ = short_repr


def interval_calibration(
    model: WorldModel,
    starts: ModelState,
    windows: EvaluationWindows,
    horizons: tuple[int, ...],
    scale: NDArray[np.float64],
    num_samples: int,
    seed: int,
) -> Calibration | None:
    """Check the model's own intervals, or rank the recorded future among sampled ones.

    None where no feature varies or all samples agree.

    Under honest samples the rank of the outcome is uniform (Talagrand's rank histogram), which is
    free of the bias that quantiles of few samples have; ties, as with discrete features, are broken
    at random.
    """
    # A feature that never varies lies within every interval, and would make every coverage look
    # good.
    is_varying = windows.observations.std(axis=(0, 1)) > 0
    if num_samples < 2 or not is_varying.any():
        return None
    device = starts.observations.device
    # Sampling is what takes time here, and this many starts tell coverage to a few percent.
    rows = np.random.default_rng(checked_seed(seed)).permutation(len(windows.actions))[:_MAX_STARTS]
    chosen = starts.select(torch.as_tensor(rows, device=device))
    part = windows.select(rows)
    columns = np.array(horizons)
    # A model's own claim is checked where it makes one.
    if hasattr(model, "intervals"):
        return _claimed(model, chosen, part, columns, scale, is_varying)
    generator = torch.Generator(device).manual_seed(seed)
    samples = np.stack(
        [
            model_rollout(model, chosen, part, generator).observations.numpy()[:, columns]
            for _ in range(num_samples)
        ]
    )
    # A model that draws nothing makes no claim about spread.
    if not (np.ptp(samples, axis=0) > 0).any():
        return None
    return _coverage(samples[..., is_varying], part, columns, scale[is_varying], is_varying, seed)


@torch.no_grad()
def _claimed(
    model: Any,
    starts: ModelState,
    part: EvaluationWindows,
    columns: NDArray[np.int64],
    scale: NDArray[np.float64],
    is_varying: NDArray[np.bool_],
) -> Calibration:
    """Coverage of the intervals that a model gives itself.

    `intervals(start, actions, coverage)` has `low`, `high`.
    """
    actions = torch.as_tensor(part.actions, device=starts.observations.device)
    truth = part.observations[:, columns][..., is_varying]
    coverage, width = np.empty((len(columns), len(LEVELS))), np.empty((len(columns), len(LEVELS)))
    for j, level in enumerate(LEVELS):
        with warnings.catch_warnings():
            # That they are not calibrated is in the report.
            warnings.filterwarnings("ignore", message="intervals of this .* are not calibrated")
            claimed = model.intervals(starts, actions, level)
        low, high = (
            bound.double().cpu().numpy()[:, columns - 1][..., is_varying]
            for bound in (claimed.low, claimed.high)
        )
        # Bounds and records are float32 numbers: one that is constant may be a rounding away from
        # its interval.
        slack = 1e-6 * (scale[is_varying] + np.abs(truth))
        for i, step in enumerate(columns):
            # Windows that are cut before this step have no record there.
            rows = part.num_steps >= step
            is_inside = (low[rows, i] <= truth[rows, i] + slack[rows, i]) & (
                truth[rows, i] - slack[rows, i] <= high[rows, i]
            )
            coverage[i, j] = is_inside.mean() if rows.any() else np.nan
            width[i, j] = (
                ((high - low)[rows, i] / scale[is_varying]).mean() if rows.any() else np.nan
            )
    return Calibration(LEVELS, coverage, width, 0, bool(getattr(model, "is_calibrated", True)))


def _coverage(
    samples: NDArray[np.float64],
    part: EvaluationWindows,
    columns: NDArray[np.int64],
    scale: NDArray[np.float64],
    is_varying: NDArray[np.bool_],
    seed: int,
) -> Calibration:
    """Coverage from samples [S, W, horizons, O]."""
    num_samples = len(samples)
    truth = part.observations[:, columns][..., is_varying]
    num_below, num_equal = (samples < truth).sum(0), (samples == truth).sum(0)
    generator = np.random.default_rng(checked_seed(seed))
    # Ties are broken at random: a rank must be uniform under a true model, whatever the numbers
    # are.
    ranks = num_below + generator.integers(num_equal + 1)
    # A place within the rank's share is uniform for any number of samples; its middle is only where
    # levels divide it.
    place = (ranks + generator.random(ranks.shape)) / (num_samples + 1)
    ordered = np.sort(samples, axis=0) / scale
    coverage, width = np.empty((len(columns), len(LEVELS))), np.empty((len(columns), len(LEVELS)))
    for i, step in enumerate(columns):
        rows = part.num_steps >= step
        for j, level in enumerate(LEVELS):
            coverage[i, j] = (
                (np.abs(place[rows, i] - 0.5) <= level / 2).mean() if rows.any() else np.nan
            )
            # Central intervals of the samples.
            low, high = np.quantile(ordered[:, rows, i], [(1 - level) / 2, (1 + level) / 2], axis=0)
            width[i, j] = (high - low).mean() if rows.any() else np.nan
    return Calibration(LEVELS, coverage, width, num_samples)


def brier_score(probabilities: "ArrayLike", outcomes: "ArrayLike") -> float:
    """Mean squared difference between the probability and the outcome 0 or 1 (Brier 1950).

    0 is perfect.
    """
    predicted, happened = _checked(probabilities, outcomes)
    return float(np.mean((predicted - happened) ** 2))


def auroc(probabilities: "ArrayLike", outcomes: "ArrayLike") -> float | None:
    """Probability that an event was ranked above a non-event, ties half (Hanley and McNeil 1982).

    None where only one of the two occurs. 0.5 is chance, 1 is perfect.
    """
    predicted, happened = _checked(probabilities, outcomes)
    num_events, num_others = int(happened.sum()), int((~happened).sum())
    if num_events == 0 or num_others == 0:
        return None
    # The rank sum of Mann and Whitney.
    ranks = rankdata(predicted)
    return float(
        (ranks[happened].sum() - num_events * (num_events + 1) / 2) / (num_events * num_others)
    )


def average_precision(probabilities: "ArrayLike", outcomes: "ArrayLike") -> float | None:
    """Precision averaged over recall, thresholds at every distinct probability.

    None where no event occurs.

    The area under the precision-recall curve without interpolation; chance gives the share of
    events. It is the telling number for rare events, where AUROC flatters.
    """
    predicted, happened = _checked(probabilities, outcomes)
    if not happened.any():
        return None
    order = np.argsort(-predicted, kind="stable")
    hits, ranked = np.cumsum(happened[order]), predicted[order]
    # A threshold cannot part equal probabilities: precision counts after the last of a tie.
    is_last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    found, taken = hits[is_last_of_tie], np.flatnonzero(is_last_of_tie) + 1
    return float(np.sum(np.diff(found, prepend=0) / hits[-1] * (found / taken)))


def _checked(
    probabilities: "ArrayLike", outcomes: "ArrayLike"
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    predicted, happened = (
        np.asarray(probabilities, np.float64).ravel(),
        checked_outcomes(outcomes).ravel(),
    )
    if predicted.shape != happened.shape or not predicted.size:
        raise ConfigError(
            f"{predicted.size} probabilities for {happened.size} outcomes: give equally many, at "
            "least 1"
        )
    if not np.all((predicted >= 0) & (predicted <= 1)):
        raise ConfigError(
            f"probabilities lie in [0, 1], got {span(predicted.min(), predicted.max())}"
        )
    return predicted, happened
