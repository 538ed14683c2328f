"""Memory that steps and makes take is given back."""

import gc
import os

import gymnasium as gym
import pytest

import wm_envs  # noqa: F401
from wm_envs.registration import TABLE

IDS = [row.id for row in TABLE if row.id != "wm/PongAtari-v0"]
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="reads the memory from /proc"
)


def resident_bytes():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def grown(repeat, num_times):
    """Bytes gained between a warm-up of a tenth and the end."""
    for _ in range(max(num_times // 10, 1)):
        repeat()
    before = resident_bytes()
    for _ in range(num_times):
        repeat()
    return resident_bytes() - before


@pytest.mark.parametrize("env_id", IDS)
def test_steps_take_no_memory(env_id, is_long, counted):
    """10 million row steps over all ids together."""
    num_envs = 256
    num_calls = 10_000_000 // len(IDS) // num_envs if is_long else 30
    env = gym.make_vec(env_id, num_envs)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(8)]
    env.reset(seed=0)
    calls = iter(range(10**9))
    gained = grown(lambda: env.step(actions[next(calls) % 8]), num_calls)
    env.close()
    counted(
        "row steps, memory not grown",
        env_id,
        tried=num_calls * num_envs,
        failed=int(gained > 8 * 2**20),
    )
    assert gained <= 8 * 2**20, f"{gained / 2**20:.1f} MiB"


@pytest.mark.parametrize("env_id", IDS)
def test_makes_and_closes_take_no_memory(env_id, is_long, counted):
    if not is_long and env_id not in ("wm/TMaze-v0", "wm/Debate-v0"):
        pytest.skip("all ids with --long")

    def make_and_close():
        env = gym.make_vec(env_id, 2)
        env.reset(seed=0)
        env.close()

    num_times = 1000 if is_long else 30
    gained = grown(make_and_close, num_times)
    counted(
        "makes and closes, memory not grown",
        env_id,
        tried=num_times,
        failed=int(gained > 8 * 2**20),
    )
    assert gained <= 8 * 2**20, f"{gained / 2**20:.1f} MiB"
