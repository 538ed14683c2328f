"""A race between ways of acting on the same stream of experience, by the returns of their episodes.

Letters: B rows (environments side by side).
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.learners.base import Learner, VectorStep
from wm_agents.learners.imagined_frames import ImaginedFrames, ImaginedFramesConfig
from wm_agents.learners.imagined_policy import ImaginedPolicy, ImaginedPolicyConfig
from wm_agents.learners.memory_policy import MemoryPolicy, MemoryPolicyConfig
from wm_agents.learners.replay_values import ReplayValues, ReplayValuesConfig
from wm_agents.learners.search import Search, SearchLearnerConfig
from wm_agents.learners.table import Table, TableConfig
from wm_agents.policy_gradient.spaces import PolicySpaces

LEARNERS: dict[type[Any], type[Learner]] = {
    TableConfig: Table,
    SearchLearnerConfig: Search,
    ImaginedPolicyConfig: ImaginedPolicy,
    ImaginedFramesConfig: ImaginedFrames,
    MemoryPolicyConfig: MemoryPolicy,
    ReplayValuesConfig: ReplayValues,
}
"""Ways of acting by the class of their settings."""

MAX_RETURNS = 1000
"""Greedy episodes that are kept of each way of acting."""

MIN_RETURNS = 5
"""Greedy episodes before a way of acting can be said to earn less."""

RIVAL_ERRORS = 2.0
LEAVE_ERRORS = 3.0
"""Standard errors by which one that earns less gets fewer episodes, and after which it leaves; the
second is larger since it is asked often and for good."""

COMPARE_EVERY = 32
"""Steps of all rows between two looks at who earns less."""

RIVALS_SHARE = 0.8
"""Of the episodes after the trial, for those that do not clearly earn less than the best."""


@dataclass(frozen=True)
class RaceConfig:
    """How episodes are shared out.

    Attributes:
        trial_share: Share of the steps in which all ways of acting get as many episodes; after it
            four of five go to those that do not clearly earn less than the best.
        leave_after: Shares of the steps after which those that clearly earn less leave, as long as
            two remain, and then down to one (a race, Maron & Moore 1994, sec. 2), so that both
            steps and time go where they earn most. Who is at chance beside all others stays. Once
            nothing is left to gain they leave right after the trial.
        greedy_share: Share of episodes without exploration, by which ways of acting are compared.
        window: Such episodes that count at least, the newest.
        recent_share: And all those that ended within the newest share of the steps, so that short
            episodes whose returns are mostly luck are told apart by many of them.
        max_episode: An episode that goes on longer counts in parts of so many steps, between which
            the way of acting may change.
        low_effort: Share of its updates that a way of acting does while it clearly earns less than
            the best.
        learners: Settings of the ways of acting that take part, of each kind once. Of those that
            earn the same the first acts, so that the one that costs least comes first.
    """

    trial_share: float = 0.2
    leave_after: tuple[float, float] = (0.4, 0.7)
    greedy_share: float = 0.25
    window: int = 20
    recent_share: float = 0.05
    max_episode: int = 1000
    low_effort: float = 0.33
    learners: tuple[Any, ...] = tuple(settings() for settings in LEARNERS)

    def __post_init__(self) -> None:
        """Refuse what is no way of acting."""
        kinds = [type(settings) for settings in self.learners]
        if not kinds or set(kinds) - set(LEARNERS) or len(set(kinds)) < len(kinds):
            known = ", ".join(settings.__name__ for settings in LEARNERS)
            raise ConfigError(
                f"learners={self.learners!r}: give settings of at least one kind, each once, of "
                f"{known}"
            )


class Race:
    """Ways of acting side by side, and which of them acts in the next episode.

    Attributes:
        learners: Those that take part.
        returns: Of the newest episodes without exploration, by learner.
    """

    def __init__(
        self,
        spaces: PolicySpaces,
        num_rows: int,
        total_steps: int,
        seed: int,
        config: RaceConfig | None = None,
    ) -> None:
        self.config = config or RaceConfig()
        self.num_rows = num_rows
        self.total_steps = total_steps
        self.num_steps = 0
        self.learners: list[Learner] = [
            LEARNERS[type(settings)](spaces, num_rows, total_steps, seed, settings)
            for settings in self.config.learners
        ]
        self.returns: dict[str, deque[float]] = {
            learner.name: deque(maxlen=MAX_RETURNS) for learner in self.learners
        }
        self._return_steps: dict[str, deque[int]] = {
            learner.name: deque(maxlen=MAX_RETURNS) for learner in self.learners
        }
        self.draws = np.random.default_rng([seed, 5])
        self._rivals: list[int] = []  # those that do not clearly earn less than the best
        self._range = [math.inf, -math.inf]  # of the returns of all episodes
        self.owners = np.zeros(num_rows, np.int64)
        self.greedy = np.zeros(num_rows, np.bool_)

    def extend(self, num_steps: int) -> None:
        """Go on for so many more steps."""
        self.total_steps = self.num_steps + num_steps
        for learner in self.learners:
            learner.total_steps = self.total_steps

    @property
    def done(self) -> float:
        """Share of the steps that were taken."""
        return min(1.0, self.num_steps / self.total_steps)

    @property
    def running(self) -> list[int]:
        """Numbers of the learners that can act; where none can, of those that may learn to.

        Raises:
            ConfigError: There is none: a search that has found no rules, a table without recurrence.
        """
        ready = [n for n, learner in enumerate(self.learners) if learner.can_act]
        found = ready or [n for n, one in enumerate(self.learners) if not one.withdrawal]
        if not found:
            reasons = "; ".join(
                f"{learner.name}: {learner.decision() or 'cannot act here'}"
                for learner in self.learners
            )
            raise ConfigError(
                f"no way of acting can act here ({reasons}): let others take part, such as "
                "ReplayValuesConfig()"
            )
        return found

    def score(self, number: int) -> float:
        """Mean return of a learner's newest episodes without exploration."""
        returns = self.returns[self.learners[number].name]
        return float(np.mean(returns)) if returns else -math.inf

    @property
    def ranking(self) -> list[int]:
        """The learners that can act, the one whose greedy episodes earn most first."""
        return sorted(self.running, key=lambda number: (-self.score(number), number))

    @property
    def best(self) -> Learner:
        """The learner that acts once learning is over."""
        return self.learners[self.ranking[0]]

    def assign(self, rows: NDArray[np.intp]) -> None:
        """Who acts in the episodes that begin in these rows."""
        if not len(rows):  # as at most steps, which need no ranking
            return
        ranking = self.ranking
        rivals = [number for number in self._rivals if number in ranking] or ranking
        share = RIVALS_SHARE if self.done >= self.config.trial_share else 0.0
        for number in ranking:
            if self.learners[number].lead > share:
                rivals, share = [number], self.learners[number].lead
        for row in rows:
            favored = rivals if self.draws.random() < share else ranking
            self.owners[row] = favored[int(self.draws.integers(len(favored)))]
            self.greedy[row] = self.draws.random() < self.config.greedy_share

    def compare(self) -> None:
        """Less time for those that clearly earn less than the best so far; in the end they leave.

        None for the best while nothing is left to gain.
        """
        best = self.ranking[0]
        self._rivals = [n for n in self.running if not self._earns_less(n, best, RIVAL_ERRORS)]
        for number, learner in enumerate(self.learners):
            is_rival = number in self._rivals or not learner.can_act
            learner.effort = 1.0 if is_rival else self.config.low_effort
        decided_after = self.config.leave_after[0]
        if self._cannot_be_surpassed(best, len(self.returns[self.learners[best].name])):
            self.learners[best].effort = 0.0
            decided_after = self.config.trial_share
        if self.done >= decided_after:
            self._let_leave(best)

    def _let_leave(self, best: int) -> None:
        """Those that clearly earn less, that are not needed, or that are not ready."""
        min_running = 2 if self.done < self.config.leave_after[1] else 1
        moment = f"after {self.num_steps:,} steps"
        for number in reversed(self.ranking[1:]):
            if self._cannot_be_surpassed(best, self.config.window):
                self.learners[number].withdrawal = f"left {moment}, nobody can earn more"
            elif len(self.running) <= min_running:
                continue
            elif self._earns_less(number, best, LEAVE_ERRORS):
                self.learners[number].withdrawal = f"left {moment}, others earned more"
        for learner in self.learners:
            if not (learner.can_act or learner.withdrawal):
                learner.withdrawal = f"not ready {moment}"
        # Episodes of those that left go on with the best, and count for nobody.
        is_left = ~np.isin(self.owners, self.running)
        self.owners[is_left] = best
        self.greedy[is_left] = False

    def _cannot_be_surpassed(self, number: int, num_newest: int) -> bool:
        """Whether so many of its newest episodes all earned the most that any episode ever earned.

        Where all episodes earn the same, nothing is known of what can be earned.
        """
        returns = list(self.returns[self.learners[number].name])[-num_newest:]
        lowest, highest = self._range
        is_full = len(returns) >= self.config.window
        return is_full and min(returns) == highest > lowest

    def _earns_less(self, number: int, other: int, num_errors: float) -> bool:
        """Whether the difference of mean returns is beyond so many of its standard errors.

        The spread is that of both together: twenty failures of a way of acting that is at chance do
        not say that it always fails.
        """
        few, many = (np.array(self.returns[self.learners[n].name]) for n in (number, other))
        if min(len(few), len(many)) < MIN_RETURNS:
            return False
        spread = (len(few) * few.var() + len(many) * many.var()) / (len(few) + len(many))
        error = math.sqrt(spread * (1 / len(few) + 1 / len(many)))
        return bool(many.mean() - few.mean() > num_errors * error)

    def act(self, obs: Tensor, is_start: NDArray[np.bool_]) -> Tensor:
        """Actions of all rows, each by its owner."""
        actions: Tensor | None = None
        for number in self.running:
            own = self.owners == number
            proposed = self.learners[number].act(obs, is_start, own, self.greedy & own)
            if actions is None:
                actions = proposed.clone()
            else:
                actions[torch.from_numpy(own)] = proposed[torch.from_numpy(own)]
        assert actions is not None
        return actions

    def observe(self, step: VectorStep) -> dict[str, float]:
        """Let all learners see what happened."""
        figures: dict[str, float] = {}
        for number, learner in enumerate(self.learners):
            if learner.withdrawal:
                continue
            own = (self.owners == number) & ~self.greedy
            for name, value in learner.observe(step, own).items():
                figures[f"{learner.name}/{name}"] = value
        self.num_steps += len(step.rewards)
        if self.num_steps // self.num_rows % COMPARE_EVERY == 0:
            self.compare()
        return figures

    def record(self, row: int, total: float) -> None:
        """The return of an episode that ended, or of a part of a long one."""
        self._range = [min(self._range[0], total), max(self._range[1], total)]
        if not self.greedy[row]:
            return
        name = self.learners[self.owners[row]].name
        returns, steps = self.returns[name], self._return_steps[name]
        returns.append(total)
        steps.append(self.num_steps)
        oldest = self.num_steps - self.config.recent_share * self.total_steps
        while len(returns) > self.config.window and steps[0] < oldest:
            returns.popleft()
            steps.popleft()

    def decisions(self) -> dict[str, str]:
        """One line for each way of acting, and which of them acts."""
        lines = {}
        for number, learner in enumerate(self.learners):
            score = self.score(number)
            earned = f"mean return {score:.4g} without exploration"
            if math.isinf(score):
                earned = "" if learner.withdrawal else "ended no episode without exploration"
            lines[learner.name] = "; ".join(part for part in (learner.decision(), earned) if part)
        lines["acts"] = self.best.name
        return lines

    def state_dict(self) -> dict[str, Any]:
        """The learners and their returns, for episodes that begin anew."""
        return {
            "learners": {learner.name: learner.state_dict() for learner in self.learners},
            "returns": {name: list(values) for name, values in self.returns.items()},
            "return_steps": {name: list(steps) for name, steps in self._return_steps.items()},
            "num_steps": self.num_steps,
            "rivals": list(self._rivals),
            "range": list(self._range),
            "withdrawals": [learner.withdrawal for learner in self.learners],
            "efforts": [learner.effort for learner in self.learners],
            "draws": self.draws.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same run."""
        for learner in self.learners:
            learner.load_state_dict(state["learners"][learner.name])
            for kept, name in ((self.returns, "returns"), (self._return_steps, "return_steps")):
                kept[learner.name].clear()
                kept[learner.name].extend(state[name][learner.name])
        for learner, withdrawal in zip(self.learners, state["withdrawals"], strict=True):
            learner.withdrawal = withdrawal
        for learner, effort in zip(self.learners, state["efforts"], strict=True):
            learner.effort = effort
        self.num_steps = state["num_steps"]
        self._rivals = list(state["rivals"])
        self._range = list(state["range"])
        self.draws.bit_generator.state = state["draws"]
