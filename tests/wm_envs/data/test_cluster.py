"""Recording in tasks, with a stand-in for Ray that works in this process.

Tests/ecosystem has the real one.
"""

import sys
import types

import pytest

from tests.support.trajectories import same_trajectories
from wm_envs import record
from wm_envs.data.trajectories import Trajectories
from wm_envs.errors import OptionError


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


class WorkerCrashedError(RayError):
    pass


class Reference:
    def __init__(self, function, arguments):
        self.function, self.arguments = function, arguments


class Inline(types.ModuleType):
    """Runs a task when it is waited for; the newest first, so that results come out of order."""

    def __init__(self):
        super().__init__("ray")
        self.exceptions = types.SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.most_running = self.num_cancelled = self.num_started = self.num_stopped = 0
        self.is_up, self.error = True, None

    def is_initialized(self):
        return self.is_up

    def init(self, **options):
        if options["address"] != "local":
            raise ConnectionError("nobody answers")
        self.options, self.num_started = options, self.num_started + 1

    def shutdown(self):
        self.num_stopped += 1

    def cluster_resources(self):
        return {"CPU": 2.0}

    def put(self, value):
        return value

    def remote(self, **options):
        return lambda function: types.SimpleNamespace(
            remote=lambda *arguments: Reference(function, arguments)
        )

    def wait(self, references, num_returns):
        self.most_running = max(self.most_running, len(references))
        return references[-1:], references[:-1]

    def get(self, reference):
        if self.error is not None:
            raise self.error
        arrays = reference.function(*reference.arguments)
        for array in arrays.values():
            array.setflags(write=False)  # as those of the object store
        return arrays

    def cancel(self, reference):
        self.num_cancelled += 1


@pytest.fixture
def ray(monkeypatch):
    module = Inline()
    monkeypatch.setitem(sys.modules, "ray", module)
    return module


def test_the_tasks_are_local_recordings_end_to_end_in_their_order(ray):
    data = record(
        "wm/TMaze-v0", episodes=25, seed=5, num_envs=4, backend="ray", episodes_per_task=10
    )
    sizes = (10, 10, 5)
    parts = [
        record("wm/TMaze-v0", episodes=size, seed=5 + 4 * number, num_envs=4)
        for number, size in enumerate(sizes)
    ]
    assert same_trajectories(data, Trajectories.concatenate(parts))
    assert data.action_space == parts[0].action_space
    assert data.rewards.flags.writeable
    assert ray.most_running == 3


def test_no_more_tasks_are_under_way_than_was_asked_for(ray):
    record("CartPole-v1", episodes=6, seed=5, backend="ray", episodes_per_task=1, num_workers=2)
    assert ray.most_running == 2
    record("CartPole-v1", episodes=6, seed=5, backend="ray", episodes_per_task=1)
    assert ray.most_running == 4  # two for each of the two processors


def test_ray_is_started_here_and_stopped_unless_it_runs(ray):
    record("wm/TMaze-v0", episodes=2, seed=5, backend="ray")
    assert ray.num_started == ray.num_stopped == 0
    ray.is_up = False
    record("wm/TMaze-v0", episodes=2, seed=5, backend="ray", num_workers=3)
    assert ray.num_started == ray.num_stopped == 1
    assert ray.options["num_cpus"] == 3
    assert ray.options["include_dashboard"] is False


def test_errors_are_the_tasks_own_and_the_others_are_called_off(ray):
    ray.error = RayTaskError(ValueError("the policy is wrong"))
    with pytest.raises(ValueError, match="the policy is wrong"):
        record("wm/TMaze-v0", episodes=30, seed=5, backend="ray", episodes_per_task=10)
    assert ray.num_cancelled == 2
    ray.error = WorkerCrashedError("it died")
    with pytest.raises(OptionError, match=r"lost 6 times \(WorkerCrashedError\)"):
        record("wm/TMaze-v0", episodes=3, seed=5, backend="ray")


def test_a_cluster_that_does_not_answer_is_named(ray):
    ray.is_up = False
    with pytest.raises(OptionError, match="no Ray cluster at 'ray://x:1': nobody answers"):
        record("wm/TMaze-v0", episodes=3, seed=5, backend="ray", address="ray://x:1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "dask"}, "backend is 'local' or 'ray'"),
        ({"backend": "ray", "episodes_per_task": 0}, "at least 1"),
        ({"backend": "ray", "num_workers": 0}, "at least 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        record("wm/TMaze-v0", episodes=3, seed=5, **options)
