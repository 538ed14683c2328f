"""Where the fifteen real circuits lie, beside the repository."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "racetracks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.csv"))
needs_circuits = pytest.mark.skipif(not NAMES, reason=f"the real circuits are not in {FOLDER}")


def circuit(name):
    return FOLDER / f"{name}.csv"
