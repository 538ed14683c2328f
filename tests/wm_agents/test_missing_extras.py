"""Without an extra, one sentence says which one brings what is missing."""

import subprocess
import sys

import pytest

# A finder before all others that denies a package, as if it were not installed.
DENY = """
import importlib.abc, sys
class Deny(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Deny())
{code}
"""

CASES = [
    (
        "matplotlib",
        "from wm_agents.evaluation.plots import plot_learning_curves as p; p('x', {'a': [[1]]}, "
        "[1], '')",
        "plots",
    ),
    (
        "matplotlib",
        "import sys, runpy; sys.argv = ['x', '--output-dir', {folder!r}]; "
        "runpy.run_path('examples/ablation.py', run_name='__main__')",
        "plots",
    ),
    ("minari", "from wm_envs.data.minari import load_minari; load_minari('x')", "data"),
    (
        "pygame",
        "import gymnasium as gym, wm_envs; gym.make('wm/TMaze-v0', render_mode='human').reset()",
        "window",
    ),
    ("ale_py", "import gymnasium as gym, wm_envs; gym.make('wm/PongAtari-v0')", "atari"),
    ("pettingzoo", "import wm_envs.debate; wm_envs.debate.parallel_env()", "pettingzoo"),
    (
        "ray",
        "from wm_envs import record; record('wm/TMaze-v0', episodes=1, seed=0, backend='ray')",
        "ray",
    ),
    ("torch", "import wm_agents", "agents"),
]


@pytest.mark.parametrize(("package", "code", "extra"), CASES, ids=[case[0] for case in CASES])
def test_the_error_names_the_extra(package, code, extra, tmp_path):
    folder = tmp_path / "out"
    script = DENY.format(package=package, code=code.replace("{folder!r}", repr(str(folder))))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert f"wm-suite[{extra}]" in last
    assert "Error" in last.split(":")[0]
    assert not folder.exists()  # nothing was begun
