"""Run uniformly random actions and show what they look like.

The first look at any Gymnasium environment.

    python examples/random_rollout.py --env-id wm/TMaze-v0 --episodes 100 --output-dir runs/random

Writes summary.json and, where the environment draws, frames.png with frames of the first episode.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from numpy.typing import NDArray

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids)
from wm_envs.rendering.canvas import contact_sheet, evenly_spaced

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Config:
    """What to run."""

    env_id: str = "wm/RuleRecall-v0"
    """Any Gymnasium id; "module:id" imports the module first."""
    episodes: int = 100
    """How many episodes to run."""
    seed: int = 0
    """Seed of the environment and of the actions."""
    output_dir: Path = Path("runs/random_rollout")
    """Folder for summary.json and frames.png."""
    max_frames: int = 12
    """Frames of the first episode in the picture, evenly spaced."""


@dataclass
class EpisodeResult:
    """One episode's record."""

    rewards: list[float] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    # None where the environment does not say.
    is_success: bool | None = None


def main(config: Config) -> dict[str, float]:
    """Run the episodes; returns the summary that is written."""
    config = wma.expand_paths(config)
    if config.episodes < 1 or config.max_frames < 1:
        raise SystemExit(
            f"episodes and max_frames are at least 1, got {config.episodes} and {config.max_frames}"
        )
    wma.make_output_directory(config.output_dir)
    env = make_env(config.env_id)
    env.reset(seed=config.seed)
    # The space has a random stream of its own, which the reset leaves alone.
    env.action_space.seed(config.seed)
    episodes = [run_episode(env, is_drawn=index == 0) for index in range(config.episodes)]
    env.close()
    summary = summarise(episodes)
    wma.write_summary(config.output_dir, summary, is_printed=True)
    if episodes[0].frames:
        import imageio.v3 as imageio  # only where the environment draws

        shown = evenly_spaced(episodes[0].frames, config.max_frames)
        imageio.imwrite(config.output_dir / "frames.png", contact_sheet(shown))
    return summary


def make_env(env_id: str) -> gym.Env[Any, Any]:
    """The environment, drawing if it can."""
    env = gym.make(env_id)
    if "rgb_array" not in env.metadata.get("render_modes", []):
        return env
    env.close()
    return gym.make(env_id, render_mode="rgb_array")


def run_episode(env: gym.Env[Any, Any], *, is_drawn: bool) -> EpisodeResult:
    """One episode of random actions."""
    episode = EpisodeResult()
    env.reset()
    draw(env, episode, is_drawn)
    is_over = False
    while not is_over:
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        episode.rewards.append(float(reward))
        draw(env, episode, is_drawn)
        is_over = terminated or truncated
        episode.is_success = bool(info["is_success"]) if "is_success" in info else None
    return episode


def draw(env: gym.Env[Any, Any], episode: EpisodeResult, is_drawn: bool) -> None:
    """Keep a frame of the present state."""
    if is_drawn and env.render_mode == "rgb_array":
        episode.frames.append(np.asarray(env.render(), np.uint8))


def summarise(episodes: list[EpisodeResult]) -> dict[str, float]:
    """Flat names to numbers; success_rate only where the environment reports successes."""
    summary = {
        "episodes": len(episodes),
        "mean_return": float(np.mean([sum(episode.rewards) for episode in episodes])),
        "mean_length": float(np.mean([len(episode.rewards) for episode in episodes])),
    }
    successes = [episode.is_success for episode in episodes if episode.is_success is not None]
    if successes:
        summary["success_rate"] = float(np.mean(successes))
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
