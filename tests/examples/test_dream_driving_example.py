"""SAC in the learned car: what is seen, decided and paid, and both arms in miniature."""

import json

import numpy as np
import pytest
import torch

from examples import dream_driving
from wm_agents.domains.driving.decisions import (
    COLUMNS,
    DECISIONS,
    MAX_STEERING,
    REPEAT,
    SIGHT,
    WEIGHTS,
    Decisions,
    commands,
)
from wm_agents.domains.driving.dream import DreamDriver, judge
from wm_agents.domains.driving.model import BEND, OFFSET, VX, extend, load_circuits, make_layout
from wm_agents.domains.driving.network import new_car_model
from wm_agents.domains.driving.returns import Brakes, Chance, Course, yardsticks
from wm_agents.errors import ConfigError
from wm_agents.evaluation.thresholds import LearningCurve as Curve
from wm_agents.protocols import ModelState, Prediction


@pytest.fixture
def model():
    return new_car_model(make_layout("kinematics", load_circuits(["oval"])), widths=(8, 8))


def test_decisions_become_commands_within_the_action_space():
    decisions = torch.tensor([[1.0, 0.5], [-0.5, -0.25]])
    expected = [[MAX_STEERING, 0.5, 0.0], [-0.5 * MAX_STEERING, 0.0, 0.25]]
    np.testing.assert_allclose(commands(decisions), expected)


def test_the_car_sees_numbers_of_size_one_and_keeps_every_step():
    car = Decisions("oval", 3)
    seen, _ = car.reset(seed=4)
    speed, bend = (seen[COLUMNS.index(column)] for column in (VX, BEND))
    assert 20.0 / 30.0 <= speed <= 30.0 / 30.0
    ends = []
    for decision in range(3):
        seen, *_, truncated, info = car.step(np.array([0.0, 0.2], np.float32))
        assert SIGHT.contains(seen)
        assert len(car.transitions) == car.num_steps == REPEAT * (decision + 1)
        ends.append(truncated)
    assert ends == [False, False, True]
    assert car.transitions[-1][3][OFFSET] == pytest.approx(5.0 * seen[COLUMNS.index(OFFSET)])
    assert seen[COLUMNS.index(BEND)] == pytest.approx(info["track"][0] / 0.01, rel=1e-4)
    assert DECISIONS.shape == (2,)
    assert abs(bend) < 10.0


def test_the_dream_pays_what_the_environment_pays():
    """The given rules of the reward agree with the environment's on the recorded steps, but for wear and fuel."""
    car = Decisions("oval", 40)
    generator, num_departures = np.random.default_rng(0), 0
    for seed in range(3):
        car.reset(seed=seed)
        first, has_ended = len(car.transitions), False
        while not has_ended:
            action = generator.uniform(-0.3, 0.3, 2).astype(np.float32) + np.array(
                [0.2, 0.3], np.float32
            )
            *_, terminated, truncated, _ = car.step(action)
            has_ended = terminated or truncated
        rows = car.transitions[first:]
        before, actions, rewards, after, ends, _ = (
            np.array(column) for column in zip(*rows, strict=True)
        )
        last = np.concatenate([actions[:1], actions[:-1]])
        seen = [torch.as_tensor(extend(row.astype(np.float32), 0)) for row in (before, after)]
        paid, has_left = judge(*seen, torch.as_tensor(actions), torch.as_tensor(last))
        np.testing.assert_allclose(paid, rewards, atol=2e-3)
        np.testing.assert_array_equal(has_left, ends)
        num_departures += int(rewards[-1] < 0.5 * WEIGHTS["off_track"])
    assert num_departures > 0


def test_a_dreamt_decision_is_four_steps_and_earns_nothing_after_the_road(model, monkeypatch):
    """A model in which a car drifts 4 m to the left in each step.

    On a road of 6 m it is off with the second.
    """
    begun = torch.zeros(1, 40)
    begun[:, VX], begun[:, 35], begun[:, 36] = 20.0, 6.0, 6.0

    def drift(state, actions):
        after = state.observations.clone()
        after[:, OFFSET] += 4.0
        return ModelState(after), Prediction(
            after, torch.zeros(1), torch.zeros(1), torch.full((1,), 0.5)
        )

    monkeypatch.setattr(model, "step", drift)
    driver = DreamDriver(model)
    state, prediction = driver.step(driver.begin(begun, torch.zeros(1, 3)), torch.zeros(1, 2))
    earned = 2 * (0.02 + 0.01 * 0.2) - 0.1 * ((4 / 6) ** 2 + (8 / 6) ** 2) - 10.0
    np.testing.assert_allclose(prediction.rewards, [earned], rtol=1e-5)
    assert prediction.terminations.tolist() == [1.0]
    assert prediction.disagreement.tolist() == [0.5]
    assert state.hidden[0][0, OFFSET] == 8.0


def test_yardsticks_tell_those_who_drive_from_those_who_stand():
    known = yardsticks(Course("oval", 30, 2), seed=0)
    assert known["expert_return"] > 5.0 > known["standing_return"] > -1.0
    assert known == yardsticks(Course("oval", 30, 2), seed=0)
    assert Brakes().predict(np.zeros(23), deterministic=True)[0].tolist() == [0.0, -1.0]
    assert DECISIONS.contains(Chance(0).predict(np.zeros(23), deterministic=True)[0])


def test_nothing_is_compared_with_a_model_free_arm_that_cannot_drive():
    dreamt = Curve(np.array([1000, 2000]), np.array([10.0, 40.0]))
    known = {"random_return": -5.0, "standing_return": -1.0, "expert_return": 46.0}
    config = dream_driving.Config()
    drives = Curve(np.array([4000, 10_000, 20_000]), np.array([30.0, 36.0, 36.0]))
    summary = dream_driving.summarise(config, dreamt, drives, known)
    assert summary["model_free_return"] == 34.0
    assert summary["threshold"] == pytest.approx(-5.0 + 0.9 * 39.0)
    assert summary["times_fewer_real_steps"] == pytest.approx(10_000 / 2000)
    stands = Curve(drives.steps, np.array([-3.0, -1.0, -1.0]))
    summary = dream_driving.summarise(config, dreamt, stands, known)
    assert summary["dream_steps_to_threshold"] == 1000.0
    assert summary["model_free_steps_to_threshold"] == 10_000.0
    assert summary["times_fewer_real_steps"] is None
    assert not summary["model_free_can_drive"]


@pytest.mark.parametrize(
    "mistake",
    [{"rounds": 0}, {"evaluation_episodes": 0}, {"evaluate_every": 20_001}, {"dream_gradients": 3}],
)
def test_settings_that_leave_nothing_to_compare_are_refused_at_once(mistake, tmp_path, monkeypatch):
    monkeypatch.setattr(dream_driving, "dream", lambda _: pytest.fail("minutes were spent"))
    with pytest.raises(ConfigError, match=f"{next(iter(mistake))}={next(iter(mistake.values()))}"):
        dream_driving.main(dream_driving.Config(output_dir=tmp_path, **mistake))


def test_dreaming_of_driving_from_end_to_end(tmp_path):
    config = dream_driving.Config(
        recorded_episodes=2, rounds=2, round_steps=30, dream_gradients=20, model_free_decisions=20, evaluate_every=10,
        evaluation_episodes=1, episode_decisions=5, dream_envs=2, num_updates=10, output_dir=tmp_path,
    )  # fmt: skip
    summary = dream_driving.main(config)
    assert (
        json.loads((tmp_path / "summary.json").read_text())["dream_real_steps"]
        == summary["dream_real_steps"]
    )
    assert summary["dream_curve"][0][1] - summary["dream_curve"][0][0] in range(30, 34)
    assert (tmp_path / "learning_curves.png").stat().st_size > 5000
