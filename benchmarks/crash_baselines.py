"""What a crash warning and a shield are worth beside baselines that know the driver.

    python -m benchmarks.crash_baselines --circuits circuits

The drivers, circuits and seeds are those of `examples/crash_prediction.py`, whose committed figures
are of rollouts in a learned model; the time to the boundary, measured again here, shows that they
are the same. A warning without any rollout is a classifier of where the car is, how fast, the road
ahead, the driver's pace, how noisy he is and how far his controls are off now; it learns from all
training circuits, as the model did. A shield is set beside a careful expert who always drives, one
who always drives for drivers known to be noisy, and one who takes over at random moments for as
much of each driver's time as the shield does.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold

from benchmarks.report import RESULTS, read_figures, write_result
from wm_agents.domains.driving import risk
from wm_agents.domains.driving.recording import split_circuits
from wm_agents.domains.driving.rollouts import Floats
from wm_agents.evaluation.calibration import auroc, average_precision
from wm_agents.planning.safety import RiskCalibrator, Shield
from wm_envs.data.fetching import data_folder
from wm_envs.data.paths import expand_paths

NAME = "crash_baselines"
NUM_STEPS = 1000
EVERY, SHIELD_EVERY = 10, 5
HORIZON = 50
NUM_SAMPLES = 12
HOLD = 5
CALIBRATION_SEED, SHIELD_SEED = 10_000, 999
NUM_CALIBRATION_CIRCUITS = 3
NUM_RESAMPLES = 200
NUM_DRIVER_COLUMNS = 5
CHOICES: list[dict[str, Any]] = [
    {"learning_rate": 0.1, "max_leaf_nodes": leaves, "min_samples_leaf": 100, "max_iter": 100}
    for leaves in (31, 8)
]
"""Settings of the classifier, of which folds of training circuits choose one."""

Decide = Callable[[risk.NoisyDrivers], NDArray[np.float64]]
"""From drivers to a probability [B] of handing each of them over; above 0.5 is handed over."""


CIRCUITS = data_folder("circuits")


@dataclass(frozen=True)
class Config:
    """How much to drive."""

    circuits: Path = CIRCUITS
    """Folder of the circuits, every third of which is unseen."""
    cars: int = 60
    """Cars on each circuit."""
    steps: int = NUM_STEPS
    """Steps that each of them drives."""
    seed: int = 0
    """Seed of the drivers."""
    results_dir: Path = RESULTS
    """Folder of crash_prediction.json, which is read, and of crash_baselines.json."""


class DriverAndRoad:
    """What a classifier reads, in the place of a model that imagines."""

    def features(self, drivers: risk.NoisyDrivers, disturbances: Floats) -> Floats:  # noqa: ARG002
        """The driver's five columns, then the car's observation [B, 5 + O]."""
        now = drivers.noise * drivers.stds
        columns = [drivers.stds[:, :1], drivers.paces[:, None], now, drivers.observations]
        return np.concatenate(columns, axis=1).astype(np.float64)


class Decision:
    """A rule of when to hand over, in the place of a calibrated model."""

    def __init__(self, decide: Decide) -> None:
        self.decide = decide

    def features(self, drivers: risk.NoisyDrivers, disturbances: Floats) -> Floats:  # noqa: ARG002
        """The decision itself [B, 1]."""
        return self.decide(drivers)[:, None]

    def probability(self, features: Floats) -> Floats:
        """The same number [B]."""
        return features[:, 0]


def main(config: Config) -> dict[str, Any]:
    """Drive, judge and write; returns the figures."""
    torch.set_num_threads(1)
    config = expand_paths(config)
    model = read_figures(config.results_dir / "crash_prediction.json")
    training, unseen = split_circuits(config.circuits)
    began = time.process_time()
    figures: dict[str, Any] = {
        "warnings": warning_figures(config, training, unseen, model),
        "shield": shield_figures(config, unseen, model),
    }
    figures["cpu_seconds"] = time.process_time() - began
    command = f"python -m benchmarks.{NAME} --circuits circuits"
    write_result(NAME, figures, seeds=config.seed, command=command, folder=config.results_dir)
    print(json.dumps(figures, indent=2))
    return figures


# Warnings


def warnings_on(config: Config, circuits: Sequence[Path], seed: int) -> list[risk.Warnings]:
    """What a classifier reads, and what came, circuit by circuit."""
    return [
        risk.collect_warnings(
            risk.NoisyDrivers(path, config.cars, seed + number),
            {"driver and road": DriverAndRoad()},  # type: ignore[dict-item]
            num_steps=config.steps,
            every=EVERY,
            horizon=HORIZON,
            num_samples=NUM_SAMPLES,
        )
        for number, path in enumerate(circuits)
    ]


def warning_figures(
    config: Config, training: list[Path], unseen: list[Path], model: dict[str, Any]
) -> dict[str, Any]:
    """Average precision and AUROC of what warns without a model, beside the committed ones."""
    trained = warnings_on(config, training, config.seed + CALIBRATION_SEED)
    judged = risk.Warnings.concatenate(warnings_on(config, unseen, config.seed))
    groups = np.repeat(np.arange(len(trained)), [len(part.outcomes) for part in trained])
    learned = risk.Warnings.concatenate(trained)
    calibration = risk.Warnings.concatenate(trained[:NUM_CALIBRATION_CIRCUITS])
    ttb = risk.better_urgency(calibration, judged)
    scores = {
        "time to the boundary": ttb,
        "time to the boundary and driver": RiskCalibrator.fit(
            boundary_and_driver(learned), learned.outcomes
        ).probability(boundary_and_driver(judged)),
    }
    inputs = everything_of(learned)
    chosen, trials = best_settings(inputs, learned.outcomes, groups)
    classifier = HistGradientBoostingClassifier(random_state=config.seed, **chosen)
    classifier.fit(inputs, learned.outcomes)
    scores["classifier of driver, car and road"] = classifier.predict_proba(everything_of(judged))[
        :, 1
    ]
    rows = {
        name: {
            "average_precision": average_precision(values, judged.outcomes),
            **precision_interval(values, judged.outcomes),
            "auroc": auroc(values, judged.outcomes),
        }
        for name, values in scores.items()
    }
    rows["rollouts in the learned model, committed"] = {
        "average_precision": model["ap_1s"],
        "auroc": model["auroc_1s"],
    }
    rows["rollouts in the true rules, committed"] = {
        "average_precision": model["ap_1s_oracle"],
        "auroc": model["auroc_1s_oracle"],
    }
    is_same = abs(rows["time to the boundary"]["average_precision"] - model["ap_1s_ttb"]) < 1e-9
    return {
        "departures": judged.departures,
        "warnings": len(judged.outcomes),
        "training_warnings": len(learned.outcomes),
        "same_drives_as_committed": bool(is_same and judged.departures == model["departures"]),
        "trials_of_the_classifier": trials,
        "rows": rows,
    }


def boundary_and_driver(warnings: risk.Warnings) -> Floats:
    """Inputs of a logistic regression [N, 7]."""
    driver = warnings.features["driver and road"][:, :NUM_DRIVER_COLUMNS]
    return np.concatenate([warnings.urgencies, driver], axis=1)


def everything_of(warnings: risk.Warnings) -> Floats:
    """Inputs of the classifier [N, 7 + O]."""
    return np.concatenate([warnings.urgencies, warnings.features["driver and road"]], axis=1)


def best_settings(
    inputs: Floats, outcomes: NDArray[np.bool_], groups: NDArray[np.int64]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The settings of the best average precision on training circuits that a fold left out."""
    trials = []
    for settings in CHOICES:
        scores = []
        for fit, held_out in GroupKFold(2).split(inputs, outcomes, groups):
            classifier = HistGradientBoostingClassifier(random_state=0, **settings)
            classifier.fit(inputs[fit], outcomes[fit])
            values = classifier.predict_proba(inputs[held_out])[:, 1]
            scores.append(float(average_precision(values, outcomes[held_out]) or 0.0))
        trials.append({"settings": settings, "scores": scores})
    best: dict[str, Any] = max(trials, key=lambda trial: float(np.mean(trial["scores"])))[
        "settings"
    ]
    return best, trials


def precision_interval(values: Floats, outcomes: NDArray[np.bool_]) -> dict[str, float]:
    """A 95% interval of the average precision; warnings are drawn anew.

    Neighboring warnings of a car are alike, so that it is rather too narrow.
    """
    draws = np.random.default_rng(0)
    drawn = []
    for _ in range(NUM_RESAMPLES):
        rows = draws.integers(len(values), size=len(values))
        drawn.append(average_precision(values[rows], outcomes[rows]) or 0.0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"average_precision_low": float(low), "average_precision_high": float(high)}


# Shields


def shield_figures(config: Config, unseen: list[Path], model: dict[str, Any]) -> dict[str, Any]:
    """Departures, cost and share of the time of rules that ask no model, beside the shield."""
    shares = {float(noise): share for noise, share in model["share_handed_over_by_noise"].items()}
    generator = np.random.default_rng(config.seed)

    def at_random(drivers: risk.NoisyDrivers) -> NDArray[np.float64]:
        share = np.array([shares[noise] for noise in drivers.stds[:, 0].round(6)])
        # Who is handed over keeps so for HOLD decisions.
        chance = 1.0 - (1.0 - share) ** (1.0 / HOLD)
        return (generator.random(len(share)) < chance).astype(np.float64)

    rules: dict[str, Decide] = {
        "always": lambda drivers: np.ones(len(drivers.paces)),
        "drivers of noise 0.1 and more": lambda drivers: (drivers.stds[:, 0] > 0.09).astype(float),
        "drivers of noise 0.2 and more": lambda drivers: (drivers.stds[:, 0] > 0.19).astype(float),
        "at random, as long as the shield": at_random,
    }
    free = drive(config, unseen, None)
    rows: dict[str, Any] = {}
    for name, decide in rules.items():
        handed = drive(config, unseen, decide)
        rows[name] = risk.shield_figures(free, handed) | {
            "share_handed_over": float(handed.handed_over.mean())
        }
    rows["shield at a probability of 0.1, committed"] = {
        key: model[key]
        for key in (
            "departures_without_shield",
            "departures_with_shield",
            "departures_removed",
            "lap_time_cost",
            "lap_time_cost_by_noise",
            "share_handed_over_by_noise",
        )
    } | {"share_handed_over": float(np.mean(list(shares.values())))}
    return rows


def drive(
    config: Config, circuits: Sequence[str | Path], decide: Decide | None
) -> risk.ShieldedDrive:
    """The drivers of the shield's figures, handed over by a rule or, with None, never."""
    decision = Decision(decide or (lambda drivers: np.zeros(len(drivers.paces))))
    parts = [
        risk.drive_shielded(
            risk.NoisyDrivers(path, config.cars, config.seed + SHIELD_SEED, risk.SHIELD_NOISES),
            decision,  # type: ignore[arg-type]
            decision,  # type: ignore[arg-type]
            None if decide is None else Shield(0.5, hold=HOLD),
            num_steps=config.steps,
            every=SHIELD_EVERY,
            horizon=HORIZON,
            num_samples=NUM_SAMPLES,
        )
        for path in circuits
    ]
    return risk.ShieldedDrive.concatenate(parts)


if __name__ == "__main__":
    main(tyro.cli(Config))
