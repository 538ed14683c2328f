"""The page of examples/viewer.py, for numbers and for tokens."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "viewer.py"


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "wm/PermPuzzle-v0"])
def test_viewer_writes_a_page(env_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ["--episodes", "10", "--num-updates", "20", "--width", "16", "--horizon", "15"]
    arguments = ["--env-id", env_id, *sizes, "--output-dir", str(tmp_path), "--quiet"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["kilobytes"] < 2000
    page = (tmp_path / "look.html").read_text(encoding="utf-8")
    assert env_id in page
    assert "certified" in page
