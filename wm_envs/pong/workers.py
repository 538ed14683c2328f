"""Worker processes that emulate consoles beside this one, and the memory that all of them see.

A worker is a Python that runs `main`. What every step exchanges, the actions and the consoles'
memories, lies in a `Board`; a socket carries who has to do what, wakes the other side, and tells
each of them of the other's end: no lock can be left taken. Anything rarer goes through the socket,
too.
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
from numpy.typing import NDArray

from wm_envs.errors import WorkerError
from wm_envs.pong.consoles import MEMORY_SIZE, Shelf

MOST_FRAMES = 60  # of one action
PATIENCE = 5.0  # seconds that a worker has to end by itself
# seconds of looking out before sleeping: a core that sleeps takes a tenth of a millisecond to wake
WATCHFUL = 5e-4
INTERRUPTED = (
    "a step was interrupted while workers emulated: close this environment and make another"
)

Request = tuple[
    str, list[int], Any
]  # method, slots, and arguments by slot or for "play" the number of frames


class Board:
    """Memory that several processes share: actions [slots, MOST_FRAMES] and memories [slots, 128], both uint8.

    It has a descriptor and no name, so that it is gone with the last process that holds it, however
    that ends.
    """

    def __init__(self, num_slots: int, descriptor: int) -> None:
        size = num_slots * (MOST_FRAMES + MEMORY_SIZE)
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        cells = np.frombuffer(mmap.mmap(descriptor, size), np.uint8)
        self.actions = cells[: num_slots * MOST_FRAMES].reshape(num_slots, MOST_FRAMES)
        self.memories = cells[num_slots * MOST_FRAMES :].reshape(num_slots, MEMORY_SIZE)


def nameless_file() -> int:
    """The descriptor of an empty file in memory, or where the system has none, in the folder for such files."""
    if sys.platform == "linux":
        return os.memfd_create("consoles")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def answer(shelf: Shelf, board: Board, request: Request) -> list[Any] | Exception:
    """Do what is asked; an error is an answer, too."""
    method, slots, arguments = request
    try:
        if method != "play":
            return shelf.call(method, slots, arguments)
        shelf.play(slots, board.actions[slots, :arguments], board.memories)
        return []
    except Exception as error:
        return error


def receive(connection: Connection) -> Any:
    """The next message.

    Looked out for at first, so that the steps of a tight loop follow each other at once.
    """
    lookout = select.poll()
    lookout.register(connection, select.POLLIN)
    end = time.perf_counter() + WATCHFUL
    while not lookout.poll(0) and time.perf_counter() < end:
        os.sched_yield()
    return connection.recv()


class Worker:
    """A shelf in a process of its own, which ends with this object or with the whole program."""

    def __init__(self, part: slice, num_slots: int, descriptor: int) -> None:
        self._rows = f"rows {part.start} to {part.stop - 1}"
        ours, theirs = socket.socketpair()
        # The folders of this program, and not `-m`, which would import from the current folder
        # first.
        folders = [*map(str, sys.path), str(Path(__file__).parents[2])]
        program = f"import sys; sys.path = {folders!r}; from {__name__} import main; main()"
        command = [
            sys.executable,
            "-c",
            program,
            str(theirs.fileno()),
            str(descriptor),
            str(num_slots),
        ]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno(), descriptor])
        theirs.close()
        self._connection = Connection(ours.detach())
        self.stop = weakref.finalize(self, _stop, self._connection, self._process, os.getpid())

    def send(self, request: Request) -> None:
        """Hand over a request; raises WorkerError."""
        try:
            self._connection.send(request)
        except OSError as error:
            raise self._ended() from error

    def receive(self) -> list[Any] | Exception:
        """Wait for the answer to the last request; raises WorkerError."""
        try:
            given: list[Any] | Exception = receive(self._connection)
        except (EOFError, OSError) as error:
            raise self._ended() from error
        return given

    def _ended(self) -> WorkerError:
        self.stop()
        status = self._process.returncode
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return WorkerError(
            f"the process that emulated {self._rows} has ended ({how}): close this environment and make another"
        )


def _stop(connection: Connection, process: "subprocess.Popen[bytes]", owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork of the program: the worker is not its own
    with socket.socket(fileno=os.dup(connection.fileno())) as ours, contextlib.suppress(OSError):
        ours.shutdown(
            socket.SHUT_RDWR
        )  # the worker sees the end of its input, also while a fork holds this socket
    connection.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Crew:
    """This process and its workers: each emulates the consoles of one slice.

    Args:
        slices: Slots, in order from 0; the first slice is emulated here.
    """

    def __init__(self, slices: Sequence[slice]) -> None:
        self._member_of = [
            number for number, part in enumerate(slices) for _ in range(part.start, part.stop)
        ]
        descriptor = nameless_file()
        try:
            self._board = Board(len(self._member_of), descriptor)
            others = [
                (number, part)
                for number, part in enumerate(slices)
                if number > 0 and part.start < part.stop
            ]
            self._workers = {
                number: Worker(part, len(self._member_of), descriptor) for number, part in others
            }
        finally:
            os.close(descriptor)
        self._failure = ""

    def play(self, shelf: Shelf, slots: Sequence[int], actions: NDArray[Any]) -> NDArray[np.uint8]:
        """Play the actions [N, frames] side by side and give the memories, uint8 [N, 128].

        `shelf` is ours.
        """
        num_frames = actions.shape[1]
        self._board.actions[slots, :num_frames] = actions
        shares = self._shares(slots)
        self._exchange(
            shelf,
            {m: ("play", [slots[i] for i in share], num_frames) for m, share in shares.items()},
        )
        return self._board.memories[slots]

    def call(
        self, shelf: Shelf, method: str, slots: Sequence[int], arguments: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """What the method of each console gives."""
        shares = self._shares(slots)
        requests = {
            m: (method, [slots[i] for i in s], [arguments[i] for i in s]) for m, s in shares.items()
        }
        answers: list[Any] = [None] * len(slots)
        for member, given in self._exchange(shelf, requests).items():
            for position, each in zip(shares[member], given, strict=True):
                answers[position] = each
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

    def _exchange(self, shelf: Shelf, requests: dict[int, Request]) -> dict[int, list[Any]]:
        """Let all work at the same time.

        Whatever breaks this off leaves them out of step, for good.
        """
        if self._failure:
            raise WorkerError(self._failure)
        self._failure = INTERRUPTED
        try:
            answers = self._work(shelf, requests)
        except WorkerError as error:
            self._failure = str(error)
            raise
        self._failure = ""
        for given in answers.values():
            if isinstance(given, Exception):
                raise given
        return {member: given for member, given in answers.items() if isinstance(given, list)}

    def _work(self, shelf: Shelf, requests: dict[int, Request]) -> dict[int, list[Any] | Exception]:
        others = [member for member in requests if member in self._workers]
        for member in others:
            self._workers[member].send(requests[member])
        answers = {0: answer(shelf, self._board, requests[0])} if 0 in requests else {}
        return answers | {member: self._workers[member].receive() for member in others}


def serve(connection: Connection, board: Board) -> None:
    """Answer requests until the other side closes."""
    shelf = Shelf()
    while True:
        try:
            connection.send(answer(shelf, board, receive(connection)))
        except (EOFError, OSError):
            return


def main() -> None:
    """What a worker's process does."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a key that interrupts the program is not meant for its workers
    serve(Connection(int(sys.argv[1])), Board(int(sys.argv[3]), int(sys.argv[2])))
