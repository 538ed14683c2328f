"""Train Stable-Baselines3's PPO on any Gymnasium id, with or without a world-model loss.

    python examples/sb3_ppo.py --env-id wm/SequenceNext-v0 --total-timesteps 50000 --output-dir
    runs/ppo python examples/sb3_ppo.py --env-id wm/Navigation-v0 --world-model-coef 1 --output-dir
    runs/ppo_with_model

With coefficient 0 this is SB3's own PPO. Writes summary.json, learning_curve.png, the trained agent
as agent.zip, and its policy's weights with a model card (README.md, config.json,
model.safetensors).
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.errors import ConfigError
from wm_agents.evaluation.episodes import evaluate
from wm_agents.evaluation.plots import plot_learning_curves
from wm_agents.policy_gradient.world_model_ppo import WorldModelPPO
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_agents.training.cards import Card, save_with_card
from wm_agents.training.seeding import spawn_seeds
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths


@dataclass(frozen=True)
class Config:
    """What to train."""

    env_id: str = "wm/SequenceNext-v0"
    """Any Gymnasium id with Box or Discrete spaces; "module:id" imports the module first."""
    total_timesteps: int = 50_000
    """Environment steps, over all environments; rounded up to whole rollouts."""
    seed: int = 0
    """Seed of the agent, the environments and, apart from those, the evaluation."""
    num_envs: int = 64
    """Environments side by side."""
    world_model_coef: float = 0.0
    """Weight of the world-model loss; 0 is SB3's PPO."""
    rollout_steps: int = 32
    """Steps of each environment between two updates."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    evaluation_episodes: int = 500
    """Episodes of the closing evaluation, with the likeliest action."""
    output_dir: Path = Path("runs/sb3_ppo")
    """Folder for summary.json, learning_curve.png, agent.zip and the model card."""
    progress_bar: bool = False
    """Show SB3's progress bar."""


class EpisodeCurve(BaseCallback):
    """Keeps the mean of the episodes that finished in each rollout.

    Successes where they are reported, else returns.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.returns: list[float] = []
        self.successes: list[float] = []
        self._finished: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        self._finished += [info for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        if not self._finished:
            return
        self.steps.append(self.num_timesteps)
        self.returns.append(float(np.mean([info["episode"]["r"] for info in self._finished])))
        if all("is_success" in info for info in self._finished):
            self.successes.append(float(np.mean([info["is_success"] for info in self._finished])))
        self._finished.clear()


def main(config: Config) -> dict[str, float]:
    """Train and evaluate; returns the summary that is written."""
    config = expand_paths(config)
    check(config)
    make_output_directory(config.output_dir, has_pictures=True)
    agent_seed, evaluation_seed = spawn_seeds(config.seed, 2)
    env = VecMonitor(SB3VecEnv(make_rows(config.env_id, config.num_envs)))
    agent = make_agent(config, env, agent_seed)
    curve, start = EpisodeCurve(), time.perf_counter()
    agent.learn(config.total_timesteps, callback=curve, progress_bar=config.progress_bar)
    seconds = time.perf_counter() - start
    env.close()
    results = evaluate(agent, config.env_id, config.evaluation_episodes, seed=evaluation_seed)
    summary = results.summary() | training_numbers(agent, seconds)
    agent.save(config.output_dir / "agent.zip")
    write_summary(config.output_dir, summary)
    save_with_card(agent, config.output_dir, card_of(config, summary))
    draw(config, curve)
    print(json.dumps(summary, indent=2))
    return summary


def check(config: Config) -> None:
    """Refuse numbers that cannot work before anything is made."""
    for name in ("total_timesteps", "num_envs", "rollout_steps", "evaluation_episodes"):
        if getattr(config, name) < 1:
            raise SystemExit(f"{name} is at least 1, got {getattr(config, name)}")
    if config.num_envs * config.rollout_steps < 2:
        raise SystemExit(
            "num_envs * rollout_steps is at least 2: one transition alone has no advantage to compare"
        )


def make_rows(env_id: str, num_envs: int) -> VectorEnv[Any, Any, Any]:
    """A vector environment that restarts ended rows within the step.

    The native one of `wm/` ids, else a loop.
    """
    if env_id.split(":")[-1].startswith("wm/"):
        return gym.make_vec(env_id, num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    options = {"autoreset_mode": AutoresetMode.SAME_STEP}
    return gym.make_vec(env_id, num_envs, vectorization_mode="sync", vector_kwargs=options)


def make_agent(config: Config, env: VecMonitor, seed: int) -> PPO:
    """SB3's PPO, or ours where the world model has a weight; the minibatch divides the rollout."""
    rollout = config.rollout_steps * config.num_envs
    options: dict[str, Any] = {
        "n_steps": config.rollout_steps,
        "batch_size": next(size for size in range(min(256, rollout), 0, -1) if rollout % size == 0),
        "n_epochs": 4,
        "learning_rate": config.learning_rate,
        "ent_coef": config.entropy_coef,
        "seed": seed,
        "device": "cpu",  # these networks are too small for an accelerator
    }
    if config.world_model_coef == 0:
        return PPO("MlpPolicy", env, **options)
    try:
        return WorldModelPPO("MlpPolicy", env, world_model_coef=config.world_model_coef, **options)
    except ConfigError as error:
        raise SystemExit(str(error)) from error


def training_numbers(agent: PPO, seconds: float) -> dict[str, float]:
    """What the training took, and the world model's last error where there is one."""
    numbers = {
        "total_timesteps": agent.num_timesteps,
        "steps_per_second": agent.num_timesteps / seconds,
    }
    error = agent.logger.name_to_value.get("train/world_model_loss")
    return numbers if error is None else {**numbers, "world_model_loss": float(error)}


def card_of(config: Config, summary: dict[str, float]) -> Card:
    """What a stranger has to know about the agent."""
    name = "PPO" if config.world_model_coef == 0 else "PPO with a world model"
    options = (
        f"--world-model-coef {config.world_model_coef:g} --learning-rate {config.learning_rate:g}"
    )
    sizes = f"--total-timesteps {config.total_timesteps} --seed {config.seed} --num-envs {config.num_envs}"
    return Card(
        title=f"{name} on {config.env_id}",
        env_id=config.env_id,
        scores=summary,
        command=f"python examples/sb3_ppo.py --env-id {config.env_id} {sizes} {options}",
        seeds=(config.seed,),
        evaluation=f"{config.evaluation_episodes} episodes with the likeliest action.",
        limits="One seed: no claim about the method. To go on training load agent.zip.",
    )


def draw(config: Config, curve: EpisodeCurve) -> None:
    """The learning curve; a run too short to finish an episode has none."""
    if not curve.steps:
        return
    has_success = len(curve.successes) == len(curve.steps)
    label = (
        "PPO" if config.world_model_coef == 0 else f"PPO, world model {config.world_model_coef:g}"
    )
    plot_learning_curves(
        config.output_dir / "learning_curve.png",
        {label: [curve.successes if has_success else curve.returns]},
        curve.steps,
        ylabel="Success rate while training" if has_success else "Return while training",
        xlabel="Environment steps",
        title=config.env_id,
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
