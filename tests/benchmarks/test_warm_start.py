"""Both planners get the same budgets, and what equal return costs is said with its censoring."""

import json

import numpy as np
import pytest
import torch

from benchmarks import warm_start
from benchmarks.tuning import faults
from benchmarks.warm_start_tasks import (
    PlanningTask,
    cart_pole_starts,
    cart_pole_swing_up,
    drive,
    driving_model,
    driving_starts,
    pendulum_starts,
)
from wm_agents.planning.classic_control import true_model

TURNS = {"CEM": np.array([[1.0, 3.0]] * 3), "iCEM": np.array([[1.5, 4.5]] * 3)}


def test_the_cheapest_budget_that_keeps_the_return_counts(monkeypatch):
    monkeypatch.setattr(warm_start, "BUDGET_NAMES", ["8 x 1", "8 x 3"])
    monkeypatch.setattr(warm_start, "NUM_RESAMPLES", 50)
    ones = np.ones((5, 1))
    table = {"CEM": ones * [-150.0, -101.0], "iCEM": ones * [-101.5, -100.0]}
    found = warm_start.equal_return(table, TURNS, -1100.0, 0.02)
    assert found["iCEM: cheapest budget"] == "8 x 1"
    assert found["CEM over iCEM"] == {"value": 2.0, "low": 2.0, "high": 2.0, "share_known": 1.0}
    never = warm_start.equal_return({**table, "CEM": ones * [-900.0, -800.0]}, TURNS, -1100.0, 0.02)
    assert never["CEM over iCEM"] == {"value": None, "share_known": 0.0}


def test_a_small_run_is_an_equal_comparison_and_goes_on_where_it_stopped(monkeypatch, tmp_path):
    monkeypatch.setattr(warm_start, "BUDGETS", ((4, 1), (8, 1)))
    monkeypatch.setattr(warm_start, "BUDGET_NAMES", ["4 x 1", "8 x 1"])
    monkeypatch.setattr(warm_start, "NUM_RESAMPLES", 50)
    monkeypatch.setattr(warm_start, "TUNING_BUDGET", (4, 1))
    monkeypatch.setattr(warm_start, "NUM_TUNING_SEEDS", 2)
    short = PlanningTask("pendulum", 4, 5, true_model("Pendulum-v1"), pendulum_starts)
    monkeypatch.setattr(warm_start, "tasks", lambda: {"pendulum": short})
    config = warm_start.Config(
        ("pendulum",), 3, 4, 1, 0.02, tmp_path / "runs", tmp_path, tmp_path / "curves.png"
    )
    figures = warm_start.main(config)["pendulum"]
    path = tmp_path / "warm_start_pendulum.json"
    assert faults(json.loads(path.read_text(encoding="utf-8"))) == []
    assert len(figures["rows"]) == 2 * 2 * 3
    monkeypatch.setattr(warm_start, "episode_returns", None)
    assert warm_start.main(config)["pendulum"]["rows"][0]["return"] == figures["rows"][0]["return"]


def test_a_cart_pole_that_is_left_alone_hangs_and_its_cart_stops_at_the_end_of_the_rail():
    state = cart_pole_starts([0, 1]).observations
    assert (state[:, 2] < -0.99).all()
    for _ in range(100):
        state, rewards, _ = cart_pole_swing_up(state, torch.ones(2, 1))
    assert state[:, 0].tolist() == pytest.approx([2.4, 2.4])
    assert (rewards >= 0).all()
    assert (rewards <= 1).all()


def test_a_decision_of_the_car_is_four_steps_of_the_environment():
    model = driving_model()
    start = driving_starts([3, 4])
    decisions = torch.tensor([[0.1, 0.5], [-0.1, -0.5]])
    states = model._rows(start)
    after, prediction = model.step(start, decisions)
    _, rewards, _, _ = drive(states, decisions[:, None].numpy(), return_states=True)
    assert prediction.rewards.tolist() == pytest.approx(rewards[:, 0].tolist(), rel=1e-5)
    assert (model._rows(after)["time"] - states["time"]).tolist() == [4, 4]
