"""How sure the weights are: the Laplace approximation and the bootstrap by episode."""

from statistics import NormalDist

import numpy as np

from wm_agents.irl.decision_model import Floats
from wm_agents.irl.likelihood import Likelihood
from wm_agents.irl.prior import Prior
from wm_agents.training.newton import minimize_convex


def laplace_covariance(information: Floats, prior: Prior) -> Floats:
    """The inverse of information plus prior precision [F, F].

    The normal approximation of the posterior.
    """
    return np.asarray(np.linalg.inv(information + prior.precision), np.float64)


def laplace_limits(weights: Floats, covariance: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Lower and upper limits [F]."""
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * np.sqrt(np.diag(covariance))
    return weights - reach, weights + reach


def bootstrap_weights(
    likelihood: Likelihood, weights: Floats, prior: Prior, num_resamples: int, seed: int
) -> Floats:
    """Weights [R, F] fitted again to episodes drawn with replacement, by Fisher scoring from the estimate.

    Whole episodes are drawn, since the steps of one are not independent.
    """
    generator = np.random.default_rng(seed)
    num_episodes = likelihood.num_episodes
    drawn = generator.multinomial(
        num_episodes, np.full(num_episodes, 1 / num_episodes), num_resamples
    )
    return np.stack(
        [
            _refit(likelihood, weights, row[likelihood.episodes].astype(float), prior)
            for row in drawn
        ]
    )


def _refit(likelihood: Likelihood, weights: Floats, step_weights: Floats, prior: Prior) -> Floats:
    def problem(points: Floats) -> tuple[Floats, Floats, Floats]:
        value, gradient, information = likelihood.weighted(points[0], step_weights)
        log_prior, slope = prior.value_and_gradient(points[0])
        return (
            np.array([-value - log_prior]),
            -(gradient + slope)[None],
            (information + prior.precision)[None],
        )

    return minimize_convex(problem, weights[None], "the likelihood of resampled demonstrations")[0]
