import numpy as np
import pytest
import torch

from wm_agents.domains.driving.laps import planning_state
from wm_agents.domains.driving.network import MOTION_COLUMNS, Motion
from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.domains.driving.rollouts import LearnedPaths, PathColumn, TruePaths
from wm_agents.errors import ConfigError
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.expert import Expert


@pytest.fixture
def env():
    env = DrivingEnv(track="oval", random_start=False, start_speed=30.0, **ENV_OPTIONS)
    env.first_observation, _ = env.reset(seed=0)
    return env


@pytest.mark.parametrize("member", [0, 1])
def test_the_compiled_model_is_the_model(fitted, env, member):
    generator = np.random.default_rng(0)
    steering = generator.uniform(-0.1, 0.1, (1, 10, 1))
    pedals = np.full((1, 10, 2), [0.6, 0.3])
    zeros = np.zeros((1, 10, 1))
    disturbances = torch.as_tensor(np.concatenate([steering, zeros, zeros, pedals], axis=2))
    model = LearnedPaths(fitted, env.parameters, None)
    state = planning_state(model, env, env.first_observation)
    paths = model.rollout(state, disturbances, member=member).observations[0]
    actions = torch.as_tensor(np.concatenate([steering, pedals], axis=2), dtype=torch.float32)
    motion = torch.as_tensor(env.first_observation[MOTION_COLUMNS])[None]
    for step in range(10):
        forces = fitted.forces(motion.expand(2, -1, -1), actions[:, step])[member]
        bounded = forces.clamp(fitted.force_low, fitted.force_high)
        motion = fitted.advance(motion, actions[:, step], bounded)
        vx, vy = motion[0, Motion.VX], motion[0, Motion.VY]
        path = paths[step + 1]
        np.testing.assert_allclose(path[PathColumn.SPEED], torch.hypot(vx, vy), rtol=1e-4)
        np.testing.assert_allclose(path[PathColumn.SIDESLIP], torch.atan2(vy, vx), atol=1e-4)


def test_both_models_share_their_geometry(fitted, env):
    """A well-fitted second: the learned path stays near the true one, place and all."""
    policy = Expert(env.parameters)
    nothing = torch.zeros(1, 5, 3, dtype=torch.float64)
    paths = []
    for model in (
        LearnedPaths(fitted, env.parameters, policy),
        TruePaths(env.parameters, policy),
    ):
        state = planning_state(model, env, env.first_observation)
        paths.append(model.rollout(state, nothing).observations)
    learned, true = paths
    torch.testing.assert_close(learned[:, 0], true[:, 0])
    place = slice(PathColumn.DISTANCE, PathColumn.SPEED + 1)
    np.testing.assert_allclose(learned[..., place], true[..., place], atol=0.3)
    np.testing.assert_allclose(
        learned[..., PathColumn.COURSE], true[..., PathColumn.COURSE], atol=0.05
    )


def test_a_path_begins_where_the_observation_says(fitted, env):
    model = LearnedPaths(fitted, env.parameters, None)
    observations = torch.as_tensor(env.first_observation[None])
    for state in (model.start(observations), planning_state(model, env, env.first_observation)):
        rollout = model.rollout(state, torch.zeros(1, 3, 3, dtype=torch.float64))
        start = rollout.observations[0, 0]
        assert start[PathColumn.DISTANCE] == pytest.approx(0.0, abs=1e-3)
        assert start[PathColumn.SPEED] == pytest.approx(30.0)
        assert start[PathColumn.GRIP] == pytest.approx(1.0)
        torch.testing.assert_close(
            rollout.rewards.sum(1), rollout.observations[:, -1, 0] - rollout.observations[:, 0, 0]
        )


def test_the_true_rules_start_from_states(env):
    model = TruePaths(env.parameters, None)
    with pytest.raises(ConfigError, match="hidden_of"):
        model.start(torch.as_tensor(env.first_observation[None]))
