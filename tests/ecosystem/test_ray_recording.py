"""Recording on Ray: the bytes are those of local recordings, whatever dies in between."""

import os
import signal
import time

import pytest

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

from tests.support.trajectories import same_trajectories  # noqa: E402
from wm_envs import record  # noqa: E402
from wm_envs.data.trajectories import Trajectories  # noqa: E402
from wm_envs.errors import OptionError  # noqa: E402

OPTIONS = {"episodes": 100, "seed": 11, "num_envs": 8, "episodes_per_task": 30}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False
    )
    yield
    ray.shutdown()


class Policy:
    """Actions that the observations say, with a word to the outside at the first call of each task."""

    def __init__(self, folder, deaths=0, pause=0.0):
        self.folder, self.deaths, self.pause = str(folder), deaths, pause
        self.num_calls = 0

    def __call__(self, rows):
        self.num_calls += 1
        if self.num_calls == 3:  # in the middle of a task
            with open(f"{self.folder}/{time.time_ns()}.{os.getpid()}", "w"):
                pass
            if len(os.listdir(self.folder)) <= self.deaths:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.pause)
        return rows.reshape(len(rows), -1).argmax(1) % 4


def expected(policy):
    """What the tasks are said to be: 30, 30, 30 and 10 episodes, whose first seeds are 8 apart."""
    parts = [
        record("wm/TMaze-v0", episodes=size, seed=11 + 8 * number, num_envs=8, policy=policy)
        for number, size in enumerate((30, 30, 30, 10))
    ]
    return Trajectories.concatenate(parts)


def test_it_is_the_local_recordings_end_to_end():
    data = record("wm/TMaze-v0", backend="ray", **OPTIONS)
    assert len(data.lengths) == 100
    assert same_trajectories(data, expected("random"))


def test_neither_the_number_of_workers_nor_another_call_changes_a_byte():
    first = record("CartPole-v1", backend="ray", num_workers=1, **OPTIONS)
    assert same_trajectories(first, record("CartPole-v1", backend="ray", num_workers=2, **OPTIONS))


def test_workers_that_die_in_the_middle_lose_nothing(tmp_path):
    data = record("wm/TMaze-v0", policy=Policy(tmp_path, deaths=2), backend="ray", **OPTIONS)
    started = [name.split(".")[1] for name in os.listdir(tmp_path)]
    assert len(started) == 4 + 2  # each of the two deaths made one task start again
    (tmp_path / "other").mkdir()
    assert same_trajectories(data, expected(Policy(tmp_path / "other")))


def test_a_worker_killed_from_outside_loses_nothing(tmp_path):
    import threading

    killed = []

    def kill_the_first():
        while not os.listdir(tmp_path):
            time.sleep(0.01)
        victim = int(sorted(os.listdir(tmp_path))[0].split(".")[1])
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    data = record("wm/TMaze-v0", policy=Policy(tmp_path, pause=1.0), backend="ray", **OPTIONS)
    killer.join()
    assert len(killed) == 1
    assert len(os.listdir(tmp_path)) == 5
    (tmp_path / "other").mkdir()
    assert same_trajectories(data, expected(Policy(tmp_path / "other")))


def test_a_task_that_always_dies_is_given_up(tmp_path):
    with pytest.raises(OptionError, match="a task was lost 6 times"):
        record(
            "wm/TMaze-v0", policy=Policy(tmp_path, deaths=10**6), backend="ray", episodes=3, seed=0
        )


def test_an_error_in_a_task_is_the_error_itself():
    with pytest.raises(OptionError, match="no expert"):
        record("Pendulum-v1", policy="expert", backend="ray", episodes=3, seed=0)
