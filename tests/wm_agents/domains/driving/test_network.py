import json

import gymnasium as gym
import numpy as np
import pytest
import torch

import wm_envs  # noqa: F401
from wm_agents.domains.driving.network import (
    MOTION_COLUMNS,
    DrivingModel,
    DrivingModelConfig,
    Force,
    Motion,
    error_intervals,
    expected_end,
    is_off_or_spun,
    member_of,
)
from wm_agents.domains.driving.observations import ENV_OPTIONS, CircuitMap, extend
from wm_agents.domains.driving.recording import record_circuit
from wm_agents.errors import CheckpointError, SpaceError
from wm_agents.world_models import FitConfig
from wm_envs.driving import dynamics
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.expert import Expert


def first_windows(trajectories, horizon, num=20):
    """Observations [K, O] and the actions [K, H, A] that follow them."""
    batch = trajectories.windows(horizon).map(torch.as_tensor)
    return batch.observations[:num, 0], batch.actions[:num]


def test_the_lags_of_the_actuators_are_found(fitted):
    lags = [dynamics.STEER_SHARE, dynamics.THROTTLE_SHARE, dynamics.BRAKE_SHARE]
    np.testing.assert_allclose(fitted.lags.numpy(), lags, atol=1e-4)


def test_a_rigid_body_moves_as_its_accelerations_say(fitted):
    """With the true accelerations and yaw rates the velocities are the true ones."""
    env = DrivingEnv(track="figure_eight", start_speed=30.0, **ENV_OPTIONS)
    before, _ = env.reset(seed=3)
    expert = Expert(env.parameters)
    for _ in range(100):
        action = expert.actions_on(before[None])[0]
        after = env.step(action)[0]
        rows = [torch.as_tensor(row[MOTION_COLUMNS])[None] for row in (before, after)]
        forces = torch.zeros(1, 7)
        forces[:, [Force.AX, Force.AY]] = rows[1][:, [Motion.AX, Motion.AY]]
        change = rows[1] - rows[0]
        forces[:, Force.YAW_CHANGE] = change[:, Motion.YAW_RATE]
        forces[:, Force.HEAT_CHANGE :] = change[:, Motion.HEAT :]
        moved = fitted.advance(rows[0], torch.as_tensor(action)[None], forces)
        np.testing.assert_allclose(moved, rows[1], atol=2e-3)
        before = after


def test_what_is_expected_leaves_out_futures_that_have_ended(fitted, recorded):
    """With one member after 5 steps it is that member's rollout; with two, the mean of both."""
    starts, actions = first_windows(recorded[0], 5)
    ends = [member_of(fitted, k).rollout(starts, actions).observations[:, -1] for k in range(2)]
    assert not torch.stack([is_off_or_spun(end) for end in ends]).any()
    torch.testing.assert_close(expected_end(member_of(fitted, 1), starts, actions), ends[1])
    torch.testing.assert_close(expected_end(fitted, starts, actions), 0.5 * (ends[0] + ends[1]))
    spun = starts.clone()
    spun[:, Column.VELOCITY_Y] = 3.0 * spun[:, Column.VELOCITY_X]
    assert is_off_or_spun(spun).all()
    held = expected_end(member_of(fitted, 0), spun, actions)
    first = member_of(fitted, 0).rollout(spun, actions[:, :1]).observations[:, 1]
    torch.testing.assert_close(held, first)  # it ended with the first step and holds still


def test_a_model_of_an_environment_takes_its_observations_as_they_are():
    env = gym.make("wm/Driving-v0", track="oval", **ENV_OPTIONS)
    model = DrivingModel.for_env(env, DrivingModelConfig(widths=(8, 8)))
    recorded = record_circuit("oval", 2, 30, 0)
    model.fit(recorded, FitConfig(num_updates=3), progress=False)
    observation = recorded.observations[:1]
    state = model.start(torch.as_tensor(observation))
    np.testing.assert_array_equal(state.observations, extend(observation, 0))
    by_id = DrivingModel.for_env("wm/Driving-v0", track="figure_eight", seed=1)
    assert by_id.layout.derived[0].columns == model.layout.derived[0].columns


@pytest.mark.parametrize(
    ("env_id", "options"),
    [("CartPole-v1", {}), ("wm/Driving-v0", {}), ("wm/Driving-v0", {"normalize": False})],
)
def test_other_environments_are_refused(env_id, options):
    with pytest.raises(SpaceError, match=r"wm/Driving-v0"):
        DrivingModel.for_env(gym.make(env_id, **options))


def test_a_file_keeps_weights_intervals_and_the_names_of_the_circuits(fitted, recorded, tmp_path):
    fitted.intervals = error_intervals(fitted, recorded[0], 5)
    fitted.circuit_names = ("oval",)
    path = fitted.save(tmp_path / "car")
    assert path == tmp_path / "car.safetensors"
    circuits = CircuitMap.of(["oval", "figure_eight"])
    loaded = DrivingModel.load(tmp_path / "car", given=circuits, device="cpu")
    np.testing.assert_array_equal(loaded.intervals, fitted.intervals)
    assert loaded.circuit_names == ("oval",)
    starts, actions = first_windows(recorded[0], 5)
    expected = fitted.rollout(starts, actions).observations
    torch.testing.assert_close(loaded.rollout(starts, actions).observations, expected)
    env = gym.make("wm/Driving-v0", track="oval", **ENV_OPTIONS)
    on_oval = DrivingModel.load(path, env, device="cpu")
    torch.testing.assert_close(on_oval.rollout(starts, actions).observations, expected)
    with pytest.raises(CheckpointError, match="map"):
        DrivingModel.load(path)


def test_older_files_hold_intervals_beside_the_model(recorded, tmp_path, tracks):
    model = DrivingModel.for_circuits(CircuitMap.of(tracks), DrivingModelConfig(widths=(8, 8)))
    model.initialize(recorded[0])
    surroundings = {"bands": [[1.0, 2.0], [3.0, 4.0]], "circuits": ["Spa"]}
    path = model.save(tmp_path / "old.safetensors", json.loads(json.dumps(surroundings)))
    loaded = DrivingModel.load(path, given=CircuitMap.of(tracks), device="cpu")
    assert loaded.intervals.tolist() == surroundings["bands"]
    assert loaded.circuit_names == ("Spa",)


@pytest.mark.parametrize("bands", ["none", [[1.0]], [1.0, 2.0]])
def test_intervals_of_another_shape_are_refused(bands, recorded, tmp_path, tracks):
    model = DrivingModel.for_circuits(CircuitMap.of(tracks), DrivingModelConfig(widths=(8, 8)))
    path = model.save(tmp_path / "model.safetensors", {"bands": bands})
    with pytest.raises(CheckpointError, match="intervals"):
        DrivingModel.load(path, given=CircuitMap.of(tracks), device="cpu")
