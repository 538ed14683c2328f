import json
import shlex

import tyro

from benchmarks import pong_world_model
from wm_agents.domains.pong.open_loop import OpenLoopConfig
from wm_agents.world_models.object_fitting import ObjectConfig

SMALL = ObjectConfig(width=16, num_updates=20, batch_size=64)


def test_a_row_for_each_player(tmp_path):
    run = OpenLoopConfig(train_steps=8000, test_games=1, model=SMALL, num_threads=1)
    config = pong_world_model.Config(
        env_ids=("wm/Pong-v0",), seeds=(0,), output_dir=tmp_path, run=run
    )
    figures = pong_world_model.main(config)
    assert [row["player"] for row in figures["rows"]] == ["planner", "tracker"]
    for row in figures["rows"]:
        assert row["exact_share_step1"] > 0.9
        assert row["mse56_step6"] < row["persistence_mse56_step6"]
        assert row["mse56_step6"] < row["constant_velocity_mse56_step6"]
    assert json.loads((tmp_path / "pong_world_model.json").read_text())["figures"] == figures
    command = tyro.cli(pong_world_model.Config, args=shlex.split(figures["rows"][1]["command"])[3:])
    assert (command.env_ids, command.noises, command.seeds) == (("wm/Pong-v0",), (0.0,), (0,))
    assert (command.players, command.run.train_steps, command.run.test_games) == (
        ("tracker",),
        8000,
        1,
    )
    again = pong_world_model.add(config, figures["rows"][0] | {"exact_share_step6": 0.0})
    assert len(again["rows"]) == 2
    assert again["rows"][0]["exact_share_step6"] == 0.0
