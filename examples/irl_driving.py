"""Recover the weights of a driver's reward from what it did, by sampled futures.

    python examples/irl_driving.py --output-dir runs/irl_driving
    python examples/irl_driving.py --task pendulum --output-dir runs/irl_pendulum
    python examples/irl_driving.py --changed 0.6 --output-dir runs/irl_wet

At moments of recorded laps a driver with known weights looks some steps ahead on the true dynamics:
of many plans it takes one with probability proportional to the exponential of its return.
SampledMaxEntIRL sees what it did, imagines other futures from the same moments, and infers weights
that explain the choices. With --changed the road is wet (or the pendulum has another mass): the best
plan there by the inferred weights stands beside the plan that was best at home. Writes summary.json:
cosine to the true weights (in units of each feature's spread among plans), coverage of the intervals,
the size of the weights of a driver that takes any plan, which has nothing to find, and, where
something changed, shares of the way from any plan to the one that is best by the true weights.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

import wm_agents as wma
from wm_agents.domains.driving.irl import DrivingTask
from wm_agents.irl import SampledFit
from wm_agents.irl.known_rewards import PendulumTask, PlannedTask, choose_plans, plan_shares

Array = NDArray[Any]


@dataclass(frozen=True)
class Config:
    """Which driver, and how it is explained."""

    task: Literal["driving", "pendulum"] = "driving"
    """Driving laps of the oval, or Pendulum-v1."""
    num_stretches: int = 80
    """Demonstrations."""
    horizon: int = 24
    """Steps that the driver looks ahead and then does."""
    hold: int = 12
    """Steps over which a plan departs from the routine in the same way."""
    num_plans: int = 400
    """From which the driver takes one."""
    num_samples: int = 200
    """Futures that are imagined for each demonstration."""
    changed: float | None = None
    """Grip of another road, where this one's is 1, or mass of another pendulum; None for none."""
    seed: int = 0
    """Seed of driver and samples."""
    output_dir: Path = Path("runs/irl_driving")
    """Folder for summary.json."""


def main(config: Config) -> dict[str, Any]:
    """Drive, infer, compare, write; returns the summary."""
    config = wma.expand_paths(config)
    started = time.perf_counter()
    wma.make_output_directory(config.output_dir, has_pictures=True)
    kind: Any = DrivingTask if config.task == "driving" else PendulumTask
    task: PlannedTask = kind()
    states = task.starts(config.num_stretches, config.seed)
    plans: dict[str, Any] = {
        "horizon": config.horizon,
        "hold": config.hold,
        "num_plans": config.num_plans,
    }
    driver: Any = partial(choose_plans, task, states, seed=config.seed, **plans)
    aimed, weights = driver(task.scaled_weights)
    aimless, _ = driver(np.zeros(len(task.names)))
    fit, control = (infer(task, states, actions, config) for actions in (aimed, aimless))
    truth = weights * fit.scale
    found, size = fit.scaled_weights, np.linalg.norm(truth)
    summary: dict[str, Any] = {
        "cosine": float(found @ truth / np.linalg.norm(found) / size),
        "size_ratio": float(np.linalg.norm(found) / size),
        "size_ratio_of_aimless_driver": float(np.linalg.norm(control.scaled_weights) / size),
        "covered": int(((fit.low <= weights) & (weights <= fit.high)).sum()),
        "num_weights": len(weights),
        "effective_samples_median": float(np.median(fit.effective_samples)),
        "weights": dict(zip(task.names, fit.scaled_weights.tolist(), strict=True)),
        "true_weights": dict(zip(task.names, truth.tolist(), strict=True)),
        "flags": list(fit.flags),
        "seed": config.seed,
        "seconds": time.perf_counter() - started,
    }
    if config.changed is not None:
        shares = plan_shares(
            task,
            kind(config.changed),
            weights,
            fit.weights,
            num_starts=config.num_stretches,
            seed=config.seed + 1,
            **plans,
        )
        summary |= {f"changed_share_{name}": share for name, share in shares.items()}
    rows: dict[str, wma.Interval | float] = {}
    for place, name in enumerate(task.names):
        limits = (fit.weights[place], fit.low[place], fit.high[place])
        rows[name] = wma.Interval(*(float(fit.scale[place] * limit) for limit in limits))
        rows[f"{name}, true"] = float(truth[place])
    wma.plot_intervals(
        config.output_dir / "weights.png", rows, "weight, in standard deviations of the feature"
    )
    wma.write_summary(config.output_dir, summary, is_printed=True)
    return summary


def infer(task: PlannedTask, states: Array, actions: Array, config: Config) -> SampledFit:
    """The weights behind actions [K, H, A] from states [K]."""
    observations = task.roll(states, actions)
    demonstrations = wma.Demonstrations.of(
        {
            "observations": observations.reshape(-1, observations.shape[2]),
            "actions": actions.reshape(-1, actions.shape[2]),
            "lengths": np.full(len(states), config.horizon),
        }
    )
    settings = wma.SampledConfig(
        horizon=config.horizon,
        stride=config.horizon,
        num_samples=config.num_samples,
        noise_std=task.noise_std,
        hold=config.hold,
        seed=config.seed,
    )

    def futures(steps: Array, plans: Array) -> Array:
        # A demonstrated step says which stretch it begins; the state behind it is the
        # environment's own.
        return task.roll(states[steps // config.horizon], plans)

    return wma.SampledMaxEntIRL(futures, task.features, task.names, settings).fit(demonstrations)


if __name__ == "__main__":
    main(tyro.cli(Config))
