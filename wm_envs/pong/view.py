"""Pong as objects and symbols: the view through which a world model of symbols reads either game."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wm_envs.errors import OptionError
from wm_envs.pong import memory as kernels

Array = NDArray[Any]

_MOST_SYMBOLS = 64  # per object and row
_CONSTANTS = {
    0: 140, 2: 4, 3: 16, 4: 16, 6: 4, 7: 16, 10: 2, 11: 4,
}  # fmt: skip
"""Features of a frame that never change, in pixels."""


@dataclass(frozen=True)
class PongView:
    """Player, ball, enemy and scores, decided in this order; `wm_agents.world_models.ObjectView` says what for.

    Args:
        reach: Steps of one action that take the player's paddle from end to end; `measure_reach` finds it.
        middle: Steps from the upper end at which a game begins.
        top: Pixel at which the paddle would rest at the upper end, were it not for `highest`.
        slope: Pixels that a step of one action moves the place of rest.
        highest: Pixel above which the paddle never goes.
    """

    reach: float = 8.5
    middle: float = 4.25
    top: float = 1.7
    slope: float = 23.04
    highest: float = 25.0

    objects: ClassVar[dict[str, tuple[int, ...]]] = {"player": (0,), "ball": (1, 2), "enemy": (3,), "scores": (4, 5)}
    outcome: ClassVar[str] = "scores"
    absent: ClassVar[tuple[int | None, ...]] = (None, 0, 0, None, None, None)
    observation_size: ClassVar[int] = kernels.NUM_FEATURES * kernels.STACK
    memory_size: ClassVar[int] = kernels.MEMORY_SIZE

    def begin(self, observations: Array) -> NDArray[np.int16]:
        """Memories [B, M] of observations [B, 56] alone.

        Raises:
            OptionError: The constant features are not where they belong, so this is another layout.
        """
        frames = observations.reshape(len(observations), kernels.NUM_FEATURES, kernels.STACK)
        for feature, value in _CONSTANTS.items():
            if (frames[:, feature] != value).any():
                raise OptionError(f"feature {feature} of Pong is always {value}: these observations have another layout")
        rows = np.zeros(len(observations), kernels.MEMORY)
        kernels.begin_rows(rows, observations, self._hundredths)
        return rows.view(np.int16).reshape(len(rows), -1)

    def remember(self, observations: Array, actions: Array, lengths: Array) -> tuple[NDArray[np.int16], Array]:
        """Memories [S, M] before each step of episodes laid end to end, and what was decided [S, 6]."""
        num_steps = int(lengths.sum())
        rows, decided = np.zeros(num_steps, kernels.MEMORY), np.zeros((num_steps, 6), np.int64)
        kernels.remember_rows(observations, actions.astype(np.int64), lengths, self._hundredths, rows, decided)
        return rows.view(np.int16).reshape(num_steps, -1), decided

    def symbols(self, name: str, memories: Array, actions: Array, decided: Array) -> tuple[NDArray[np.int32], int]:
        """What an object's network reads [B, K], and how many different symbols there are."""
        out = np.zeros((len(memories), _MOST_SYMBOLS), np.int32)
        place = np.zeros(2, np.int64)
        number = list(self.objects).index(name)
        kernels.symbol_rows(number, _rows(memories), actions, decided, out, place)
        return out[:, : place[0]], int(place[1])

    def advance(self, memories: Array, actions: Array, decided: Array) -> NDArray[np.int16]:
        """The memories [B, M] after a step; rows with a negative action stay."""
        after = np.array(memories, np.int16)
        kernels.advance_rows(_rows(after), actions, decided)
        return after

    def present(self, observations: Array) -> NDArray[np.int64]:
        """The newest values [B, 6] of what changes."""
        columns = [feature * kernels.STACK + kernels.STACK - 1 for feature in kernels.DECIDED]
        return np.ascontiguousarray(observations[:, columns], dtype=np.int64)

    def observations(self, memories: Array) -> NDArray[np.float32]:
        """The observations [B, 56] that memories hold."""
        out = np.zeros((len(memories), kernels.NUM_FEATURES, kernels.STACK), np.float32)
        for feature, value in _CONSTANTS.items():
            out[:, feature] = value
        flat = out.reshape(len(out), -1)
        kernels.observation_rows(_rows(memories), flat)
        return flat

    @property
    def _hundredths(self) -> NDArray[np.int64]:
        return np.rint(100 * np.array([self.reach, self.middle, self.top, self.slope, self.highest])).astype(np.int64)


def _rows(memories: Array) -> Array:
    return np.ascontiguousarray(memories, np.int16).view(kernels.MEMORY).reshape(-1)
