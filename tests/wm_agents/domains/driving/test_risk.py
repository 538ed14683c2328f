"""Warnings before a crash: the margins, the reference, and how imagination knows a driver."""

import numpy as np
import pytest

from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.domains.driving.risk import (
    SHIELD_NOISES,
    NoisyDrivers,
    RiskModel,
    ShieldedDrive,
    Warnings,
    boundary_urgencies,
    collect_warnings,
    drive_shielded,
    margins,
    plot_warnings,
    shield_figures,
    warning_figures,
)
from wm_agents.domains.driving.rollouts import PathColumn
from wm_agents.planning.safety import RiskCalibrator, Shield
from wm_envs.driving import dynamics
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.env import DrivingVectorEnv
from wm_envs.driving.track import track_of


def test_margins_and_times_to_the_boundary_by_hand():
    env = DrivingVectorEnv(2, track="oval", random_start=False, **ENV_OPTIONS)
    obs, _ = env.reset(seed=0)
    obs[:, Column.VELOCITY_X] = 20.0
    for column in (
        Column.VELOCITY_Y,
        Column.HEADING_ERROR,
        Column.CURVATURE_0M,
        Column.ACCELERATION_Y,
    ):
        obs[:, column] = 0.0
    room = obs[0, Column.LEFT_WIDTH] + dynamics.HALF_WIDTH
    obs[1, Column.VELOCITY_Y] = room / 0.48  # nearly half a second to the left edge
    shares = boundary_urgencies(obs)
    np.testing.assert_allclose(shares[0], 0.0)
    np.testing.assert_allclose(shares[1], 0.05 / 0.5, rtol=1e-6)  # the first grid time beyond it
    paths = np.zeros((2, 2, len(PathColumn)))
    paths[1, 1, PathColumn.OFFSET] = room + 1.0
    distances = margins(paths, track_of(env.parameters))
    right = obs[0, Column.RIGHT_WIDTH] + dynamics.HALF_WIDTH
    spin = 5.0 * dynamics.MAX_SIDESLIP
    np.testing.assert_allclose(distances[:, 0], [min(room, right, spin), -1.0], atol=1e-5)


def test_a_driver_without_noise_does_what_imagination_in_the_true_rules_expects():
    """One future per car, the pace known.

    After 20 steps the imagined car is where the driven one is.
    """
    drivers = NoisyDrivers("oval", 3, seed=5, noises=(0.0,))
    paths = RiskModel().paths(drivers, drivers.futures(20, 1))
    for _ in range(20):
        drivers.step(np.zeros(3, np.bool_))
    states = drivers.env.clone_state()
    driven = paths[:, -1, PathColumn.DISTANCE] - paths[:, 0, PathColumn.DISTANCE]
    np.testing.assert_allclose(driven, states["driven"], rtol=1e-3)
    np.testing.assert_allclose(paths[:, -1, PathColumn.OFFSET], states["offset"], atol=0.02)


def test_the_futures_of_a_car_follow_the_members_in_turn(fitted):
    drivers = NoisyDrivers("oval", 2, seed=5, noises=(0.0,))
    paths = RiskModel.of(fitted).paths(drivers, np.repeat(drivers.futures(5, 1), 4, axis=0))
    for car in range(2):
        of_car = paths[4 * car : 4 * car + 4]
        np.testing.assert_array_equal(of_car[0], of_car[2])
        np.testing.assert_array_equal(of_car[1], of_car[3])
        assert (of_car[0] != of_car[1]).any()


def test_those_who_are_handed_over_lose_their_noise():
    drivers = NoisyDrivers("oval", 2, seed=5, noises=(0.3,))
    drivers.noise[:] = 3.0
    drivers.paces[:] = 0.88
    careful, noisy = drivers.act(np.array([True, False]))
    expected = drivers.expert.actions_on(drivers.observations, np.full(2, 0.88))
    np.testing.assert_allclose(careful, expected[0])
    assert abs(noisy[0] - expected[1, 0]) > 0.3


def test_warnings_count_once_their_horizon_has_passed_and_a_shield_takes_over(fitted, tmp_path):
    model = RiskModel.of(fitted)
    settings = {"num_steps": 120, "every": 10, "horizon": 20, "num_samples": 2}
    drivers = NoisyDrivers("oval", 10, seed=0, noises=(0.3, 0.6))
    warnings = collect_warnings(drivers, {"model": model, "oracle": RiskModel()}, **settings)
    num_warnings = len(warnings.outcomes)
    assert 0 < num_warnings <= 11 * 10
    assert set(warnings.features) == {"model", "oracle"}
    assert warnings.features["model"].shape == (num_warnings, 5)
    twice = Warnings.concatenate([warnings, warnings])
    assert (len(twice.outcomes), twice.departures) == (2 * num_warnings, 2 * warnings.departures)
    assert warnings.departures > 0
    calibrator = RiskCalibrator(np.zeros(5), np.ones(5), np.zeros(5), 5.0)  # always warns
    plot_warnings(
        tmp_path,
        calibrator.probability(warnings.features["model"]),
        warnings.urgencies[:, 0],
        warnings.outcomes,
    )
    assert (tmp_path / "crash_prediction.png").stat().st_size > 5000
    shielded = drive_shielded(
        NoisyDrivers("oval", 4, 0, (0.6,)), model, calibrator, Shield(0.5), **settings
    )
    free = drive_shielded(NoisyDrivers("oval", 4, 0, (0.6,)), model, calibrator, None, **settings)
    assert (free.handed_over == 0).all()
    assert (shielded.handed_over > 0.5).all()
    assert shielded.departures.sum() < free.departures.sum()


def test_what_a_shield_costs_is_told_by_noise_and_only_where_cars_rolled():
    noises = np.array(SHIELD_NOISES)
    free = ShieldedDrive(
        departures=np.array([0.0, 0, 0, 2, 6]),
        driven=np.full(5, 100.0),
        rolling=np.array([50.0, 50, 50, 50, 0]),
        seconds=np.array([2.0, 2, 2, 2, 0]),
        handed_over=np.zeros(5),
        noises=noises,
    )
    shielded = ShieldedDrive(
        departures=np.array([0.0, 0, 0, 0, 2]),
        driven=np.full(5, 200.0),
        rolling=np.full(5, 50.0),
        seconds=np.array([2.0, 2.2, 2, 2, 2]),
        handed_over=np.full(5, 0.5),
        noises=noises,
    )
    figures = shield_figures(free, shielded)
    assert (figures["departures_without_shield"], figures["departures_with_shield"]) == (8, 2)
    assert figures["departures_removed"] == pytest.approx(1.0 - (2 / 1000) / (8 / 500))
    costs = figures["lap_time_cost_by_noise"]
    assert costs["0.0"] == 0.0
    assert costs["0.05"] == pytest.approx(0.1)
    assert costs["0.3"] is None
    assert figures["share_handed_over_by_noise"]["0.2"] == 0.5
    assert ShieldedDrive.concatenate([free, shielded]).departures.sum() == 10


def test_warnings_are_judged_by_hand_beside_the_better_time_to_the_boundary():
    outcomes = np.array([True, False, True, False])
    right, wrong = np.array([0.9, 0.1, 0.8, 0.2]), np.array([0.1, 0.9, 0.2, 0.8])
    calibration = Warnings({}, np.stack([wrong, right], 1), outcomes, 2)
    judged = Warnings({}, np.stack([right, wrong], 1), outcomes, 3)
    figures = warning_figures(calibration, judged, {"model": right, "oracle": wrong})
    assert (figures["auroc_1s"], figures["auroc_1s_oracle"]) == (1.0, 0.0)
    # The second column was the better one where it was chosen; here it is the worse one.
    assert figures["auroc_1s_ttb"] == 0.0
    assert figures["ap_1s_ttb"] == figures["ap_1s_ttb_at_constant_acceleration"]
    # Hits at places 3 and 4 of the ranking.
    assert figures["ap_1s_ttb"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert (figures["departures"], figures["warnings"]) == (3, 4)
    assert figures["share_followed_by_a_departure"] == 0.5
