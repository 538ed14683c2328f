"""A road whose grip is drawn anew: a model that estimates it online against models that do not.

    python -m benchmarks.driving_shift --seeds 2

Three models of the car see as many steps of the training circuits: one at the usual grip; one at
drawn grips, of which it is not told; one at drawn grips that its recordings name (`knows_grip`),
which on the road asks a filter (`grip.py`). Judged on the unseen circuits, at the usual grip and at
grips of .7 to 1.1: errors 16 steps ahead, warnings one second ahead, and a shield. Every group of
cars has a grip of its own, and an estimate begins anew with each start. Drivers know the grip, and
so does the careful expert to whom a shield hands over: what is judged is who imagines. Settings are
those of a first trial on seed 1, whose drivers did not know the grip and spun.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.driving_models import FEATURES, join, shares, window_starts
from benchmarks.report import RESULTS, add_missing_rows
from wm_agents.domains.driving import risk
from wm_agents.domains.driving.grip import (
    GRIPS,
    FilteringDrivers,
    GripFilter,
    GripRiskModel,
    sensed_errors,
)
from wm_agents.domains.driving.network import (
    DrivingModel,
    DrivingModelConfig,
    expected_end,
    fit_driving,
)
from wm_agents.domains.driving.observations import CircuitMap, DerivedColumn, extend_trajectories
from wm_agents.domains.driving.recording import record_circuit, record_widely, split_circuits
from wm_agents.evaluation.calibration import auroc, average_precision
from wm_agents.planning.safety import RiskCalibrator, Shield
from wm_envs.data.fetching import data_folder
from wm_envs.data.paths import expand_paths
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.track import Track, make_track

NAME = "driving_shift"
CIRCUITS = data_folder("circuits")
TRAINING_GRIPS, TEST_GRIPS = (0.65, 1.15), (0.7, 1.1)
STEPS_AHEAD, SECOND = 16, 50
EVERY = 10  # steps between windows
WARN_EVERY, SHIELD_EVERY, HOLD = 20, 10, 3
NUM_SAMPLES = 6
NUM_CALIBRATION_CIRCUITS = 2
MODELS = ("usual model", "plain model", "adaptive model")
THRESHOLD = 0.1  # of the shield's probability, as in examples/crash_prediction.py
NOTES = (
    "Shares are root mean squares over persistence's on the same windows; the loss is the mean over "
    "five features of the share at drawn grips over that of the usual model at the usual grip, less "
    "one.",
    "The adaptive model is told the grip of its training recordings; on the road nobody tells it.",
)


@dataclass(frozen=True)
class Config:
    """What to run."""

    seeds: tuple[int, ...] = (2,)
    """Of grips, recordings, weights and drivers."""
    circuits: Path = CIRCUITS
    """Folder of real circuits, every third of which is unseen."""
    grips: int = 3
    """Drawn on each circuit."""
    episodes: int = 12
    """Recorded at each of them, about, of 400 steps at most."""
    test_episodes: int = 4
    """At each grip of an unseen circuit."""
    num_updates: int = 2000
    """Optimizer steps of each fit."""
    cars: int = 12
    """In each group of drivers."""
    steps: int = 500
    """That each of them drives."""
    redo: bool = False
    """Measure rows again that the result already has."""
    output_dir: Path = RESULTS
    """Folder for driving_shift.json."""


def main(config: Config) -> dict[str, Any]:
    """Measure the seeds that are missing; returns all figures."""
    torch.set_num_threads(1)
    config = expand_paths(config)
    return add_missing_rows(
        NAME,
        [(seed,) for seed in config.seeds],
        lambda seed: measure(config, seed),
        key=("seed",),
        command=lambda seed: f"python -m benchmarks.{NAME} --seeds {seed}",
        summarise=summarize,
        notes=NOTES,
        is_redone=config.redo,
        folder=config.output_dir,
    )


def measure(config: Config, seed: int) -> dict[str, Any]:
    """One row: fit the three models, and judge them."""
    began = time.process_time()
    training, unseen = split_circuits(config.circuits)
    roads = [make_track(path) for path in training], [make_track(path) for path in unseen]
    generator = np.random.default_rng(seed)
    drawn = [draw_grips(TRAINING_GRIPS, config.grips, generator) for _ in training]
    usual = [[1.0] * config.grips for _ in training]
    models = {
        "usual": learned(config, seed, roads[0], usual, knows_grip=False),
        "plain": learned(config, seed, roads[0], drawn, knows_grip=False),
        "adaptive": learned(config, seed, roads[0], drawn, knows_grip=True),
    }
    test_grips = [draw_grips(TEST_GRIPS, config.grips, generator) for _ in unseen]
    figures = open_loop_figures(config, seed, models, roads[1], test_grips)
    calibration_grips = [draw_grips(TEST_GRIPS, config.grips, generator) for _ in training]
    figures |= crash_figures(config, seed, models, roads, (calibration_grips, test_grips))
    return figures | {"cpu_seconds": time.process_time() - began}


def draw_grips(
    bounds: tuple[float, float], number: int, generator: np.random.Generator
) -> list[float]:
    """One grip from each of `number` equal parts of the range."""
    parts = (np.arange(number) + generator.random(number)) / number
    return [float(grip) for grip in bounds[0] + (bounds[1] - bounds[0]) * parts]


# Models


@dataclass(frozen=True)
class Learned:
    """A model, and of one that knows the grip the errors that its filter expects."""

    model: DrivingModel
    error_stds: Tensor | None = None
    num_steps: int = 0

    def grip_filter(self, num_cars: int) -> GripFilter:
        """A filter that knows nothing yet."""
        assert self.error_stds is not None
        return GripFilter(self.model, self.error_stds, num_cars)


def learned(
    config: Config,
    seed: int,
    tracks: Sequence[Track],
    grips: Sequence[Sequence[float]],
    *,
    knows_grip: bool,
) -> Learned:
    """A model fitted to the training circuits at these grips [circuits][grips]."""
    worlds = [(track, grip) for track, own in zip(tracks, grips, strict=True) for grip in own]
    recorded = [
        extend_trajectories(
            record_widely(track, config.episodes, 400, 100_000 * seed + 1000 * number, grip), number
        )
        for number, (track, grip) in enumerate(worlds)
    ]
    circuits = CircuitMap([track for track, _ in worlds], [grip for _, grip in worlds])
    settings = DrivingModelConfig(num_members=2, knows_grip=knows_grip)
    model = DrivingModel.for_circuits(circuits, settings, seed=seed)
    data = Trajectories.concatenate(recorded)
    fit_driving(model, data, config.num_updates, seed, batch_size=512)
    if not knows_grip:
        return Learned(model, num_steps=data.num_steps)
    errors = torch.cat(
        [
            sensed_errors(model, *transitions(part), [grip])[0]
            for part, (_, grip) in zip(recorded, worlds, strict=True)
        ]
    )
    # By the median, which a few spins do not move.
    stds = 1.4826 * errors.abs().median(0).values
    return Learned(model, stds, data.num_steps)


def transitions(part: Trajectories) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Observations, actions and next observations of all steps."""
    return part.observations[part.observation_of_step], part.actions, part.next_observations


# Errors 16 steps ahead


def open_loop_figures(
    config: Config,
    seed: int,
    models: dict[str, Learned],
    tracks: Sequence[Track],
    grips: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """Shares of persistence's error at the usual grip and at drawn ones."""
    usual = tests_of(config, seed, tracks, [[1.0] * config.grips for _ in tracks])
    drawn = tests_of(config, seed, tracks, grips)
    adaptive = models["adaptive"]
    found = [estimated_grips(adaptive, test) for test in drawn]
    found_usual = [estimated_grips(adaptive, test) for test in usual]
    true = [told_grips(test) for test in drawn]
    figures = {
        "usual model, usual grip": errors_of(models["usual"].model, tracks, usual, None),
        "usual model": errors_of(models["usual"].model, tracks, drawn, None),
        "plain model": errors_of(models["plain"].model, tracks, drawn, None),
        "adaptive model, grip told": errors_of(adaptive.model, tracks, drawn, true),
        "adaptive model": errors_of(adaptive.model, tracks, drawn, found),
        "adaptive model, usual grip": errors_of(adaptive.model, tracks, usual, found_usual),
    }
    base = figures["usual model, usual grip"]
    for name, shares_of in list(figures.items()):
        for kind in ("rmse", "median"):
            ratios = [shares_of[feature][kind] / base[feature][kind] for feature in FEATURES]
            figures[name][f"loss_{kind}"] = float(np.mean(ratios)) - 1.0
    all_found, all_true = np.concatenate(found), np.concatenate(true)
    return {
        "training_steps": adaptive.num_steps,
        "open_loop": figures,
        "grip_error": float(np.abs(all_found - all_true).mean()),
        "grip_error_of_a_guess": float(np.abs(all_true - all_true.mean()).mean()),
    }


@dataclass(frozen=True)
class Test:
    """Episodes on an unseen circuit at one grip."""

    circuit: int
    grip: float
    episodes: Trajectories


def tests_of(
    config: Config, seed: int, tracks: Sequence[Track], grips: Sequence[Sequence[float]]
) -> list[Test]:
    """The noisy expert on every circuit at each of its grips."""
    tests = []
    for circuit, track in enumerate(tracks):
        for number, grip in enumerate(grips[circuit]):
            first = 100_000 * seed + 50_000 + 1000 * circuit + 10 * number
            episodes = record_circuit(track, config.test_episodes, 400, first, grip=grip)
            tests.append(Test(circuit, grip, extend_trajectories(episodes, circuit)))
    return tests


def told_grips(test: Test) -> NDArray[np.float64]:
    """The true grip at the start of each window [N]."""
    return np.full(len(window_starts(test.episodes, STEPS_AHEAD, EVERY)), test.grip)


def estimated_grips(learned: Learned, test: Test) -> NDArray[np.float64]:
    """What the filter says at the start of each window [N], of the steps before it alone."""
    episodes = test.episodes
    observations, actions, after = transitions(episodes)
    firsts = np.asarray(episodes.step_starts)
    grip_filter = learned.grip_filter(len(firsts))
    estimates = np.empty((int(episodes.lengths.max()), len(firsts)))
    everybody = np.ones(len(firsts), np.bool_)
    for step in range(len(estimates)):
        estimates[step] = grip_filter.estimates
        # A finished episode repeats its last step; its estimates are not asked for.
        rows = firsts + np.minimum(step, episodes.lengths - 1)
        grip_filter.update(observations[rows], actions[rows], after[rows], everybody)
    starts = window_starts(episodes, STEPS_AHEAD, EVERY)
    return np.array([estimates[first - firsts[episode], episode] for episode, first in starts])


@torch.no_grad()
def errors_of(
    model: DrivingModel,
    tracks: Sequence[Track],
    tests: Sequence[Test],
    grips: Sequence[NDArray[np.float64]] | None,
) -> dict[str, Any]:
    """Shares of persistence's errors over all windows, at the grips [N] of each test's windows.

    A model that does not know the grip is given none.
    """
    worlds = [(track, grip) for track in tracks for grip in GRIPS]
    judged = on_map(model, CircuitMap([track for track, _ in worlds], [g for _, g in worlds]))
    ends, parts = [], []
    for place, test in enumerate(tests):
        first = [step for _, step in window_starts(test.episodes, STEPS_AHEAD, EVERY)]
        windows = test.episodes.windows(STEPS_AHEAD, first).map(torch.as_tensor)
        start = windows.observations[:, 0].clone()
        number = torch.zeros(len(start))
        if grips is not None:
            nearest = np.abs(grips[place][:, None] - np.array(GRIPS)).argmin(axis=1)
            number = torch.as_tensor(nearest).float()
        start[:, DerivedColumn.CIRCUIT] = test.circuit * len(GRIPS) + number
        ends.append(expected_end(judged, start, windows.actions))
        parts.append(windows)
    return shares(torch.cat(ends), join(parts))


def on_map(model: DrivingModel, circuits: CircuitMap) -> DrivingModel:
    """The same model on other circuits."""
    other = DrivingModel.for_circuits(circuits, model.config, seed=model.seed)
    other.load_state_dict(model.state_dict())
    return other


# Warnings and the shield


def crash_figures(
    config: Config,
    seed: int,
    models: dict[str, Learned],
    roads: tuple[Sequence[Track], Sequence[Track]],
    grips: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]],
) -> dict[str, Any]:
    """Warnings one second ahead and what a shield removes, at drawn grips."""
    imagining: dict[str, risk.RiskModel] = {
        "usual model": risk.RiskModel.of(models["usual"].model),
        "plain model": risk.RiskModel.of(models["plain"].model),
        "adaptive model": GripRiskModel.of(models["adaptive"].model),
        "true rules": risk.RiskModel(),
    }
    adaptive = models["adaptive"]
    few = roads[0][:NUM_CALIBRATION_CIRCUITS]
    calibration = warnings_on(config, 10_000 + seed, adaptive, few, grips[0], imagining)
    judged = warnings_on(config, seed, adaptive, roads[1], grips[1], imagining)
    calibrators, warnings = {}, {}
    for name, features in calibration.features.items():
        calibrators[name] = RiskCalibrator.fit(features, calibration.outcomes)
        probability = calibrators[name].probability(judged.features[name])
        warnings[name] = {
            "auroc": auroc(probability, judged.outcomes),
            "average_precision": average_precision(probability, judged.outcomes),
        }
    ttb = risk.better_urgency(calibration, judged)
    warnings["time to the boundary"] = {
        "auroc": auroc(ttb, judged.outcomes),
        "average_precision": average_precision(ttb, judged.outcomes),
    }
    drivers = partial(drivers_on, config, seed + 999, adaptive, roads[1], grips[1])
    free = shielded_on(
        config,
        drivers(risk.SHIELD_NOISES),
        imagining["true rules"],
        calibrators["true rules"],
        is_shielded=False,
    )
    shields = {}
    for name in MODELS:
        shielded = shielded_on(
            config,
            drivers(risk.SHIELD_NOISES),
            imagining[name],
            calibrators[name],
            is_shielded=True,
        )
        shields[name] = risk.shield_figures(free, shielded)
    return {
        "warnings": warnings,
        "departures": judged.departures,
        "num_warnings": len(judged.outcomes),
        "shield": shields,
    }


def drivers_on(
    config: Config,
    seed: int,
    known: Learned,
    tracks: Sequence[Track],
    grips: Sequence[Sequence[float]],
    noises: Sequence[float],
) -> list[FilteringDrivers]:
    """A group of noisy drivers on every circuit at each of its grips."""
    groups = []
    for circuit, track in enumerate(tracks):
        for number, grip in enumerate(grips[circuit]):
            grip_filter = known.grip_filter(config.cars)
            first = 100_000 * seed + 1000 * circuit + 100 * number
            groups.append(FilteringDrivers(track, config.cars, first, grip, grip_filter, noises))
    return groups


def warnings_on(
    config: Config,
    seed: int,
    known: Learned,
    tracks: Sequence[Track],
    grips: Sequence[Sequence[float]],
    imagining: dict[str, risk.RiskModel],
) -> risk.Warnings:
    """What every model expects of the same drivers, and what came."""
    return risk.Warnings.concatenate(
        [
            risk.collect_warnings(
                drivers,
                imagining,
                num_steps=config.steps,
                every=WARN_EVERY,
                horizon=SECOND,
                num_samples=NUM_SAMPLES,
            )
            for drivers in drivers_on(config, seed, known, tracks, grips, risk.NOISES)
        ]
    )


def shielded_on(
    config: Config,
    groups: Sequence[FilteringDrivers],
    imagining: risk.RiskModel,
    calibrator: RiskCalibrator,
    *,
    is_shielded: bool,
) -> risk.ShieldedDrive:
    """Groups of drivers that have just started, with a shield or without."""
    return risk.ShieldedDrive.concatenate(
        [
            risk.drive_shielded(
                drivers,
                imagining,
                calibrator,
                Shield(THRESHOLD, hold=HOLD) if is_shielded else None,
                num_steps=config.steps,
                every=SHIELD_EVERY,
                horizon=SECOND,
                num_samples=NUM_SAMPLES,
            )
            for drivers in groups
        ]
    )


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds of what the task asks for."""
    judged = (*MODELS, "adaptive model, grip told", "adaptive model, usual grip")
    return {
        "num_seeds": len(rows),
        "loss_rmse": {name: mean(rows, "open_loop", name, "loss_rmse") for name in judged},
        "loss_median": {name: mean(rows, "open_loop", name, "loss_median") for name in judged},
        "auroc": {
            name: mean(rows, "warnings", name, "auroc")
            for name in (*MODELS, "true rules", "time to the boundary")
        },
        "departures_removed": {
            name: mean(rows, "shield", name, "departures_removed") for name in MODELS
        },
    }


def mean(rows: list[dict[str, Any]], *names: str) -> float:
    """Of the figure that lies under these names in each row."""
    values = []
    for row in rows:
        figure: Any = row
        for name in names:
            figure = figure[name]
        values.append(figure)
    return float(np.mean(values))


if __name__ == "__main__":
    main(tyro.cli(Config))
