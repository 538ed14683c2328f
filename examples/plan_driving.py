"""Lap a circuit by planning in a world model that was learned on other circuits, beside its yardsticks.

    python examples/plan_driving.py --track ../shared/data/racetracks/Spa.csv --seed 2 --output-dir
    out

Records the noisy expert on the training circuits, less the one to be driven, fits the dynamics,
drives there with the planner and adds what it saw, then laps the track: with the learned model,
with the true rules in its place (oracle), and with the expert, beside the quasi-steady limit.
Writes summary.json, the model with its card, lap.gif, plan.png, trace.json and trace.html.
"""

import json
import os
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # for `wm_agents.domains.driving`, when run as a script

from examples.record_driving import CIRCUITS, CORRELATION, OPTIONS, held_out, record_widely
from wm_agents.domains.driving.imagination import DRIVEN, OFFSET, CompiledModel
from wm_agents.domains.driving.laps import drive_laps, grip_share, imaginations
from wm_agents.domains.driving.model import (
    Trajectories,
    error_bands,
    extend_trajectories,
    load_circuits,
    make_layout,
)
from wm_agents.domains.driving.network import CarModel, fit_car, new_car_model
from wm_agents.domains.driving.planner import Decision, DrivingPlanner, PlannerConfig
from wm_agents.domains.driving.trace import Trace
from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.training.cards import Card, write_card
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths
from wm_envs.driving import render
from wm_envs.driving.env import DrivingEnv, DrivingVectorEnv
from wm_envs.driving.expert import line_of
from wm_envs.driving.track import BUILT_IN


@dataclass(frozen=True)
class Config:
    """What to learn, what to drive."""

    track: str = str(CIRCUITS / "Spa.csv")
    """A CSV file of a circuit, or "oval", "figure_eight" or "random"."""
    circuits: Path = CIRCUITS
    """Folder of the circuits; every third is never trained on, nor is `track`."""
    num_training_circuits: int = 10
    """How many of the training circuits to record."""
    episodes: int = 100
    """Episodes of at most 400 steps on each training circuit."""
    num_updates: int = 8_000
    """Optimiser steps of the fit."""
    num_members: int = 3
    """Networks of the model; a plan has to please all of them."""
    collect_rounds: int = 1
    """Rounds of driving the training circuits with the planner and refitting with what was seen."""
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
    config = expand_paths(config)
    torch.set_num_threads(config.num_threads)
    make_output_directory(config.output_dir, has_pictures=True)
    if config.laps < 1:
        raise ConfigError(f"laps={config.laps}: drive at least 1")
    env = circuit(config.track)  # before minutes of learning, should it be no circuit
    began = time.perf_counter()
    training = training_circuits(config)
    learned = load(config, training) if config.model else learn(config, training)
    learning_seconds = time.perf_counter() - began
    compiled, bands = CompiledModel(learned.model), learned.bands
    trace, film = Trace(every=25, bands=bands), Film(config.track, every=25)

    def watch(step: int, observation: NDArray[np.float32], decision: Decision, state: Any) -> None:
        trace.add(step, observation, decision, state)
        film.add(step, observation, decision, state)

    ours = drive_laps(env, make_planner(config), compiled, config.laps, watch)
    oracle = drive_laps(circuit(config.track), make_planner(config), None, config.laps)
    summary = {
        "track": Path(config.track).stem,
        "training_circuits": learned.circuits,
        "clean_laps": len(ours["lap_times"]),
        "lap_time": last(ours["lap_times"]),
        "oracle_lap_time": last(oracle["lap_times"]),
        "oracle_clean_laps": len(oracle["lap_times"]),
        "expert_lap_time": last(expert_laps(config.track, config.laps)),
        "limit_lap_time": line_of(env.parameters).lap_time,
        "decisions_per_second": ours["decisions_per_second"],
        "from_scratch": config.from_scratch,
        "learning_seconds": learning_seconds,
        "seed": config.seed,
    }
    write_summary(config.output_dir, summary)
    if config.model is None:
        write_card(learned.model, config.output_dir, card_of(config, summary))
    trace.write(config.output_dir, f"{summary['track']}, {summary['clean_laps']} clean laps")
    film.write(config.output_dir)
    draw_plan(config, trace, film, bands)
    print(json.dumps(summary, indent=2))
    return summary


def card_of(config: Config, summary: dict[str, Any]) -> Card:
    """What a stranger has to know about the model."""
    scores = ("clean_laps", "lap_time", "oracle_lap_time", "expert_lap_time", "limit_lap_time")
    return Card(
        title="The racing car's forces within known kinematics",
        env_id="wm/Driving-v0",
        env_kwargs={"track": from_here(config.track)},
        scores={name: summary[name] for name in scores},
        command=command_of(config),
        seeds=(config.seed,),
        evaluation=f"Seconds of the last of {config.laps} laps, planned on a circuit that it was not fitted on.",
        limits=f"Fitted on {', '.join(summary['training_circuits'])}; a car that spins is foreseen badly.",
        tags=("world-model",),
        usage=(
            "from pathlib import Path",
            "",
            "from examples import plan_driving  # from the root of the repository",
            "",
            f'config = plan_driving.Config(model=Path("model.safetensors"), track="{from_here(config.track)}")',
            "plan_driving.main(config)",
        ),
    )


def command_of(config: Config) -> str:
    """The command that learns the same model again, from the folder in which this one ran."""
    shown = {"track": from_here(config.track), "seed": config.seed}
    for option in fields(config):
        value = getattr(config, option.name)
        if option.name not in (*shown, "model", "output_dir") and value != option.default:
            shown[option.name] = from_here(value) if isinstance(value, Path) else value
    options = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
        for name, value in shown.items()
    ]
    return " ".join(["python examples/plan_driving.py", *options])


def from_here(track: str | Path) -> str:
    """A built-in circuit by its name, a path as the working folder sees it."""
    return str(track) if track in BUILT_IN else os.path.relpath(track)


def training_circuits(config: Config) -> list[Path]:
    """Circuits to learn on: never the unseen ones, never the one that is driven."""
    training, _ = held_out(config.circuits)
    others = [path for path in training if path.stem != Path(config.track).stem]
    if not others or config.num_training_circuits < 1:
        raise ConfigError(
            f"{config.num_training_circuits} of {len(others)} circuits to learn on: give at least 1"
        )
    return others[: config.num_training_circuits]


class Learned(NamedTuple):
    """A model, the half widths [H, 2] of its 90% intervals, and the names of the circuits behind it, where known."""

    model: CarModel
    bands: NDArray[np.float64]
    circuits: list[str] | None


def learn(config: Config, training: list[Path]) -> Learned:
    """Record, fit, and drive and refit."""
    recorded = [record(path, number, config) for number, path in enumerate(training)]
    layout = make_layout("kinematics", load_circuits(training))
    model = new_car_model(layout, num_members=config.num_members, seed=config.seed)
    learning, fresh = Trajectories.concatenate(recorded).split((0.95, 0.05), config.seed)
    fit_car(model, learning, config.num_updates, config.seed)
    for round_number in range(config.collect_rounds):
        driven = [collect(path, n, model, config, round_number) for n, path in enumerate(training)]
        # The planner's own driving is what matters and is rare: it counts three times.
        learning = Trajectories.concatenate([learning, *(3 * driven)])
        fit_car(model, learning, config.num_updates // 3, config.seed + 1, is_warm_start=True)
    bands = error_bands(model, fresh, PlannerConfig().horizon)
    names = [path.stem for path in training]
    model.save(
        config.output_dir / "model.safetensors", {"bands": bands.tolist(), "circuits": names}
    )
    return Learned(model, bands, names)


def load(config: Config, training: list[Path]) -> Learned:
    """The model of an earlier run."""
    assert config.model is not None
    known = make_layout("kinematics", load_circuits(training)).derived
    model, surroundings = CarModel.load_with_surroundings(config.model, given=known)
    bands = np.array(surroundings.get("bands", ()))
    if bands.dtype.kind != "f" or bands.ndim != 2 or bands.shape[1] != 2:
        raise CheckpointError(
            f"{config.model} has no intervals [H, 2] of the model: give a file of plan_driving.py"
        )
    return Learned(model, bands, surroundings.get("circuits"))


def record(path: Path, number: int, config: Config) -> Trajectories:
    """What the model learns from on one circuit."""
    return extend_trajectories(
        record_widely(path, config.episodes, 400, config.seed * 100_000 + 1000 * number), number
    )


def collect(
    path: Path,
    number: int,
    model: CarModel,
    config: Config,
    round_number: int,
    num_steps: int = 1200,
) -> Trajectories:
    """What the planner meets on a training circuit from random places, in episodes of 400 steps at most.

    A little noise on its actions keeps it from repeating itself; tyres are right, hot and cold in
    turn.
    """
    planner, compiled = make_planner(config, path), CompiledModel(model)
    generator = np.random.default_rng(config.seed + 77 * round_number + number)
    rows: dict[str, list[Any]] = {
        name: [] for name in ("seen", "actions", "rewards", "next", "ends", "cuts")
    }
    while len(rows["seen"]) < num_steps:
        temperature = float(generator.choice([80.0, 95.0, 110.0]))
        env = DrivingEnv(
            track=path, time_limit=400, start_speed=25.0, start_temperature=temperature, **OPTIONS
        )
        observation, _ = env.reset(seed=int(generator.integers(2**31)))
        noise, has_ended = np.zeros(3), False
        std = float(generator.choice([0.0, 0.02, 0.05])) * np.array([0.5, 1.0, 1.0])
        while not has_ended:
            imagines = imaginations(env, observation, compiled, planner.config)
            action = planner.decide(
                imagines, float(env.clone_state()["distance"]), grip_share(observation)
            ).action
            noise = CORRELATION * noise + std * np.sqrt(1 - CORRELATION**2) * generator.normal(
                size=3
            )
            action = np.clip(action + noise, [-1, 0, 0], 1).astype(np.float32)
            following, reward, terminated, truncated, _ = env.step(action)
            has_ended = terminated or truncated
            row = (observation, action, reward, following, terminated, truncated)
            for values, value in zip(rows.values(), row, strict=True):
                values.append(value)
            observation = following
    arrays = [np.array(values) for values in rows.values()]
    return extend_trajectories(Trajectories.from_transitions(*arrays), number)


def circuit(track: str | Path, *, is_random_start: bool = False) -> DrivingEnv:
    """The environment of a timed run, from a rolling start on the line or anywhere on the lap."""
    return DrivingEnv(track=track, random_start=is_random_start, time_limit=100_000, **OPTIONS)


def make_planner(config: Config, track: str | Path | None = None) -> DrivingPlanner:
    """The planner with the settings that were found on training circuits."""
    settings = PlannerConfig()
    if config.from_scratch:
        settings = PlannerConfig(
            has_policy=False,
            steering_std=0.3,
            pedal_std=0.5,
            num_candidates=64,
            num_rounds=2,
            horizon=45,
        )
    return DrivingPlanner(circuit(track or config.track).parameters, settings, config.seed)


def expert_laps(track: str, num_laps: int, start_seed: int | None = None) -> list[float]:
    """The expert's lap times from the line, or from the random start of a seed."""
    is_random = start_seed is not None
    env = DrivingVectorEnv(
        1, track=track, random_start=is_random, laps=num_laps, time_limit=100_000
    )
    env.reset(seed=start_seed if is_random else 0)
    times: list[float] = []
    while True:
        _, _, terminated, truncated, info = env.step(env.expert_actions())
        if info["lap_time"][0] > 0:
            times.append(float(info["lap_time"][0]))
        if terminated[0] or truncated[0]:
            return times


def last(times: list[float]) -> float | None:
    """The last lap time; None without a lap."""
    return times[-1] if times else None


class Film:
    """Pictures of a drive with the chosen plan and its alternatives.

    Args:
        track: What is driven.
        every: Steps between pictures.
    """

    def __init__(self, track: str, every: int) -> None:
        self._every = every
        self._env = circuit(track)
        self._line = line_of(self._env.parameters).offset
        self.frames: list[NDArray[np.uint8]] = []
        self.places: list[tuple[float, float, float]] = []
        self.plans: list[NDArray[np.float64]] = []

    def add(self, step: int, _: NDArray[np.float32], decision: Decision, state: Any) -> None:
        """Draw this decision if its turn has come."""
        distance = float(state["distance"])
        self.places.append((distance, float(state["offset"]), float(state["vx"])))
        if step % self._every:
            return
        paths = decision.paths[:, ::3, [DRIVEN, OFFSET]] + np.array([distance, 0.0])
        self.plans.append(paths[decision.chosen])
        cheapest = np.argsort(decision.costs.sum(axis=1))[1:6]
        frame = render.draw(
            state,
            self._env.parameters[0],
            line=self._line,
            plan=paths[decision.chosen],
            alternatives=[paths[n] for n in cheapest],
        )
        self.frames.append(np.ascontiguousarray(frame[::2, ::2]))

    def write(self, folder: Path) -> None:
        """Write lap.gif, twice as fast as it was."""
        import imageio.v3 as imageio

        imageio.imwrite(folder / "lap.gif", np.stack(self.frames), duration=250, loop=0)


def draw_plan(config: Config, trace: Trace, film: Film, bands: NDArray[np.float64]) -> None:
    """Write plan.png.

    The driven line over the circuit, speed beside the limit, and a plan with its intervals.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    env = circuit(config.track)
    line = line_of(env.parameters)
    places = np.array(film.places)
    x, y = render.road_points(env.parameters[0], places[:, 0], places[:, 1])
    figure, axes = plt.subplots(1, 3, figsize=(16, 5), width_ratios=(1.2, 1.4, 1.2))
    drawn = axes[0].scatter(x, y, c=3.6 * places[:, 2], s=2, cmap="viridis")
    figure.colorbar(drawn, ax=axes[0], label="km/h")
    axes[0].set_aspect("equal")
    axes[0].set_title("what was driven")
    distance = np.linspace(0, float(env.parameters["length"][0]), len(line.speed), endpoint=False)
    axes[1].plot(distance, 3.6 * line.speed, color="0.6", label="quasi-steady limit")
    axes[1].plot(
        places[:, 0],
        3.6 * places[:, 2],
        ".",
        markersize=1,
        color="tab:red",
        label="planned in the model",
    )
    axes[1].set(xlabel="m along the lap", ylabel="km/h", title="speed")
    axes[1].legend(loc="lower right")
    middle = trace.records[len(trace.records) // 2]
    for plan, colour in [(p, "0.7") for p in middle["alternatives"]] + [
        (middle["chosen"], "tab:red")
    ]:
        path = np.array(plan["path"])
        axes[2].plot(path[:, 0], path[:, 1], color=colour)
    path = np.array(middle["chosen"]["path"])
    width = bands[::4, 0][: len(path)]
    axes[2].fill_between(
        path[:, 0], path[:, 1] - width, path[:, 1] + width, color="tab:red", alpha=0.2
    )
    axes[2].set(
        xlabel="m driven",
        ylabel="offset, m",
        title=f"a plan at {middle['time']:.1f} s, 90% intervals",
    )
    figure.tight_layout()
    figure.savefig(config.output_dir / "plan.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(tyro.cli(Config))
