"""Open-loop errors of world models of the car on unseen circuits, at 1, 16 and 50 steps.

    python -m benchmarks.driving_models

The car's model (learned forces in known kinematics): what its members expect on the whole, their
mean forces, and one
member alone. Beside it general models in three layouts: the numbers alone, with a map, with the
kinematics besides. All are fitted to the training circuits. Each figure is a share of
persistence's: of the root mean square, of the median and of the 95th percentile of the absolute
errors; intervals of the root mean square are over unseen episodes. Beside them: constant
acceleration, ridge regression on the present observation and action, and the floor that is left to
a perfect model whose first step is off by this model's one-step error.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.report import write_result
from wm_agents.domains.driving.network import (
    DrivingModel,
    DrivingModelConfig,
    expected_end,
    fit_driving,
    member_of,
)
from wm_agents.domains.driving.observations import (
    ENV_OPTIONS,
    LAYOUTS,
    CircuitMap,
    car_action_space,
    extend_trajectories,
    make_layout,
    model_observation_space,
)
from wm_agents.domains.driving.recording import record_circuit, record_widely, split_circuits
from wm_agents.world_models import DeterministicConfig, DeterministicModel, FitConfig
from wm_agents.world_models.adapters import FeatureLayout
from wm_agents.world_models.neural import NeuralModel
from wm_envs.data.trajectories import Trajectories, TrajectoryBatch
from wm_envs.driving.columns import NUM_EXTENDED
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.dynamics import TIME_STEP
from wm_envs.driving.env import DrivingEnv
from wm_envs.kernel import empty_rows

Windows = TrajectoryBatch[Tensor]

CIRCUITS = Path(__file__).parents[2] / "shared" / "data" / "racetracks"
FEATURES = {
    "vx": Column.VELOCITY_X,
    "vy": Column.VELOCITY_Y,
    "yaw_rate": Column.YAW_RATE,
    "offset": Column.OFFSET,
    "heading": Column.HEADING_ERROR,
}
VELOCITIES = [Column.VELOCITY_X, Column.VELOCITY_Y, Column.YAW_RATE]
HORIZONS = (1, 16, 50)
GENERAL_WIDTHS = (160, 160)  # of the models that know no car
STATE_FIELDS = {  # fields of a state row whose columns have another name
    "vx": Column.VELOCITY_X,
    "vy": Column.VELOCITY_Y,
    "ax": Column.ACCELERATION_X,
    "ay": Column.ACCELERATION_Y,
    **{
        column.name.lower(): column
        for column in (
            Column.YAW_RATE,
            *map(Column, range(Column.STEERING, Column.FUEL + 1)),
            Column.OFFSET,
            Column.HEADING_ERROR,
        )
    },
}


def window_starts(fresh: Trajectories, horizon: int, every: int) -> list[tuple[int, int]]:
    """(episode, step) every `every` steps that have `horizon` recorded steps ahead."""
    return [
        (episode, int(first) + step)
        for episode, (first, length) in enumerate(
            zip(fresh.step_starts, fresh.lengths, strict=True)
        )
        for step in range(0, int(length) - horizon + 1, every)
    ]


def windows(fresh: Trajectories, horizon: int, every: int = 10) -> Windows:
    """The windows of `window_starts`."""
    starts = [step for _, step in window_starts(fresh, horizon, every)]
    return fresh.windows(horizon, starts).map(torch.as_tensor)


def episodes_of(tests: list[Trajectories], horizon: int, every: int = 10) -> NDArray[np.int64]:
    """The episode of each window, numbered over all circuits."""
    numbers = [[episode for episode, _ in window_starts(test, horizon, every)] for test in tests]
    firsts = np.cumsum([0, *(test.num_episodes for test in tests)])
    return np.concatenate(
        [np.array(part, np.int64) + first for part, first in zip(numbers, firsts, strict=False)]
    )


def rmse_intervals(
    predicted: Tensor, segment: Windows, episodes: NDArray[np.int64]
) -> dict[str, list[float]]:
    """95% intervals of the root mean square as a share of persistence's.

    Episodes are drawn with replacement.
    """
    generator, count = np.random.default_rng(0), int(episodes.max()) + 1
    draws = generator.multinomial(count, np.full(count, 1 / count), size=1000)  # [1000, episodes]
    truth, still = segment.observations[:, -1], segment.observations[:, 0]
    figures = {}
    for name, column in FEATURES.items():
        sums = [
            np.bincount(
                episodes, (values[:, column] - truth[:, column]).double().square().numpy(), count
            )
            for values in (predicted, still)
        ]
        ratios = np.sqrt((draws @ sums[0]) / (draws @ sums[1]))
        figures[name] = np.quantile(ratios, [0.025, 0.975]).round(4).tolist()
    return figures


def shares(predicted: Tensor, segment: Windows) -> dict[str, dict[str, float]]:
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


End = Callable[[Tensor, Tensor], Tensor]
"""Observations [B, O] and actions [B, H, A] -> observations [B, O] after them."""


def rolled_out(model: NeuralModel) -> End:
    """Where a model's own imagination leads."""
    return lambda starts, actions: model.rollout(starts, actions).observations[:, -1]


@torch.no_grad()
def model_figures(end: End, tests: list[Trajectories]) -> dict[str, Any]:
    """Shares by horizon, over all unseen circuits."""
    figures = {}
    for horizon in HORIZONS:
        parts = [windows(test, horizon) for test in tests]
        ends = [end(part.observations[:, 0], part.actions) for part in parts]
        figures[str(horizon)] = shares(torch.cat(ends), join(parts))
        intervals = rmse_intervals(torch.cat(ends), join(parts), episodes_of(tests, horizon))
        for feature, interval in intervals.items():
            figures[str(horizon)][feature]["rmse_95"] = interval
    return figures


def join(parts: list[Windows]) -> Windows:
    """The windows of several circuits."""
    names = [field.name for field in fields(TrajectoryBatch)]
    return TrajectoryBatch(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def baseline_figures(training: Trajectories, tests: list[Trajectories]) -> dict[str, Any]:
    """Constant acceleration and ridge regression, each with what it is given."""
    figures: dict[str, Any] = {"constant_acceleration": {}, "ridge": {}}
    for horizon in HORIZONS:
        segment = join([windows(test, horizon) for test in tests])
        learned = windows(training, horizon, every=25)
        figures["constant_acceleration"][str(horizon)] = shares(
            accelerated(segment, horizon), segment
        )
        figures["ridge"][str(horizon)] = shares(ridge(learned, segment), segment)
    return figures


def accelerated(segment: Windows, horizon: int) -> Tensor:
    """Velocities and yaw rate go on as measured, offset and heading follow."""
    first = segment.observations[:, 0].double()
    seconds = horizon * TIME_STEP
    vx, vy, yaw_rate = (first[:, column] for column in VELOCITIES)
    heading = first[:, Column.HEADING_ERROR]
    bend = first[:, Column.CURVATURE_0M]
    after = first.clone()
    after[:, Column.VELOCITY_X] += seconds * (first[:, Column.ACCELERATION_X] + yaw_rate * vy)
    after[:, Column.VELOCITY_Y] += seconds * (first[:, Column.ACCELERATION_Y] - yaw_rate * vx)
    after[:, Column.OFFSET] += seconds * (vx * heading.sin() + vy * heading.cos())
    after[:, Column.HEADING_ERROR] += seconds * (yaw_rate - bend * vx)
    return after


def ridge(learned: Windows, segment: Windows) -> Tensor:
    """The change over the horizon, linear in the first observation and all actions."""

    def inputs(part: Windows) -> NDArray[np.float64]:
        first = part.observations[:, 0, :NUM_EXTENDED]
        rows = torch.cat([first, part.actions.flatten(1)], 1).double().numpy()
        return np.column_stack([rows, np.ones(len(rows))])

    known = inputs(learned)
    change = (learned.observations[:, -1] - learned.observations[:, 0]).double().numpy()
    scale = np.maximum(known.std(axis=0), 1e-6)
    scale[-1] = 1.0
    scaled = known / scale
    weights = np.linalg.solve(scaled.T @ scaled + 1.0 * np.eye(scaled.shape[1]), scaled.T @ change)
    return segment.observations[:, 0].double() + torch.as_tensor(inputs(segment) / scale @ weights)


@torch.no_grad()
def floor_figures(
    model: NeuralModel, tests: list[Trajectories], paths: list[Path], seed: int
) -> dict[str, Any]:
    """The true rules from starts whose velocities are off by one-step errors of the model.

    The errors are drawn at random.
    """
    generator = np.random.default_rng(seed)
    first = join([windows(test, 1) for test in tests])
    predicted = model.rollout(first.observations[:, 0], first.actions).observations[:, -1]
    errors = (predicted - first.observations[:, -1])[:, VELOCITIES].double().numpy()
    figures = {}
    for horizon in HORIZONS[1:]:
        parts = [windows(test, horizon) for test in tests]
        ends = []
        for part, path in zip(parts, paths, strict=True):
            starts = part.observations[:, 0, :NUM_EXTENDED].double().numpy()
            drawn = generator.integers(len(errors), size=len(starts))
            starts[:, VELOCITIES] += errors[drawn]
            ends.append(true_end(starts, part.actions.double().numpy(), path))
        figures[str(horizon)] = shares(torch.cat(ends), join(parts))
    return figures


def true_end(observations: NDArray[np.float64], actions: NDArray[np.float64], path: Path) -> Tensor:
    """Where the true rules lead from observations [B, 37] under actions [B, H, 3].

    Cars that end hold still.
    """
    rules = DrivingEnv.rules(track=path, **ENV_OPTIONS)
    num_rows = len(observations)
    rows = empty_rows(num_rows, rules.state_dtype)
    outcomes = empty_rows(num_rows, rules.outcome_dtype)
    for name, column in STATE_FIELDS.items():
        rows[name] = observations[:, column]
    positions = np.clip(observations[:, Column.TRACK_POSITION], 0.0, 1.0 - 1e-9)
    rows["distance"] = positions * float(rules.parameters["length"][0])
    after = np.zeros((num_rows, NUM_EXTENDED), np.float32)
    for step in range(actions.shape[1]):
        step_actions = np.ascontiguousarray(actions[:, step])
        rules.step_rows(rows, rules.parameters, step_actions, after, outcomes, False)
    return torch.as_tensor(after).double()


def general_model(layout: FeatureLayout, seed: int) -> DeterministicModel:
    """A model that knows no car, on the same 40 numbers."""
    config = DeterministicConfig(
        dynamics_widths=GENERAL_WIDTHS, reward_widths=(64,), termination_widths=(64,)
    )
    return DeterministicModel(
        model_observation_space(), car_action_space(), config, layout=layout, seed=seed
    )


def fit_general(
    model: NeuralModel, trajectories: Trajectories, num_updates: int, seed: int
) -> None:
    """Fit a general model with the settings that were found on the training circuits."""
    config = FitConfig(
        num_updates=num_updates,
        batch_size=512,
        horizon=16,
        learning_rate=2e-3,
        curriculum_start=0.5,
        seed=seed,
    )
    model.fit(trajectories, config, progress=False)


def record(
    paths: list[Path], first_number: int, episodes: int, seed: int, *, is_wide: bool
) -> list[Trajectories]:
    """What is learned from, or the noisy expert alone, on each circuit."""
    recorded = []
    for number, path in enumerate(paths, start=first_number):
        write = record_widely if is_wide else record_circuit
        recorded.append(
            extend_trajectories(write(path, episodes, 400, seed + 1000 * number), number)
        )
    return recorded


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Record, fit every model, and judge."""
    training, unseen = split_circuits(arguments.circuits)
    data = Trajectories.concatenate(
        record(training, 0, arguments.episodes, arguments.seed, is_wide=True)
    )
    fresh_seed = arguments.seed + 500_000
    tests = record(unseen, len(training), arguments.test_episodes, fresh_seed, is_wide=False)
    maps = CircuitMap.of([*training, *unseen])
    figures: dict[str, Any] = {
        "recorded_steps": data.num_steps,  # with --model only the baselines see them
        "recorded_departures": int(data.terminations.sum()),
        "unseen_circuits": [path.stem for path in unseen],
        "unseen_episodes": sum(test.num_episodes for test in tests),
        "unseen_departures": sum(int(test.terminations.sum()) for test in tests),
        "baselines": baseline_figures(data, tests),
    }
    if arguments.model:
        car = DrivingModel.load(arguments.model, given=maps, device="cpu")
    else:
        shape = DrivingModelConfig(num_members=arguments.members)
        car = DrivingModel.for_circuits(maps, shape, seed=arguments.seed)
        fit_driving(car, data, arguments.num_updates, arguments.seed)
    figures["car"] = model_figures(partial(expected_end, car), tests)
    save(figures, arguments)
    figures["car, mean of forces"] = model_figures(rolled_out(car), tests)
    figures["car, one member"] = model_figures(rolled_out(member_of(car, 0)), tests)
    figures["floor of the car"] = floor_figures(car, tests, unseen, arguments.seed)
    save(figures, arguments)
    for kind in LAYOUTS if arguments.layout_updates else ():
        model = general_model(make_layout(kind, maps), arguments.seed)
        fit_general(model, data, arguments.layout_updates, arguments.seed)
        figures[f"{kind} layout"] = model_figures(rolled_out(model), tests)
        save(figures, arguments)
    return figures


def save(figures: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Write what there is so far."""
    name, last = list(figures.items())[-1]
    print(name, json.dumps(last), flush=True)
    settings = f"--num-updates {arguments.num_updates} --members {arguments.members}"
    if arguments.model:
        settings = "--model runs/driving_planning/model.safetensors"
    settings += f" --layout-updates {arguments.layout_updates} --episodes {arguments.episodes}"
    command = f"python -m benchmarks.driving_models {settings}"
    write_result("driving_models", figures, seeds=arguments.seed, command=command)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--circuits", type=Path, default=CIRCUITS)
    parser.add_argument(
        "--episodes", type=int, default=120, help="on each training circuit, of 400 steps at most"
    )
    parser.add_argument("--test-episodes", type=int, default=40, help="on each unseen circuit")
    parser.add_argument("--num-updates", type=int, default=12_000, help="of the car's model")
    parser.add_argument(
        "--layout-updates", type=int, default=4_000, help="of each general model; 0 leaves them out"
    )
    parser.add_argument(
        "--model", type=Path, default=None, help="a file of driving_planning; None fits a model"
    )
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measure(arguments)


if __name__ == "__main__":
    main()
