"""Lap a circuit by planning in a world model that was learned on other circuits.

    python examples/plan_driving.py --track oval --seed 2 --output-dir out

`wm data fetch circuits` says how to get real circuits; without them the built-in ones serve.
Records the noisy expert on the training circuits, less the one to be driven, fits the dynamics,
drives there with the planner and adds what it recorded, then laps the track: with the learned
model, with the true rules in its place (oracle), and with the expert, beside the quasi-steady
limit. Writes summary.json, the model with its card, lap.gif, plan.png, trace.json and trace.html.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro

import wm_agents as wma
from wm_agents.domains.driving.laps import drive_laps, expert_laps, timed_env
from wm_agents.domains.driving.learning import (
    BOLD,
    DrivingLearningConfig,
    learn_driving_model,
    training_circuits,
)
from wm_agents.domains.driving.network import DrivingModel
from wm_agents.domains.driving.observations import CircuitMap
from wm_agents.domains.driving.planner import TIMED_LAPS, DrivingPlannerConfig, planner_for
from wm_agents.domains.driving.racer import racer_line
from wm_agents.domains.driving.recording import split_circuits
from wm_agents.domains.driving.trace import DecisionTrace, LapFilm
from wm_agents.training.cards import write_card
from wm_envs.data.fetching import data_folder
from wm_envs.driving.expert import line_of
from wm_envs.driving.track import BUILT_IN

CIRCUITS = data_folder("circuits")
SCORES = ("clean_laps", "lap_time", "oracle_lap_time", "expert_lap_time", "limit_lap_time")


@dataclass(frozen=True)
class Config:
    """What to learn, what to drive."""

    track: str = "oval"
    """A CSV file of a circuit, or "oval", "figure_eight" or "random"."""
    circuits: Path = CIRCUITS
    """Folder of the circuits; every third is never trained on, nor is `track`.

    The default that is not there takes the built-in circuits but for `track`.
    """
    num_training_circuits: int = 10
    """How many of the training circuits to record."""
    episodes: int = 100
    """Episodes of at most 400 steps on each training circuit."""
    num_updates: int = 8_000
    """Optimizer steps of the fit."""
    num_members: int = 3
    """Networks of the model; a plan has to please all of them."""
    collect_rounds: int = 1
    """Rounds of driving the training circuits with the planner and refitting."""
    model: Path | None = None
    """A model file that another run wrote (model.safetensors); None learns one."""
    laps: int = 2
    """Laps from a rolling start on the line; the last one is timed."""
    from_scratch: bool = False
    """Plan without the expert's policy in the candidates."""
    seed: int = 0
    """Seed of recording, fitting and planning."""
    output_dir: Path = Path("runs/plan_driving")
    """Folder for everything that is written."""
    num_threads: int = 1
    """Threads of torch."""


def main(config: Config) -> dict[str, Any]:
    """Learn, drive, compare; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(config.num_threads)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    if config.laps < 1:
        raise wma.ConfigError(f"laps={config.laps}: drive at least 1")
    env = timed_env(config.track)  # before minutes of learning, should it be no circuit
    planner = DrivingPlannerConfig.from_scratch() if config.from_scratch else TIMED_LAPS
    began = time.perf_counter()
    model = model_of(config, planner)
    learning_seconds = time.perf_counter() - began

    line = None if config.from_scratch else racer_line(env.parameters)
    trace = DecisionTrace(24, model.intervals, env.parameters, line)
    film = LapFilm(env.parameters, 24, line)

    def watch(*decision: Any) -> None:
        trace.add(*decision)
        film.add(*decision)

    learned_planner = planner_for(env.parameters, model, planner, seed=config.seed)
    learned = drive_laps(env, learned_planner, config.laps, watch)
    true_planner = planner_for(env.parameters, None, planner, seed=config.seed)
    oracle = drive_laps(timed_env(config.track), true_planner, config.laps)
    expert = expert_laps(config.track, config.laps)
    names = model.circuit_names
    summary = {
        "track": Path(config.track).stem,
        "training_circuits": None if names is None else list(names),
        "clean_laps": len(learned["lap_times"]),
        "lap_time": learned["lap_times"][-1] if learned["lap_times"] else None,
        "oracle_lap_time": oracle["lap_times"][-1] if oracle["lap_times"] else None,
        "oracle_clean_laps": len(oracle["lap_times"]),
        "expert_lap_time": expert[-1] if expert else None,
        "limit_lap_time": line_of(env.parameters).lap_time,
        "decisions_per_second": learned["decisions_per_second"],
        "from_scratch": config.from_scratch,
        "learning_seconds": learning_seconds,
        "seed": config.seed,
    }
    wma.write_summary(config.output_dir, summary, is_printed=True)
    if config.model is None:
        write_card(model, config.output_dir, card_of(config, summary))
    trace.write(config.output_dir, f"{summary['track']}, {summary['clean_laps']} clean laps")
    film.write(config.output_dir)
    film.write_plot(config.output_dir, trace)
    return summary


def model_of(config: Config, planner: DrivingPlannerConfig) -> DrivingModel:
    """The model of an earlier run, or one that is learned now and written."""
    training: Sequence[str | Path] = BUILT_IN
    if config.circuits != Config.circuits or config.circuits.exists():
        training, _ = split_circuits(config.circuits)
    circuits = training_circuits(training, config.track, config.num_training_circuits)
    if config.model is not None:
        model = DrivingModel.load(config.model, given=CircuitMap.of([config.track]), device="cpu")
        if model.intervals is None:
            raise wma.CheckpointError(
                f"{config.model} has no intervals: give a file of this script"
            )
        return model
    learning = DrivingLearningConfig(
        episodes=config.episodes,
        num_updates=config.num_updates,
        num_members=config.num_members,
        collect_rounds=config.collect_rounds,
        planner=planner if config.from_scratch else BOLD,
        seed=config.seed,
    )
    model = learn_driving_model(circuits, learning)
    model.save(config.output_dir / "model.safetensors")
    return model


def card_of(config: Config, summary: dict[str, Any]) -> wma.Card:
    """What a stranger has to know about the model."""
    track = from_here(config.track)
    return wma.Card(
        title="The racing car's forces within known kinematics",
        env_id="wm/Driving-v0",
        env_kwargs={"track": track},
        scores={name: summary[name] for name in SCORES},
        command=command_of(config),
        seeds=(config.seed,),
        evaluation=f"Seconds of the last of {config.laps} laps, planned on an unseen circuit.",
        limits=f"Fitted on {', '.join(summary['training_circuits'])}; spins are predicted badly.",
        tags=("world-model",),
        usage=(
            "from wm_agents.domains.driving.network import DrivingModel",
            "from wm_agents.domains.driving.observations import CircuitMap",
            "",
            f'circuits = CircuitMap.of(["{track}"])',
            'model = DrivingModel.load("model.safetensors", given=circuits)',
        ),
    )


def command_of(config: Config) -> str:
    """The command that learns the same model again, from the folder in which this one ran."""
    here = replace(config, track=from_here(config.track))
    return wma.command_line(
        "examples/plan_driving.py", here, shown=("track", "seed"), hidden=("model", "output_dir")
    )


def from_here(track: str | Path) -> str:
    """A built-in circuit by its name, a path as the working folder sees it."""
    return str(track) if track in BUILT_IN else os.path.relpath(track)


if __name__ == "__main__":
    main(tyro.cli(Config))
