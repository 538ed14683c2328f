"""Learning the car's model for planning: record, fit, collect with the planner, fit again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wm_agents.domains.driving.laps import planning_state
from wm_agents.domains.driving.network import (
    DrivingModel,
    DrivingModelConfig,
    error_intervals,
    fit_driving,
)
from wm_agents.domains.driving.observations import (
    ENV_OPTIONS,
    CircuitMap,
    extend_trajectories,
)
from wm_agents.domains.driving.planner import DrivingPlanner, DrivingPlannerConfig, planner_for
from wm_agents.domains.driving.recording import next_noise, record_widely, within_bounds
from wm_agents.errors import ConfigError
from wm_agents.training.config_checks import require_integers
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.env import DrivingEnv

EPISODE_STEPS = 400
START_TEMPERATURES = [80.0, 95.0, 110.0]  # C: cold, right and hot tyres
PLANNED_NOISES = [0.0, 0.02, 0.05]  # standard deviations on the pedals; half on the steering
# Collecting is bolder than the default: what the model gets wrong at the limit is to be driven.
BOLD = DrivingPlannerConfig(
    num_samples=24,
    num_judged=4,
    steering_std=0.01,
    pedal_std=0.03,
    pace_std=0.012,
    paces=(-0.05, -0.02, -0.01, 0.0, 0.01),
    margin=0.0,
    racing_grip=0.96,
    limit_grip=1.06,
    max_sideslip=0.12,
    temperature_margin=4.0,
)
NUM_COPIES = 3  # of what the planner drove: it matters most and is rare


@dataclass(frozen=True)
class DrivingLearningConfig:
    """How a model is learned.

    Attributes:
        episodes: Episodes of at most 400 steps on each circuit.
        num_updates: Optimizer steps of the first fit; later ones take a third of them.
        num_members: Networks of the model.
        collect_rounds: Rounds of driving the circuits with the planner and refitting.
        collect_steps: Steps that the planner drives on each circuit in a round, at least.
        planner: Of the collecting rounds.
        seed: Of recording, fitting and planning.
    """

    episodes: int = 100
    num_updates: int = 8_000
    num_members: int = 3
    collect_rounds: int = 1
    collect_steps: int = 1200
    planner: DrivingPlannerConfig = BOLD
    seed: int = 0

    def __post_init__(self) -> None:
        require_integers(
            1,
            episodes=self.episodes,
            num_updates=self.num_updates,
            num_members=self.num_members,
            collect_steps=self.collect_steps,
        )
        require_integers(0, collect_rounds=self.collect_rounds)


def training_circuits(
    circuits: Sequence[str | Path], driven: str | Path, num_circuits: int
) -> list[str | Path]:
    """Circuits to learn on, files or built-in names: never the one that is to be driven.

    Raises:
        ConfigError: None is left.
    """
    others = [path for path in circuits if Path(path).stem != Path(driven).stem]
    if not others or num_circuits < 1:
        raise ConfigError(f"{num_circuits} of {len(others)} circuits to learn on: give at least 1")
    return others[:num_circuits]


def learn_driving_model(
    circuits: Sequence[str | Path], config: DrivingLearningConfig = DrivingLearningConfig()
) -> DrivingModel:
    """A model of the car, learned on circuits, with its intervals and their names.

    Args:
        circuits: CSV files, or names of built-in circuits.
        config: How.
    """
    recorded = [
        extend_trajectories(
            record_widely(
                path, config.episodes, EPISODE_STEPS, config.seed * 100_000 + 1000 * number
            ),
            number,
        )
        for number, path in enumerate(circuits)
    ]
    model = DrivingModel.for_circuits(
        CircuitMap.of(circuits),
        DrivingModelConfig(num_members=config.num_members),
        seed=config.seed,
    )
    train, test = Trajectories.concatenate(recorded).split((0.95, 0.05), config.seed)
    fit_driving(model, train, config.num_updates, config.seed)
    for round_number in range(config.collect_rounds):
        driven = [
            collect(path, number, model, config, round_number)
            for number, path in enumerate(circuits)
        ]
        train = Trajectories.concatenate([train, *(NUM_COPIES * driven)])
        fit_driving(model, train, config.num_updates // 3, config.seed + 1, is_warm_start=True)
    model.intervals = error_intervals(model, test, DrivingPlannerConfig().horizon)
    model.circuit_names = tuple(Path(path).stem for path in circuits)
    return model


def collect(
    track: str | Path,
    number: int,
    model: DrivingModel,
    config: DrivingLearningConfig,
    round_number: int = 0,
) -> Trajectories:
    """What the planner meets on a circuit from random places, in episodes of 400 steps at most.

    Args:
        track: The circuit.
        number: Its number in the model's map.
        model: Planned in.
        config: Says how much.
        round_number: Of collecting, from 0.
    """
    parameters = DrivingEnv.rules(track=track, **ENV_OPTIONS).parameters
    planner = planner_for(parameters, model, config.planner, seed=config.seed)
    generator = np.random.default_rng(config.seed + 77 * round_number + number)
    steps: list[tuple[Any, ...]] = []
    while len(steps) < config.collect_steps:
        steps += collect_episode(track, planner, generator)
    columns = [np.array(column) for column in zip(*steps, strict=True)]
    return extend_trajectories(Trajectories.from_transitions(*columns), number)


def collect_episode(
    track: str | Path, planner: DrivingPlanner, generator: np.random.Generator
) -> list[tuple[Any, ...]]:
    """One episode as (observation, action, reward, next observation, terminated, truncated).

    A little noise on the actions keeps the planner from repeating itself; tyres are right, hot and
    cold in turn.
    """
    env = DrivingEnv(
        track=track,
        time_limit=EPISODE_STEPS,
        start_speed=25.0,
        start_temperature=float(generator.choice(START_TEMPERATURES)),
        **ENV_OPTIONS,
    )
    observation, _ = env.reset(seed=int(generator.integers(2**31)))
    noise = np.zeros(3)
    std = float(generator.choice(PLANNED_NOISES)) * np.array([0.5, 1.0, 1.0])
    # Only used where the planner has no seed of its own.
    draws = torch.Generator().manual_seed(0)
    steps: list[tuple[Any, ...]] = []
    has_ended = False
    while not has_ended:
        plan = planner.plan(planning_state(planner.model, env, observation), draws)
        noise = next_noise(noise, generator, std)
        action = within_bounds(plan.actions[0, 0].numpy() + noise)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        has_ended = terminated or truncated
        steps.append((observation, action, reward, next_obs, terminated, truncated))
        observation = next_obs
    return steps
