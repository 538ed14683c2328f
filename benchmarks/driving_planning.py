"""Laps on circuits that the model never saw: planned in the learned model, in the true rules, and the expert's.

    python -m benchmarks.driving_planning --seed 2 --output-dir runs/driving_planning

One model is learned on the training circuits. Each circuit is lapped twice from a rolling start on the line; the second
lap counts, and both have to be clean. Settings were fixed on training circuits. Results are written after each circuit.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.report import write_result
from examples import plan_driving
from examples.driving_imagination import CompiledModel
from examples.driving_laps import drive_laps
from examples.record_driving import CIRCUITS, held_out
from wm_envs.driving.expert import line_of


@dataclass(frozen=True)
class Config:
    """What to drive."""

    circuits: Path = CIRCUITS
    """Folder of the circuits; every third is never trained on."""
    model: Path | None = None
    """A model file of plan_driving or of another run; None learns one."""
    is_development: bool = False
    """Drive the training circuits instead, for choosing settings; nothing is written to the results."""
    laps: int = 2
    """Laps on each circuit."""
    seed: int = 2
    """Seed of recording, fitting and planning."""
    output_dir: Path = Path("runs/driving_planning")
    """Folder for the model file."""


def main(config: Config) -> dict[str, Any]:
    """Drive everywhere; returns the figures."""
    torch.set_num_threads(1)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    training, unseen = held_out(config.circuits)
    planning = plan_driving.Config(
        track="oval", circuits=config.circuits, model=config.model, seed=config.seed, output_dir=config.output_dir
    )
    model, _ = (plan_driving.load if config.model else plan_driving.learn)(planning, training)
    by_circuit: dict[str, Any] = {}
    figures: dict[str, Any] = {}
    for path in training if config.is_development else unseen:
        by_circuit[path.stem] = circuit_figures(path, CompiledModel(model), planning, config)
        print(path.stem, by_circuit[path.stem], flush=True)
        figures = {**totals(by_circuit), "by_circuit": by_circuit}
        if not config.is_development:
            command = f"python -m benchmarks.driving_planning --seed {config.seed}"
            write_result("driving_planning", figures, seeds=config.seed, command=command)
    return figures


def circuit_figures(path: Path, model: CompiledModel, planning: plan_driving.Config, config: Config) -> dict[str, Any]:
    """One circuit, driven three times."""
    env = plan_driving.circuit(path)
    figures: dict[str, Any] = {"limit": line_of(env.parameters).lap_time}
    expert = plan_driving.expert_laps(str(path), config.laps)
    figures["expert"] = {"is_clean": len(expert) == config.laps, "lap_times": expert}
    for name, dynamics in (("oracle", None), ("learned", model)):
        planner = plan_driving.make_planner(planning, path)
        figures[name] = drive_laps(plan_driving.circuit(path), planner, dynamics, config.laps)
    return figures


def totals(by_circuit: dict[str, Any]) -> dict[str, Any]:
    """Clean circuits of each driver, and the sums of the second laps where all three are clean."""
    drivers = ("learned", "oracle", "expert")
    clean = [figures for figures in by_circuit.values() if all(figures[driver]["is_clean"] for driver in drivers)]
    counts = {
        f"{driver}_clean_circuits": sum(figures[driver]["is_clean"] for figures in by_circuit.values())
        for driver in drivers
    }
    sums = {f"{driver}_total": sum(figures[driver]["lap_times"][-1] for figures in clean) for driver in drivers}
    rates = [figures["learned"]["decisions_per_second"] for figures in by_circuit.values()]
    return {
        "circuits": len(by_circuit),
        **counts,
        **sums,
        "limit_total": sum(figures["limit"] for figures in clean),
        "learned_over_oracle": sums["learned_total"] / max(sums["oracle_total"], 1e-9),
        "learned_over_expert": sums["learned_total"] / max(sums["expert_total"], 1e-9),
        "fewest_decisions_per_second": min(rates),
    }


if __name__ == "__main__":
    main(tyro.cli(Config))
