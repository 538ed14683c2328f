"""The generated pages say what the classes say, and every Python block of the written pages runs."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import pytest

from wm_envs.registration import TABLE

DOCS = Path(__file__).parents[2] / "docs"


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(python_blocks(path))
]
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


def load_generator():
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_blocks():
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what a block saves lands there
    exec(compile(block, "block", "exec"), {})


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda path: path.stem)
def test_the_blocks_of_a_tutorial_are_a_script(page, tmp_path):
    script = (
        tmp_path / f"{page.stem.replace('-', '_')}.py"
    )  # a file, since Numba caches compiled code beside one
    script.write_text("\n\n".join(python_blocks(page)), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(DOCS.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_the_blocks_of_the_readme_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # they save a model
    blocks = python_blocks(DOCS.parent / "README.md")
    assert len(blocks) >= 2
    script = "\n".join(blocks)
    # The budget of the quick start takes minutes.
    assert script.count(".learn(10_000,") == 1
    exec(compile(script.replace(".learn(10_000,", ".learn(200,"), "README.md", "exec"), {})


def test_each_id_has_a_page_a_picture_and_a_row(tmp_path):
    load_generator().write_environments(tmp_path)
    table = (tmp_path / "index.md").read_text(encoding="utf-8")
    for row in TABLE:
        name = row.id.split("/")[-1]
        page = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {row.id}\n")
        assert f"]({name}.png)" in page
        assert "\n## Observation Space\n" in page
        assert f"[{row.id}]({name}.md)" in table
        assert imageio.imread(tmp_path / f"{name}.png").ndim == 3
    assert len(list(tmp_path.glob("*.md"))) == len(TABLE) + 1


def test_every_module_is_in_the_reference(tmp_path):
    load_generator().write_reference(tmp_path)
    pages = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("wm_*.md"))
    for package in ("wm_envs", "wm_agents"):
        for path in (DOCS.parent / package).rglob("*.py"):
            if not path.stem.startswith("_"):
                assert (
                    f"::: {'.'.join(path.relative_to(DOCS.parent).with_suffix('').parts)}\n"
                    in pages
                )
