import numpy as np
import pytest

from wm_agents.domains.resolutions.data import CHOICES
from wm_agents.domains.resolutions.tallies import (
    attendance_factor,
    draw_votes,
    interval_scores,
    tally_quantiles,
    widened,
)
from wm_agents.training.newton import fit_logistic, logistic


def drawn(factor_std, attendance_std=0.0, num_draws=4000):
    """Votes of 60 countries that all load on one factor."""
    generator = np.random.default_rng(0)
    chances = generator.dirichlet((4, 2, 1), 60).astype(np.float32)
    chances[0] = (0, 0, 1)  # a vote that is known
    attendance = np.full(60, 0.8, np.float32)
    attendance[:2] = (1, 0)
    votes = draw_votes(
        chances,
        attendance,
        np.ones((60, 1)),
        np.array([[factor_std**2]]),
        attendance_std,
        num_draws,
        generator,
    )
    return chances, attendance, votes


@pytest.mark.parametrize("factor_std", [0.0, 2.0])
def test_draws_keep_each_countrys_probabilities(factor_std):
    chances, attendance, votes = drawn(factor_std, attendance_std=1.0)
    present = votes >= 0
    np.testing.assert_allclose(present.mean(0), attendance, atol=0.03)
    assert (votes[:, 0] == 2).all()
    for choice in CHOICES:
        shares = (votes == choice).sum(0)[2:] / present.sum(0)[2:]
        np.testing.assert_allclose(shares, chances[2:, choice], atol=0.05)


def test_what_is_shared_widens_tallies():
    """Independent countries' counts vary by the sum of p (1 - p), those that share a factor more."""
    chances, attendance, alone = drawn(0.0)
    _, _, shared = drawn(2.0)
    expected = chances[:, 2] * attendance
    independent = (expected * (1 - expected)).sum()
    assert (alone == 2).sum(1).var() == pytest.approx(independent, rel=0.1)
    assert (shared == 2).sum(1).var() > 3 * independent


def test_the_days_factor_of_attendance_is_found_again():
    generator = np.random.default_rng(1)
    odds = generator.normal(1, 1, 80)
    days = 0.6 * generator.normal(size=(400, 1))
    came = generator.random((400, 80)) < 1 / (1 + np.exp(-odds - days))
    marginal = np.broadcast_to(came.mean(0), came.shape)
    assert attendance_factor(marginal, came) == pytest.approx(0.6, abs=0.15)
    alone = generator.random((400, 80)) < marginal
    assert attendance_factor(marginal, alone) < 0.2


def test_intervals_by_hand():
    votes = np.zeros((200, 50), np.int8)
    votes[:, :20] = -1
    low, median, high = tally_quantiles(votes, 0.9)
    assert 29.5 < low[0] < median[0] < high[0] < 30.5
    assert median[0] == pytest.approx(30, abs=0.01)
    quantiles = np.array([[[10, 0, 0], [20, 1, 1], [40, 3, 1]]], np.float32)
    counts = np.array([[30, 1, 2]])
    # 10 above a median whose upper end is 20 away; no distance; 1 in halves of the least width.
    np.testing.assert_allclose(interval_scores(quantiles, counts), [[0.5, 0, 2]])
    np.testing.assert_allclose(
        widened(quantiles, np.array([[2.0, 1.0, 3.0]]))[0], [[0, 60], [0, 3], [0, 2.5]]
    )


def test_logistic_regression_finds_frequencies_and_slopes():
    classes = np.repeat([0, 1, 2], [50, 30, 20])
    ones = np.ones((100, 1), np.float32)
    found = logistic(ones, fit_logistic(ones, classes, 3, prior_std=1e3))
    np.testing.assert_allclose(found[0], (0.5, 0.3, 0.2), atol=1e-4)
    # Rows that count nothing change nothing.
    weights = (classes != 2).astype(float)
    found = logistic(ones, fit_logistic(ones, classes, 3, weights=weights, prior_std=1e3))
    np.testing.assert_allclose(found[0, :2], (0.625, 0.375), atol=1e-3)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4000, 2)).astype(np.float32)
    y = (x @ (1.5, -0.5) + generator.logistic(size=4000) > 0).astype(np.int64)
    coefficients = fit_logistic(x, y, 2, prior_std=10.0)
    np.testing.assert_allclose(np.diff(coefficients, axis=1)[:, 0], (1.5, -0.5), atol=0.15)
