import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from wm_agents.training.progress import progress
from wm_envs.data import progress as progress_module
from wm_envs.data.errors import OptionError

ROOT = Path(__file__).parents[3]
SCRIPT = """
from wm_agents.training.progress import progress
with progress(10, "[training]", num_done=2) as bar:
    for _ in range(4):
        bar.advance(2, loss=0.125)
    bar.advance(0)
print("done", bar.num_done)
"""


def test_it_is_silent_away_from_a_terminal(capfd):
    with progress(3, "training") as bar:
        bar.advance(2, loss=0.5)
    assert bar.num_done == 2
    assert capfd.readouterr() == ("", "")


def test_it_can_be_forced(capfd):
    with progress(4, "training", enabled=True) as bar:
        bar.advance(4, loss=0.125)
    shown = capfd.readouterr().err
    assert shown == "training 4/4 0 s  loss 0.125\n"


def test_long_work_says_now_and_then_how_far_it_is_away_from_a_terminal(capfd, monkeypatch):
    monkeypatch.setattr(progress_module, "SECONDS_PER_LOG_LINE", -1.0)
    with progress(4, "training") as bar:
        bar.advance(3, loss=0.125)
        bar.advance(1)
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["training 3/4 0 s  loss 0.125", *2 * ["training 4/4 0 s  loss 0.125"]]


def test_a_pipe_that_nobody_reads_stops_no_work(monkeypatch):
    class Broken:
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    with progress(1, "training", enabled=True) as bar:
        bar.advance()
    assert bar.num_done == 1


def test_it_shows_on_a_terminal_and_keeps_standard_output_clean():
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
    )
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert result.stdout == "done 10\n"
    assert "[training]" in shown
    assert "10/10" in shown
    assert "loss 0.125" in shown


def test_an_error_passes_through():
    with pytest.raises(ZeroDivisionError), progress(3, "training", enabled=True):
        _ = 1 / 0


def test_a_negative_total_is_named():
    with pytest.raises(OptionError, match="total=-1"), progress(-1, "training"):
        pass


def test_a_notebook_gets_one_line_without_escape_codes(capfd, monkeypatch):
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with progress(2000, "training") as bar:
        bar.advance(2000, loss=0.125)
    shown = capfd.readouterr().err
    assert "\x1b" not in shown
    assert shown.count("\n") == 1
    assert shown.split("\r")[-1].rstrip() == "training 2,000/2,000 0 s  loss 0.125"
