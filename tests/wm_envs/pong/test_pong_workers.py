"""Worker processes.

They end with their environment, and an environment says so when they end before it.
"""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from wm_envs.errors import WorkerError
from wm_envs.pong import workers
from wm_envs.pong.workers import PATIENCE, EmulatorPool, Emulators
from wm_envs.testing.trace import difference

pytest.importorskip(
    "ale_py", reason='the original game needs ale-py: pip install "wm-suite[atari]"'
)

ATARI = "wm/PongAtari-v0"
ACTIONS = np.array([2, 3, 4, 5])


def made(num_threads=2, **options):
    env = gym.make_vec(ATARI, 4, num_threads=num_threads, **options)
    env.reset(seed=0)
    return env


def processes(env):
    return {
        number: worker._process
        for number, worker in env._rules.kernels.emulators._worker_pool._workers.items()
    }


def test_the_first_slice_is_emulated_here_and_each_other_by_a_process():
    env = made(num_threads=3)
    assert list(processes(env)) == [1, 2]
    env.close()


def test_a_worker_that_was_killed_is_an_error_and_stays_one():
    env = made()
    worker = processes(env)[1]
    worker.kill()
    for call in (lambda: env.step(ACTIONS), lambda: env.reset(seed=1), env.clone_state):
        with pytest.raises(
            WorkerError, match=r"rows 2 to 3 has ended \(signal 9\): close this environment"
        ):
            call()
    assert worker.returncode == -signal.SIGKILL  # it was waited for
    env.close()
    env.close()


def test_a_worker_that_dies_while_it_emulates_is_an_error(monkeypatch):
    env = made()
    worker, play = processes(env)[1], EmulatorPool.play

    def play_and_kill(self, slots, actions, memories):
        worker.kill()
        play(self, slots, actions, memories)

    monkeypatch.setattr(EmulatorPool, "play", play_and_kill)
    os.kill(worker.pid, signal.SIGSTOP)  # so that it cannot have answered
    with pytest.raises(WorkerError, match="signal 9"):
        env.step(ACTIONS)
    env.close()


def test_an_interrupted_step_is_not_taken_for_the_next(monkeypatch):
    env = made()

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EmulatorPool, "play", interrupt)
        with pytest.raises(KeyboardInterrupt):
            env.step(ACTIONS)
    with pytest.raises(WorkerError, match="interrupted"):
        env.step(ACTIONS)
    env.close()


def test_an_interrupt_from_the_keyboard_is_not_meant_for_workers():
    env, twin = made(), made(num_threads=1)
    os.kill(processes(env)[1].pid, signal.SIGINT)
    for _ in range(3):
        assert difference(env.step(ACTIONS), twin.step(ACTIONS)) is None
    env.close()


def test_an_error_in_a_worker_is_raised_here_and_leaves_it_in_step():
    env, twin = made(), made(num_threads=1)
    for slot in (0, 3):
        with pytest.raises(AttributeError, match="no_method"):
            env._rules.kernels.emulators.call("no_method", [slot])
    for _ in range(20):
        assert difference(env.step(ACTIONS), twin.step(ACTIONS)) is None
    env.close()


def test_a_clone_of_a_batch_with_workers_goes_on_in_one_without():
    env, other = (
        made(repeat_action_probability=0.5),
        made(num_threads=1, repeat_action_probability=0.5),
    )
    for _ in range(30):
        env.step(ACTIONS)
    observations = other.restore_state(env.clone_state())
    np.testing.assert_array_equal(observations, env.restore_state(other.clone_state()))
    for _ in range(30):
        assert difference(env.step(ACTIONS), other.step(ACTIONS)) is None
    env.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_after_close():
    made().close()  # whatever is opened once
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    env = made()
    worker = processes(env)[1]
    env.step(ACTIONS)
    assert "memfd:consoles" in Path("/proc/self/maps").read_text()
    env.close()
    assert worker.returncode == 0
    del env
    gc.collect()
    assert "memfd:consoles" not in Path("/proc/self/maps").read_text()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_the_program_neither_ends_the_workers_nor_holds_them_up():
    env = made()
    brief = multiprocessing.get_context("fork").Process(target=env._rules.close)
    brief.start()
    brief.join()
    env.step(ACTIONS)
    lasting = multiprocessing.get_context("fork").Process(
        target=time.sleep, args=(60,), daemon=True
    )
    lasting.start()
    began = time.monotonic()
    env.close()
    assert time.monotonic() - began < PATIENCE / 2
    lasting.terminate()
    lasting.join()


def forked_answer(function):
    """What a forked child puts into a pipe; "hung" where it does not within 30 seconds."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send(function()), daemon=True)
    child.start()
    answer = ours.recv() if ours.poll(30) else "hung"
    child.kill()
    child.join()
    return answer


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_is_refused_the_consoles_of_the_workers_and_makes_its_own_at_a_reset():
    env, reference = made(), made(num_threads=1)
    state = env.clone_state()

    def use():
        try:
            env.step(ACTIONS)
        except WorkerError as error:
            refusal = str(error)
        observations = [
            env.restore_state(state),
            env.step(ACTIONS)[0],
            env.reset(seed=3)[0],
            env.step(ACTIONS)[0],
        ]
        env.close()
        return refusal, observations

    refusal, observations = forked_answer(use)
    assert "forked" in refusal
    assert "reset" in refusal
    expected = [reference.restore_state(state), reference.step(ACTIONS)[0]]
    expected += [reference.reset(seed=3)[0], reference.step(ACTIONS)[0]]
    np.testing.assert_array_equal(observations, expected)
    np.testing.assert_array_equal(
        env.step(ACTIONS)[0], expected[1]
    )  # the parent's workers are as they were
    env.close()


def test_a_worker_does_not_import_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text(
        "raise ImportError('a file of the user, which has nothing to do with it')"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    env = made()
    env.step(ACTIONS)
    env.close()


def test_emulators_that_are_forgotten_end_their_workers():
    emulators = Emulators([slice(0, 1), slice(1, 2)])
    emulators.start([0, 1], [0, 0])
    worker = emulators._worker_pool._workers[1]._process
    del emulators
    gc.collect()
    assert worker.returncode == 0


DIE = """
import os
import gymnasium as gym
import wm_envs
env = gym.make_vec("wm/PongAtari-v0", 2, num_threads=2)
env.reset(seed=0)
print(env._rules.kernels.emulators._worker_pool._workers[1]._process.pid, flush=True)
os._exit(3)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_ends_with_the_program_however_that_ends():
    program = subprocess.run(
        [sys.executable, "-c", DIE], capture_output=True, text=True, timeout=60
    )
    assert program.returncode == 3
    worker, deadline = int(program.stdout), time.monotonic() + 10
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(worker)
    assert program.stderr == ""


def is_running(process):
    """Whether it is there and no zombie, which only its new parent could wait for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_system_without_workers_emulates_all_rows_here(monkeypatch):
    monkeypatch.setattr(workers, "HAS_WORKERS", False)
    with pytest.warns(RuntimeWarning, match="no worker processes"):
        emulators = Emulators([slice(0, 1), slice(1, 2)])
    assert emulators._slices == []
    emulators.close()
