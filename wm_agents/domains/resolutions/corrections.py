"""Corrections of forecast votes by what is known: of a roll call along the axes of voting, of a country.

With a basis B_c = (1, position of country c) the corrected logits are

    log p_c(yes, abstain, no) + (z, h, -z),   z = B_c . alpha,   h = B_c . beta,
    (alpha, beta) ~ N(0, Sigma),

and alpha, beta are the most probable values given the known votes (the posterior is log-concave).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from wm_agents.training.newton import minimize_convex

_LOGIT_DIRECTIONS = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # yes, abstain, no by (z, h)

Doubles = NDArray[np.float64]


def corrected(probabilities: Doubles, basis: Doubles, correction: Doubles) -> Doubles:
    """Probabilities [K, C, 3] with corrections [K, 2 D] applied on bases [K, C, D]."""
    size = basis.shape[2]
    z = np.einsum("kcd,kd->kc", basis, correction[:, :size])
    h = np.einsum("kcd,kd->kc", basis, correction[:, size:])
    logits = np.log(np.maximum(probabilities, 1e-6)) + np.stack([z, h, -z], 2)
    result: Doubles = softmax(logits, axis=2)
    return result


def country_offsets(
    probabilities: Doubles, one_hot: Doubles, weights: Doubles, std: float
) -> Doubles:
    """Offsets [C, 2] of (z, h) that make what each country did most probable.

    Args:
        probabilities: Forecasts [K, C, 3].
        one_hot: What came out [K, C, 3], zero where absent.
        weights: How much each roll call counts [K].
        std: Prior standard deviation of each offset.
    """
    # The correction of one roll call over all countries, with countries and roll calls exchanged.
    by_country = np.swapaxes(one_hot * weights[:, None, None], 0, 1)
    ones = np.ones((*by_country.shape[:2], 1))
    return map_correction(np.swapaxes(probabilities, 0, 1), ones, by_country, std**2 * np.eye(2))


def with_offsets(probabilities: Doubles, offsets: Doubles) -> Doubles:
    """Probabilities [K, C, 3] with the countries' offsets [C, 2]."""
    by_country = np.swapaxes(probabilities, 0, 1)
    moved = corrected(by_country, np.ones((*by_country.shape[:2], 1)), offsets)
    return np.swapaxes(moved, 0, 1)


def map_correction(
    probabilities: Doubles, basis: Doubles, one_hot: Doubles, covariance: Doubles
) -> Doubles:
    """Corrections [K, 2 D] given what is revealed.

    Args:
        probabilities: Forecasts [K, C, 3].
        basis: [K, C, D].
        one_hot: Revealed votes [K, C, 3], zero where not revealed.
        covariance: Sigma, [2 D, 2 D] or one for each roll call [K, 2 D, 2 D].

    Raises:
        ConvergenceError: The maximum was not found.
    """
    size = 2 * basis.shape[2]
    precision = np.broadcast_to(np.linalg.inv(covariance), (len(basis), size, size))
    is_revealed = one_hot.sum(2)

    def problem(corrections: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        current = corrected(probabilities, basis, corrections)
        # Products of vanishing probabilities underflow to 0 only where nobody voted so.
        log_chances = np.where(one_hot > 0, np.log(np.maximum(current, 1e-300)), 0.0)
        likelihood = (log_chances * one_hot).sum((1, 2))
        prior = 0.5 * np.einsum("kd,kde,ke->k", corrections, precision, corrections)
        residual = (one_hot - current * is_revealed[..., None]) @ _LOGIT_DIRECTIONS  # [K, C, 2]
        slopes = np.concatenate(
            [np.einsum("kcd,kc->kd", basis, residual[..., j]) for j in range(2)], 1
        )
        hessian = correction_curvature(current, basis, is_revealed) + precision
        gradient = np.einsum("kd,kde->ke", corrections, precision) - slopes
        return prior - likelihood, gradient, hessian

    start = np.zeros((len(basis), size))
    return minimize_convex(problem, start, "the correction of a forecast by revealed votes")


def correction_curvature(probabilities: Doubles, basis: Doubles, is_revealed: Doubles) -> Doubles:
    """Curvature of the negative log likelihood in the corrections, [K, 2 D, 2 D]."""
    mean = probabilities @ _LOGIT_DIRECTIONS
    # Second moments of the logits' directions under p, less the squared mean: their covariance.
    second = np.einsum("kcv,vi,vj->kcij", probabilities, _LOGIT_DIRECTIONS, _LOGIT_DIRECTIONS)
    spread = (second - mean[..., :, None] * mean[..., None, :]) * is_revealed[..., None, None]
    blocks = np.einsum("kcij,kcd,kce->kidje", spread, basis, basis, optimize=True)
    size = 2 * basis.shape[2]
    result: Doubles = blocks.reshape(len(basis), size, size)
    return result


def learn_covariance(
    probabilities: Doubles, basis: Doubles, one_hot: Doubles, num_rounds: int = 4
) -> Doubles:
    """Sigma [2 D, 2 D] from fully known roll calls.

    Second moments of their corrections, plus their uncertainty.
    """
    size = 2 * basis.shape[2]
    covariance = 0.5 * np.eye(size)
    # Each round looks for corrections under the covariance of the round before.
    for _ in range(num_rounds):
        correction = map_correction(probabilities, basis, one_hot, covariance)
        hessian = correction_curvature(
            corrected(probabilities, basis, correction), basis, one_hot.sum(2)
        )
        # Expectation maximization: the spread of the estimates and their own uncertainty together.
        uncertainty = np.linalg.inv(hessian + np.linalg.inv(covariance)).mean(0)
        covariance = correction.T @ correction / len(correction) + uncertainty + 1e-3 * np.eye(size)
    return covariance


def learn_covariances(
    probabilities: Doubles,
    basis: Doubles,
    one_hot: Doubles,
    groups: NDArray[np.int64],
    num_groups: int,
    strength: float = 10.0,
) -> Doubles:
    """Sigma of each group of roll calls, [G, 2 D, 2 D].

    Args:
        probabilities: Forecasts [K, C, 3].
        basis: [K, C, D].
        one_hot: What came out [K, C, 3].
        groups: [K], the group of each roll call, below G.
        num_groups: G.
        strength: Roll calls that Sigma of all counts for in each group.
    """
    shared = learn_covariance(probabilities, basis, one_hot)
    covariances = np.tile(shared, (num_groups, 1, 1))
    for group in np.unique(groups):
        inside = groups == group
        own = learn_covariance(probabilities[inside], basis[inside], one_hot[inside])
        count = inside.sum()
        covariances[group] = (count * own + strength * shared) / (count + strength)
    return covariances
