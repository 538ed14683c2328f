"""Recording on Ray: the same episodes from one machine or many, and a worker that dies costs time only.

The episodes are cut into tasks of a settled size, each with its own seeds, so that neither the
number of workers nor the order in which they finish changes a byte of the result. A task whose
worker dies is done again from its seeds.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from numpy.typing import NDArray

from wm_envs.data.errors import MissingExtraError, OptionError

# Ray counts the deaths of workers per task; a task that dies this often is at fault itself.
MAX_RETRIES = 5
# The results of a worker wait in shared memory until they are fetched: so few of them that a small
# store holds them.
TASKS_PER_CPU = 2
# Ray asks for at least 75 MiB; recordings leave the store as soon as they are fetched.
LOCAL_STORE_BYTES = 256 * 2**20


def run_tasks(
    function: Callable[..., Any],
    tasks: list[dict[str, Any]],
    *,
    address: str | None,
    num_workers: int | None,
    specs: list[Any],
    advance: Callable[[int], None],
) -> list[dict[str, NDArray[Any]]]:
    """Call a function once for each task on a Ray cluster, and give the results in the order of the tasks.

    Args:
        function: Called with the entries of a task as keywords, gives named arrays; equal tasks
            give equal arrays.
        tasks: One dictionary for each call.
        address: Of a running cluster, such as "auto" or "ray://host:10001"; None takes the address
            in RAY_ADDRESS, and without one starts Ray on this machine and stops it afterwards.
        num_workers: Calls at a time; None leaves it to the number of processors.
        specs: Gymnasium's specs that the workers must know, registered there before the call.
        advance: Called with the number of each finished task.

    Raises:
        MissingExtraError: Ray is not installed.
        OptionError: Ray cannot be reached, or a task's worker died more than `MAX_RETRIES` times.
    """
    ray = _ray()
    with _connected(ray, address, num_workers):
        width = num_workers or TASKS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
        remote = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_call)
        try:
            return _gather(ray, remote, ray.put((function, specs)), tasks, width, advance)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        except ray.exceptions.RayError as error:
            raise OptionError(
                f"a task was lost {MAX_RETRIES + 1} times ({type(error).__name__}): run it with backend='local', which "
                "shows what kills it, or with fewer episodes_per_task where memory runs out"
            ) from error


def _gather(
    ray: Any,
    remote: Any,
    shared: Any,
    tasks: list[dict[str, Any]],
    width: int,
    advance: Callable[[int], None],
) -> list[dict[str, NDArray[Any]]]:
    """Keep `width` tasks under way; each result is taken out of the store as it arrives."""
    results: list[Any] = [None] * len(tasks)
    waiting = list(enumerate(tasks))[::-1]
    running: dict[Any, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < width:
                number, task = waiting.pop()
                running[remote.remote(shared, task)] = number
            for reference in ray.wait(list(running), num_returns=1)[0]:
                number = running.pop(reference)
                # Arrays from the store are views that keep it full, and cannot be written to.
                results[number] = {name: array.copy() for name, array in ray.get(reference).items()}
                advance(number)
        return results
    finally:
        for reference in running:  # only after an error
            ray.cancel(reference)


def _call(shared: tuple[Callable[..., Any], list[Any]], task: dict[str, Any]) -> Any:
    """What a worker does: learn the ids that the caller knows, then the task."""
    function, specs = shared
    for spec in specs:
        gym.registry.setdefault(spec.id, spec)
    return function(**task)


@contextmanager
def _connected(ray: Any, address: str | None, num_workers: int | None) -> Iterator[None]:
    """Ray as it already runs, or a cluster, or for the time being one on this machine."""
    if ray.is_initialized():
        yield
        return
    try:
        if address or os.environ.get("RAY_ADDRESS"):
            ray.init(address=address, log_to_driver=False)
        else:
            local = {
                "num_cpus": num_workers,
                "object_store_memory": LOCAL_STORE_BYTES,
                "include_dashboard": False,
            }
            ray.init(address="local", log_to_driver=False, **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"no Ray cluster at {address or os.environ.get('RAY_ADDRESS')!r}: {error}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("Ray is not installed: pip install 'wm-suite[ray]'") from error
    return ray
