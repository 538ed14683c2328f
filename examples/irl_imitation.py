"""Imitate an expert from ten of its episodes: adversarial IRL beside behavioral cloning.

    python examples/irl_imitation.py --env-id Pendulum-v1 --output-dir runs/irl_imitation

A scripted expert balances the pole or swings up the pendulum. AIRL learns a reward and a policy
from its episodes, with PPO of Stable-Baselines3 and without a look at the environment's rewards;
behavioral cloning learns the policy alone. Writes summary.json: returns of both, and as shares of
the way from random actions to the expert (share_airl, share_cloning), which for CartPole is nearly
the share of the expert's return.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from stable_baselines3.common.env_util import make_vec_env

import wm_agents as wma
import wm_envs


@dataclass(frozen=True)
class Config:
    """What to imitate."""

    env_id: Literal["CartPole-v1", "Pendulum-v1"] = "Pendulum-v1"
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
    """Let behavioral cloning teach AIRL's policy first."""
    num_test_episodes: int = 50
    """Of each policy, with seeds that no training has used."""
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/irl_imitation")
    """Folder for summary.json."""


def main(config: Config) -> dict[str, Any]:
    """Record, imitate, evaluate, write; returns the summary."""
    config = wma.expand_paths(config)
    torch.set_num_threads(1)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    started = time.perf_counter()

    expert = Expert(config.env_id)
    demonstrations = wm_envs.record(
        config.env_id,
        episodes=config.num_episodes,
        policy=expert.act,
        seed=1000 * config.seed,
        progress=False,
    )
    envs = make_vec_env(config.env_id, config.num_envs, seed=config.seed)
    cloning = wma.BehavioralCloning(envs.observation_space, envs.action_space, seed=config.seed)
    cloning.fit(demonstrations)

    is_pole = config.env_id == "CartPole-v1"
    settings = wma.AdversarialConfig(
        is_state_only=config.is_state_only,
        starts_from_clone=config.starts_from_clone,
        may_vary_in_length=is_pole,  # an episode ends when the pole falls
        gamma=0.99 if is_pole else 0.95,
        learning_rate=3e-4 if is_pole else 1e-4,
    )
    airl = wma.AdversarialIRL(demonstrations, envs, settings, config.seed)
    return_at_the_start = score(airl, config)
    airl.learn(config.total_timesteps)

    returns = {
        "expert": score(expert, config),
        "random": score(wma.RandomAgent(envs.action_space, config.seed), config),
        "cloning": score(cloning, config),
        "airl_at_the_start": return_at_the_start,
        "airl": score(airl, config),
    }
    envs.close()
    span = returns["expert"] - returns["random"]
    summary: dict[str, Any] = {f"return_{name}": value for name, value in returns.items()}
    for name in ("cloning", "airl"):
        summary[f"share_{name}"] = (returns[name] - returns["random"]) / span
    correlation = 0.0  # where the true rewards never vary
    if demonstrations.rewards.std() > 0:
        inferred = airl.reward(demonstrations.start_observations, demonstrations.actions)
        correlation = float(np.corrcoef(inferred, demonstrations.rewards)[0, 1])
    summary |= {
        "reward_correlation": correlation,
        "seed": config.seed,
        "discriminator_accuracy": airl.accuracy,
        "seconds": time.perf_counter() - started,
    }
    wma.plot_intervals(
        config.output_dir / "returns.png",
        {name.replace("_", " "): value for name, value in returns.items()},
        "mean return of an episode",
        title=f"{config.env_id} from {config.num_episodes} episodes of an expert",
    )
    wma.write_summary(config.output_dir, summary, is_printed=True)
    return summary


def score(agent: Any, config: Config) -> float:
    """Mean return over the test episodes."""
    seed = 50_000 + config.seed
    return float(
        wma.evaluate(agent, config.env_id, config.num_test_episodes, seed=seed).mean_return
    )


class Expert:
    """A scripted agent."""

    def __init__(self, env_id: str) -> None:
        self.act = balance_pole if env_id == "CartPole-v1" else swing_up

    def predict(self, observation: Any, state: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
        """For a batch of observations or a single one."""
        actions = self.act(np.atleast_2d(observation))
        return (actions if np.ndim(observation) > 1 else actions[0]), state


def balance_pole(observations: NDArray[Any]) -> NDArray[Any]:
    """CartPole: push towards where the pole falls, drifting back to the middle."""
    position, velocity, angle, turning = np.asarray(observations).T
    return (0.05 * position + 0.1 * velocity + angle + 0.3 * turning > 0).astype(np.int64)


def swing_up(observations: NDArray[Any]) -> NDArray[Any]:
    """Pendulum: pump energy until the top is in reach, then hold it (Astrom and Furuta 2000)."""
    upright, sideways, turning = np.asarray(observations, np.float64).T
    angle = np.arctan2(sideways, upright)
    # Energy of a rod of length 1, mass 1 and gravity 10, less that at rest on top.
    energy = turning**2 / 6 + 5 * (upright - 1)
    pump = np.clip(-np.tanh(turning) * energy, -2, 2)
    hold = -12 * angle - 3 * turning
    # Smooth in between, so that it can be learned from what it does.
    share = 1 / (1 + np.exp(12 * (np.abs(angle) - 0.6)))
    return np.clip(share * hold + (1 - share) * pump, -2, 2)[:, None].astype(np.float32)


if __name__ == "__main__":
    main(tyro.cli(Config))
