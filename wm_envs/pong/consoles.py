"""Atari consoles with Pong in their slot, run by ale-py, in this process or in worker processes.

ale-py 0.12 holds the interpreter's lock while it emulates, so that threads cannot emulate side by side. A worker is
therefore a process of its own, `python -m wm_envs.pong.consoles`, and a thread waits for it at a socket.
"""

import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.errors import MissingExtraError

MEMORY_SIZE = 128  # bytes
NOOP = 0


def import_ale() -> Any:
    """The package ale_py; raises MissingExtraError where it is not installed."""
    try:
        import ale_py
    except ImportError as error:
        message = 'wm/PongAtari-v0 needs ale-py: pip install "wm-suite[atari]", or use wm/Pong-v0'
        raise MissingExtraError(message) from error
    return ale_py


class Console:
    """One emulator."""

    def __init__(self) -> None:
        ale_py = import_ale()
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.loadROM(ale_py.roms.get_rom_path("pong"))
        self._actions = self._ale.getMinimalActionSet()
        self._make_state = ale_py.ALEState
        self._memory: NDArray[np.uint8] = np.zeros(MEMORY_SIZE, np.uint8)
        self._has_screen = False  # of the present state; a restored console draws with its next frame
        self._ale.reset_game()
        self._switched_on = self.save()

    def start(self, num_noops: int) -> bytes:
        """Start a game, wait some frames and give the memory.

        The console is returned to the state it had when it was switched on, which `reset_game` takes 3 ms to reach.
        """
        self.load(self._switched_on)
        return self.play([NOOP] * num_noops)

    def play(self, actions: Sequence[int]) -> bytes:
        """Play one frame per action, which takes no effect once the game is over, and give the memory."""
        act, codes = self._ale.act, self._actions
        for action in actions:
            act(codes[action])
        self._has_screen = self._has_screen or len(actions) > 0
        self._ale.getRAM(self._memory)
        return self._memory.tobytes()

    def screen(self) -> NDArray[np.uint8] | None:
        """The picture of the last frame, uint8 [210, 160, 3], if it is of the present state."""
        return self._ale.getScreenRGB() if self._has_screen else None

    def save(self) -> bytes:
        """The whole console."""
        saved: bytes = self._ale.cloneState().__getstate__()
        return saved

    def load(self, saved: bytes) -> None:
        """Return to a saved console."""
        self._ale.restoreState(self._make_state(saved))
        self._has_screen = False


class Shelf:
    """Consoles by number, each made when it is first needed."""

    def __init__(self) -> None:
        self._consoles: dict[int, Console] = {}

    def call(self, method: str, slots: Sequence[int], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What the method of each of these consoles gives."""
        for slot in slots:
            if slot not in self._consoles:
                self._consoles[slot] = Console()
        pairs = zip(slots, arguments, strict=True)
        return [getattr(self._consoles[slot], method)(*each) for slot, each in pairs]


class Worker:
    """A shelf in a process of its own, which ends with this object or with the whole program."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        folders = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        theirs.close()
        self._connection = Connection(ours.detach())
        self.stop = weakref.finalize(self, _stop, self._connection, process)

    def send(self, *request: Any) -> None:
        """Hand over a request: method, slots and arguments."""
        self._connection.send(request)

    def receive(self) -> list[Any]:
        """Wait for the answer to the last request."""
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


def _stop(connection: Connection, process: "subprocess.Popen[bytes]") -> None:
    connection.close()  # the worker sees the end of its input
    process.wait()


def serve(connection: Connection) -> None:
    """Answer requests until the other side closes."""
    shelf = Shelf()
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            connection.send(shelf.call(*request))
        except Exception as error:
            connection.send(error)


class Consoles:
    """All consoles of an environment.

    Args:
        slices: Slots that share a worker; without any, all consoles are in this process.
    """

    def __init__(self, slices: Sequence[slice] = ()) -> None:
        import_ale()
        self._slices = list(slices)
        self._shelf = Shelf()
        self._workers: dict[int, Worker] = {}
        self._in_use: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        slots = sorted(self._in_use)
        return {"slices": self._slices, "saved": dict(zip(slots, self.call("save", slots), strict=True))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["slices"])  # type: ignore[misc]
        self.call("load", list(state["saved"]), [(saved,) for saved in state["saved"].values()])

    def __contains__(self, slot: int) -> bool:
        return slot in self._in_use

    def call(self, method: str, slots: Sequence[int], arguments: Sequence[tuple[Any, ...]] | None = None) -> list[Any]:
        """What the method of each console gives; workers work side by side."""
        self._in_use.update(slots)
        given = [()] * len(slots) if arguments is None else arguments
        return self._call_workers(method, slots, given) if self._slices else self._shelf.call(method, slots, given)

    def close(self) -> None:
        """Stop the workers and forget the consoles."""
        for worker in self._workers.values():
            worker.stop()
        self._workers, self._in_use, self._shelf = {}, set(), Shelf()

    def _call_workers(self, method: str, slots: Sequence[int], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        shares: dict[int, list[int]] = {}  # worker -> positions of its slots
        for position, slot in enumerate(slots):
            shares.setdefault(self._worker_of(slot), []).append(position)
        for number, share in shares.items():
            self._worker(number).send(method, [slots[i] for i in share], [arguments[i] for i in share])
        answers: list[Any] = [None] * len(slots)
        for number, share in shares.items():
            for position, answer in zip(share, self._worker(number).receive(), strict=True):
                answers[position] = answer
        return answers

    def _worker_of(self, slot: int) -> int:
        return next(i for i, part in enumerate(self._slices) if part.start <= slot < part.stop)

    def _worker(self, number: int) -> Worker:
        if number not in self._workers:
            self._workers[number] = Worker()
        return self._workers[number]


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
