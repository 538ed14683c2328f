"""Record Pong as a world model's training data: scripted players and their mixture, as arrays or as a Minari dataset.

    python examples/record_pong.py --env-id wm/PongAtari-v0 --steps 20000 --output-dir runs/pong

Writes one <player>.npz per player, whose arrays `wm_agents.Trajectories.from_arrays` takes, and
summary.json with what is in them: lengths, scores, the share of fast balls, which random play
hardly ever sees.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs import record
from wm_envs.data import Trajectories
from wm_envs.data.minari import save_minari
from wm_envs.data.paths import expand_paths
from wm_envs.pong.planner import PlanningPlayer
from wm_envs.pong.players import PLAYERS

Name = Literal["holder", "tracker", "interceptor", "explorer", "planner"]

BALL_X, LAST_BALL_X, PLAYER_SCORE, ENEMY_SCORE = 35, 34, 51, 55  # places in the observation
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
    """Store Minari datasets too, named by this with the player's name in place of {player}, as wm/pong/{player}-v0."""


def main(config: Config) -> dict[str, float]:
    """Record every player; returns the summary that is written."""
    config = expand_paths(config)
    if config.steps < 1 or config.episode_steps < 1:
        raise SystemExit(
            f"steps and episode_steps are at least 1, got {config.steps} and {config.episode_steps}"
        )
    if config.minari and "{player}" not in config.minari:
        raise SystemExit(
            f"--minari needs {{player}} in the name, as in wm/pong/{{player}}-v0, got {config.minari!r}"
        )
    make_output_directory(config.output_dir)
    summary: dict[str, float] = {}
    for number, player in enumerate(config.players):
        recording = record_player(config, player, config.seed + 10_000 * number)
        recording.save(config.output_dir / f"{player}.npz")
        if config.minari:
            save_minari(
                recording,
                config.minari.format(player=player),
                config.env_id,
                env_kwargs=options(config),
            )
        summary |= {
            f"{player}_{name}": value for name, value in describe(recording, frame_skip=4).items()
        }
    write_summary(config.output_dir, summary)
    print(json.dumps(summary, indent=2))
    return summary


def options(config: Config) -> dict[str, Any]:
    """The environment's."""
    return {
        "repeat_action_probability": config.repeat_action_probability,
        "time_limit": config.episode_steps,
    }


def record_player(config: Config, player: Name, seed: int) -> Trajectories:
    """As many episodes as the steps allow, each from a start of its own."""
    policy = (
        PlanningPlayer(seed, env_kwargs=options(config)) if player == "planner" else PLAYERS[player](seed)
    )
    episodes = max(1, round(config.steps / config.episode_steps))
    return record(
        config.env_id, episodes=episodes, policy=policy, seed=seed, env_kwargs=options(config)
    )


def describe(recording: Trajectories, *, frame_skip: int) -> dict[str, float]:
    """Flat names to numbers."""
    seen = recording.observations
    last = np.cumsum(recording.lengths + 1) - 1
    is_flying = (seen[:, BALL_X] > 0) & (seen[:, LAST_BALL_X] > 0)
    speed = np.abs(seen[:, BALL_X] - seen[:, LAST_BALL_X])[is_flying] / frame_skip
    return {
        "episodes": len(recording.lengths),
        "steps": int(recording.lengths.sum()),
        "mean_player_score": float(seen[last, PLAYER_SCORE].mean()),
        "mean_enemy_score": float(seen[last, ENEMY_SCORE].mean()),
        "fast_share": float((speed >= FAST).mean()) if is_flying.any() else 0.0,
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
