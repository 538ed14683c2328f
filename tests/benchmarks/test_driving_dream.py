from json import loads

import numpy as np
import pytest

from benchmarks import driving_dream
from wm_agents.domains.driving.task import TaskEvaluation
from wm_agents.evaluation.thresholds import LearningCurve

KNOWN = {"random_return": -10.0, "standing_return": -1.0, "expert_return": 40.0}


@pytest.fixture
def arms(monkeypatch):
    """Dreams that reach 50, 30 and 10 by seed after 2,000 steps.

    A real car that reaches 30 after 8,000.
    """
    monkeypatch.setattr(TaskEvaluation, "reference_returns", lambda evaluation, seed: KNOWN)
    monkeypatch.setattr(
        driving_dream.sac,
        "train_in_imagination",
        lambda config: curve([1000, 2000], [0.0, 50.0 - 20.0 * config.seed]),
    )
    many = {1: curve([4000, 8000, 12_000], [0.0, 30.0, 30.0]), 20: curve([3000, 6000], [0.0, 30.0])}
    monkeypatch.setattr(
        driving_dream.sac, "train_model_free", lambda config: many[config.model_free_gradients]
    )


def curve(steps, returns):
    return LearningCurve(np.array(steps), np.array(returns))


def test_median_and_worst_seed_and_runs_that_never_get_there(arms, tmp_path):
    figures = driving_dream.main(driving_dream.Config(seeds=(0, 1, 2), output_dir=tmp_path))
    assert [row["threshold"] for row in figures["rows"]] == [pytest.approx(-10.0 + 0.9 * 30.0)] * 3
    assert figures["dream_return_median"] == 30.0
    assert figures["dream_return_worst"] == 10.0
    assert figures["dream_over_expert_worst"] == 0.25
    assert figures["times_fewer_real_steps_median"] == pytest.approx(8000 / 2000)
    assert figures["times_fewer_real_steps_worst"] is None
    assert figures["seeds_at_threshold"] == 2
    assert loads((tmp_path / "driving_dream.json").read_text())["figures"] == figures


def test_rows_come_one_by_one_and_a_control_joins_its_row(arms, tmp_path):
    driving_dream.main(driving_dream.Config(seeds=(1,), output_dir=tmp_path))
    figures = driving_dream.main(
        driving_dream.Config(seeds=(0,), control_seeds=(1,), output_dir=tmp_path)
    )
    assert [row["seed"] for row in figures["rows"]] == [0, 1]
    assert "control" not in figures["rows"][0]
    assert figures["rows"][1]["control"]["steps_to_threshold"] == 6000.0
    assert figures["rows"][1]["control"]["times_the_dream"] == 3.0
    command = loads((tmp_path / "driving_dream.json").read_text())["command"]
    assert command.endswith("--seeds 0 1 --control-seeds 1")
