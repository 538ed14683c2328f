"""Scores of a leaderboard by hand."""

import pytest

from wm_agents.evaluation.leaderboard import LeaderboardConfig, Run, markdown, rank


def runs_of(table, kind="success"):
    return [
        Run("x/Y-v0", agent, seed, score, kind, 0, 0.0)
        for agent, scores in table.items()
        for seed, score in enumerate(scores)
    ]


def test_success_is_scaled_from_chance_to_always():
    config = LeaderboardConfig(
        env_ids=("x/Y-v0",), agents=("random", "ppo", "oracle planner"), seeds=(0, 1)
    )
    cells = rank(
        runs_of({"random": [0.1, 0.3], "ppo": [0.6, 0.6], "oracle planner": [None, None]}), config
    )
    assert cells["x/Y-v0", "ppo"].estimate == pytest.approx(0.5)
    assert cells["x/Y-v0", "random"].estimate == pytest.approx(0.0)
    assert cells["x/Y-v0", "oracle planner"] is None
    text = markdown(cells, config)
    assert "| x/Y-v0 | 0.00 [" in text
    assert "-0.00" not in text
    assert " | **0.50** [0.50, 0.50] | none |" in text
    linked = markdown(cells, config, {"x/Y-v0": "Y.md"})
    assert "\n| [x/Y-v0](Y.md) | " in linked
    assert "no claim about the methods" in text


def test_returns_are_scaled_from_random_to_the_oracle():
    config = LeaderboardConfig(
        env_ids=("x/Y-v0",), agents=("random", "ppo", "oracle planner"), seeds=(0, 1)
    )
    scores = {"random": [-200.0] * 2, "ppo": [-150.0] * 2, "oracle planner": [-100.0] * 2}
    cells = rank(runs_of(scores, "return"), config)
    assert cells["x/Y-v0", "ppo"].estimate == pytest.approx(0.5)
    without = rank(runs_of({**scores, "oracle planner": [None] * 2}, "return"), config)
    assert without["x/Y-v0", "ppo"] is None
