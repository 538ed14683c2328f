"""Export in one process, plan without torch in another."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="the examples take ONNX Runtime")
pytest.importorskip("onnxscript", reason="exporting takes onnxscript")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_export_onnx_and_run_onnx(tmp_path: Path) -> None:
    sizes = ("--episodes", "3", "--num-updates", "20", "--width", "8", "--quiet")
    run(str(EXAMPLES / "export_onnx.py"), *sizes, "--output-dir", str(tmp_path))
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["largest_difference"] < 1e-4
    script = str(EXAMPLES / "run_onnx.py")
    arguments = [script, "--model", str(tmp_path / "model.onnx"), "--episodes", "1"]
    arguments += ["--max-steps", "10", "--num-samples", "16"]
    code = (
        "import runpy, sys; sys.modules['torch'] = None; "
        f"sys.argv = {arguments!r}; runpy.run_path({script!r}, run_name='__main__')"
    )
    assert set(ast.literal_eval(run("-c", code).splitlines()[-1])) == {
        "mean_return",
        "random_return",
    }
