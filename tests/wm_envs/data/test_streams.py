"""No part of the library needs a terminal, or any standard stream."""

import io
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from wm_envs import record
from wm_envs.data.streams import is_terminal, warn

ROOT = Path(__file__).parents[3]


class Bare:
    """What some servers put in the place of a stream."""

    def write(self, text):
        return len(text)

    def flush(self):
        pass


class Failing(Bare):
    def isatty(self):
        raise OSError("no such device")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "none": lambda: None,
    "bare": Bare,
    "failing": Failing,
    "closed": closed,
    "number": lambda: 3,
}


@pytest.fixture(params=sorted(STREAMS))
def no_terminal(request, monkeypatch):
    stream = STREAMS[request.param]()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def test_what_is_no_terminal_is_none(no_terminal):
    assert not is_terminal(no_terminal)


@pytest.mark.parametrize("progress", [None, True, False])
def test_recording_needs_no_stream(no_terminal, progress):
    record("wm/TMaze-v0", episodes=2, seed=0, progress=progress)


@pytest.mark.parametrize(
    "change", ["sys.stderr.close()", "sys.stderr = None", "sys.stderr = object()"]
)
def test_a_missing_stream_makes_no_error_of_a_warning(change):
    program = f"import sys; from wm_envs.data.streams import warn; {change}; warn('something'); print('warned')"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert run.stdout == "warned\n"


def test_a_warning_is_one_and_names_the_caller():
    with pytest.warns(RuntimeWarning, match="something") as caught:
        warn("something")
    assert caught[0].filename == __file__


def test_a_warning_that_is_to_be_an_error_is_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            warn("something")


def test_replaced_logging_is_not_needed(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging, "lastResort", None)
    record("wm/TMaze-v0", episodes=2, seed=0)
