"""Sessions on a stand-in for Ray; tests/ecosystem has the real one."""

import contextlib
import sys
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from wm_agents.errors import SpaceError
from wm_agents.training.ray_session import RLModuleAgent, ray_session


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


class Outputs:
    """A module whose outputs are the observations."""

    def forward_inference(self, batch):
        return {"action_dist_inputs": batch["obs"]}


def test_a_module_of_rllib_acts_as_any_agent():
    counted = RLModuleAgent(Outputs(), gym.spaces.Discrete(3, start=5))
    actions, state = counted.predict(np.array([[0.1, 0.9, 0.0], [2.0, 0.0, 1.0]]), "kept")
    assert actions.tolist() == [6, 5]
    assert state == "kept"
    box = RLModuleAgent(Outputs(), gym.spaces.Box(np.float32([-2, 0]), np.float32([2, 8])))
    # Means, then deviations: the middle of the range is 0, and what lies outside is cut off.
    actions, _ = box.predict(np.array([[0.0, 0.5, 9, 9], [-3.0, 1.0, 9, 9]]))
    np.testing.assert_allclose(actions, [[0, 6], [-2, 8]])
    with pytest.raises(SpaceError, match="MultiDiscrete"):
        RLModuleAgent(Outputs(), gym.spaces.MultiDiscrete([2, 2]))
