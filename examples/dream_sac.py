"""Train Stable-Baselines3's SAC inside a learned world model, beside the same SAC on the real environment.

    python examples/dream_sac.py --env-id Pendulum-v1 --seed 0 --output-dir runs/dream_sac

The dream arm repeats: act for a while in the real environment, fit an ensemble to all real steps so
far, go on training SAC in short imagined branches from real states (model-based policy
optimisation, Janner et al. 2019). Both arms have the same SAC with the same settings. What differs
is where their transitions come from, and how many gradient steps a real step is worth: imagined
transitions are cheap, so the dream takes more of them. Whether that alone is the gain is seen with
`--model-free-gradients`. Writes summary.json and learning_curves.png.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.evaluation.charts import times_fewer
from wm_agents.evaluation.episodes import RandomAgent, evaluate
from wm_agents.evaluation.plots import plot_learning_curves
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.planning.experience import Experience
from wm_agents.planning.holding import HeldActionAgent
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_agents.training.progress import ProgressBar, progress
from wm_agents.training.summary import make_output_directory, write_summary
from wm_agents.world_models import EnsembleConfig, EnsembleModel, FitConfig
from wm_envs.data.paths import expand_paths


@dataclass(frozen=True)
class Config:
    """What to run."""

    env_id: str = "Pendulum-v1"
    """Any Gymnasium id with a flat Box observation and a Box action."""
    seed: int = 0
    """First seed."""
    num_seeds: int = 1
    """Runs of each arm, with seeds counted upwards."""
    output_dir: Path = Path("runs/dream_sac")
    """Folder for summary.json and learning_curves.png."""
    real_steps: int = 1000
    """Real steps of the dream arm."""
    round_steps: int = 200
    """Real steps between two fits of the model; the first round holds random actions."""
    longest_hold: int = 20
    """Steps for which a random action of the first round is held at most.

    1 draws one at every step.
    """
    model_free_steps: int = 6000
    """Real steps of the model-free arm."""
    evaluate_every: int = 250
    """Real steps between evaluations of the model-free arm."""
    evaluation_episodes: int = 20
    """Episodes of an evaluation; they are not counted as real steps."""
    gradient_steps: int = 4000
    """SAC's gradient steps per round in the dream."""
    model_free_gradients: int = 1
    """SAC's gradient steps per real step in the model-free arm."""
    dream_envs: int = 16
    """Imagined rows."""
    dream_horizon: int = 30
    """Steps of an imagined branch."""
    gradients_per_step: int = 4
    """SAC's gradient steps each time that all rows have imagined one step."""
    disagreement_penalty: float = 0.0
    """Reward lost per standard deviation of disagreement between the ensemble's members."""
    first_updates: int = 2000
    """Optimiser steps of the model's first fit."""
    later_updates: int = 1000
    """Optimiser steps of each later fit, which goes on from the last."""
    model_width: int = 128
    """Units in each hidden layer of the model."""
    learning_rate: float = 1e-3
    """SAC's, in both arms."""
    share: float = 0.9
    """What counts as reached.

    This share of the model-free arm's final return, counted from random actions.
    """
    num_threads: int = 1
    """Threads of torch."""


@dataclass(frozen=True)
class Curve:
    """Mean returns of one run after so many real steps."""

    steps: NDArray[np.int64]
    returns: NDArray[np.float64]

    def steps_to(self, threshold: float) -> float | None:
        """Real steps at the first evaluation that reached the threshold; None where none did."""
        reached = np.flatnonzero(self.returns >= threshold)
        return float(self.steps[reached[0]]) if len(reached) else None


def main(config: Config) -> dict[str, float]:
    """Run both arms for every seed; returns the summary that is written."""
    config = expand_paths(config)
    torch.set_num_threads(config.num_threads)
    make_output_directory(config.output_dir, has_pictures=True)
    seeds = range(config.seed, config.seed + config.num_seeds)
    total = config.num_seeds * (config.model_free_steps + config.real_steps)
    with progress(total, "real steps") as bar:
        dreams = [dream(config, seed, bar) for seed in seeds]
        real = [model_free(config, seed, bar) for seed in seeds]
    space = gym.make(config.env_id).action_space
    random = evaluate(
        RandomAgent(space, config.seed), config.env_id, 50, seed=config.seed + 20_000
    ).mean_return
    summary = summarise(config, dreams, real, random)
    write_summary(config.output_dir, summary)
    draw(config, dreams, real, summary)
    report(summary)
    return summary


def dream(config: Config, seed: int, bar: ProgressBar) -> Curve:
    """The dream arm: act, fit, dream, repeat."""
    env = gym.make(config.env_id)
    experience, steps, returns = Experience(env, seed), [], []
    explorer = HeldActionAgent(env.action_space, config.longest_hold, seed)
    widths = (config.model_width, config.model_width)
    model = EnsembleModel(
        env.observation_space, env.action_space, EnsembleConfig(dynamics_widths=widths), seed=seed
    )
    agent: SAC | None = None
    while experience.num_steps < config.real_steps:
        experience.collect(
            min(config.round_steps, config.real_steps - experience.num_steps), agent or explorer
        )
        trajectories = experience.trajectories()
        updates = config.first_updates if agent is None else config.later_updates
        model.fit(trajectories, fit_config(updates, seed, is_first=agent is None), progress=False)
        # Every real observation is a place to branch from, but for those after which nothing
        # follows.
        starts = trajectories.observations[trajectories.observation_of_step]
        agent = train_in_dream(config, model, starts, agent, seed)
        steps.append(experience.num_steps)
        returns.append(score(config, agent))
        bar.advance(config.round_steps, dream_return=returns[-1])
    return Curve(np.array(steps), np.array(returns))


def fit_config(num_updates: int, seed: int, is_first: bool) -> FitConfig:
    """The first fit is made from scratch.

    Later ones go on from it with the data that came in between.
    """
    return FitConfig(
        num_updates=num_updates, horizon=4, holdout=0.0, is_warm_start=not is_first, seed=seed
    )


def train_in_dream(
    config: Config, model: EnsembleModel, starts: NDArray[np.float32], agent: SAC | None, seed: int
) -> SAC:
    """Let SAC go on in the model as it is now.

    What it remembers of earlier models is overwritten by and by.
    """
    env = ImaginedVectorEnv(
        model,
        starts,
        config.dream_horizon,
        config.dream_envs,
        disagreement_penalty=config.disagreement_penalty,
        autoreset_mode=AutoresetMode.SAME_STEP,
        seed=seed + len(starts),
    )
    num_steps = config.gradient_steps // config.gradients_per_step * config.dream_envs
    if agent is None:
        settings = sac_settings(config, seed) | {"gradient_steps": config.gradients_per_step}
        agent = SAC("MlpPolicy", SB3VecEnv(env), buffer_size=2 * num_steps, **settings)
    agent.set_env(SB3VecEnv(env))
    return agent.learn(num_steps, reset_num_timesteps=False)


def sac_settings(config: Config, seed: int) -> dict[str, Any]:
    """What both arms share."""
    return {
        "learning_rate": config.learning_rate,
        "learning_starts": 200,
        "train_freq": 1,
        "seed": seed,
        "device": "cpu",
    }


class Evaluations(BaseCallback):
    """Evaluates a model-free run every so many steps."""

    def __init__(self, config: Config, bar: ProgressBar) -> None:
        super().__init__()
        self.config, self.bar = config, bar
        self.steps: list[int] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.config.evaluate_every == 0:
            assert isinstance(self.model, SAC)
            self.steps.append(self.num_timesteps)
            self.returns.append(score(self.config, self.model))
            self.bar.advance(self.config.evaluate_every, model_free_return=self.returns[-1])
        return True


def model_free(config: Config, seed: int, bar: ProgressBar) -> Curve:
    """The same SAC on the real environment."""
    agent = SAC(
        "MlpPolicy",
        gym.make(config.env_id),
        gradient_steps=config.model_free_gradients,
        **sac_settings(config, seed),
    )
    evaluations = Evaluations(config, bar)
    agent.learn(config.model_free_steps, callback=evaluations)
    return Curve(np.array(evaluations.steps), np.array(evaluations.returns))


def score(config: Config, agent: SAC) -> float:
    """Mean return of the deterministic policy, from the same starts every time."""
    return evaluate(agent, config.env_id, config.evaluation_episodes, seed=10_000).mean_return


def summarise(
    config: Config, dreams: list[Curve], real: list[Curve], random: float
) -> dict[str, float]:
    """Final returns, real steps to the threshold, and how many times fewer the dream took.

    Medians over seeds.
    """
    final = float(np.mean([curve.returns[-3:].mean() for curve in real]))
    threshold = random + config.share * (final - random)
    summary = {
        "random_return": random,
        "model_free_return": final,
        "dream_return": float(np.mean([curve.returns[-1] for curve in dreams])),
        "threshold": threshold,
        "dream_real_steps": float(config.real_steps),
        "model_free_real_steps": float(config.model_free_steps),
    }
    # A run that never got there is counted with infinitely many steps, not left out.
    dream_steps = median_steps(dreams, threshold)
    real_steps = median_steps(real, threshold)
    summary["dream_solved_share"] = float(
        np.mean([curve.steps_to(threshold) is not None for curve in dreams])
    )
    summary["model_free_solved_share"] = float(
        np.mean([curve.steps_to(threshold) is not None for curve in real])
    )
    if np.isfinite(dream_steps):
        summary["dream_steps_to_threshold"] = dream_steps
    if np.isfinite(real_steps):
        summary["model_free_steps_to_threshold"] = real_steps
    if np.isfinite(dream_steps) and np.isfinite(real_steps):
        summary["times_fewer_real_steps"] = real_steps / dream_steps
    return summary | flat_curve("dream", dreams) | flat_curve("model_free", real)


def median_steps(curves: list[Curve], threshold: float) -> float:
    """Median real steps to the threshold, infinite where most runs never reach it."""
    steps = [curve.steps_to(threshold) for curve in curves]
    return float(np.median([np.inf if step is None else step for step in steps]))


def flat_curve(name: str, curves: list[Curve]) -> dict[str, float]:
    """The mean curve under flat names such as dream_return_at_600."""
    means = np.mean([curve.returns for curve in curves], axis=0)
    return {
        f"{name}_return_at_{step}": float(value)
        for step, value in zip(curves[0].steps, means, strict=True)
    }


def draw(config: Config, dreams: list[Curve], real: list[Curve], summary: dict[str, float]) -> None:
    """Both curves over real steps."""
    times = summary.get("times_fewer_real_steps")
    arms = {"SAC in the dream": dreams, "SAC, model-free": real}
    plot_learning_curves(
        config.output_dir / "learning_curves.png",
        {label: [curve.returns for curve in curves] for label, curves in arms.items()},
        {label: curves[0].steps for label, curves in arms.items()},
        ylabel="Mean return",
        xlabel="Real steps",
        threshold=summary["threshold"],
        title=""
        if times is None
        else f"{config.env_id}: {times_fewer(times, 'real steps')} in the dream",
    )


def report(summary: dict[str, float]) -> None:
    """The result in three lines."""
    print(f"{'':12}{'return':>10}{'real steps':>12}{'steps to threshold':>20}")
    for arm in ("dream", "model_free"):
        reached = summary.get(f"{arm}_steps_to_threshold")
        shown = "not reached" if reached is None else f"{reached:.0f}"
        print(
            f"{arm:12}{summary[f'{arm}_return']:>10.1f}{summary[f'{arm}_real_steps']:>12.0f}{shown:>20}"
        )


if __name__ == "__main__":
    main(tyro.cli(Config))
