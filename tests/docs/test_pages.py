"""The generated pages say what the classes say, and every Python block of the written pages runs."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import imageio.v3 as imageio
import pytest

import wm_agents
import wm_envs
from wm_envs.registration import TABLE

DOCS = Path(__file__).parents[2] / "docs"


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


# What stands in the README, too, is run with it.
IN_README = python_blocks(DOCS.parent / "README.md")
BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(python_blocks(path))
    if block not in IN_README
]
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))


def load_generator():
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NOTEBOOKS = ("add-an-environment", "read-a-scorecard", "from-votes-to-preferences")


def code_cells(name):
    """The sources of the cells of a committed notebook that are code."""
    content = json.loads((DOCS / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    return ["".join(cell["source"]) for cell in cells]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_their_tutorials(name):
    generator = load_generator()
    assert generator.NOTEBOOKS == NOTEBOOKS
    committed = (DOCS / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert committed == generator.notebook(name), "run `python docs/generate.py`"
    targets = re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", committed)
    assert all((DOCS / "notebooks" / target).exists() for target in targets)


def test_there_are_blocks():
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what a block saves lands there
    # The budget of the first page's agent takes minutes.
    exec(compile(block.replace(".learn(10_000,", ".learn(200,"), "block", "exec"), {})


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda path: path.stem)
def test_the_blocks_of_a_tutorial_are_a_script(page, tmp_path):
    blocks = python_blocks(page)
    if page.stem in NOTEBOOKS:
        # What runs is the notebook then.
        cells = code_cells(page.stem)
        assert [cell.strip() for cell in cells] == [block.strip() for block in blocks]
        blocks = cells
    script = (
        tmp_path / f"{page.stem.replace('-', '_')}.py"
    )  # a file, since Numba caches compiled code beside one
    script.write_text("\n\n".join(blocks), encoding="utf-8")
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
    # So does a fit by default, whose number of updates the blocks do not name.
    defaults = wm_agents.FitConfig.__init__.__defaults__
    assert defaults[0] == wm_agents.FitConfig().num_updates
    monkeypatch.setattr(wm_agents.FitConfig.__init__, "__defaults__", (20, *defaults[1:]))
    exec(compile(script.replace(".learn(10_000,", ".learn(200,"), "README.md", "exec"), {})


def test_each_id_has_a_page_a_picture_and_a_row(tmp_path):
    load_generator().write_environments(tmp_path, num_frames=2)
    gallery = (tmp_path / "index.md").read_text(encoding="utf-8")
    menu = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for row in TABLE:
        name = row.id.split("/")[-1]
        page = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {row.id}\n")
        assert f"]({name}.gif)" in page
        assert f"\n## Play\n\n```console\nwm play {row.id}" in page
        # Nobody measured them; what is measured of driving is of its first version.
        assert "\n## Scores\n" in page or row.id in ("wm/PongAtari-v0", "wm/Driving-v1")
        assert "\n## Observation Space\n" in page
        assert f"[{row.id}]({name}.md)" in gallery
        assert f'<a href="{name}/"><img src="{name}.gif"' in gallery
        assert f"environments/{name}.md\n" in menu
        assert imageio.imread(tmp_path / f"{name}.gif", index=None).shape[0] == 2
    assert len(list(tmp_path.glob("*.md"))) == len(TABLE) + 1


def test_a_page_names_what_the_one_agent_reached():
    generator = load_generator()
    row = generator.read_figures("one_agent")["tasks"]["wm/LightsOut-v0"]["world_model_agent"]
    page = generator.scores("wm/LightsOut-v0")
    assert f"success rate {row['score']:.2f} | {row['real_steps']:,} real steps" in page
    assert generator.one_agent_score("wm/PongAtari-v0") == ""


def test_the_reference_holds_the_public_names_and_no_others(tmp_path):
    load_generator().write_reference(tmp_path)
    pages = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("wm_*.md"))
    entries = re.findall(r"^::: (wm_\S+)\.(\w+)$", pages, re.MULTILINE)
    assert len(set(entries)) == len(entries)
    assert {name for _, name in entries} >= {*wm_agents.__all__, *wm_envs.__all__, "rollout"}
    for module, name in entries:
        assert hasattr(import_module(module), name)
        assert not name.startswith("_")
    assert len(entries) < 250
    index = (tmp_path / "index.md").read_text(encoding="utf-8")
    assert all(f"[`{name}`](" in index for _, name in entries)
