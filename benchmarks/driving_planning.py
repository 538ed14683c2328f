"""Laps on unseen circuits: planned in the learned model, in the true rules, and the expert's.

    python -m benchmarks.driving_planning --output-dir runs/driving_planning
    python -m benchmarks.driving_planning --drivers policy racer
    python -m benchmarks.driving_planning --from-scratch --circuit-names Silverstone Spielberg --start-seeds 0

One model is learned on the training circuits. Each circuit is lapped twice from random places, the
same for all drivers; the second lap counts, and both have to be clean. Settings were fixed on
training circuits. Results are written after each place; those of drivers that are not named stay as
they are. The racer is what plans disturb, undisturbed; the policy is the careful one, at 0.90 of the
grip, which is among their candidates and which plans of earlier versions disturbed. From scratch,
the planner's candidates are plain actions, without either.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from benchmarks.report import RESULTS, read_figures, write_result
from wm_agents.domains.driving.laps import drive_laps, expert_laps, policy_laps, timed_env
from wm_agents.domains.driving.learning import DrivingLearningConfig, learn_driving_model
from wm_agents.domains.driving.network import DrivingModel
from wm_agents.domains.driving.observations import CircuitMap
from wm_agents.domains.driving.planner import TIMED_LAPS, DrivingPlannerConfig, planner_for
from wm_agents.domains.driving.recording import split_circuits
from wm_agents.domains.driving.rollouts import CompiledDynamics
from wm_agents.evaluation.statistics import stratified_bootstrap, wilson_interval
from wm_envs.data.paths import expand_paths
from wm_envs.driving.expert import line_of

CIRCUITS = Path(__file__).parents[2] / "shared" / "data" / "racetracks"
NUM_TRAINING_CIRCUITS = 10
Driver = Literal["learned", "oracle", "racer", "policy", "expert"]
DRIVERS: tuple[Driver, ...] = ("learned", "oracle", "racer", "policy", "expert")


@dataclass(frozen=True)
class Config:
    """What to drive."""

    circuits: Path = CIRCUITS
    """Folder of the circuits; every third is never trained on."""
    circuit_names: tuple[str, ...] = ()
    """Drive these instead of the unseen ones; from scratch only."""
    model: Path | None = None
    """A model file of plan_driving or of another run; None learns one."""
    model_note: str = "a file of another run"
    """What the result says of a model file."""
    from_scratch: bool = False
    """Plan without the expert's policy; the results go to a file of their own."""
    drivers: tuple[Driver, ...] = DRIVERS
    """Who drives; without "learned" no model is needed."""
    laps: int = 2
    """Laps from each start."""
    max_decisions: int = 20_000
    """Decisions, 50 a second, after which a drive is given up."""
    seed: int = 2
    """Seed of recording and fitting."""
    start_seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the starts and of the planner's draws."""
    output_dir: Path = Path("runs/driving_planning")
    """Folder for the model file."""
    results_dir: Path = RESULTS
    """Folder for driving_planning.json."""


def main(config: Config) -> dict[str, Any]:
    """Drive everywhere; returns the figures."""
    config = expand_paths(config)
    if config.circuit_names and not config.from_scratch:
        raise SystemExit(
            "--circuit-names goes with --from-scratch: the figures are for all unseen circuits"
        )
    torch.set_num_threads(1)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    training, unseen = split_circuits(config.circuits)
    model = learned_model(config, training) if "learned" in config.drivers else None
    driven = [path for path in [*training, *unseen] if path.stem in config.circuit_names] or unseen
    figures: dict[str, Any] = {}
    for start_seed in config.start_seeds:
        for path in driven:
            row = {
                "circuit": path.stem,
                "kind": "unseen" if path in unseen else "training",
                "start_seed": start_seed,
            }
            figures = add(config, row | one_start(path, model, start_seed, config))
            print(row, flush=True)
    return figures


def learned_model(config: Config, training: list[Path]) -> CompiledDynamics:
    """From the file, or learned on the training circuits."""
    if config.model is not None:
        circuits = CircuitMap.of(training[:1])
        return CompiledDynamics(DrivingModel.load(config.model, given=circuits, device="cpu"))
    learning = DrivingLearningConfig(seed=config.seed)
    model = learn_driving_model(training[:NUM_TRAINING_CIRCUITS], learning)
    model.save(config.output_dir / "model.safetensors")
    return CompiledDynamics(model)


def add(config: Config, row: dict[str, Any]) -> dict[str, Any]:
    """Write the result with one more row, or with more drivers in a row that is there."""
    name = "driving_planning_from_scratch" if config.from_scratch else "driving_planning"
    path = config.results_dir / f"{name}.json"
    old = read_figures(path) if path.exists() else {"model": "", "rows": []}
    rows = {(other["circuit"], other["start_seed"]): other for other in old["rows"]}
    key = row["circuit"], row["start_seed"]
    rows[key] = rows.get(key, {}) | row
    note = old["model"]
    if "learned" in config.drivers:
        note = config.model_note if config.model else "learned by this command"
    figures = {"model": note, **totals(list(rows.values())), "rows": list(rows.values())}
    seeds = sorted({start_seed for _, start_seed in rows})
    command = f"python -m benchmarks.driving_planning --seed {config.seed}"
    command += f" --start-seeds {' '.join(map(str, seeds))}"
    command += "" if note == "learned by this command" else " --model MODEL"
    if config.from_scratch:
        command += f" --from-scratch --circuit-names {' '.join(config.circuit_names)}"
    write_result(name, figures, seeds=seeds, command=command, folder=config.results_dir)
    return figures


def one_start(
    path: Path, model: CompiledDynamics | None, start_seed: int, config: Config
) -> dict[str, Any]:
    """One place on one circuit, driven from by everyone who is named."""
    row: dict[str, Any] = {"limit": line_of(timed_env(path).parameters).lap_time}
    for name in config.drivers:
        if name == "expert":
            row[name] = lapped(expert_laps(path, config.laps, start_seed), config)
        elif name in ("policy", "racer"):
            is_racer = name == "racer"
            times = policy_laps(
                path, config.laps, start_seed, config.max_decisions, is_racer=is_racer
            )
            row[name] = lapped(times, config)
        else:
            row[name] = planned(path, model if name == "learned" else None, start_seed, config)
    return row


def planned(
    path: Path, model: CompiledDynamics | None, start_seed: int, config: Config
) -> dict[str, Any]:
    """Planned in the model, or with None in the true rules, from a random place."""
    env = timed_env(path, is_random_start=True)
    settings = DrivingPlannerConfig.from_scratch() if config.from_scratch else TIMED_LAPS
    return drive_laps(
        env,
        planner_for(env.parameters, model, settings, seed=start_seed),
        config.laps,
        seed=start_seed,
        max_decisions=config.max_decisions,
    )


def lapped(lap_times: list[float], config: Config) -> dict[str, Any]:
    """The part of `drive_laps`'s figures that a driver without a plan has."""
    return {"is_clean": len(lap_times) == config.laps, "lap_times": lap_times}


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Clean drives of each driver, and the second laps of the drives in which all are clean."""
    drivers = [driver for driver in DRIVERS if all(driver in row for row in rows)]
    counts = {
        f"{driver}_clean_drives": sum(row[driver]["is_clean"] for row in rows) for driver in drivers
    }
    if "learned" not in drivers:
        return {"drives": len(rows), **counts}
    rate = wilson_interval(counts["learned_clean_drives"], len(rows))
    clean = [row for row in rows if all(row[driver]["is_clean"] for driver in drivers)]
    means = {
        f"{driver}_mean_lap": mean([row[driver]["lap_times"][-1] for row in clean])
        for driver in drivers
    }
    return {
        "drives": len(rows),
        **counts,
        "learned_clean_share_95": [rate.low, rate.high],
        **means,
        "limit_mean_lap": mean([row["limit"] for row in clean]),
        "learned_over_limit": ratio(clean, "limit"),
        **{
            f"learned_over_{driver}": ratio(clean, driver)
            for driver in drivers
            if driver != "learned"
        },
        "fewest_decisions_per_second": min(row["learned"]["decisions_per_second"] for row in rows),
    }


def mean(values: list[float]) -> float | None:
    """The mean, or None of nothing."""
    return math.fsum(values) / len(values) if values else None


def lap_of(row: dict[str, Any], driver: str) -> float:
    """The second lap of a driver, or the limit, s."""
    return float(row["limit"] if driver == "limit" else row[driver]["lap_times"][-1])


def ratio(rows: list[dict[str, Any]], other: str) -> dict[str, float] | None:
    """Mean ratio of second laps with its 95% interval; starts are drawn again within each circuit.

    Circuits that lack a clean start which another has are left out with the others' surplus, so
    that all weigh alike.
    """
    by_circuit: dict[str, list[float]] = {}
    for row in rows:
        by_circuit.setdefault(row["circuit"], []).append(
            row["learned"]["lap_times"][-1] / lap_of(row, other)
        )
    num_starts = min(map(len, by_circuit.values()), default=0)
    if num_starts < 2:
        return None
    ratios = np.array([values[:num_starts] for values in by_circuit.values()])
    interval = stratified_bootstrap(ratios, statistic=np.mean, num_resamples=2000)
    return {"mean": interval.estimate, "low": interval.low, "high": interval.high}


if __name__ == "__main__":
    main(tyro.cli(Config))
