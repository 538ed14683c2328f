"""The rules of the car against numbers worked out by hand or by another formula."""

import math

import numpy as np
import pytest

from tests.support.circuits import circuit, needs_circuits
from wm_envs.driving import dynamics
from wm_envs.driving.env import DrivingEnv, DrivingVectorEnv
from wm_envs.driving.expert import Expert
from wm_envs.kernel import empty_rows

G, M = 9.81, 800.0


def car(speed=50.0, **options):
    env = DrivingEnv(random_start=False, start_speed=speed, normalize=False, **options)
    env.reset(seed=0)
    return env


def change(env, **values):
    state = env.clone_state()
    for name, value in values.items():
        state[name] = value
    env.restore_state(state)
    return env


def drive(env, action, num_steps):
    for _ in range(num_steps):
        observation, reward, terminated, truncated, info = env.step(np.array(action, np.float32))
        if terminated or truncated:
            break
    return observation, reward, terminated, truncated, info


@pytest.mark.parametrize(("off", "share"), [(10, 0.98), (-10, 0.98), (40, 0.726), (-40, 0.726)])
def test_grip_falls_away_from_the_best_temperature(off, share):
    assert dynamics.grip(90.0, 1.0, 1.0) == 1.5
    assert dynamics.grip(90.0 + off, 1.0, 1.0) / 1.5 == pytest.approx(share, abs=1e-3)
    assert dynamics.grip(90.0, 0.0, 0.5) == pytest.approx(1.5 * 0.7 * 0.5)


def test_the_tyre_curve_is_the_formula_by_half_angles():
    x = np.linspace(-40, 40, 401)
    values = [dynamics.sine_of_scaled_arctangent(float(v)) for v in x]
    np.testing.assert_allclose(values, np.sin(1.5 * np.arctan(x)), atol=1e-12)


def test_the_friction_ellipse():
    assert dynamics.lateral_force(1000.0, 0.6, 0.108) == pytest.approx(
        800 * math.sin(1.5 * math.atan(16 * 0.108))
    )
    assert dynamics.use_of_grip(5000.0, 1000.0) == 0.97
    assert dynamics.use_of_grip(-5000.0, 1000.0) == -0.97


def test_actuators_lag_behind_the_command():
    observation = drive(car(), [1, 1, 0], 3)[0]
    assert observation[9] == pytest.approx(1 - math.exp(-0.06 / 0.06), abs=1e-6)
    assert observation[10] == pytest.approx(1 - math.exp(-0.06 / 0.08), abs=1e-6)
    observation = drive(car(), [0, 0, 1], 1)[0]
    assert observation[11] == pytest.approx(1 - math.exp(-0.02 / 0.05), abs=1e-6)


def test_full_throttle_gives_the_power_less_the_drag():
    env = change(car(70.0), throttle=1.0)
    acceleration = drive(env, [0, 1, 0], 1)[0][3]
    expected = (700_000 / 70 - 0.5 * 1.225 * 1.5 * 4900) / M
    assert acceleration == pytest.approx(expected, rel=5e-3)
    assert env.clone_state()["vx"] == pytest.approx(70 + 0.02 * acceleration, rel=1e-6)


def test_coasting_is_drag():
    after = drive(car(80.0), [0, 0, 0], 1)[0][0]
    assert (80 - after) / 0.02 == pytest.approx(0.91875 * 6400 / M, rel=3e-3)


def test_full_brakes_give_what_the_axles_hold():
    """At 30 m/s the front axle is the first at its grip.

    0.97 of it, the rear takes 34 % of 25 kN.
    """
    env = change(car(30.0), brake=1.0)
    after = drive(env, [0, 0, 1], 1)[0][0]
    downforce = 3.2156 * 900
    front = 0.97 * 1.5 * (M * G * 2.0 / 3.6 + 0.46 * downforce)
    rear = min(0.97 * 1.5 * (M * G * 1.6 / 3.6 + 0.54 * downforce), 0.34 * 25_000)
    expected = (min(front, 0.66 * 25_000) + rear + 0.91875 * 900) / M
    assert (30 - after) / 0.02 == pytest.approx(expected, rel=0.02)


def test_a_slow_car_follows_its_front_wheels():
    env = change(car(2.5), steering=0.5)
    observation = drive(env, [0.5, 0.01, 0], 50)[0]
    angle = 0.35 * 0.5
    assert observation[8] == pytest.approx(observation[0] * math.tan(angle) / 3.6, rel=0.02)
    assert observation[1] == pytest.approx(2.0 * observation[8], rel=0.02)


def test_a_gentle_bend_is_the_steady_state_of_the_single_track_model():
    """At small slip the lateral force is 24 alpha z mu: the car turns as the linear model says."""
    env = car(40.0)
    steering = 0.02
    for _ in range(150):
        state = env.clone_state()
        state["offset"] = state["heading_error"] = 0.0
        state["vx"] = 40.0
        env.restore_state(state)
        observation = env.step(np.array([steering, 0.08, 0], np.float32))[0]
    stiffness = [
        24 * 1.5 * (M * G * lever / 3.6 + share * 3.2156 * 1600)
        for lever, share in ((2.0, 0.46), (1.6, 0.54))
    ]
    gradient = M / 3.6 * (2.0 / stiffness[0] - 1.6 / stiffness[1])
    expected = 40.0 * 0.35 * steering / (3.6 + gradient * 1600)
    assert observation[8] == pytest.approx(expected, rel=0.02)
    assert observation[4] == pytest.approx(40 * expected, rel=0.02)


def test_the_position_moves_with_the_velocity():
    env = change(car(30.0), vy=1.0, heading_error=0.1, offset=2.0)
    before = env.clone_state()
    env.step(np.zeros(3, np.float32))
    after = env.clone_state()
    curvature = env.parameters["curvature"][0, 0]
    assert abs(curvature) < 0.02
    forward = 30 * math.cos(0.1) - math.sin(0.1)
    assert after["distance"] - before["distance"] == pytest.approx(
        0.02 * forward / (1 - 2 * curvature), rel=0.01
    )
    assert after["offset"] - before["offset"] == pytest.approx(
        0.02 * (30 * math.sin(0.1) + math.cos(0.1)), rel=0.2
    )


def test_loads_move_to_the_outer_wheels_and_heat_them():
    env = change(car(40.0), steering=0.3, ay=20.0)
    for _ in range(100):
        change(env, vx=40.0, offset=0.0, heading_error=0.0)
        observation = env.step(np.array([0.3, 0.3, 0], np.float32))[0]
    temperatures, wear = observation[12:16], observation[16:20]
    assert temperatures[1] > temperatures[0] + 1
    assert temperatures[3] > temperatures[2] + 1
    assert wear[1] < wear[0] < 1
    assert observation[20] < 1


def test_a_tyre_at_rest_cools_to_the_air():
    env = car(0.0)
    before = env.clone_state()["temperature_fl"]
    env.step(np.zeros(3, np.float32))
    expected = 20 * (before - 25) / 9000 * 0.02
    assert before - env.clone_state()["temperature_fl"] == pytest.approx(expected, rel=1e-3)


def test_fuel_burns_as_the_revolutions_say():
    env = change(car(50.0), throttle=1.0)
    env.step(np.array([0, 1, 0], np.float32))
    speed = env.clone_state()["vx"]
    assert 1 - env.clone_state()["fuel"] == pytest.approx(
        0.02 * 1e-4 * (3000 + 130 * speed) / 15_000, rel=1e-6
    )


def test_an_empty_tank_drives_no_more():
    env = change(car(50.0), throttle=1.0, fuel=0.0)
    assert drive(env, [0, 1, 0], 1)[0][0] < 50


def test_less_grip_brakes_later():
    speeds = [
        drive(change(car(30.0, grip_scale=scale), brake=1.0), [0, 0, 1], 10)[0][0]
        for scale in (1.0, 0.5)
    ]
    assert speeds[1] > speeds[0] + 1.5


# Rewards and ends


def test_leaving_the_road_ends_the_episode():
    env = change(car(30.0), offset=6.0 + 0.79, heading_error=0.0)
    _, _, terminated, _, info = env.step(np.zeros(3, np.float32))
    assert not terminated
    env = change(car(30.0), offset=6.0 + 0.79, heading_error=0.03)
    _, reward, terminated, truncated, info = env.step(np.zeros(3, np.float32))
    assert (terminated, truncated, info["cause"]) == (True, False, dynamics.LEFT_ROAD)
    assert info["reward_components"]["off_track"] == 1
    assert info["reward_components"]["collision"] == 0
    assert -11 < reward < -9


def test_hitting_the_barrier_costs_ten_times_more():
    env = change(car(30.0), offset=-6.0, heading_error=-0.2)
    _, reward, terminated, _, info = drive(env, [0, 0, 0], 20)
    assert terminated
    assert info["reward_components"]["collision"] == 1
    assert -111 < reward < -109


@pytest.mark.parametrize("values", [{"heading_error": 1.6}, {"vx": 10.0, "vy": 20.0}])
def test_a_spin_ends_the_episode(values):
    _, _, terminated, _, info = change(car(20.0), **values).step(np.zeros(3, np.float32))
    assert (terminated, info["cause"]) == (True, dynamics.SPUN)


def test_two_seconds_of_standstill_end_the_episode():
    env = car(0.0)
    results = [env.step(np.zeros(3, np.float32)) for _ in range(100)]
    assert [result[2] for result in results] == [False] * 99 + [True]
    assert results[-1][4]["cause"] == dynamics.STOOD_STILL
    assert results[0][4]["reward_components"]["standstill"] == 1


def test_the_time_limit_truncates():
    env = car(20.0, time_limit=3)
    assert [env.step(np.zeros(3, np.float32))[2:4] for _ in range(3)] == [(False, False)] * 2 + [
        (False, True)
    ]


def test_a_lap_is_timed_to_a_fraction_of_a_step():
    """The last 10 m at about 40 m/s, the lap started 8 s before the present step."""
    env = car(40.0, laps=1)
    length = float(env.parameters["length"][0])
    change(env, distance=length - 10.0, driven=length - 10.0, time=400)
    for _ in range(12):
        _, _, terminated, truncated, info = env.step(np.array([0, 0.1, 0], np.float32))
    assert not truncated
    assert info["lap_time"] == 0
    _, _, terminated, truncated, info = env.step(np.array([0, 0.1, 0], np.float32))
    assert (terminated, truncated, info["laps"], info["is_success"]) == (False, True, 1, True)
    assert info["lap_time"] == pytest.approx(8.0 + 10 / 39.9, abs=0.003)
    assert env.clone_state()["distance"] < 1.0


def test_rewards_by_hand():
    env = change(car(50.0), offset=3.0, heading_error=0.1)
    env.step(np.zeros(3, np.float32))
    before = env.clone_state()
    _, reward, _, _, info = env.step(np.array([0.2, 0.5, 0.1], np.float32))
    after, parts = env.clone_state(), info["reward_components"]
    length = float(env.parameters["length"][0])
    assert parts["progress"] == pytest.approx((after["driven"] - before["driven"]) / length)
    assert parts["alive"] == 1
    assert parts["speed"] == pytest.approx(after["vx"] / 100)
    assert parts["centering"] == pytest.approx((after["offset"] / 6) ** 2)
    assert parts["heading"] == pytest.approx((after["heading_error"] / math.pi) ** 2)
    assert parts["slip"] == pytest.approx((after["vy"] / math.hypot(after["vx"], after["vy"])) ** 2)
    assert parts["smoothness"] == pytest.approx(0.04 + 0.25 + 0.01, rel=1e-6)
    assert parts["fuel"] == pytest.approx(100 * (after["fuel"] - before["fuel"]))
    assert parts["tyre"] < 0
    weights = dict(zip(dynamics.REWARD_COMPONENTS, dynamics.REWARD_WEIGHTS, strict=True))
    assert reward == pytest.approx(sum(weights[name] * value for name, value in parts.items()))


def test_only_the_dense_reward_is_clipped():
    env = change(car(30.0, reward_weights={"alive": 50.0}), offset=6.79, heading_error=0.03)
    assert car(30.0, reward_weights={"alive": 50.0}).step(np.zeros(3, np.float32))[1] == 10.0
    assert env.step(np.zeros(3, np.float32))[1] == 0.0


def test_backwards_across_the_line_and_forwards_again():
    env = change(car(20.0), distance=0.1, heading_error=math.pi / 2 - 0.01, vy=-0.5)
    for _ in range(3):
        state = env.clone_state()
        state["heading_error"], state["vx"], state["vy"] = 0.0, -2.9, 0.0
        env.restore_state(state)
        assert not env.step(np.zeros(3, np.float32))[2]
        assert 0 <= env.clone_state()["distance"] < float(env.parameters["length"][0])
    assert env.clone_state()["distance"] > 1000


@needs_circuits
def test_the_car_survives_where_the_coordinates_fold():
    """Spa's road is wider inside its hairpin than the bend's radius."""
    env = DrivingEnv(track=circuit("Spa"), normalize=False, random_start=False, start_speed=20.0)
    env.reset(seed=0)
    tightest = int(np.abs(env.parameters["curvature"][0]).argmax())
    spacing = 1 / float(env.parameters["inverse_spacing"][0])
    inside = np.sign(env.parameters["curvature"][0, tightest]) * 6.5
    change(env, distance=tightest * spacing, offset=inside)
    observation = env.step(np.zeros(3, np.float32))[0]
    assert np.isfinite(observation).all()
    assert abs(observation[21] * float(env.parameters["length"][0]) - tightest * spacing) < 6.0


@needs_circuits
def test_two_substeps_are_as_good_as_sixty_four():
    """Over expert driving the median error of a step is below 1e-6 m/s."""
    env = DrivingVectorEnv(64, track=circuit("Spielberg"), normalize=False)
    env.reset(seed=1)
    fine = DrivingEnv.rules(track=circuit("Spielberg"), normalize=False, num_substeps=64)
    expert, errors = Expert(env.parameters), []
    rows, outcomes = empty_rows(64, fine.state_dtype), empty_rows(64, fine.outcome_dtype)
    observations = np.zeros((64, 34), np.float32)
    for _ in range(250):
        rows[:] = env.clone_state()
        actions = expert.actions(env.clone_state())
        fine.step_rows(
            rows, fine.parameters, actions.astype(np.float64), observations, outcomes, False
        )
        assert not env.step(actions)[2].any()
        after = env.clone_state()
        errors.append(
            np.maximum(np.abs(after["vx"] - rows["vx"]), np.abs(after["vy"] - rows["vy"]))
        )
    assert np.median(errors) < 1e-6
    assert np.max(errors) < 1e-2
