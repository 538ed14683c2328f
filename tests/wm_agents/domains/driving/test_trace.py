import json

import numpy as np
import torch

from wm_agents.domains.driving.laps import planning_state
from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.domains.driving.planner import DrivingPlannerConfig, planner_for
from wm_agents.domains.driving.racer import racer_line
from wm_agents.domains.driving.trace import DecisionTrace, LapFilm
from wm_envs.driving.env import DrivingEnv


def test_a_trace_is_json_and_a_page_and_a_film(fitted, tmp_path):
    env = DrivingEnv(track="oval", random_start=False, **ENV_OPTIONS)
    observation, _ = env.reset(seed=0)
    planner = planner_for(env.parameters, fitted, seed=0)
    line = racer_line(env.parameters)
    trace = DecisionTrace(2, np.ones((50, 2)), env.parameters, line)
    film = LapFilm(env.parameters, 2, line)
    for step in range(4):
        plan = planner.plan(planning_state(planner.model, env, observation), torch.Generator())
        trace.add(step, observation, plan, None)
        film.add(step, observation, plan, env.clone_state())
        observation = env.step(plan.actions[0, 0].numpy())[0]
    trace.write(tmp_path, "a test")
    film.write(tmp_path)
    film.write_plot(tmp_path, trace)
    records = json.loads((tmp_path / "trace.json").read_text())
    assert [record["step"] for record in records] == [0, 2]
    first = records[0]
    assert len(first["alternatives"]) == 4
    plans = [first["chosen"], *first["alternatives"]]
    assert sum(plan["worst"] is not None for plan in plans) == 4  # the three best and the fallback
    assert sum(plan["is_fallback"] for plan in first["alternatives"]) <= 1
    ahead, left, right, racing = np.array(first["road"]).T
    assert (right < racing).all()
    assert (racing < left).all()
    assert ahead[0] == 0.0
    assert first["action"] == first["chosen"]["action"]
    assert abs(sum(first["chosen"]["costs"].values()) - first["chosen"]["sum"]) < 1e-3
    assert [row["seconds"] for row in first["expected"]] == [0.22, 0.42, 0.62, 0.9]
    assert "a test" in (tmp_path / "trace.html").read_text()
    assert (tmp_path / "lap.gif").stat().st_size > 1000
    assert (tmp_path / "plan.png").stat().st_size > 5000


def test_a_plan_from_scratch_has_no_fallback(tmp_path):
    env = DrivingEnv(track="oval", random_start=False, **ENV_OPTIONS)
    observation, _ = env.reset(seed=0)
    planner = planner_for(env.parameters, config=DrivingPlannerConfig.from_scratch(), seed=0)
    plan = planner.plan(planning_state(planner.model, env, observation), torch.Generator())
    trace = DecisionTrace(1, np.ones((50, 2)))
    trace.add(0, observation, plan, None)
    (record,) = trace.records
    assert record["road"] == []
    assert record["chosen"]["worst"] is None
    assert not any(other["is_fallback"] for other in record["alternatives"])
