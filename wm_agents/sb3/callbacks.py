"""Learning curves of Stable-Baselines3's algorithms, as callbacks of their `learn`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from wm_agents.training.config_checks import require_integers


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
    """Scores of a learner by its steps, from before its first round to after its last.

    Args:
        score: Plays test episodes with what is being learned and gives their mean.
        every: Steps from one point to the next, at least; points lie between rounds, where all
            updates of the last one are done.

    Attributes:
        points: Steps and scores so far.

    Raises:
        ConfigError: `every` is no integer from 1 on.
    """

    def __init__(self, score: Callable[[], float], every: int) -> None:
        super().__init__()
        require_integers(1, every=every)
        self.score = score
        self.every = every
        self.points: list[tuple[int, float]] = []

    def note(self) -> None:
        """One more point, such as the last, after which no round begins."""
        self.points.append((self.num_timesteps, self.score()))

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= len(self.points) * self.every:
            self.note()

    def _on_step(self) -> bool:
        return True
