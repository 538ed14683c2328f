"""Train RLlib's PPO on any Gymnasium id, on this machine or on a Ray cluster.

    python examples/rllib_ppo.py --env-id wm/SequenceNext-v0 --total-timesteps 40000 --num-runners 1
    python examples/rllib_ppo.py --env-id wm/Navigation-v0 --address auto --num-runners 16

Without `--address` Ray is started here and stopped in the end. The trained network is evaluated
like every other agent (`RLModuleAgent` has Stable-Baselines3's `predict`). Writes summary.json.
Needs the extra `ray`, and on a cluster wm-suite on every machine.
"""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro

import wm_agents as wma
import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.training.ray_session import RLModuleAgent


@dataclass(frozen=True)
class Config:
    """What to train."""

    env_id: str = "wm/SequenceNext-v0"
    """Any Gymnasium id with Box or Discrete spaces; "module:id" imports the module first."""
    total_timesteps: int = 40_000
    """Environment steps, rounded up to whole batches."""
    seed: int = 0
    """Seed of training; the evaluation episodes start from seed + 10,000 on."""
    address: str | None = None
    """Of a Ray cluster, such as "auto" or "ray://host:10001"; None starts Ray on this machine."""
    num_runners: int = 1
    """Processes that collect; 0 collects in the learner's own."""
    envs_per_runner: int = 8
    """Environments side by side in each of them."""
    batch_size: int = 2048
    """Steps between two updates, over all runners."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    evaluation_episodes: int = 200
    """Greedy episodes at the end."""
    output_dir: Path = Path("runs/rllib_ppo")
    """Folder for summary.json."""
    quiet: bool = False
    """No progress, only the closing result."""


def make_env(context: dict[str, Any]) -> gym.Env[Any, Any]:
    """What a worker calls: a fresh process knows no id before the import."""
    return gym.make(context["env_id"])


def make_algorithm(config: Config) -> Any:
    """RLlib's PPO on this id."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
    from ray.tune.registry import register_env

    register_env("wm_suite_env", make_env)
    settings = (
        PPOConfig()
        .environment("wm_suite_env", env_config={"env_id": config.env_id})
        .env_runners(
            num_env_runners=config.num_runners, num_envs_per_env_runner=config.envs_per_runner
        )
        .training(
            train_batch_size_per_learner=config.batch_size,
            minibatch_size=min(256, config.batch_size),
            num_epochs=4,
            lr=config.learning_rate,
            entropy_coeff=0.01,
        )
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64]))
        .debugging(seed=config.seed, log_level="ERROR")
    )
    return settings.build_algo()


def main(config: Config) -> dict[str, float]:
    """Train and evaluate; returns the summary that is written."""
    config = wma.expand_paths(config)
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # RLlib's, about itself
    folder = wma.make_output_directory(config.output_dir)
    with wma.ray_session(config.address, config.num_runners + 1):
        summary = train(config)
    wma.write_summary(folder, summary)
    print("  ".join(f"{name} {value:.4g}" for name, value in summary.items()))
    wma.say_where(folder)
    return summary


def train(config: Config) -> dict[str, float]:
    """Iterations until the steps are spent, then greedy episodes."""
    algorithm = make_algorithm(config)
    started, num_steps = time.perf_counter(), 0
    curve: list[tuple[int, float]] = []
    try:
        while num_steps < config.total_timesteps:
            result = algorithm.train()
            num_steps = int(result["num_env_steps_sampled_lifetime"])
            mean_return = float(result.get("env_runners", {}).get("episode_return_mean", np.nan))
            curve.append((num_steps, mean_return))
            if not config.quiet:
                print(f"{num_steps:>10,} steps  return {mean_return:.3g}")
        seconds = time.perf_counter() - started
        env = make_env({"env_id": config.env_id})
        agent = RLModuleAgent(algorithm.get_module(), env.action_space)
        env.close()
        results = wma.evaluate(
            agent, config.env_id, config.evaluation_episodes, seed=config.seed + 10_000
        )
    finally:
        algorithm.stop()
    steps, returns = zip(*curve, strict=True)
    picture = config.output_dir / "learning_curve.png"
    wma.plot_lines(picture, steps, {"RLlib PPO": returns}, "steps", "mean return of an episode")
    return {
        **results.summary(),
        "total_timesteps": num_steps,
        "steps_per_second": num_steps / seconds,
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
