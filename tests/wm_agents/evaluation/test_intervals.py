import numpy as np
import pytest
from scipy import stats

from wm_agents.errors import ConfigError
from wm_agents.evaluation.intervals import (
    Interval,
    interquartile_mean,
    stratified_bootstrap,
    stratified_bootstrap_band,
    wilson_interval,
)


def test_interquartile_mean_by_hand():
    # Eight values: two are cut from each end, the mean of 3, 4, 5, 6 stays.
    assert interquartile_mean([100.0, 2, 3, 4, 5, 6, 7, -50]) == 4.5
    # Three values: a quarter rounds down to none.
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3.0


@pytest.mark.parametrize("num", [1, 2, 4, 7, 10, 33])
def test_interquartile_mean_equals_scipy_trimmed_mean(num):
    values = np.random.default_rng(num).normal(size=(3, num))
    np.testing.assert_allclose(
        interquartile_mean(values, axis=1), stats.trim_mean(values, 0.25, axis=1)
    )
    np.testing.assert_allclose(interquartile_mean(values), stats.trim_mean(values, 0.25, axis=None))
    np.testing.assert_allclose(interquartile_mean(values, axis=(0, 1)), interquartile_mean(values))


def test_interquartile_mean_over_middle_axes():
    values = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    by_hand = [
        [stats.trim_mean(values[i, :, :, k], 0.25, axis=None) for k in range(4)] for i in range(2)
    ]
    np.testing.assert_allclose(interquartile_mean(values, axis=(1, 2)), by_hand)


def test_bootstrap_of_one_task_agrees_with_scipy():
    values = np.random.default_rng(1).normal(size=30)
    ours = stratified_bootstrap(values, np.mean, num_resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(5)
    )
    assert ours.estimate == pytest.approx(values.mean())
    spread = values.std() / np.sqrt(30)
    assert abs(ours.low - theirs.confidence_interval.low) < 0.08 * spread
    assert abs(ours.high - theirs.confidence_interval.high) < 0.08 * spread


def test_bootstrap_is_stratified():
    # Within a task all runs agree, so that resampling within tasks cannot change the mean; mixing
    # tasks would.
    interval = stratified_bootstrap(
        [[0.0, 0.0, 0.0], [10.0, 10.0, 10.0]], np.mean, num_resamples=500
    )
    assert (interval.estimate, interval.low, interval.high) == (5.0, 5.0, 5.0)


def test_bootstrap_of_two_tasks_has_the_exact_distribution():
    # Two tasks of two runs: the mean is 0, 1/4, ... 1 with probabilities (1, 4, 6, 4, 1)/16.
    scores = [[0.0, 1.0], [0.0, 1.0]]
    assert (
        stratified_bootstrap(scores, np.mean, confidence=0.8).low == 0.25
    )  # the 10% point lies inside 1/16..5/16
    assert (
        stratified_bootstrap(scores, np.mean, confidence=0.96).low == 0.0
    )  # the 2% point lies below 1/16


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(300):
        interval = stratified_bootstrap(
            generator.normal(size=30), np.mean, num_resamples=500, seed=trial
        )
        covered += interval.low <= 0 <= interval.high
    assert 0.89 <= covered / 300 <= 0.98


def test_bootstrap_depends_on_its_seed_alone():
    values = np.random.default_rng(3).normal(size=(2, 10))
    assert stratified_bootstrap(values, seed=4) == stratified_bootstrap(values, seed=4)
    assert stratified_bootstrap(values, seed=4) != stratified_bootstrap(values, seed=5)


def test_resampling_in_pieces_gives_as_many_draws(monkeypatch):
    values = np.random.default_rng(3).normal(size=(2, 10))
    whole = stratified_bootstrap(values, num_resamples=101)
    monkeypatch.setattr("wm_agents.evaluation.intervals._MAX_RESAMPLED_NUMBERS", 300)
    assert stratified_bootstrap(values, num_resamples=101) == whole


def test_band_equals_the_interval_at_each_point():
    curves = np.random.default_rng(6).normal(size=(10, 3))
    estimate, low, high = stratified_bootstrap_band(curves, num_resamples=1000, seed=7)
    for k in range(3):
        point = stratified_bootstrap(curves[:, k], num_resamples=1000, seed=7)
        assert (estimate[k], low[k], high[k]) == pytest.approx(
            (point.estimate, point.low, point.high)
        )


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 17), (487, 500), (1, 1)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_equals_scipy(successes, trials, confidence):
    ours = wilson_interval(successes, trials, confidence)
    theirs = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= ours.estimate <= ours.high <= 1


def test_interval_prints_and_flattens():
    interval = Interval(0.97, 0.95, 0.99)
    assert str(interval) == "0.97 [0.95, 0.99]"
    assert interval.flatten("iqm") == {"iqm": 0.97, "iqm_low": 0.95, "iqm_high": 0.99}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interquartile_mean([]), "empty"),
        (lambda: interquartile_mean([1.0, np.nan]), r"values\[1\] is not finite"),
        (lambda: stratified_bootstrap([1.0]), "at least 2 runs"),
        (lambda: stratified_bootstrap([1.0, 2.0], confidence=95), "confidence=95"),
        (lambda: stratified_bootstrap([1.0, 2.0], num_resamples=0), "num_resamples=0"),
        (lambda: stratified_bootstrap(np.ones((2, 2, 2))), "shape"),
        (lambda: stratified_bootstrap_band(np.ones((1, 5))), "shape"),
        (lambda: wilson_interval(3, 2), "successes=3 of trials=2"),
        (lambda: wilson_interval(0, 0), "trials=0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
