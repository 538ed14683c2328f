"""Kills trainers and lets them go on: `python kill_trainers.py NUM_RANDOM NUM_OPERATIONS TRAINER...` prints counts.

The parent imports everything once and forks a child for each start. A child is killed with SIGKILL, either after a
random time or at one of the file operations of its saves; another is started in the same folder, and what the last one
says it has learned must be what an uninterrupted run says.
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
from pathlib import Path

import numpy as np
import torch
from trainers import TRAINERS

torch.set_num_threads(1)
warnings.simplefilter("ignore")


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
def counted_operations(folder, kill_at=None):
    """Counts writes, flushes, renames and removals of checkpoints, and kills this process at one of them."""
    count = [0]

    def operation():
        count[0] += 1
        if count[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    real = {name: getattr(os, name) for name in ("fsync", "replace", "unlink")}
    real_open = builtins.open

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

    for name in real:
        setattr(os, name, before(name))
    builtins.open = opened
    try:
        yield count
    finally:
        builtins.open = real_open
        for name, function in real.items():
            setattr(os, name, function)


def start(train, folder, kill_after=None, kill_at=None):
    """One process; gives what it says it has learned, or None where it was killed."""
    answer = folder / "answer"
    child = os.fork()
    if child == 0:
        try:
            with counted_operations(folder, kill_at):
                told = train(folder)
            answer.write_text(told)
            os._exit(0)
        except BaseException as error:
            print(f"{train.__name__}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return None
    assert status == 0, f"{train.__name__} failed in {folder}"
    return answer.read_text()


def empty_folder(root):
    return Path(tempfile.mkdtemp(dir=root))


def kill_at_random(train, expected, seconds, num_kills, root, random):
    counts = {"kills": 0, "finished": 0, "equal": 0, "starts_that_resumed": 0}
    while counts["kills"] < num_kills:
        folder, told = empty_folder(root), None
        while told is None:
            counts["starts_that_resumed"] += any(folder.glob("step_*"))
            is_last = counts["kills"] >= num_kills
            told = start(train, folder, None if is_last else float(random.uniform(0, seconds)))
            counts["kills"] += told is None
        counts["finished"] += 1
        counts["equal"] += told == expected
    return counts


def kill_at_operations(train, expected, num_operations, most, root):
    counts = {"operations": num_operations, "kills": 0, "equal": 0}
    chosen = np.unique(np.linspace(1, num_operations, min(most, num_operations)).astype(int))
    for operation in chosen.tolist():
        folder = empty_folder(root)
        assert start(train, folder, kill_at=operation) is None, f"operation {operation} was never reached"
        counts["kills"] += 1
        counts["equal"] += start(train, folder) == expected
        assert not list(folder.glob(".*.tmp")), "a temporary file was left"
    return counts


def main():
    num_random, num_operations, *names = sys.argv[1:]
    random, results = np.random.default_rng(0), {}
    for name in names:
        train = TRAINERS[name]
        with tempfile.TemporaryDirectory() as root:
            train(empty_folder(root))  # loads what is compiled, so that the children need not
            folder = empty_folder(root)
            began = time.perf_counter()
            with counted_operations(folder) as count:
                expected = train(folder)
            seconds = time.perf_counter() - began
            results[name] = {
                "random": kill_at_random(train, expected, 0.9 * seconds, int(num_random), root, random),
                "operations": kill_at_operations(train, expected, count[0], int(num_operations), root),
                "seconds": round(seconds, 3),
            }
            print(name, json.dumps(results[name]), file=sys.stderr, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
