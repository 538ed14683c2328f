"""Warn of leaving the road one second ahead, and hand the car over before it does.

    python examples/crash_prediction.py --model runs/plan_driving/model.safetensors --output-dir runs/crash_prediction

Drivers who follow the expert with much noise are recorded on training circuits, where the probability is calibrated,
and on unseen ones, where it is judged: against the time to the boundary at the present velocity, and against the same
rollouts in the true rules. Imagination knows the driver: his pace, his noise now (what he just did less what the expert
would have done) and how it comes and goes, not how it goes on. Then a shield hands the car to the careful expert while
the probability is high. What it costs is the time per metre, starts left out. Writes summary.json (auroc_1s, ap_1s,
ap_1s_ttb, ...) and crash_prediction.png.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for its neighbours, when run as a script

from examples import plan_driving
from examples.driving_imagination import (
    DRIVEN,
    NUM_COLUMNS,
    OFFSET,
    SIDESLIP,
    CompiledModel,
    imagine_truth,
    learned_imagination,
)
from examples.driving_model import AX, AY, BEND, HEADING, LEFT, RIGHT, VX, VY
from examples.driving_model import OFFSET as SEEN_OFFSET
from examples.record_driving import CIRCUITS, CORRELATION, OPTIONS, held_out
from wm_agents.evaluation.end_scores import auroc, average_precision
from wm_agents.safety import RiskCalibrator, Shield, calibration_error, risk_features
from wm_envs.driving import dynamics
from wm_envs.driving.env import DrivingVectorEnv, track_of
from wm_envs.driving.expert import Expert
from wm_envs.driving.track import Track
from wm_envs.kernel import empty_rows

Floats = NDArray[np.float64]
SCALE = 1.5  # m; margins are squashed by it
CAREFUL_PACE = 0.88


@dataclass(frozen=True)
class Config:
    """What to warn of, and on which data."""

    model: Path | None = None
    """A model file of plan_driving; None learns one with its default settings."""
    circuits: Path = CIRCUITS
    """Folder of the circuits; the calibration takes training circuits, the judgement the unseen ones."""
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


class NoisyDrivers:
    """Cars on one circuit, driven by the expert with coloured noise that differs from car to car.

    Args:
        track: A circuit file.
        num_cars: B.
        seed: Draws starts, paces and noise.
        noises: Standard deviations on the steering, which the cars have in turn; twice as much on the pedals.
    """

    def __init__(
        self, track: str | Path, num_cars: int, seed: int, noises: Sequence[float] = (0.05, 0.1, 0.2, 0.3)
    ) -> None:
        self.env = DrivingVectorEnv(num_cars, track=track, time_limit=10**9, **OPTIONS)
        self.expert = Expert(self.env.parameters)
        self._generator = np.random.default_rng(seed)
        self.paces = self._generator.uniform(0.92, 1.08, num_cars)
        self.stds = np.resize(noises, num_cars)[:, None] * np.array([1.0, 2.0, 2.0])
        self.noise: Floats = np.zeros((num_cars, 3))
        self.observations, _ = self.env.reset(seed=seed)

    def act(self, is_handed_over: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The actions [B, 3]; cars that are handed over get the careful expert's."""
        fresh = self._generator.normal(size=self.noise.shape) * np.sqrt(1 - CORRELATION**2)
        self.noise = CORRELATION * self.noise + fresh
        paces = np.where(is_handed_over, CAREFUL_PACE, self.paces)
        disturbed = np.where(is_handed_over[:, None], 0.0, self.stds * self.noise)
        actions = self.expert.actions_on(self.observations, paces) + disturbed
        return np.clip(actions, [-1, 0, 0], 1).astype(np.float32)

    def futures(self, horizon: int, num_samples: int) -> Floats:
        """Disturbances [B * S, H, 5] of the expert as each driver's noise may go on, and his pace."""
        noise = np.repeat(self.noise, num_samples, axis=0)
        stds, future = np.repeat(self.stds, num_samples, axis=0), np.zeros((len(noise), horizon, 5))
        for step in range(horizon):
            noise = CORRELATION * noise + self._generator.normal(size=noise.shape) * np.sqrt(1 - CORRELATION**2)
            future[:, step, [0, 3, 4]] = noise * stds
        future[:, :, 2] = np.repeat(self.paces, num_samples)[:, None] - 1.0
        return future

    @property
    def distances(self) -> Floats:
        """Where the cars are along the lap [B], m."""
        length = float(self.env.parameters["length"][0])
        return np.minimum(self.observations[:, 21].astype(np.float64), 0.9999999) * length


Imagination = Callable[[NoisyDrivers, Floats], Floats]
"""(drivers, disturbances [B * S, H, 5]) -> paths [B * S, H, 8]."""


def learned_paths(model: CompiledModel) -> Imagination:
    """Imagination in the learned model, from what the cars see; future s of a car follows member s of the model."""
    num_members = len(model.members)

    def imagine(drivers: NoisyDrivers, disturbances: Floats) -> Floats:
        starts = np.repeat(drivers.observations, len(disturbances) // len(drivers.observations), axis=0)
        paths = np.empty((*disturbances.shape[:2], NUM_COLUMNS))
        for member in range(num_members):
            rows = slice(member, None, num_members)
            follow = learned_imagination(starts[rows], drivers.env.parameters, model, member=member)
            paths[rows] = follow(np.ascontiguousarray(disturbances[rows]), drivers.expert.table)
        return paths

    return imagine


def true_paths(drivers: NoisyDrivers, disturbances: Floats) -> Floats:
    """The same in the true rules: what a perfect model would warn of."""
    states = drivers.env.clone_state()
    rows = empty_rows(len(disturbances), states.dtype)
    rows[:] = np.repeat(states, len(disturbances) // len(states))
    paths = np.empty((*disturbances.shape[:2], NUM_COLUMNS))
    imagine_truth(rows, drivers.env.parameters, drivers.expert.table, disturbances, True, paths)
    return paths


def features_of(drivers: NoisyDrivers, imagine: Imagination, disturbances: Floats, track: Track) -> Floats:
    """What a calibrator needs of each car's imagined futures [B, 5]."""
    num_samples = len(disturbances) // len(drivers.observations)
    paths = imagine(drivers, disturbances)
    distances = margins(paths, np.repeat(drivers.distances, num_samples)[:, None], track)
    return risk_features(distances.reshape(-1, num_samples, distances.shape[1]), SCALE)


def margins(paths: Floats, start: Floats, track: Track) -> Floats:
    """Distance to the end of the road [N, H], m, of paths from distances [N, 1]; below 0, too, after a spin."""
    distance = start + paths[:, :, DRIVEN]
    left = track.at(track.left, distance) + dynamics.HALF_WIDTH - paths[:, :, OFFSET]
    right = track.at(track.right, distance) + dynamics.HALF_WIDTH + paths[:, :, OFFSET]
    spin = 5.0 * (dynamics.MAX_SIDESLIP - np.abs(paths[:, :, SIDESLIP]))
    result: Floats = np.minimum(np.minimum(left, right), spin)
    return np.clip(np.nan_to_num(result, nan=-5.0), -5.0, 10.0)


def urgencies(observations: NDArray[np.float32]) -> Floats:
    """The shortest time, 0.05 s, over the time to the boundary [B, 2]: at the present velocity, and acceleration.

    The yardstick: the offset goes on as it changes now, or with what the accelerometer shows less the road's bend.
    """
    seen = observations.astype(np.float64)
    sine, cosine = np.sin(seen[:, HEADING]), np.cos(seen[:, HEADING])
    across = seen[:, VX] * sine + seen[:, VY] * cosine
    along = seen[:, VX] * cosine - seen[:, VY] * sine
    gained = seen[:, AX] * sine + seen[:, AY] * cosine - along**2 * seen[:, BEND]
    left = seen[:, LEFT] - seen[:, SEEN_OFFSET] + dynamics.HALF_WIDTH
    right = seen[:, RIGHT] + seen[:, SEEN_OFFSET] + dynamics.HALF_WIDTH
    times = np.arange(0.05, 5.0, 0.05)
    columns = []
    for acceleration in (0.0, gained[:, None]):
        moved = across[:, None] * times + 0.5 * acceleration * times**2
        is_off = (moved > left[:, None]) | (moved < -right[:, None])
        columns.append(np.where(is_off.any(axis=1), times[0] / times[is_off.argmax(axis=1)], 0.0))
    return np.stack(columns, axis=1)


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


def observe(path: Path, imaginations: dict[str, Imagination], config: Config, seed: int) -> Warnings:
    """Drive and warn; a warning counts once its horizon has passed."""
    drivers = NoisyDrivers(path, config.cars, seed)
    track, nobody = track_of(drivers.env.parameters), np.zeros(config.cars, np.bool_)
    said: list[tuple[int, NDArray[np.int64], dict[str, Floats], Floats]] = []
    ends, is_fresh = np.zeros((config.steps, config.cars), np.bool_), np.zeros(config.cars, np.bool_)
    for step in range(config.steps):
        if step % config.every == 0 and step + config.horizon <= config.steps:
            cars = np.flatnonzero(~is_fresh)
            futures = drivers.futures(config.horizon, config.samples)
            features = {
                name: features_of(drivers, imagine, futures, track)[cars] for name, imagine in imaginations.items()
            }
            said.append((step, cars, features, urgencies(drivers.observations)[cars]))
        drivers.observations, _, terminated, _, _ = drivers.env.step(drivers.act(nobody))
        is_fresh = terminated  # the next call resets these cars
        ends[step] = terminated
    happened = [ends[step : step + config.horizon, cars].any(axis=0) for step, cars, _, _ in said]
    return Warnings(
        {name: np.concatenate([features[name] for _, _, features, _ in said]) for name in imaginations},
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
        rolling: Metres by car [B] from 8 s after a start on, since a car that left the road starts anew slowly.
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

    def time_per_metre(self, cars: NDArray[np.bool_]) -> float:
        """Of the cars of a mask [B], s/m."""
        return float(self.seconds[cars].sum() / max(self.rolling[cars].sum(), 1e-9))


def drive_shielded(
    path: Path, imagine: Imagination, calibrator: RiskCalibrator, config: Config, *, is_shielded: bool
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


def shield_figures(free: list[Drive], safe: list[Drive]) -> dict[str, Any]:
    """What the shield prevents, per metre driven, and what it costs, by the noise of the drivers."""
    runs = [
        Drive(*(np.concatenate([getattr(d, f.name) for d in drives]) for f in fields(Drive))) for drives in (free, safe)
    ]
    everyone = np.ones(len(runs[0].noises), np.bool_)
    rates = [float(run.departures.sum() / run.driven.sum()) for run in runs]
    costs, handed = {}, {}
    for noise in NOISES:
        cars = runs[0].noises == noise
        costs[str(noise)] = runs[1].time_per_metre(cars) / runs[0].time_per_metre(cars) - 1.0
        handed[str(noise)] = float(runs[1].handed_over[cars].mean())
    return {
        "departures_without_shield": int(runs[0].departures.sum()),
        "departures_with_shield": int(runs[1].departures.sum()),
        "departures_removed": 1.0 - rates[1] / max(rates[0], 1e-12),
        "lap_time_cost": runs[1].time_per_metre(everyone) / runs[0].time_per_metre(everyone) - 1.0,
        "lap_time_cost_by_noise": costs,
        "share_handed_over_by_noise": handed,
    }


def main(config: Config) -> dict[str, Any]:
    """Calibrate, judge, shield; returns the summary that is written."""
    torch.set_num_threads(1)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    training, unseen = held_out(config.circuits)
    planning = plan_driving.Config(
        model=config.model, circuits=config.circuits, seed=config.seed, output_dir=config.output_dir, track="oval"
    )
    model, _ = (plan_driving.load if config.model else plan_driving.learn)(planning, training)
    learned = learned_paths(CompiledModel(model))
    imaginations: dict[str, Imagination] = {"model": learned, "oracle": true_paths}
    seeds = range(config.seed + 10_000, config.seed + 10_000 + config.num_calibration_circuits)
    calibration = together(
        [observe(path, imaginations, config, seed) for path, seed in zip(training, seeds, strict=False)]
    )
    judged = together([observe(path, imaginations, config, config.seed + n) for n, path in enumerate(unseen)])
    calibrators = {
        name: RiskCalibrator.fit(features, calibration.happened) for name, features in calibration.features.items()
    }
    probabilities = {name: calibrators[name].probability(judged.features[name]) for name in imaginations}
    # The better of the two times to the boundary, chosen on the calibration circuits.
    scores = [average_precision(column, calibration.happened) for column in calibration.urgencies.T]
    ttb = judged.urgencies[:, int(np.argmax(scores))]
    free, safe = (
        [drive_shielded(path, learned, calibrators["model"], config, is_shielded=choice) for path in unseen]
        for choice in (False, True)
    )
    summary = {
        "auroc_1s": auroc(probabilities["model"], judged.happened),
        "ap_1s": average_precision(probabilities["model"], judged.happened),
        "calibration_error_1s": calibration_error(probabilities["model"], judged.happened),
        "auroc_1s_oracle": auroc(probabilities["oracle"], judged.happened),
        "ap_1s_oracle": average_precision(probabilities["oracle"], judged.happened),
        "auroc_1s_ttb": auroc(ttb, judged.happened),
        "ap_1s_ttb_at_constant_velocity": average_precision(judged.urgencies[:, 0], judged.happened),
        "ap_1s_ttb_at_constant_acceleration": average_precision(judged.urgencies[:, 1], judged.happened),
        "ap_1s_ttb": average_precision(ttb, judged.happened),
        "departures": judged.departures,
        "warnings": len(judged.happened),
        "share_followed_by_a_departure": float(judged.happened.mean()),
        **shield_figures(free, safe),
        "horizon_seconds": config.horizon * dynamics.TIME_STEP,
        "seed": config.seed,
    }
    (config.output_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (config.output_dir / "calibrator.json").write_text(json.dumps(calibrators["model"].to_json()) + "\n")
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
    axes[0].set(xlabel="departures warned of", ylabel="warnings that came true", title="one second ahead")
    axes[0].legend()
    order = np.array_split(np.argsort(probabilities, kind="stable"), 10)
    axes[1].plot([0, 1], [0, 1], color="0.7")
    axes[1].plot([probabilities[o].mean() for o in order], [happened[o].mean() for o in order], "o-")
    axes[1].set(xlabel="probability", ylabel="share that left the road", title="calibration, ten groups of equal size")
    figure.tight_layout()
    figure.savefig(config.output_dir / "crash_prediction.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(tyro.cli(Config))
