import json
import shlex

import pytest
import tyro

pytest.importorskip("stable_baselines3", reason="PPO beside the dream needs Stable-Baselines3")

from benchmarks import pong_dream


def run_of(score):
    return lambda config, seed: {"mean_score": score + seed, "games": config.games}


def test_every_finished_run_is_kept_and_a_repeated_one_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(pong_dream, "RUNS", {"dream": run_of(10.0), "ppo": run_of(-20.0)})
    config = pong_dream.Config(seeds=(0, 1), arms=("dream", "ppo"), output_dir=tmp_path)
    figures = pong_dream.main(config)
    assert [(row["arm"], row["seed"]) for row in figures["rows"]] == [
        ("dream", 0),
        ("dream", 1),
        ("ppo", 0),
        ("ppo", 1),
    ]
    assert figures["summary"]["dream, sticky 0.25, wm/PongAtari-v0"] == {
        "mean_score": 10.5,
        "worst_seed": 10.0,
        "num_seeds": 2,
    }
    again = tyro.cli(pong_dream.Config, args=shlex.split(figures["rows"][2]["command"])[3:])
    assert (again.seeds, again.arms, again.repeat_action_probability, again.games) == (
        (0,),
        ("ppo",),
        0.25,
        20,
    )
    monkeypatch.setattr(pong_dream, "RUNS", {"dream": run_of(15.0)})
    pong_dream.main(pong_dream.Config(seeds=(1,), arms=("dream",), output_dir=tmp_path))
    stored = json.loads((tmp_path / "pong_dream.json").read_text())
    assert stored["seeds"] == [0, 1]
    assert [row["mean_score"] for row in stored["figures"]["rows"]] == [10.0, 16.0, -20.0, -19.0]


def test_a_planner_wins_where_random_actions_lose():
    config = pong_dream.Config(env_id="wm/Pong-v0", games=2)
    assert pong_dream.run_planner(config, 0)["mean_score"] > 10
    assert pong_dream.run_random(config, 0)["mean_score"] < -15
