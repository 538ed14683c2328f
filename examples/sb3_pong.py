"""Stable-Baselines3's PPO on the real game, from the same features as the dream agent: what the dream is compared with.

    python examples/sb3_pong.py --env-id wm/PongAtari-v0 --max-real-steps 100000 --seed 5
    --output-dir out

Observations are the positions of the objects, an easier input than pixels. Writes summary.json.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.domains.pong.features import NUM_FEATURES
from wm_agents.domains.pong.view import PongView
from wm_agents.evaluation.episodes import evaluate
from wm_agents.imagination.features import RememberingAgent
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths

Array = NDArray[Any]


@dataclass(frozen=True)
class Config:
    """What to run."""

    env_id: str = "wm/PongAtari-v0"
    """Either Pong."""
    seed: int = 0
    """Of the games, the policy and everything drawn."""
    output_dir: Path = Path("runs/sb3_pong")
    """Folder for summary.json."""
    max_real_steps: int = 100_000
    """Steps of the real game, evaluation apart.

    Rounded up to whole rounds of num_envs * num_steps.
    """
    repeat_action_probability: float = 0.25
    """Sticky actions, in training and evaluation."""
    num_envs: int = 8
    """Games side by side."""
    num_steps: int = 256
    """Steps of each between two updates."""
    games: int = 20
    """Full games of the final evaluation, with sampled actions and random starts."""


class RememberingVecEnv(VecEnvWrapper):
    """A VecEnv of Pong whose observations are the features of what it remembers."""

    def __init__(self, venv: VecEnv, view: PongView) -> None:
        super().__init__(venv, spaces.Box(-np.inf, np.inf, (NUM_FEATURES,), np.float32))
        self.view = view

    def reset(self) -> Any:
        """Begin all memories."""
        self.memories = self.view.begin(np.asarray(self.venv.reset()))
        return self.view.features(self.memories)

    def step_async(self, actions: Array) -> None:
        """Keep the actions, which are remembered, too."""
        self.actions = np.asarray(actions, np.int64)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        """Remember the step; ended rows begin anew."""
        observations, rewards, dones, infos = self.venv.step_wait()
        rows = np.asarray(observations)
        for row in np.flatnonzero(dones):
            final = infos[row]["terminal_observation"][None]
            last = self.view.advance(
                self.memories[row : row + 1], self.actions[row : row + 1], self.view.present(final)
            )
            infos[row]["terminal_observation"] = self.view.features(last)[0]
        self.memories = self.view.advance(self.memories, self.actions, self.view.present(rows))
        if dones.any():
            self.memories[dones] = self.view.begin(rows[dones])
        return self.view.features(self.memories), rewards, dones, infos


def main(config: Config) -> dict[str, Any]:
    """Train and evaluate; returns the summary that is written."""
    config = expand_paths(config)
    began = time.perf_counter()
    torch.set_num_threads(1)
    make_output_directory(config.output_dir)
    options = {"repeat_action_probability": config.repeat_action_probability}
    rows = gym.make_vec(
        config.env_id, config.num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **options
    )
    view = PongView()
    env = RememberingVecEnv(SB3VecEnv(rows), view)
    batch_size = min(256, config.num_envs * config.num_steps)
    agent = PPO(
        "MlpPolicy",
        env,
        n_steps=config.num_steps,
        batch_size=batch_size,
        ent_coef=0.01,
        seed=config.seed,
        device="cpu",
    )
    agent.learn(config.max_real_steps)
    seconds = time.perf_counter() - began
    results = evaluate(
        RememberingAgent(agent, view),
        config.env_id,
        config.games,
        seed=config.seed + 50_000,
        env_kwargs=options,
        deterministic=False,
    )
    summary = {
        "mean_score": results.mean_return,
        "worst_game": float(results.returns.min()),
        "games": len(results.returns),
        "real_steps": int(agent.num_timesteps),
        "seconds": seconds,
    }
    write_summary(config.output_dir, summary)
    print(json.dumps(summary, indent=2))
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
