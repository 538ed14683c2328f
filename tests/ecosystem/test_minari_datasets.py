"""Minari stores a recording of every id, gives it back to the bit and makes the environment again."""

import numpy as np
import pytest

minari = pytest.importorskip("minari", reason="the extra data is not installed")

from tests.support.trajectories import same_trajectories  # noqa: E402
from wm_envs import record  # noqa: E402
from wm_envs.data.errors import OptionError  # noqa: E402
from wm_envs.data.minari import load_minari, save_minari  # noqa: E402

NUM_EPISODES = 2


def test_record_load_and_recover(env_id, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset_id = f"{env_id.rpartition('-v')[0].lower()}/random-v0"
    data = record(env_id, episodes=NUM_EPISODES, seed=3)
    save_minari(data, dataset_id, env_id, author="tests", author_email="tests@example.org")
    loaded = load_minari(dataset_id)
    assert same_trajectories(loaded, data)
    env = minari.load_dataset(dataset_id).recover_environment()
    assert env.spec.id == env_id
    # Row 0 played the first half of the episodes, from the seed itself.
    assert np.array_equal(np.ravel(env.reset(seed=3)[0]).astype(np.float32), data.observations[0])
    env.close()


def test_an_environment_that_a_dataset_cannot_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env_id = "tests.support.room:my/Room-v0"
    data = record(env_id, episodes=1, seed=0)
    with pytest.raises(OptionError, match="its entry point as text"):
        save_minari(data, "my/room-v0", env_id)
    assert same_trajectories(load_minari(_saved(data)), data)


def _saved(data):
    save_minari(data, "my/named-v0", "my/NamedRoom-v0")
    return "my/named-v0"
