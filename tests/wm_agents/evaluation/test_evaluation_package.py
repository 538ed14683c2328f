"""The package's front door: main names at hand, torch only when it is needed."""

import subprocess
import sys

import pytest

import wm_agents.evaluation


def test_every_public_name_is_there() -> None:
    for name in wm_agents.evaluation.__all__:
        assert callable(getattr(wm_agents.evaluation, name)), name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = wm_agents.evaluation.no_such_name


def test_statistics_load_no_torch() -> None:
    code = "import sys, wm_agents.evaluation.statistics; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
