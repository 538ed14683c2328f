"""Dynamic ideal points by Gibbs sampling of a binary probit: a second estimate to compare with.

Another likelihood and another method than `IdealPoints`, after Martin and Quinn 2002 ("Dynamic Ideal
Point Estimation via Markov Chain Monte Carlo", sections 3 and 4): yes against not yes,

    y*_rc = alpha_r + beta_r theta_ct + e,   e ~ N(0, 1),   yes where y* > 0,
    theta_ct ~ N(theta_c,t-1, walk_variance),   (alpha_r, beta_r) ~ N(0, I).

One sweep draws y* (truncated normal), the roll calls' parameters (a regression each), and all
courses of points (forward filter, backward sampler).
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from wm_agents.domains.resolutions import VoteData
from wm_envs.data.progress import progress
from wm_envs.resolutions.codes import Vote

Doubles = NDArray[np.float64]

_EDGE = 1e-12  # of a probability, at which its quantile is still finite


@dataclass(frozen=True)
class SampledPoints:
    """Means and quantiles of the points, standardized within each session as `IdealPoints` does.

    Attributes:
        sessions: [S] numbers.
        points: [S, C] means, not a number where a country cast no vote.
        low: [S, C], the quantile of .05.
        high: [S, C], the quantile of .95.
    """

    sessions: NDArray[np.int64]
    points: Doubles
    low: Doubles
    high: Doubles


def sample_points(
    data: VoteData,
    poles: tuple[str, str] = ("US", "CU"),
    *,
    num_sweeps: int = 300,
    num_burn_in: int = 100,
    walk_variance: float = 0.1,
    seed: int = 0,
) -> SampledPoints:
    """Draw points from the posterior.

    Args:
        data: R roll calls of C countries.
        poles: Points rise towards the first.
        num_sweeps: Draws that are kept.
        num_burn_in: Draws before them.
        walk_variance: Of the change from one session to the next; Martin and Quinn's value.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    sessions, session_of = np.unique(data.sessions, return_inverse=True)
    starts = np.searchsorted(session_of, np.arange(len(sessions) + 1))
    present = data.is_present
    sign = np.where(data.votes == Vote.YES, 1.0, -1.0)
    has_vote = np.add.reduceat(present.astype(np.int64), starts[:-1], axis=0) > 0  # [S, C]
    columns = [list(data.countries).index(pole) for pole in poles]
    theta = _start(data, starts, columns)  # [S, C]
    items = np.zeros((len(sign), 2))  # alpha, beta
    draws = np.empty((num_sweeps, *theta.shape), np.float32)
    with progress(num_burn_in + num_sweeps, "sweeps") as bar:
        for sweep in range(-num_burn_in, num_sweeps):
            x = theta[session_of]  # [R, C]
            mean = items[:, :1] + items[:, 1:] * x
            latent = _truncated(mean, sign, generator)
            items = _draw_items(latent, x, present, generator)
            theta = _draw_courses(latent, items, present, starts, walk_variance, generator)
            if sweep >= 0:
                draws[sweep] = _standardized(theta, has_vote)
            bar.advance()
    gap = np.nanmean(draws[:, :, columns[0]] - draws[:, :, columns[1]])
    draws *= -1 if gap < 0 else 1
    points = np.where(has_vote, draws.mean(0), np.nan).astype(np.float64)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return SampledPoints(sessions, points, low, high)


def _start(data: VoteData, starts: NDArray[np.int64], columns: list[int]) -> Doubles:
    """Agreement with the first pole less that with the second, in each session."""
    agreement = []
    for start, stop in itertools.pairwise(starts):
        votes = data.votes[start:stop]
        both = [
            ((votes == votes[:, [column]]) & (votes != Vote.ABSENT)).mean(0) for column in columns
        ]
        difference = both[0] - both[1]
        agreement.append(2 * (difference - difference.mean()))
    return np.stack(agreement)


def _truncated(mean: Doubles, sign: Doubles, generator: np.random.Generator) -> Doubles:
    """Normal draws around `mean` [R, C], on the side of zero that `sign` says."""
    # By the quantile function: P(sign y* > 0) = Phi(sign mean).
    chance = ndtr(sign * mean)
    share = np.clip(generator.random(mean.shape) * chance, _EDGE, 1 - _EDGE)
    return mean - sign * ndtri(share)


def _draw_items(
    latent: Doubles, x: Doubles, present: NDArray[np.bool_], generator: np.random.Generator
) -> Doubles:
    """Parameters [R, 2] of each roll call, alpha and beta, given points x [R, C]."""
    inside = x * present
    gram = np.empty((len(x), 2, 2))
    gram[:, 0, 0] = present.sum(1)
    gram[:, 0, 1] = gram[:, 1, 0] = inside.sum(1)
    gram[:, 1, 1] = (inside**2).sum(1)
    precision = gram + np.eye(2)
    right = np.stack([(latent * present).sum(1), (latent * inside).sum(1)], 1)
    covariance = np.linalg.inv(precision)
    noise = generator.normal(size=(len(x), 2, 1))
    drawn: Doubles = (covariance @ right[..., None] + np.linalg.cholesky(covariance) @ noise)[
        ..., 0
    ]
    return drawn


def _draw_courses(
    latent: Doubles,
    items: Doubles,
    present: NDArray[np.bool_],
    starts: NDArray[np.int64],
    walk_variance: float,
    generator: np.random.Generator,
) -> Doubles:
    """Points [S, C] given the roll calls (Carter and Kohn 1994)."""
    beta = items[:, 1:]
    weight = np.add.reduceat(beta**2 * present, starts[:-1], axis=0)  # [S, C]
    pull = np.add.reduceat(beta * (latent - items[:, :1]) * present, starts[:-1], axis=0)
    started = np.maximum.accumulate(weight > 0, 0)
    means = np.empty_like(weight)
    variances = np.empty_like(weight)
    mean = np.zeros(weight.shape[1])
    variance = np.ones(weight.shape[1])
    for s in range(len(weight)):
        # A country walks from its first vote on; until then it is where the prior has it.
        walks = started[s - 1] if s else np.zeros(len(mean), np.bool_)
        variance = variance + walk_variance * walks
        total = 1 / variance + weight[s]
        mean = (mean / variance + pull[s]) / total
        variance = 1 / total
        means[s] = mean
        variances[s] = variance
    theta = np.empty_like(means)
    noise = generator.normal(size=means.shape)
    theta[-1] = means[-1] + np.sqrt(variances[-1]) * noise[-1]
    for s in range(len(means) - 2, -1, -1):
        gain = variances[s] / (variances[s] + walk_variance)
        center = means[s] + gain * (theta[s + 1] - means[s])
        theta[s] = center + np.sqrt(variances[s] * (1 - gain)) * noise[s]
    return theta


def _standardized(theta: Doubles, has_vote: NDArray[np.bool_]) -> Doubles:
    counts = has_vote.sum(1, keepdims=True)
    centered = theta - (theta * has_vote).sum(1, keepdims=True) / counts
    spread = np.sqrt((centered**2 * has_vote).sum(1, keepdims=True) / counts)
    scaled: Doubles = centered / np.maximum(spread, 1e-9)
    return scaled
