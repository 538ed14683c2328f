"""Imitate an expert from ten of its episodes: adversarial IRL beside behaviour cloning.

    python examples/irl_imitation.py --env-id Pendulum-v1 --output-dir runs/irl_imitation

A scripted expert balances the pole or swings up the pendulum. AIRL learns a reward and a policy
from its episodes, with PPO of Stable-Baselines3 and without a look at the environment's rewards;
behaviour cloning learns the policy alone. Writes summary.json: returns of both, and as shares of
the way from random actions to the expert (share_airl, share_cloning), which for CartPole is nearly
the share of the expert's return.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from stable_baselines3.common.env_util import make_vec_env

from wm_agents.evaluation.episodes import RandomAgent, evaluate
from wm_agents.irl import AdversarialConfig, AdversarialIRL, BehavioralCloning, Demonstrations
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs import record
from wm_envs.data.paths import expand_paths

EnvId = Literal["CartPole-v1", "Pendulum-v1"]


@dataclass(frozen=True)
class Config:
    """What to imitate."""

    env_id: EnvId = "Pendulum-v1"
    """The task; its expert is scripted here."""
    num_episodes: int = 10
    """Of the expert."""
    total_timesteps: int = 60_000
    """Steps of the environments for AIRL."""
    num_envs: int = 8
    """Environments that are stepped together."""
    is_state_only: bool = False
    """Rewards of states only."""
    starts_from_clone: bool = True
    """Let behaviour cloning teach AIRL's policy first."""
    num_test_episodes: int = 50
    """Of each policy, with seeds that no training saw."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/irl_imitation")
    """Folder for summary.json."""


def main(config: Config) -> dict[str, Any]:
    """Record, imitate, evaluate, write; returns the summary."""
    config = expand_paths(config)
    torch.set_num_threads(1)
    make_output_directory(config.output_dir)
    summary = imitate(config)
    write_summary(config.output_dir, summary)
    print(json.dumps(summary, indent=2))
    return summary


def imitate(config: Config) -> dict[str, Any]:
    """The figures of one seed."""
    started = time.perf_counter()
    recording = record(
        config.env_id,
        episodes=config.num_episodes,
        policy=EXPERTS[config.env_id],
        seed=1000 * config.seed,
        progress=False,
    )
    demonstrations = Demonstrations.of(recording)
    envs = make_vec_env(config.env_id, config.num_envs, seed=config.seed)
    cloning = BehavioralCloning(envs.observation_space, envs.action_space, seed=config.seed)
    cloning.fit(demonstrations)
    airl = AdversarialIRL(demonstrations, envs, settings(config), config.seed)
    start = score(airl, config)
    airl.learn(config.total_timesteps)
    returns = {
        "expert": score(Scripted(EXPERTS[config.env_id]), config),
        "random": score(RandomAgent(envs.action_space, config.seed), config),
        "cloning": score(cloning, config),
        "airl_at_the_start": start,
        "airl": score(airl, config),
    }
    envs.close()
    span = returns["expert"] - returns["random"]
    shares = {
        f"share_{name}": (returns[name] - returns["random"]) / span for name in ("cloning", "airl")
    }
    figures = {f"return_{name}": value for name, value in returns.items()} | shares
    return (
        figures
        | {"reward_correlation": reward_correlation(airl, demonstrations), "seed": config.seed}
        | {"discriminator_accuracy": airl.accuracy, "seconds": time.perf_counter() - started}
    )


class Scripted:
    """An expert as an agent, so that it is judged on the same test episodes."""

    def __init__(self, policy: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self.policy = policy

    def predict(self, observation: Any, state: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
        """For a batch of observations or a single one."""
        rows = np.atleast_2d(observation)
        actions = self.policy(rows)
        return (actions if np.ndim(observation) > 1 else actions[0]), state


def settings(config: Config) -> AdversarialConfig:
    """CartPole ends when the pole falls, so that its episodes vary in length by nature."""
    is_pole = config.env_id == "CartPole-v1"
    return AdversarialConfig(
        is_state_only=config.is_state_only,
        starts_from_clone=config.starts_from_clone,
        may_vary_in_length=is_pole,
        gamma=0.99 if is_pole else 0.95,
        learning_rate=3e-4 if is_pole else 1e-4,
    )


def score(agent: Any, config: Config) -> float:
    """Mean return over the test episodes."""
    return float(
        evaluate(
            agent, config.env_id, config.num_test_episodes, seed=50_000 + config.seed
        ).mean_return
    )


def reward_correlation(airl: AdversarialIRL, demonstrations: Demonstrations) -> float:
    """Correlation of inferred with true rewards over the expert's steps.

    0 where the true ones never vary.
    """
    data = demonstrations.trajectories
    if data.rewards.std() == 0:
        return 0.0
    inferred = airl.reward(data.observations[data.observation_of_step], data.actions)
    return float(np.corrcoef(inferred, data.rewards)[0, 1])


def balance_pole(observations: NDArray[Any]) -> NDArray[Any]:
    """CartPole: push towards where the pole falls, drifting back to the middle."""
    position, speed, angle, turning = np.asarray(observations).T
    return (0.05 * position + 0.1 * speed + angle + 0.3 * turning > 0).astype(np.int64)


def swing_up(observations: NDArray[Any]) -> NDArray[Any]:
    """Pendulum: pump energy until the top is in reach, then hold it (Astrom and Furuta 2000)."""
    upright, sideways, speed = np.asarray(observations, np.float64).T
    angle = np.arctan2(sideways, upright)
    # Energy of a rod of length 1, mass 1 and gravity 10, less that at rest on top.
    energy = speed**2 / 6 + 5 * (upright - 1)
    pump = -np.tanh(speed) * energy
    hold = -12 * angle - 3 * speed
    # Smooth in between, so that what one sees of it can be learned.
    share = 1 / (1 + np.exp(12 * (np.abs(angle) - 0.6)))
    return np.clip(share * hold + (1 - share) * np.clip(pump, -2, 2), -2, 2)[:, None].astype(
        np.float32
    )


EXPERTS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "CartPole-v1": balance_pole,
    "Pendulum-v1": swing_up,
}


if __name__ == "__main__":
    main(tyro.cli(Config))
