"""What a reward is worth where the world has changed: transfer of an inferred reward to other dynamics.

    python examples/irl_transfer.py --masses 1.5 2 2.5 --output-dir runs/irl_transfer

An expert swings up the pendulum of Gymnasium. AIRL infers a reward of the state alone from ten of its
episodes, with a learner that begins at random there and never looks at the environment's rewards.
Then the pendulum gets another mass. A new PPO learns there from the inferred reward, beside the same
PPO on the true one, and beside those who can only do again what was done at home: behavioral cloning,
AIRL's own policy and the expert's rule itself. Writes summary.json (returns by the true reward, and
shares of the way from random actions to the expert at home, and to PPO on the true reward where the
pendulum has changed) and transfer.png.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import wm_agents as wma
import wm_envs
from wm_agents.evaluation.episodes import normalized_returns
from wm_agents.irl.rewards import RewardRelabelVecEnv
from wm_agents.planning.classic_control import swing_up

ENV_ID = "Pendulum-v1"
NUM_ENVS = 32
GAMMA = 0.95
"""Discount of AIRL and of the new agents."""


@dataclass(frozen=True)
class Config:
    """How the world changes, and how much is learned there."""

    masses: tuple[float, ...] = (1.5, 2.0, 2.5)
    """Of the changed pendulums; the expert's has 1."""
    num_episodes: int = 10
    """Of the expert."""
    airl_timesteps: int = 98_304
    """Steps of AIRL's learner on the pendulum as it was."""
    num_replay_rounds: int | None = None
    """Rounds whose steps AIRL's discriminator remembers; None for all."""
    total_timesteps: int = 196_608
    """Steps of each new agent on each changed pendulum."""
    num_test_episodes: int = 50
    """Of each agent, with starts that no training has used."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/irl_transfer")
    """Folder for summary.json and transfer.png."""


def main(config: Config) -> dict[str, Any]:
    """Record, infer, change the world, learn, compare; returns the summary."""
    config = wma.expand_paths(config)
    if not config.masses or not all(0 < mass < 10 for mass in config.masses):
        raise wma.ConfigError(f"masses={config.masses}: give some from 0 to 10, such as 1.5")
    started = time.process_time()
    torch.set_num_threads(1)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    env = gym.make(ENV_ID)
    shown = wm_envs.record(
        ENV_ID, episodes=config.num_episodes, policy=swing_up, seed=1000 * config.seed
    )
    cloning = wma.BehavioralCloning(env.observation_space, env.action_space, seed=config.seed)
    cloning.fit(shown)
    airl = infer_reward(shown, config)
    of_home = {
        "random": wma.RandomAgent(env.action_space, config.seed),
        "expert": wma.FunctionAgent(swing_up),
        "cloning": cloning,
        "airl_policy": airl,
    }
    returns = {"1": {name: score(agent, 1.0, config) for name, agent in of_home.items()}}
    shares = {"1": normalized_returns(returns["1"], "random", "expert")}
    for mass in config.masses:
        name = f"{mass:g}"
        rewards = {"inferred_reward": airl, "true_reward": None}
        agents = of_home | {key: learn(mass, reward, config) for key, reward in rewards.items()}
        returns[name] = {key: score(agent, mass, config) for key, agent in agents.items()}
        shares[name] = normalized_returns(returns[name], "random", "true_reward")
    summary = {
        "seed": config.seed,
        "reward_correlation": reward_correlation(airl),
        "returns": returns,
        "shares": shares,
        "num_demonstrated_steps": len(shown.actions),
        "cpu_seconds": time.process_time() - started,
    }
    lines = {
        name.replace("_", " "): [at_mass.get(name, np.nan) for at_mass in returns.values()]
        for name in returns[name]
    }
    label = "mean true return of an episode"
    path = config.output_dir / "transfer.png"
    wma.plot_lines(path, [float(mass) for mass in returns], lines, "mass of the pendulum", label)
    wma.write_summary(config.output_dir, summary, is_printed=True)
    return summary


def infer_reward(shown: Any, config: Config) -> wma.AdversarialIRL:
    """AIRL from nothing, with a reward of states."""
    envs = make_vec_env(ENV_ID, 16, seed=config.seed)
    settings = wma.AdversarialConfig.from_nothing(
        envs.action_space, 16, gamma=GAMMA, num_replay_rounds=config.num_replay_rounds
    )
    return wma.AdversarialIRL(shown, envs, settings, config.seed).learn(config.airl_timesteps)


def reward_correlation(airl: wma.AdversarialIRL) -> float:
    """Of the inferred and the true reward over an even grid of angles and speeds."""
    grids = np.meshgrid(np.linspace(-np.pi, np.pi, 61), np.linspace(-8, 8, 41))
    angle, speed = (grid.ravel() for grid in grids)
    states = np.stack([np.cos(angle), np.sin(angle), speed], 1)
    inferred = airl.reward(states, np.zeros((len(states), 1)))
    return float(np.corrcoef(inferred, -(angle**2) - 0.1 * speed**2)[0, 1])


def changed_env(mass: float) -> Any:
    """The pendulum with another mass."""
    env: Any = gym.make(ENV_ID)
    env.unwrapped.m = mass
    return env


def learn(mass: float, airl: wma.AdversarialIRL | None, config: Config) -> Any:
    """A new PPO on a changed pendulum, for an inferred reward or for the true one."""
    envs: Any = make_vec_env(partial(changed_env, mass), NUM_ENVS, seed=config.seed)
    if airl is not None:
        inferred = airl.reward_network
        envs = RewardRelabelVecEnv(envs, lambda steps: inferred(steps.observations, steps.actions))
    agent = PPO(
        "MlpPolicy",
        # No unit of a reward is better than another.
        VecNormalize(envs, norm_obs=False, gamma=GAMMA, clip_reward=np.inf),
        n_steps=64,
        batch_size=256,
        gamma=GAMMA,
        learning_rate=lambda remaining: 1e-3 * remaining,
        target_kl=0.03,
        seed=config.seed,
        device="cpu",
    )
    with wma.progress(config.total_timesteps, "PPO") as bar:
        # The callback has to give True, or learning stops.
        return agent.learn(config.total_timesteps, lambda *_: bar.advance(envs.num_envs) is None)


def score(agent: Any, mass: float, config: Config) -> float:
    """Mean return over the test episodes, by the true reward of a pendulum of this mass."""
    envs: Any = gym.vector.SyncVectorEnv([partial(changed_env, mass)] * 10)
    result = wma.evaluate(agent, envs, config.num_test_episodes, seed=50_000 + config.seed)
    return float(result.mean_return)


if __name__ == "__main__":
    main(tyro.cli(Config))
