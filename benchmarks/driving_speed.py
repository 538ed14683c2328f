"""Steps per CPU-second and integration error of wm/Driving-v0.

Race tracks by others run beside it in the same run.

    python -m benchmarks.driving_speed --peer-python ../peers/bin/python

`--peer-python` is the Python of an environment with envpool and highway-env installed; without it
no peer is quoted. All contenders take turns. Actions are drawn beforehand, the time is CPU time of
all threads, and a measurement in which nothing moved or no episode ended fails.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import wm_envs  # noqa: F401 - registers the ids
from benchmarks.report import write_result
from wm_envs.driving.env import DrivingEnv, DrivingVectorEnv
from wm_envs.driving.expert import Expert
from wm_envs.kernel import empty_rows

BATCH, NUM_CALLS, NUM_SINGLE = 1024, 200, 20_000
PEERS = Path(__file__).with_name("driving_peers.py")


def batch_turn(seed: int) -> float:
    """Agent steps per CPU-second of 1,024 cars with observations, half of them at speed."""
    env = DrivingVectorEnv(BATCH, start_speed=20.0)
    env.action_space.seed(seed)
    scale = np.array([0.15, 1.0, 0.2], np.float32)
    actions = [env.action_space.sample() * scale for _ in range(16)]
    before, _ = env.reset(seed=seed)
    started, num_ended = time.process_time(), 0
    for call in range(NUM_CALLS):
        after, _, terminated, truncated, _ = env.step(actions[call % 16])
        num_ended += int((terminated | truncated).sum())
    seconds = time.process_time() - started
    assert num_ended > 0, "no episode ended"
    assert (after[:, 21] != before[:, 21]).all(), "a car stood still"
    # A row that ended takes a call to be reset.
    return (BATCH * NUM_CALLS - num_ended) / seconds


def single_turn(seed: int) -> float:
    """Agent steps per CPU-second through gym.make, with the resets."""
    env = gym.make("wm/Driving-v0", start_speed=20.0)
    env.action_space.seed(seed)
    scale = np.array([0.15, 1.0, 0.2], np.float32)
    actions = [env.action_space.sample() * scale for _ in range(64)]
    env.reset(seed=seed)
    started, num_ended = time.process_time(), 0
    for step in range(NUM_SINGLE):
        _, _, terminated, truncated, _ = env.step(actions[step % 64])
        if terminated or truncated:
            num_ended += 1
            env.reset()
    seconds = time.process_time() - started
    assert num_ended > 0, "no episode ended"
    return NUM_SINGLE / seconds


def peer_turn(python: str, seed: int) -> dict[str, Any]:
    """One measurement of each peer."""
    run = subprocess.run(
        [python, str(PEERS), str(seed)], stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    # Whatever the peers print by themselves comes before their figures.
    figures: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return figures


def integration_errors(seed: int, track: str = "random") -> dict[str, float]:
    """Speed error of one step with two Runge-Kutta steps against 64, over the expert's laps."""
    figures = {}
    for name, noise in (("expert", 0.0), ("expert_with_noise", 0.1)):
        env = DrivingVectorEnv(64, track=track)
        fine = DrivingEnv.rules(track=track, num_substeps=64)
        env.reset(seed=seed)
        expert, generator, errors = Expert(env.parameters), np.random.default_rng(seed), []
        rows, outcomes = empty_rows(64, fine.state_dtype), empty_rows(64, fine.outcome_dtype)
        observations = np.zeros((64, len(fine.observation_fields)), np.float32)
        for _ in range(1000):
            # Both start each step in the same state, so that errors do not add up.
            rows[:] = before = env.clone_state()
            noisy = expert.actions(before)
            if noise:
                noisy = noisy + generator.normal(0.0, noise, (64, 3))
            actions = np.clip(noisy, [-1, 0, 0], 1).astype(np.float32)
            fine_actions = actions.astype(np.float64)
            fine.step_rows(rows, fine.parameters, fine_actions, observations, outcomes, False)
            env.step(actions)
            after = env.clone_state()
            error = np.hypot(after["vx"] - rows["vx"], after["vy"] - rows["vy"])
            # A row that had ended was reset by the environment alone.
            errors.append(error[~before["ended"]])
        everything = np.concatenate(errors)
        figures[f"{name}_median"] = float(np.median(everything))
        figures[f"{name}_p99"] = float(np.percentile(everything, 99))
    return figures


def measure(num_turns: int, seed: int, peer_python: str | None) -> dict[str, Any]:
    """All contenders in turn; medians."""
    # Once for the compiler and the racing line, uncounted.
    batch_turn(seed)
    single_turn(seed)
    batches, singles, peers = [], [], []
    for turn in range(num_turns):
        batches.append(batch_turn(seed + turn))
        singles.append(single_turn(seed + turn))
        if peer_python:
            peers.append(peer_turn(peer_python, seed + turn))
    figures: dict[str, Any] = {
        f"batch_{BATCH}_steps_per_cpu_second": round(statistics.median(batches)),
        "single_steps_per_cpu_second": round(statistics.median(singles)),
        "integration_error_m_per_s": integration_errors(seed),
    }
    for name in peers[0] if peers else ():
        speed = statistics.median(turn[name]["steps_per_cpu_second"] for turn in peers)
        figures[f"{name} {peers[0][name]['version']} race track, steps_per_cpu_second"] = round(
            speed, 1
        )
        figures[f"ratio to {name}"] = round(statistics.median(batches) / speed, 1)
    return figures


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer-python", default=None)
    arguments = parser.parse_args()
    figures = measure(arguments.turns, arguments.seed, arguments.peer_python)
    print(json.dumps(figures, indent=2))
    command = (
        "python -m benchmarks.driving_speed --peer-python <python with envpool and highway-env>"
    )
    path = write_result("driving_speed", figures, seeds=arguments.seed, command=command)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
