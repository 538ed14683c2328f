"""MCE IRL of `imitation` for benchmarks/irl_gridworld.py, run by its own Python and versions.

    <peer python> benchmarks/irl_gridworld_peer.py problem.npz result.json --seconds 60

Trains with several learning rates of its optimiser (Adam) and notes after each of its own steps the
CPU time and the gap: the largest difference over cells between demonstrated and expected visits,
which is also what it stops at.
"""

import argparse
import json
import platform
import time
from importlib.metadata import version

import numpy as np
import torch
from imitation.algorithms.mce_irl import MCEIRL
from imitation.rewards.reward_nets import BasicRewardNet
from seals.base_envs import TabularModelPOMDP


def main() -> None:
    """Train within the time and write gaps over time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("problem")
    parser.add_argument("result")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[0.01, 0.1, 0.5])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problem = np.load(arguments.problem)
    runs = {str(rate): train(problem, rate, arguments.seconds) for rate in arguments.learning_rates}
    packages = ("imitation", "seals", "gymnasium", "torch", "numpy", "stable-baselines3")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    with open(arguments.result, "w", encoding="utf-8") as file:
        json.dump({"runs": runs, "versions": versions}, file)


def train(
    problem: "np.lib.npyio.NpzFile", learning_rate: float, seconds: float
) -> "list[list[float]]":
    """Rows of CPU seconds and gap."""
    num_cells = problem["transitions"].shape[0]
    env = TabularModelPOMDP(
        transition_matrix=problem["transitions"],
        observation_matrix=np.eye(num_cells, dtype=np.float32),
        reward_matrix=np.zeros(num_cells),
        horizon=int(problem["horizon"]),
        initial_state_dist=problem["starts"],
    )
    network = BasicRewardNet(
        env.observation_space,
        env.action_space,
        use_action=False,
        use_next_state=False,
        use_done=False,
        hid_sizes=[],
    )
    irl = MCEIRL(
        problem["visits"],
        env,
        network,
        np.random.default_rng(0),
        optimizer_kwargs={"lr": learning_rate},
        linf_eps=0.0,
        grad_l2_eps=0.0,
        log_interval=None,
    )
    inputs = torch.as_tensor(env.observation_matrix, dtype=network.dtype)
    rows = []
    started = time.process_time()
    while time.process_time() - started < seconds:
        # What `train` repeats, called by itself so that each step can be timed.
        _, visits = irl._train_step(inputs)
        gap = float(np.abs(irl.demo_state_om - visits).max())
        rows.append([time.process_time() - started, gap])
    return rows


if __name__ == "__main__":
    main()
