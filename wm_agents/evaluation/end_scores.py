"""Scores of a predicted probability that something happens.

Ranking, precision and squared error.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from wm_agents.errors import ConfigError


def brier_score(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean squared difference between the probability and the outcome 0 or 1 (Brier 1950).

    0 is perfect.
    """
    predicted, happened = _checked(probabilities, outcomes)
    return float(np.mean((predicted - happened) ** 2))


def auroc(probabilities: ArrayLike, outcomes: ArrayLike) -> float | None:
    """Probability that an event was ranked above a non-event, ties half (Hanley and McNeil 1982).

    None where only one of the two occurs. 0.5 is chance, 1 is perfect.
    """
    predicted, happened = _checked(probabilities, outcomes)
    num_events, num_others = int(happened.sum()), int((~happened).sum())
    if num_events == 0 or num_others == 0:
        return None
    ranks = rankdata(predicted)
    return float(
        (ranks[happened].sum() - num_events * (num_events + 1) / 2) / (num_events * num_others)
    )


def average_precision(probabilities: ArrayLike, outcomes: ArrayLike) -> float | None:
    """Precision averaged over recall, thresholds at every distinct probability; None where no event occurs.

    The area under the precision-recall curve without interpolation; chance gives the share of
    events. It is the telling number for rare events, where AUROC flatters.
    """
    predicted, happened = _checked(probabilities, outcomes)
    if not happened.any():
        return None
    order = np.argsort(-predicted, kind="stable")
    hits, ranked = np.cumsum(happened[order]), predicted[order]
    is_last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    found, taken = hits[is_last_of_tie], np.flatnonzero(is_last_of_tie) + 1
    return float(np.sum(np.diff(found, prepend=0) / hits[-1] * (found / taken)))


def _checked(
    probabilities: ArrayLike, outcomes: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    predicted, happened = (
        np.asarray(probabilities, np.float64).ravel(),
        np.asarray(outcomes, np.bool_).ravel(),
    )
    if predicted.shape != happened.shape or not predicted.size:
        raise ConfigError(
            f"{predicted.size} probabilities for {happened.size} outcomes: give equally many, at least 1"
        )
    if not np.all((predicted >= 0) & (predicted <= 1)):
        raise ConfigError(
            f"probabilities lie in [0, 1], got {predicted.min()} to {predicted.max()}"
        )
    return predicted, happened
