"""The PPO example: what it writes, that it learns, and how it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import PPO

from examples.sb3_ppo import Config, main
from wm_agents.errors import ConfigError
from wm_agents.policy_gradient import ppo


def small(output_dir: Path, **options: Any) -> Config:
    settings: dict[str, Any] = {
        "total_timesteps": 6_000,
        "num_envs": 64,
        "rollout_steps": 8,
        "learning_rate": 3e-3,
    }
    return Config(output_dir=output_dir, evaluation_episodes=64, **{**settings, **options})


def test_plain_ppo_learns_our_ids_and_writes_what_it_found(tmp_path: Path) -> None:
    summary = main(small(tmp_path / "new" / "folder"))
    assert json.loads((tmp_path / "new" / "folder" / "summary.json").read_text()) == summary
    assert summary["mean_return"] == summary["success_rate"] > 0.9
    assert summary["total_timesteps"] == 6144
    assert summary["steps_per_second"] > 0
    assert "world_model_loss" not in summary
    assert (tmp_path / "new" / "folder" / "learning_curve.png").stat().st_size > 5_000
    assert isinstance(PPO.load(tmp_path / "new" / "folder" / "agent.zip", device="cpu"), PPO)


def test_with_a_world_model_it_reports_its_error_and_seeds_determine_all(tmp_path: Path) -> None:
    first, second = (main(small(tmp_path, world_model_coef=1.0)) for _ in range(2))
    assert first["success_rate"] > 0.9
    # The next element of a fixed sequence: far better than the constant guess, (1/4)(3/4) on four
    # of eight numbers.
    assert first["world_model_loss"] < 0.02
    timed = "steps_per_second"
    assert {**first, timed: 0} == {**second, timed: 0}
    agent = ppo.PPO.load(tmp_path / "model.safetensors")
    assert agent.config.world_model_coef == 1.0


def test_it_takes_any_gymnasium_id(tmp_path: Path) -> None:
    options = {"num_envs": 3, "rollout_steps": 67, "total_timesteps": 600, "evaluation_episodes": 2}
    summary = main(Config(env_id="CartPole-v1", output_dir=tmp_path, **options))
    assert summary["total_timesteps"] == 603
    assert "success_rate" not in summary
    assert (tmp_path / "learning_curve.png").exists()


def test_a_run_too_short_for_an_episode_has_no_curve(tmp_path: Path) -> None:
    options = {"num_envs": 2, "rollout_steps": 8, "total_timesteps": 16, "evaluation_episodes": 1}
    main(Config(env_id="Pendulum-v1", output_dir=tmp_path, **options))
    assert not (tmp_path / "learning_curve.png").exists()


@pytest.mark.parametrize(
    "name", ["total_timesteps", "num_envs", "rollout_steps", "evaluation_episodes"]
)
def test_bad_numbers_are_refused(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {name: 0}
    with pytest.raises(SystemExit, match=f"{name} is at least 1, got 0"):
        main(Config(output_dir=tmp_path / "folder", **options))
    assert not (tmp_path / "folder").exists()


def test_bad_weights_and_folders_are_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="world_model_coef is not negative, got -2"):
        main(small(tmp_path, world_model_coef=-2.0))
    with pytest.raises(SystemExit, match=r"num_envs \* rollout_steps is at least 2"):
        main(small(tmp_path, num_envs=1, rollout_steps=1))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="choose another output folder"):
        main(small(tmp_path / "file" / "folder"))
