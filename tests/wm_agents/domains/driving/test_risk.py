"""Warnings before a crash: the margins, the yardstick, and how imagination knows a driver."""

import numpy as np
import pytest

from examples import crash_prediction, plan_driving, record_driving
from wm_agents.domains.driving.model import AY, BEND, HEADING, LEFT, VX, VY
from wm_agents.domains.driving.risk import NoisyDrivers, margins, true_paths, urgencies
from wm_agents.errors import ConfigError
from wm_envs.driving import dynamics
from wm_envs.driving.env import DrivingVectorEnv
from wm_envs.driving.track import track_of


def test_margins_and_times_to_the_boundary_by_hand():
    env = DrivingVectorEnv(2, track="oval", random_start=False, **record_driving.OPTIONS)
    seen, _ = env.reset(seed=0)
    seen[:, [VX, VY, HEADING, BEND, AY]] = [20.0, 0.0, 0.0, 0.0, 0.0]
    room = seen[0, LEFT] + dynamics.HALF_WIDTH
    seen[1, VY] = room / 0.48  # nearly half a second to the left edge
    shares = urgencies(seen)
    np.testing.assert_allclose(shares[0], 0.0)
    np.testing.assert_allclose(shares[1], 0.05 / 0.5, rtol=1e-6)  # the first grid time beyond it
    track = track_of(env.parameters)
    paths = np.zeros((2, 1, 8))
    paths[1, 0, 1] = room + 1.0
    distances = margins(paths, np.zeros((2, 1)), track)
    right = seen[0, 35] + dynamics.HALF_WIDTH
    spin = 5.0 * dynamics.MAX_SIDESLIP
    np.testing.assert_allclose(distances[:, 0], [min(room, right, spin), -1.0], atol=1e-5)


def test_a_driver_without_noise_does_what_imagination_in_the_true_rules_expects():
    """One future per car, the pace known.

    After 20 steps the imagined car is where the driven one is.
    """
    drivers = NoisyDrivers("oval", 3, seed=5, noises=(0.0,))
    paths = true_paths(drivers, drivers.futures(20, 1))
    nobody = np.zeros(3, np.bool_)
    for _ in range(20):
        drivers.observations, *_ = drivers.env.step(drivers.act(nobody))
    states = drivers.env.clone_state()
    np.testing.assert_allclose(paths[:, -1, 0], states["driven"], rtol=1e-3)
    np.testing.assert_allclose(paths[:, -1, 1], states["offset"], atol=0.02)


def test_those_who_are_handed_over_lose_their_noise():
    drivers = NoisyDrivers("oval", 2, seed=5, noises=(0.3,))
    drivers.noise[:] = 3.0
    drivers.paces[:] = 0.88
    careful, noisy = drivers.act(np.array([True, False]))
    expected = drivers.expert.actions_on(drivers.observations, np.full(2, 0.88))
    np.testing.assert_allclose(careful, expected[0])
    assert abs(noisy[0] - expected[1, 0]) > 0.3


def test_what_a_shield_costs_is_told_by_noise_and_only_where_cars_rolled():
    noises = np.array(crash_prediction.NOISES)
    free = crash_prediction.Drive(
        departures=np.array([0.0, 0, 0, 2, 6]), driven=np.full(5, 100.0), rolling=np.array([50.0, 50, 50, 50, 0]),
        seconds=np.array([2.0, 2, 2, 2, 0]), handed_over=np.zeros(5), noises=noises,
    )  # fmt: skip
    safe = crash_prediction.Drive(
        departures=np.array([0.0, 0, 0, 0, 2]), driven=np.full(5, 200.0), rolling=np.full(5, 50.0),
        seconds=np.array([2.0, 2.2, 2, 2, 2]), handed_over=np.full(5, 0.5), noises=noises,
    )  # fmt: skip
    figures = crash_prediction.shield_figures([free], [safe])
    assert (figures["departures_without_shield"], figures["departures_with_shield"]) == (8, 2)
    assert figures["departures_removed"] == pytest.approx(1.0 - (2 / 1000) / (8 / 500))
    costs = figures["lap_time_cost_by_noise"]
    assert costs["0.0"] == 0.0
    assert costs["0.05"] == pytest.approx(0.1)
    assert costs["0.3"] is None
    assert figures["share_handed_over_by_noise"]["0.2"] == 0.5


@pytest.mark.parametrize("mistake", [{"threshold": 0.0}, {"hold": 0}, {"cars": 0}, {"steps": 49}])
def test_settings_that_cannot_work_are_refused_before_anything_is_learned(
    mistake, tmp_path, monkeypatch
):
    monkeypatch.setattr(plan_driving, "learn", lambda *_: pytest.fail("minutes were spent"))
    with pytest.raises(ConfigError, match=str(*mistake.values())):
        crash_prediction.main(crash_prediction.Config(output_dir=tmp_path, **mistake))


def test_a_circuit_has_to_be_left_unseen(tmp_path):
    (tmp_path / "a.csv").touch()
    with pytest.raises(ConfigError, match="none unseen"):
        crash_prediction.main(
            crash_prediction.Config(circuits=tmp_path, output_dir=tmp_path / "out")
        )
