"""Kills trainers and lets them go on: `python kill_trainers.py NUM_RANDOM NUM_OPERATIONS TRAINER...` prints counts.

The parent imports everything once and forks a child for each start. A child is killed with SIGKILL,
either after a random time or at one of the file operations of its saves; another is started in the
same folder, and what the last one says it has learned must be what an uninterrupted run says.

Random times are spread over the whole run: every fourth anywhere, the others in the part that was
hit least: before the first save, within a save, or after one. A child tells of each save by a pipe,
so that a busy machine moves few kills to another part.
"""

import builtins
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.reliability.trainers import TRAINERS
from wm_agents.training.checkpoints import CheckpointManager

torch.set_num_threads(1)
warnings.simplefilter("ignore")
BEGIN, END = b"(", b")"  # of a save
PARTS = ("after a save", "within a save", "before the first save")


@dataclass(frozen=True)
class Timeline:
    """Of an uninterrupted run, in seconds.

    When each save began and ended, how long all took, its file operations.
    """

    begins: list[float]
    ends: list[float]
    total: float
    num_operations: int


@dataclass(frozen=True)
class Moment:
    """So many seconds after so many marks of the pipe."""

    num_marks: int
    delay: float


class HalfWritten:
    """A file whose first write stops in the middle."""

    def __init__(self, file, operation):
        self.file, self.operation = file, operation

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        self.operation()
        return self.file.write(data[len(data) // 2 :])


@contextlib.contextmanager
def watched_saves(folder, kill_at=None, mark=lambda sign: None):
    """Counts the file operations of checkpoints, kills this process at one of them, and marks each save."""
    count = [0]

    def operation():
        count[0] += 1
        if count[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    real = {name: getattr(os, name) for name in ("fsync", "replace", "unlink")}
    real_open, real_save = builtins.open, CheckpointManager.save

    def before(name):
        def call(*arguments, **named):
            operation()
            return real[name](*arguments, **named)

        return call

    def opened(path, mode="r", *arguments, **named):
        is_ours = "w" in mode and str(path).startswith(str(folder))
        if is_ours:
            operation()
        file = real_open(path, mode, *arguments, **named)
        return HalfWritten(file, operation) if is_ours else file

    def save(*arguments, **named):
        mark(BEGIN)
        try:
            return real_save(*arguments, **named)
        finally:
            mark(END)

    for name in real:
        setattr(os, name, before(name))
    builtins.open, CheckpointManager.save = opened, save
    try:
        yield count
    finally:
        builtins.open, CheckpointManager.save = real_open, real_save
        for name, function in real.items():
            setattr(os, name, function)


def uninterrupted(train, folder):
    """What a run says that is left alone, and its timeline."""
    times, began = {BEGIN: [], END: []}, time.perf_counter()
    with watched_saves(
        folder, mark=lambda sign: times[sign].append(time.perf_counter() - began)
    ) as count:
        told = train(folder)
    return told, Timeline(times[BEGIN], times[END], time.perf_counter() - began, count[0])


def start(train, folder, moment=None, kill_at=None):
    """One process; gives what it says it has learned, None where it was killed, and its marks."""
    answer, (reader, writer) = folder / "answer", os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with watched_saves(folder, kill_at, lambda sign: os.write(writer, sign)):
                told = train(folder)
            answer.write_text(told)
            os._exit(0)
        except BaseException as error:
            print(f"{train.__name__}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(writer)
    marks = b""
    while moment is not None and len(marks) < moment.num_marks and (mark := os.read(reader, 1)):
        marks += mark
    if moment is not None and len(marks) == moment.num_marks:
        time.sleep(moment.delay)
        os.kill(child, signal.SIGKILL)
    while more := os.read(reader, 100):
        marks += more
    os.close(reader)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return None, marks
    assert status == 0, f"{train.__name__} failed in {folder}"
    return answer.read_text(), marks


def moment_in(part, timeline, num_saved, random):
    """A random moment in this part of a run that has done so many of its saves.

    None where the part is over.
    """
    begins, ends = timeline.begins, timeline.ends
    num_left = len(begins) - num_saved
    if part == "anywhere" or (part == "after a save" and num_left == 0):
        return Moment(0, random.uniform(0, timeline.total))
    if part == "before the first save":
        return None if num_saved else Moment(0, random.uniform(0, begins[0]))
    if num_left == 0:
        return None
    number = int(random.integers(num_left))
    save = num_saved + number
    if part == "within a save":
        return Moment(2 * number + 1, random.uniform(0, ends[save] - begins[save]))
    following = [*begins, timeline.total][save + 1]
    return Moment(2 * number + 2, random.uniform(0, following - ends[save]))


def part_of(marks, has_saved):
    if marks.endswith(BEGIN):
        return "within a save"
    return "after a save" if marks or has_saved else "before the first save"


def empty_folder(root):
    return Path(tempfile.mkdtemp(dir=root))


def kill_at_random(train, expected, timeline, num_kills, root, random):
    """Kill a run again and again until it comes to its end; then the next run."""
    counts = {
        "kills": 0,
        "finished": 0,
        "equal": 0,
        "starts_that_resumed": 0,
        "kills_after_the_first_save": 0,
    }
    parts = dict.fromkeys(PARTS, 0)
    while counts["kills"] < num_kills:
        folder, told, num_saved = empty_folder(root), None, 0
        while told is None:
            has_saved = any(folder.glob("step_*"))
            counts["starts_that_resumed"] += has_saved
            is_last = counts["kills"] >= num_kills
            part = "anywhere" if counts["kills"] % 4 == 0 else min(parts, key=parts.__getitem__)
            told, marks = start(
                train, folder, None if is_last else moment_in(part, timeline, num_saved, random)
            )
            num_saved += marks.count(END)
            if told is None:
                counts["kills"] += 1
                counts["kills_after_the_first_save"] += has_saved or END in marks
                parts[part_of(marks, has_saved)] += 1
        counts["finished"] += 1
        counts["equal"] += told == expected
    return {**counts, "parts": parts}


def kill_at_operations(train, expected, num_operations, most, root):
    counts = {"operations": num_operations, "kills": 0, "equal": 0}
    chosen = np.unique(np.linspace(1, num_operations, min(most, num_operations)).astype(int))
    for operation in chosen.tolist():
        folder = empty_folder(root)
        assert start(train, folder, kill_at=operation)[0] is None, (
            f"operation {operation} was never reached"
        )
        counts["kills"] += 1
        counts["equal"] += start(train, folder)[0] == expected
        assert not list(folder.glob(".*.tmp")), "a temporary file was left"
    return counts


def main():
    num_random, num_operations, *names = sys.argv[1:]
    random, results = np.random.default_rng(0), {}
    for name in names:
        train = TRAINERS[name]
        with tempfile.TemporaryDirectory() as root:
            train(empty_folder(root))  # loads what is compiled, so that the children need not
            expected, timeline = uninterrupted(train, empty_folder(root))
            results[name] = {
                "random": kill_at_random(train, expected, timeline, int(num_random), root, random),
                "operations": kill_at_operations(
                    train, expected, timeline.num_operations, int(num_operations), root
                ),
                "seconds": round(timeline.total, 3),
            }
            print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
