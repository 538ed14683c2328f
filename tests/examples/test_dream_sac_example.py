"""The dream SAC example from end to end on a tiny budget."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def example() -> Any:
    path = Path(__file__).resolve().parents[2] / "examples" / "dream_sac.py"
    spec = importlib.util.spec_from_file_location("dream_sac_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_run_from_end_to_end(example: Any, tmp_path: Path) -> None:
    config = example.Config(
        seed=1,
        output_dir=tmp_path,
        real_steps=60,
        round_steps=30,
        model_free_steps=60,
        evaluate_every=30,
        evaluation_episodes=1,
        gradient_steps=40,
        dream_envs=4,
        first_updates=20,
        later_updates=10,
        model_width=16,
    )
    summary = example.main(config)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert {"dream_return_at_30", "dream_return_at_60", "model_free_return_at_60"} <= summary.keys()
    assert summary["threshold"] == pytest.approx(
        summary["random_return"] + 0.9 * (summary["model_free_return"] - summary["random_return"])
    )
    assert (tmp_path / "learning_curves.png").stat().st_size > 5000
