"""Fixed trajectories have the stored hashes; uncompiled ones in tests/reliability/test_parity.py."""

import json
import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "support" / "golden_trajectories.py"
GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))


def test_trajectories_are_those_of_the_registered_versions():
    assert runpy.run_path(str(SCRIPT))["hashes"]() == GOLDEN


def test_no_two_trajectories_are_the_same():
    # The versions of the driving id differ in their experts alone, which these do not ask.
    versions = {GOLDEN[f"wm/Driving-v{version} {{}}"] for version in (0, 1)}
    assert len(versions) == 1
    assert len(set(GOLDEN.values())) == len(GOLDEN) - 1
