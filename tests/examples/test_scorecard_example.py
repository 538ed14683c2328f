"""The scorecard example from end to end on small budgets."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from wm_agents.evaluation import episodes
from wm_agents.evaluation.episodes import RandomAgent


@pytest.fixture(scope="module")
def example() -> Any:
    path = Path(__file__).resolve().parents[2] / "examples" / "scorecard.py"
    spec = importlib.util.spec_from_file_location("scorecard_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_native_task_of_whole_numbers(example: Any, tmp_path: Path) -> None:
    config = example.Config(
        "wm/PermPuzzle-v0",
        seed=1,
        output_dir=tmp_path,
        train_steps=600,
        test_steps=200,
        num_updates=50,
        planning_episodes=2,
    )
    summary = example.main(config)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["real_steps"] == 600
    assert summary["error_h16"] == 0
    assert summary["persistence_h16"] > 0.5
    for name in (
        "planning_gap",
        "mean_return",
        "oracle_return",
        "error_h1",
        "success_rate",
        "oracle_success_rate",
    ):
        assert name in summary, name
    assert "PermPuzzle" in (tmp_path / "scorecard.html").read_text()


def test_a_third_party_task_without_planning(example: Any, tmp_path: Path) -> None:
    config = example.Config(
        "Pendulum-v1",
        output_dir=tmp_path,
        train_steps=400,
        test_steps=400,
        model="deterministic",
        num_updates=60,
        planning_episodes=0,
    )
    summary = example.main(config)
    assert 0 < summary["error_h1"] < summary["persistence_h1"]
    assert "planning_gap" not in summary


def test_an_oracle_no_better_than_chance_leaves_out_the_gap_alone(
    example: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = episodes.evaluate

    def at_random(agent: Any, where: Any, episodes: int, **options: Any) -> Any:
        if not isinstance(where, str):  # the oracle, in environments of its own
            agent = RandomAgent(where.single_action_space, 1)
            where = "wm/PermPuzzle-v0"
        return real(agent, where, episodes, **options)

    monkeypatch.setattr(episodes, "evaluate", at_random)
    steps = {"train_steps": 600, "test_steps": 200, "num_updates": 5, "planning_episodes": 1}
    summary = example.main(example.Config("wm/PermPuzzle-v0", seed=1, output_dir=tmp_path, **steps))
    assert (
        "No planning gap: the planner's mean return on the true dynamics is"
        in capsys.readouterr().out
    )
    assert "planning_gap" not in summary
    assert (
        json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["oracle_success_rate"]
        == summary["random_success_rate"]
    )
    assert (tmp_path / "scorecard.html").exists()
