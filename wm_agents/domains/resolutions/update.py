"""What the first votes that are known say about the others: a spatial correction of the forecast.

The forecast may be wrong about a whole text: more or less contested, or contested along another
axis. With the basis B_c = (1, position of country c) the corrected logits are

    log p_c(yes, abstain, no) + (z, h, -z),   z = B_c . alpha,   h = B_c . beta,   (alpha, beta) ~
    N(0, Sigma),

and alpha, beta are the most probable values given the revealed votes (the posterior is
log-concave). Sigma is learned from forecasts of earlier years that did not see those years: it is
the second moment of the corrections that make each fully known roll call most probable (one step of
empirical Bayes, repeated).
"""

import numpy as np
from numpy.typing import NDArray

from wm_agents.training.newton import minimize_convex

Floats = NDArray[np.float64]
_DIRECTIONS = np.array(
    [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
)  # logits of yes, abstain, no by (z, h)


def corrected(probabilities: Floats, basis: Floats, correction: Floats) -> Floats:
    """Probabilities [K, C, 3] with corrections [K, 2 D] applied on bases [K, C, D]."""
    size = basis.shape[2]
    z = np.einsum("kcd,kd->kc", basis, correction[:, :size])
    h = np.einsum("kcd,kd->kc", basis, correction[:, size:])
    logits = np.log(np.maximum(probabilities, 1e-6)) + np.stack([z, h, -z], 2)
    exponentials = np.exp(logits - logits.max(2, keepdims=True))
    result: Floats = exponentials / exponentials.sum(2, keepdims=True)
    return result


def most_probable(
    probabilities: Floats, basis: Floats, one_hot: Floats, covariance: Floats
) -> Floats:
    """Corrections [K, 2 D] given what is revealed.

    Args:
        probabilities: Forecasts [K, C, 3].
        basis: [K, C, D].
        one_hot: Revealed votes [K, C, 3], zero where not revealed.
        covariance: Sigma [2 D, 2 D].

    Raises:
        ConvergenceError: The maximum was not found.
    """
    precision = np.linalg.inv(covariance)
    is_revealed = one_hot.sum(2)

    def problem(corrections: Floats) -> tuple[Floats, Floats, Floats]:
        current = corrected(probabilities, basis, corrections)
        # Products of vanishing probabilities underflow to 0 only where nobody voted so.
        own = np.where(one_hot > 0, np.log(np.maximum(current, 1e-300)), 0.0)
        values = 0.5 * np.einsum("kd,de,ke->k", corrections, precision, corrections) - (
            own * one_hot
        ).sum((1, 2))
        residual = (one_hot - current * is_revealed[..., None]) @ _DIRECTIONS  # [K, C, 2]
        slopes = np.concatenate(
            [np.einsum("kcd,kc->kd", basis, residual[..., j]) for j in range(2)], 1
        )
        return (
            values,
            corrections @ precision - slopes,
            _hessian(current, basis, is_revealed) + precision,
        )

    start = np.zeros((len(basis), 2 * basis.shape[2]))
    return minimize_convex(problem, start, "the correction of a forecast by revealed votes")


def _hessian(probabilities: Floats, basis: Floats, is_revealed: Floats) -> Floats:
    """Of the negative log likelihood, [K, 2 D, 2 D]."""
    mean = probabilities @ _DIRECTIONS
    second = np.einsum("kcv,vi,vj->kcij", probabilities, _DIRECTIONS, _DIRECTIONS)
    spread = (second - mean[..., :, None] * mean[..., None, :]) * is_revealed[..., None, None]
    blocks = np.einsum("kcij,kcd,kce->kidje", spread, basis, basis, optimize=True)
    size = 2 * basis.shape[2]
    result: Floats = blocks.reshape(len(basis), size, size)
    return result


def learn_covariance(
    probabilities: Floats, basis: Floats, one_hot: Floats, num_rounds: int = 4
) -> Floats:
    """Sigma [2 D, 2 D] from fully known roll calls.

    Second moments of their corrections, plus their uncertainty.
    """
    size = 2 * basis.shape[2]
    covariance = 0.5 * np.eye(size)
    for _ in range(num_rounds):
        correction = most_probable(probabilities, basis, one_hot, covariance)
        hessian = _hessian(corrected(probabilities, basis, correction), basis, one_hot.sum(2))
        uncertainty = np.linalg.inv(hessian + np.linalg.inv(covariance)).mean(0)
        covariance = correction.T @ correction / len(correction) + uncertainty + 1e-3 * np.eye(size)
    return covariance
