"""Arms without a model begin with the dream's exploration, and times keep their censoring."""

import json

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("stable_baselines3", reason="both arms are Stable-Baselines3's SAC")

from benchmarks import dream_arms
from benchmarks.tuning import faults


def small(tmp_path, **options):
    return dream_arms.Config(
        seeds=(100, 101),
        num_trials=4,
        evaluation_episodes=1,
        evaluate_every=20,
        real_steps=40,
        tuning_real_steps=20,
        output_dir=tmp_path,
        results_dir=tmp_path,
        **options,
    )


def test_critics_with_dropout_run_and_are_evaluated_at_the_same_steps(tmp_path, monkeypatch):
    watch = dream_arms._Watch(small(tmp_path))
    updates = {"gradient_steps": 1, "dropout": 0.1}
    agents = []
    watched = dream_arms._Watch.__call__

    def keep(self, agent, num_steps=None):
        agents.append(agent)
        watched(self, agent, num_steps)

    monkeypatch.setattr(dream_arms._Watch, "__call__", keep)
    dream_arms.learn_without_model(updates, 0, 40, small(tmp_path), watch)
    assert watch.steps == [20, 40]
    critic = agents[0].critic
    assert len(critic.q_networks) == 2
    assert sum(isinstance(layer, nn.Dropout) for layer in critic.modules()) == 4
    held = agents[0].replay_buffer.actions[:20, 0, 0]
    assert len(np.unique(held)) < 15  # independent actions never repeat
    assert all(torch.isfinite(value).all() for value in critic.parameters())


def test_a_table_is_an_equal_comparison_and_says_who_never_got_there(tmp_path, monkeypatch):
    def run(arm, settings, seed, real_steps, config):
        level = -100.0 if arm == "dream" else -900.0
        return {"steps": [20, 40], "returns": [-1000.0, level], "cpu_seconds": 1.0}

    monkeypatch.setattr(dream_arms, "run", run)
    figures = dream_arms.main(small(tmp_path))
    assert faults(json.loads((tmp_path / "dream_arms.json").read_text(encoding="utf-8"))) == []
    assert figures["times_of_the_dream"]["no model over dream, medians"].startswith(">= ")
    assert figures["arms"]["no model"]["mean_curve_steps"]["value"] is None
    assert figures["arms"]["dream"]["mean_curve_steps"]["value"] == 40.0
