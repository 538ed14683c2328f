"""Importance sampling of the partition function of windows, and the weights that follow from it.

K windows have M + 1 candidates each, of which the first is the demonstration; F features, summed
over the H steps of a candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from wm_agents.errors import ConvergenceError, NonFiniteError
from wm_agents.irl.mdp import Floats
from wm_envs.data.display import short_repr

_MIN_PROBABILITY = 1e-300  # whose logarithm is finite
_MAX_SLOPE = (
    1e-4  # of the log posterior per window, of sums with standard deviation 1, at a maximum
)


@dataclass(frozen=True)
class SampledWindows:
    """K windows with M + 1 candidates each; the first is the demonstration.

    Attributes:
        observations: [K, M + 1, H + 1, O].
        actions: [K, M + 1, H, A].
        log_proposal: [K, M + 1], log density under the proposal, up to a constant.
    """

    observations: NDArray[Any]
    actions: NDArray[np.float32]
    log_proposal: Floats

    __repr__ = short_repr


@dataclass(frozen=True)
class PartitionEstimate:
    """The most probable weights given one set of samples.

    Attributes:
        sums: [K, M + 1, F], scaled sums of features.
        offsets: [K, M + 1], log densities of the proposal.
        unit: [F], what the sums were divided by.
        is_constant: [F] bool, features that never vary.
        weights: [F], scaled.
    """

    sums: Floats
    offsets: Floats
    unit: Floats
    is_constant: NDArray[np.bool_]
    weights: Floats

    __repr__ = short_repr

    @cached_property
    def shares(self) -> Floats:
        """Share [K, M] of each drawn rollout in its partition function.

        The demonstration was not drawn.
        """
        return candidate_shares(self.sums[:, 1:], self.offsets[:, 1:], self.weights)

    @property
    def effective_samples(self) -> Floats:
        """(sum of weights)^2 / sum of squares [K], of the drawn rollouts."""
        effective: Floats = 1 / (self.shares**2).sum(1)
        return effective

    @cached_property
    def _expected(self) -> Floats:
        """Features [K, F] that the drawn rollouts lead to expect."""
        return np.einsum("km,kmf->kf", self.shares, self.sums[:, 1:])

    def gradient(self) -> Floats:
        """Of the log-likelihood [F], with partition functions of the drawn rollouts alone."""
        gradient: Floats = (self.sums[:, 0] - self._expected).sum(0)
        return gradient

    def sampling_error(self) -> tuple[Floats, Floats]:
        """What sampling adds to the gradient: its mean [F] and covariance [F, F] (delta method).

        Expected features are a ratio of means over samples, with bias -sum c^2 (s - E s) and
        covariance sum c^2 (s - E s)(s - E s)' for shares c and sums s of M samples.
        """
        # Around what is expected: the constant part cancels in the ratio.
        centered = self.sums[:, 1:] - self._expected[:, None]  # [K, M, F]
        squares = self.shares**2
        bias = -np.einsum("km,kmf->f", squares, centered)
        weighted = (centered * np.sqrt(squares)[..., None]).reshape(-1, centered.shape[2])
        return bias, weighted.T @ weighted

    def reach(self, noise: Floats) -> Floats:
        """How far out the rollouts that count lie [A], in standard deviations of the noise.

        Args:
            noise: [K, M, H, A], of the drawn rollouts' actions in these.
        """
        squares = np.einsum("km,kmha->ka", self.shares, noise.astype(np.float64) ** 2)
        reach: Floats = np.sqrt(squares.mean(0) / noise.shape[2])
        return reach


def held_noise(
    center: Floats,
    num_samples: int,
    noise_std: float | Sequence[float] | Floats,
    hold: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float32], Floats]:
    """Actions around others, with noise that changes every `hold` steps.

    The first of each is without noise.

    Args:
        center: [K, H, A].
        num_samples: M.
        noise_std: One for all actions or one for each.
        hold: Steps.
        generator: Draws the noise.

    Returns:
        Actions [K, M + 1, H, A], and the logarithm of the density of their noise up to a constant
        [K, M + 1].
    """
    num_windows, horizon, num_actions = center.shape
    num_draws = -(-horizon // hold)  # rounded up
    # One draw for each stretch of held actions: the density counts each once.
    white = generator.normal(size=(num_windows, num_samples + 1, num_draws, num_actions))
    # The demonstration is its own candidate, without noise.
    white[:, 0] = 0
    noise = np.repeat(white, hold, 2)[:, :, :horizon] * np.asarray(noise_std)
    return (center[:, None] + noise).astype(np.float32), -0.5 * (white**2).sum((2, 3))


def sampled_map(sums: Floats, offsets: Floats, precision: float) -> Floats:
    """The maximum of the posterior [F] for scaled sums [K, M + 1, F]."""

    def negative(weights: Floats) -> tuple[float, Floats]:
        shares = candidate_shares(sums, offsets, weights)
        value = log_likelihood(sums, offsets, weights) - 0.5 * precision * float(weights @ weights)
        expected = np.einsum("km,kmf->kf", shares, sums)
        gradient = (sums[:, 0] - expected).sum(0) - precision * weights
        # A mean, so that the tolerances do not depend on the number of windows.
        return -value / len(sums), -gradient / len(sums)

    options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-8}
    start = np.zeros(sums.shape[2])
    result = minimize(negative, start, jac=True, method="L-BFGS-B", options=options)
    if not np.isfinite(result.x).all():
        raise NonFiniteError("the likelihood of the samples is not finite: rescale the features")
    if np.abs(result.jac).max() > _MAX_SLOPE:
        raise ConvergenceError(
            f"the weights were not found: {result.message}; leave out features that nearly repeat"
        )
    return result.x


def candidate_shares(sums: Floats, offsets: Floats, weights: Floats) -> Floats:
    """Share [K, M + 1] of each rollout in its window's partition function."""
    # What a rollout is worth, less how likely it was to be drawn.
    logits = sums @ weights - offsets
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    shares: Floats = exponentials / exponentials.sum(1, keepdims=True)
    return shares


def log_likelihood(sums: Floats, offsets: Floats, weights: Floats) -> float:
    # The first candidate is the demonstration.
    """Of all demonstrations among their samples."""
    of_demonstrations = candidate_shares(sums, offsets, weights)[:, 0]
    return float(np.log(np.maximum(of_demonstrations, _MIN_PROBABILITY)).sum())


def fisher_information(sums: Floats, offsets: Floats, weights: Floats) -> Floats:
    """Fisher information [F, F]."""
    shares = candidate_shares(sums, offsets, weights)
    centered = sums - np.einsum("km,kmf->kf", shares, sums)[:, None]
    flat = (centered * np.sqrt(shares)[..., None]).reshape(-1, sums.shape[2])
    return flat.T @ flat
