"""Splits by hand, and a run that goes on where it was stopped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import certified_horizon as benchmark


def test_splits_of_episodes_that_are_all_alike() -> None:
    shares = np.zeros((40, 10))
    shares[:, 6:] = 1.0  # every window leaves at the seventh step
    figures = benchmark.split_figures(shares, 0.1, 5, 0)
    assert figures["violations"] == 0
    assert figures["certified_median"] == figures["measured_median"] == 6
    assert figures["ratio_median"] == 1
    assert benchmark.split_figures(np.ones((40, 3)), 0.1, 5, 0)["ratio_median"] is None


def test_a_promise_that_is_kept_on_average_over_splits() -> None:
    lost_at = np.random.default_rng(0).integers(1, 60, 200)
    shares = (np.arange(1, 61) >= lost_at[:, None]).astype(float)
    figures = benchmark.split_figures(shares, 0.1, 50, 1)
    assert 0.03 < figures["violations"] <= 0.1
    assert figures["ratio_median"] > 0.5


def test_finished_rows_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured: list[tuple[str, int]] = []

    def measure(name: str, seed: int, config: Any) -> dict[str, Any]:
        measured.append((name, seed))
        figures = benchmark.split_figures(np.zeros((20, 4)), 0.1, 2, seed)
        return {"task": name, "seed": seed, "interval_coverage_mean": 0.9, **figures}

    monkeypatch.setattr(benchmark, "measure", measure)
    config = benchmark.Config(tasks=("pendulum",), seeds=(0,), output_dir=tmp_path)
    benchmark.main(config)
    more = benchmark.Config(tasks=("pendulum", "pong"), seeds=(0, 1), output_dir=tmp_path)
    figures = benchmark.main(more)
    assert measured == [("pendulum", 0), ("pong", 0), ("pendulum", 1), ("pong", 1)]
    assert figures["summary"]["pendulum"]["num_seeds"] == 2
    stored = json.loads((tmp_path / "certified_horizon.json").read_text(encoding="utf-8"))
    assert len(stored["figures"]["rows"]) == 4


def test_the_smallest_run_certifies() -> None:
    task = benchmark.Task(
        "wm/PermPuzzle-v0", 0.1, train_episodes=60, test_episodes=12, is_token=True
    )
    report = benchmark.certify(task, 0, 0.1)
    assert report.certified == report.horizon
    assert report.feature_names[0] == "place_0_token_0"
