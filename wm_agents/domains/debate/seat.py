"""One seat of `wm/Debate-v0` learned by PPO and compared with every scripted debater in it."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import PPO

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.errors import ConfigError
from wm_agents.evaluation.statistics import stratified_bootstrap
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_agents.training.seeding import spawn_seeds
from wm_envs.debate.dynamics import STRATEGIES
from wm_envs.debate.scripted import ScriptedDebater

ENV_ID = "wm/Debate-v0"


@dataclass(frozen=True)
class SeatConfig:
    """Which seat learns against whom, and for how long."""

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

    def __post_init__(self) -> None:
        if self.evaluation_episodes < 2:
            raise ConfigError(
                "expected evaluation_episodes of at least 2, for an interval, "
                f"got {self.evaluation_episodes}"
            )


class Contender(Protocol):
    """Anything with Stable-Baselines3's `predict`."""

    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[NDArray[Any], Any]:
        """Actions for a batch of observations."""


def learn_seat(config: SeatConfig, seed: int) -> tuple[PPO, dict[str, Any]]:
    """Train an agent and compare it with every script; gives the agent and the figures.

    Args:
        config: The seat and the training.
        seed: Of the agent, the environments and, apart from those, the evaluation.
    """
    # Evaluation gets a seed of its own, so that no episode is both learned from and judged on.
    agent_seed, evaluation_seed = spawn_seeds(seed, 2)
    started = time.perf_counter()
    agent = train_seat(config, agent_seed)
    seconds = time.perf_counter() - started
    figures = compare_with_scripts(config, agent, evaluation_seed) | {
        "total_timesteps": agent.num_timesteps,
        "training_seconds": round(seconds, 1),
        "seat": config.seat,
        "seed": seed,
    }
    return agent, figures


def train_seat(config: SeatConfig, seed: int) -> PPO:
    """PPO in the seat."""
    agent = PPO(
        "MlpPolicy",
        SB3VecEnv(_make_env(config, config.num_envs, AutoresetMode.SAME_STEP)),
        n_steps=config.rollout_steps,
        batch_size=config.num_envs * config.rollout_steps // 5,
        n_epochs=8,
        # A falling rate: the last updates refine a policy instead of moving it about.
        learning_rate=lambda remaining: config.learning_rate * (0.05 + 0.95 * remaining),
        gamma=0.98,
        gae_lambda=0.9,
        # Noise in seven stakes at once spends the budget: it has to start small.
        policy_kwargs={"log_std_init": -2.0, "net_arch": [64, 64]},
        seed=seed,
        device="cpu",
    )
    return agent.learn(config.total_timesteps)


def compare_with_scripts(config: SeatConfig, agent: Contender, seed: int) -> dict[str, Any]:
    """Returns of the agent and of each script on the same episodes.

    Persons, order of observations and rivals are the same for all, so differences are paired.
    """
    returns = {name: seat_returns(config, ScriptedDebater(name), seed) for name in STRATEGIES}
    learned = seat_returns(config, agent, seed)
    best = max(returns, key=lambda name: float(returns[name].mean()))
    # Paired: both played the same episodes, which takes most of the noise out of the difference.
    difference = stratified_bootstrap(learned - returns[best], np.mean)
    figures: dict[str, Any] = {
        "ppo_return": float(learned.mean()),
        "best_script": best,
        "best_script_return": float(returns[best].mean()),
        **difference.flatten("difference"),
        "evaluation_episodes": len(learned),
    }
    return figures | {f"return_{name}": float(values.mean()) for name, values in returns.items()}


def seat_returns(config: SeatConfig, contender: Contender, seed: int) -> NDArray[np.float64]:
    """Undiscounted returns [episodes]: points of influence won."""
    # One environment for each episode, each played once: no episode is cut short by an autoreset.
    env = _make_env(config, config.evaluation_episodes, AutoresetMode.DISABLED)
    obs, _ = env.reset(seed=seed)
    returns = np.zeros(config.evaluation_episodes)
    is_over = np.zeros(config.evaluation_episodes, np.bool_)
    while not is_over.all():
        actions, _ = contender.predict(obs, deterministic=True)
        obs, rewards, terminated, truncated, _ = env.step(actions)
        returns += rewards
        is_over |= terminated | truncated
    env.close()
    return returns


def _make_env(config: SeatConfig, num_envs: int, autoreset_mode: AutoresetMode) -> Any:
    return gym.make_vec(
        ENV_ID,
        num_envs=num_envs,
        seat=config.seat,
        rivals=config.rivals,
        autoreset_mode=autoreset_mode,
    )
