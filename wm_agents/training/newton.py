"""Newton's method with a line search for convex problems, and logistic regression by it.

Many small problems are solved at once.

Source: Boyd & Vandenberghe 2004, "Convex Optimization", algorithms 9.2 (backtracking) and 9.5
(damped Newton).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from wm_agents.errors import ConvergenceError

Floats = NDArray[np.float64]

Problem = Callable[[Floats], tuple[Floats, Floats, Floats]]
"""Points [K, D] -> values [K], gradients [K, D], positive definite curvatures [K, D, D]."""

_SUFFICIENT = 1e-4  # share of the promised decrease that a step has to bring (Armijo)
_MAX_HALVINGS = 40
_TOLERANCE = 1e-10
_ROUNDING = 1e-13  # relative error of a sum of many terms in float64


def minimize_convex(problem: Problem, start: Floats, what: str, max_steps: int = 200) -> Floats:
    """The minima [K, D] of K convex functions.

    A point is accepted once g' H^-1 g, the squared length of the gradient measured by the
    curvature, is near zero. This has no unit: for a negative log-likelihood it is the distance to
    the maximum in posterior standard deviations.

    Args:
        problem: The functions; curvatures may be approximate, such as a Fisher information.
        start: [K, D].
        what: Names the problem in errors, such as "the logistic regression of RiskCalibrator".
        max_steps: Newton steps.

    Raises:
        ConvergenceError: The gradient is not near zero after `max_steps`, or a value is not finite.
    """
    points = np.array(start, np.float64)
    values, gradients, curvatures = problem(points)
    for _ in range(max_steps):
        steps = _newton_steps(gradients, curvatures, what)
        slopes = np.einsum(
            "kd,kd->k", gradients, steps
        )  # negative: minus the squared Newton decrement
        # The Newton decrement is free of units, where the length of a gradient depends on them.
        is_open = -slopes > _TOLERANCE
        if not is_open.any():
            return points
        lengths = _line_search(problem, points, values, steps, np.where(is_open, slopes, 0.0), what)
        points = points + lengths[:, None] * steps
        values, gradients, curvatures = problem(points)
    raise ConvergenceError(
        f"{what} did not converge in {max_steps} Newton steps: the gradient is "
        f"{np.sqrt(-slopes.min()):.3g} standard "
        "deviations from zero. Look for features that repeat each other, or give a stronger prior"
    )


def _newton_steps(gradients: Floats, curvatures: Floats, what: str) -> Floats:
    if not (np.isfinite(gradients).all() and np.isfinite(curvatures).all()):
        raise ConvergenceError(f"{what} is not finite: standardize the features")
    try:
        steps = np.linalg.solve(curvatures, -gradients[..., None])[..., 0]
    except np.linalg.LinAlgError as error:
        raise ConvergenceError(
            f"{what} has no single solution: features repeat each other; leave some out, or give a "
            "prior"
        ) from error
    return np.asarray(steps, np.float64)


def _line_search(
    problem: Problem, points: Floats, values: Floats, steps: Floats, slopes: Floats, what: str
) -> Floats:
    """Lengths [K] in (0, 1], halved row by row until each value falls as far as its slope promises.

    Without it Newton's method oscillates or diverges where probabilities are near 0 or 1 and
    curvature vanishes.
    """
    # Rows that are done take their last step whole: it is smaller than any difference that matters.
    lengths = np.ones(len(points))
    slack = _ROUNDING * (1 + np.abs(values))  # near the minimum the decrease drowns in rounding
    for _ in range(_MAX_HALVINGS):
        new_values = problem(points + lengths[:, None] * steps)[0]
        is_enough = new_values <= values + _SUFFICIENT * lengths * slopes + slack  # False for NaN
        is_enough |= slopes == 0.0
        if is_enough.all():
            return lengths
        lengths = np.where(is_enough, lengths, lengths / 2)
    raise ConvergenceError(
        f"{what} stopped before its minimum: no step lowers it; standardize the features"
    )


def fit_logistic(
    features: NDArray[Any],
    classes: NDArray[np.int64],
    num_classes: int,
    *,
    weights: Floats | None = None,
    prior_std: float = 1.0,
) -> Floats:
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

    def problem(points: Floats) -> tuple[Floats, Floats, Floats]:
        coefficients = points[0].reshape(size, num_classes)
        chances = logistic(x, coefficients)
        # A choice that is certain to be wrong in floating point still has a finite cost.
        chosen = np.maximum((chances * target).sum(1), 1e-300)
        value = 0.5 * (points[0] ** 2).sum() / prior_std**2 - counts @ np.log(chosen)
        slope = x.T @ (counts[:, None] * (chances - target)) + coefficients / prior_std**2
        curvature = np.empty((size, num_classes, size, num_classes))
        for first in range(num_classes):
            for second in range(num_classes):
                # d softmax_i / d logit_j = p_i (1{i = j} - p_j), one block for each pair of
                # classes.
                spread = chances[:, first] * ((first == second) - chances[:, second])
                curvature[:, first, :, second] = x.T @ (x * (counts * spread)[:, None])
        flat = curvature.reshape(points.size, points.size) + np.eye(points.size) / prior_std**2
        return np.array([value]), slope.reshape(1, -1), flat[None]

    start = np.zeros((1, size * num_classes))
    found = minimize_convex(problem, start, "a logistic regression of votes")
    return found.reshape(size, num_classes)


def fit_conditional_logit(
    features: NDArray[Any],
    choices: NDArray[np.int64],
    *,
    weights: Floats | None = None,
    prior_std: float = 1.0,
) -> Floats:
    """The most probable weights [F] of a conditional logit under an independent normal prior.

    Each choice has features of its own and all share the weights (McFadden 1974, equation 12);
    with logits of several predictors as features it is their logarithmic opinion pool.

    Args:
        features: [N, K, F], of each of K choices.
        choices: [N], each below K.
        weights: [N], how much each row counts; None counts each once.
        prior_std: Of each weight.

    Raises:
        ConvergenceError: The maximum was not found.
    """
    x = features.astype(np.float64)
    target = np.eye(x.shape[1])[choices]
    counts = np.ones(len(x)) if weights is None else weights

    def problem(points: Floats) -> tuple[Floats, Floats, Floats]:
        chances = conditional_logit(x, points[0])  # [N, K]
        chosen = np.maximum((chances * target).sum(1), 1e-300)
        value = 0.5 * (points[0] ** 2).sum() / prior_std**2 - counts @ np.log(chosen)
        weighted = counts[:, None] * chances
        slope = np.einsum("nkf,nk->f", x, weighted - counts[:, None] * target)
        slope += points[0] / prior_std**2
        # The covariance of the features under the chances of the choices.
        mean = np.einsum("nkf,nk->nf", x, chances)
        second = np.einsum("nkf,nkg,nk->fg", x, x, weighted, optimize=True)
        curvature = second - (mean * counts[:, None]).T @ mean
        curvature += np.eye(len(points[0])) / prior_std**2
        return np.array([value]), slope[None], curvature[None]

    start = np.zeros((1, x.shape[2]))
    return minimize_convex(problem, start, "a conditional logit of votes")[0]


def conditional_logit(features: NDArray[Any], weights: Floats) -> Floats:
    """Probabilities [..., K] of choices with features [..., K, F] and weights [F]."""
    chances: Floats = softmax(features.astype(np.float64) @ weights, axis=-1)
    return chances


def logistic(features: NDArray[Any], coefficients: Floats) -> Floats:
    """Probabilities [..., K] for features [..., F] and coefficients [F, K]."""
    chances: Floats = softmax(features.astype(np.float64) @ coefficients, axis=-1)
    return chances
