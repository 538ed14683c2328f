"""Old import paths find the new modules and say so."""

import importlib
import sys

import pytest

from wm_envs.data.moved import MovedModules, renamed


@pytest.fixture
def moved():
    finder = MovedModules(
        {
            "wm_envs.data.past": "wm_envs.data",
            "wm_envs.data.past.flights": "wm_envs.data.trajectories",
        },
        {"wm_envs.data.past.Flight": "wm_envs.data.spaces.ActionCodec"},
    )
    finder.install()
    yield
    sys.meta_path.remove(finder)
    for name in [name for name in sys.modules if name.startswith("wm_envs.data.past")]:
        del sys.modules[name]


@pytest.mark.usefixtures("moved")
def test_a_moved_package_and_what_is_below_it():
    with pytest.warns(
        DeprecationWarning, match=r"wm_envs\.data\.past has moved: import from wm_envs\.data"
    ):
        past = importlib.import_module("wm_envs.data.past")
    with pytest.warns(
        DeprecationWarning, match=r"past\.spaces has moved: import from wm_envs\.data\.spaces"
    ):
        spaces = importlib.import_module("wm_envs.data.past.spaces")
    with pytest.warns(DeprecationWarning, match=r"wm_envs\.data\.trajectories"):
        flights = importlib.import_module("wm_envs.data.past.flights")
    from wm_envs.data import ActionCodec, Trajectories

    assert past.Trajectories is Trajectories is flights.Trajectories
    assert spaces.ActionCodec is ActionCodec
    with pytest.warns(DeprecationWarning, match=r"past\.Flight is now .*ActionCodec"):
        assert past.Flight is ActionCodec
    with pytest.raises(AttributeError):
        past.nothing  # noqa: B018


@pytest.mark.usefixtures("moved")
def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("wm_envs.data.future")
    with pytest.warns(DeprecationWarning, match="moved"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("wm_envs.data.past.never")


def test_a_renamed_name():
    look_up = renamed("wm_envs.data", {"Flights": "wm_envs.data.trajectories.Trajectories"})
    from wm_envs.data import Trajectories

    with pytest.warns(DeprecationWarning, match=r"wm_envs\.data\.Flights is now"):
        assert look_up("Flights") is Trajectories
    with pytest.raises(AttributeError, match="nothing"):
        look_up("nothing")
