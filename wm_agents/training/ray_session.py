"""Ray for one program: a session (its own, a cluster's, a small one here) and trials under Tune."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STORE_BYTES = 256 * 2**20  # batches are small, and Ray's default is a third of the memory
MAX_FAILURES = 5  # of one trial, each of which costs the time since its last checkpoint


@contextmanager
def ray_session(address: str | None, num_cpus: int) -> Iterator[None]:
    """Ray runs inside the block; a session that was running before is used and left alone.

    Args:
        address: Of a cluster, such as "auto" or "ray://host:10001"; None starts Ray here.
        num_cpus: Cores of a session that is started here.

    Raises:
        ImportError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("Ray is not installed: pip install 'wm-suite[ray]'") from error
    if ray.is_initialized():
        yield
        return
    if address is not None:
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(
            num_cpus=num_cpus,
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            log_to_driver=False,
        )
    try:
        yield
    finally:
        ray.shutdown()


def tune_all(
    trainable: Callable[[dict[str, Any]], Any],
    trials: Sequence[Any],
    folder: Path,
    *,
    num_workers: int,
    quiet: bool = False,
) -> None:
    """Run every trial under Ray Tune, each on one core, and again after a worker's death.

    Args:
        trainable: Called in a worker with {"trial": one of the trials}.
        trials: What can be sent to a worker.
        folder: Where Tune keeps its own files, in a folder `tune`.
        num_workers: Trials at a time.
        quiet: Whether Tune says nothing.

    Raises:
        RuntimeError: A trial failed for good.
    """
    from ray import tune

    grid = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"trial": tune.grid_search(list(trials))},
        tune_config=tune.TuneConfig(max_concurrent_trials=num_workers),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.resolve()),
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            verbose=0 if quiet else 1,
        ),
    ).fit()
    if grid.errors:
        raise RuntimeError(
            f"{len(grid.errors)} of {len(trials)} trials failed; the first: {grid.errors[0]}"
        )
