import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "support" / "golden_trajectories.py"
GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


def test_trajectories_are_those_of_the_registered_versions():
    assert runpy.run_path(str(SCRIPT))["hashes"]() == GOLDEN


def test_trajectories_are_bitwise_equal_without_the_compiler():
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(Path.cwd())}
    run = subprocess.run(
        [sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == GOLDEN


def test_no_two_trajectories_are_the_same():
    assert len(set(GOLDEN.values())) == len(GOLDEN)
