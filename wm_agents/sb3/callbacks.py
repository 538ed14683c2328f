"""Learning curves of Stable-Baselines3's algorithms, as callbacks of their `learn`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback


class EpisodeCurve(BaseCallback):
    """The mean success, or else return, of the episodes that finished in each rollout.

    The environment is to be a `VecMonitor`, which says when an episode finished.

    Attributes:
        points: Steps so far and the mean; rollouts in which no episode finished have none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int, float]] = []
        self._finished: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        self._finished += [info for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        scores = [info.get("is_success", info["episode"]["r"]) for info in self._finished]
        if scores:
            self.points.append((self.num_timesteps, float(np.mean(scores))))
        self._finished.clear()


class EvaluationCurve(BaseCallback):
    """What a function says of the learner, from before its first rollout on.

    Args:
        evaluate: A score, such as the mean return of some episodes.
        every: Steps between two evaluations, which wait for the end of a rollout's updates.

    Attributes:
        points: Steps so far and the score.
    """

    def __init__(self, evaluate: Callable[[], float], every: float) -> None:
        super().__init__()
        self.evaluate = evaluate
        self.every = every
        self.points: list[tuple[int, float]] = []

    def note(self) -> None:
        """One more point; call it after `learn` for the last one."""
        self.points.append((self.model.num_timesteps, self.evaluate()))

    def _on_rollout_start(self) -> None:
        # Before a rollout: SB3 has finished the updates of the last one.
        if self.model.num_timesteps >= len(self.points) * self.every:
            self.note()

    def _on_step(self) -> bool:
        return True
