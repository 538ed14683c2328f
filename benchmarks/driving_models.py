"""Open-loop errors of world models of the car on circuits that they never saw, at 1, 16 and 50 steps.

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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.report import write_result
from examples.record_driving import CIRCUITS, OPTIONS, held_out, record_circuit, record_widely
from wm_agents.domains.driving.model import (
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
from wm_agents.domains.driving.network import (
    CarModel,
    expected_end,
    fit_car,
    member_of,
    new_car_model,
)
from wm_agents.world_models.neural import NeuralModel
from wm_agents.world_models.sampling import BatchSampler, TrainingBatch
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.env import DrivingEnv
from wm_envs.kernel import empty_rows

FEATURES = {"vx": VX, "vy": VY, "yaw_rate": YAW_RATE, "offset": OFFSET, "heading": HEADING}
HORIZONS = (1, 16, 50)
STATE_FIELDS = {
    "vx": 0, "vy": 1, "ax": 3, "ay": 4, "yaw_rate": 8, "steering": 9, "throttle": 10, "brake": 11,
    "temperature_fl": 12, "temperature_fr": 13, "temperature_rl": 14, "temperature_rr": 15,
    "wear_fl": 16, "wear_fr": 17, "wear_rl": 18, "wear_rr": 19, "fuel": 20, "offset": 22, "heading_error": 23,
}  # fmt: skip


def window_starts(fresh: Trajectories, horizon: int, every: int) -> list[tuple[int, int]]:
    """(episode, step) every `every` steps that have `horizon` recorded steps ahead."""
    return [
        (episode, int(first) + step)
        for episode, (first, length) in enumerate(
            zip(fresh.step_starts, fresh.lengths, strict=True)
        )
        for step in range(0, int(length) - horizon + 1, every)
    ]


def windows(fresh: Trajectories, horizon: int, every: int = 10) -> TrainingBatch:
    """The windows of `window_starts`."""
    starts = [step for _, step in window_starts(fresh, horizon, every)]
    return BatchSampler(fresh, torch.device("cpu")).gather(torch.tensor(starts), horizon)


def episodes_of(tests: list[Trajectories], horizon: int, every: int = 10) -> NDArray[np.int64]:
    """The episode of each window, numbered over all circuits."""
    numbers = [[episode for episode, _ in window_starts(test, horizon, every)] for test in tests]
    firsts = np.cumsum([0, *(test.num_episodes for test in tests)])
    return np.concatenate(
        [np.array(part, np.int64) + first for part, first in zip(numbers, firsts, strict=False)]
    )


def rmse_intervals(
    predicted: Tensor, segment: TrainingBatch, episodes: NDArray[np.int64]
) -> dict[str, list[float]]:
    """95% intervals of the root mean square as a share of persistence's, episodes drawn with replacement."""
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


def shares(predicted: Tensor, segment: TrainingBatch) -> dict[str, dict[str, float]]:
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


def join(parts: list[TrainingBatch]) -> TrainingBatch:
    """The windows of several circuits."""
    names = ("inputs", "observations", "actions", "rewards", "terminations", "mask")
    return TrainingBatch(
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    )


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


def accelerated(segment: TrainingBatch, horizon: int) -> Tensor:
    """Velocities and yaw rate go on as measured, offset and heading follow."""
    first = segment.observations[:, 0].double()
    seconds = horizon * 0.02
    after = first.clone()
    after[:, VX] += seconds * (first[:, 3] + first[:, YAW_RATE] * first[:, VY])
    after[:, VY] += seconds * (first[:, 4] - first[:, YAW_RATE] * first[:, VX])
    after[:, OFFSET] += seconds * (
        first[:, VX] * first[:, HEADING].sin() + first[:, VY] * first[:, HEADING].cos()
    )
    after[:, HEADING] += seconds * (first[:, YAW_RATE] - first[:, 34] * first[:, VX])
    return after


def ridge(learned: TrainingBatch, segment: TrainingBatch) -> Tensor:
    """The change over the horizon, linear in the first observation and all actions."""

    def inputs(part: TrainingBatch) -> NDArray[np.float64]:
        seen = (
            torch.cat([part.observations[:, 0, :37], part.actions.flatten(1)], 1).double().numpy()
        )
        return np.column_stack([seen, np.ones(len(seen))])

    known, change = (
        inputs(learned),
        (learned.observations[:, -1] - learned.observations[:, 0]).double().numpy(),
    )
    scale = np.maximum(known.std(axis=0), 1e-6)
    scale[-1] = 1.0
    scaled = known / scale
    weights = np.linalg.solve(scaled.T @ scaled + 1.0 * np.eye(scaled.shape[1]), scaled.T @ change)
    return segment.observations[:, 0].double() + torch.as_tensor(inputs(segment) / scale @ weights)


@torch.no_grad()
def floor_figures(
    model: NeuralModel, tests: list[Trajectories], paths: list[Path], seed: int
) -> dict[str, Any]:
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
    """Where the true rules lead from observations [B, 37] under actions [B, H, 3].

    Cars that end hold still.
    """
    rules = DrivingEnv.rules(track=path, **OPTIONS)
    rows, outcomes = (
        empty_rows(len(seen), rules.state_dtype),
        empty_rows(len(seen), rules.outcome_dtype),
    )
    for name, column in STATE_FIELDS.items():
        rows[name] = seen[:, column]
    rows["distance"] = np.clip(seen[:, 21], 0.0, 1.0 - 1e-9) * float(rules.parameters["length"][0])
    observations = np.zeros((len(seen), 37), np.float32)
    for step in range(actions.shape[1]):
        rules.step_rows(
            rows,
            rules.parameters,
            np.ascontiguousarray(actions[:, step]),
            observations,
            outcomes,
            False,
        )
    return torch.as_tensor(observations).double()


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
    training, unseen = held_out(arguments.circuits)
    data = Trajectories.concatenate(
        record(training, 0, arguments.episodes, arguments.seed, is_wide=True)
    )
    fresh_seed = arguments.seed + 500_000
    tests = record(unseen, len(training), arguments.test_episodes, fresh_seed, is_wide=False)
    maps = load_circuits([*training, *unseen])
    figures: dict[str, Any] = {
        "recorded_steps": data.num_steps,  # with --model only the baselines see them
        "recorded_departures": int(data.terminations.sum()),
        "unseen_circuits": [path.stem for path in unseen],
        "unseen_episodes": sum(test.num_episodes for test in tests),
        "unseen_departures": sum(int(test.terminations.sum()) for test in tests),
        "baselines": baseline_figures(data, tests),
    }
    layout = make_layout("kinematics", maps)
    if arguments.model:
        car = CarModel.load(arguments.model, given=layout.derived)
    else:
        car = new_car_model(layout, num_members=arguments.members, seed=arguments.seed)
        fit_car(car, data, arguments.num_updates, arguments.seed)
    figures["car"] = model_figures(partial(expected_end, car), tests)
    save(figures, arguments)
    figures["car, mean of forces"] = model_figures(rolled_out(car), tests)
    figures["car, one member"] = model_figures(rolled_out(member_of(car, 0)), tests)
    figures["floor of the car"] = floor_figures(car, tests, unseen, arguments.seed)
    save(figures, arguments)
    for kind in LAYOUTS if arguments.layout_updates else ():
        model = new_model(make_layout(kind, maps), widths=(160, 160), seed=arguments.seed)
        fit_driving(model, data, arguments.layout_updates, arguments.seed)
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
