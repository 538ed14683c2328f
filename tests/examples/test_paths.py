"""Every example takes `~` in its paths, whatever the shell has done to them."""

import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SETTING = re.compile(r"\n    \w+: Path\b")
WITH_PATHS = [
    path for path in sorted(EXAMPLES.glob("*.py")) if SETTING.search(path.read_text("utf-8"))
]


@pytest.mark.parametrize("path", WITH_PATHS, ids=lambda path: path.stem)
def test_the_paths_of_an_example_are_expanded_before_anything_else(path):
    main = path.read_text("utf-8").split("\ndef main(")[1]
    statements = re.sub(r'^[^\n]*\n    """.*?"""\n', "", main, count=1, flags=re.DOTALL)
    assert statements.startswith("    config = wma.expand_paths(config)\n")
