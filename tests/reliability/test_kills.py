"""A trainer that is killed, at any time and at any file operation, goes on as if nothing had happened: to the bit."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.trainers import TRAINERS

ROOT = Path(__file__).parents[2]
SHORT = ("vector_ppo", "debate")  # which `make test` kills a few times; the next test resumes all
ALL = "10000"  # file operations


def killed(name, num_random, num_operations):
    """What `kill_trainers.py` counted."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [
        sys.executable,
        "-m",
        "tests.reliability.kill_trainers",
        num_random,
        num_operations,
        name,
    ]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])[name]


@pytest.mark.parametrize("name", TRAINERS)
def test_a_killed_trainer_goes_on_to_the_bit(name, is_long, counted):
    if not is_long and name not in SHORT:
        pytest.skip("killed by --long")
    results = killed(name, *(("20", ALL) if is_long else ("4", "3")))
    random, operations = results["random"], results["operations"]
    counted(
        "SIGKILL at random times, resumed to the bit", name, tried=random["kills"],
        failed=random["finished"] - random["equal"], runs=random["finished"], resumed=random["starts_that_resumed"],
        after_the_first_save=random["kills_after_the_first_save"], parts=random["parts"],
    )  # fmt: skip
    counted(
        "SIGKILL at file operations, resumed to the bit", name, tried=operations["kills"],
        failed=operations["kills"] - operations["equal"],
    )  # fmt: skip
    assert random["finished"] == random["equal"] > 0
    assert random["kills_after_the_first_save"] > 0
    assert random["starts_that_resumed"] > 0
    if is_long:
        assert min(random["parts"].values()) > 0
        assert operations["kills"] == operations["operations"]
    assert operations["kills"] == operations["equal"] > 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """`whole(name, folder)`: copy what a trainer leaves that nobody stops, and give what it says."""

    @functools.cache
    def run(name):
        left = tmp_path_factory.mktemp(name)
        return left, TRAINERS[name](left)

    def copied(name, folder):
        left, said = run(name)
        shutil.copytree(left, folder, dirs_exist_ok=True)
        return said

    return copied


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_that_lost_its_newest_checkpoint_goes_on_to_the_bit(
    name, tmp_path, whole, counted
):
    """Without a process: what an earlier checkpoint leads to is what the run led to."""
    expected = whole(name, tmp_path)
    checkpoints = sorted(tmp_path.glob("step_*"))
    assert len(checkpoints) == 2
    checkpoints[-1].unlink()
    assert TRAINERS[name](tmp_path) == expected
    assert sorted(tmp_path.glob("step_*")) == checkpoints
    counted("an earlier checkpoint leads to the same end", name, tried=1, failed=0)


@pytest.mark.parametrize("name", sorted(set(TRAINERS) - {"debate"}))
def test_a_damaged_newest_checkpoint_is_passed_over_aloud(name, tmp_path, whole, counted):
    expected = whole(name, tmp_path)
    newest = max(tmp_path.glob("step_*"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 16
    newest.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="using the older checkpoint"):
        assert TRAINERS[name](tmp_path) == expected
    counted("a damaged newest checkpoint, the one before it used aloud", name, tried=1, failed=0)
