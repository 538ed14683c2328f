"""Recover the weights of a driver's reward from what it did, by sampled futures.

    python examples/irl_driving.py --output-dir runs/irl_driving
    python examples/irl_driving.py --task pendulum --output-dir runs/irl_pendulum

At moments of recorded laps a driver with known weights looks some steps ahead on the true dynamics:
of many plans it takes one with probability proportional to the exponential of its return.
SampledMaxEntIRL sees what it did, imagines other futures from the same moments, and infers weights
that explain the choices. Writes summary.json: cosine to the true weights (in units of each
feature's spread among plans), coverage of the intervals, and the cosine for a driver that takes any
plan, which has nothing to find.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

import wm_agents as wma
from wm_agents.domains.driving.irl import DrivingTask
from wm_agents.irl import SampledFit
from wm_agents.irl.importance_sampling import boltzmann_choices
from wm_agents.planning.classic_control import pendulum

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
    seed: int = 0
    """Seed of driver and samples."""
    output_dir: Path = Path("runs/irl_driving")
    """Folder for summary.json."""


class Pendulum:
    """Pendulum-v1 in a batch, a task as `DrivingTask` is one; states are observations [B, 3]."""

    names = ("angle", "speed", "torque")
    scaled_weights = np.array([-2.0, -0.7, -0.7])
    noise_std = (1.0,)

    def starts(self, num: int, seed: int) -> Array:
        """Anywhere, at up to 3 rad/s."""
        generator = np.random.default_rng(seed)
        angle, speed = generator.uniform(-np.pi, np.pi, num), generator.uniform(-3, 3, num)
        return np.stack([np.cos(angle), np.sin(angle), speed], 1)

    def center(self, states: Array, horizon: int) -> Array:
        """No torque."""
        return np.zeros((len(states), horizon, 1))

    def roll(self, states: Array, actions: Array) -> Array:
        """By Gymnasium's own equations."""
        path = [torch.as_tensor(states)]
        for torque in torch.as_tensor(actions).unbind(1):
            path.append(pendulum(path[-1], torque)[0])
        return torch.stack(path, 1).numpy()

    def features(self, observations: Array, actions: Array) -> Array:
        """Squares of the angle from the top, the speed and the torque, as in the task's cost."""
        cosine, sine, speed = np.moveaxis(observations[:, :-1], 2, 0)
        return np.stack([np.arctan2(sine, cosine) ** 2, speed**2, actions[..., 0] ** 2], 2)


Task = DrivingTask | Pendulum


def main(config: Config) -> dict[str, Any]:
    """Drive, infer, compare, write; returns the summary."""
    config = wma.expand_paths(config)
    started = time.perf_counter()
    wma.make_output_directory(config.output_dir, has_pictures=True)
    task: Task = DrivingTask() if config.task == "driving" else Pendulum()
    states = task.starts(config.num_stretches, config.seed)
    aimed, weights = drive(task, states, config, task.scaled_weights)
    aimless, _ = drive(task, states, config, np.zeros(len(task.names)))
    fit, control = (infer(task, states, actions, config) for actions in (aimed, aimless))
    truth = weights * fit.scale
    found, size = fit.scaled_weights, np.linalg.norm(truth)
    summary = {
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


def drive(task: Task, states: Array, config: Config, scaled_weights: Array) -> tuple[Array, Array]:
    """Actions [K, H, A] that a driver takes, and its weights [F] per unit of each feature."""
    return boltzmann_choices(
        task,
        states,
        scaled_weights,
        horizon=config.horizon,
        num_plans=config.num_plans,
        hold=config.hold,
        seed=(config.seed, 1),
    )


def infer(task: Task, states: Array, actions: Array, config: Config) -> SampledFit:
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
