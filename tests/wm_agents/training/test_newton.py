import numpy as np
import pytest

from wm_agents.errors import ConvergenceError
from wm_agents.training.newton import (
    conditional_logit,
    fit_conditional_logit,
    fit_logistic,
    logistic,
    minimize_convex,
)


def softplus_hills(points):
    """log(1 + exp(a x)) - b x: plain Newton steps diverge from where the curvature has vanished."""
    steep, slope = np.array([1.0, 30.0]), np.array([0.5, 0.3])
    chances = 1 / (1 + np.exp(-np.clip(steep * points[:, 0], -700, 700)))
    values = np.logaddexp(0, steep * points[:, 0]) - slope * points[:, 0]
    gradients = steep * chances - slope
    curvatures = steep**2 * chances * (1 - chances) + 1e-12
    return values, gradients[:, None], curvatures[:, None, None]


def test_minima_are_found_from_far_away():
    expected = [0.0, np.log(0.01 / 0.99) / 30]
    for start in (-20.0, -1.0, 0.0, 3.0, 20.0):
        found = minimize_convex(softplus_hills, np.array([[start], [start / 30]]), "hills")
        np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)


def test_what_has_no_minimum_is_refused():
    def downhill(points):
        return -points[:, 0], np.full((1, 1), -1.0), np.full((1, 1, 1), 1.0)

    with pytest.raises(ConvergenceError, match="downhill did not converge in 200"):
        minimize_convex(downhill, np.zeros((1, 1)), "downhill")
    with pytest.raises(ConvergenceError, match="no single solution"):
        minimize_convex(
            lambda x: (x[:, 0], np.ones((1, 2)), np.zeros((1, 2, 2))), np.zeros((1, 2)), "flat"
        )
    with pytest.raises(ConvergenceError, match="not finite"):
        minimize_convex(
            lambda x: (x[:, 0], np.full((1, 1), np.nan), np.ones((1, 1, 1))),
            np.zeros((1, 1)),
            "broken",
        )


def test_a_conditional_logit_with_features_by_choice_is_a_logistic_regression():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 2))
    classes = generator.integers(0, 3, 200)
    weights = generator.random(200)
    coefficients = fit_logistic(features, classes, 3, weights=weights, prior_std=0.7)
    by_choice = np.einsum("nf,kj->nkfj", features, np.eye(3)).reshape(200, 3, 6)
    found = fit_conditional_logit(by_choice, classes, weights=weights, prior_std=0.7)
    np.testing.assert_allclose(found.reshape(2, 3), coefficients, atol=1e-5)
    np.testing.assert_allclose(
        conditional_logit(by_choice, found), logistic(features, coefficients), atol=1e-5
    )
