import json

import pytest

from examples import dream_pong, sb3_pong, world_model_pong
from wm_agents.evaluation.episodes import evaluate
from wm_agents.vector_ppo import VectorPPOConfig
from wm_agents.world_models.objects import ObjectConfig


def use(folder, monkeypatch):
    """What the lines of the card under "Use" leave behind."""
    lines = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    names = {}
    exec(lines, names)
    return names


SMALL = ObjectConfig(width=16, num_updates=20, batch_size=64)


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_world_model(tmp_path, monkeypatch, noise):
    config = world_model_pong.Config(
        env_id="wm/Pong-v0",
        train_steps=6000,
        test_games=1,
        model=SMALL,
        repeat_action_probability=noise,
        output_dir=tmp_path,
        num_threads=1,
        has_pictures=noise == 0,
    )
    summary = world_model_pong.main(config)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    if noise == 0:
        assert summary["exact_share_step1"] > 0.5
        assert summary["mse56_step6"] < summary["persistence_mse56_step6"]
    assert ("spread_mse14_step6" in summary) == (noise > 0)
    assert use(tmp_path, monkeypatch)["model"].config == SMALL
    if noise == 0:
        assert (tmp_path / "open_loop.png").stat().st_size > 10_000
        assert (tmp_path / "play.gif").stat().st_size > 10_000


def test_dream(tmp_path, monkeypatch):
    config = dream_pong.Config(
        env_id="wm/Pong-v0",
        max_real_steps=1000,
        dream_updates=(1, 1),
        shares=(0.5, 0.5),
        num_dreams=8,
        is_measured=False,
        games=1,
        model=SMALL,
        ppo=VectorPPOConfig(widths=(16,), num_steps=8),
        output_dir=tmp_path,
    )
    summary = dream_pong.main(config)
    assert summary["real_steps"] == 1000
    assert summary["games"] == 1
    assert -21 <= summary["mean_score"] <= 21
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert len(json.loads((tmp_path / "rounds.json").read_text())) == 2
    agent = use(tmp_path, monkeypatch)["agent"]
    assert evaluate(agent, "wm/Pong-v0", 1, env_kwargs={"time_limit": 30}).lengths.tolist() == [30]


def test_sb3(tmp_path):
    config = sb3_pong.Config(
        env_id="wm/Pong-v0", max_real_steps=300, games=1, num_envs=2, num_steps=64, output_dir=tmp_path
    )
    summary = sb3_pong.main(config)
    assert summary["real_steps"] >= 300
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
