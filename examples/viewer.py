"""Fit a small world model and write a page in which one can play with it.

    python examples/viewer.py --env-id Pendulum-v1 --output-dir out
    python examples/viewer.py --env-id wm/PermPuzzle-v0 --output-dir out

Writes look.html: one file that loads nothing, in which the model itself runs. Play, scrub, choose a
window, change an action and see what the model makes of it beside what was recorded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
import tyro

import wm_agents as wma
import wm_envs
from wm_agents.errors import ConfigError
from wm_agents.evaluation.viewer_frames import shrink
from wm_agents.training.summary import make_output_directory, write_summary

NUM_SHOWN, MAX_STEPS = 8, 200  # episodes in the page, and steps of each


@dataclass(frozen=True)
class Config:
    """What to fit and show."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id."""
    episodes: int = 20
    """Episodes of random play to learn from, and as many to show and to calibrate bands with."""
    num_updates: int = 2000
    """Optimizer steps."""
    width: int = 64
    """Units in each of the two hidden layers; the page has less than 2 MB."""
    horizon: int = 50
    """Steps of a window."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/viewer")
    """Folder for look.html and summary.json."""
    quiet: bool = False
    """No progress bars."""


def main(config: Config) -> dict[str, float]:
    """Record, fit and write the page; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(1)
    make_output_directory(config.output_dir)
    train = wm_envs.record(
        config.env_id, episodes=config.episodes, seed=config.seed, progress=False
    )
    test, frames = watch(config)
    model = fit(config, train)
    with gym.make(config.env_id) as env:
        try:
            page = wma.viewer(
                model,
                test,
                config.output_dir / "look.html",
                title=f"{config.env_id}: {type(model).__name__}",
                env=env,
                horizon=config.horizon,
                frames=frames,
            )
        except ConfigError as error:
            raise SystemExit(str(error)) from error
    summary = {"kilobytes": page.stat().st_size / 1000, "real_steps": float(train.num_steps)}
    write_summary(config.output_dir, summary)
    print(f"Open {page} in a browser.")
    return summary


def watch(config: Config) -> tuple[wma.Trajectories, list[list[Any]]]:
    """Held-out episodes of random play, and small frames of the first ones where it renders."""
    env = gym.make(config.env_id)
    can_render = "rgb_array" in env.metadata.get("render_modes", [])
    if can_render:
        env = Watched(gym.make(config.env_id, render_mode="rgb_array"))
    experience = wma.Collector(env, config.seed + 1_000_000)
    test = None
    # The last one is over when another begins.
    while test is None or test.num_episodes <= config.episodes:
        experience.collect(500)
        test = experience.trajectories()
    env.close()
    whole = test.select(range(config.episodes))
    return whole, env.episodes if isinstance(env, Watched) else []


class Watched(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps small frames of the first episodes."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.episodes: list[list[Any]] = []

    def reset(self, **options: Any) -> Any:
        """Begin another list of frames."""
        answer = self.env.reset(**options)
        self.episodes.append([])
        self._look()
        return answer

    def step(self, action: Any) -> Any:
        """Add a frame."""
        answer = self.env.step(action)
        self._look()
        return answer

    def _look(self) -> None:
        if len(self.episodes) <= NUM_SHOWN and len(self.episodes[-1]) <= MAX_STEPS:
            self.episodes[-1].append(shrink(self.env.render()))


def fit(config: Config, train: wma.Trajectories) -> Any:
    """Tokens where all observations are whole numbers, else a perceptron."""
    shown = False if config.quiet else None
    options = wma.FitConfig(num_updates=config.num_updates, seed=config.seed)
    if train.is_lattice:
        tokens = wma.TokenModel.for_env(config.env_id, seed=config.seed)
        tokens.fit(train, options, progress=shown)
        if tokens.is_exact:
            return tokens
    shape = wma.DeterministicConfig(dynamics_widths=(config.width, config.width))
    model = wma.DeterministicModel.for_env(config.env_id, shape, seed=config.seed)
    model.fit(train, options, progress=shown)
    return model


if __name__ == "__main__":
    main(tyro.cli(Config))
