"""The scripted debaters as policies on observations, for the agent's seat or any seat of seven."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.debate import dynamics
from wm_envs.debate.dynamics import NUM, STRATEGIES
from wm_envs.debate.tendencies import DebateColumn as Column
from wm_envs.errors import ObservationError, OptionError

SEAT = slice(Column.SEAT_SURVIVAL, Column.SEAT_SURVIVAL + NUM)
RELEVANCE = slice(Column.RELEVANCE_SURVIVAL, Column.RELEVANCE_SURVIVAL + NUM)
SCORES = slice(Column.SCORE_SURVIVAL, Column.SCORE_SURVIVAL + NUM)


class ScriptedDebater:
    """Plays one script in whatever seat it observes from.

    Args:
        strategy: One of `STRATEGIES`.

    Raises:
        OptionError: There is no such script.
    """

    def __init__(self, strategy: str) -> None:
        if strategy not in STRATEGIES:
            raise OptionError(f"a script is one of {', '.join(STRATEGIES)}, got {strategy!r}")
        self.strategy = strategy
        self._number = STRATEGIES.index(strategy)

    def __call__(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convictions [..., 7] for observations [..., 31]."""
        rows = np.atleast_2d(np.asarray(observation, np.float64))
        convictions = np.zeros((len(rows), NUM))
        for row, target in zip(rows, convictions, strict=True):
            relevance = np.ascontiguousarray(row[RELEVANCE])
            scores = np.ascontiguousarray(row[SCORES])
            dynamics.script(self._number, int(row[SEAT].argmax()), relevance, scores, target)
            for claim in range(NUM):
                # Scripts say weights, the environment takes convictions.
                target[claim] = dynamics.conviction_of(relevance, claim, target[claim])
        return convictions.reshape(*np.shape(observation)[:-1], NUM).astype(np.float32)

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: Any = None,  # noqa: ARG002  (the signature of Stable-Baselines3)
        deterministic: bool = False,  # noqa: ARG002
    ) -> tuple[NDArray[np.float32], Any]:
        """As Stable-Baselines3's agents.

        Raises ObservationError for what is no observation of a seat.
        """
        rows = np.asarray(
            observation if isinstance(observation, np.ndarray | list) else [], np.float64
        )
        # Trailing columns are allowed: wrappers such as a stack append theirs.
        size = SCORES.stop
        if rows.ndim not in (1, 2) or rows.shape[-1] < size or not np.isfinite(rows).all():
            raise ObservationError(
                f"expected the finite numbers that a seat observes, [{size} or more] or a batch "
                f"of them, got {type(observation).__name__} of shape {np.shape(rows)}"
            )
        return self(observation), state
