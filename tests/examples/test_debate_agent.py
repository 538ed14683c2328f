import json

import pytest
from stable_baselines3 import PPO

from examples.debate_agent import Config, main
from wm_agents.errors import ConfigError


def test_learns_a_little_and_compares_with_every_script(tmp_path):
    config = Config(total_timesteps=4_000, num_envs=16, evaluation_episodes=20, output_dir=tmp_path)
    summary = main(config)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["best_script_return"] == max(
        v for k, v in summary.items() if k.startswith("return_")
    )
    assert summary["difference_low"] <= summary["difference"] <= summary["difference_high"]
    assert summary["evaluation_episodes"] == 20
    assert isinstance(PPO.load(tmp_path / "agent.zip", device="cpu"), PPO)
    assert "seat of curiosity" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_single_episode_is_refused_before_training(tmp_path):
    with pytest.raises(ConfigError, match="evaluation_episodes"):
        main(Config(evaluation_episodes=1, output_dir=tmp_path))
