import json
import math

import pytest

from wm_agents.errors import ConfigError
from wm_agents.training.summary import make_output_directory, write_json, write_summary


def test_a_summary_is_json_with_null_for_what_is_not_finite(tmp_path):
    path = write_summary(
        tmp_path, {"a": 0.5, "b": math.inf, "c": math.nan, "d": 3, "e": {"f": [math.nan, "g"]}}
    )
    expected = {"a": 0.5, "b": None, "c": None, "d": 3, "e": {"f": [None, "g"]}}
    assert json.loads(path.read_text()) == expected


def test_a_summary_is_printed_as_it_is_written(tmp_path, capsys):
    path = write_summary(tmp_path, {"a": math.nan, "b": [1]}, is_printed=True)
    assert (
        capsys.readouterr().out == path.read_text() == '{\n  "a": null,\n  "b": [\n    1\n  ]\n}\n'
    )


def test_a_file_of_json_is_whole_or_as_it_was(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": 2, "b": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


def test_the_folder_is_made_with_its_parents(tmp_path):
    folder = make_output_directory(tmp_path / "new" / "folder")
    assert folder.is_dir()
    # Work that fails after it leaves no empty result behind.
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_made_is_one_error_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another output folder"):
        make_output_directory(tmp_path / "file" / "folder")


def test_where_results_lie_is_said_beside_them(tmp_path, capsys):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "returns.png").touch()
    write_summary(tmp_path, {"a": 1}, is_printed=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": 1}
    assert err == f"Written into {tmp_path}: returns.png, model.safetensors, summary.json\n"
