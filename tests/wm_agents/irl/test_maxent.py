import numpy as np
import pytest

from tests.support.choices import WEIGHTS, one_shot, sample, walk
from wm_agents.errors import CheckpointError, ConfigError, DemonstrationError
from wm_agents.irl import (
    Demonstrations,
    MaxEntConfig,
    MaxEntIRL,
    TabularMDP,
    cross_validate,
    fit_many,
    from_transition_table,
    maxent,
)
from wm_agents.irl.likelihood import Likelihood
from wm_agents.irl.uncertainty import Prior, bootstrap_weights, clustered_stds
from wm_agents.training.trainer import FitReport


def test_weights_of_single_choices_are_recovered_within_their_intervals():
    model, demonstrations = one_shot(2000)
    fit = MaxEntIRL(model, MaxEntConfig(num_resamples=50)).fit(demonstrations)
    np.testing.assert_allclose(fit.weights, WEIGHTS, atol=0.25)
    assert ((fit.low < WEIGHTS) & (fit.high > WEIGHTS)).all()
    assert fit.flags == ()
    assert [name for name, _ in fit.ranked()] == ["gain", "left", "risk"]
    low, high = fit.bootstrap_limits()
    np.testing.assert_allclose(high - low, fit.high - fit.low, rtol=0.4)


def test_each_resample_is_fitted_to_its_maximum():
    """Rare choices and a wide prior: a step bounded in length alone stopped anywhere."""
    model, demonstrations = one_shot(40)
    prior = Prior.independent(3, 50.0)
    likelihood = Likelihood(model, demonstrations, np.ones(3))
    weights, stds = bootstrap_weights(likelihood, np.zeros(3), prior, 20, seed=0)
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(
        likelihood.num_episodes, np.full(likelihood.num_episodes, 1 / likelihood.num_episodes), 20
    )
    for row, found, std in zip(drawn, weights, stds, strict=True):
        # Each refit has its own prior mean, which is drawn after the episodes of all.
        shifted = Prior(50.0 * generator.normal(size=3), prior.precision)
        _, gradient, information = likelihood.weighted(
            found, row[likelihood.episodes].astype(float)
        )
        total = gradient + shifted.value_and_gradient(found)[1]
        assert total @ np.linalg.solve(information + prior.precision, total) < 1e-9
        # Every copy of an episode is a cluster of its own, and so is the prior.
        scores = np.repeat(likelihood.scores(found), row, 0)
        bread = np.linalg.inv(information + prior.precision)
        covariance = bread @ (scores.T @ scores + prior.precision) @ bread
        np.testing.assert_allclose(std, np.sqrt(np.diag(covariance)), rtol=1e-6)


def test_clustered_deviations_agree_with_laplace_where_the_model_is_true():
    model, demonstrations = one_shot(2000)
    fit = MaxEntIRL(model).fit(demonstrations)
    laplace = np.sqrt(np.diag(fit.covariance))
    np.testing.assert_allclose(fit.clustered_stds, laplace, rtol=0.15)


def test_an_episode_that_counts_twice_is_two_clusters():
    model, demonstrations = one_shot(60)
    doubled = Demonstrations.from_states(
        np.tile(demonstrations.states, 2), np.tile(demonstrations.actions, 2)
    )
    prior = Prior.independent(3, 5.0)
    weights = np.array([0.5, -0.5, 0.2])
    once = Likelihood(model, demonstrations, np.ones(3))
    twice = Likelihood(model, doubled, np.ones(3))
    information = twice.information(weights)
    np.testing.assert_allclose(
        clustered_stds(once, weights, prior, information, np.full(60, 2.0)),
        clustered_stds(twice, weights, prior, information),
    )


def test_the_bootstrap_of_what_is_not_identified_is_as_wide_as_its_prior():
    """Refits under one fixed prior would all lie at its mean, and their interval would be empty."""
    model, demonstrations = one_shot(100)
    features = np.concatenate([model.features, np.ones_like(model.features[..., :1])], 2)
    model = TabularMDP(features, (*model.feature_names, "constant"))
    settings = MaxEntConfig(prior_std=2.0, num_resamples=200)
    low, high = MaxEntIRL(model, settings).fit(demonstrations).bootstrap_limits()
    assert 4.5 < high[3] - low[3] < 9  # 2 x 1.645 x 2 for 90%


def test_too_few_resamples_for_their_confidence_are_refused():
    model, demonstrations = one_shot(100)
    fit = MaxEntIRL(model, MaxEntConfig(num_resamples=19)).fit(demonstrations)
    with pytest.raises(ConfigError, match="num_resamples=20 or more"):
        fit.bootstrap_limits()


def test_the_bootstrap_of_a_single_episode_has_no_limits():
    model, demonstrations = one_shot(20)
    first = demonstrations.trajectories.actions[:1]
    fit = MaxEntIRL(model, MaxEntConfig(num_resamples=5)).fit(
        Demonstrations.from_states([0], first)
    )
    low, high = fit.bootstrap_limits()
    assert np.isneginf(low).all()
    assert np.isposinf(high).all()
    assert any(flag.startswith("one episode") for flag in fit.flags)


def test_one_shot_fit_is_the_conditional_logit_of_another_implementation():
    """Two actions and no prior to speak of.

    Scikit-learn's logistic regression on feature differences.
    """
    from sklearn.linear_model import LogisticRegression

    model, demonstrations = one_shot(300)
    features = model.features[:, :2]
    chosen = demonstrations.trajectories.actions
    kept = np.flatnonzero(chosen < 2)
    pairs = TabularMDP(features[kept], model.feature_names)
    fit = MaxEntIRL(pairs, MaxEntConfig(prior_std=1e4)).fit(
        Demonstrations.from_states(range(len(kept)), chosen[kept])
    )
    differences = features[kept, 1] - features[kept, 0]
    other = LogisticRegression(C=1e8, fit_intercept=False, tol=1e-10).fit(differences, chosen[kept])
    np.testing.assert_allclose(fit.weights, other.coef_[0], rtol=1e-4)


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_weights_of_walks_are_recovered_with_variable_length(slip):
    model, weights = walk(slip=slip), np.array([0.8, -0.6])
    demonstrations = sample(model, weights, 1500)
    assert not demonstrations.has_one_length
    fit = MaxEntIRL(model).fit(demonstrations)
    np.testing.assert_allclose(fit.weights, weights, atol=0.15)
    assert fit.has_converged


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_gradient_and_information_are_derivatives(slip):
    model = walk(slip=slip)
    demonstrations = sample(model, np.array([0.5, 0.5]), 20)
    likelihood, weights = Likelihood(model, demonstrations, np.ones(2)), np.array([0.3, -0.2])
    for function in (likelihood.value_and_gradient, likelihood.matching_and_gradient):
        gradient = function(weights)[1]
        for axis, step in enumerate(np.eye(2) * 1e-6):
            slope = (function(weights + step)[0] - function(weights - step)[0]) / 2e-6
            assert slope == pytest.approx(gradient[axis], abs=1e-4)
    np.testing.assert_allclose(
        likelihood.scores(weights).sum(0), likelihood.value_and_gradient(weights)[1]
    )


def test_information_is_the_expected_curvature():
    model, weights, step = walk(slip=0.3), np.array([0.5, 0.5]), 1e-4 * np.eye(2)
    likelihood = Likelihood(model, sample(model, weights, 3000), np.ones(2))
    ahead, behind = (
        [likelihood.value_and_gradient(weights + s * h)[1] for h in step] for s in (1, -1)
    )
    curvature = (np.array(behind) - np.array(ahead)) / 2e-4
    np.testing.assert_allclose(likelihood.information(weights), curvature, rtol=0.1)


def test_units_do_not_matter():
    small = MaxEntIRL(one_shot(scale=1e-6)[0]).fit(one_shot(scale=1e-6)[1])
    large = MaxEntIRL(one_shot(scale=1e9)[0]).fit(one_shot(scale=1e9)[1])
    np.testing.assert_allclose(small.scaled_weights, large.scaled_weights, rtol=1e-3)


def test_the_historical_blow_up_stays_finite_and_says_that_it_is_not_identified():
    """Unscaled features of the state alone (tallies in the hundreds), three samples.

    Gradient steps went to 1e216.
    """
    state = np.array(
        [[0, 51, 80, 0, 1, 0, 0], [1, 51, 80, 78, 0, 1, 0], [1, 70, 80, 78, 0, 0, 1]], float
    )
    names = (
        "is_sponsor",
        "sponsor_count",
        "committee_support",
        "plenary_support",
        "draft",
        "committee",
        "plenary",
    )
    model = TabularMDP(np.repeat(state[:, None], 3, 1), names)
    for is_scaled in (True, False):
        config = MaxEntConfig(standardize=is_scaled, num_resamples=10)
        fit = MaxEntIRL(model, config).fit(Demonstrations.from_states([0, 1, 2], [0, 0, 2]))
        for numbers in (fit.weights, fit.low, fit.high, fit.covariance, fit.resampled):
            assert np.isfinite(numbers).all()
        assert fit.identifiability.rank == 0
        assert not fit.identifiability.is_identified.any()
        assert fit.ranked() == []
        assert sum(flag.startswith("not identified") for flag in fit.flags) == 7


def test_constant_and_collinear_features_are_flagged_and_not_ranked():
    model, demonstrations = one_shot()
    doubled = np.concatenate(
        [model.features, 3 * model.features[..., :1], np.full((400, 3, 1), 7.0)], 2
    )
    fit = MaxEntIRL(model.with_features(doubled, ("a", "b", "c", "a again", "seven"))).fit(
        demonstrations
    )
    assert fit.identifiability.rank == 3
    assert [name for name, _ in fit.ranked()] == ["c", "b"]
    assert "constant: seven" in fit.flags
    assert any(
        "a" in flag and "a again" in flag for flag in fit.flags if flag.startswith("not identified")
    )
    # Together the twins carry the weight that one alone would.
    alone = MaxEntIRL(model).fit(demonstrations)
    assert fit.weights[0] + 3 * fit.weights[3] == pytest.approx(alone.weights[0], rel=0.05)


def test_a_constant_per_step_is_identified_where_lengths_vary():
    model = walk()
    every = np.ones((5, 2, 1))
    fit = MaxEntIRL(model.with_features(every, ("step",))).fit(
        sample(model, np.array([0.5, 0.5]), 300)
    )
    assert fit.is_constant.all()
    assert fit.identifiability.is_identified.all()


def test_who_had_nothing_to_go_by_is_not_separated():
    model = one_shot()[0]
    still = model.with_features(np.ones((*model.features.shape[:2], 1)), ("still",))
    fit = MaxEntIRL(still).fit(Demonstrations.from_states(np.arange(400), np.arange(400) % 2))
    assert fit.is_constant.all()
    assert not any(flag.startswith("separated") for flag in fit.flags)


def test_one_class_and_separated_demonstrators_are_flagged():
    model, demonstrations = one_shot()
    always = MaxEntIRL(model).fit(Demonstrations.from_states(np.arange(400), np.zeros(400, int)))
    assert any(flag.startswith("one class") for flag in always.flags)
    best = (model.features @ WEIGHTS).argmax(1)
    greedy = MaxEntIRL(model).fit(Demonstrations.from_states(np.arange(400), best))
    assert any(flag.startswith("separated") for flag in greedy.flags)
    assert np.isfinite(greedy.weights).all()
    cosine = greedy.direction @ WEIGHTS / np.linalg.norm(WEIGHTS)
    assert cosine > 0.98
    assert not any(
        flag.startswith(("one class", "separated"))
        for flag in MaxEntIRL(model).fit(demonstrations).flags
    )


def test_states_without_a_choice_are_flagged():
    model = TabularMDP(np.ones((2, 2, 1)), ("x",), mask=[[True, False], [True, False]])
    fit = MaxEntIRL(model).fit(Demonstrations.from_states([0, 1], [0, 0]))
    assert any(flag.startswith("no choice") for flag in fit.flags)


def test_shuffled_demonstrations_carry_no_weight():
    model, demonstrations = one_shot(1000)
    actions = np.random.default_rng(0).permutation(demonstrations.trajectories.actions)
    fit = MaxEntIRL(model).fit(Demonstrations.from_states(np.arange(1000), actions))
    assert np.abs(fit.weights).max() < 0.2
    held_out = cross_validate(model, Demonstrations.from_states(np.arange(1000), actions))
    assert held_out.log_likelihood < held_out.frequencies + 0.01


def test_held_out_episodes_are_foreseen_better_than_by_chance():
    model, demonstrations = one_shot(400)
    held_out = cross_validate(model, demonstrations, num_folds=4)
    assert held_out.uniform == pytest.approx(-np.log(3))
    assert held_out.log_likelihood > held_out.frequencies + 0.3
    assert held_out.weights.shape == (4, 3)
    with pytest.raises(DemonstrationError, match="folds of 400"):
        cross_validate(model, demonstrations, num_folds=401)


def test_many_demonstrators_and_what_a_population_lends_to_those_who_say_little():
    weights = np.random.default_rng(3).normal(size=(12, 3)) * 0.3 + WEIGHTS
    problems = {f"d{i}": one_shot(15, w, seed=i) for i, w in enumerate(weights)}
    models = {name: model for name, (model, _) in problems.items()}
    demonstrations = {name: given for name, (_, given) in problems.items()}
    alone = fit_many(demonstrations, models)
    pooled = fit_many(demonstrations, models, num_rounds=5)

    def error(fits):
        return np.mean(
            [np.abs(fit.weights - w) for fit, w in zip(fits.values(), weights, strict=True)]
        )

    assert error(pooled) < 0.6 * error(alone)
    with pytest.raises(ConfigError, match="no model for"):
        fit_many(demonstrations, {"d0": models["d0"]})
    with pytest.raises(ConfigError, match="nobody"):
        fit_many({}, models)


def test_demonstrations_that_do_not_fit_the_model_are_refused():
    model = walk()
    irl = MaxEntIRL(model)
    for states, actions, lengths, message in (
        ([9], [0], None, "state 9"),
        ([0], [2], None, "action 2 is not among"),
        ([0] * 7, [0] * 7, [7], "horizon is 6"),
        ([0, 3], [1, 1], [2], "never leads from state 0 by action 1 to state 3"),
    ):
        with pytest.raises(DemonstrationError, match=message):
            irl.fit(Demonstrations.from_states(states, actions, lengths))
    with pytest.raises(ConfigError, match="never fitted"):
        irl.reward([0], [0])
    masked = TabularMDP(np.zeros((1, 2, 1)), ("x",), mask=[[True, False]])
    with pytest.raises(DemonstrationError, match="action 1"):
        MaxEntIRL(masked).fit(Demonstrations.from_states([0], [1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": np.zeros((2, 3))}, r"give \[S, A, F\]"),
        ({"features": np.full((2, 2, 1), np.nan)}, "'x' is not finite in state 0, action 0"),
        ({"mask": np.zeros((2, 2))}, "state 0 has no action"),
        ({"mask": np.ones((3, 2))}, "mask has shape"),
        ({"transitions": np.ones((4, 2))}, "sum to at most 1"),
        ({"transitions": np.ones((3, 2))}, "transitions have shape"),
        ({"transitions": np.zeros((4, 2)), "horizon": 0}, "at least 1 step"),
    ],
)
def test_models_are_checked(arguments, message):
    given = {"features": np.zeros((2, 2, 1)), "feature_names": ("x",), **arguments}
    with pytest.raises(ConfigError, match=message):
        TabularMDP(given.pop("features"), given.pop("feature_names"), **given)


def test_settings_are_checked():
    for settings in ({"prior_std": 0}, {"confidence": 1.0}, {"num_resamples": -1}):
        with pytest.raises(ConfigError):
            MaxEntConfig(**settings)


def test_frozen_lake_from_its_own_table():
    import gymnasium as gym

    table = gym.make("FrozenLake-v1", is_slippery=True).unwrapped.P
    model = from_transition_table(table, np.eye(16), [f"s{i}" for i in range(16)], horizon=30)
    assert not model.is_deterministic
    np.testing.assert_allclose(model.transitions.toarray()[0 * 4 + 1].sum(), 1)
    assert model.transitions.toarray()[14 * 4 + 2].sum() == pytest.approx(
        2 / 3
    )  # a third of the time: the goal


def test_a_fit_is_a_report_and_is_found_again(tmp_path, monkeypatch):
    model, demonstrations = one_shot(200)
    irl = MaxEntIRL(model)
    fit = irl.fit(demonstrations, MaxEntConfig(prior_std=2.0), checkpoints=tmp_path)
    assert isinstance(fit, FitReport)
    assert irl.config.prior_std == 2.0
    assert irl.fitted is fit
    assert fit.best_loss == pytest.approx(fit.history[-1]["loss"])
    assert fit.metrics["log_likelihood"] == fit.log_likelihood
    monkeypatch.setattr(maxent, "map_estimate", None)  # it is not asked again
    again = MaxEntIRL(model, MaxEntConfig(prior_std=2.0)).fit(demonstrations, checkpoints=tmp_path)
    np.testing.assert_array_equal(again.weights, fit.weights)
    with pytest.raises(CheckpointError, match="prior_std"):
        MaxEntIRL(model).fit(demonstrations, checkpoints=tmp_path)
