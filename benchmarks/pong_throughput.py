"""Steps per CPU-second of both Pong environments beside the Arcade Learning Environment's own.

All of them run in turn in one process.

    python -m benchmarks.pong_throughput

Actions are drawn beforehand; the contenders take turns. A step is an agent step of four frames with
the 56 numbers of the observation. Each contender must have moved the ball, scored points and ended
games while it was measured, or the run fails. The batches play far enough beforehand that their
games are at different places. Two threads, of the original two processes, are compared with one by
the clock on the wall, turn by turn, which needs an idle machine: the result says how busy it was,
and how much faster two batches are that have nothing to do with each other, which is the most that
these cores give.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import wm_envs  # noqa: F401  (registers the ids)
from benchmarks.report import write_result

gym.register_envs(ale_py)

# The newest frame's, in the observation.
BALL_X = 35
MEMORY_BALL_X = 49  # in the memory of the console
LARGEST, FEW = 4096, 64


@dataclass
class Tally:
    """What happened while a contender was measured."""

    steps: int = 0
    points: float = 0.0
    games: int = 0
    ball_moves: int = 0
    cpu_seconds: list[float] = field(default_factory=list)
    wall_seconds: list[float] = field(default_factory=list)
    steps_per_turn: list[int] = field(default_factory=list)

    @property
    def steps_per_cpu_second(self) -> float:
        """The median over the turns."""
        return statistics.median(
            n / s for n, s in zip(self.steps_per_turn, self.cpu_seconds, strict=True)
        )

    @property
    def steps_per_second(self) -> float:
        """The median over the turns, by the clock on the wall."""
        return statistics.median(
            n / s for n, s in zip(self.steps_per_turn, self.wall_seconds, strict=True)
        )


class Contender:
    """An environment, single or a batch, with its actions."""

    def __init__(
        self, name: str, make: Callable[[], Any], num_calls: int, ball: int, warm_up: int = 0
    ) -> None:
        self.name, self.num_calls, self.ball = name, num_calls, ball
        self.env = make()
        self.num_envs = (
            getattr(self.env, "num_envs", None)
            if hasattr(self.env, "single_action_space")
            else None
        )
        self.env.action_space.seed(0)
        # Drawn before, so that drawing is not measured.
        self.actions = [
            self.env.action_space.sample() for _ in range(1024 if self.num_envs is None else 64)
        ]
        self.actions = [int(a) for a in self.actions] if self.num_envs is None else self.actions
        self.tally = Tally()
        self.env.reset(seed=0)
        # Compilation and the first serve are over before anything counts.
        self._play(max(warm_up, 20))
        self.tally = Tally()

    def take_turn(self) -> None:
        """Measure once, then look that the ball moves."""
        before, wall, steps = time.process_time(), time.perf_counter(), self.tally.steps
        self._play(self.num_calls)
        self.tally.wall_seconds.append(time.perf_counter() - wall)
        self.tally.cpu_seconds.append(time.process_time() - before)
        self.tally.steps_per_turn.append(self.tally.steps - steps)
        self.tally.ball_moves += self._count_ball_moves()

    def _play(self, num_calls: int) -> None:
        play = _play_one if self.num_envs is None else _play_batch
        steps, points, games = play(
            self.env, itertools.islice(itertools.cycle(self.actions), num_calls)
        )
        self.tally.steps += steps
        self.tally.points += points
        self.tally.games += games

    def _count_ball_moves(self) -> int:
        """Steps of 60, times rows, in which the ball was elsewhere than before."""
        places = []
        for action in self.actions[:60]:
            observation, _, terminated, truncated, _ = self.env.step(action)
            places.append(np.array(observation[..., self.ball], np.int64))
            if self.num_envs is None and (terminated or truncated):
                self.env.reset()
        return int(np.count_nonzero(np.diff(np.array(places), axis=0)))

    def check(self) -> None:
        """Raise AssertionError where nothing was played."""
        assert self.tally.ball_moves > 0, f"the ball of {self.name} stood still"
        assert self.tally.points > 0, f"no point was scored in {self.name}"
        assert self.tally.games > 0, f"no game of {self.name} ended"


def _play_one(env: Any, actions: Any) -> tuple[int, float, int]:
    steps, points, games = 0, 0.0, 0
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action)
        steps += 1
        points += abs(reward)
        if terminated or truncated:
            games += 1
            env.reset()
    return steps, points, games


def _play_batch(env: Any, actions: Any) -> tuple[int, float, int]:
    """A row that ended takes the next call to be reset, which is no step."""
    steps, points, games = 0, 0.0, 0
    ended: NDArray[np.bool_] = np.zeros(env.num_envs, np.bool_)
    for action in actions:
        steps += env.num_envs - int(np.count_nonzero(ended))
        _, rewards, terminated, truncated, _ = env.step(action)
        ended = terminated | truncated
        points += float(np.abs(rewards).sum())
        games += int(np.count_nonzero(ended))
    return steps, points, games


def contenders() -> dict[str, Contender]:
    """All, by a short name."""
    native, original = "wm/Pong-v0", "wm/PongAtari-v0"

    def batch(env_id: str, num_envs: int, num_threads: int) -> Callable[[], Any]:
        return lambda: gym.make_vec(
            env_id, num_envs, num_threads=num_threads, copy=env_id == original
        )

    def ale() -> Any:
        return gym.make("ALE/Pong-v5", obs_type="ram", frameskip=4, repeat_action_probability=0.0)

    return {
        "ale": Contender("ALE/Pong-v5, RAM", ale, 1200, MEMORY_BALL_X),
        "original": Contender(f"{original} single", lambda: gym.make(original), 1200, BALL_X),
        "original 1": Contender(
            f"{original} x {FEW}, 1 thread", batch(original, FEW, 1), 60, BALL_X, warm_up=700
        ),
        "original 2": Contender(
            f"{original} x {FEW}, 2 threads", batch(original, FEW, 2), 60, BALL_X, warm_up=700
        ),
        "native single": Contender(f"{native} single", lambda: gym.make(native), 100_000, BALL_X),
        "native 1": Contender(
            f"{native} x {LARGEST}", batch(native, LARGEST, 1), 600, BALL_X, warm_up=2000
        ),
        "native 2": Contender(
            f"{native} x {LARGEST}, 2 threads", batch(native, LARGEST, 2), 600, BALL_X, warm_up=2000
        ),
    }


class Neighbour:
    """A process of its own that plays the original in a batch, as long as it is wanted."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.is_wanted, self._is_over = spawn.Event(), spawn.Event()
        self._process = spawn.Process(
            target=_play_on, args=(self.is_wanted, self._is_over), daemon=True
        )
        self._process.start()

    def seconds_beside(self, contender: Contender) -> float:
        """What a turn of the contender takes while the neighbour plays; nothing is tallied."""
        self.is_wanted.set()
        # Until the neighbour has woken up.
        time.sleep(0.05)
        began = time.perf_counter()
        _play_batch(
            contender.env, itertools.islice(itertools.cycle(contender.actions), contender.num_calls)
        )
        seconds = time.perf_counter() - began
        self.is_wanted.clear()
        time.sleep(0.05)
        return seconds

    def close(self) -> None:
        """End the process."""
        self._is_over.set()
        self.is_wanted.set()
        self._process.join()


def _play_on(is_wanted: Any, is_over: Any) -> None:
    env = gym.make_vec("wm/PongAtari-v0", 1)
    env.action_space.seed(0)
    env.reset(seed=0)
    while is_wanted.wait() and not is_over.is_set():
        env.step(env.action_space.sample())


def summarise(everyone: dict[str, Contender], seconds_beside: list[float]) -> dict[str, Any]:
    """Headlines and one row per contender."""
    speed = {name: contender.tally.steps_per_cpu_second for name, contender in everyone.items()}

    def gain(name: str) -> float:
        """Of two threads, turn by turn."""
        turns = zip(
            everyone[f"{name} 1"].tally.wall_seconds,
            everyone[f"{name} 2"].tally.wall_seconds,
            strict=True,
        )
        return round(statistics.median(one / two for one, two in turns), 2)

    alone = everyone["original 1"].tally.wall_seconds
    most = statistics.median(
        2 * one / beside for one, beside in zip(alone, seconds_beside, strict=True)
    )
    headline = {
        "native batch, steps per CPU-second": round(speed["native 1"]),
        "native batch, ratio to ALE RAM": round(speed["native 1"] / speed["ale"]),
        "native single, steps per CPU-second": round(speed["native single"]),
        "original single, ratio to ALE RAM": round(speed["original"] / speed["ale"], 3),
        "original batch on one thread, ratio to ALE RAM": round(
            speed["original 1"] / speed["ale"], 3
        ),
        "original batch, two threads to one by the wall": gain("original"),
        "the same of two batches that have nothing to do with each other": round(most, 2),
        "native batch, two threads to one by the wall": gain("native"),
    }
    return {"headline": headline, "rows": [_row(contender) for contender in everyone.values()]}


def _row(contender: Contender) -> dict[str, Any]:
    tally = contender.tally
    counts = {"points": round(tally.points), "games": tally.games, "ball_moves": tally.ball_moves}
    row = {"name": contender.name, "steps_per_cpu_second": round(tally.steps_per_cpu_second)}
    if "2 threads" in contender.name:
        # The workers' time is not known while they run.
        row.pop("steps_per_cpu_second")
    return {
        **row,
        "steps_per_second": round(tally.steps_per_second),
        "steps": tally.steps,
        **counts,
    }


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=15, help="measurements of each contender")
    arguments = parser.parse_args()
    # Before anything of this run counts.
    load = round(os.getloadavg()[0], 2)
    everyone = contenders()
    neighbour, seconds_beside = Neighbour(), []
    # In turns, so that a change of the machine's speed meets all of them.
    for _ in range(arguments.turns):
        for contender in everyone.values():
            contender.take_turn()
        seconds_beside.append(neighbour.seconds_beside(everyone["original 1"]))
    neighbour.close()
    for contender in everyone.values():
        # A game that stands still is fast: each must have played.
        contender.check()
        contender.env.close()
    figures = summarise(everyone, seconds_beside)
    figures["headline"]["processes waiting for a core before the run"] = load
    for name, value in [
        *figures["headline"].items(),
        *((row.pop("name"), row) for row in map(dict, figures["rows"])),
    ]:
        print(f"{name}: {value}")
    path = write_result(
        "pong_throughput", figures, seeds=0, command="python -m benchmarks.pong_throughput"
    )
    print(f"written to {path}")


if __name__ == "__main__":
    main()
