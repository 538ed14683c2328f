"""The page that says where things are: each file is there and holds what is asked for."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (Where|What|Who|How|Which)([^|]*) \| ([^|]*) \|$", PAGE, re.MULTILINE)

# Words of a question -> what its file defines.
WITNESSES = {
    "ball bounce": "def bounce",
    "Dict observation": "class ObservationCodec",
    "windows cut": "def windows",
    "atomically": "def replacing",
    "compile cache": "class _SafeCache",
    "typed errors": "class SpaceError",
    "ids registered": "TABLE = ",
    "steps a single environment": "class KernelVectorEnv",
    "killed fit": "class Trainer",
    "know what a file is": "def load",
    "promise each other": "class WorldModel",
    "conformal": "split conformal prediction",
    "imagined": "class ImaginedVectorEnv",
    "Stable-Baselines3": "class SB3VecEnv",
    "`summary.json`": "def write_summary",
    "maximum-entropy": "class MaxEntIRL",
}


def files_of(cell):
    return re.findall(r"`([\w/]+\.(?:py|md|js))`", cell)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1].strip()[:40])
def test_the_files_of_a_row_exist(row):
    paths = re.findall(r"`([\w/]+(?:/|\.py|\.md|\.js))`", row[2])
    assert paths or "<domain>" in row[2]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(("words", "witness"), WITNESSES.items())
def test_a_question_is_answered_in_its_first_file(words, witness):
    [cell] = [cell for _, question, cell in ROWS if words in question]
    text = (ROOT / files_of(cell)[0]).read_text(encoding="utf-8")
    assert witness in text
