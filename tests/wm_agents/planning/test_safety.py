import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.optimize import minimize

from wm_agents.errors import ConfigError, ConvergenceError
from wm_agents.evaluation.calibration import auroc, brier_score
from wm_agents.planning.safety import (
    RiskCalibrator,
    Shield,
    calibration_error,
    imagined_margins,
    risk_features,
)
from wm_agents.protocols import ModelState, Prediction


class Drift:
    """x moves by the action; the border is at 1."""

    observation_space = spaces.Box(-10, 10, (1,))
    action_space = spaces.Box(-1, 1, (1,))

    def start(self, observations, hidden=()):
        return ModelState(observations, hidden)

    def step(self, state, actions, generator=None):
        after = state.observations + actions
        zeros = torch.zeros(len(after))
        return ModelState(after), Prediction(after, zeros, zeros)


def margin(observations):
    return 1.0 - observations[:, 0]


def test_margins_of_a_steady_drift():
    start = torch.tensor([[0.0], [-1.0]])
    margins = imagined_margins(
        Drift(), start, lambda x: torch.full_like(x, 0.25), margin, horizon=5, num_samples=2
    )
    assert margins.shape == (2, 2, 5)
    torch.testing.assert_close(margins[0, 0], torch.tensor([0.75, 0.5, 0.25, 0.0, -0.25]))
    torch.testing.assert_close(margins[1, 1], margins[0, 0] + 1)


def test_features_by_hand():
    margins = np.array([[[1.0, -1.0, -2.0, 1.0], [3.0, 2.0, 1.0, 1.0]]])
    features = risk_features(margins, 2.0)[0]
    expected = [
        0.5,
        (np.tanh(-1) + np.tanh(0.5)) / 2,
        np.tanh(-1),
        (0.25 + 1) / 2,
        np.tanh(-0.25),
    ]
    np.testing.assert_allclose(features, expected)


def test_the_calibrator_finds_the_log_odds():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(20_000, 2))
    true = 1 / (1 + np.exp(-(1.5 * x[:, 0] - 0.5 * x[:, 1] - 2)))
    happened = generator.random(20_000) < true
    fitted = RiskCalibrator.fit(x, happened)
    assert np.abs(fitted.probability(x) - true).mean() < 0.01
    assert calibration_error(fitted.probability(x), happened) < 0.01
    again = RiskCalibrator.from_json(fitted.to_json())
    np.testing.assert_array_equal(again.probability(x), fitted.probability(x))


def test_separable_outcomes_stay_finite():
    x = np.linspace(-1, 1, 40)[:, None]
    probability = RiskCalibrator.fit(x, x[:, 0] > 0).probability(x)
    assert np.isfinite(probability).all()
    assert (probability[x[:, 0] > 0.1] > 0.5).all()


def rare_events(seed):
    """Features of which some are rare signs, on very different scales, and few events."""
    generator = np.random.default_rng(seed)
    num_rows = int(generator.integers(60, 400))
    signs = generator.random((num_rows, 2)) < generator.uniform(0.02, 0.2, 2)
    features = np.column_stack([signs, generator.normal(size=(num_rows, 2)) * [1e-6, 1e5]])
    logits = -4 + 5 * signs[:, 0] + 2 * signs[:, 1] + generator.normal(size=num_rows)
    happened = generator.random(num_rows) < 1 / (1 + np.exp(-logits))
    happened[generator.choice(num_rows, 6, replace=False)] = True
    return features, happened


def test_the_maximum_is_found_for_rare_events():
    for seed in range(200):
        features, happened = rare_events(seed)
        ridge = [1e-3, 1.0, 30.0][seed % 3]
        fitted = RiskCalibrator.fit(features, happened, ridge)
        inputs = np.column_stack([(features - fitted.mean) / fitted.std, np.ones(len(features))])

        def negative(weights, inputs=inputs, happened=happened, ridge=ridge):
            logits = inputs @ weights
            value = (
                np.logaddexp(0, logits).sum()
                - logits[happened].sum()
                + ridge / 2 * (weights[:-1] ** 2).sum()
            )
            gradient = inputs.T @ (1 / (1 + np.exp(-logits)) - happened)
            return value, gradient + ridge * np.append(weights[:-1], 0)

        found = minimize(
            negative, np.zeros(inputs.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-7}
        )
        own = np.append(fitted.weights, fitted.bias)
        assert negative(own)[0] <= found.fun + 1e-8
        assert np.abs(negative(own)[1]).max() < 1e-3


def test_a_rare_sign_of_danger_raises_the_risk_in_any_unit():
    for unit in (1e-12, 1.0, 1e12):
        sign = np.zeros((200, 1))
        sign[:20] = unit
        low, high = RiskCalibrator.fit(sign, np.arange(200) < 16).probability([[0.0], [unit]])
        assert low < 0.05
        assert high > 0.6


def test_without_a_ridge_only_what_has_a_maximum_is_fitted():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(500, 2))
    happened = generator.random(500) < 1 / (1 + np.exp(-x[:, 0]))
    free = RiskCalibrator.fit(x, happened, ridge=0)
    assert np.abs(free.weights - RiskCalibrator.fit(x, happened, ridge=1e-6).weights).max() < 1e-6
    twice = np.column_stack([x, x[:, 0]])
    almost = np.where(np.arange(500) % 2, 0.0, x[:, 0])  # zeros on the border, else told apart
    for features, outcomes in (
        (x, x[:, 0] > 0),
        (twice, happened),
        (np.column_stack([x, np.ones(500)]), happened),
        (almost[:, None], (almost > 0) | ((almost == 0) & happened)),
    ):
        with pytest.raises(ConvergenceError, match="give a positive ridge"):
            RiskCalibrator.fit(features, outcomes, ridge=0)
    with pytest.raises(ConfigError, match="ridge"):
        RiskCalibrator.fit(x, happened, ridge=-1)


def test_calibration_error_by_hand():
    assert calibration_error([0.1] * 10, [True] + [False] * 9, num_bins=1) == pytest.approx(0.0)
    assert calibration_error([0.0, 0.0, 1.0, 1.0], [0, 1, 1, 1], num_bins=2) == pytest.approx(0.25)


def test_rows_of_one_probability_are_calibrated_in_any_order():
    happened = np.arange(100) < 20
    assert calibration_error(np.full(100, 0.2), happened) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(np.full(100, 0.2), happened[::-1]) == pytest.approx(0.0, abs=1e-12)
    mixed = np.repeat([0.1, 0.6], 50)  # of which 20 of 50 and none happened
    assert calibration_error(mixed, happened) == pytest.approx(0.5 * 0.3 + 0.5 * 0.6)


def test_the_shield_holds_until_the_risk_has_passed():
    shield = Shield(threshold=0.5, release=0.2, hold=2)
    risks = [0.1, 0.6, 0.3, 0.3, 0.1, 0.1, 0.1]
    engaged = [bool(shield.decide([risk, 0.0])[0]) for risk in risks]
    assert engaged == [False, True, True, True, True, False, False]
    shield.decide([0.9, 0.9])
    shield.reset(np.array([True, False]))
    assert shield.decide([0.3, 0.3]).tolist() == [False, True]


def calibrated():
    return RiskCalibrator(np.zeros(2), np.ones(2), np.ones(2), 0.0)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: Shield(0.0),
        lambda: Shield(0.5, release=0.6),
        lambda: Shield(0.5, hold=0),
        lambda: risk_features(np.zeros((2, 3)), 1.0),
        lambda: risk_features(np.full((1, 1, 1), np.nan), 1.0),
        lambda: RiskCalibrator.fit(np.zeros((10, 2)), np.zeros(10, bool)),
        lambda: RiskCalibrator.fit(np.zeros((10, 2)), np.zeros(9, bool)),
        lambda: calibration_error([], []),
        lambda: calibration_error([0.5, np.nan], [0, 1]),
        lambda: calibration_error([0.5, 1.5], [0, 1]),
        lambda: RiskCalibrator.fit(np.full((20, 1), np.nan), np.arange(20) < 10),
        lambda: RiskCalibrator.fit(np.eye(20), np.arange(20) % 3),
        lambda: RiskCalibrator.fit(np.eye(20), [*[0.0] * 9, *[1.0] * 10, np.nan]),
        lambda: RiskCalibrator.fit(np.eye(20), ["no"] * 10 + ["yes"] * 10),
        lambda: calibration_error([0.5, 0.5], [0, 2]),
        lambda: brier_score([0.5, 0.5], [0, np.nan]),
        lambda: auroc([0.5, 0.5], [0, -1]),
        lambda: calibrated().probability([[np.nan, 0.0]]),
        lambda: calibrated().probability([[0.0, 0.0, 0.0]]),
        lambda: calibrated().probability([0.0, 0.0]),
        lambda: Shield(0.5).decide([0.1, np.nan]),
        lambda: imagined_margins(Drift(), torch.zeros(1, 1), lambda x: x, margin, horizon=0),
    ],
)
def test_mistakes_are_named(mistake):
    with pytest.raises(ConfigError):
        mistake()


def test_a_risk_that_is_no_number_does_not_pass_for_safe():
    with pytest.raises(ConfigError, match="expected a risk from 0 to 1"):
        Shield(0.5).decide([0.1, np.nan])
    features, outcomes = np.zeros((20, 2)), np.arange(20) < 10
    features[7, 1] = np.nan
    with pytest.raises(ConfigError, match="the features of row 7 are not finite"):
        RiskCalibrator.fit(features, outcomes)
    with pytest.raises(ConfigError, match="scale=0"):
        risk_features(np.zeros((1, 1, 1)), 0.0)
