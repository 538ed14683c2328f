"""Baselines read the driver and the road, and a rule of handing over does what it says."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="a baseline is scikit-learn's classifier")

from benchmarks import crash_baselines
from wm_agents.domains.driving import risk


def test_a_classifier_reads_the_driver_first_and_then_what_the_car_shows():
    drivers = risk.NoisyDrivers("oval", 4, 0)
    drivers.step(np.zeros(4, np.bool_))
    features = crash_baselines.DriverAndRoad().features(drivers, np.zeros((4, 1, 5)))
    width = crash_baselines.NUM_DRIVER_COLUMNS
    assert features.shape == (4, width + drivers.observations.shape[1])
    np.testing.assert_allclose(features[:, 0], risk.NOISES)
    np.testing.assert_allclose(features[:, 1], drivers.paces)
    np.testing.assert_allclose(features[:, 2:width], drivers.noise * drivers.stds)


def test_a_rule_hands_over_those_that_it_names_for_all_of_the_time():
    config = crash_baselines.Config(cars=5, steps=40)
    noisy = crash_baselines.drive(
        config, ["oval"], lambda drivers: (drivers.stds[:, 0] > 0.19).astype(float)
    )
    np.testing.assert_allclose(noisy.handed_over, noisy.noises > 0.19)
    nobody = crash_baselines.drive(config, ["oval"], None)
    assert not nobody.handed_over.any()


def test_settings_are_chosen_on_circuits_that_a_fold_left_out(monkeypatch):
    draws = np.random.default_rng(0)
    inputs = draws.normal(size=(400, 3))
    outcomes = inputs[:, 0] > 0.5
    groups = np.repeat([0, 1], 200)
    few = {"learning_rate": 0.1, "max_leaf_nodes": 4, "min_samples_leaf": 5, "max_iter": 10}
    blunt = {**few, "min_samples_leaf": 190}
    monkeypatch.setattr(crash_baselines, "CHOICES", [blunt, few])
    chosen, trials = crash_baselines.best_settings(inputs, outcomes, groups)
    assert chosen == few
    assert [len(trial["scores"]) for trial in trials] == [2, 2]
    interval = crash_baselines.precision_interval(outcomes * 0.5 + 0.1, outcomes)
    assert interval["average_precision_low"] == pytest.approx(1.0)
