"""What a reward is worth where the world has changed: transfer of an inferred reward to other dynamics.

    python examples/irl_transfer.py --mass 1.5 --output-dir runs/irl_transfer

An expert swings up the pendulum of Gymnasium. From its episodes maximum-entropy IRL infers a reward
of the state alone, on rollouts of a world model that was fitted to random actions and to the
demonstrations: the environment's rewards are never looked at. Then the pendulum gets another mass.
SAC learns there from the inferred reward, beside the same SAC on the true reward, and beside
behavioral cloning, which can only do again what the expert did. Writes summary.json (returns on the
true reward of the changed task, and shares of the way from random actions to SAC on the true
reward) and transfer.png.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from numpy.typing import NDArray
from stable_baselines3 import SAC

import wm_agents as wma
import wm_envs
from wm_agents.irl.rewards import LearnedReward, linear_reward
from wm_agents.irl.sampled import model_rollouts
from wm_envs.data.trajectories import Trajectories

ENV_ID = "Pendulum-v1"
FEATURES = ("angle", "speed")
Array = NDArray[Any]


@dataclass(frozen=True)
class Config:
    """How the world changes, and how much is learned there."""

    mass: float = 1.5
    """Of the changed pendulum; the expert's has 1."""
    num_episodes: int = 10
    """Of the expert."""
    num_random_episodes: int = 20
    """Of random actions, from which the world model learns what else could happen."""
    model_updates: int = 2_000
    """Of the world model."""
    total_timesteps: int = 8_000
    """Steps of each SAC on the changed pendulum."""
    num_test_episodes: int = 50
    """Of each agent, with starts that no training has used."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/irl_transfer")
    """Folder for summary.json and transfer.png."""


def main(config: Config) -> dict[str, Any]:
    """Record, infer, change the world, learn, compare; returns the summary."""
    config = wma.expand_paths(config)
    if not 0 < config.mass < 10:
        raise wma.ConfigError(f"mass={config.mass}: give one from 0 to 10, such as 1.5")
    torch.set_num_threads(1)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    seed = 1000 * config.seed
    shown = wm_envs.record(ENV_ID, episodes=config.num_episodes, policy=swing_up, seed=seed)
    explored = wm_envs.record(ENV_ID, episodes=config.num_random_episodes, seed=seed + 500)
    fit = infer_reward(shown, explored, config.model_updates, config.seed)
    reward = linear_reward(state_features, fit.weights)

    env = gym.make(ENV_ID)
    cloning = wma.BehavioralCloning(env.observation_space, env.action_space, seed=config.seed)
    cloning.fit(shown)
    agents = {
        "random": wma.RandomAgent(env.action_space, config.seed),
        "cloning": cloning,
        "inferred_reward": learn(LearnedReward(changed_env(config.mass), reward), config),
        "true_reward": learn(changed_env(config.mass), config),
    }
    returns = {name: score(agent, config) for name, agent in agents.items()}
    span = returns["true_reward"] - returns["random"]
    summary: dict[str, Any] = {f"return_{name}": value for name, value in returns.items()}
    for name in ("cloning", "inferred_reward"):
        summary[f"share_{name}"] = (returns[name] - returns["random"]) / span
    summary |= {"mass": config.mass, "flags": list(fit.flags), "seed": config.seed}
    summary["weights"] = dict(zip(FEATURES, fit.weights.tolist(), strict=True))
    wma.write_summary(config.output_dir, summary, is_printed=True)
    draw(config, returns)
    return summary


def infer_reward(shown: Any, explored: Any, num_updates: int, seed: int) -> Any:
    """Weights of what the expert's states have, from what a world model says it could have had."""
    shape = wma.EnsembleConfig(num_members=3, dynamics_widths=(64, 64))
    model = wma.EnsembleModel.for_env(ENV_ID, shape, seed=seed)
    model.fit(Trajectories.concatenate([shown, explored]), wma.FitConfig(num_updates=num_updates))
    settings = wma.SampledConfig(horizon=20, stride=20, noise_std=1.0, hold=5, seed=seed)
    futures = model_rollouts(model, shown)
    return wma.SampledMaxEntIRL(futures, state_features, FEATURES, settings).fit(shown)


def state_features(observations: Array, actions: Array) -> Array:
    """Squares of the angle from the top and of the speed [B, H, 2], of the states acted in."""
    upright, sideways, speed = np.moveaxis(observations[:, : actions.shape[1]], 2, 0)
    return np.stack([np.arctan2(sideways, upright) ** 2, speed**2], 2).astype(np.float64)


def changed_env(mass: float) -> Any:
    """The pendulum with another mass."""
    env: Any = gym.make(ENV_ID)
    env.unwrapped.m = mass
    return env


def learn(env: Any, config: Config) -> Any:
    """The same SAC, on whatever reward the environment gives."""
    agent = SAC("MlpPolicy", env, learning_rate=1e-3, seed=config.seed, device="cpu")
    return agent.learn(config.total_timesteps)


def score(agent: Any, config: Config) -> float:
    """Mean return over the test episodes, by the true reward of the changed task."""
    envs: Any = gym.vector.SyncVectorEnv([partial(changed_env, config.mass)] * 10)
    result = wma.evaluate(agent, envs, config.num_test_episodes, seed=50_000 + config.seed)
    return float(result.mean_return)


def swing_up(observations: Array) -> Array:
    """The expert: pump energy until the top is in reach, then hold it."""
    upright, sideways, speed = np.asarray(observations, np.float64).T
    angle = np.arctan2(sideways, upright)
    pump = np.clip(-np.tanh(speed) * (speed**2 / 6 + 5 * (upright - 1)), -2, 2)
    share = 1 / (1 + np.exp(12 * (np.abs(angle) - 0.6)))
    torque = share * (-12 * angle - 3 * speed) + (1 - share) * pump
    return np.clip(torque, -2, 2)[:, None].astype(np.float32)


def draw(config: Config, returns: dict[str, float]) -> None:
    """Returns as bars."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.barh([name.replace("_", " ") for name in returns], list(returns.values()))
    axes.set(xlabel="return on the true reward", title=f"Pendulum with mass {config.mass:g}")
    figure.savefig(config.output_dir / "transfer.png", dpi=110)


if __name__ == "__main__":
    main(tyro.cli(Config))
