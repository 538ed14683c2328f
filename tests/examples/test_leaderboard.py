import json

import numpy as np
import pytest

from examples import leaderboard
from examples.leaderboard import Config, Run, markdown, rank


def small(folder, **options):
    sizes = {"model_steps": 200, "policy_steps": 600, "episodes": 20, "planner_episodes": 3}
    return Config(output_dir=folder, quiet=True, **{"seeds": (0, 1), **sizes, **options})


def runs_of(table, kind="success"):
    return [
        Run("x/Y-v0", agent, seed, score, kind, 0, 0.0)
        for agent, scores in table.items()
        for seed, score in enumerate(scores)
    ]


def test_success_is_scaled_from_chance_to_always():
    config = Config(env_ids=("x/Y-v0",), agents=("random", "ppo", "oracle planner"), seeds=(0, 1))
    cells = rank(
        runs_of({"random": [0.1, 0.3], "ppo": [0.6, 0.6], "oracle planner": [None, None]}), config
    )
    assert cells["x/Y-v0", "ppo"].estimate == pytest.approx(0.5)
    assert cells["x/Y-v0", "random"].estimate == pytest.approx(0.0)
    assert cells["x/Y-v0", "oracle planner"] is None
    text = markdown(cells, config)
    assert " | 0.50 [0.50, 0.50] | none |" in text
    assert "no claim about the methods" in text


def test_returns_are_scaled_from_random_to_the_oracle():
    config = Config(env_ids=("x/Y-v0",), agents=("random", "ppo", "oracle planner"), seeds=(0, 1))
    scores = {"random": [-200.0] * 2, "ppo": [-150.0] * 2, "oracle planner": [-100.0] * 2}
    cells = rank(runs_of(scores, "return"), config)
    assert cells["x/Y-v0", "ppo"].estimate == pytest.approx(0.5)
    without = rank(runs_of({**scores, "oracle planner": [None] * 2}, "return"), config)
    assert without["x/Y-v0", "ppo"] is None


def test_the_protocol_runs_and_goes_on_where_it_was(tmp_path, monkeypatch):
    config = small(
        tmp_path, env_ids=("wm/PatternEcho-v0",), agents=("random", "oracle planner", "reinforce")
    )
    summary = leaderboard.main(config)
    assert summary["oracle planner wm/PatternEcho-v0"] == 1.0
    assert np.isfinite(list(summary.values())).all()
    assert len(json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))) == 6
    assert (tmp_path / "leaderboard.png").stat().st_size > 5_000
    monkeypatch.setattr(
        leaderboard, "AGENTS", dict.fromkeys(leaderboard.AGENTS)
    )  # nothing is run again
    assert leaderboard.main(config) == summary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agents": ("random", "best")}, "no agents"),
        ({"agents": ("ppo",)}, "add random"),
        ({"seeds": (1, 1)}, "two different seeds"),
        ({"episodes": 0}, "at least 1"),
    ],
)
def test_what_cannot_work_is_refused(options, message, tmp_path):
    with pytest.raises(SystemExit, match=message):
        leaderboard.main(small(tmp_path, **options))
    assert not list(tmp_path.iterdir())
