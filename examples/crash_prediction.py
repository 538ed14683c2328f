"""Warn of leaving the road one second ahead, and hand the car over before it does.

    python examples/crash_prediction.py --model runs/plan_driving/model.safetensors --output-dir runs/crash_prediction

Drivers who follow the expert with much noise are recorded on training circuits, where the
probability is calibrated, and on unseen ones, where it is judged: against the time to the boundary
at the present velocity, and against the same rollouts in the true rules. Imagination knows the
driver: his pace, his noise now (what he just did less what the expert would have done) and how it
comes and goes, not how it goes on. Then a shield hands the car to the careful expert while the
probability is high. What it costs is the time per metre, starts left out. Writes summary.json
(auroc_1s, ap_1s, ap_1s_ttb, ...) and crash_prediction.png.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import wm_agents as wma
from wm_agents.domains.driving import learning, risk
from wm_agents.domains.driving.network import DrivingModel
from wm_agents.domains.driving.observations import CircuitMap
from wm_agents.domains.driving.recording import split_circuits
from wm_envs.data.fetching import data_folder
from wm_envs.driving.dynamics import TIME_STEP

CALIBRATION_SEED, SHIELD_SEED = 10_000, 999  # added to the seed: drivers of their own

CIRCUITS = data_folder("circuits")


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


def main(config: Config) -> dict[str, Any]:
    """Calibrate, judge, shield; returns the summary that is written."""
    config = wma.expand_paths(config)
    torch.set_num_threads(1)
    wma.make_output_directory(config.output_dir, has_pictures=True)
    check(config)
    training, unseen = split_circuits(config.circuits)
    if not unseen:
        raise wma.ConfigError(
            f"{len(training)} circuits in {config.circuits} leave none unseen: give at least 3"
        )
    learned = risk.RiskModel.of(model_of(config, training))
    models = {"model": learned, "oracle": risk.RiskModel()}
    calibration_circuits = training[: config.num_calibration_circuits]
    calibration = warnings_on(config, calibration_circuits, models, config.seed + CALIBRATION_SEED)
    judged = warnings_on(config, unseen, models, config.seed)
    calibrators = {
        name: wma.RiskCalibrator.fit(features, calibration.outcomes)
        for name, features in calibration.features.items()
    }
    probabilities = {name: calibrators[name].probability(judged.features[name]) for name in models}
    free = shielded_on(config, unseen, learned, calibrators["model"], is_shielded=False)
    shielded = shielded_on(config, unseen, learned, calibrators["model"], is_shielded=True)
    summary = {
        **risk.warning_figures(calibration, judged, probabilities),
        **risk.shield_figures(free, shielded),
        "horizon_seconds": config.horizon * TIME_STEP,
        "seed": config.seed,
    }
    wma.write_summary(config.output_dir, summary, is_printed=True)
    wma.write_json(config.output_dir / "calibrator.json", calibrators["model"].to_json())
    ttb = risk.better_urgency(calibration, judged)
    risk.plot_warnings(config.output_dir, probabilities["model"], ttb, judged.outcomes)
    return summary


def check(config: Config) -> None:
    """Refuse at once what would fail after minutes; raises ConfigError."""
    wma.Shield(config.threshold, hold=config.hold)
    counts = "num_calibration_circuits cars every horizon samples shield_every shield_cars"
    wma.require_integers(1, **{name: getattr(config, name) for name in counts.split()})
    if config.steps < config.horizon:
        raise wma.ConfigError(
            f"no warning counts in {config.steps} steps with a horizon of {config.horizon}: "
            "drive longer"
        )


def model_of(config: Config, training: list[Path]) -> DrivingModel:
    """The model of a file, or one that is learned now and written."""
    if config.model is not None:
        return DrivingModel.load(config.model, given=CircuitMap.of(training[:1]), device="cpu")
    settings = learning.DrivingLearningConfig(seed=config.seed)
    model = learning.learn_driving_model(training[:10], settings)
    model.save(config.output_dir / "model.safetensors")
    return model


def warnings_on(
    config: Config, circuits: list[Path], models: dict[str, risk.RiskModel], seed: int
) -> risk.Warnings:
    """What is predicted on several circuits, and what comes."""
    parts = [
        risk.collect_warnings(
            risk.NoisyDrivers(path, config.cars, seed + number),
            models,
            num_steps=config.steps,
            every=config.every,
            horizon=config.horizon,
            num_samples=config.samples,
        )
        for number, path in enumerate(circuits)
    ]
    return risk.Warnings.concatenate(parts)


def shielded_on(
    config: Config,
    circuits: list[Path],
    model: risk.RiskModel,
    calibrator: wma.RiskCalibrator,
    *,
    is_shielded: bool,
) -> risk.ShieldedDrive:
    """Noisy drivers with the shield or without; the same drivers and starts both times."""
    seed, noises = config.seed + SHIELD_SEED, risk.SHIELD_NOISES
    parts = [
        risk.drive_shielded(
            risk.NoisyDrivers(path, config.shield_cars, seed, noises),
            model,
            calibrator,
            wma.Shield(config.threshold, hold=config.hold) if is_shielded else None,
            num_steps=config.steps,
            every=config.shield_every,
            horizon=config.horizon,
            num_samples=config.samples,
        )
        for path in circuits
    ]
    return risk.ShieldedDrive.concatenate(parts)


if __name__ == "__main__":
    main(tyro.cli(Config))
