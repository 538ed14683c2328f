"""Emulators in worker processes beside this one, and the memory that all of them share.

ale-py 0.12 holds the interpreter's lock while it emulates, so that threads cannot emulate side by
side. The first slice of an environment's emulators therefore works here and each other one in a
worker, a Python that runs `main`, at the same time. What every step exchanges, the actions and the
consoles' memories, lies in a `_SharedBuffer`; a socket carries who has to do what, wakes the other
side, and tells each of them of the other's end: no lock can be left taken. Anything rarer goes
through the socket, too.
"""

import contextlib
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.error import ClosedEnvironmentError
from numpy.typing import NDArray

from wm_envs.data.streams import warn
from wm_envs.errors import MissingExtraError, WorkerError

MEMORY_SIZE = 128  # bytes
# Windows neither hands open files to a process nor waits for sockets in this way.
HAS_WORKERS = os.name == "posix" and hasattr(select, "poll")
NOOP = 0


def import_ale() -> Any:
    """The package ale_py; raises MissingExtraError where it is not installed."""
    try:
        import ale_py
    except ImportError as error:
        message = 'wm/PongAtari-v0 needs ale-py: pip install "wm-suite[atari]", or use wm/Pong-v0'
        raise MissingExtraError(message) from error
    return ale_py


class Emulator:
    """One console, switched on."""

    def __init__(self) -> None:
        ale_py = import_ale()
        # The emulator would greet on the standard error.
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        # The noise is drawn from the state row, so that a clone carries its future.
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.loadROM(ale_py.roms.get_rom_path("pong"))
        self._actions = self._ale.getMinimalActionSet()
        self._make_state = ale_py.ALEState
        # Of the current state: a restored console draws with its next frame.
        self._has_screen = False
        self._ale.reset_game()
        # Every game starts from here; a reset of the emulator would take longer.
        self._switched_on = self.save()

    def start(self, num_noops: int) -> None:
        """Start a game and wait some frames.

        The console returns to the state it had when it was switched on, which `reset_game` takes
        3 ms to reach.
        """
        self.load(self._switched_on)
        self.play([NOOP] * num_noops)

    def play(self, actions: Sequence[int]) -> None:
        """Play one frame per action, which takes no effect once the game is over."""
        # Looked up once: the loop runs four times a step.
        act, codes = self._ale.act, self._actions
        for action in actions:
            act(codes[action])
        # After zero frames the screen is still that of the state before.
        self._has_screen = self._has_screen or len(actions) > 0

    def read(self, out: NDArray[np.uint8]) -> None:
        """Copy the memory into an array, uint8 [128]."""
        self._ale.getRAM(out)

    def screen(self) -> NDArray[np.uint8] | None:
        """The picture of the last frame, uint8 [210, 160, 3], if it is of the present state."""
        return self._ale.getScreenRGB() if self._has_screen else None

    def save(self) -> bytes:
        """The whole console."""
        # The bytes of pickling are the only form in which the emulator gives its state away.
        saved: bytes = self._ale.cloneState().__getstate__()
        return saved

    def load(self, saved: bytes) -> None:
        """Return to a saved console."""
        self._ale.restoreState(self._make_state(saved))
        self._has_screen = False


class EmulatorPool:
    """Emulators by number, each made when it is first needed."""

    def __init__(self) -> None:
        self._emulators: dict[int, Emulator] = {}

    def __getitem__(self, slot: int) -> Emulator:
        # Making one takes long, and a worker needs only those that it plays itself.
        if slot not in self._emulators:
            self._emulators[slot] = Emulator()
        return self._emulators[slot]

    def call(
        self, method: str, slots: Sequence[int], arguments: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """The results of a method of each of these emulators."""
        results = []
        for slot, slot_arguments in zip(slots, arguments, strict=True):
            results.append(getattr(self[slot], method)(*slot_arguments))
        return results

    def play(
        self, slots: Sequence[int], actions: NDArray[Any], memories: NDArray[np.uint8]
    ) -> None:
        """Play the actions [N, frames] and copy the memories to their slots' rows [slots, 128]."""
        for slot, frames in zip(slots, actions.tolist(), strict=True):
            emulator = self[slot]
            emulator.play(frames)
            emulator.read(memories[slot])


MAX_FRAMES = 60  # of one action
# Seconds that a worker has to end by itself.
PATIENCE = 5.0
# seconds of looking out before sleeping: a core that sleeps takes a tenth of a millisecond to wake
WATCHFUL = 5e-4
INTERRUPTED = (
    "a step was interrupted while workers emulated: close this environment and make another"
)

# Method, slots, and arguments by slot, or for "play" the number of frames.
Request = tuple[str, list[int], Any]


class _SharedBuffer:
    """Memory of several processes: actions [slots, MAX_FRAMES] and memories [slots, 128], uint8.

    It has a descriptor and no name, so that it is gone with the last process that holds it, however
    that ends.
    """

    def __init__(self, num_slots: int, descriptor: int) -> None:
        size = num_slots * (MAX_FRAMES + MEMORY_SIZE)
        # Only the owner makes the file long enough; workers find it so.
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        # The array keeps the mapping alive, whose descriptor may be closed.
        cells = np.frombuffer(mmap.mmap(descriptor, size), np.uint8)
        self.actions = cells[: num_slots * MAX_FRAMES].reshape(num_slots, MAX_FRAMES)
        self.memories = cells[num_slots * MAX_FRAMES :].reshape(num_slots, MEMORY_SIZE)


def nameless_file() -> int:
    """The descriptor of an empty file in memory, or in the temporary folder without such files."""
    if sys.platform == "linux":
        return os.memfd_create("consoles")
    # Deleted when it is closed; the duplicate keeps it open, so that no file is left behind by a
    # kill.
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def answer(pool: EmulatorPool, buffer: _SharedBuffer, request: Request) -> list[Any] | Exception:
    """Do what is asked; an error is an answer, too."""
    method, slots, arguments = request
    try:
        if method != "play":
            return pool.call(method, slots, arguments)
        pool.play(slots, buffer.actions[slots, :arguments], buffer.memories)
        return []
    except Exception as error:
        # The exception travels to the owner, which raises it where the step was called.
        return error


def receive(connection: Connection) -> Any:
    """The next message.

    Looked out for at first, so that the steps of a tight loop follow each other at once.
    """
    lookout = select.poll()
    lookout.register(connection, select.POLLIN)
    end = time.perf_counter() + WATCHFUL
    # Yields instead of a plain loop: with fewer cores than workers another one can go on.
    while not lookout.poll(0) and time.perf_counter() < end:
        give_way()
    return connection.recv()


def give_way() -> None:
    """Let another process have the processor for a moment."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()
    else:
        time.sleep(0)


class _Worker:
    """An emulator pool in a process of its own.

    The process ends with this object or with the whole program.
    """

    def __init__(self, part: slice, num_slots: int, descriptor: int) -> None:
        self._rows = f"rows {part.start} to {part.stop - 1}"
        # A pair of sockets and not pipes: shutdown ends both directions for all holders at once.
        ours, theirs = socket.socketpair()
        # The folders of this program, and not `-m`, which would import from the current folder
        # first.
        folders = [*map(str, sys.path), str(Path(__file__).parents[2])]
        program = f"import sys; sys.path = {folders!r}; from {__name__} import main; main()"
        numbers = (theirs.fileno(), descriptor, num_slots)
        command = [sys.executable, "-c", program, *map(str, numbers)]
        # Not `multiprocessing`, which would run the user's main module again or fork a process with
        # threads.
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno(), descriptor])
        # While it is open here, the end of the worker would not show.
        theirs.close()
        self._connection = Connection(ours.detach())
        # So that a worker ends with its owner, however that ends.
        self.stop = weakref.finalize(self, _stop, self._connection, self._process, os.getpid())

    def send(self, request: Request) -> None:
        """Hand over a request; raises WorkerError."""
        try:
            self._connection.send(request)
        # A worker that has died is told from one that is slow.
        except OSError as error:
            raise self._ended() from error

    def receive(self) -> list[Any] | Exception:
        """Wait for the answer to the last request; raises WorkerError."""
        try:
            result: list[Any] | Exception = receive(self._connection)
        except (EOFError, OSError) as error:
            raise self._ended() from error
        return result

    def _ended(self) -> WorkerError:
        self.stop()
        status = self._process.returncode
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return WorkerError(
            f"the process that emulated {self._rows} has ended ({how}): close this environment "
            "and make another"
        )


def _stop(connection: Connection, process: "subprocess.Popen[bytes]", owner: int) -> None:
    if os.getpid() != owner:
        # A fork of the program: the worker is not its own.
        return
    # A copy of the socket: closing it on the way out closes nothing of the connection.
    with socket.socket(fileno=os.dup(connection.fileno())) as ours, contextlib.suppress(OSError):
        # So that the worker sees the end of its input, also while a fork holds this socket.
        ours.shutdown(socket.SHUT_RDWR)
    connection.close()
    try:
        process.wait(PATIENCE)
    # It hangs within the emulator; what it holds is of no use any more.
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _WorkerPool:
    """This process and its workers: each emulates the consoles of one slice.

    Args:
        slices: Slots, in order from 0; the first slice is emulated here.
    """

    def __init__(self, slices: Sequence[slice]) -> None:
        self._member_of = [
            number
            for number, part in enumerate(slices)
            for _ in range(part.start, part.stop)
            # Slices follow each other, so that the position in this list is the slot.
        ]
        # One file for all workers, which inherit its descriptor.
        descriptor = nameless_file()
        try:
            self._buffer = _SharedBuffer(len(self._member_of), descriptor)
            self._workers = {}
            for number, part in enumerate(slices):
                # The first slice is this process's own; empty ones need nobody.
                if number > 0 and part.start < part.stop:
                    self._workers[number] = _Worker(part, len(self._member_of), descriptor)
        finally:
            # The mapping stays; the descriptor has done its work.
            os.close(descriptor)
        self._failure = ""

    def play(
        self, pool: EmulatorPool, slots: Sequence[int], actions: NDArray[Any]
    ) -> NDArray[np.uint8]:
        """Play the actions [N, frames] side by side and give the memories, uint8 [N, 128].

        `pool` is ours.
        """
        num_frames = actions.shape[1]
        # Through shared memory: pickling the actions would cost more than a frame.
        self._buffer.actions[slots, :num_frames] = actions
        requests: dict[int, Request] = {}
        for member, positions in self._shares(slots).items():
            requests[member] = ("play", [slots[i] for i in positions], num_frames)
        self._exchange(pool, requests)
        return self._buffer.memories[slots]

    def call(
        self,
        pool: EmulatorPool,
        method: str,
        slots: Sequence[int],
        arguments: Sequence[tuple[Any, ...]],
    ) -> list[Any]:
        """The results of a method of each emulator."""
        shares = self._shares(slots)
        requests: dict[int, Request] = {}
        for member, positions in shares.items():
            member_arguments = [arguments[i] for i in positions]
            requests[member] = (method, [slots[i] for i in positions], member_arguments)
        # In the order of the slots, whoever has answered first.
        answers: list[Any] = [None] * len(slots)
        for member, results in self._exchange(pool, requests).items():
            for position, result in zip(shares[member], results, strict=True):
                answers[position] = result
        return answers

    def stop(self) -> None:
        """End the workers; may be called twice."""
        for worker in self._workers.values():
            worker.stop()

    def _shares(self, slots: Sequence[int]) -> dict[int, list[int]]:
        """Member -> the positions of its slots."""
        shares: dict[int, list[int]] = {}
        for position, slot in enumerate(slots):
            shares.setdefault(self._member_of[slot], []).append(position)
        return shares

    def _exchange(self, pool: EmulatorPool, requests: dict[int, Request]) -> dict[int, list[Any]]:
        """Let all work at the same time.

        Whatever breaks this off leaves them out of step, for good.
        """
        if self._failure:
            raise WorkerError(self._failure)
        # Before the exchange, so that whatever breaks it off, even a key, leaves it in place.
        # An answer that is still under way would be taken for that of the next request.
        self._failure = INTERRUPTED
        try:
            answers = self._work(pool, requests)
        except WorkerError as error:
            self._failure = str(error)
            raise
        self._failure = ""
        results: dict[int, list[Any]] = {}
        for member, reply in answers.items():
            if isinstance(reply, Exception):
                raise reply
            results[member] = reply
        return results

    def _work(
        self, pool: EmulatorPool, requests: dict[int, Request]
    ) -> dict[int, list[Any] | Exception]:
        others = [member for member in requests if member in self._workers]
        for member in others:
            # All are sent before any is awaited.
            self._workers[member].send(requests[member])
        answers: dict[int, list[Any] | Exception] = {}
        # This process does its own share while the others do theirs.
        if 0 in requests:
            answers[0] = answer(pool, self._buffer, requests[0])
        # Also where the own share failed: each request has exactly one answer.
        for member in others:
            answers[member] = self._workers[member].receive()
        return answers


class Emulators:
    """All emulators of an environment, in this process and in workers beside it.

    Args:
        slices: Slots that are emulated side by side, in order from 0: the first here, each other by
            a worker. Without any, all consoles are in this process.
    """

    def __init__(self, slices: Sequence[slice] = ()) -> None:
        import_ale()
        if len(slices) > 1 and not HAS_WORKERS:
            warn("this system has no worker processes for wm/PongAtari-v0: one emulates all rows")
            slices = ()
        self._slices = list(slices)
        self._pool = EmulatorPool()
        self._worker_pool: _WorkerPool | None = None
        self._process_id = os.getpid()
        self._in_use: set[int] = set()
        # Slots whose emulators stayed with the program that this process was forked from.
        self._lost: set[int] = set()
        self._is_closed = False

    def __getstate__(self) -> dict[str, Any]:
        # Only what was used has a state; the rest is made when it is needed.
        slots = sorted(self._in_use)
        # A pickled environment brings its games along and no processes.
        return {
            "slices": self._slices,
            "saved": dict(zip(slots, self.call("save", slots), strict=True)),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["slices"])  # type: ignore[misc]
        self.call("load", list(state["saved"]), [(saved,) for saved in state["saved"].values()])

    def __contains__(self, slot: int) -> bool:
        return slot in self._in_use

    def play(self, slots: Sequence[int], actions: NDArray[Any]) -> NDArray[np.uint8]:
        """Play the actions [N, frames] and give the memories, uint8 [N, 128].

        Raises:
            WorkerError: A worker has ended or an exchange with it was interrupted, now or earlier.
            ClosedEnvironmentError: The consoles are gone.
        """
        self._use(slots, has_state=True)
        if len(self._slices) > 1:
            return self._workers().play(self._pool, slots, actions)
        # Up to the highest slot alone: without workers there is no buffer of all.
        memories = np.zeros((max(slots, default=-1) + 1, MEMORY_SIZE), np.uint8)
        self._pool.play(slots, actions, memories)
        return memories[slots]

    def start(self, slots: Sequence[int], num_noops: Sequence[int]) -> NDArray[np.uint8]:
        """Start games, wait so many frames [N] in each, and give the memories, uint8 [N, 128]."""
        self.call("start", slots, [(number,) for number in num_noops])
        # No frames: the memory is read and nothing moves.
        return self.play(slots, np.zeros((len(slots), 0), np.uint8))

    def call(
        self, method: str, slots: Sequence[int], arguments: Sequence[tuple[Any, ...]] | None = None
    ) -> list[Any]:
        """The results of a method of each emulator.

        Workers work side by side, and errors are raised as in `play`.
        """
        # What starts or loads needs no state; everything else would play a game that is not there.
        self._use(slots, has_state=method not in ("start", "load"))
        all_arguments = [()] * len(slots) if arguments is None else arguments
        if len(self._slices) > 1:
            return self._workers().call(self._pool, method, slots, all_arguments)
        return self._pool.call(method, slots, all_arguments)

    def close(self) -> None:
        """Stop the workers and forget the consoles, for good.

        New ones would not be where the games were.
        """
        if self._worker_pool is not None:
            self._worker_pool.stop()
        self._worker_pool = None
        self._in_use = set()
        self._pool = EmulatorPool()
        self._is_closed = True

    def _use(self, slots: Sequence[int], has_state: bool) -> None:
        if self._is_closed:
            raise ClosedEnvironmentError(
                "this environment was closed and its consoles are gone: make another"
            )
        if self._process_id != os.getpid():
            # After a fork: the sockets are shared with the parent, whose answers would get mixed
            # up.
            self._leave_workers()
        if has_state and self._lost.intersection(slots):
            raise WorkerError(
                "this process was forked while other processes emulated, and they stay with the "
                "one "
                "that it was forked from: reset this environment, or restore a cloned state"
            )
        self._lost.difference_update(slots)
        self._in_use.update(slots)

    def _leave_workers(self) -> None:
        """In a fork.

        Its own consoles were copied with the process, those of the workers are out of reach.
        """
        # The first slice was emulated in the process itself, and has come along in the fork.
        workers = [slot for part in self._slices[1:] for slot in range(part.start, part.stop)]
        if self._worker_pool is not None:
            self._lost = self._in_use.intersection(workers)
        self._worker_pool = None
        self._process_id = os.getpid()

    def _workers(self) -> _WorkerPool:
        # Processes start with the first exchange, so that an environment that is only made or
        # pickled costs none.
        self._worker_pool = self._worker_pool or _WorkerPool(self._slices)
        return self._worker_pool


def serve(connection: Connection, buffer: _SharedBuffer) -> None:
    """Answer requests until the other side closes."""
    pool = EmulatorPool()
    while True:
        try:
            connection.send(answer(pool, buffer, receive(connection)))
        except (EOFError, OSError):
            return


def main() -> None:
    """What a worker's process does."""
    # A key that interrupts the program is not meant for its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, buffer_descriptor, num_slots = (int(argument) for argument in sys.argv[1:4])
    serve(Connection(descriptor), _SharedBuffer(num_slots, buffer_descriptor))
