"""Callbacks of Stable-Baselines3's algorithms: learning curves noted between rounds of training."""

from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback

from wm_agents.training.config_checks import require_integers


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
