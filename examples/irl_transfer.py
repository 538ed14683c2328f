"""What a reward is worth where the world has changed: transfer of an inferred reward to other dynamics.

    python examples/irl_transfer.py --mass 1.5 --output-dir runs/irl_transfer

An expert swings up the pendulum of Gymnasium. From its episodes maximum-entropy IRL infers a reward
of the state alone, on rollouts of a world model that was fitted to random actions and to the
demonstrations: the environment's rewards are never looked at. A first PPO learns from that reward in
the world model alone, and is tried on the pendulum as it was. Then the pendulum gets another mass. PPO
learns there from the inferred reward, beside the same PPO on the true reward, and beside behavioral
cloning, which can only do again what the expert did. Writes summary.json (returns on the true reward,
and shares: of the way from random actions to the expert at home, and to PPO on the true reward where
the pendulum has changed) and transfer.png.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

import wm_agents as wma
import wm_envs
from wm_agents.irl.rewards import LearnedReward, RewardedModel, linear_reward
from wm_agents.irl.sampled import model_rollouts
from wm_agents.planning.classic_control import swing_up
from wm_envs.data.trajectories import Trajectories

ENV_ID = "Pendulum-v1"
FEATURES = ("angle", "speed")
NUM_ENVS = 32
EPISODE_STEPS = 200
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
    total_timesteps: int = 98_304
    """Steps of each PPO."""
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
    known = Trajectories.concatenate([shown, explored])
    model = fit_model(known, config)
    fit = infer_reward(shown, model, config.seed)
    reward = linear_reward(state_features, fit.weights)

    env = gym.make(ENV_ID)
    cloning = wma.BehavioralCloning(env.observation_space, env.action_space, seed=config.seed)
    cloning.fit(shown)
    random = wma.RandomAgent(env.action_space, config.seed)
    starts = known.start_observations[known.step_starts]
    dream = wma.ImaginedVectorEnv(
        RewardedModel(model, reward), starts, EPISODE_STEPS, NUM_ENVS, seed=config.seed
    )
    at_home = {
        "random": random,
        "expert": wma.FunctionAgent(swing_up),
        "cloning": cloning,
        "inferred_reward_in_world_model": learn(dream.as_sb3(), config),
    }
    changed = partial(changed_env, config.mass)
    elsewhere = {
        "random": random,
        "cloning": cloning,
        "inferred_reward": learn(envs_of(lambda: LearnedReward(changed(), reward), config), config),
        "true_reward": learn(envs_of(changed, config), config),
    }
    summary: dict[str, Any] = {"mass": config.mass, "seed": config.seed, "flags": list(fit.flags)}
    summary["weights"] = dict(zip(FEATURES, fit.weights.tolist(), strict=True))
    for prefix, agents, mass, best in (
        ("home_", at_home, 1.0, "expert"),
        ("", elsewhere, config.mass, "true_reward"),
    ):
        returns = {name: score(agent, mass, config) for name, agent in agents.items()}
        summary |= {f"{prefix}return_{name}": value for name, value in returns.items()}
        span = returns[best] - returns["random"]
        for name in returns.keys() - {"random", best}:
            summary[f"{prefix}share_{name}"] = (returns[name] - returns["random"]) / span
    wma.write_summary(config.output_dir, summary, is_printed=True)
    draw(config, summary)
    return summary


def fit_model(known: Trajectories, config: Config) -> wma.EnsembleModel:
    """A small world model of the pendulum as it was."""
    shape = wma.EnsembleConfig(num_members=3, dynamics_widths=(64, 64))
    model = wma.EnsembleModel.for_env(ENV_ID, shape, seed=config.seed)
    model.fit(known, wma.FitConfig(num_updates=config.model_updates))
    return model


def infer_reward(shown: Trajectories, model: wma.EnsembleModel, seed: int) -> Any:
    """Weights of what the expert's states have, from what a world model says it could have had."""
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


def envs_of(make: Callable[[], Any], config: Config) -> VecEnv:
    """As many environments as PPO steps together."""
    return make_vec_env(make, NUM_ENVS, seed=config.seed)


def learn(envs: VecEnv, config: Config) -> Any:
    """The same PPO, on whatever reward the environments give."""
    scaled = VecNormalize(envs, norm_obs=False, gamma=0.95, clip_reward=np.inf)
    agent = PPO(
        "MlpPolicy",
        scaled,  # no unit of a reward is better than another
        n_steps=64,
        batch_size=256,
        gamma=0.95,
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


def draw(config: Config, summary: dict[str, Any]) -> None:
    """Returns where the pendulum has changed."""
    rows = {
        name.removeprefix("return_").replace("_", " "): value
        for name, value in summary.items()
        if name.startswith("return_")
    }
    wma.plot_intervals(
        config.output_dir / "transfer.png",
        rows,
        "mean return of an episode, by the true reward",
        title=f"Pendulum with mass {config.mass:g}, the expert's had 1",
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
