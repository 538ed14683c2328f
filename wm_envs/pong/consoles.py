"""Atari consoles with Pong in their slot, run by ale-py: in this process, and in others beside it.

ale-py 0.12 holds the interpreter's lock while it emulates, so that threads cannot emulate side by
side. The first slice of an environment's consoles is therefore emulated here and each other one by
a worker, a process of its own (`wm_envs.pong.workers`), at the same time.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.error import ClosedEnvironmentError
from numpy.typing import NDArray

from wm_envs.errors import MissingExtraError, WorkerError

if TYPE_CHECKING:
    from wm_envs.pong.workers import Crew

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
        self._has_screen = (
            False  # of the present state; a restored console draws with its next frame
        )
        self._ale.reset_game()
        self._switched_on = self.save()

    def start(self, num_noops: int) -> None:
        """Start a game and wait some frames.

        The console is returned to the state it had when it was switched on, which `reset_game`
        takes 3 ms to reach.
        """
        self.load(self._switched_on)
        self.play([NOOP] * num_noops)

    def play(self, actions: Sequence[int]) -> None:
        """Play one frame per action, which takes no effect once the game is over."""
        act, codes = self._ale.act, self._actions
        for action in actions:
            act(codes[action])
        self._has_screen = self._has_screen or len(actions) > 0

    def read(self, out: NDArray[np.uint8]) -> None:
        """Copy the memory into an array, uint8 [128]."""
        self._ale.getRAM(out)

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

    def __getitem__(self, slot: int) -> Console:
        if slot not in self._consoles:
            self._consoles[slot] = Console()
        return self._consoles[slot]

    def call(
        self, method: str, slots: Sequence[int], arguments: Sequence[tuple[Any, ...]]
    ) -> list[Any]:
        """What the method of each of these consoles gives."""
        return [
            getattr(self[slot], method)(*each) for slot, each in zip(slots, arguments, strict=True)
        ]

    def play(
        self, slots: Sequence[int], actions: NDArray[Any], memories: NDArray[np.uint8]
    ) -> None:
        """Play the actions [N, frames] and copy the memories into their slots' rows of [slots, 128]."""
        for slot, frames in zip(slots, actions.tolist(), strict=True):
            console = self[slot]
            console.play(frames)
            console.read(memories[slot])


class Consoles:
    """All consoles of an environment.

    Args:
        slices: Slots that are emulated side by side, in order from 0: the first here, each other by
            a worker. Without any, all consoles are in this process.
    """

    def __init__(self, slices: Sequence[slice] = ()) -> None:
        import_ale()
        self._slices = list(slices)
        self._shelf = Shelf()
        self._crew: Crew | None = None
        self._process_id = os.getpid()
        self._in_use: set[int] = set()
        self._lost: set[int] = (
            set()
        )  # slots whose emulators stayed with the program that this process was forked from
        self._is_closed = False

    def __getstate__(self) -> dict[str, Any]:
        slots = sorted(self._in_use)
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
        """Play the actions [N, frames], the same number for all, and give the memories, uint8 [N, 128].

        Raises:
            WorkerError: A worker has ended or an exchange with it was interrupted, now or earlier.
            ClosedEnvironmentError: The consoles are gone.
        """
        self._use(slots, has_state=True)
        if len(self._slices) > 1:
            return self._workers().play(self._shelf, slots, actions)
        memories = np.zeros((max(slots, default=-1) + 1, MEMORY_SIZE), np.uint8)
        self._shelf.play(slots, actions, memories)
        return memories[slots]

    def start(self, slots: Sequence[int], num_noops: Sequence[int]) -> NDArray[np.uint8]:
        """Start games, wait so many frames [N] in each, and give the memories, uint8 [N, 128]."""
        self.call("start", slots, [(number,) for number in num_noops])
        return self.play(slots, np.zeros((len(slots), 0), np.uint8))

    def call(
        self, method: str, slots: Sequence[int], arguments: Sequence[tuple[Any, ...]] | None = None
    ) -> list[Any]:
        """What the method of each console gives.

        Workers work side by side, and errors are raised as in `play`.
        """
        self._use(slots, has_state=method not in ("start", "load"))
        given = [()] * len(slots) if arguments is None else arguments
        if len(self._slices) > 1:
            return self._workers().call(self._shelf, method, slots, given)
        return self._shelf.call(method, slots, given)

    def close(self) -> None:
        """Stop the workers and forget the consoles, for good.

        New ones would not be where the games were.
        """
        if self._crew is not None:
            self._crew.stop()
        self._crew, self._in_use, self._shelf, self._is_closed = None, set(), Shelf(), True

    def _use(self, slots: Sequence[int], has_state: bool) -> None:
        if self._is_closed:
            raise ClosedEnvironmentError(
                "this environment was closed and its consoles are gone: make another"
            )
        if self._process_id != os.getpid():
            self._leave_workers()
        if has_state and self._lost.intersection(slots):
            raise WorkerError(
                "this process was forked while other processes emulated, and they stay with the one that it was forked "
                "from: reset this environment, or restore a cloned state"
            )
        self._lost.difference_update(slots)
        self._in_use.update(slots)

    def _leave_workers(self) -> None:
        """In a fork.

        Its own consoles were copied with the process, those of the workers are out of reach.
        """
        workers = [slot for part in self._slices[1:] for slot in range(part.start, part.stop)]
        if self._crew is not None:
            self._lost = self._in_use.intersection(workers)
        self._crew, self._process_id = None, os.getpid()

    def _workers(self) -> "Crew":
        from wm_envs.pong.workers import Crew

        self._crew = self._crew or Crew(self._slices)
        return self._crew
