"""Ray for one program: a session (its own, a cluster's, a small one here), trials, agents."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from wm_agents.errors import SpaceError

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


class RLModuleAgent:
    """A trained network of RLlib with Stable-Baselines3's `predict`, for evaluation.

    Args:
        module: `algorithm.get_module()`.
        action_space: Of the single environment.

    Raises:
        SpaceError: Actions that are neither Discrete nor a Box.
    """

    def __init__(self, module: Any, action_space: gym.Space[Any]) -> None:
        if not isinstance(action_space, gym.spaces.Discrete | gym.spaces.Box):
            raise SpaceError(f"actions are Discrete or a Box, got {action_space}")
        self.module = module
        self.action_space: Any = action_space

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,  # noqa: ARG002
        deterministic: bool = True,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """The likeliest actions for a batch of observations."""
        with torch.no_grad():
            rows = torch.as_tensor(np.asarray(observation, np.float32))
            outputs = self.module.forward_inference({"obs": rows})["action_dist_inputs"].numpy()
        if isinstance(self.action_space, gym.spaces.Discrete):
            return outputs.argmax(-1) + self.action_space.start, state
        low, high = self.action_space.low, self.action_space.high
        # RLlib acts between -1 and 1; behind the means are the deviations.
        means = np.clip(outputs[:, : low.size].reshape(-1, *low.shape), -1.0, 1.0)
        return (low + (means + 1.0) / 2.0 * (high - low)).astype(low.dtype), state
