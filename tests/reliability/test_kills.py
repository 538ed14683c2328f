"""A trainer that is killed, at any time and at any file operation, goes on as if nothing had happened: to the bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from trainers import TRAINERS

HERE = Path(__file__).parent
SHORT = ("reinforce", "vector_ppo")  # of which `make test` kills each a few times; the other test resumes all


@pytest.fixture(scope="module")
def results(request):
    """What `kill_trainers.py` counted, by trainer."""
    is_long = request.config.getoption("--long")
    counts, names = (["20", "40"], list(TRAINERS)) if is_long else (["1", "3"], list(SHORT))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE.parents[1]}{os.pathsep}{HERE}"}
    command = [sys.executable, str(HERE / "kill_trainers.py"), *counts, *names]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", TRAINERS)
def test_a_killed_trainer_goes_on_to_the_bit(name, results, counted):
    if name not in results:
        pytest.skip("killed by --long")
    random, operations = results[name]["random"], results[name]["operations"]
    counted(
        "SIGKILL at random times, resumed to the bit", name, tried=random["kills"],
        failed=random["finished"] - random["equal"], runs=random["finished"], resumed=random["starts_that_resumed"],
    )  # fmt: skip
    counted(
        "SIGKILL at file operations, resumed to the bit", name, tried=operations["kills"],
        failed=operations["kills"] - operations["equal"],
    )  # fmt: skip
    assert random["finished"] == random["equal"] > 0
    assert operations["kills"] == operations["equal"] > 0


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_that_lost_its_newest_checkpoint_goes_on_to_the_bit(name, tmp_path, counted):
    """Without a process: what an earlier checkpoint leads to is what the run led to."""
    (tmp_path / "whole").mkdir()
    expected = TRAINERS[name](tmp_path / "whole")
    checkpoints = sorted((tmp_path / "whole").glob("step_*"))
    assert len(checkpoints) == (1 if name == "debate" else 2)
    if len(checkpoints) > 1:
        checkpoints[-1].unlink()
    assert TRAINERS[name](tmp_path / "whole") == expected
    assert [path.name for path in sorted((tmp_path / "whole").glob("step_*"))] == [path.name for path in checkpoints]
    counted("an earlier checkpoint leads to the same end", name, tried=1, failed=0)


@pytest.mark.parametrize("name", sorted(set(TRAINERS) - {"debate"}))
def test_a_damaged_newest_checkpoint_is_passed_over_aloud(name, tmp_path, counted):
    expected = TRAINERS[name](tmp_path)
    newest = max(tmp_path.glob("step_*"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 16
    newest.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="using the older checkpoint"):
        assert TRAINERS[name](tmp_path) == expected
    counted("a damaged newest checkpoint, the one before it used aloud", name, tried=1, failed=0)
