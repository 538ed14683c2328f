import json

from benchmarks import pong_models
from wm_agents.world_models.object_fitting import ObjectConfig


def test_a_short_ablation(tmp_path):
    config = pong_models.Config(
        env_ids=("wm/Pong-v0",),
        rows=("persistence", "rounding", "situations"),
        seeds=(0,),
        train_steps=8000,
        test_games=1,
        num_updates=80,
        num_threads=1,
        output_dir=tmp_path,
        model=ObjectConfig(width=16, batch_size=64),
    )
    figures = pong_models.main(config)
    table = figures["wm/Pong-v0"]["table"]
    assert list(table) == list(config.rows)
    assert table["persistence"]["exact_share_step6"] == 0.0
    assert table["situations"]["exact_share_step6"] > 0.5
    assert table["situations"]["mse56_step6"] < table["persistence"]["mse56_step6"]
    stored = json.loads((tmp_path / "pong_models.json").read_text())
    assert stored["figures"] == figures
    assert "--train-steps 8000" in stored["command"]
