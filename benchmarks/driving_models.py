"""Open-loop errors of world models of the car on circuits that they never saw, at 1, 16 and 50 steps.

    python -m benchmarks.driving_models --num-updates 24000

Three layouts (the numbers alone, with a map, with the kinematics besides) and an ensemble of the last, fitted to the
training circuits with the same budget. Each figure is a share of persistence's: of the root mean square, of the median
and of the 95th percentile of the absolute errors. Beside them: constant acceleration, ridge regression on the present
observation and action, and the floor that is left to a perfect model whose first step is off by this model's one-step
error.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.report import write_result
from examples.driving_model import (
    HEADING,
    LAYOUTS,
    OFFSET,
    VX,
    VY,
    YAW_RATE,
    extend_trajectories,
    fit_driving,
    load_circuits,
    make_layout,
    new_model,
)
from examples.record_driving import CIRCUITS, OPTIONS, held_out, record_circuit
from wm_agents.trajectories import Trajectories
from wm_agents.world_models.neural import NeuralModel
from wm_agents.world_models.segments import Segment, SegmentSource
from wm_envs.driving.env import DrivingEnv
from wm_envs.kernel import empty_rows

FEATURES = {"vx": VX, "vy": VY, "yaw_rate": YAW_RATE, "offset": OFFSET, "heading": HEADING}
HORIZONS = (1, 16, 50)
STATE_FIELDS = {
    "vx": 0, "vy": 1, "ax": 3, "ay": 4, "yaw_rate": 8, "steering": 9, "throttle": 10, "brake": 11,
    "temperature_fl": 12, "temperature_fr": 13, "temperature_rl": 14, "temperature_rr": 15,
    "wear_fl": 16, "wear_fr": 17, "wear_rl": 18, "wear_rr": 19, "fuel": 20, "offset": 22, "heading_error": 23,
}  # fmt: skip


def windows(fresh: Trajectories, horizon: int, every: int = 10) -> Segment:
    """Starts every `every` steps that have `horizon` recorded steps ahead."""
    starts = [
        int(first) + step
        for first, length in zip(fresh.step_starts, fresh.lengths, strict=True)
        for step in range(0, int(length) - horizon + 1, every)
    ]
    return SegmentSource(fresh, torch.device("cpu")).gather(torch.tensor(starts), horizon)


def shares(predicted: Tensor, segment: Segment) -> dict[str, dict[str, float]]:
    """Errors at the end of the windows as shares of persistence's, by feature."""
    truth, still = segment.observations[:, -1], segment.observations[:, 0]
    figures = {}
    for name, column in FEATURES.items():
        error = (predicted[:, column] - truth[:, column]).abs().double()
        base = (still[:, column] - truth[:, column]).abs().double()
        figures[name] = {
            "rmse": float(error.square().mean().sqrt() / base.square().mean().sqrt()),
            "median": float(error.median() / base.median().clamp_min(1e-12)),
            "p95": float(torch.quantile(error, 0.95) / torch.quantile(base, 0.95)),
        }
    return figures


@torch.no_grad()
def model_figures(model: NeuralModel, tests: list[Trajectories]) -> dict[str, Any]:
    """Shares by horizon, over all unseen circuits."""
    figures = {}
    for horizon in HORIZONS:
        parts = [windows(test, horizon) for test in tests]
        ends = [model.rollout(part.observations[:, 0], part.actions).observations[:, -1] for part in parts]
        figures[str(horizon)] = shares(torch.cat(ends), join(parts))
    return figures


def join(parts: list[Segment]) -> Segment:
    """The windows of several circuits."""
    names = ("inputs", "observations", "actions", "rewards", "terminations", "mask")
    return Segment(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def baseline_figures(training: Trajectories, tests: list[Trajectories]) -> dict[str, Any]:
    """Constant acceleration and ridge regression, each with what it is given."""
    figures: dict[str, Any] = {"constant_acceleration": {}, "ridge": {}}
    for horizon in HORIZONS:
        segment = join([windows(test, horizon) for test in tests])
        learned = windows(training, horizon, every=25)
        figures["constant_acceleration"][str(horizon)] = shares(accelerated(segment, horizon), segment)
        figures["ridge"][str(horizon)] = shares(ridge(learned, segment), segment)
    return figures


def accelerated(segment: Segment, horizon: int) -> Tensor:
    """Velocities and yaw rate go on as measured, offset and heading follow."""
    first = segment.observations[:, 0].double()
    seconds = horizon * 0.02
    after = first.clone()
    after[:, VX] += seconds * (first[:, 3] + first[:, YAW_RATE] * first[:, VY])
    after[:, VY] += seconds * (first[:, 4] - first[:, YAW_RATE] * first[:, VX])
    after[:, OFFSET] += seconds * (first[:, VX] * first[:, HEADING].sin() + first[:, VY] * first[:, HEADING].cos())
    after[:, HEADING] += seconds * (first[:, YAW_RATE] - first[:, 34] * first[:, VX])
    return after


def ridge(learned: Segment, segment: Segment) -> Tensor:
    """The change over the horizon, linear in the first observation and all actions."""

    def inputs(part: Segment) -> NDArray[np.float64]:
        seen = torch.cat([part.observations[:, 0, :37], part.actions.flatten(1)], 1).double().numpy()
        return np.column_stack([seen, np.ones(len(seen))])

    known, change = inputs(learned), (learned.observations[:, -1] - learned.observations[:, 0]).double().numpy()
    scale = np.maximum(known.std(axis=0), 1e-6)
    scale[-1] = 1.0
    scaled = known / scale
    weights = np.linalg.solve(scaled.T @ scaled + 1.0 * np.eye(scaled.shape[1]), scaled.T @ change)
    return segment.observations[:, 0].double() + torch.as_tensor(inputs(segment) / scale @ weights)


@torch.no_grad()
def floor_figures(model: NeuralModel, tests: list[Trajectories], paths: list[Path], seed: int) -> dict[str, Any]:
    """The true rules from starts whose velocities are off by a one-step error of the model, drawn at random."""
    generator = np.random.default_rng(seed)
    first = join([windows(test, 1) for test in tests])
    predicted = model.rollout(first.observations[:, 0], first.actions).observations[:, -1]
    errors = (predicted - first.observations[:, -1])[:, [VX, VY, YAW_RATE]].double().numpy()
    figures = {}
    for horizon in HORIZONS[1:]:
        parts, ends = [windows(test, horizon) for test in tests], []
        for part, path in zip(parts, paths, strict=True):
            seen = part.observations[:, 0, :37].double().numpy()
            seen[:, [VX, VY, YAW_RATE]] += errors[generator.integers(len(errors), size=len(seen))]
            ends.append(true_end(seen, part.actions.double().numpy(), path))
        figures[str(horizon)] = shares(torch.cat(ends), join(parts))
    return figures


def true_end(seen: NDArray[np.float64], actions: NDArray[np.float64], path: Path) -> Tensor:
    """Where the true rules lead from observations [B, 37] under actions [B, H, 3]; cars that end hold still."""
    rules = DrivingEnv.rules(track=path, **OPTIONS)
    rows, outcomes = empty_rows(len(seen), rules.state_dtype), empty_rows(len(seen), rules.outcome_dtype)
    for name, column in STATE_FIELDS.items():
        rows[name] = seen[:, column]
    rows["distance"] = np.clip(seen[:, 21], 0.0, 1.0 - 1e-9) * float(rules.parameters["length"][0])
    observations = np.zeros((len(seen), 37), np.float32)
    for step in range(actions.shape[1]):
        rules.step_rows(rows, rules.parameters, np.ascontiguousarray(actions[:, step]), observations, outcomes, False)
    return torch.as_tensor(observations).double()


def record(paths: list[Path], first_number: int, episodes: int, seed: int, *, is_wild: bool) -> list[Trajectories]:
    """The noisy expert on each circuit; training data get wilder episodes besides."""
    recorded = []
    for number, path in enumerate(paths, start=first_number):
        parts = [record_circuit(path, episodes, 400, seed + 1000 * number)]
        if is_wild:
            wilder: dict[str, Any] = {"paces": (0.9, 1.15), "noises": (0.1, 0.2, 0.35)}
            parts.append(record_circuit(path, max(episodes // 2, 1), 400, seed + 1000 * number + 500, **wilder))
        recorded.append(extend_trajectories(Trajectories.concatenate(parts), number))
    return recorded


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Record, fit every model, and judge."""
    training, unseen = held_out(arguments.circuits)
    data = Trajectories.concatenate(record(training, 0, arguments.episodes, arguments.seed, is_wild=True))
    fresh_seed = arguments.seed + 500_000
    tests = record(unseen, len(training), max(arguments.episodes // 3, 4), fresh_seed, is_wild=False)
    maps = load_circuits([*training, *unseen])
    figures: dict[str, Any] = {
        "training_steps": data.num_steps,
        "training_departures": int(data.terminations.sum()),
        "unseen_circuits": [path.stem for path in unseen],
        "unseen_episodes": sum(test.num_episodes for test in tests),
        "unseen_departures": sum(int(test.terminations.sum()) for test in tests),
        "baselines": baseline_figures(data, tests),
    }
    members = {f"{layout} layout": (layout, 1) for layout in LAYOUTS}
    members[f"kinematics layout, {arguments.members} members"] = ("kinematics", arguments.members)
    for name, (layout, num_members) in members.items():
        if arguments.only and arguments.only != name:
            continue
        model = new_model(make_layout(layout, maps), num_members=num_members, widths=(160, 160), seed=arguments.seed)
        fit_driving(model, data, arguments.num_updates, arguments.seed)
        figures[name] = model_figures(model, tests)
        if layout == "kinematics":
            figures[f"floor of {name}"] = floor_figures(model, tests, unseen, arguments.seed)
        print(name, json.dumps(figures[name], indent=1), flush=True)
    return figures


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--circuits", type=Path, default=CIRCUITS)
    parser.add_argument("--episodes", type=int, default=60, help="on each training circuit, of 400 steps at most")
    parser.add_argument("--num-updates", type=int, default=24_000)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--only", default=None, help="the name of one model")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(arguments)
    command = f"python -m benchmarks.driving_models --num-updates {arguments.num_updates}"
    print(f"written to {write_result('driving_models', figures, seeds=arguments.seed, command=command)}")


if __name__ == "__main__":
    main()
