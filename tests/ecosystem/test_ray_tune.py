"""The sweep under Ray Tune: what is finished is not run again, what was lost is."""

import json
import shutil

import pytest

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytest.importorskip("ray.tune", reason="the extra ray is not installed")

from examples.ray_sweep import Config, main, trials_of  # noqa: E402


def test_a_sweep_and_its_resumption(tmp_path):
    config = Config(
        env_id="wm/PatternEcho-v0",
        total_timesteps=640,
        world_model_coefs=(1.0,),
        learning_rates=(1e-3,),
        seeds=(0, 1),
        evaluation_episodes=20,
        output_dir=tmp_path / "sweep",
        quiet=True,
    )
    first = main(config)
    assert (first["num_trials_run"], first["num_trials_finished_before"]) == (2, 0)
    assert (tmp_path / "sweep" / "sweep.png").stat().st_size > 5_000
    lost = trials_of(config)[1]
    before = json.loads(lost.result_path.read_text(encoding="utf-8"))
    shutil.rmtree(lost.folder)
    second = main(config)
    assert (second["num_trials_run"], second["num_trials_finished_before"]) == (1, 1)
    assert json.loads(lost.result_path.read_text(encoding="utf-8")) == before
    assert second["best_score"] == first["best_score"]
