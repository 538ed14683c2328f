"""Files are written whole or not at all."""

import pytest

from wm_envs.debate.observations import Observation, Observations
from wm_envs.resolutions.records import write_trajectories


def test_an_error_in_the_middle_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "trajectories.jsonl"
    path.write_text("earlier")

    def torn():
        raise OSError(28, "No space left on device")
        yield

    with pytest.raises(OSError, match="No space"):
        write_trajectories(torn(), path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "earlier"


def test_a_whole_file_takes_the_place_of_an_earlier_one(tmp_path):
    path = tmp_path / "observations.json"
    for text in ("first", "second"):
        Observations([Observation.from_text("a", text)]).save(path)
    assert Observations.load(path).texts == ["second"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
