import numpy as np
import pytest

from benchmarks import driving_shift
from benchmarks.driving_models import window_starts
from benchmarks.driving_shift import Config
from wm_agents.domains.driving.grip import GRIPS
from wm_envs.driving.track import oval

TINY = Config(seeds=(0,), grips=2, episodes=1, test_episodes=2, num_updates=5, cars=2, steps=60)


def test_grips_are_drawn_from_equal_parts():
    grips = driving_shift.draw_grips((0.7, 1.1), 4, np.random.default_rng(0))
    assert np.all(np.diff(grips) > 0)
    assert np.digitize(grips, [0.7, 0.8, 0.9, 1.0, 1.1]).tolist() == [1, 2, 3, 4]


def test_an_estimate_knows_only_the_steps_before_its_window():
    tracks, grips = [oval()], [[0.75, 1.05]]
    learned = driving_shift.learned(TINY, 0, tracks, grips, knows_grip=True)
    assert learned.num_steps > 0
    tests = driving_shift.tests_of(TINY, 0, tracks, grips)
    assert [test.grip for test in tests] == grips[0]
    estimates = driving_shift.estimated_grips(learned, tests[0])
    starts = window_starts(tests[0].episodes, driving_shift.STEPS_AHEAD, driving_shift.EVERY)
    assert len(estimates) == len(starts)
    firsts = set(tests[0].episodes.step_starts.tolist())
    is_first = np.array([step in firsts for _, step in starts])
    np.testing.assert_allclose(estimates[is_first], np.mean(GRIPS), atol=1e-6)
    assert not np.allclose(estimates[~is_first], np.mean(GRIPS), atol=1e-6)
    told = [driving_shift.told_grips(test) for test in tests]
    shares = driving_shift.errors_of(learned.model, tracks, tests, told)
    assert all(np.isfinite(figures["rmse"]) for figures in shares.values())


def test_a_summary_is_the_mean_over_seeds():
    names = [
        "usual model",
        "plain model",
        "adaptive model",
        "adaptive model, grip told",
        "adaptive model, usual grip",
    ]
    rows = [
        {
            "open_loop": {name: {"loss_rmse": loss, "loss_median": 0.0} for name in names},
            "warnings": {
                name: {"auroc": 0.9} for name in (*names[:3], "true rules", "time to the boundary")
            },
            "shield": {name: {"departures_removed": 0.8} for name in names[:3]},
        }
        for loss in (0.1, 0.3)
    ]
    summary = driving_shift.summarize(rows)
    assert summary["num_seeds"] == 2
    assert summary["loss_rmse"]["adaptive model"] == pytest.approx(0.2)
    assert summary["departures_removed"]["adaptive model"] == pytest.approx(0.8)
