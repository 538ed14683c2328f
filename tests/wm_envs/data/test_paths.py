"""Paths of users.

`~` is expanded, stored paths are absolute, and what cannot be written is refused at once.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401
from wm_envs.data.paths import (
    absolute_options,
    absolute_path,
    expand_paths,
    user_path,
    writable_file,
    writable_folder,
)
from wm_envs.debate.observations import Observations
from wm_envs.driving.track import oval
from wm_envs.errors import OptionError
from wm_envs.resolutions.records import read_trajectories


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with another folder as the current one."""
    (tmp_path / "home").mkdir()
    (tmp_path / "current").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "current")
    return tmp_path / "home"


def write_track(path):
    circuit = oval()
    rows = [
        f"{x:.3f},{y:.3f},6.0,6.0" for x, y in zip(circuit.x[::20], circuit.y[::20], strict=True)
    ]
    path.write_text(
        "# x_m,y_m,w_tr_right_m,w_tr_left_m\n" + "\n".join(rows) + "\n", encoding="utf-8"
    )


def test_a_path_is_expanded(home):
    assert user_path("~/runs") == user_path(Path("~/runs")) == home / "runs"
    assert user_path("runs/~") == Path("runs/~")
    assert absolute_path("runs") == home.parent / "current" / "runs"


@pytest.mark.parametrize("path", [None, 3, "~nobody-of-this-name/runs"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(OptionError, match="path"):
        user_path(path)


def test_a_folder_is_made_and_proved_to_be_writable(home):
    assert writable_folder("~/a/b") == home / "a" / "b"
    assert list((home / "a" / "b").iterdir()) == []
    assert writable_file("~/c/file.json") == home / "c" / "file.json"
    assert list((home / "c").iterdir()) == []


@pytest.mark.parametrize("check", [writable_folder, writable_file])
def test_what_cannot_be_written_is_refused(home, check):
    (home / "file").touch()
    with pytest.raises(OptionError, match=r"file.*give a folder that can be written"):
        check(home / "file" / "below")
    with pytest.raises(OptionError, match="is a folder"):
        writable_file(home)


@dataclass(frozen=True)
class Settings:
    output_dir: Path = Path("~/runs")
    inputs: tuple[Path, ...] = (Path("~/a"), Path("b"))
    model: Path | None = None
    name: str = "~"


def test_the_settings_of_a_program_are_expanded(home):
    assert expand_paths(Settings()) == Settings(home / "runs", (home / "a", Path("b")))


def test_options_that_are_paths_become_absolute_and_names_stay(home):
    (home / "circuit.csv").touch()
    for name in ("oval", "here.csv", "folder"):
        Path(name).touch()
    options = {
        "track": "~/circuit.csv",
        "other": "here.csv",
        "path": Path("here.csv"),
        "source": "folder",
    }
    assert absolute_options(options) == {
        "track": str(home / "circuit.csv"),
        "other": str(Path.cwd() / "here.csv"),
        "path": str(Path.cwd() / "here.csv"),
        "source": str(Path.cwd() / "folder"),
    }
    names = {
        "track": "oval",
        "other": "absent.csv",
        "number": 3,
        "text": "a\0b.c",
        "long": "x." * 9999,
    }
    assert absolute_options(names) == names


@pytest.mark.parametrize(
    "track", ["circuit.csv", "./circuit.csv", "~/circuit.csv", Path("circuit.csv")]
)
@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_a_spec_makes_the_same_circuit_from_another_folder(home, monkeypatch, make, track):
    write_track(Path("circuit.csv"))
    write_track(home / "circuit.csv")
    env = make("wm/Driving-v0", track=track)
    assert Path(env.spec.kwargs["track"]).is_absolute()
    monkeypatch.chdir(home.parent)
    again = make(env.spec)
    np.testing.assert_array_equal(again.reset(seed=0)[0], env.reset(seed=0)[0])
    env.close()
    again.close()


def test_names_of_circuits_stay_as_they_are():
    assert gym.make("wm/Driving-v0", track="oval").spec.kwargs["track"] == "oval"


@pytest.mark.parametrize("path", ["", "a\0b", b"bytes", None, 3, "~nobody-of-this-name/x"])
def test_what_is_no_path_is_refused_by_name(path):
    with pytest.raises(OptionError, match="is no path that can be used"):
        user_path(path)


def test_readers_and_writers_expand(home):
    assert read_error("~/absent.json").endswith("no such file")
    assert str(home) in read_error("~/absent.json")
    observations = Observations([], "nobody")
    observations.save("~/observations.json")
    assert Observations.load("~/observations.json").to_plain() == observations.to_plain()
    assert os.listdir(home) == ["observations.json"]


def read_error(path):
    with pytest.raises(Exception, match="no such file") as caught:
        read_trajectories(path)
    return str(caught.value)
