import json

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="both arms are Stable-Baselines3's SAC")

from benchmarks import driving_arms
from benchmarks.tuning import faults


def test_runs_with_steps_of_their_own_are_compared_and_a_budget_is_no_time(tmp_path, monkeypatch):
    def run(arm, settings, seed, share, config):
        last = 50.0 if arm == "dream" else 20.0
        steps = [1000 + seed, 2000 + seed] if arm == "dream" else [8000, 16_000]
        figures = {"steps": steps, "returns": [0.0, last], "real_steps": steps[-1]}
        return figures | {"cpu_seconds": 1.0}

    monkeypatch.setattr(driving_arms, "run", run)
    reference = {"random_return": -9.0, "standing_return": -1.0, "expert_return": 46.0}
    monkeypatch.setattr(
        driving_arms.sac.TaskEvaluation, "reference_returns", lambda self, seed: reference
    )
    config = driving_arms.Config(seeds=(200, 201, 202), output_dir=tmp_path, results_dir=tmp_path)
    figures = driving_arms.main(config)
    assert faults(json.loads((tmp_path / "driving_arms.json").read_text(encoding="utf-8"))) == []
    assert figures["threshold"] == pytest.approx(-9.0 + 0.9 * (25.0 + 9.0))
    assert figures["no model over dream, medians"].startswith(">= ")
    dream = figures["arms"]["dream"]
    assert (dream["median_steps"], dream["seeds_at_threshold"]) == ("2201", 3)
    assert figures["arms"]["no model"]["mean_curve_steps"]["value"] is None
    row = {"steps": [1000, 2000], "returns": [1.0, 2.0]}
    on_grid = driving_arms.on_grid(row, np.array([500, 1000, 1500, 2500]), -9.0)
    assert on_grid.tolist() == [-9.0, 1.0, 1.0, 2.0]
