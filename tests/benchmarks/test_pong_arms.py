"""The rule of one feature wins without learning, and every arm runs."""

import json

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="one arm is Stable-Baselines3's PPO")

from benchmarks import pong_arms
from benchmarks.report import RESULTS
from benchmarks.tuning import faults
from wm_agents.domains.pong.features import NUM_FEATURES
from wm_envs.pong.dynamics import LEFT, NOOP, RIGHT


def test_the_rule_moves_towards_the_arrival_of_a_ball_that_comes():
    features = np.zeros((4, NUM_FEATURES), np.float32)
    features[:3, pong_arms.VELOCITY_X] = 1.0
    features[:, pong_arms.FROM_REST] = np.array([17.0, -3.0, 8.0, 17.0]) / pong_arms.PIXELS
    actions, _ = pong_arms.Rule(7.0, 2.0, fires=False).predict(features)
    assert actions.tolist() == [LEFT, RIGHT, NOOP, NOOP]


def test_a_table_is_an_equal_comparison(monkeypatch, tmp_path):
    def run(settings, seed, config):
        score = float(settings.get("shaping", 0.1)) + seed % 10
        return {"mean_score": score, "worst_game": -1.0, "real_steps": config.max_real_steps}

    monkeypatch.setattr(pong_arms, "RUNS", dict.fromkeys(pong_arms.CHOICES, run))
    config = pong_arms.Config(
        tuple(pong_arms.CHOICES),
        seeds=(0, 1),
        longer_seeds=(0, 1),
        output_dir=tmp_path,
        results_dir=tmp_path,
    )
    figures = pong_arms.main(config)
    assert figures["tuning"]["ppo"]["best"]["shaping"] == 0.5
    result = json.loads((tmp_path / "pong_arms.json").read_text(encoding="utf-8"))
    assert faults(result) == []


def test_a_dream_that_is_not_run_is_the_committed_one_and_said_to_be(monkeypatch, tmp_path):
    def run(settings, seed, config):
        return {"mean_score": 1.0, "worst_game": -1.0, "real_steps": config.max_real_steps}

    monkeypatch.setattr(pong_arms, "RUNS", dict.fromkeys(pong_arms.CHOICES, run))
    committed = (RESULTS / "pong_dream.json").read_text(encoding="utf-8")
    (tmp_path / "pong_dream.json").write_text(committed, encoding="utf-8")
    figures = pong_arms.main(pong_arms.Config(output_dir=tmp_path, results_dir=tmp_path))
    assert faults(json.loads((tmp_path / "pong_arms.json").read_text(encoding="utf-8"))) == []
    dream = figures["summary"][pong_arms.COMMITTED]
    assert (dream["num_seeds"], dream["real_steps"]) == (6, 100_000)
    longer = figures["summary"][pong_arms.LONGER]
    assert (longer["num_seeds"], longer["real_steps"]) == (2, 200_000)
