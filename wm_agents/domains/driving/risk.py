"""Where noisy drivers may be in a second: drivers, their imagined futures, and what a warning is made from.

Imagination knows the driver's pace and his noise now, not how it goes on, so that a warning asks
many futures. Beside it the yardstick that asks none: the time to the boundary.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.record_driving import CORRELATION, OPTIONS
from wm_agents.domains.driving.imagination import (
    DRIVEN,
    NUM_COLUMNS,
    OFFSET,
    SIDESLIP,
    CompiledModel,
    Floats,
    imagine_truth,
    learned_imagination,
)
from wm_agents.domains.driving.model import AX, AY, BEND, HEADING, LEFT, RIGHT, VX, VY
from wm_agents.domains.driving.model import OFFSET as SEEN_OFFSET
from wm_agents.planning.safety import risk_features
from wm_envs.driving import dynamics
from wm_envs.driving.env import DrivingVectorEnv
from wm_envs.driving.expert import Expert
from wm_envs.driving.track import Track
from wm_envs.kernel import empty_rows

SCALE = 1.5  # m; margins are squashed by it
CAREFUL_PACE = 0.88


class NoisyDrivers:
    """Cars on one circuit, driven by the expert with coloured noise that differs from car to car.

    Args:
        track: A circuit file.
        num_cars: B.
        seed: Draws starts, paces and noise.
        noises: Standard deviations on the steering, which the cars have in turn; twice as much on
            the pedals.
    """

    def __init__(
        self,
        track: str | Path,
        num_cars: int,
        seed: int,
        noises: Sequence[float] = (0.05, 0.1, 0.2, 0.3),
    ) -> None:
        self.env = DrivingVectorEnv(num_cars, track=track, time_limit=10**9, **OPTIONS)
        self.expert = Expert(self.env.parameters)
        self._generator = np.random.default_rng(seed)
        self.paces = self._generator.uniform(0.92, 1.08, num_cars)
        self.stds = np.resize(noises, num_cars)[:, None] * np.array([1.0, 2.0, 2.0])
        self.noise: Floats = np.zeros((num_cars, 3))
        self.observations, _ = self.env.reset(seed=seed)

    def act(self, is_handed_over: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The actions [B, 3]; cars that are handed over get the careful expert's."""
        fresh = self._generator.normal(size=self.noise.shape) * np.sqrt(1 - CORRELATION**2)
        self.noise = CORRELATION * self.noise + fresh
        paces = np.where(is_handed_over, CAREFUL_PACE, self.paces)
        disturbed = np.where(is_handed_over[:, None], 0.0, self.stds * self.noise)
        actions = self.expert.actions_on(self.observations, paces) + disturbed
        return np.clip(actions, [-1, 0, 0], 1).astype(np.float32)

    def futures(self, horizon: int, num_samples: int) -> Floats:
        """Disturbances [B * S, H, 5] of the expert as each driver's noise may go on, and his pace."""
        noise = np.repeat(self.noise, num_samples, axis=0)
        stds, future = np.repeat(self.stds, num_samples, axis=0), np.zeros((len(noise), horizon, 5))
        for step in range(horizon):
            noise = CORRELATION * noise + self._generator.normal(size=noise.shape) * np.sqrt(
                1 - CORRELATION**2
            )
            future[:, step, [0, 3, 4]] = noise * stds
        future[:, :, 2] = np.repeat(self.paces, num_samples)[:, None] - 1.0
        return future

    @property
    def distances(self) -> Floats:
        """Where the cars are along the lap [B], m."""
        length = float(self.env.parameters["length"][0])
        return np.minimum(self.observations[:, 21].astype(np.float64), 0.9999999) * length


Imagination = Callable[[NoisyDrivers, Floats], Floats]
"""(drivers, disturbances [B * S, H, 5]) -> paths [B * S, H, 8]."""


def learned_paths(model: CompiledModel) -> Imagination:
    """Imagination in the learned model, from what the cars see.

    Future s of a car follows member s of the model.
    """
    num_members = len(model.members)

    def imagine(drivers: NoisyDrivers, disturbances: Floats) -> Floats:
        starts = np.repeat(
            drivers.observations, len(disturbances) // len(drivers.observations), axis=0
        )
        paths = np.empty((*disturbances.shape[:2], NUM_COLUMNS))
        for member in range(num_members):
            rows = slice(member, None, num_members)
            follow = learned_imagination(starts[rows], drivers.env.parameters, model, member=member)
            paths[rows] = follow(np.ascontiguousarray(disturbances[rows]), drivers.expert.table)
        return paths

    return imagine


def true_paths(drivers: NoisyDrivers, disturbances: Floats) -> Floats:
    """The same in the true rules: what a perfect model would warn of."""
    states = drivers.env.clone_state()
    rows = empty_rows(len(disturbances), states.dtype)
    rows[:] = np.repeat(states, len(disturbances) // len(states))
    paths = np.empty((*disturbances.shape[:2], NUM_COLUMNS))
    imagine_truth(rows, drivers.env.parameters, drivers.expert.table, disturbances, True, paths)
    return paths


def features_of(
    drivers: NoisyDrivers, imagine: Imagination, disturbances: Floats, track: Track
) -> Floats:
    """What a calibrator needs of each car's imagined futures [B, 5]."""
    num_samples = len(disturbances) // len(drivers.observations)
    paths = imagine(drivers, disturbances)
    distances = margins(paths, np.repeat(drivers.distances, num_samples)[:, None], track)
    return risk_features(distances.reshape(-1, num_samples, distances.shape[1]), SCALE)


def margins(paths: Floats, start: Floats, track: Track) -> Floats:
    """Distance to the end of the road [N, H], m, of paths from distances [N, 1].

    Below 0, too, after a spin.
    """
    distance = start + paths[:, :, DRIVEN]
    left = track.at(track.left, distance) + dynamics.HALF_WIDTH - paths[:, :, OFFSET]
    right = track.at(track.right, distance) + dynamics.HALF_WIDTH + paths[:, :, OFFSET]
    spin = 5.0 * (dynamics.MAX_SIDESLIP - np.abs(paths[:, :, SIDESLIP]))
    result: Floats = np.minimum(np.minimum(left, right), spin)
    return np.clip(np.nan_to_num(result, nan=-5.0), -5.0, 10.0)


def urgencies(observations: NDArray[np.float32]) -> Floats:
    """The shortest time, 0.05 s, over the time to the boundary [B, 2]: at the present velocity, and acceleration.

    The yardstick: the offset goes on as it changes now, or with what the accelerometer shows less
    the road's bend.
    """
    seen = observations.astype(np.float64)
    sine, cosine = np.sin(seen[:, HEADING]), np.cos(seen[:, HEADING])
    across = seen[:, VX] * sine + seen[:, VY] * cosine
    along = seen[:, VX] * cosine - seen[:, VY] * sine
    gained = seen[:, AX] * sine + seen[:, AY] * cosine - along**2 * seen[:, BEND]
    left = seen[:, LEFT] - seen[:, SEEN_OFFSET] + dynamics.HALF_WIDTH
    right = seen[:, RIGHT] + seen[:, SEEN_OFFSET] + dynamics.HALF_WIDTH
    times = np.arange(0.05, 5.0, 0.05)
    columns = []
    for acceleration in (0.0, gained[:, None]):
        moved = across[:, None] * times + 0.5 * acceleration * times**2
        is_off = (moved > left[:, None]) | (moved < -right[:, None])
        columns.append(np.where(is_off.any(axis=1), times[0] / times[is_off.argmax(axis=1)], 0.0))
    return np.stack(columns, axis=1)
