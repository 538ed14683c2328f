"""Record Pong as a world model's training data: scripted players, as arrays or Minari datasets.

    python examples/record_pong.py --env-id wm/PongAtari-v0 --steps 20000 --output-dir runs/pong

Writes one <player>.npz per player, which `wm_envs.data.Trajectories.load` reads, and
summary.json with what is in them: lengths, scores, the share of fast balls, which random play
hardly ever sees.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

import wm_agents as wma
import wm_envs
from wm_agents.domains.pong.state import NEWEST_COLUMNS
from wm_envs.data.minari import save_minari
from wm_envs.pong.columns import PongFeature
from wm_envs.pong.planner import PlanningPlayer
from wm_envs.pong.players import PLAYERS

Name = Literal["holder", "tracker", "interceptor", "explorer", "planner"]

# Columns of the observation: its newest frame, and the ball in the one before
BALL_X = NEWEST_COLUMNS[PongFeature.BALL_X]
LAST_BALL_X = BALL_X - 1
PLAYER_SCORE = NEWEST_COLUMNS[PongFeature.PLAYER_SCORE]
ENEMY_SCORE = NEWEST_COLUMNS[PongFeature.ENEMY_SCORE]
FRAME_SKIP = 4
FAST = 2.0  # pixels a frame


@dataclass(frozen=True)
class Config:
    """What to record."""

    env_id: Literal["wm/Pong-v0", "wm/PongAtari-v0"] = "wm/Pong-v0"
    """The compiled game, or the original, which needs ale-py."""
    players: tuple[Name, ...] = ("explorer", "interceptor", "tracker", "holder")
    """Who plays; each gets the same number of steps."""
    steps: int = 20_000
    """Steps of each player, about: episodes are played to their end or their time limit."""
    episode_steps: int = 1000
    """Time limit of an episode."""
    repeat_action_probability: float = 0.0
    """Noise of the actions; 0.25 is usual."""
    seed: int = 0
    """Parent of the seeds of all players and games."""
    output_dir: Path = Path("runs/record_pong")
    """Folder for the arrays and summary.json."""
    minari: str = ""
    """Store Minari datasets too, as in wm/pong/{player}-v0: {player} becomes the player's name."""


def main(config: Config) -> dict[str, float]:
    """Record every player; returns the summary that is written."""
    config = wma.expand_paths(config)
    if config.steps < 1 or config.episode_steps < 1:
        raise SystemExit(
            f"steps and episode_steps are at least 1, got {config.steps} and {config.episode_steps}"
        )
    if config.minari and "{player}" not in config.minari:
        raise SystemExit(
            "--minari needs {player} in the name, as in wm/pong/{player}-v0, "
            f"got {config.minari!r}"
        )
    wma.make_output_directory(config.output_dir, has_pictures=True)
    summary: dict[str, float] = {}
    for number, player in enumerate(config.players):
        recording = record_player(config, player, config.seed + 10_000 * number)
        recording.save(config.output_dir / f"{player}.npz")
        if config.minari:
            save_minari(
                recording,
                config.minari.format(player=player),
                config.env_id,
                env_kwargs=env_kwargs(config),
            )
        for name, value in describe(recording).items():
            summary[f"{player}_{name}"] = value
    wma.plot_intervals(
        config.output_dir / "scores.png",
        {
            p: summary[f"{p}_mean_player_score"] - summary[f"{p}_mean_enemy_score"]
            for p in config.players
        },
        "points won less points lost at the end",
        reference=0.0,
    )
    wma.write_summary(config.output_dir, summary, is_printed=True)
    return summary


def env_kwargs(config: Config) -> dict[str, Any]:
    """Options of the environment."""
    return {
        "repeat_action_probability": config.repeat_action_probability,
        "time_limit": config.episode_steps,
    }


def record_player(config: Config, player: Name, seed: int) -> wma.Trajectories:
    """As many episodes as the steps allow, each from a start of its own."""
    policy = (
        PlanningPlayer(seed, env_kwargs=env_kwargs(config))
        if player == "planner"
        else PLAYERS[player](seed)
    )
    episodes = max(1, round(config.steps / config.episode_steps))
    return wm_envs.record(
        config.env_id, episodes=episodes, policy=policy, seed=seed, env_kwargs=env_kwargs(config)
    )


def describe(recording: wma.Trajectories) -> dict[str, float]:
    """Lengths, mean scores at the end and the share of fast balls."""
    observations = recording.observations
    last = np.cumsum(recording.lengths + 1) - 1
    ball_x = observations[:, BALL_X]
    last_ball_x = observations[:, LAST_BALL_X]
    is_flying = (ball_x > 0) & (last_ball_x > 0)
    speed = np.abs(ball_x - last_ball_x)[is_flying] / FRAME_SKIP
    return {
        "episodes": len(recording.lengths),
        "steps": int(recording.lengths.sum()),
        "mean_player_score": float(observations[last, PLAYER_SCORE].mean()),
        "mean_enemy_score": float(observations[last, ENEMY_SCORE].mean()),
        "fast_share": float((speed >= FAST).mean()) if is_flying.any() else 0.0,
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
