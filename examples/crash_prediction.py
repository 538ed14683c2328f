"""Warn of leaving the road one second ahead, and hand the car over before it does.

    python examples/crash_prediction.py --model runs/plan_driving/model.safetensors --output-dir
    runs/crash_prediction

Drivers who follow the expert with much noise are recorded on training circuits, where the
probability is calibrated, and on unseen ones, where it is judged: against the time to the boundary
at the present velocity, and against the same rollouts in the true rules. Imagination knows the
driver: his pace, his noise now (what he just did less what the expert would have done) and how it
comes and goes, not how it goes on. Then a shield hands the car to the careful expert while the
probability is high. What it costs is the time per metre, starts left out. Writes summary.json
(auroc_1s, ap_1s, ap_1s_ttb, ...) and crash_prediction.png.
"""

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # for `wm_agents.domains.driving`, when run as a script

from examples import plan_driving
from examples.record_driving import CIRCUITS, held_out
from wm_agents.domains.driving.imagination import CompiledModel, Floats
from wm_agents.domains.driving.risk import (
    Imagination,
    NoisyDrivers,
    features_of,
    learned_paths,
    true_paths,
    urgencies,
)
from wm_agents.errors import ConfigError
from wm_agents.evaluation.end_scores import auroc, average_precision
from wm_agents.planning.safety import RiskCalibrator, Shield, calibration_error
from wm_agents.training.config_checks import require_integers
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths
from wm_envs.driving import dynamics
from wm_envs.driving.track import track_of


@dataclass(frozen=True)
class Config:
    """What to warn of, and on which data."""

    model: Path | None = None
    """A model file of plan_driving; None learns one with its default settings."""
    circuits: Path = CIRCUITS
    """Folder of the circuits.

    The calibration takes training circuits, the judgement the unseen ones.
    """
    num_calibration_circuits: int = 3
    """Training circuits on which the probability is calibrated."""
    cars: int = 60
    """Cars on each circuit."""
    steps: int = 1000
    """Steps that each of them drives, starting anew after a departure."""
    every: int = 10
    """Steps between warnings."""
    horizon: int = 50
    """Steps ahead: one second."""
    samples: int = 12
    """Imagined futures per warning; the drivers' noise is drawn anew in each."""
    threshold: float = 0.1
    """Probability at which the shield takes over."""
    shield_every: int = 5
    """Steps between the decisions of the shield."""
    hold: int = 5
    """Decisions for which a car stays handed over at least."""
    shield_cars: int = 60
    """Cars on each unseen circuit for the shield."""
    seed: int = 0
    """Seed of drivers and imagination."""
    output_dir: Path = Path("runs/crash_prediction")
    """Folder for summary.json and the picture."""


@dataclass
class Warnings:
    """What was said, and what came.

    Attributes:
        features: By model name, [N, 5].
        urgencies: [N, 2].
        happened: Did the car leave the road or spin within the horizon [N].
        departures: How many did.
    """

    features: dict[str, Floats]
    urgencies: Floats
    happened: NDArray[np.bool_]
    departures: int


def observe(
    path: Path, imaginations: dict[str, Imagination], config: Config, seed: int
) -> Warnings:
    """Drive and warn; a warning counts once its horizon has passed."""
    drivers = NoisyDrivers(path, config.cars, seed)
    track, nobody = track_of(drivers.env.parameters), np.zeros(config.cars, np.bool_)
    said: list[tuple[int, NDArray[np.int64], dict[str, Floats], Floats]] = []
    ends, is_fresh = (
        np.zeros((config.steps, config.cars), np.bool_),
        np.zeros(config.cars, np.bool_),
    )
    for step in range(config.steps):
        if step % config.every == 0 and step + config.horizon <= config.steps:
            cars = np.flatnonzero(~is_fresh)
            futures = drivers.futures(config.horizon, config.samples)
            features = {
                name: features_of(drivers, imagine, futures, track)[cars]
                for name, imagine in imaginations.items()
            }
            said.append((step, cars, features, urgencies(drivers.observations)[cars]))
        drivers.observations, _, terminated, _, _ = drivers.env.step(drivers.act(nobody))
        is_fresh = terminated  # the next call resets these cars
        ends[step] = terminated
    happened = [ends[step : step + config.horizon, cars].any(axis=0) for step, cars, _, _ in said]
    return Warnings(
        {
            name: np.concatenate([features[name] for _, _, features, _ in said])
            for name in imaginations
        },
        np.concatenate([urgency for *_, urgency in said]),
        np.concatenate(happened),
        int(ends.sum()),
    )


def together(parts: list[Warnings]) -> Warnings:
    """The warnings of several circuits."""
    names = parts[0].features
    return Warnings(
        {name: np.concatenate([part.features[name] for part in parts]) for name in names},
        np.concatenate([part.urgencies for part in parts]),
        np.concatenate([part.happened for part in parts]),
        sum(part.departures for part in parts),
    )


NOISES = (0.0, 0.05, 0.1, 0.2, 0.3)


@dataclass
class Drive:
    """What became of a group of cars.

    Attributes:
        departures: By car [B].
        driven: Metres by car [B].
        rolling: Metres by car [B] from 8 s after a start on, since a car that left the road starts
            anew slowly.
        seconds: Time by car [B] for those.
        handed_over: Share of the time by car [B].
        noises: Of the drivers [B].
    """

    departures: Floats
    driven: Floats
    rolling: Floats
    seconds: Floats
    handed_over: Floats
    noises: Floats

    def time_per_metre(self, cars: NDArray[np.bool_]) -> float | None:
        """Of the cars of a mask [B], s/m; None where none of them went on for 8 s."""
        metres = float(self.rolling[cars].sum())
        return float(self.seconds[cars].sum()) / metres if metres > 0 else None


def drive_shielded(
    path: Path,
    imagine: Imagination,
    calibrator: RiskCalibrator,
    config: Config,
    *,
    is_shielded: bool,
) -> Drive:
    """Noisy drivers, with the shield or without; the same drivers and starts both times."""
    num_cars = config.shield_cars
    drivers = NoisyDrivers(path, num_cars, config.seed + 999, NOISES)
    track, shield = track_of(drivers.env.parameters), Shield(config.threshold, hold=config.hold)
    is_handed_over, is_fresh = np.zeros((2, num_cars), np.bool_)
    drive = Drive(*np.zeros((5, num_cars)), drivers.stds[:, 0])
    age = np.zeros(num_cars, np.int64)
    before = drivers.env.clone_state()["driven"].copy()
    for step in range(config.steps):
        if is_shielded and step % config.shield_every == 0:
            futures = drivers.futures(config.horizon, config.samples)
            risk = calibrator.probability(features_of(drivers, imagine, futures, track))
            shield.reset(is_fresh)
            is_handed_over = shield.decide(np.where(is_fresh, 0.0, risk))
        drivers.observations, _, is_fresh, _, _ = drivers.env.step(drivers.act(is_handed_over))
        after = drivers.env.clone_state()["driven"]
        gained, age = np.maximum(after - before, 0.0), np.where(after < before, 0, age + 1)
        before = after.copy()
        drive.driven += gained
        drive.rolling += np.where(age > 400, gained, 0.0)
        drive.seconds += np.where(age > 400, dynamics.TIME_STEP, 0.0)
        drive.departures += is_fresh
        drive.handed_over += is_handed_over / config.steps
    return drive


def cost(free: Drive, safe: Drive, cars: NDArray[np.bool_]) -> float | None:
    """What the shield adds to the time per metre of the cars of a mask [B], as a share.

    None where nobody rolled.
    """
    times = free.time_per_metre(cars), safe.time_per_metre(cars)
    return times[1] / times[0] - 1.0 if times[0] and times[1] else None


def shield_figures(free: list[Drive], safe: list[Drive]) -> dict[str, Any]:
    """What the shield prevents, per metre driven, and what it costs, by the noise of the drivers."""
    runs = [
        Drive(*(np.concatenate([getattr(d, f.name) for d in drives]) for f in fields(Drive)))
        for drives in (free, safe)
    ]
    everyone = np.ones(len(runs[0].noises), np.bool_)
    rates = [float(run.departures.sum() / run.driven.sum()) for run in runs]
    costs, handed = {}, {}
    for noise in NOISES:
        cars = runs[0].noises == noise
        costs[str(noise)] = cost(*runs, cars)
        handed[str(noise)] = float(runs[1].handed_over[cars].mean())
    return {
        "departures_without_shield": int(runs[0].departures.sum()),
        "departures_with_shield": int(runs[1].departures.sum()),
        "departures_removed": 1.0 - rates[1] / max(rates[0], 1e-12),
        "lap_time_cost": cost(*runs, everyone),
        "lap_time_cost_by_noise": costs,
        "share_handed_over_by_noise": handed,
    }


def check(config: Config) -> None:
    """Refuse at once what would fail after minutes; raises ConfigError."""
    Shield(config.threshold, hold=config.hold)
    names = (
        "num_calibration_circuits",
        "cars",
        "every",
        "horizon",
        "samples",
        "shield_every",
        "shield_cars",
    )
    require_integers(1, **{name: getattr(config, name) for name in names})
    if config.steps < config.horizon:
        raise ConfigError(
            f"no warning counts in {config.steps} steps with a horizon of {config.horizon}: drive longer"
        )


def main(config: Config) -> dict[str, Any]:
    """Calibrate, judge, shield; returns the summary that is written."""
    config = expand_paths(config)
    torch.set_num_threads(1)
    make_output_directory(config.output_dir, has_pictures=True)
    check(config)
    training, unseen = held_out(config.circuits)
    if not unseen:
        raise ConfigError(
            f"{len(training)} circuits in {config.circuits} leave none unseen: give at least 3"
        )
    planning = plan_driving.Config(
        model=config.model,
        circuits=config.circuits,
        seed=config.seed,
        output_dir=config.output_dir,
        track="oval",
    )
    model = (plan_driving.load if config.model else plan_driving.learn)(planning, training).model
    learned = learned_paths(CompiledModel(model))
    imaginations: dict[str, Imagination] = {"model": learned, "oracle": true_paths}
    seeds = range(config.seed + 10_000, config.seed + 10_000 + config.num_calibration_circuits)
    calibration = together(
        [
            observe(path, imaginations, config, seed)
            for path, seed in zip(training, seeds, strict=False)
        ]
    )
    judged = together(
        [observe(path, imaginations, config, config.seed + n) for n, path in enumerate(unseen)]
    )
    calibrators = {
        name: RiskCalibrator.fit(features, calibration.happened)
        for name, features in calibration.features.items()
    }
    probabilities = {
        name: calibrators[name].probability(judged.features[name]) for name in imaginations
    }
    # The better of the two times to the boundary, chosen on the calibration circuits.
    scores = [average_precision(column, calibration.happened) for column in calibration.urgencies.T]
    ttb = judged.urgencies[:, int(np.argmax(scores))]
    free, safe = (
        [
            drive_shielded(path, learned, calibrators["model"], config, is_shielded=choice)
            for path in unseen
        ]
        for choice in (False, True)
    )
    summary = {
        "auroc_1s": auroc(probabilities["model"], judged.happened),
        "ap_1s": average_precision(probabilities["model"], judged.happened),
        "calibration_error_1s": calibration_error(probabilities["model"], judged.happened),
        "auroc_1s_oracle": auroc(probabilities["oracle"], judged.happened),
        "ap_1s_oracle": average_precision(probabilities["oracle"], judged.happened),
        "auroc_1s_ttb": auroc(ttb, judged.happened),
        "ap_1s_ttb_at_constant_velocity": average_precision(
            judged.urgencies[:, 0], judged.happened
        ),
        "ap_1s_ttb_at_constant_acceleration": average_precision(
            judged.urgencies[:, 1], judged.happened
        ),
        "ap_1s_ttb": average_precision(ttb, judged.happened),
        "departures": judged.departures,
        "warnings": len(judged.happened),
        "share_followed_by_a_departure": float(judged.happened.mean()),
        **shield_figures(free, safe),
        "horizon_seconds": config.horizon * dynamics.TIME_STEP,
        "seed": config.seed,
    }
    write_summary(config.output_dir, summary)
    calibrator = json.dumps(calibrators["model"].to_json()) + "\n"
    (config.output_dir / "calibrator.json").write_text(calibrator, encoding="utf-8")
    draw(config, probabilities["model"], ttb, judged.happened)
    print(json.dumps(summary, indent=2))
    return summary


def draw(config: Config, probabilities: Floats, ttb: Floats, happened: NDArray[np.bool_]) -> None:
    """Write crash_prediction.png: precision over recall, and what probabilities came true."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5))
    for name, values in (("model rollouts", probabilities), ("time to boundary", ttb)):
        hits = np.cumsum(happened[np.argsort(-values, kind="stable")])
        axes[0].plot(hits / max(hits[-1], 1), hits / np.arange(1, len(hits) + 1), label=name)
    axes[0].set(
        xlabel="departures warned of", ylabel="warnings that came true", title="one second ahead"
    )
    axes[0].legend()
    order = np.array_split(np.argsort(probabilities, kind="stable"), 10)
    axes[1].plot([0, 1], [0, 1], color="0.7")
    axes[1].plot(
        [probabilities[o].mean() for o in order], [happened[o].mean() for o in order], "o-"
    )
    axes[1].set(
        xlabel="probability",
        ylabel="share that left the road",
        title="calibration, ten groups of equal size",
    )
    figure.tight_layout()
    figure.savefig(config.output_dir / "crash_prediction.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(tyro.cli(Config))
