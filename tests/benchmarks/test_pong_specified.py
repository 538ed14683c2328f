"""Rows of what is told are kept one by one, and drawn."""

import json

import pytest

pytest.importorskip("matplotlib")

from benchmarks import pong_specified
from wm_agents.domains.pong.dreaming import DreamConfig


def test_rows_are_kept_and_drawn(monkeypatch, tmp_path):
    def play(config, level, steps, seed):
        row = {"figure": "play", "level": level, "steps": steps, "seed": seed}
        told = pong_specified.specified_knowledge(level).summary()
        return row | told | {"mean_score": float(seed), "games": config.games}

    monkeypatch.setattr(pong_specified, "play", play)
    config = pong_specified.Config(
        figures=("play",),
        seeds=(0, 2),
        dream=DreamConfig(shares=(0.5, 0.5)),
        output_dir=tmp_path,
        picture=tmp_path / "curve.svg",
    )
    pong_specified.main(config)
    result = json.loads((tmp_path / "pong_specified.json").read_text(encoding="utf-8"))
    assert result["figures"]["summary"]["play, none, 10000"] == {
        "mean_score": 1.0,
        "worst_seed": 0.0,
        "num_seeds": 2.0,
    }
    assert "--dream.shares" in result["figures"]["rows"][0]["command"]
    assert (tmp_path / "curve.svg").stat().st_size > 1000
