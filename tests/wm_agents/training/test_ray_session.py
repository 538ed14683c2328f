"""Sessions on a stand-in for Ray; tests/ecosystem has the real one."""

import contextlib
import sys
from types import SimpleNamespace

import pytest

from wm_agents.training.ray_session import ray_session


class StandIn:
    """Counts what a session does to Ray."""

    def __init__(self, is_running):
        self.is_running = is_running
        self.calls = []

    def is_initialized(self):
        return self.is_running

    def init(self, **options):
        self.calls.append(("init", options.get("address"), options.get("num_cpus")))

    def shutdown(self):
        self.calls.append("shutdown")

    def module(self):
        return SimpleNamespace(
            is_initialized=self.is_initialized, init=self.init, shutdown=self.shutdown
        )


@pytest.mark.parametrize(
    ("is_running", "address", "calls"),
    [
        (False, None, [("init", None, 3), "shutdown"]),
        (False, "auto", [("init", "auto", None), "shutdown"]),
        (True, None, []),
        (True, "auto", []),
    ],
)
def test_only_a_session_that_was_started_here_is_ended(monkeypatch, is_running, address, calls):
    ray = StandIn(is_running)
    monkeypatch.setitem(sys.modules, "ray", ray.module())
    with contextlib.suppress(ZeroDivisionError), ray_session(address, 3):
        assert "shutdown" not in ray.calls
        raise ZeroDivisionError
    assert ray.calls == calls


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"wm-suite\[ray\]"), ray_session(None, 1):
        pass
