"""Record an expert with noise on several circuits: what the models of the driving examples learn from.

    python examples/record_driving.py --circuits ../shared/data/racetracks --output-dir
    runs/driving_data

Random starts, circuits mixed, the expert at different paces, coloured noise of different strength
on its actions, and pulses on single channels: most rows drive well, some slide, a few leave the
road. Writes trajectories.npz and summary.json.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

import wm_envs
from wm_agents.training.summary import make_output_directory, write_summary
from wm_envs.data.paths import expand_paths
from wm_envs.data.trajectories import Trajectories
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.expert import Expert

CIRCUITS = Path(__file__).parents[1].parent / "shared" / "data" / "racetracks"
OPTIONS = {"normalize": False, "observation": "extended"}
CORRELATION = 0.93  # of the noise from step to step: a time constant of 0.28 s


@dataclass(frozen=True)
class Config:
    """What to record."""

    circuits: Path = CIRCUITS
    """Folder of CSV files.

    Every third of them in alphabetical order, from the third on, is never recorded.
    """
    episodes: int = 60
    """Episodes per circuit."""
    steps: int = 400
    """Steps of an episode at most, 50 a second."""
    seed: int = 0
    """Seed of starts and noise."""
    output_dir: Path = Path("runs/driving_data")
    """Folder for trajectories.npz and summary.json."""


class NoisyExpert:
    """The expert with paces and coloured noise that differ from row to row.

    Args:
        expert: Knows the circuit.
        num_rows: Cars.
        seed: Draws paces and noise.
        paces: Factors on the speed profile, drawn uniformly between them.
        noises: Standard deviations of the noise of which each row gets one for each channel, twice
            as much on a pedal.
        pulse_rate: Probability per step that a pulse begins: for 0.1 to 0.6 s one channel is
            pushed, so that full brakes, both pedals at once and spins are seen.
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
        self._stds = self._generator.choice(np.asarray(noises), num_rows)[:, None] * np.array(
            [1.0, 2.0, 2.0]
        )
        if pulse_rate > 0:
            self._stds = self._generator.choice(np.asarray(noises), (num_rows, 3)) * np.array(
                [1.0, 2.0, 2.0]
            )
        self._noise: NDArray[np.float64] = np.zeros((num_rows, 3))
        self._pulse_rate = pulse_rate
        self._pulses: NDArray[np.float64] = np.zeros((num_rows, 3))
        self._remaining = np.zeros(num_rows, np.int64)

    def __call__(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Actions [B, 3] for observations [B, O] in SI units."""
        fresh = self._generator.normal(size=self._noise.shape) * np.sqrt(1 - CORRELATION**2)
        self._noise = CORRELATION * self._noise + fresh
        actions = (
            self.expert.actions_on(observations, self._paces)
            + self._stds * self._noise
            + self._next_pulses()
        )
        return np.clip(actions, [-1, 0, 0], 1).astype(np.float32)

    def _next_pulses(self) -> NDArray[np.float64]:
        """What is pushed now [B, 3]; most rows have no pulse at most times."""
        self._remaining -= 1
        self._pulses[self._remaining <= 0] = 0.0
        begins = np.flatnonzero(
            (self._remaining <= 0) & (self._generator.random(len(self._pulses)) < self._pulse_rate)
        )
        self._remaining[begins] = self._generator.integers(5, 30, len(begins))
        self._pulses[begins, self._generator.integers(0, 3, len(begins))] = self._generator.uniform(
            -1, 1, len(begins)
        )
        return self._pulses


def held_out(folder: Path) -> tuple[list[Path], list[Path]]:
    """The circuits for training and the unseen ones.

    Every third in alphabetical order, fixed before any trial.
    """
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise SystemExit(
            f"no circuits in {folder}: give a folder of x_m,y_m,w_tr_right_m,w_tr_left_m files"
        )
    unseen = files[2::3]
    return [path for path in files if path not in unseen], unseen


def record_circuit(
    track: str | Path,
    episodes: int,
    steps: int,
    seed: int,
    *,
    temperature: float = 90.0,
    **noise: Any,
) -> Trajectories:
    """Episodes of the noisy expert on one circuit, observations [S + K, 37] in SI units."""
    options = {
        **OPTIONS,
        "track": track,
        "time_limit": steps,
        "start_speed": 20.0,
        "start_temperature": temperature,
    }
    policy = NoisyExpert(Expert(DrivingEnv.rules(**options).parameters), episodes, seed, **noise)
    return wm_envs.record(
        "wm/Driving-v0",
        episodes=episodes,
        policy=policy,
        seed=seed,
        num_envs=episodes,
        env_kwargs=options,
    )


def record_widely(track: str | Path, episodes: int, steps: int, seed: int) -> Trajectories:
    """What the models learn from: careful driving, slides, and pulses, on tyres that are too cold, right and too hot.

    A planner seeks out what a model has not seen, so that each channel is disturbed on its own, as
    far as it goes.
    """
    some = max(episodes // 6, 1)
    parts = [
        record_circuit(track, 2 * some, steps, seed),
        record_circuit(
            track,
            some,
            steps,
            seed + 200,
            temperature=110.0,
            paces=(0.95, 1.08),
            noises=(0.0, 0.05, 0.1),
        ),
        record_circuit(
            track,
            some,
            steps,
            seed + 400,
            temperature=105.0,
            paces=(0.9, 1.15),
            noises=(0.1, 0.2, 0.35),
        ),
        record_circuit(
            track, some, steps, seed + 600, paces=(0.9, 1.15), noises=(0.05, 0.2), pulse_rate=0.02
        ),
        record_circuit(
            track,
            some // 2 + 1,
            steps,
            seed + 700,
            temperature=75.0,
            paces=(0.9, 1.1),
            noises=(0.0, 0.1),
            pulse_rate=0.01,
        ),
        record_circuit(
            track,
            some // 2 + 1,
            steps,
            seed + 800,
            temperature=120.0,
            paces=(0.9, 1.1),
            noises=(0.0, 0.1),
            pulse_rate=0.01,
        ),
    ]
    return Trajectories.concatenate(parts)


def main(config: Config) -> dict[str, Any]:
    """Record the training circuits; returns the summary that is written."""
    config = expand_paths(config)
    make_output_directory(config.output_dir)
    training, unseen = held_out(config.circuits)
    parts = [
        record_widely(path, config.episodes, config.steps, config.seed + 1000 * number)
        for number, path in enumerate(training)
    ]
    trajectories = Trajectories.concatenate(parts)
    trajectories.save(config.output_dir / "trajectories.npz")
    summary = {
        "steps": trajectories.num_steps,
        "episodes": trajectories.num_episodes,
        "departures": int(trajectories.terminations.sum()),
        "training_circuits": [path.stem for path in training],
        "unseen_circuits": [path.stem for path in unseen],
        "seed": config.seed,
    }
    write_summary(config.output_dir, summary)
    print(json.dumps(summary, indent=2))
    return summary


if __name__ == "__main__":
    main(tyro.cli(Config))
