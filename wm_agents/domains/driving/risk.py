"""Where noisy drivers may be in a second: imagined futures, warnings, and a shield.

Imagination knows a driver's pace and his noise now, not how it goes on, so that a warning asks many
futures. Beside it the reference that asks none: the time to the boundary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wm_agents.domains.driving.network import DrivingModel
from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.domains.driving.recording import CHANNEL_STDS, next_noise, within_bounds
from wm_agents.domains.driving.rollouts import (
    CompiledDynamics,
    Floats,
    LearnedPaths,
    PathColumn,
    PathModel,
    TruePaths,
)
from wm_agents.evaluation.calibration import auroc, average_precision
from wm_agents.planning.safety import RiskCalibrator, Shield, calibration_error, risk_features
from wm_agents.protocols import ModelState
from wm_envs.driving import dynamics
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.env import DrivingVectorEnv
from wm_envs.driving.expert import Expert
from wm_envs.driving.track import Track, track_of

MARGIN_SCALE = 1.5  # m; margins are squashed by it
MAX_MARGIN = 10.0  # m; farther from the edge nothing changes
MIN_MARGIN = -5.0  # m; nor farther beyond it
SPIN_MARGIN = 5.0  # m per radian of sideslip that is left before a spin
CAREFUL_PACE = 0.88
NOISES = (0.05, 0.1, 0.2, 0.3)
SHIELD_NOISES = (0.0, *NOISES)
BOUNDARY_TIMES = np.arange(0.05, 5.0, 0.05)  # s, at which a car is looked at
ROLLING_STEPS = 400  # a car that left the road starts anew slowly: 8 s do not count


class NoisyDrivers:
    """Cars on one circuit, driven by the expert with colored noise that differs from car to car.

    Args:
        track: A circuit file.
        num_cars: B.
        seed: Draws starts, paces and noise.
        noises: Standard deviations on the steering, which the cars have in turn; twice as much on
            the pedals.
        grip: Of the road as a share of the usual one, which the expert and so the drivers know.

    Attributes:
        last_actions: Those of the last step [B, 3].
    """

    def __init__(
        self,
        track: str | Path | Track,
        num_cars: int,
        seed: int,
        noises: Sequence[float] = NOISES,
        grip: float = 1.0,
    ) -> None:
        self.env = DrivingVectorEnv(
            num_cars, track=track, time_limit=10**9, grip_scale=grip, **ENV_OPTIONS
        )
        self.track = track_of(self.env.parameters)
        self.expert = Expert(self.env.parameters)
        self._generator = np.random.default_rng(seed)
        self.paces = self._generator.uniform(0.92, 1.08, num_cars)
        self.stds = np.resize(noises, num_cars)[:, None] * CHANNEL_STDS
        self.noise: Floats = np.zeros((num_cars, 3))
        self.observations, _ = self.env.reset(seed=seed)
        self.last_actions = np.zeros((num_cars, 3), np.float32)

    def act(self, is_handed_over: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The actions [B, 3]; cars that are handed over get the careful expert's."""
        self.noise = next_noise(self.noise, self._generator)
        paces = np.where(is_handed_over, CAREFUL_PACE, self.paces)
        disturbed = np.where(is_handed_over[:, None], 0.0, self.stds * self.noise)
        return within_bounds(self.expert.actions_on(self.observations, paces) + disturbed)

    def step(self, is_handed_over: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Drive one step; which cars [B] left the road or spun, and start anew with the next."""
        self.last_actions = self.act(is_handed_over)
        self.observations, _, terminated, _, _ = self.env.step(self.last_actions)
        return terminated

    def futures(self, horizon: int, num_samples: int) -> Floats:
        """Disturbances [B * S, H, 5]: how each driver's noise may go on, and his pace."""
        noise = np.repeat(self.noise, num_samples, axis=0)
        stds = np.repeat(self.stds, num_samples, axis=0)
        disturbances = np.zeros((len(noise), horizon, 5))
        for step in range(horizon):
            noise = next_noise(noise, self._generator)
            disturbances[:, step, [0, 3, 4]] = noise * stds  # both pedals at once
        disturbances[:, :, 2] = np.repeat(self.paces, num_samples)[:, None] - 1.0
        return disturbances


@dataclass(frozen=True)
class RiskModel:
    """What imagines the futures of noisy drivers.

    Attributes:
        dynamics: Those of the learned model; None takes the true rules, as a perfect model would.
    """

    dynamics: CompiledDynamics | None = None

    @classmethod
    def of(cls, model: DrivingModel) -> "RiskModel":
        """The learned model of a car."""
        return cls(CompiledDynamics(model))

    def paths(self, drivers: NoisyDrivers, disturbances: Floats) -> Floats:
        """Paths [B * S, H + 1, 9] under disturbances [B * S, H, 5].

        Future s of a car follows member s of the model, again from the first when all have one.
        """
        parameters = drivers.env.parameters
        observations = torch.as_tensor(drivers.observations)
        model: PathModel
        if self.dynamics is None:
            # As many substeps as the environment has: this is the reference.
            true_model = TruePaths(parameters, drivers.expert, num_substeps=dynamics.NUM_SUBSTEPS)
            hidden = true_model.hidden_of(drivers.env.clone_state())
            state = true_model.start(observations, hidden)
            model = true_model
        else:
            model = LearnedPaths(self.dynamics, parameters, drivers.expert)
            state = model.start(observations)
        state = state.repeat(len(disturbances) // len(observations))
        return paths_by_member(model, state, torch.from_numpy(disturbances))

    def features(self, drivers: NoisyDrivers, disturbances: Floats) -> Floats:
        """What a calibrator needs of each car's imagined futures [B, 5]."""
        num_samples = len(disturbances) // len(drivers.observations)
        distances = margins(self.paths(drivers, disturbances), drivers.track)
        return risk_features(distances.reshape(-1, num_samples, distances.shape[1]), MARGIN_SCALE)


def paths_by_member(model: PathModel, state: ModelState, disturbances: torch.Tensor) -> Floats:
    """Paths [N, H + 1, 9] from N states, which the members of a model imagine in turn."""
    paths: Floats = np.empty((len(disturbances), disturbances.shape[1] + 1, len(PathColumn)))
    for member in range(model.num_members):
        rows = torch.arange(member, len(disturbances), model.num_members)
        rollout = model.rollout(state.select(rows), disturbances[rows], member=member)
        paths[rows.numpy()] = rollout.observations.numpy()
    return paths


def margins(paths: Floats, track: Track) -> Floats:
    """Distance to the end of the road [N, H], m, along paths [N, H + 1, 9].

    Below 0, too, after a spin.
    """
    ahead = paths[:, 1:]
    distance = ahead[:, :, PathColumn.DISTANCE]
    offset = ahead[:, :, PathColumn.OFFSET]
    left = track.at(track.left, distance) + dynamics.HALF_WIDTH - offset
    right = track.at(track.right, distance) + dynamics.HALF_WIDTH + offset
    sideslip = np.abs(ahead[:, :, PathColumn.SIDESLIP])
    spin = SPIN_MARGIN * (dynamics.MAX_SIDESLIP - sideslip)
    result: Floats = np.minimum(np.minimum(left, right), spin)
    # A path that is not finite has left in any case.
    return np.clip(np.nan_to_num(result, nan=MIN_MARGIN), MIN_MARGIN, MAX_MARGIN)


def boundary_urgencies(observations: NDArray[np.float32]) -> Floats:
    """The shortest time, 0.05 s, over the time to the boundary [B, 2].

    The reference of a warning: the offset goes on as it changes now (first column), or with what
    the accelerometer shows less the road's bend (second column).
    """
    obs = observations.astype(np.float64)
    vx, vy = obs[:, Column.VELOCITY_X], obs[:, Column.VELOCITY_Y]
    ax, ay = obs[:, Column.ACCELERATION_X], obs[:, Column.ACCELERATION_Y]
    sine, cosine = np.sin(obs[:, Column.HEADING_ERROR]), np.cos(obs[:, Column.HEADING_ERROR])
    across = vx * sine + vy * cosine
    along = vx * cosine - vy * sine
    gained = ax * sine + ay * cosine - along**2 * obs[:, Column.CURVATURE_0M]
    left = obs[:, Column.LEFT_WIDTH] - obs[:, Column.OFFSET] + dynamics.HALF_WIDTH
    right = obs[:, Column.RIGHT_WIDTH] + obs[:, Column.OFFSET] + dynamics.HALF_WIDTH
    times = BOUNDARY_TIMES
    columns = []
    for acceleration in (0.0, gained[:, None]):
        moved = across[:, None] * times + 0.5 * acceleration * times**2
        is_off = (moved > left[:, None]) | (moved < -right[:, None])
        urgency = times[0] / times[is_off.argmax(axis=1)]
        columns.append(np.where(is_off.any(axis=1), urgency, 0.0))
    return np.stack(columns, axis=1)


# Warnings


@dataclass
class Warnings:
    """What was predicted, and what came.

    Attributes:
        features: By the name of a model, [N, 5].
        urgencies: [N, 2], see `boundary_urgencies`.
        outcomes: Whether the car left the road or spun within the horizon [N].
        departures: How many did in all.
    """

    features: dict[str, Floats]
    urgencies: Floats
    outcomes: NDArray[np.bool_]
    departures: int

    @classmethod
    def concatenate(cls, parts: "Sequence[Warnings]") -> "Warnings":
        """The warnings of several circuits."""
        names = parts[0].features
        return cls(
            {name: np.concatenate([part.features[name] for part in parts]) for name in names},
            np.concatenate([part.urgencies for part in parts]),
            np.concatenate([part.outcomes for part in parts]),
            sum(part.departures for part in parts),
        )


def collect_warnings(
    drivers: NoisyDrivers,
    models: Mapping[str, RiskModel],
    *,
    num_steps: int,
    every: int,
    horizon: int,
    num_samples: int,
) -> Warnings:
    """Drive and warn; a warning counts once its horizon has passed.

    Args:
        drivers: Cars that have just started.
        models: What imagines, by name; all are given the same disturbances.
        num_steps: Steps that each car drives.
        every: Steps between warnings.
        horizon: Steps ahead.
        num_samples: Imagined futures per warning.
    """
    num_cars = len(drivers.observations)
    nobody = np.zeros(num_cars, np.bool_)
    terminated = nobody
    ends = np.zeros((num_steps, num_cars), np.bool_)
    warned_at: list[int] = []
    warned_cars: list[NDArray[np.int64]] = []
    urgencies: list[Floats] = []
    features: dict[str, list[Floats]] = {name: [] for name in models}
    for step in range(num_steps):
        if step % every == 0 and step + horizon <= num_steps:
            # Cars that the next call resets are nowhere.
            cars = np.flatnonzero(~terminated)
            disturbances = drivers.futures(horizon, num_samples)
            for name, model in models.items():
                features[name].append(model.features(drivers, disturbances)[cars])
            urgencies.append(boundary_urgencies(drivers.observations)[cars])
            warned_at.append(step)
            warned_cars.append(cars)
        terminated = drivers.step(nobody)
        ends[step] = terminated
    outcomes = [
        ends[step : step + horizon, cars].any(axis=0)
        for step, cars in zip(warned_at, warned_cars, strict=True)
    ]
    return Warnings(
        {name: np.concatenate(parts) for name, parts in features.items()},
        np.concatenate(urgencies),
        np.concatenate(outcomes),
        int(ends.sum()),
    )


def warning_figures(
    calibration: Warnings, judged: Warnings, probabilities: Mapping[str, Floats]
) -> dict[str, float | None]:
    """How well a second ahead is judged, beside the time to the boundary.

    None stands where all outcomes are the same, so that nothing can be told apart.

    Args:
        calibration: On which the better of the two times to the boundary is chosen.
        judged: What is judged.
        probabilities: Of "model" and "oracle", [N] each.
    """
    outcomes = judged.outcomes
    velocity_ttb, acceleration_ttb = judged.urgencies.T
    ttb = better_urgency(calibration, judged)
    return {
        "auroc_1s": auroc(probabilities["model"], outcomes),
        "ap_1s": average_precision(probabilities["model"], outcomes),
        "calibration_error_1s": calibration_error(probabilities["model"], outcomes),
        "auroc_1s_oracle": auroc(probabilities["oracle"], outcomes),
        "ap_1s_oracle": average_precision(probabilities["oracle"], outcomes),
        "auroc_1s_ttb": auroc(ttb, outcomes),
        "ap_1s_ttb_at_constant_velocity": average_precision(velocity_ttb, outcomes),
        "ap_1s_ttb_at_constant_acceleration": average_precision(acceleration_ttb, outcomes),
        "ap_1s_ttb": average_precision(ttb, outcomes),
        "departures": judged.departures,
        "warnings": len(outcomes),
        "share_followed_by_a_departure": float(outcomes.mean()),
    }


def better_urgency(calibration: Warnings, judged: Warnings) -> Floats:
    """Of the two times to the boundary the one [N] that warned better on the calibration circuits."""
    scores = [
        average_precision(column, calibration.outcomes) or 0.0 for column in calibration.urgencies.T
    ]
    better: Floats = judged.urgencies[:, int(np.argmax(scores))]
    return better


def plot_warnings(
    folder: Path, probabilities: Floats, urgencies: Floats, outcomes: NDArray[np.bool_]
) -> None:
    """Write crash_prediction.png: precision over recall, and how many warnings came true.

    Args:
        folder: Where.
        probabilities: Of a model [N].
        urgencies: Of the reference [N].
        outcomes: What came [N].
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5))
    for name, values in (("model rollouts", probabilities), ("time to boundary", urgencies)):
        hits = np.cumsum(outcomes[np.argsort(-values, kind="stable")])
        axes[0].plot(hits / max(hits[-1], 1), hits / np.arange(1, len(hits) + 1), label=name)
    axes[0].set(
        xlabel="departures warned of", ylabel="warnings that came true", title="one second ahead"
    )
    axes[0].legend()
    groups = np.array_split(np.argsort(probabilities, kind="stable"), 10)
    predicted = [probabilities[group].mean() for group in groups]
    happened = [outcomes[group].mean() for group in groups]
    axes[1].plot([0, 1], [0, 1], color="0.7")
    axes[1].plot(predicted, happened, "o-")
    axes[1].set(
        xlabel="probability",
        ylabel="share that left the road",
        title="calibration, ten groups of equal size",
    )
    figure.tight_layout()
    figure.savefig(folder / "crash_prediction.png", dpi=110)
    plt.close(figure)


# The shield


@dataclass
class ShieldedDrive:
    """What became of a group of cars.

    Attributes:
        departures: By car [B].
        driven: Metres by car [B].
        rolling: Metres by car [B] from 8 s after a start on.
        seconds: Time by car [B] for those.
        handed_over: Share of the time by car [B].
        noises: Of the drivers [B].
    """

    departures: Floats
    driven: Floats
    rolling: Floats
    seconds: Floats
    handed_over: Floats
    noises: Floats

    @classmethod
    def concatenate(cls, parts: "Sequence[ShieldedDrive]") -> "ShieldedDrive":
        """The cars of several circuits."""
        return cls(
            *(
                np.concatenate([getattr(part, each.name) for part in parts])
                for each in fields(ShieldedDrive)
            )
        )

    def time_per_metre(self, cars: NDArray[np.bool_]) -> float | None:
        """Of the cars of a mask [B], s/m; None where none of them went on for 8 s."""
        metres = float(self.rolling[cars].sum())
        return float(self.seconds[cars].sum()) / metres if metres > 0 else None


def drive_shielded(
    drivers: NoisyDrivers,
    model: RiskModel,
    calibrator: RiskCalibrator,
    shield: Shield | None,
    *,
    num_steps: int,
    every: int,
    horizon: int,
    num_samples: int,
) -> ShieldedDrive:
    """Noisy drivers, with a shield or, with None, without.

    Args:
        drivers: Cars that have just started.
        model: Imagines.
        calibrator: Turns features of imagined futures into a probability.
        shield: Takes over.
        num_steps: Steps that each car drives.
        every: Steps between the decisions of the shield.
        horizon: Steps ahead.
        num_samples: Imagined futures per decision.
    """
    num_cars = len(drivers.observations)
    is_handed_over = np.zeros(num_cars, np.bool_)
    is_fresh = np.zeros(num_cars, np.bool_)
    drive = ShieldedDrive(
        departures=np.zeros(num_cars),
        driven=np.zeros(num_cars),
        rolling=np.zeros(num_cars),
        seconds=np.zeros(num_cars),
        handed_over=np.zeros(num_cars),
        noises=drivers.stds[:, 0],
    )
    age = np.zeros(num_cars, np.int64)
    before = drivers.env.clone_state()["driven"].copy()
    for step in range(num_steps):
        if shield is not None and step % every == 0:
            features = model.features(drivers, drivers.futures(horizon, num_samples))
            risk = calibrator.probability(features)
            shield.reset(is_fresh)
            is_handed_over = shield.decide(np.where(is_fresh, 0.0, risk))
        is_fresh = drivers.step(is_handed_over)
        after = drivers.env.clone_state()["driven"]
        gained = np.maximum(after - before, 0.0)
        age = np.where(after < before, 0, age + 1)
        before = after.copy()
        is_rolling = age > ROLLING_STEPS
        drive.driven += gained
        drive.rolling += np.where(is_rolling, gained, 0.0)
        drive.seconds += np.where(is_rolling, dynamics.TIME_STEP, 0.0)
        drive.departures += is_fresh
        drive.handed_over += is_handed_over / num_steps
    return drive


def time_cost(
    free: ShieldedDrive, shielded: ShieldedDrive, cars: NDArray[np.bool_]
) -> float | None:
    """What the shield adds to the time per metre of the cars of a mask [B], as a share.

    None where nobody rolled.
    """
    without = free.time_per_metre(cars)
    with_shield = shielded.time_per_metre(cars)
    if not without or not with_shield:
        return None
    return with_shield / without - 1.0


def shield_figures(free: ShieldedDrive, shielded: ShieldedDrive) -> dict[str, Any]:
    """What the shield prevents, per metre driven, and what it costs, by noise of the drivers."""
    everyone = np.ones(len(free.noises), np.bool_)
    free_rate, shielded_rate = (
        float(drive.departures.sum() / drive.driven.sum()) for drive in (free, shielded)
    )
    costs, handed_over = {}, {}
    for noise in SHIELD_NOISES:
        cars = free.noises == noise
        costs[str(noise)] = time_cost(free, shielded, cars)
        handed_over[str(noise)] = float(shielded.handed_over[cars].mean())
    return {
        "departures_without_shield": int(free.departures.sum()),
        "departures_with_shield": int(shielded.departures.sum()),
        "departures_removed": 1.0 - shielded_rate / max(free_rate, 1e-12),
        "lap_time_cost": time_cost(free, shielded, everyone),
        "lap_time_cost_by_noise": costs,
        "share_handed_over_by_noise": handed_over,
    }
