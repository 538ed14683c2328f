from json import dumps, loads

import numpy as np
import pytest

from benchmarks import dream
from wm_agents.evaluation.thresholds import LearningCurve


def test_runs_that_never_get_there_count_and_every_seed_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(
        dream,
        "imagined_curve",
        lambda config, seed, bar: curve([200, 400], [-900.0, -150.0 - seed]),
    )
    monkeypatch.setattr(
        dream,
        "model_free_curve",
        lambda config, seed, bar: curve([250, 2500], [-1000.0, -150.0]),
    )
    monkeypatch.setattr(
        dream,
        "write_result",
        lambda name, figures, **_: (tmp_path / name).write_text(dumps(figures)),
    )
    figures = dream.main(dream.Config(num_seeds=3, real_steps=400))
    assert figures["dream_solved_share"] == 1.0
    assert figures["times_fewer_real_steps"] == pytest.approx(2500 / 400)
    assert figures["dream_returns_by_seed"] == [[-900.0, -150.0 - seed] for seed in range(3)]
    assert loads((tmp_path / "dream_sac").read_text()) == figures


def curve(steps, returns):
    return LearningCurve(np.array(steps), np.array(returns))
