"""What every plug-in test shares.

The marker, other libraries' warnings, the ids and short episodes.
"""

from pathlib import Path

import gymnasium as gym
import pytest

import wm_envs  # noqa: F401  (registers the ids)
from wm_envs.registration import TABLE

HERE = Path(__file__).parent
IDS = [row.id for row in TABLE]


def pytest_ignore_collect(config):
    """Other libraries are not even imported unless they are asked for with `-m ecosystem`."""
    return True if config.getoption("markexpr") == "not ecosystem" else None


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.ecosystem)
            item.add_marker(
                pytest.mark.filterwarnings("default")
            )  # what other libraries warn of is their own affair


def pytest_generate_tests(metafunc):
    """A test that takes `env_id` runs on every id."""
    if "env_id" in metafunc.fixturenames:
        metafunc.parametrize("env_id", IDS)


@pytest.fixture
def is_discrete(env_id):
    return isinstance(gym.make(env_id).action_space, gym.spaces.Discrete)
