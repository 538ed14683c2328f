import json

import pytest

from examples.reinforce import Config, main
from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.policy_gradient.reinforce import Reinforce


def config(folder, **options):
    values = {
        "total_timesteps": 9_600,
        "evaluation_episodes": 100,
        "seed": 7,
        "quiet": True,
        **options,
    }
    return Config(output_dir=folder, **values)


def test_it_learns_and_writes_what_it_says(tmp_path):
    summary = main(config(tmp_path / "out"))
    assert summary["success_rate"] >= 0.99
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    for name in (
        "learning_curve.png",
        "metrics.jsonl",
        "model.safetensors",
        "config.json",
        "README.md",
    ):
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert (
        Reinforce.load(tmp_path / "out" / "model.safetensors").num_updates
        == summary["updates"]
        == 150
    )


def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path):
    whole = main(config(tmp_path / "whole", total_timesteps=6_400))
    main(config(tmp_path / "parts", total_timesteps=3_200))
    parts = main(config(tmp_path / "parts", total_timesteps=6_400, resume=True))
    assert {**whole, "seconds": 0} == {**parts, "seconds": 0}
    lines = [(tmp_path / folder / "metrics.jsonl").read_text() for folder in ("whole", "parts")]
    assert lines[0] == lines[1]


def test_a_run_is_neither_mixed_with_another_nor_taken_for_it(tmp_path):
    main(config(tmp_path, total_timesteps=3_200))
    log = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="holds a run: go on with --resume"):
        main(config(tmp_path, total_timesteps=6_400))
    with pytest.raises(
        CheckpointError, match=r"a run with config.learning_rate=0.001, this one has 0.1"
    ):
        main(config(tmp_path, total_timesteps=6_400, learning_rate=0.1, resume=True))
    with pytest.raises(CheckpointError, match="a run with seed="):
        main(config(tmp_path, total_timesteps=6_400, seed=9, resume=True))
    assert (tmp_path / "metrics.jsonl").read_bytes() == log


def test_an_output_folder_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another output folder"):
        main(config(tmp_path / "file"))
