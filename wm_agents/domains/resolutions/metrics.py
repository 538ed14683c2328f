"""How good forecasts of votes are, on cells where the country voted."""

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.data import Floats


def vote_metrics(probabilities: Floats, votes: NDArray[np.int8]) -> dict[str, float]:
    """Accuracy, macro-F1, log loss and expected calibration error over the cells that are present.

    Args:
        probabilities: [K, C, 3] or [N, 3].
        votes: [K, C] or [N]: 0 to 2, -1 absent.
    """
    present = votes >= 0
    chances, truth = probabilities[present], votes[present].astype(np.int64)
    predicted = chances.argmax(1)
    is_right = predicted == truth
    own = np.clip(chances[np.arange(len(truth)), truth], 1e-6, 1)
    return {
        "accuracy": float(is_right.mean()),
        "macro_f1": macro_f1(predicted, truth),
        "log_loss": float(-np.log(own).mean()),
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
    """Mean distance between confidence and accuracy over bins of confidence, by size (Guo et al.

    2017, equation 3).
    """
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = [
        abs(float(confidence[bins == b].mean()) - float(is_right[bins == b].mean()))
        * float((bins == b).mean())
        for b in np.unique(bins)
    ]
    return float(np.sum(gaps))


def tally_errors(tallies: Floats, votes: NDArray[np.int8]) -> dict[str, float]:
    """Mean absolute error of expected tallies [K, 3] of yes, abstain and no."""
    counts = np.stack([(votes == label).sum(1) for label in range(3)], 1)
    yes, abstain, no = np.abs(tallies - counts).mean(0)
    return {"mae_yes": float(yes), "mae_no": float(no), "mae_abstain": float(abstain)}


def interval_coverage(intervals: Floats, votes: NDArray[np.int8]) -> float:
    """Share of tallies within their intervals [K, 3, 2]."""
    counts = np.stack([(votes == label).sum(1) for label in range(3)], 1)
    return float(((counts >= intervals[..., 0]) & (counts <= intervals[..., 1])).mean())
