"""Warn of leaving the road one second ahead, and hand the car over before it does.

    python examples/crash_prediction.py --model runs/plan_driving/model.safetensors --output-dir runs/crash_prediction

Drivers who follow the expert with much noise are recorded on training circuits, where the probability is calibrated,
and on unseen ones, where it is judged: against the time to the boundary at the present velocity, and against the same
rollouts in the true rules. Then a shield hands the car to the careful expert while the probability is high. What it
costs is the mean speed along the circuit, starts after departures included. Writes summary.json (auroc_1s, ap_1s,
ap_1s_ttb, ...) and crash_prediction.png.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from examples import plan_driving
from examples.driving_planner import (
    DRIVEN,
    OFFSET,
    SIDESLIP,
    CompiledModel,
    imagine_learned,
    true_imagination,
)
from examples.record_driving import CIRCUITS, CORRELATION, OPTIONS, held_out
from wm_agents.evaluation.end_scores import auroc, average_precision
from wm_agents.safety import RiskCalibrator, Shield, calibration_error, risk_features
from wm_envs.driving import dynamics
from wm_envs.driving.env import DrivingVectorEnv, track_of
from wm_envs.driving.expert import Expert
from wm_envs.driving.track import Track

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
    steps: int = 600
    """Steps that each of them drives, starting anew after a departure."""
    every: int = 15
    """Steps between warnings."""
    horizon: int = 50
    """Steps ahead: one second."""
    samples: int = 8
    """Imagined futures per warning; the drivers' noise is drawn anew in each."""
    threshold: float = 0.25
    """Probability at which the shield takes over."""
    shield_cars: int = 16
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
    """

    def __init__(self, track: str | Path, num_cars: int, seed: int) -> None:
        self.env = DrivingVectorEnv(num_cars, track=track, time_limit=10**9, **OPTIONS)
        self.expert = Expert(self.env.parameters)
        self._generator = np.random.default_rng(seed)
        self.paces = self._generator.uniform(0.92, 1.08, num_cars)
        self.stds = self._generator.choice([0.05, 0.1, 0.2, 0.3], num_cars)[:, None] * np.array([1.0, 2.0, 2.0])
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

    def futures(self, car: int, horizon: int, num_samples: int) -> Floats:
        """Disturbances [S, H, 3] of steering, pedals and pace as this driver's noise may go on."""
        noise, future = np.repeat(self.noise[car : car + 1], num_samples, axis=0), np.empty((num_samples, horizon, 3))
        for step in range(horizon):
            fresh = self._generator.normal(size=noise.shape) * np.sqrt(1 - CORRELATION**2)
            noise = CORRELATION * noise + fresh
            # Both pedals' noise as one: throttle less brake.
            scaled = noise * self.stds[car]
            future[:, step] = np.stack([scaled[:, 0], scaled[:, 1] - scaled[:, 2], np.zeros(num_samples)], axis=1)
        future[:, :, 2] = self.paces[car] - 1.0
        return future


Imagine = Callable[[NoisyDrivers, int, Floats], Floats]
"""(drivers, car, disturbances [S, H, 3]) -> paths [S, H, 8]."""


def learned_paths(model: CompiledModel) -> Imagine:
    """Imagination in the learned model, from the car's observation."""

    def imagine(drivers: NoisyDrivers, car: int, disturbances: Floats) -> Floats:
        paths = np.empty((*disturbances.shape[:2], 8))
        start = drivers.observations[car].astype(np.float64)
        imagine_learned(start, drivers.env.parameters, drivers.expert.table, disturbances, True, *model.arrays, paths)
        return paths

    return imagine


def true_paths(drivers: NoisyDrivers, car: int, disturbances: Floats) -> Floats:
    """The same in the true rules: what a perfect model would warn of."""
    state = drivers.env.clone_state()[car]
    return true_imagination(state, drivers.env.parameters)(disturbances, drivers.expert.table)


def margins(paths: Floats, start: float, track: Track) -> Floats:
    """Distance to the end of the road [S, H], m; less than 0 too where the car has spun."""
    distance = start + paths[:, :, DRIVEN]
    left = track.at(track.left, distance) + dynamics.HALF_WIDTH - paths[:, :, OFFSET]
    right = track.at(track.right, distance) + dynamics.HALF_WIDTH + paths[:, :, OFFSET]
    spin = 5.0 * (dynamics.MAX_SIDESLIP - np.abs(paths[:, :, SIDESLIP]))
    result: Floats = np.minimum(np.minimum(left, right), spin)
    return np.clip(np.nan_to_num(result, nan=-5.0), -5.0, 10.0)


def urgency(observation: NDArray[np.float32]) -> float:
    """One over the time to the boundary at the present velocity across the road, 1/s; the yardstick."""
    vx, vy, offset, heading = (float(observation[i]) for i in (0, 1, 22, 23))
    across = vx * np.sin(heading) + vy * np.cos(heading)
    room = (observation[36] - offset if across > 0 else observation[35] + offset) + dynamics.HALF_WIDTH
    return abs(across) / max(float(room), 0.05)


@dataclass
class Warnings:
    """What was said, and what came.

    Attributes:
        features: By model name, [N, 5].
        urgencies: [N].
        happened: Did the car leave the road or spin within the horizon [N].
        departures: How many did.
    """

    features: dict[str, Floats]
    urgencies: Floats
    happened: NDArray[np.bool_]
    departures: int


def observe(track: Path, imagines: dict[str, Imagine], config: Config, seed: int) -> Warnings:
    """Drive and warn; a warning counts once its horizon has passed."""
    drivers = NoisyDrivers(track, config.cars, seed)
    circuit, length = track_of(drivers.env.parameters), float(drivers.env.parameters["length"][0])
    is_handed_over = np.zeros(config.cars, np.bool_)
    warnings: list[tuple[int, int, dict[str, Floats], float]] = []
    ends, is_fresh = np.zeros((config.steps, config.cars), np.bool_), np.zeros(config.cars, np.bool_)
    for step in range(config.steps):
        if step % config.every == 0 and step + config.horizon < config.steps:
            for car in np.flatnonzero(~is_fresh):
                disturbances = drivers.futures(int(car), config.horizon, config.samples)
                start = float(drivers.observations[car, 21]) * length
                features = {
                    name: risk_features(margins(imagine(drivers, int(car), disturbances), start, circuit)[None], SCALE)[
                        0
                    ]
                    for name, imagine in imagines.items()
                }
                warnings.append((step, int(car), features, urgency(drivers.observations[car])))
        drivers.observations, _, terminated, _, _ = drivers.env.step(drivers.act(is_handed_over))
        is_fresh = terminated  # the next call resets these cars
        ends[step] = terminated
    happened = [bool(ends[step : step + config.horizon, car].any()) for step, car, _, _ in warnings]
    return Warnings(
        {name: np.array([warning[2][name] for warning in warnings]) for name in imagines},
        np.array([warning[3] for warning in warnings]),
        np.array(happened),
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


def drive_shielded(
    track: Path, imagine: Imagine, calibrator: RiskCalibrator, config: Config, *, is_shielded: bool
) -> dict[str, float]:
    """Departures and metres per second of noisy drivers, with the shield or without."""
    drivers = NoisyDrivers(track, config.shield_cars, config.seed + 999)
    circuit, length = track_of(drivers.env.parameters), float(drivers.env.parameters["length"][0])
    shield = Shield(config.threshold, hold=3)
    is_handed_over = np.zeros(config.shield_cars, np.bool_)
    departures, driven, seconds, handed = 0, 0.0, 0.0, 0
    before = drivers.env.clone_state()["driven"].copy()
    for step in range(config.steps):
        if is_shielded and step % 5 == 0:
            features = []
            for car in range(config.shield_cars):
                disturbances = drivers.futures(car, config.horizon, config.samples)
                start = float(drivers.observations[car, 21]) * length
                features.append(
                    risk_features(margins(imagine(drivers, car, disturbances), start, circuit)[None], SCALE)[0]
                )
            is_handed_over = shield.decide(calibrator.probability(np.array(features)))
        drivers.observations, _, terminated, _, _ = drivers.env.step(drivers.act(is_handed_over))
        after = drivers.env.clone_state()["driven"]
        is_driving = after > before
        driven += float((after - before)[is_driving].sum())
        seconds += dynamics.TIME_STEP * float(is_driving.sum())
        before = after.copy()
        departures += int(terminated.sum())
        handed += int(is_handed_over.sum())
    share = handed / (config.steps * config.shield_cars)
    return {"departures": departures, "speed": driven / seconds, "driven": driven, "share_handed_over": share}


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
    imagines: dict[str, Imagine] = {"model": learned, "oracle": true_paths}
    calibration = together(
        [
            observe(path, imagines, config, config.seed + 10_000 + number)
            for number, path in enumerate(training[: config.num_calibration_circuits])
        ]
    )
    judged = together([observe(path, imagines, config, config.seed + n) for n, path in enumerate(unseen)])
    calibrators = {
        name: RiskCalibrator.fit(features, calibration.happened) for name, features in calibration.features.items()
    }
    probabilities = {name: calibrators[name].probability(judged.features[name]) for name in imagines}
    boundary = RiskCalibrator.fit(_urgency_features(calibration), calibration.happened)
    ttb = boundary.probability(_urgency_features(judged))
    free = [drive_shielded(path, learned, calibrators["model"], config, is_shielded=False) for path in unseen]
    safe = [drive_shielded(path, learned, calibrators["model"], config, is_shielded=True) for path in unseen]
    rates = [sum(run["departures"] for run in runs) / sum(run["driven"] for run in runs) for runs in (free, safe)]
    speeds = [float(np.mean([run["speed"] for run in runs])) for runs in (free, safe)]
    summary = {
        "auroc_1s": auroc(probabilities["model"], judged.happened),
        "ap_1s": average_precision(probabilities["model"], judged.happened),
        "calibration_error_1s": calibration_error(probabilities["model"], judged.happened),
        "auroc_1s_oracle": auroc(probabilities["oracle"], judged.happened),
        "ap_1s_oracle": average_precision(probabilities["oracle"], judged.happened),
        "auroc_1s_ttb": auroc(ttb, judged.happened),
        "ap_1s_ttb": average_precision(ttb, judged.happened),
        "departures": judged.departures,
        "warnings": len(judged.happened),
        "share_followed_by_a_departure": float(judged.happened.mean()),
        "departures_without_shield": sum(run["departures"] for run in free),
        "departures_with_shield": sum(run["departures"] for run in safe),
        "departures_removed": 1.0 - rates[1] / max(rates[0], 1e-12),  # per metre driven
        "lap_time_cost": speeds[0] / speeds[1] - 1.0,
        "share_handed_over": float(np.mean([run["share_handed_over"] for run in safe])),
        "horizon_seconds": config.horizon * dynamics.TIME_STEP,
        "seed": config.seed,
    }
    (config.output_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (config.output_dir / "calibrator.json").write_text(json.dumps(calibrators["model"].to_json()) + "\n")
    draw(config, probabilities["model"], ttb, judged.happened)
    print(json.dumps(summary, indent=2))
    return summary


def _urgency_features(warnings: Warnings) -> Floats:
    return np.stack([np.tanh(warnings.urgencies), np.tanh(warnings.urgencies / 4)], axis=1)


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
