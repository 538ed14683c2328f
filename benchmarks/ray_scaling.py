"""What a second Ray worker brings: environment steps per second of `record(..., backend="ray")` with one and with two.

    python -m benchmarks.ray_scaling

The same tasks with one and with two workers, in turns; Ray's start is not counted, a first round
that compiles and loads is thrown away. Two kinds of collecting: random actions in a compiled batch,
where moving the arrays costs more than the steps, and a network as policy, where collecting is
work. The load of the machine before the run is part of the result, since two workers on two busy
cores show nothing.
"""

import os
import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks.report import write_result
from wm_envs import record

WIDTH = 256


@dataclass(frozen=True)
class Config:
    """What to measure."""

    env_id: str = "wm/TMaze-v0"
    """A native id."""
    network_episodes: int = 8_192
    """Episodes with the network as policy."""
    random_episodes: int = 262_144
    """Episodes with random actions."""
    episodes_per_task: int = 1_024
    """Of the network's recordings; random ones take 32 times as many."""
    num_turns: int = 3
    """Repeats of each; medians count."""
    seed: int = 0
    """Of everything."""


class NetworkPolicy:
    """A perceptron in NumPy with fixed random weights: work of a known amount for each step."""

    def __init__(self, num_features: int, num_actions: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        sizes = (num_features, WIDTH, WIDTH, WIDTH, num_actions)
        self.weights = [
            generator.standard_normal(pair) / pair[0] ** 0.5 for pair in pairwise(sizes)
        ]

    def __call__(self, observations: NDArray[Any]) -> NDArray[np.int64]:
        """The action of the largest output for each row."""
        rows = observations.reshape(len(observations), -1)
        for weights in self.weights[:-1]:
            rows = np.tanh(rows @ weights)
        chosen: NDArray[np.int64] = (rows @ self.weights[-1]).argmax(1)
        return chosen


def main(config: Config) -> dict[str, Any]:
    """Measure, print and write; gives the figures."""
    import gymnasium as gym
    import ray

    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = (
        "1"  # of the workers: one core each
    )
    load = os.getloadavg()[0]
    env = gym.make(config.env_id)
    assert isinstance(env.action_space, gym.spaces.Discrete), "the policy is for Discrete actions"
    policy = NetworkPolicy(
        int(np.prod(env.observation_space.shape or ())), int(env.action_space.n), config.seed
    )
    kinds: dict[str, dict[str, Any]] = {
        "network": {
            "policy": policy, "episodes": config.network_episodes, "episodes_per_task": config.episodes_per_task
        },
        "random": {"episodes": config.random_episodes, "episodes_per_task": 32 * config.episodes_per_task},
    }  # fmt: skip
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=512 * 2**20, log_to_driver=False
    )
    try:
        speeds = {kind: measure(config, options) for kind, options in kinds.items()}
    finally:
        ray.shutdown()
    workers = {
        f"{kind}, {num}": {"steps_per_second": speed[num]}
        for kind, speed in speeds.items()
        for num in sorted(speed)
    }
    ratios = {f"{kind}_two_workers_ratio": speed[2] / speed[1] for kind, speed in speeds.items()}
    figures = {"workers": workers, **ratios, "load_average_before": load}
    write_result(
        "ray_scaling", figures, seeds=config.seed, command="python -m benchmarks.ray_scaling"
    )
    for name, ratio in ratios.items():
        print(f"{name} {ratio:.2f} (load average before: {load:.1f})")
    return figures


def measure(config: Config, options: dict[str, Any]) -> dict[int, float]:
    """Steps per second by number of workers; both see the same bytes, which is asserted."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    returns = set()
    for turn in range(config.num_turns + 1):
        for num_workers in (1, 2) if turn % 2 else (2, 1):
            started = time.perf_counter()
            data = record(
                config.env_id, seed=config.seed, backend="ray", num_workers=num_workers, **options
            )
            if turn:
                seconds[num_workers].append(time.perf_counter() - started)
            returns.add((len(data.actions), float(data.rewards.sum())))
    assert len(returns) == 1, "the number of workers changed the data"
    num_steps = next(iter(returns))[0]
    return {num: num_steps / statistics.median(values) for num, values in seconds.items()}


if __name__ == "__main__":
    main(tyro.cli(Config))
