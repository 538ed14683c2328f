"""Runs that go on where they were stopped, and sums over seeds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import out_of_distribution as benchmark


def row(auroc: float, crashes: int) -> dict[str, Any]:
    worlds = ("known_plain", "known_guarded", "slippery_plain", "slippery_guarded")
    return {
        "auroc": {"changed world": {"surprise": auroc, "density": None}},
        "guard": {
            "drives": 6,
            "lost_share_known": 0.01,
            **{name: {"crashes": crashes, "stopped": 1} for name in worlds},
        },
    }


def test_finished_rows_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured: list[int] = []

    def measure(seed: int, config: Any) -> dict[str, Any]:
        measured.append(seed)
        return row(0.9 + 0.02 * seed, seed)

    monkeypatch.setitem(benchmark.TASKS, "driving", measure)
    benchmark.main(benchmark.Config(tasks=("driving",), seeds=(0,), output_dir=tmp_path))
    benchmark.main(benchmark.Config(tasks=("driving",), seeds=(0, 2), output_dir=tmp_path))
    assert measured == [0, 2]
    stored = json.loads((tmp_path / "out_of_distribution.json").read_text(encoding="utf-8"))
    summary = stored["figures"]["summary"]
    assert summary["driving"] == {"seeds": 2, "changed world": {"surprise": pytest.approx(0.92)}}
    assert summary["guard"]["drives_each"] == 12
    assert summary["guard"]["slippery_plain_crashes"] == 2


def test_the_careful_driver_stays_on_a_wet_road() -> None:
    careful = benchmark.drive(1, 4, benchmark.SLIPPERY, benchmark.Driver(benchmark.WET))
    assert (careful.lengths == benchmark.STEPS).all()
    bold = benchmark.drive(1, 4, benchmark.SLIPPERY, benchmark.Driver())
    assert (bold.lengths < benchmark.STEPS).all()
    assert np.array_equal(bold.terminations.sum(), 4)
