"""The racer stays on the road faster than the expert, and its line bends less where it is worst."""

import numpy as np
import pytest
import torch

from wm_agents.domains.driving.laps import planning_state
from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.domains.driving.racer import LINE_MARGIN, Racer, left_of, racer_line
from wm_agents.domains.driving.rollouts import PATH_ACTION, TruePaths
from wm_agents.errors import ConfigError
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.expert import Expert, line_of
from wm_envs.driving.track import track_of


def started(track="oval"):
    env = DrivingEnv(
        track=track, random_start=False, start_speed=40.0, time_limit=3000, **ENV_OPTIONS
    )
    observation, _ = env.reset(seed=0)
    return env, observation


def test_what_pedals_leave_is_on_the_friction_ellipse():
    assert left_of(0.0, 100.0) == 100.0
    assert left_of(60.0, 100.0) == pytest.approx(80.0)
    assert left_of(-60.0, 100.0) == pytest.approx(80.0)
    assert left_of(500.0, 100.0) == pytest.approx(100.0 * np.sqrt(1 - 0.97**2))


def test_the_line_opens_the_sharpest_bend_within_its_margins():
    env, _ = started("figure_eight")
    ours, theirs = racer_line(env.parameters), line_of(env.parameters)
    assert np.abs(ours.curvature).max() < np.abs(theirs.curvature).max()
    track = track_of(env.parameters)
    assert (ours.offset < track.left - LINE_MARGIN + 0.1).all()
    assert (ours.offset > -track.right + LINE_MARGIN - 0.1).all()


def test_a_lap_of_the_racer_is_clean_and_faster_than_the_bare_policy():
    times = []
    for kind in (Racer, Expert):
        env, observation = started()
        policy = kind(env.parameters, 0.9)
        lap_time = 0.0
        while lap_time == 0.0:
            observation, _, terminated, _, info = env.step(policy.actions_on(observation[None])[0])
            assert not terminated
            lap_time = info["lap_time"]
        times.append(lap_time)
    assert times[0] < times[1]


def test_both_ways_to_ask_the_racer_agree():
    env, observation = started()
    policy = Racer(env.parameters)
    model = TruePaths(env.parameters, Expert(env.parameters), policy)
    for _ in range(50):
        action = policy.actions_on(observation[None])[0]
        observation = env.step(action)[0]
    state = planning_state(model, env, observation)
    nothing = torch.zeros(2, 1, 3, dtype=torch.float64)
    paths = model.rollout(state, nothing, policies=np.array([1, 0])).observations
    np.testing.assert_allclose(
        paths[0, 1, PATH_ACTION], policy.actions_on(observation[None])[0], atol=1e-4
    )
    assert (paths[0, 1, PATH_ACTION] != paths[1, 1, PATH_ACTION]).any()
    with pytest.raises(ConfigError, match="give one of 0 to 1"):
        model.rollout(state, nothing, policies=np.array([0, 2]))
