"""An emulator of the Atari console that plays Pong (ale-py), and a pool of them in one process."""

from collections.abc import Sequence
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


class Emulator:
    """One console, switched on."""

    def __init__(self) -> None:
        ale_py = import_ale()
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


class EmulatorPool:
    """Emulators by number, each made when it is first needed."""

    def __init__(self) -> None:
        self._emulators: dict[int, Emulator] = {}

    def __getitem__(self, slot: int) -> Emulator:
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
