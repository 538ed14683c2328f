from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from scipy.optimize import lsq_linear
from scipy.sparse import csc_matrix

from tests.support.circuits import NAMES, circuit, needs_circuits
from wm_envs.driving.columns import observation_fields
from wm_envs.driving.env import DrivingEnv, DrivingVectorEnv, MendedDrivingVectorEnv
from wm_envs.driving.expert import Expert, line_of
from wm_envs.driving.raceline import (
    MARGIN,
    MAX_FOLD,
    TOLERANCE,
    acceleration_limit,
    box_quadratic,
    braking_limit,
    cornering_speed,
    racing_line,
    speed_profile,
)
from wm_envs.driving.track import from_points, make_track
from wm_envs.errors import OptionError

M, G = 800.0, 9.81


def ring(radius=100.0, half_width=6.0):
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    points = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return from_points("ring", points, np.full(200, half_width), np.full(200, half_width))


def test_the_box_programme_is_solved():
    generator = np.random.default_rng(1)
    matrix, target = generator.normal(size=(40, 20)), generator.normal(size=40) * 3
    low, high = -generator.uniform(0.1, 0.4, 20), generator.uniform(0.1, 0.4, 20)
    hessian = csc_matrix(matrix.T @ matrix)
    found = box_quadratic(hessian, -matrix.T @ target, low, high, np.zeros(20))
    np.testing.assert_allclose(
        found, lsq_linear(matrix, target, (low, high), tol=1e-12).x, atol=1e-4
    )


def test_the_line_of_a_ring_runs_along_the_outer_edge():
    line = racing_line(ring())
    np.testing.assert_allclose(line.offset, -5.0, atol=0.02)  # the margin is 1 m
    np.testing.assert_allclose(line.curvature, 1 / 105, rtol=5e-3)
    assert abs(line.length - 2 * np.pi * 105) < 0.1


def test_a_higher_exponent_opens_the_sharpest_bend():
    track = make_track("figure_eight")
    sharpest = [np.abs(racing_line(track, exponent=p).curvature).max() for p in (2.0, 3.0)]
    assert sharpest[1] < sharpest[0]
    with pytest.raises(OptionError, match="exponent=1"):
        racing_line(track, exponent=1.0)


def out_of_bounds(track, line):
    """How far the line is beyond its margin, m, and beyond the fold, at every quarter of a metre."""
    distance = np.arange(0.0, track.length, 0.25)
    offset = track.at(line.offset, distance)
    edge = max(
        (offset - track.at(track.left, distance)).max(),
        (-offset - track.at(track.right, distance)).max(),
    )
    return edge + MARGIN, (offset * track.at(track.curvature, distance)).max() - MAX_FOLD


@pytest.mark.parametrize("seed", [0, 2])
def test_a_mended_line_keeps_its_margins_between_the_knots(seed):
    track = make_track("random", seed)
    before = out_of_bounds(track, racing_line(track))
    beyond_margin, beyond_fold = out_of_bounds(track, racing_line(track, is_mended=True))
    assert beyond_margin < 2 * TOLERANCE < 0.01 < before[0]
    assert beyond_fold < 0.0


def test_a_mended_line_leaves_a_centre_line_at_the_edge_of_the_road():
    """A road that is 0.4 m wide to the right keeps its margin there by a line to the left."""
    road = ring(half_width=6.0)
    narrow = replace(road, right=np.full_like(road.right, 0.4))
    line = racing_line(narrow, is_mended=True)
    assert line.offset.min() > MARGIN - 0.4 - TOLERANCE
    assert racing_line(narrow).offset.min() < 0.0


@needs_circuits
@pytest.mark.parametrize("name", ["Austin", "Melbourne"])
def test_mended_lines_of_real_circuits_do_not_come_near_the_fold(name):
    track = make_track(circuit(name))
    assert out_of_bounds(track, racing_line(track))[1] > 0.0
    beyond_margin, beyond_fold = out_of_bounds(track, racing_line(track, is_mended=True))
    assert beyond_margin < 0.01
    assert beyond_fold < 0.0


def test_a_narrower_road_on_the_same_centre_line_has_a_line_of_its_own():
    lines = [
        line_of(DrivingEnv(track=ring(half_width=half_width)).parameters)
        for half_width in (6.0, 3.0)
    ]
    assert [abs(line.offset).max() for line in lines] == pytest.approx([5.0, 2.0], abs=0.02)


def test_the_limit_on_a_ring_is_the_first_axle_at_its_grip():
    """The front.

    M v^2 k lr / L = mu (m g lr / L + cf v^2), but for the drive that holds the speed against drag.
    """
    line = racing_line(ring())
    front, rear = (
        (M / 105 * s - 1.5 * c * 3.2156, 1.5 * M * G * s)
        for s, c in ((2 / 3.6, 0.46), (1.6 / 3.6, 0.54))
    )
    expected = np.sqrt(min(front[1] / front[0], rear[1] / rear[0]))
    np.testing.assert_allclose(line.speed, expected, rtol=0.01)
    assert line.lap_time == pytest.approx(line.length / expected, rel=0.01)


def test_longitudinal_limits_on_a_straight():
    assert acceleration_limit(60.0, 0.0, 1.5) == pytest.approx((700_000 / 60 - 0.91875 * 3600) / M)
    # At 10 m/s the rear axle: F = mu (m g lf / L + cr v^2 + m a h / L) 0.97, a = (F - drag) / m.
    static, transfer = (
        1.5 * 0.97 * (M * G * 1.6 / 3.6 + 0.54 * 3.2156 * 100),
        1.5 * 0.97 * M * 0.3 / 3.6,
    )
    expected = (static - 0.91875 * 100) / (M - transfer)
    assert acceleration_limit(10.0, 0.0, 1.5) == pytest.approx(expected, rel=1e-3)
    assert braking_limit(80.0, 0.0, 1.5) == pytest.approx((25_000 + 0.91875 * 6400) / M, rel=2e-2)


def test_cornering_leaves_less_for_the_pedals():
    curvature = 0.02
    speed = float(cornering_speed(np.array([curvature]), 1.5)[0])
    assert braking_limit(0.99 * speed, curvature, 1.5) < 0.4 * braking_limit(0.99 * speed, 0.0, 1.5)
    assert acceleration_limit(0.99 * speed, curvature, 1.5) < acceleration_limit(
        0.99 * speed, 0.0, 1.5
    )


def test_a_profile_obeys_both_limits():
    line = racing_line(make_track("random", 3))
    steps = np.diff(line.place, append=line.length)
    speed = speed_profile(line.curvature, steps, 1.5)
    after, curvature = np.roll(speed, -1), np.abs(line.curvature)
    rate = (after**2 - speed**2) / (2 * steps)
    assert (speed <= cornering_speed(curvature, 1.5) + 1e-9).all()
    assert all(
        rate[i] <= acceleration_limit(speed[i], curvature[i], 1.5) + 1e-6 for i in range(len(speed))
    )
    assert all(
        -rate[i] <= braking_limit(after[i], curvature[i], 1.5) + 1e-6 for i in range(len(speed))
    )
    assert speed_profile(line.curvature, steps, 1.2).mean() < 0.95 * speed.mean()


def test_less_grip_is_slower():
    track = make_track("oval")
    assert racing_line(track, grip_scale=0.6).lap_time > 1.1 * racing_line(track).lap_time


def lap_times(track, num_laps=2, seed=0, **options):
    env = DrivingVectorEnv(
        1, track=track, laps=num_laps, random_start=False, time_limit=20_000, **options
    )
    env.reset(seed=seed)
    times, is_over = [], False
    while not is_over:
        _, _, terminated, truncated, info = env.step(env.expert_actions())
        if info["lap_time"][0] > 0:
            times.append(float(info["lap_time"][0]))
        is_over = bool(terminated[0] or truncated[0])
    return times, bool(terminated[0]), line_of(env.parameters).lap_time


@pytest.mark.parametrize("track", ["oval", "figure_eight"])
def test_the_expert_laps_the_built_in_circuits(track):
    times, has_failed, limit = lap_times(track)
    assert not has_failed
    assert 1.0 < times[1] / limit < 1.11


def test_the_expert_drives_in_the_rain():
    times, has_failed, limit = lap_times("oval", grip_scale=0.6)
    assert not has_failed
    assert 1.0 < times[1] / limit < 1.15


def test_the_expert_starts_anywhere():
    env = DrivingVectorEnv(64, track="random", track_seed=5)
    env.reset(seed=2)
    ends = np.zeros(64, bool)
    for _ in range(1500):
        ends |= env.step(env.expert_actions())[2]
    assert not ends.any()


@needs_circuits
def test_the_mended_expert_saves_every_start_of_the_circuit_that_loses_most():
    lost = {}
    for env_class in (DrivingVectorEnv, MendedDrivingVectorEnv):
        env = env_class(400, track=circuit("Norisring"))
        env.reset(seed=0)
        has_ended = np.zeros(400, bool)
        for _ in range(300):
            has_ended |= env.step(env.expert_actions())[2]
        lost[env_class] = int(has_ended.sum())
    assert lost == {DrivingVectorEnv: 11, MendedDrivingVectorEnv: 0}


def test_both_versions_are_the_same_car():
    """The id of the mended expert changes nothing that is observed."""
    first, second = (gym.make_vec(f"wm/Driving-v{version}", num_envs=2) for version in (0, 1))
    assert isinstance(second, MendedDrivingVectorEnv)
    action = np.tile(np.array([0.1, 0.5, 0.0], np.float32), (2, 1))
    for env in (first, second):
        env.reset(seed=3)
    np.testing.assert_array_equal(first.step(action)[0], second.step(action)[0])
    assert not np.array_equal(first.expert_actions(), second.expert_actions())


@needs_circuits
def test_the_expert_laps_real_circuits_near_the_limit():
    """Three of the fifteen; all of them are in benchmarks/driving_expert.py."""
    for name in ("Norisring", "Spielberg", "IMS"):
        times, has_failed, limit = lap_times(circuit(name))
        assert not has_failed
        assert 1.0 < times[1] / limit < 1.09


@needs_circuits
def test_ims_is_flat_out():
    line = racing_line(make_track(circuit("IMS")))
    assert line.speed.min() > 90.0


def test_observations_are_enough_for_the_expert():
    env = DrivingVectorEnv(16, normalize=False)
    env.reset(seed=0)
    expert = Expert(env.parameters)
    for _ in range(50):
        actions = expert.actions(env.clone_state())
        observations = env.step(actions)[0]
    from_states, from_observations = (
        expert.actions(env.clone_state()),
        expert.actions_on(observations),
    )
    np.testing.assert_allclose(from_states, from_observations, atol=0.02)
    assert observations.shape[1] == len(observation_fields())
    assert len(NAMES) in (0, 15)
