import json
import math

import pytest

from wm_agents.errors import ConfigError
from wm_agents.training.summary import make_output_directory, write_summary


def test_a_summary_is_json_with_null_for_what_is_not_finite(tmp_path):
    path = write_summary(
        tmp_path, {"a": 0.5, "b": math.inf, "c": math.nan, "d": 3, "e": {"f": [math.nan, "g"]}}
    )
    expected = {"a": 0.5, "b": None, "c": None, "d": 3, "e": {"f": [None, "g"]}}
    assert json.loads(path.read_text()) == expected


def test_the_folder_is_made_with_its_parents(tmp_path):
    folder = make_output_directory(tmp_path / "new" / "folder")
    assert folder.is_dir()


def test_a_folder_that_cannot_be_made_is_one_error_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another output folder"):
        make_output_directory(tmp_path / "file" / "folder")
