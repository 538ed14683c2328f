"""Stable-Baselines3's PPO on the real game, from the same features as the agent that imagines.

With scripted first steps, shaping and points as ends it has all that the dream has but the model.
"""

import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.domains.pong.dreaming import _Scripted
from wm_agents.domains.pong.features import is_flying_to_enemy
from wm_agents.domains.pong.object_view import PongView, calibrated_view
from wm_agents.evaluation.episodes import evaluate
from wm_agents.imagination.features import FeatureAgent, FeatureView, feature_space
from wm_agents.planning.collector import Collector
from wm_agents.sb3.vec_env import SB3VecEnv

Array = NDArray[Any]


@dataclass(frozen=True)
class BaselineConfig:
    """Learning from features of the real game."""

    env_id: str = "wm/PongAtari-v0"
    """Either Pong."""
    seed: int = 0
    """Of the games, the policy and everything drawn."""
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
    scripted_steps: int = 0
    """First real steps, which a scripted explorer takes; the view is estimated from them."""
    shaping: float = 0.0
    """Potential of a ball that flies to the enemy, in points."""
    ends_at_points: bool = False
    """A point ends an episode, though the game goes on."""
    learning_rate: float = 3e-4
    """Adam's step size."""
    ent_coef: float = 0.01
    """Weight of the policy's entropy."""
    n_epochs: int = 10
    """Passes over what was played between two updates."""
    gamma: float = 0.99
    """Discount per step."""
    widths: tuple[int, ...] = (64, 64)
    """Hidden units of policy and value."""


class _FeatureVecEnv(VecEnvWrapper):
    """A VecEnv whose observations are the features of the states that a view estimates.

    Args:
        venv: With the view's observations and Discrete actions from 0.
        view: How to estimate a state, and how it reads as features.
        config: Shaping, discount, and whether points are ends.
    """

    def __init__(self, venv: VecEnv, view: FeatureView, config: BaselineConfig) -> None:
        super().__init__(venv, feature_space(view))
        self.view = view
        self.config = config

    def reset(self) -> Any:
        """Initialize all states."""
        rows = np.asarray(self.venv.reset())
        self.potential = self._potential(rows)
        self.states = self.view.initialize(rows)
        return self.view.features(self.states)

    def step_async(self, actions: Array) -> None:
        """Keep the actions, which states take into account, too."""
        self.actions = np.asarray(actions, np.int64)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        """Update the states; those of ended rows are initialized."""
        observations, rewards, dones, infos = self.venv.step_wait()
        rows = np.asarray(observations)
        for row in np.flatnonzero(dones):
            one = slice(row, row + 1)
            final = self.view.values(infos[row]["terminal_observation"][None])
            last = self.view.update(self.states[one], self.actions[one], final)
            infos[row]["terminal_observation"] = self.view.features(last)[0]
        self.states = self.view.update(self.states, self.actions, self.view.values(rows))
        if dones.any():
            self.states[dones] = self.view.initialize(rows[dones])
        features = self.view.features(self.states)
        if self.config.ends_at_points:
            for row in np.flatnonzero((rewards != 0) & ~dones):
                infos[row]["terminal_observation"] = features[row]
            dones = dones | (rewards != 0)
        # As in `FeatureModel`: at an end the potential is 0.
        potential = self._potential(rows)
        shaped = rewards + self.config.gamma * potential * ~dones - self.potential
        self.potential = potential
        return features, shaped.astype(np.float32), dones, infos

    def _potential(self, rows: Array) -> Array:
        """Of observations [B, 56], in points [B]."""
        return self.config.shaping * is_flying_to_enemy(rows)


def run_baseline(config: BaselineConfig) -> dict[str, Any]:
    """Train and evaluate; the figures of the run."""
    began = time.perf_counter()
    env_kwargs: dict[str, Any] = {"repeat_action_probability": config.repeat_action_probability}
    games = gym.make_vec(
        config.env_id, config.num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **env_kwargs
    )
    view = PongView()
    if config.scripted_steps:
        experience = Collector(gym.make(config.env_id, **env_kwargs), config.seed)
        experience.collect(config.scripted_steps, _Scripted(config.seed))
        view, _ = calibrated_view(experience.trajectories())
    policy = PPO(
        "MlpPolicy",
        _FeatureVecEnv(SB3VecEnv(games), view, config),
        learning_rate=config.learning_rate,
        n_steps=config.num_steps,
        batch_size=min(256, config.num_envs * config.num_steps),
        n_epochs=config.n_epochs,
        gamma=config.gamma,
        ent_coef=config.ent_coef,
        policy_kwargs={"net_arch": list(config.widths)},
        seed=config.seed,
        device="cpu",
    )
    policy.learn(config.max_real_steps - config.scripted_steps)
    seconds = time.perf_counter() - began
    results = evaluate(
        FeatureAgent(policy, view),
        config.env_id,
        config.games,
        seed=config.seed + 50_000,
        env_kwargs=env_kwargs,
        deterministic=False,
    )
    return {
        "mean_score": results.mean_return,
        "worst_game": float(results.returns.min()),
        "games": len(results.returns),
        "real_steps": config.scripted_steps + int(policy.num_timesteps),
        "seconds": seconds,
    }
