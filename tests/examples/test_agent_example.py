"""The example of the one agent from end to end on small budgets."""

import json

import pytest

import wm_agents as wma
from examples.agent import Config, evaluate, main, normalised
from wm_agents.errors import CheckpointError


def config(env_id, folder, **options):
    values = {"total_timesteps": 600, "episodes": 6, "seed": 3, "quiet": True, **options}
    return Config(env_id=env_id, output_dir=folder, **values)


def test_it_learns_and_writes_what_it_says(tmp_path):
    summary = main(config("wm/PatternEcho-v0", tmp_path, scorecard_steps=300))
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8")) == summary
    assert set(summary) == {
        "env_id",
        "mean_return",
        "success_rate",
        "normalised_score",
        "evaluation_episodes",
        "real_steps",
        "cpu_seconds",
        "decisions",
        "seed",
    }
    assert summary["real_steps"] == 600
    assert summary["evaluation_episodes"] == 6
    assert summary["success_rate"] == 1.0
    assert summary["normalised_score"] == pytest.approx(1.0)
    assert summary["cpu_seconds"] > 0
    for name in ("learning_curve.png", "scorecard.html", "scorecard.json"):
        assert (tmp_path / name).stat().st_size > 0
    agent = wma.load(tmp_path / "agent.safetensors", env="wm/PatternEcho-v0")
    assert agent.decisions == summary["decisions"]
    assert evaluate(agent, 6)[1] == 1.0


def test_the_same_command_goes_on_and_other_settings_are_refused(tmp_path):
    options = {"scorecard": False, "total_timesteps": 200}
    first = main(config("MountainCar-v0", tmp_path, **options))
    assert (first["success_rate"], first["normalised_score"]) == (None, pytest.approx(0.0))
    again = main(config("MountainCar-v0", tmp_path, **options))
    assert {**again, "cpu_seconds": 0} == {**first, "cpu_seconds": 0}
    assert not (tmp_path / "scorecard.html").exists()
    with pytest.raises(CheckpointError, match="a run with seed=3, this one has 4"):
        main(config("MountainCar-v0", tmp_path, **options, seed=4))


def test_scores_are_normalised_where_the_ends_of_the_scale_are_known():
    assert normalised("CartPole-v1", 500.0, None) == 1.0
    assert normalised("CartPole-v1", 23.36, None) == 0.0
    assert normalised("wm/TMaze-v0", -3.0, 0.54) == pytest.approx(0.5)
    assert normalised("Nobody/Knows-v0", 1.0, None) is None
