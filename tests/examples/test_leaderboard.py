import json

import numpy as np
import pytest

from examples import leaderboard
from examples.leaderboard import Config


def small(folder, **options):
    sizes = {"model_steps": 200, "policy_steps": 600, "episodes": 20, "planner_episodes": 3}
    return Config(output_dir=folder, quiet=True, **{"seeds": (0, 1), **sizes, **options})


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
        leaderboard,
        "AGENTS",
        dict.fromkeys(leaderboard.AGENTS, lambda *_: pytest.fail("it is run again")),
    )
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
