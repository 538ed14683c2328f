"""Multinomial logistic regression by Newton's method, for the few numbers that decide simple things."""

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.data import Floats
from wm_agents.training.newton import minimize_convex

Doubles = NDArray[np.float64]


def fit_logistic(
    features: Floats,
    classes: NDArray[np.int64],
    num_classes: int,
    *,
    weights: Doubles | None = None,
    prior_std: float = 1.0,
) -> Doubles:
    """The most probable coefficients [F, K] under an independent normal prior.

    Args:
        features: [N, F].
        classes: [N], each below K.
        num_classes: K.
        weights: [N], how much each row counts; None counts each once.
        prior_std: Of each coefficient.

    Raises:
        ConvergenceError: The maximum was not found.
    """
    x = features.astype(np.float64)
    target = np.eye(num_classes)[classes]
    counts = np.ones(len(x)) if weights is None else weights
    size = x.shape[1]

    def problem(points: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        coefficients = points[0].reshape(size, num_classes)
        chances = logistic(x, coefficients)
        chosen = np.maximum((chances * target).sum(1), 1e-300)
        value = 0.5 * (points[0] ** 2).sum() / prior_std**2 - counts @ np.log(chosen)
        slope = x.T @ (counts[:, None] * (chances - target)) + coefficients / prior_std**2
        curvature = np.empty((size, num_classes, size, num_classes))
        for first in range(num_classes):
            for second in range(num_classes):
                spread = chances[:, first] * ((first == second) - chances[:, second])
                curvature[:, first, :, second] = x.T @ (x * (counts * spread)[:, None])
        flat = curvature.reshape(points.size, points.size) + np.eye(points.size) / prior_std**2
        return np.array([value]), slope.reshape(1, -1), flat[None]

    start = np.zeros((1, size * num_classes))
    found = minimize_convex(problem, start, "a logistic regression of votes")
    return found.reshape(size, num_classes)


def logistic(features: Floats | Doubles, coefficients: Doubles) -> Doubles:
    """Probabilities [..., K] for features [..., F] and coefficients [F, K]."""
    logits = features.astype(np.float64) @ coefficients
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    result: Doubles = exponentials / exponentials.sum(-1, keepdims=True)
    return result
