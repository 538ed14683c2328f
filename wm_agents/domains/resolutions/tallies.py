"""Joint draws of all countries' votes through shared factors, and tallies with their intervals.

Each country votes with the probabilities that a forecast gives it, but not independently: what a
forecast has wrong about a text it has wrong for many. A latent number per country, ordered no,
abstain, yes, is the sum of factors shared along the axes of voting and of noise of its own (a
Gaussian copula with one threshold model per country), so that draws keep every country's
probabilities and tallies get the spread of what is shared. Attendance has one factor, the day's.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from wm_agents.domains.resolutions.data import CHOICES, Floats
from wm_envs.resolutions.codes import Vote

Doubles = NDArray[np.float64]

NOISE_STD = np.pi / np.sqrt(3)  # of the logistic distribution, the unit of logits
_EDGE = 1e-6


def draw_votes(
    probabilities: Floats,
    attendance: Floats,
    basis: Doubles,
    covariance: Doubles,
    attendance_std: float,
    num_draws: int,
    generator: np.random.Generator,
) -> NDArray[np.int8]:
    """Votes [N, C] on one roll call, by `Vote`.

    Args:
        probabilities: [C, 3] of yes, abstain and no.
        attendance: [C], probability to vote at all.
        basis: [C, D], the countries on the axes of voting.
        covariance: [D, D] of the factors, in logits.
        attendance_std: Of the factor of attendance, in logits.
        num_draws: N.
        generator: Draws.
    """
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance)))
    loadings = basis @ root  # [C, D]
    shared = generator.normal(size=(num_draws, len(root))) @ loadings.T  # [N, C]
    noise = generator.normal(size=shared.shape) * NOISE_STD
    latent = (shared + noise) / np.sqrt((loadings**2).sum(1) + NOISE_STD**2)
    against = probabilities[:, Vote.NO].astype(np.float64)
    not_for = against + probabilities[:, Vote.ABSTAIN]
    votes = np.full(latent.shape, Vote.YES, np.int8)
    votes[latent < _threshold(not_for)] = Vote.ABSTAIN
    votes[latent < _threshold(against)] = Vote.NO
    day = attendance_std * generator.normal(size=(num_draws, 1))
    own = NOISE_STD * generator.normal(size=latent.shape)
    coming = (day + own) / np.sqrt(attendance_std**2 + NOISE_STD**2)
    votes[coming >= _threshold(attendance.astype(np.float64))] = Vote.ABSENT
    return votes


def tally_quantiles(votes: NDArray[np.int8], coverage: float) -> Floats:
    """Lower end, median and upper end [3, 3] of yes, abstain and no over draws [N, C].

    Counts are spread evenly over their unit, without which quantiles of small counts jump.
    """
    counts = np.stack([(votes == choice).sum(1) for choice in CHOICES], 1).astype(np.float64)
    spread = (np.arange(len(counts)) + 0.5) / len(counts) - 0.5
    jittered = np.sort(counts, 0) + spread[:, None]
    tail = (1 - coverage) / 2
    ends: Floats = np.quantile(jittered, [tail, 0.5, 1 - tail], axis=0).astype(np.float32)
    return np.maximum(ends, 0)


def interval_scores(quantiles: Floats, counts: NDArray[np.int64]) -> Doubles:
    """How far counts [K, 3] lie from the medians of quantiles [K, 3, 3], in half-widths."""
    low, median, high = np.moveaxis(quantiles.astype(np.float64), 1, 0)
    reach = np.where(counts > median, high - median, median - low)
    result: Doubles = np.abs(counts - median) / np.maximum(reach, 0.5)
    return result


def widened(quantiles: Floats, scales: Doubles) -> Floats:
    """Intervals [K, 3, 2] whose half-widths are multiplied by scales [K, 3]."""
    low, median, high = np.moveaxis(quantiles.astype(np.float64), 1, 0)
    below = np.maximum(median - low, 0.5) * scales
    above = np.maximum(high - median, 0.5) * scales
    return np.stack([np.maximum(median - below, 0), median + above], 2).astype(np.float32)


def attendance_factor(attendance: Floats, is_present: NDArray[np.bool_]) -> float:
    """Standard deviation of the factor of attendance, in logits, from K roll calls [K, C].

    Moments: the number of those present varies by the sum of p (1 - p) were they independent, and
    beyond that by the factor times that sum.
    """
    spread = (attendance * (1 - attendance)).sum(1).astype(np.float64)
    error = (is_present.sum(1) - attendance.sum(1)).astype(np.float64)
    excess = (error**2 - spread).sum() / max(float((spread**2).sum()), 1e-9)
    return float(np.sqrt(max(excess, 0.0)))


def _threshold(share: Doubles) -> Doubles:
    edges: Doubles = ndtri(np.clip(share, _EDGE, 1 - _EDGE))
    # What is certain stays certain: a known vote is in every draw.
    edges = np.where(share <= _EDGE, -np.inf, edges)
    return np.where(share >= 1 - _EDGE, np.inf, edges)
