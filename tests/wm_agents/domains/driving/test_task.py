"""The task that SAC learns in imagination: features, actions, rewards and references."""

import numpy as np
import pytest
import torch

from wm_agents.domains.driving.network import DrivingModel, DrivingModelConfig
from wm_agents.domains.driving.observations import CircuitMap
from wm_agents.domains.driving.task import (
    ACTION_REPEAT,
    ACTION_SPACE,
    FEATURE_COLUMNS,
    MAX_STEERING,
    OBSERVATION_SPACE,
    REWARD_WEIGHTS,
    DrivingTaskEnv,
    ImaginedCar,
    TaskEvaluation,
    standing_agent,
    to_action,
    uniform_agent,
)
from wm_agents.protocols import ModelState, Prediction
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.observations import step_rewards


@pytest.fixture
def model():
    return DrivingModel.for_circuits(CircuitMap.of(["oval"]), DrivingModelConfig(widths=(8, 8)))


def test_decisions_become_actions_of_the_car():
    decisions = torch.tensor([[1.0, 0.5], [-0.5, -0.25]])
    expected = [[MAX_STEERING, 0.5, 0.0], [-0.5 * MAX_STEERING, 0.0, 0.25]]
    np.testing.assert_allclose(to_action(decisions), expected)


def test_features_are_of_size_one_and_every_step_is_kept():
    env = DrivingTaskEnv("oval", 3)
    obs, _ = env.reset(seed=4)
    speed = obs[FEATURE_COLUMNS.index(Column.VELOCITY_X)]
    bend = obs[FEATURE_COLUMNS.index(Column.CURVATURE_0M)]
    assert 20.0 / 30.0 <= speed <= 30.0 / 30.0
    assert abs(bend) < 10.0
    ends = []
    for decision in range(3):
        obs, *_, truncated, info = env.step(np.array([0.0, 0.2], np.float32))
        assert OBSERVATION_SPACE.contains(obs)
        assert len(env.steps) == env.num_steps == ACTION_REPEAT * (decision + 1)
        ends.append(truncated)
    assert ends == [False, False, True]
    last = env.steps[-1][3]
    assert last[Column.OFFSET] == pytest.approx(5.0 * obs[FEATURE_COLUMNS.index(Column.OFFSET)])
    bend = obs[FEATURE_COLUMNS.index(Column.CURVATURE_0M)]
    assert bend == pytest.approx(info["track"][0] / 0.01, rel=1e-4)
    trajectories = env.trajectories()
    assert trajectories.num_steps == 3 * ACTION_REPEAT
    assert trajectories.num_episodes == 1


def test_the_dream_has_the_rewards_of_the_environment():
    """The environment's function of observations agrees with its steps; wear and fuel included."""
    env = DrivingTaskEnv("oval", 40)
    parameters = DrivingEnv.rules(reward_weights=REWARD_WEIGHTS).parameters
    generator, num_departures = np.random.default_rng(0), 0
    middle = np.array([0.2, 0.3], np.float32)
    for seed in range(3):
        env.reset(seed=seed)
        env.steps.clear()
        has_ended = False
        while not has_ended:
            action = generator.uniform(-0.3, 0.3, 2).astype(np.float32) + middle
            *_, terminated, truncated, _ = env.step(action)
            has_ended = terminated or truncated
        before, actions, rewards, after, ends, _ = (
            np.array(column) for column in zip(*env.steps, strict=True)
        )
        last = np.concatenate([actions[:1], actions[:-1]])
        found, has_left = step_rewards(parameters, before, after, actions, last)
        np.testing.assert_allclose(found, rewards, atol=1e-4)
        np.testing.assert_array_equal(has_left, ends)
        num_departures += int(rewards[-1] < 0.5 * REWARD_WEIGHTS["off_track"])
    assert num_departures > 0


def test_an_imagined_decision_is_four_steps_and_earns_nothing_after_the_road(model, monkeypatch):
    """A model in which a car drifts 4 m to the left in each step.

    On a road of 6 m it is off with the second.
    """
    start = torch.zeros(1, 40)
    start[:, Column.VELOCITY_X] = 20.0
    start[:, [Column.RIGHT_WIDTH, Column.LEFT_WIDTH]] = 6.0

    def drift(state, actions):
        after = state.observations.clone()
        after[:, Column.OFFSET] += 4.0
        zeros = torch.zeros(1)
        return ModelState(after), Prediction(after, zeros, zeros, torch.full((1,), 0.5))

    monkeypatch.setattr(model, "step", drift)
    car = ImaginedCar(model)
    state, prediction = car.step(car.initial_state(start, torch.zeros(1, 3)), torch.zeros(1, 2))
    earned = 2 * (0.02 + 0.01 * 0.2) - 0.1 * ((4 / 6) ** 2 + (8 / 6) ** 2) - 10.0
    np.testing.assert_allclose(prediction.rewards, [earned], rtol=1e-5)
    assert prediction.terminations.tolist() == [1.0]
    assert prediction.disagreement.tolist() == [0.5]
    assert state.hidden[0][0, Column.OFFSET] == 8.0


def test_references_tell_those_who_drive_from_those_who_stand():
    evaluation = TaskEvaluation("oval", 30, 2)
    reference = evaluation.reference_returns(seed=0)
    assert reference["expert_return"] > 5.0 > reference["standing_return"] > -1.0
    assert reference == evaluation.reference_returns(seed=0)
    observation = np.zeros(23, np.float32)
    assert standing_agent().predict(observation, deterministic=True)[0].tolist() == [0.0, -1.0]
    assert ACTION_SPACE.contains(uniform_agent(0).predict(observation, deterministic=True)[0])
