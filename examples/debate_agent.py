"""PPO learns one seat of the debate and is compared with every scripted debater in the same seat.

    python examples/debate_agent.py --seed 1 --output-dir out

The evaluation plays the same episodes (persons, order of observations, rivals) with each contender
in the seat, so that the differences are paired. Writes summary.json (ppo_return,
best_script_return, difference with its 95% interval, ...) and the trained agent as agent.zip.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import PPO

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.errors import ConfigError
from wm_agents.evaluation.statistics import stratified_bootstrap
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_agents.training.cards import Card, save_with_card
from wm_agents.training.seeding import spawn_seeds
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths
from wm_envs.debate.dynamics import STRATEGIES
from wm_envs.debate.scripted import ScriptedDebater

ENV_ID = "wm/Debate-v0"


class Player(Protocol):
    """Anything with Stable-Baselines3's `predict`."""

    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[NDArray[Any], Any]:
        """Actions for a batch of observations."""


@dataclass(frozen=True)
class Config:
    """What to train."""

    seat: str = "curiosity"
    """The tendency that learns."""
    rivals: str = "mixed"
    """Script of the other seats; "mixed" draws one for each seat and episode."""
    total_timesteps: int = 800_000
    """Environment steps, over all environments; rounded up to whole rollouts."""
    num_envs: int = 64
    """Environments side by side."""
    rollout_steps: int = 80
    """Steps of each environment between two updates: two episodes."""
    learning_rate: float = 2e-3
    """Adam's first step size; it falls linearly to a twentieth."""
    evaluation_episodes: int = 200
    """Episodes that every contender plays."""
    seed: int = 1
    """Seed of the agent, the environments and, apart from those, the evaluation."""
    output_dir: Path = Path("runs/debate_agent")
    """Folder for summary.json, agent.zip and the model card."""


def main(config: Config) -> dict[str, Any]:
    """Train and compare; returns the summary that is written."""
    config = expand_paths(config)
    if config.evaluation_episodes < 2:
        raise ConfigError(
            f"expected evaluation_episodes of at least 2, for an interval, got {config.evaluation_episodes}"
        )
    torch.set_num_threads(1)
    make_output_directory(config.output_dir)
    agent_seed, evaluation_seed = spawn_seeds(config.seed, 2)
    started = time.perf_counter()
    agent = train(config, agent_seed)
    seconds = time.perf_counter() - started
    agent.save(config.output_dir / "agent.zip")
    summary = compare(config, agent, evaluation_seed) | {
        "total_timesteps": agent.num_timesteps,
        "training_seconds": round(seconds, 1),
        "seat": config.seat,
        "seed": config.seed,
    }
    write_summary(config.output_dir, summary)
    save_with_card(agent, config.output_dir, card_of(config, summary))
    print(json.dumps(summary, indent=2))
    return summary


def card_of(config: Config, summary: dict[str, Any]) -> Card:
    """What a stranger has to know about the agent."""
    names = ("ppo_return", "best_script_return", "difference", "difference_low", "difference_high")
    return Card(
        title=f"PPO in the debate's seat of {config.seat}",
        env_id="wm/Debate-v0",
        env_kwargs={"seat": config.seat, "rivals": config.rivals},
        scores={name: summary[name] for name in names},
        command=f"python examples/debate_agent.py --seat {config.seat} --rivals {config.rivals} --seed {config.seed} "
        f"--total-timesteps {config.total_timesteps}",
        seeds=(config.seed,),
        evaluation=f"{config.evaluation_episodes} episodes, the same for every contender; differences are paired.",
        limits="It met scripted rivals only.",
    )


def train(config: Config, seed: int) -> PPO:
    """PPO in the seat."""
    options = {
        "seat": config.seat,
        "rivals": config.rivals,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    env = SB3VecEnv(gym.make_vec(ENV_ID, num_envs=config.num_envs, **options))
    agent = PPO(
        "MlpPolicy",
        env,
        n_steps=config.rollout_steps,
        batch_size=config.num_envs * config.rollout_steps // 5,
        n_epochs=8,
        learning_rate=lambda remaining: config.learning_rate * (0.05 + 0.95 * remaining),
        gamma=0.98,
        gae_lambda=0.9,
        # Noise in seven stakes at once spends the budget: it has to start small.
        policy_kwargs={"log_std_init": -2.0, "net_arch": [64, 64]},
        seed=seed,
        device="cpu",
    )
    return agent.learn(config.total_timesteps)


def compare(config: Config, agent: Player, seed: int) -> dict[str, Any]:
    """Returns of the agent and of each script on the same episodes."""
    returns = {name: play(config, ScriptedDebater(name), seed) for name in STRATEGIES}
    learned = play(config, agent, seed)
    best = max(returns, key=lambda name: float(returns[name].mean()))
    difference = stratified_bootstrap(learned - returns[best], np.mean)
    summary: dict[str, Any] = {
        "ppo_return": float(learned.mean()),
        "best_script": best,
        "best_script_return": float(returns[best].mean()),
        **difference.flatten("difference"),
        "evaluation_episodes": len(learned),
    }
    return summary | {f"return_{name}": float(values.mean()) for name, values in returns.items()}


def play(config: Config, player: Player, seed: int) -> NDArray[np.float64]:
    """Undiscounted returns [episodes]: points of influence won."""
    options = {
        "seat": config.seat,
        "rivals": config.rivals,
        "autoreset_mode": AutoresetMode.DISABLED,
    }
    env = gym.make_vec(ENV_ID, num_envs=config.evaluation_episodes, **options)
    observations, _ = env.reset(seed=seed)
    returns = np.zeros(config.evaluation_episodes)
    is_over = np.zeros(config.evaluation_episodes, np.bool_)
    while not is_over.all():
        actions, _ = player.predict(observations, deterministic=True)
        observations, rewards, terminated, truncated, _ = env.step(actions)
        returns += rewards
        is_over |= terminated | truncated
    env.close()
    return returns


if __name__ == "__main__":
    main(tyro.cli(Config))
