"""Recording the car for learning: the expert with noise, on circuits that are split for good."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wm_envs
from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.errors import ConfigError
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.expert import Expert
from wm_envs.driving.track import Track

Floats = NDArray[np.float64]

NOISE_CORRELATION = 0.93  # from step to step: a time constant of 0.28 s
CHANNEL_STDS = np.array([1.0, 2.0, 2.0])  # of steering, throttle and brake, relative
LOWEST_ACTION = [-1, 0, 0]


def next_noise(noise: Floats, generator: np.random.Generator, std: float | Floats = 1.0) -> Floats:
    """Colored noise one step later, with this standard deviation in the long run."""
    fresh = std * np.sqrt(1 - NOISE_CORRELATION**2) * generator.normal(size=noise.shape)
    result: Floats = NOISE_CORRELATION * noise + fresh
    return result


def within_bounds(actions: NDArray[Any]) -> NDArray[np.float32]:
    """Actions [..., 3] that the car can take."""
    return np.clip(actions, LOWEST_ACTION, 1).astype(np.float32)


class NoisyExpert:
    """The expert with paces and colored noise that differ from row to row.

    Args:
        expert: Knows the circuit.
        num_rows: Cars, B.
        seed: Draws paces and noise.
        paces: Factors on the speed profile, drawn uniformly between them.
        noises: Standard deviations of the noise of which each row gets one for each channel, twice
            as much on a pedal.
        pulse_rate: Probability per step that a pulse begins: for 0.1 to 0.6 s one channel is
            pushed, so that full brakes, both pedals at once and spins are recorded.
    """

    def __init__(
        self,
        expert: Expert,
        num_rows: int,
        seed: int,
        paces: tuple[float, float] = (0.9, 1.05),
        noises: Sequence[float] = (0.0, 0.02, 0.05, 0.1, 0.2),
        pulse_rate: float = 0.0,
    ) -> None:
        self.expert = expert
        self._generator = np.random.default_rng(seed)
        self._paces = self._generator.uniform(*paces, num_rows)
        choices = np.asarray(noises)
        self._stds = self._generator.choice(choices, num_rows)[:, None] * CHANNEL_STDS
        if pulse_rate > 0:
            # Where single channels are pushed their noise differs as well.
            self._stds = self._generator.choice(choices, (num_rows, 3)) * CHANNEL_STDS
        self._noise: Floats = np.zeros((num_rows, 3))
        self._pulse_rate = pulse_rate
        self._pulses: Floats = np.zeros((num_rows, 3))
        self._remaining = np.zeros(num_rows, np.int64)

    def __call__(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Actions [B, 3] for observations [B, O] in SI units."""
        self._noise = next_noise(self._noise, self._generator)
        expert_actions = self.expert.actions_on(observations, self._paces)
        return within_bounds(expert_actions + self._stds * self._noise + self._next_pulses())

    def _next_pulses(self) -> Floats:
        """What is pushed now [B, 3]; most rows have no pulse at most times."""
        generator = self._generator
        self._remaining -= 1
        self._pulses[self._remaining <= 0] = 0.0
        is_drawn = generator.random(len(self._pulses)) < self._pulse_rate
        begins = np.flatnonzero((self._remaining <= 0) & is_drawn)
        self._remaining[begins] = generator.integers(5, 30, len(begins))
        # The strengths are drawn before the channels.
        strengths = generator.uniform(-1, 1, len(begins))
        self._pulses[begins, generator.integers(0, 3, len(begins))] = strengths
        return self._pulses


def split_circuits(folder: Path) -> tuple[list[Path], list[Path]]:
    """The circuits for training and the unseen ones.

    Every third in alphabetical order is unseen, fixed before any trial.

    Raises:
        ConfigError: There is no circuit in the folder.
    """
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise ConfigError(
            f"no circuits in {folder}: give a folder of x_m,y_m,w_tr_right_m,w_tr_left_m files; "
            "`wm data fetch circuits` says how to get some"
        )
    unseen = files[2::3]
    return [path for path in files if path not in unseen], unseen


def record_circuit(
    track: str | Path | Track,
    episodes: int,
    steps: int,
    seed: int,
    *,
    temperature: float = 90.0,
    grip: float = 1.0,
    **noise: Any,
) -> Trajectories:
    """Episodes of the noisy expert on one circuit, observations [S + K, 37] in SI units.

    Args:
        track: A CSV file, a built-in circuit or a track.
        episodes: K.
        steps: Of an episode at most.
        seed: Draws starts, paces and noise.
        temperature: Of the tyres at first, C.
        grip: Of the road as a share of the usual one, which the expert knows.
        noise: Settings of `NoisyExpert`.
    """
    options: dict[str, Any] = {
        **ENV_OPTIONS,
        "track": track,
        "time_limit": steps,
        "start_speed": 20.0,
        "start_temperature": temperature,
        "grip_scale": grip,
    }
    expert = Expert(DrivingEnv.rules(**options).parameters)
    policy = NoisyExpert(expert, episodes, seed, **noise)
    return wm_envs.record(
        "wm/Driving-v0",
        episodes=episodes,
        policy=policy,
        seed=seed,
        num_envs=episodes,
        env_kwargs=options,
    )


def record_widely(
    track: str | Path | Track, episodes: int, steps: int, seed: int, grip: float = 1.0
) -> Trajectories:
    """What models learn from: careful driving, slides, and pulses, on tyres of all temperatures.

    A planner seeks out what a model has not seen, so that each channel is disturbed on its own, as
    far as it goes. Arguments as for `record_circuit`; there are about as many episodes as asked
    for.
    """
    some = max(episodes // 6, 1)
    few = some // 2 + 1
    pulses: dict[str, Any] = {"noises": (0.05, 0.2), "pulse_rate": 0.02}
    rare_pulses: dict[str, Any] = {"noises": (0.0, 0.1), "pulse_rate": 0.01}
    record = partial(record_circuit, track, steps=steps, grip=grip)
    parts = [
        record(2 * some, seed=seed),
        record(
            some, seed=seed + 200, temperature=110.0, paces=(0.95, 1.08), noises=(0.0, 0.05, 0.1)
        ),
        record(
            some, seed=seed + 400, temperature=105.0, paces=(0.9, 1.15), noises=(0.1, 0.2, 0.35)
        ),
        record(some, seed=seed + 600, paces=(0.9, 1.15), **pulses),
        record(few, seed=seed + 700, temperature=75.0, paces=(0.9, 1.1), **rare_pulses),
        record(few, seed=seed + 800, temperature=120.0, paces=(0.9, 1.1), **rare_pulses),
    ]
    return Trajectories.concatenate(parts)
