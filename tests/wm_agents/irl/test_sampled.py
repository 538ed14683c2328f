from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError, DemonstrationError, NonFiniteError
from wm_agents.irl import Demonstrations, RewardNetwork, SampledConfig, SampledMaxEntIRL
from wm_agents.training.trainer import FitReport

HORIZON = 5
WEIGHTS = np.array([-1.0, -2.0])  # of squared places and squared pushes
BOX = gym.spaces.Box(-np.inf, np.inf, (1,))


def roll(starts, actions):
    """A point that is pushed: x' = x + a."""
    path = np.cumsum(np.concatenate([starts[:, None], actions[:, :, 0]], 1), 1)
    return path[:, :, None]


def features(observations, actions):
    return np.concatenate([observations[:, 1:] ** 2, actions**2], 2)


def expert(num_episodes=300, seed=0):
    """Exact draws of exp(w . sum f).

    A normal distribution of the pushes, since the features are squares.
    """
    generator = np.random.default_rng(seed)
    below = np.tril(np.ones((HORIZON, HORIZON)))  # places after each push, less the start
    precision = -2 * (WEIGHTS[0] * below.T @ below + WEIGHTS[1] * np.eye(HORIZON))
    covariance = np.linalg.inv(precision)
    starts = generator.normal(0, 1.5, num_episodes)
    means = starts[:, None] * (covariance @ below.T @ np.ones(HORIZON) * 2 * WEIGHTS[0])
    actions = means + generator.multivariate_normal(np.zeros(HORIZON), covariance, num_episodes)
    observations = roll(starts, actions[:, :, None])
    return Demonstrations.of(
        {
            "observations": observations.reshape(-1, 1),
            "actions": actions.reshape(-1, 1).astype(np.float32),
            "lengths": np.full(num_episodes, HORIZON),
        }
    )


def futures_of(demonstrations):
    data = demonstrations.trajectories
    seen = data.observations[data.observation_of_step][:, 0].astype(float)
    return lambda steps, actions: roll(seen[steps], actions)


def make(demonstrations, names=("place", "push"), function=features, **settings):
    config = SampledConfig(horizon=HORIZON, stride=HORIZON, noise_std=0.6, **settings)
    return SampledMaxEntIRL(futures_of(demonstrations), function, names, config)


def test_weights_of_a_linear_quadratic_expert_are_recovered():
    demonstrations = expert()
    fit = make(demonstrations, num_samples=500).fit(demonstrations)
    np.testing.assert_allclose(fit.weights, WEIGHTS, rtol=0.25)
    assert ((fit.low < fit.weights) & (fit.weights < fit.high)).all()
    assert np.median(fit.effective_samples) > 10
    assert fit.flags == ()


def test_constant_and_doubled_features_are_flagged():
    demonstrations = expert(40)

    def more(observations, actions):
        basic = features(observations, actions)
        return np.concatenate([basic, 2 * basic[:, :, :1], np.ones_like(actions)], 2)

    fit = make(demonstrations, ("place", "push", "twice", "one"), more).fit(demonstrations)
    assert fit.identifiability.rank == 2
    assert not fit.identifiability.is_identified[[0, 2, 3]].any()
    assert fit.identifiability.is_identified[1]
    assert "constant: one" in fit.flags


def test_few_effective_samples_are_flagged():
    demonstrations = expert(40)
    config = SampledConfig(horizon=HORIZON, noise_std=20.0, num_samples=64)
    fit = SampledMaxEntIRL(futures_of(demonstrations), features, ("place", "push"), config).fit(
        demonstrations
    )
    assert any(flag.startswith("few effective samples") for flag in fit.flags)


def steady(num_episodes, horizon, seed=0, weight=2.0):
    """Exact draws of exp(-weight * sum a^2): every push is normal, wherever the point is."""
    pushes = np.random.default_rng(seed).normal(
        0, (2 * weight) ** -0.5, (num_episodes * horizon, 1)
    )
    return Demonstrations.of(
        {
            "observations": np.zeros((num_episodes * (horizon + 1), 1), np.float32),
            "actions": pushes.astype(np.float32),
            "lengths": np.full(num_episodes, horizon),
        }
    )


def fit_steady(num_episodes, horizon, seed=0, **settings):
    def futures(steps, actions):
        return np.zeros((len(steps), horizon + 1, 1))

    config = SampledConfig(horizon=horizon, stride=horizon, seed=100 + seed, **settings)
    irl = SampledMaxEntIRL(
        futures, lambda observations, actions: -(actions.astype(float) ** 2), ("push",), config
    )
    return irl.fit(steady(num_episodes, horizon, seed))


@pytest.mark.parametrize(("horizon", "noise_std"), [(1, 0.05), (2, 0.3), (1, 2.0)])
def test_narrow_samples_are_widened_and_the_weight_is_not_biased(horizon, noise_std):
    fit = fit_steady(600, horizon, noise_std=noise_std)
    assert fit.low[0] < 2.0 < fit.high[0]
    assert fit.flags == ()
    assert fit.noise_std[0] >= min(0.5, noise_std)
    assert fit.noise_std[0] == noise_std or noise_std < 0.5  # what is wide enough stays


def test_intervals_hold_the_true_weight_as_often_as_they_say():
    fits = [fit_steady(150, 2, seed, num_samples=128, noise_std=0.6) for seed in range(40)]
    assert all(fit.flags == () for fit in fits)
    is_held = [fit.low[0] < 2.0 < fit.high[0] for fit in fits]
    assert 0.8 <= np.mean(is_held) <= 0.99


def test_intervals_grow_with_the_sampling_error():
    fits = [fit_steady(150, 3, num_samples=num_samples, noise_std=0.6) for num_samples in (8, 2000)]
    shares = [float((fit.sampling_covariance / fit.covariance)[0, 0]) for fit in fits]
    assert shares[0] > 0.1
    assert shares[1] < 0.02
    assert fits[0].high[0] - fits[0].low[0] > fits[1].high[0] - fits[1].low[0]


@pytest.mark.parametrize(
    "settings", [{"noise_std": 0.3}, {"noise_std": 0.5, "num_samples": 32}, {"noise_std": 1.5}]
)
def test_a_biased_estimate_is_flagged(settings):
    """Twenty numbers for each future: no proposal around the demonstrations has samples enough."""
    fit = fit_steady(60, 20, **settings)
    assert any(flag.startswith("few effective samples") for flag in fit.flags)


def test_a_reward_network_learns_that_the_middle_is_good():
    demonstrations = expert(100)
    generator = torch.Generator().manual_seed(0)
    network = RewardNetwork(1, BOX, (16,), is_state_only=True, generator=generator)
    losses = make(demonstrations, num_samples=64).fit_network(
        demonstrations, network, num_updates=150
    )
    assert losses[-1] < losses[0] - 0.1
    places = torch.tensor([[0.0], [3.0], [-3.0]])
    middle, right, left = network(places, torch.zeros(3, 1)).tolist()
    assert middle > right
    assert middle > left


def test_bad_input_is_refused():
    demonstrations = expert(3)
    with pytest.raises(DemonstrationError, match="no episode has 9 steps"):
        SampledMaxEntIRL(
            futures_of(demonstrations), features, ("a", "b"), SampledConfig(horizon=9)
        ).fit(demonstrations)
    with pytest.raises(DemonstrationError, match="Box actions"):
        make(demonstrations).fit(Demonstrations.from_states([0], [0]))
    with pytest.raises(ConfigError, match="expected 1 finite features"):
        make(demonstrations, ("a",)).fit(demonstrations)
    broken = SampledMaxEntIRL(
        lambda steps, actions: np.full((len(steps), HORIZON + 1, 1), np.nan),
        features,
        ("a", "b"),
        SampledConfig(horizon=HORIZON),
    )
    with pytest.raises(NonFiniteError, match="imagines"):
        broken.fit(demonstrations)
    for settings in ({"horizon": 0}, {"noise_std": 0}, {"hold": 0}, {"confidence": 1.0}):
        with pytest.raises(ConfigError):
            SampledConfig(**settings)


def test_a_fit_is_a_report_and_resumes_bitwise(tmp_path, monkeypatch):
    demonstrations = expert(60)
    narrow = {"num_samples": 200}
    whole = make(demonstrations, **narrow)
    whole.config = replace(whole.config, noise_std=0.1)
    fit = whole.fit(demonstrations)
    assert isinstance(fit, FitReport)
    assert fit.num_updates > 2  # it was widened more than once
    assert whole.reward(np.ones((2, 4, 1)), np.zeros((2, 3, 1))).shape == (2, 3)
    estimate = SampledMaxEntIRL.estimate

    def once(self, data, widening):
        if (widening > 1).any():
            raise KeyboardInterrupt
        return estimate(self, data, widening)

    monkeypatch.setattr(SampledMaxEntIRL, "estimate", once)
    killed = make(demonstrations)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(demonstrations, whole.config, checkpoints=tmp_path)
    monkeypatch.undo()
    resumed = make(demonstrations).fit(demonstrations, whole.config, checkpoints=tmp_path)
    np.testing.assert_array_equal(resumed.weights, fit.weights)
    np.testing.assert_array_equal(resumed.low, fit.low)
