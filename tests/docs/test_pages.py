"""The generated pages say what the classes say, and every Python block of the written pages runs."""

import importlib.util
import re
from pathlib import Path

import imageio.v3 as imageio
import pytest

from wm_envs.registration import TABLE

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
]


def load_generator():
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_blocks():
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block):
    exec(compile(block, "block", "exec"), {})


def test_the_blocks_of_the_readme_run_in_their_order():
    blocks = re.findall(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    exec(compile("\n".join(blocks), "README.md", "exec"), {})


def test_each_id_has_a_page_a_picture_and_a_row(tmp_path):
    load_generator().main(tmp_path)
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
