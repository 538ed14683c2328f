"""Learn to drive inside the learned model: Stable-Baselines3's SAC in imagination, beside the same SAC on the real car.

    python examples/dream_driving.py --seed 0 --output-dir runs/dream_driving

The dream arm fits the car's model to recorded laps of a noisy expert on one circuit, lets SAC drive
in short imagined branches from recorded places, drives for a while with what it learned, and fits
again. The rules of the reward and of leaving the road are given; what the car does is learned. Both
arms see the same numbers, have one number for both pedals, decide 12.5 times a second
(`driving/decisions.py`), and have the same SAC with the same settings. Real steps count at 50 Hz,
those of the recorded laps included. The returns of the expert and of a car that brakes and stands
are the yardsticks. Writes summary.json and learning_curves.png.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # for `wm_agents.domains.driving`, when run as a script

from examples.record_driving import record_circuit
from wm_agents.domains.driving.decisions import Decisions
from wm_agents.domains.driving.dream import DreamDriver
from wm_agents.domains.driving.model import CIRCUIT, extend_trajectories, load_circuits, make_layout
from wm_agents.domains.driving.network import CarModel, fit_car, new_car_model
from wm_agents.domains.driving.returns import Course, yardsticks
from wm_agents.errors import ConfigError
from wm_agents.evaluation.charts import times_fewer
from wm_agents.evaluation.plots import plot_learning_curves
from wm_agents.evaluation.thresholds import LearningCurve as Curve
from wm_agents.imagination.vector_env import ImaginedVectorEnv
from wm_agents.sb3.vec_env import SB3VecEnv
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths
from wm_envs.data.trajectories import Trajectories


@dataclass(frozen=True)
class Config:
    """What to run."""

    track: str = "oval"
    """A built-in circuit or a CSV file."""
    recorded_episodes: int = 8
    """Episodes of the noisy expert, 300 steps of 0.02 s each at most."""
    rounds: int = 5
    """Rounds of fitting and dreaming; between them SAC drives the real car."""
    round_steps: int = 500
    """Real steps that SAC drives between two rounds."""
    dream_gradients: int = 6000
    """SAC's gradient steps in each round."""
    gradients_per_step: int = 4
    """SAC's gradient steps each time that all imagined cars have decided."""
    model_free_decisions: int = 20_000
    """Decisions of the model-free arm."""
    model_free_gradients: int = 1
    """SAC's gradient steps per decision in the model-free arm."""
    evaluate_every: int = 500
    """Decisions between evaluations of the model-free arm."""
    evaluation_episodes: int = 10
    """Episodes of an evaluation; they are not counted as real steps."""
    episode_decisions: int = 150
    """Decisions of an episode: 12 s."""
    branch: int = 20
    """Decisions of an imagined branch: 1.6 s."""
    dream_envs: int = 16
    """Imagined cars."""
    num_updates: int = 3000
    """Optimiser steps of the first fit; later ones go on from it with a third of them."""
    num_members: int = 3
    """Networks of the model."""
    disagreement_penalty: float = 0.0
    """Reward lost per standard deviation of disagreement."""
    share: float = 0.9
    """What counts as reached.

    This share of the model-free arm's final return, counted from random decisions.
    """
    seed: int = 0
    """Seed of everything."""
    output_dir: Path = Path("runs/dream_driving")
    """Folder for summary.json and learning_curves.png."""


def main(config: Config) -> dict[str, Any]:
    """Run both arms; returns the summary that is written."""
    config = expand_paths(config)
    torch.set_num_threads(1)
    make_output_directory(config.output_dir, has_pictures=True)
    check(config)
    dreamt, real = dream(config), model_free(config)
    summary = summarise(config, dreamt, real, yardsticks(course(config), config.seed))
    write_summary(config.output_dir, summary)
    draw(config, dreamt, real, summary)
    print(json.dumps(summary, indent=2))
    return summary


def check(config: Config) -> None:
    """Refuse at once what would leave nothing to compare after minutes; raises ConfigError."""
    names = (
        "rounds",
        "recorded_episodes",
        "evaluate_every",
        "evaluation_episodes",
        "gradients_per_step",
    )
    if small := [name for name in names if getattr(config, name) < 1]:
        raise ConfigError(f"{small[0]}={getattr(config, small[0])}: give at least 1")
    if config.model_free_decisions < config.evaluate_every:
        raise ConfigError(
            f"{config.model_free_decisions} model-free decisions are never evaluated with evaluate_every="
            f"{config.evaluate_every}: evaluate more often"
        )
    if config.dream_gradients < config.gradients_per_step:
        raise ConfigError(
            f"dream_gradients={config.dream_gradients}: give at least {config.gradients_per_step}"
        )


def course(config: Config) -> Course:
    """What both arms are scored on."""
    return Course(config.track, config.episode_decisions, config.evaluation_episodes)


# The dream arm


def dream(config: Config) -> Curve:
    """Recorded laps, then fit, dream, drive, and again."""
    known = make_layout("kinematics", load_circuits([config.track]))
    model = new_car_model(known, num_members=config.num_members, widths=(64, 64), seed=config.seed)
    experience, car = record_laps(config), Decisions(config.track, config.episode_decisions)
    agent: SAC | None = None
    steps, returns = [], []
    for number in range(config.rounds):
        if agent is not None:
            experience = Trajectories.concatenate(
                [experience, drive(config, agent, car, config.seed + number)]
            )
        num_updates = config.num_updates // (1 if agent is None else 3)
        fit_car(
            model, experience, num_updates, config.seed, is_warm_start=number > 0, batch_size=512
        )
        agent = train_in_dream(config, model, experience, agent)
        steps.append(experience.num_steps)
        returns.append(course(config).score(agent))
        print("dream", steps[-1], round(returns[-1], 2), flush=True)
    return Curve(np.array(steps), np.array(returns))


def record_laps(config: Config) -> Trajectories:
    """The expert at many paces, some with so much noise that they slide or leave the road."""
    wide: dict[str, Any] = {"paces": (0.6, 1.1), "noises": (0.0, 0.1, 0.3), "pulse_rate": 0.03}
    return extend_trajectories(
        record_circuit(config.track, config.recorded_episodes, 300, 1000 * config.seed, **wide), 0
    )


def drive(config: Config, agent: SAC, car: Decisions, seed: int) -> Trajectories:
    """Drive the real car as SAC explores, for `round_steps` steps."""
    car.transitions.clear()
    seen, _ = car.reset(seed=seed)
    while len(car.transitions) < config.round_steps:
        action, _ = agent.predict(seen)
        seen, _, terminated, truncated, _ = car.step(action)
        if terminated or truncated:
            seen, _ = car.reset()
    columns = [np.array(column) for column in zip(*car.transitions, strict=True)]
    columns[5][-1] = not columns[4][-1]  # the last episode stops here
    return extend_trajectories(Trajectories.from_transitions(*columns), 0)


def train_in_dream(
    config: Config, model: CarModel, experience: Trajectories, agent: SAC | None
) -> SAC:
    """Let SAC go on in the model as it is now, from every recorded place that has a step before it."""
    driver = DreamDriver(model)
    steps = np.flatnonzero(~np.isin(np.arange(experience.num_steps), experience.step_starts))
    observations = torch.as_tensor(experience.observations[experience.observation_of_step[steps]])
    assert bool((observations[:, CIRCUIT] == 0).all())
    starts = driver.begin(observations, torch.as_tensor(experience.actions[steps - 1]))
    env = SB3VecEnv(
        ImaginedVectorEnv(
            driver,
            starts,
            config.branch,
            config.dream_envs,
            disagreement_penalty=config.disagreement_penalty,
            autoreset_mode="SameStep",
            seed=config.seed + len(steps),
        )
    )
    num_steps = config.dream_gradients // config.gradients_per_step * config.dream_envs
    if agent is None:
        settings = sac_settings(config) | {"gradient_steps": config.gradients_per_step}
        agent = SAC("MlpPolicy", env, buffer_size=2 * num_steps, **settings)
    agent.set_env(env)
    return agent.learn(num_steps, reset_num_timesteps=False)


def sac_settings(config: Config) -> dict[str, Any]:
    """What both arms share."""
    return {
        "learning_rate": 1e-3,
        "learning_starts": 300,
        "train_freq": 1,
        "gamma": 0.98,
        "ent_coef": "auto_0.1",
        "policy_kwargs": {"net_arch": [128, 128]},
        "seed": config.seed,
        "device": "cpu",
    }


# The model-free arm


def model_free(config: Config) -> Curve:
    """The same SAC on the real car."""
    evaluations, car = Evaluations(config), Decisions(config.track, config.episode_decisions)
    agent = SAC(
        "MlpPolicy", car, gradient_steps=config.model_free_gradients, **sac_settings(config)
    )
    agent.learn(config.model_free_decisions, callback=evaluations)
    return Curve(np.array(evaluations.steps), np.array(evaluations.returns))


class Evaluations(BaseCallback):
    """Evaluates the model-free arm every so many decisions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.steps: list[int] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.config.evaluate_every == 0:
            assert isinstance(self.model, SAC)
            (num_steps,) = self.training_env.get_attr("num_steps")
            self.steps.append(num_steps)
            self.returns.append(course(self.config).score(self.model))
            print("real", num_steps, round(self.returns[-1], 2), flush=True)
        return True


# What came of it


def summarise(
    config: Config, dreamt: Curve, real: Curve, known: dict[str, float]
) -> dict[str, Any]:
    """Final returns and real steps to the threshold.

    Nothing is compared with a model-free arm that cannot drive.
    """
    final = float(real.returns[-3:].mean())
    threshold = known["random_return"] + config.share * (final - known["random_return"])
    dream_steps, real_steps = dreamt.steps_to(threshold), real.steps_to(threshold)
    can_drive = final >= 0.5 * known["expert_return"]
    return {
        **known,
        "model_free_return": final,
        "model_free_can_drive": can_drive,
        "threshold": threshold,
        "dream_return": float(dreamt.returns[-1]),
        "dream_real_steps": int(dreamt.steps[-1]),
        "dream_gradient_steps": config.rounds * config.dream_gradients,
        "dream_steps_to_threshold": dream_steps,
        "model_free_real_steps": int(real.steps[-1]),
        "model_free_gradient_steps": config.model_free_decisions * config.model_free_gradients,
        "model_free_steps_to_threshold": real_steps,
        "model_free_return_at_equal_steps": float(
            np.interp(dreamt.steps[-1], real.steps, real.returns)
        ),
        "times_fewer_real_steps": real_steps / dream_steps
        if can_drive and dream_steps and real_steps
        else None,
        "dream_curve": [dreamt.steps.tolist(), dreamt.returns.round(2).tolist()],
        "model_free_curve": [real.steps.tolist(), real.returns.round(2).tolist()],
        "seed": config.seed,
    }


def draw(config: Config, dreamt: Curve, real: Curve, summary: dict[str, Any]) -> None:
    """Write learning_curves.png: both returns over real steps."""
    title, times = f"wm/Driving-v0, {Path(config.track).stem}", summary["times_fewer_real_steps"]
    plot_learning_curves(
        config.output_dir / "learning_curves.png",
        {"SAC in the dream": [dreamt.returns], "SAC, model-free": [real.returns]},
        {"SAC in the dream": dreamt.steps, "SAC, model-free": real.steps},
        ylabel="Mean return",
        xlabel="Real steps",
        threshold=round(summary["threshold"], 1),
        title=title
        if times is None
        else f"{title}: {times_fewer(times, 'real steps')} in the dream",
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
