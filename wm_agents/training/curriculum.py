"""A curriculum: harder tasks once the present one is mastered."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.training.config_checks import require_integers

LevelT = TypeVar("LevelT")


class Curriculum(Generic[LevelT]):
    """Advances a seed to its next level once it succeeds in a share `mastery` of episodes.

    The last `window` episodes count.

    A window is full before it counts and is cleared on advancing, so that success at an easy level
    never counts at a hard one. Each of `num_seeds` seeds has its own level and window.

    Args:
        levels: the levels, easiest first: whatever the trainer makes an environment from.
        mastery: share of successes that is asked for, in (0, 1].
        window: number of episodes that are looked at.
        num_seeds: how many seeds train side by side.

    Raises:
        ConfigError: on values outside these ranges.
    """

    def __init__(
        self, levels: Sequence[LevelT], mastery: float = 0.8, window: int = 100, num_seeds: int = 1
    ) -> None:
        require_integers(None, window=window, num_seeds=num_seeds)
        if not len(levels) or window < 1 or num_seeds < 1 or not 0 < mastery <= 1:
            raise ConfigError(
                f"Curriculum of {len(levels)} levels, mastery={mastery}, window={window}, "
                f"num_seeds={num_seeds}; "
                "give at least one level, window and seed, and a mastery in (0, 1]"
            )
        self.levels = tuple(levels)
        self.mastery = mastery
        self.window = window
        self.num_seeds = num_seeds
        self.level_indices: NDArray[np.int64] = np.zeros(num_seeds, dtype=np.int64)
        self._outcomes = np.zeros((num_seeds, window), dtype=np.bool_)
        self._num_recorded = np.zeros(num_seeds, dtype=np.int64)

    def level(self, seed_index: int = 0) -> LevelT:
        """The level that a seed trains on now."""
        return self.levels[self.level_indices[seed_index]]

    @property
    def success_rates(self) -> NDArray[np.float64]:
        """Success [num_seeds] over the episodes in the window, NaN before the first."""
        num_held = np.minimum(self._num_recorded, self.window)
        rates = np.full(self.num_seeds, np.nan)
        return np.divide(self._outcomes.sum(axis=1), num_held, out=rates, where=num_held > 0)

    @property
    def is_mastered(self) -> NDArray[np.bool_]:
        """Which seeds [num_seeds] master the last level at present."""
        return (self.level_indices == len(self.levels) - 1) & self._is_window_mastered()

    def record(
        self, successes: "ArrayLike", played_levels: "ArrayLike | None" = None
    ) -> NDArray[np.bool_]:
        """Records finished episodes in their order and advances seeds that master their level.

        Args:
            successes: [num_seeds, E], or [E] or one value when there is one seed.
            played_levels: index of the level at which each episode was played, of the same shape;
                episodes of another level than the present one do not count, nor does -1, which
                marks an episode that has not finished. None means that all were played at the level
                before this call.

        Returns:
            Which seeds [num_seeds] advanced.

        Raises:
            ConfigError: on a wrong shape, or values that are not 0, 1 or boolean.
        """
        outcomes = self._as_rows(successes, "successes")
        if not np.isin(outcomes, (0, 1)).all():
            raise ConfigError("successes must be True or False, one for each episode")
        before = self.level_indices.copy()
        played = (
            before[:, None]
            if played_levels is None
            else self._as_rows(played_levels, "played_levels")
        )
        if played_levels is not None and played.shape != outcomes.shape:
            raise ConfigError(
                f"played_levels {played.shape} and successes {outcomes.shape}; give equal shapes"
            )
        for outcome, level in zip(
            outcomes.T, np.broadcast_to(played, outcomes.shape).T, strict=True
        ):
            # A seed that has just advanced skips the rest of its row: those episodes were played
            # one level below.
            self._record_one(outcome.astype(np.bool_), level == self.level_indices)
        return self.level_indices > before

    def state_dict(self) -> dict[str, Any]:
        """All that changes, and what it must fit, as JSON-able values."""
        return {
            "num_levels": len(self.levels),
            "mastery": self.mastery,
            "window": self.window,
            "num_seeds": self.num_seeds,
            "level_indices": self.level_indices.tolist(),
            "outcomes": self._outcomes.astype(int).tolist(),
            "num_recorded": self._num_recorded.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state_dict()` of a curriculum of the same settings.

        Raises:
            CheckpointError: when the settings differ or the state is malformed; nothing was
                changed.
        """
        own = self.state_dict()
        for name in ("num_levels", "mastery", "window", "num_seeds"):
            if state.get(name) != own[name]:
                raise CheckpointError(
                    f"the curriculum was saved with {name}={state.get(name)}, not {own[name]}"
                )
        try:
            level_indices = np.array(state["level_indices"], dtype=np.int64)
            outcomes = np.array(state["outcomes"], dtype=np.int64).astype(np.bool_)
            num_recorded = np.array(state["num_recorded"], dtype=np.int64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"the state of the curriculum is malformed: {error}") from error
        shapes = (level_indices.shape, outcomes.shape, num_recorded.shape)
        is_valid = shapes == ((self.num_seeds,), (self.num_seeds, self.window), (self.num_seeds,))
        if (
            not is_valid
            or (num_recorded < 0).any()
            or not np.isin(level_indices, range(len(self.levels))).all()
        ):
            raise CheckpointError("the state of the curriculum has wrong shapes, levels or counts")
        self.level_indices, self._outcomes, self._num_recorded = (
            level_indices,
            outcomes,
            num_recorded,
        )

    def _as_rows(self, values: "ArrayLike", name: str) -> NDArray[Any]:
        rows = np.asarray(values)
        if self.num_seeds == 1 and rows.ndim < 2:
            rows = rows.reshape(1, -1)
        if rows.ndim != 2 or len(rows) != self.num_seeds:
            raise ConfigError(
                f"{name} has shape {rows.shape}; give [num_seeds={self.num_seeds}, episodes]"
            )
        return rows

    def _record_one(self, outcome: NDArray[np.bool_], is_counted: NDArray[np.bool_]) -> None:
        """Records at most one episode of each seed."""
        rows = np.flatnonzero(is_counted)
        self._outcomes[rows, self._num_recorded[rows] % self.window] = outcome[rows]
        self._num_recorded[rows] += 1
        has_next = self.level_indices < len(self.levels) - 1
        advancing = is_counted & has_next & self._is_window_mastered()
        self.level_indices[advancing] += 1
        self._outcomes[advancing] = False
        self._num_recorded[advancing] = 0

    def _is_window_mastered(self) -> NDArray[np.bool_]:
        # Counting avoids that 0.8 * 100 asks for 80.00000000000001 successes.
        needed = np.ceil(round(self.mastery * self.window, 9))
        return (self._num_recorded >= self.window) & (self._outcomes.sum(axis=1) >= needed)
