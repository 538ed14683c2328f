"""Steps per CPU-second of our environments beside Gymnasium's CartPole, single and vector.

All of them run in turn in one process.

    python -m benchmarks.throughput

Fair by construction: actions are drawn beforehand; the contenders take turns, so that a busy moment
of the machine hits all of them; CPU time is counted, of all threads; a step is an agent step, so
the calls that only reset a row in next-step mode do not count (`row_calls` counts them, as other
tables do); the single figure is an episode loop with its resets. Beside each figure stand the
episodes that ended while it was measured and the observations that changed in 200 calls after it,
and a contender without either fails.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

import wm_envs  # noqa: F401 - registers the ids
from benchmarks.report import write_result
from wm_envs.registration import TABLE

PEER = "CartPole-v1"
HEADLINES = ("wm/SequenceNext-v0", "wm/TMaze-v0")
BATCHES = (64, 1024, 4096)
LARGEST = BATCHES[-1]
NEXT_STEP = AutoresetMode.NEXT_STEP
SAME_STEP = AutoresetMode.SAME_STEP
DISABLED = AutoresetMode.DISABLED


@dataclass
class Turn:
    """One measurement of one contender."""

    num_steps: int
    num_row_calls: int
    num_episodes: int
    cpu_seconds: float
    wall_seconds: float


@dataclass
class Contender:
    """An environment in one form.

    A single one through `gym.make`, or a batch through `gym.make_vec`.
    """

    env_id: str
    num_envs: int | None = None
    mode: AutoresetMode = NEXT_STEP
    num_threads: int = 1
    turns: list[Turn] = field(default_factory=list)
    num_changes: int = 0

    def prepare(self, seed: int) -> None:
        """Make the environment, draw the actions, and load or compile its machine code."""
        self.env: Any = (
            gym.make(self.env_id) if self.num_envs is None else self._make_batch(self.num_envs)
        )
        self.env.action_space.seed(seed)
        self.env.reset(seed=seed)
        # Drawn before, so that drawing is not measured.
        self.actions = [
            self.env.action_space.sample() for _ in range(1024 if self.num_envs is None else 32)
        ]
        self.num_calls = 64
        # Until a turn is long enough for the clock.
        while (turn := self._run()).cpu_seconds < 0.02:
            self.num_calls *= 2
        # About a tenth of a second for a turn, whatever the environment's speed.
        self.num_calls = int(self.num_calls * 0.1 / turn.cpu_seconds) + 1
        self.num_changes = self._count_changes()
        # An environment that stands still would be the fastest of all.
        assert self.num_changes > 0, f"{self} stood still"

    def take_turn(self) -> None:
        """Measure once; episodes must have ended."""
        turn = self._run()
        assert turn.num_episodes > 0, f"no episode of {self} ended"
        self.turns.append(turn)

    @property
    def name(self) -> str:
        """The contender in words."""
        if self.num_envs is None:
            return f"{self.env_id} single"
        threads = f" {self.num_threads} threads" if self.num_threads > 1 else ""
        return f"{self.env_id} x {self.num_envs} {self.mode.value}{threads}"

    @property
    def steps_per_cpu_second(self) -> float:
        """The median over the turns."""
        return statistics.median(turn.num_steps / turn.cpu_seconds for turn in self.turns)

    @property
    def row_calls_per_cpu_second(self) -> float:
        """The median over the turns, with the calls that only reset a row."""
        return statistics.median(turn.num_row_calls / turn.cpu_seconds for turn in self.turns)

    @property
    def steps_per_second(self) -> float:
        """The median over the turns, by the clock on the wall: what threads are for."""
        return statistics.median(turn.num_steps / turn.wall_seconds for turn in self.turns)

    def _make_batch(self, num_envs: int) -> VectorEnv[Any, Any, Any]:
        if self.env_id == PEER:
            return gym.make_vec(PEER, num_envs, vectorization_mode="vector_entry_point")
        options: dict[str, Any] = {"autoreset_mode": self.mode, "num_threads": self.num_threads}
        return gym.make_vec(self.env_id, num_envs, **options)

    def _run(self) -> Turn:
        loop = _single_loop if self.num_envs is None else _batch_loop
        self.env.reset()
        wall, cpu = time.perf_counter(), time.process_time()
        num_steps, num_episodes = loop(self.env, self.actions, self.num_calls)
        cpu_seconds, wall_seconds = time.process_time() - cpu, time.perf_counter() - wall
        num_row_calls = self.num_calls * (self.num_envs or 1)
        return Turn(num_steps, num_row_calls, num_episodes, cpu_seconds, wall_seconds)

    def _count_changes(self) -> int:
        """Steps of 200, times rows, whose observation differs from the one before."""
        before, _ = self.env.reset(seed=0)
        before, changes = np.array(before), 0
        for action in itertools.islice(itertools.cycle(self.actions), 200):
            observation, _, terminated, truncated, _ = self.env.step(action)
            changes += int(np.any(observation != before, axis=-1).sum())
            before = np.array(observation)
            ended = np.logical_or(terminated, truncated)
            if self.num_envs is None and ended:
                self.env.reset()
            # The other modes reset by themselves.
            elif self.mode == DISABLED and ended.any():
                self.env.reset(options={"reset_mask": ended})
        return changes


def _single_loop(env: Any, actions: list[Any], num_calls: int) -> tuple[int, int]:
    num_episodes = 0
    for action in itertools.islice(itertools.cycle(actions), num_calls):
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            num_episodes += 1
            env.reset()
    return num_calls, num_episodes


def _batch_loop(env: Any, actions: list[Any], num_calls: int) -> tuple[int, int]:
    """Agent steps and ended episodes.

    In next-step mode a row that ended takes the next call to be reset.
    """
    mode = env.metadata["autoreset_mode"]
    num_ended = num_resets = 0
    for action in itertools.islice(itertools.cycle(actions), num_calls):
        if mode == NEXT_STEP:
            # All that ended so far are reset by this call.
            num_resets = num_ended
        _, _, terminated, truncated, _ = env.step(action)
        ended = terminated | truncated
        count = int(np.count_nonzero(ended))
        num_ended += count
        if mode == DISABLED and count:
            env.reset(options={"reset_mask": ended})
    return num_calls * env.num_envs - num_resets, num_ended


def contenders() -> Iterator[Contender]:
    """The symbolic environments in every form, and the peer in its two.

    Longer games have benchmarks of their own.
    """
    for env_id in (PEER, *(row.id for row in TABLE if ".symbolic." in row.entry_point)):
        yield Contender(env_id)
        yield from (Contender(env_id, num_envs) for num_envs in BATCHES)
        if env_id != PEER:
            yield Contender(env_id, LARGEST, SAME_STEP)
            yield Contender(env_id, LARGEST, DISABLED)
            yield Contender(env_id, LARGEST, NEXT_STEP, num_threads=2)


def measure(num_turns: int, seed: int) -> list[Contender]:
    """Let all contenders take turns."""
    everyone = list(contenders())
    for contender in everyone:
        contender.prepare(seed)
    for _ in range(num_turns):
        # In turns, so that a change of the machine's speed meets all of them.
        for contender in everyone:
            contender.take_turn()
    return everyone


def summarise(everyone: list[Contender]) -> dict[str, Any]:
    """The headline ratios and one row per contender."""
    peers = {contender.num_envs: contender for contender in everyone if contender.env_id == PEER}
    rows = [_row(contender, peers[contender.num_envs]) for contender in everyone]
    by_name = {contender.name: row for contender, row in zip(everyone, rows, strict=True)}
    headline = {}
    for env_id in HEADLINES:
        headline[f"{env_id} single, ratio to {PEER}"] = by_name[f"{env_id} single"]["ratio"]
        batch = by_name[f"{env_id} x {LARGEST} {NEXT_STEP.value}"]
        headline[f"{env_id} x {LARGEST}, ratio to CartPoleVectorEnv({LARGEST})"] = batch["ratio"]
        headline[f"{env_id} x {LARGEST}, ratio of row calls"] = batch["ratio_of_row_calls"]
    return {"headline": headline, "rows": rows}


def _row(contender: Contender, peer: Contender) -> dict[str, Any]:
    return {
        "name": contender.name,
        "steps_per_cpu_second": round(contender.steps_per_cpu_second),
        "row_calls_per_cpu_second": round(contender.row_calls_per_cpu_second),
        "steps_per_second": round(contender.steps_per_second),
        "ratio": round(contender.steps_per_cpu_second / peer.steps_per_cpu_second, 2),
        "ratio_of_row_calls": round(
            contender.row_calls_per_cpu_second / peer.row_calls_per_cpu_second, 2
        ),
        "num_steps": sum(turn.num_steps for turn in contender.turns),
        "num_episodes": sum(turn.num_episodes for turn in contender.turns),
        "observations_changed_in_200_calls": contender.num_changes,
    }


def main() -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--turns", type=int, default=7, help="measurements of each contender, about 0.1 s each"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    figures = summarise(measure(arguments.turns, arguments.seed))
    print(f"{'steps per CPU-second':>20} {'ratio':>6} {'row calls':>9} {'episodes':>10}  contender")
    for row in figures["rows"]:
        ratios = f"{row['ratio']:>6.2f} {row['ratio_of_row_calls']:>9.2f}"
        print(
            f"{row['steps_per_cpu_second']:>20,} {ratios} {row['num_episodes']:>10,}  {row['name']}"
        )
    path = write_result(
        "throughput", figures, seeds=arguments.seed, command="python -m benchmarks.throughput"
    )
    print(f"written to {path}")


if __name__ == "__main__":
    main()
