"""Public data arrive whole or not at all, whatever the server does."""

import hashlib
from pathlib import Path

import pytest

from tests.support.files_server import serving_files
from wm_envs.data import fetching
from wm_envs.data.errors import DownloadError, OptionError

REAL = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def original(tmp_path, monkeypatch):
    """A data set of two files, and the folder of its server."""
    folder = tmp_path / "original"
    folder.mkdir()
    files = []
    for name in ("a.csv", "b.csv"):
        content = f"{name} {'x' * 300}".encode()
        (folder / name).write_bytes(content)
        files.append(fetching._File(name, hashlib.sha256(content).hexdigest()))
    steps = ("copy {files} to {folder}",)
    dataset = fetching._Dataset("two files", "public domain", steps, tuple(files))
    monkeypatch.setitem(fetching.DATASETS, "circuits", dataset)
    return folder


def test_what_is_missing_is_fetched_once(original, tmp_path):
    target = tmp_path / "target"
    (target / "a.csv").parent.mkdir()
    (target / "a.csv").write_bytes(b"half of a fi")
    with serving_files(original) as (address, asked):
        assert fetching.missing_files("circuits", target) == ["a.csv", "b.csv"]
        assert fetching.fetch("circuits", address, target) == target
        assert fetching.missing_files("circuits", target) == []
        fetching.fetch("circuits", address, target)
    assert asked == ["a.csv", "b.csv"]
    for name in asked:
        assert (target / name).read_bytes() == (original / name).read_bytes()


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ("missing", "answers 404"),
        ("other", "SHA-256 is"),
        ("short", "cut off after 153 of 306 bytes"),
        ("silent", "cannot fetch"),
        ("trickle", "too slow"),
    ],
)
def test_a_server_that_misbehaves_is_one_error_and_leaves_no_file(manner, said, original, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "a.csv").write_bytes(b"as it was")
    with (
        serving_files(original, manner) as (address, _),
        pytest.raises(DownloadError, match=said) as raised,
    ):
        fetching.fetch("circuits", address, tmp_path / "target", timeout=0.1)
    assert f"{address}/a.csv" in str(raised.value)
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["a.csv"]
    assert (tmp_path / "target" / "a.csv").read_bytes() == b"as it was"


def test_without_a_network_the_error_says_so(original, tmp_path):
    with serving_files(original) as (address, _):
        pass  # nobody listens there any more
    with pytest.raises(DownloadError, match="get the data by hand"):
        fetching.fetch("circuits", address, tmp_path, timeout=1)


def test_a_source_that_is_none_is_refused_before_a_folder_is_made(original, tmp_path):
    for source in ("public", "ftp://example.org", "somewhere"):
        with pytest.raises(OptionError, match="source="):
            fetching.fetch("circuits", source, tmp_path / "none")
    with pytest.raises(OptionError, match="no data set 'roads'"):
        fetching.fetch("roads", "public", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_instructions_name_files_and_folder(original, tmp_path):
    assert f"copy a.csv b.csv to {tmp_path}" in fetching.instructions("circuits", tmp_path)


def test_the_data_of_the_tests_are_those_that_are_fetched():
    if not REAL.is_dir():
        pytest.skip(f"no data in {REAL}")
    assert fetching.missing_files("circuits", REAL / "racetracks") == []
    assert fetching.missing_files("votes", REAL / "un") == []


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WM_DATA_DIR", str(tmp_path))
    assert fetching.data_folder("votes") == tmp_path / "votes"
