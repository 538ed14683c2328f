"""Timed laps: nobody is faster than the limit, and a lap begins where its seed says."""

import pytest
import torch

from wm_agents.domains.driving.laps import expert_laps, planning_state, policy_laps, timed_env
from wm_agents.domains.driving.rollouts import PathColumn, TruePaths
from wm_envs.driving.expert import Expert, line_of


def test_the_expert_needs_more_than_the_limit_and_repeats_itself():
    times = expert_laps("oval", 2)
    limit = line_of(timed_env("oval").parameters).lap_time
    assert len(times) == 2
    assert all(limit < lap_time < 1.5 * limit for lap_time in times)
    assert expert_laps("oval", 2) == times
    assert expert_laps("oval", 2, start_seed=1) != times


def test_a_policy_that_is_stopped_early_has_no_lap():
    assert policy_laps("oval", 1, start_seed=0, max_decisions=5) == []


@pytest.mark.parametrize("seed", [0, 3])
def test_planning_begins_where_the_environment_stands(seed):
    env = timed_env("oval", is_random_start=True)
    observation, _ = env.reset(seed=seed)
    model = TruePaths(env.parameters, Expert(env.parameters))
    state = planning_state(model, env, observation)
    row = env.clone_state()
    rollout = model.rollout(state, torch.zeros(1, 1, 3, dtype=torch.float64))
    path = rollout.observations[0, 0].numpy()
    assert path[PathColumn.DISTANCE] == row["distance"]
    assert path[PathColumn.OFFSET] == pytest.approx(float(row["offset"]))
