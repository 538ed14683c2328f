import json

import pytest

from examples.plan import Config, main, success_rate
from wm_agents.evaluation.episodes import EpisodeResults


def test_learns_the_puzzle_within_its_budget(tmp_path):
    summary = main(
        Config(env_id="wm/PermPuzzle-v0", max_real_steps=700, episodes=10, output_dir=tmp_path)
    )
    assert summary["real_steps"] == 700
    assert summary["success_rate"] >= 0.9
    assert summary["planner"] == "BreadthFirstSearch"
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert len(json.loads((tmp_path / "rounds.json").read_text())) == 2


def test_success_is_the_registered_threshold_where_the_environment_is_silent():
    import numpy as np

    results = EpisodeResults(np.array([500.0, 475.0, 100.0, 20.0]), np.full(4, 10))
    assert success_rate("CartPole-v1", results) == pytest.approx(0.5)
    assert success_rate("Pendulum-v1", results) is None
