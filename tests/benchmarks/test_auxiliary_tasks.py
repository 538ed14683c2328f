"""Arms run once, and what was not solved has no time."""

import json
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from benchmarks import auxiliary_tasks
from benchmarks.tuning import faults

SMALL = {"num_seeds": 2, "num_trials": 4, "num_tuning_seeds": 2, "episodes_scale": 0.002}


def test_two_arms_run_and_a_second_call_runs_none(tmp_path, monkeypatch):
    arms = ("next without the answer", "none, a reward for each query")
    task = replace(auxiliary_tasks.TASKS["RuleRecall"], arms=arms)
    monkeypatch.setattr(auxiliary_tasks, "TASKS", {"RuleRecall": task})
    config = auxiliary_tasks.Config(
        ("RuleRecall",), output_dir=tmp_path / "runs", results_dir=tmp_path, **SMALL
    )
    monkeypatch.setattr(auxiliary_tasks, "FINAL_EPISODES", 20)
    monkeypatch.setattr(auxiliary_tasks, "CURVE_EPISODES", 20)
    auxiliary_tasks.main(config)
    path = tmp_path / "auxiliary_tasks_rulerecall.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    assert faults(result) == []
    found = result["figures"]["arms"]
    assert [found[arm]["median_episodes_to_90"] for arm in arms] == [
        "not solved within the budget",
        "not solved within the budget",
    ]
    monkeypatch.setattr(auxiliary_tasks, "train", None)
    assert auxiliary_tasks.main(config)["RuleRecall"] == result["figures"]


def test_a_reward_for_each_query_adds_up_to_one_and_other_units_are_larger():
    task = auxiliary_tasks.TASKS["RuleRecall"]
    envs = gym.make_vec(auxiliary_tasks.QUERY_REWARDS_ID, 200)
    envs.reset(seed=0)
    total = np.zeros(200)
    for _ in range(auxiliary_tasks.episode_length(task)):
        _, rewards, _, _, infos = envs.step(envs.action_space.sample())
        total += rewards
    assert set(total) <= {0.0, 0.5, 1.0}
    assert (total == 1.0).sum() == infos["is_success"].sum()
    assert total.mean() == pytest.approx(1 / 6, abs=0.06)
    large = auxiliary_tasks.make_envs(2, auxiliary_tasks.TASKS["TMaze x10"])
    assert large.reset(seed=0)[0].max() == large.single_observation_space.high.max() == 10.0
    columns = auxiliary_tasks.answer_columns("wm/RuleRecall-v0")
    assert columns == tuple(range(4, 10))
