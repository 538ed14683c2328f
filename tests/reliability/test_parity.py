"""The same seeds give the same bits.

In other processes, with other hash seeds, in every autoreset mode, uncompiled.
"""

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import wm_envs  # noqa: F401
from tests.support import counting_domain, golden_trajectories  # noqa: F401  (registers two ids)
from wm_envs.kernel import IS_COMPILED
from wm_envs.registration import TABLE

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "wm_envs" / "golden.json").read_text(encoding="utf-8"))
EXAMPLE_IDS = ["test/Counting-v0", "test/Sliding-v0"]
IDS = [
    row.id for row in TABLE if row.id != "wm/PongAtari-v0"
]  # the original console, which is not always installed


def batch_hashes(num_steps):
    """SHA-256 by id of what batches of four give to fixed actions.

    Run here and by other processes.
    """
    found = {}
    for env_id in [*IDS, *EXAMPLE_IDS]:
        env, total = gym.make_vec(env_id, 4), sha256()
        env.action_space.seed(5)
        total.update(env.reset(seed=11)[0].tobytes())
        for _ in range(num_steps):
            for part in env.step(env.action_space.sample())[:4]:
                total.update(np.ascontiguousarray(part).tobytes())
        total.update(env.unwrapped.clone_state().tobytes())
        env.close()
        found[env_id] = total.hexdigest()
    return found


def all_hashes(num_steps):
    """Of batches, of the golden trajectories, and whether compiled code gave them."""
    return {
        "batches": batch_hashes(num_steps),
        "golden": golden_trajectories.hashes(),
        "is_compiled": IS_COMPILED,
    }


def hashes_elsewhere(num_steps, **variables):
    code = "import json; from tests.reliability import test_parity as t; "
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{code}print(json.dumps(t.all_hashes({num_steps})))"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables}, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_processes_hash_seeds_and_the_compiler_change_nothing(is_long, counted):
    num_steps = 100 if is_long else 20
    here = batch_hashes(num_steps)
    assert here == batch_hashes(num_steps)
    # At once, since every process loads all ids; each by itself with --long.
    variants = [{"PYTHONHASHSEED": "1", "NUMBA_DISABLE_JIT": "1"}]
    if is_long:
        variants += [
            {"PYTHONHASHSEED": seed, "NUMBA_DISABLE_JIT": "0"} for seed in ("0", "1", "77")
        ]
    for variables in variants:
        there = hashes_elsewhere(num_steps, **variables)
        assert there["is_compiled"] == (variables["NUMBA_DISABLE_JIT"] == "0")
        differing = [name for name in here if here[name] != there["batches"][name]]
        counted(
            "equal to the bit in another process",
            ", ".join(f"{name}={value}" for name, value in variables.items()),
            tried=len(here),
            failed=len(differing),
        )
        assert not differing
        assert there["golden"] == GOLDEN


@pytest.mark.parametrize("env_id", IDS)
def test_rows_are_single_environments_in_every_mode(env_id, is_long, counted):
    if not is_long and env_id not in ("wm/TMaze-v0", "wm/Debate-v0"):
        pytest.skip("all ids with --long, and in the tests of each domain")
    num_steps = 300 if is_long else 40
    num_envs = 5 if is_long else 2
    for mode in AutoresetMode:
        failed = differences(env_id, mode, num_envs, num_steps)
        counted(
            "row i is the single environment s + i, to the bit",
            f"{env_id}, {mode.value}",
            tried=num_envs,
            failed=failed,
        )
        assert failed == 0


def differences(env_id, mode, num_envs, num_steps):
    """Rows of a batch whose rewards, ends or states differ from those of single environments."""
    batch = gym.make_vec(env_id, num_envs, autoreset_mode=mode)
    batch.action_space.seed(9)
    singles = [gym.make(env_id, disable_env_checker=True) for _ in range(num_envs)]
    batch.reset(seed=21)
    for row, single in enumerate(singles):
        single.reset(seed=21 + row)
    differing, ended = np.zeros(num_envs, bool), np.zeros(num_envs, bool)
    for _ in range(num_steps):
        actions = batch.action_space.sample()
        if mode == AutoresetMode.DISABLED and ended.any():
            batch.reset(options={"reset_mask": ended})
        _, rewards, terminated, truncated, _ = batch.step(actions)
        for row, single in enumerate(singles):
            if ended[row] and mode != AutoresetMode.SAME_STEP:
                single.reset()
            if ended[row] and mode == AutoresetMode.NEXT_STEP:
                expected = (0.0, False, False)
            else:
                expected = single.step(actions[row])[1:4]
                if mode == AutoresetMode.SAME_STEP and (expected[1] or expected[2]):
                    single.reset()
            differing[row] |= (rewards[row], terminated[row], truncated[row]) != expected
        ended = terminated | truncated
    states = batch.unwrapped.clone_state()
    for row, single in enumerate(singles):
        # Where Gymnasium's wrapper truncates, the state of an ended row says otherwise until its
        # reset.
        if mode == AutoresetMode.SAME_STEP or not ended[row]:
            differing[row] |= states[row].tobytes() != single.unwrapped.clone_state().tobytes()
        single.close()
    batch.close()
    return int(differing.sum())
