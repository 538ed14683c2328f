"""The driving examples on the built-in circuits: small, but through every step."""

import json

import numpy as np
import pytest
import torch

from benchmarks import driving_models
from examples import plan_driving, record_driving
from examples.driving_model import (
    BEND,
    CIRCUIT,
    COLUMNS,
    HEADING,
    LAYOUTS,
    LEFT,
    OFFSET,
    PLACE,
    extend,
    extend_trajectories,
    load_circuits,
    make_layout,
    model_space,
    new_model,
)
from examples.driving_planner import (
    CompiledModel,
    DrivingPlanner,
    PlannerConfig,
    imagine_learned,
    learned_imagination,
    true_imagination,
)
from examples.driving_trace import Trace
from wm_agents.world_models import FitConfig
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.expert import Expert

TRACKS = ["oval", "figure_eight"]


@pytest.fixture(scope="module")
def recorded():
    return [
        extend_trajectories(record_driving.record_circuit(track, 12, 120, number), number)
        for number, track in enumerate(TRACKS)
    ]


@pytest.fixture(scope="module")
def fitted(recorded):
    model = new_model(make_layout("kinematics", load_circuits(TRACKS)), widths=(32, 32))
    model.fit(recorded[0], FitConfig(num_updates=300, horizon=2), progress=False)
    return model


def test_the_columns_are_those_of_the_space(recorded):
    assert len(COLUMNS) == model_space().shape[0] == recorded[0].observations.shape[1]
    assert (recorded[1].observations[:, CIRCUIT] == 1).all()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_each_layout_makes_a_model(kind, recorded):
    model = new_model(make_layout(kind, load_circuits(TRACKS)), widths=(8,), seed=1)
    model.initialise(recorded[0])
    start = torch.as_tensor(recorded[0].observations[:3])
    assert model.rollout(start, torch.zeros(3, 4, 3)).observations.shape == (3, 5, 40)


def test_the_map_is_the_road_of_the_environment():
    """From the true next velocities, geometry gives the true next place, offset, heading and road."""
    env = DrivingEnv(track="figure_eight", **record_driving.OPTIONS)
    before, _ = env.reset(seed=3)
    expert = Expert(env.parameters)
    layout = make_layout("kinematics", load_circuits(TRACKS))
    for _ in range(100):
        after = env.step(expert.actions_on(before[None])[0])[0]
        rows = [torch.as_tensor(extend(row, 1))[None] for row in (before, after)]
        wrong = rows[1].clone()
        wrong[:, [PLACE, OFFSET, HEADING, BEND, LEFT]] = 7.0
        decoded = layout.decode(rows[0], layout.targets(rows[0], wrong), torch.zeros(1, 3))
        np.testing.assert_allclose(decoded[0, OFFSET], after[OFFSET], atol=2e-4)
        np.testing.assert_allclose(decoded[0, HEADING], after[HEADING], atol=2e-4)
        np.testing.assert_allclose(decoded[0, PLACE], after[PLACE], atol=2e-6)
        np.testing.assert_allclose(decoded[0, 24:37], after[24:37], atol=2e-4)
        before = after


def test_the_compiled_model_is_the_model(fitted):
    env = DrivingEnv(track="oval", random_start=False, start_speed=30.0, **record_driving.OPTIONS)
    observation, _ = env.reset(seed=0)
    generator = np.random.default_rng(0)
    actions = np.concatenate([generator.uniform(-0.1, 0.1, (1, 10, 1)), np.full((1, 10, 1), 0.3)], axis=2)
    disturbances = np.concatenate([actions, np.zeros((1, 10, 1))], axis=2)
    paths = np.empty((1, 10, 8))
    compiled = CompiledModel(fitted)
    table = Expert(env.parameters).table
    start = observation.astype(np.float64)
    imagine_learned(start, env.parameters, table, disturbances, False, *compiled.arrays, paths)
    full = torch.as_tensor(np.concatenate([actions, np.zeros((1, 10, 1))], axis=2), dtype=torch.float32)
    rollout = fitted.rollout(torch.as_tensor(extend(observation, 0))[None], full).observations[0, 1:].numpy()
    np.testing.assert_allclose(paths[0, :, 1], rollout[:, OFFSET], atol=2e-3)
    np.testing.assert_allclose(paths[0, :, 2], np.hypot(rollout[:, 0], rollout[:, 1]), rtol=1e-4)


def test_the_oracle_planner_drives_no_slower_than_the_expert_and_stays_on():
    distances = []
    for is_planned in (False, True):
        env = DrivingEnv(track="oval", random_start=False, start_speed=40.0, **record_driving.OPTIONS)
        observation, _ = env.reset(seed=0)
        planner, expert = DrivingPlanner(env.parameters, PlannerConfig()), Expert(env.parameters)
        for _ in range(250):
            state = env.clone_state()
            if is_planned:
                decision = planner.decide(true_imagination(state, env.parameters), float(state["distance"]))
                action = decision.action
            else:
                action = expert.actions_on(observation[None])[0]
            observation, _, terminated, _, _ = env.step(action)
            assert not terminated
        distances.append(float(env.clone_state()["driven"]))
    assert distances[1] > 0.99 * distances[0]


def test_a_trace_is_json_and_a_page(fitted, tmp_path):
    env = DrivingEnv(track="oval", random_start=False, **record_driving.OPTIONS)
    observation, _ = env.reset(seed=0)
    planner = DrivingPlanner(env.parameters, PlannerConfig())
    trace = Trace(every=2, bands=np.ones((45, 2)))
    for step in range(4):
        imagine = learned_imagination(observation, env.parameters, CompiledModel(fitted))
        decision = planner.decide(imagine, float(env.clone_state()["distance"]))
        trace.add(step, observation, decision, None)
        observation = env.step(decision.action)[0]
    trace.write(tmp_path, "a test")
    records = json.loads((tmp_path / "trace.json").read_text())
    assert [record["step"] for record in records] == [0, 2]
    assert len(records[0]["alternatives"]) == 3
    assert records[0]["chosen"]["sum"] <= min(plan["sum"] for plan in records[0]["alternatives"])
    assert "a test" in (tmp_path / "trace.html").read_text()


def test_circuits_are_held_out_by_their_names(tmp_path):
    for name in "abcdefg":
        (tmp_path / f"{name}.csv").touch()
    training, unseen = record_driving.held_out(tmp_path)
    assert [path.stem for path in unseen] == ["c", "f"]
    assert [path.stem for path in training] == ["a", "b", "d", "e", "g"]
    config = plan_driving.Config(track=str(tmp_path / "b.csv"), circuits=tmp_path)
    assert [path.stem for path in plan_driving.training_circuits(config)] == ["a", "d", "e", "g"]


def test_shares_of_persistence_by_hand(recorded):
    segment = driving_models.windows(recorded[0], 5)
    perfect = driving_models.shares(segment.observations[:, -1], segment)
    still = driving_models.shares(segment.observations[:, 0], segment)
    assert all(figure == 0 for figures in perfect.values() for figure in figures.values())
    assert all(figure == pytest.approx(1) for figures in still.values() for figure in figures.values())
