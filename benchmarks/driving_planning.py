"""Laps on circuits that the model never saw: planned in the learned model, in the true rules, and the expert's.

    python -m benchmarks.driving_planning --output-dir runs/driving_planning
    python -m benchmarks.driving_planning --from-scratch --circuit-names Silverstone Spielberg --start-seeds 0

One model is learned on the training circuits. Each circuit is lapped twice from random places, the same for all three
drivers; the second lap counts, and both have to be clean. Settings were fixed on training circuits. Results are written
after each drive. From scratch, the planner's candidates are plain actions, without the expert's policy.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.report import write_result
from examples import plan_driving
from examples.driving_imagination import CompiledModel
from examples.driving_laps import drive_laps
from examples.driving_planner import DrivingPlanner
from examples.record_driving import CIRCUITS, held_out
from wm_agents.evaluation.intervals import stratified_bootstrap, wilson_interval
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.expert import line_of

DRIVERS = ("learned", "oracle", "expert")


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


def main(config: Config) -> dict[str, Any]:
    """Drive everywhere; returns the figures."""
    if config.circuit_names and not config.from_scratch:
        raise SystemExit("--circuit-names goes with --from-scratch: the figures are for all unseen circuits")
    torch.set_num_threads(1)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    training, unseen = held_out(config.circuits)
    planning = plan_driving.Config(
        track="oval", circuits=config.circuits, model=config.model, seed=config.seed, output_dir=config.output_dir
    )
    model, _ = (plan_driving.load if config.model else plan_driving.learn)(planning, training)
    driven = [path for path in [*training, *unseen] if path.stem in config.circuit_names] or unseen
    rows: list[dict[str, Any]] = []
    for start_seed in config.start_seeds:
        for path in driven:
            kind = "unseen" if path in unseen else "training"
            rows.append(
                {"circuit": path.stem, "kind": kind, **one_start(path, CompiledModel(model), start_seed, config)}
            )
            print(rows[-1], flush=True)
            write(config, rows)
    return write(config, rows)


def write(config: Config, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write what has been driven so far."""
    figures = {"model": config.model_note if config.model else "learned by this command", **totals(rows), "rows": rows}
    name = "driving_planning_from_scratch" if config.from_scratch else "driving_planning"
    command = f"python -m benchmarks.driving_planning --seed {config.seed}"
    command += f" --start-seeds {' '.join(map(str, config.start_seeds))}"
    command += " --model MODEL" if config.model else ""
    if config.from_scratch:
        command += f" --from-scratch --circuit-names {' '.join(config.circuit_names)}"
    write_result(name, figures, seeds=list(config.start_seeds), command=command)
    return figures


def one_start(path: Path, model: CompiledModel, start_seed: int, config: Config) -> dict[str, Any]:
    """One place on one circuit, driven from three times."""
    settings = plan_driving.Config(track=str(path), seed=start_seed, from_scratch=config.from_scratch)
    env = start(path)
    row: dict[str, Any] = {"start_seed": start_seed, "limit": line_of(env.parameters).lap_time}
    for name, dynamics in (("learned", model), ("oracle", None)):
        planner: DrivingPlanner = plan_driving.make_planner(settings)
        row[name] = drive_laps(
            start(path), planner, dynamics, config.laps, seed=start_seed, max_decisions=config.max_decisions
        )
    expert = plan_driving.expert_laps(str(path), config.laps, start_seed)
    return row | {"expert": {"is_clean": len(expert) == config.laps, "lap_times": expert}}


def start(path: Path) -> DrivingEnv:
    """A car rolling at 10 to 15 m/s at a random place."""
    return plan_driving.circuit(path, is_random_start=True)


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Clean drives of each driver, and the second laps of the drives in which all three are clean."""
    counts = {f"{driver}_clean_drives": sum(row[driver]["is_clean"] for row in rows) for driver in DRIVERS}
    rate = wilson_interval(counts["learned_clean_drives"], len(rows))
    clean = [row for row in rows if all(row[driver]["is_clean"] for driver in DRIVERS)]
    means = {f"{driver}_mean_lap": mean([row[driver]["lap_times"][-1] for row in clean]) for driver in DRIVERS}
    return {
        "drives": len(rows),
        **counts,
        "learned_clean_share_95": [rate.low, rate.high],
        **means,
        "limit_mean_lap": mean([row["limit"] for row in clean]),
        "learned_over_oracle": ratio(clean, "oracle"),
        "learned_over_expert": ratio(clean, "expert"),
        "fewest_decisions_per_second": min(row["learned"]["decisions_per_second"] for row in rows),
    }


def mean(values: list[float]) -> float | None:
    """The mean, or None of nothing."""
    return math.fsum(values) / len(values) if values else None


def ratio(rows: list[dict[str, Any]], other: str) -> dict[str, float] | None:
    """Mean ratio of second laps with its 95% interval; starts are drawn again within each circuit.

    Circuits that lack a clean start which another has are left out with the others' surplus, so that all weigh alike.
    """
    by_circuit: dict[str, list[float]] = {}
    for row in rows:
        by_circuit.setdefault(row["circuit"], []).append(row["learned"]["lap_times"][-1] / row[other]["lap_times"][-1])
    num_starts = min(map(len, by_circuit.values()), default=0)
    if num_starts < 2:
        return None
    ratios = np.array([values[:num_starts] for values in by_circuit.values()])
    interval = stratified_bootstrap(ratios, statistic=np.mean, num_resamples=2000)
    return {"mean": interval.estimate, "low": interval.low, "high": interval.high}


if __name__ == "__main__":
    main(tyro.cli(Config))
