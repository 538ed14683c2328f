"""A table of what followed what, and value iteration on it that is optimistic about the unknown.

For environments whose observations recur. Where outcomes repeat themselves one visit of a state and
action is enough to know it (R-MAX, Brafman & Tennenholtz 2002, sec. 2); elsewhere what is expected
of it falls from the best imaginable to its mean as it is visited, as the bonus of Kolter & Ng
(2009, eq. 3) does.

Letters: S states, A actions, K different (state, action, next state), B rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.learners.base import Learner, VectorStep
from wm_agents.policy_gradient.spaces import PolicySpaces

RANDOM_SHARE = 0.1
"""Of steps, where there is no optimism to explore by."""


@dataclass(frozen=True)
class TableConfig:
    """Settings of `Table`.

    Attributes:
        gamma: Discount per step.
        max_states: With more different observations than this the table gives up.
        min_recurrence: And where a smaller share of steps leads to an observation seen before.
        trial_steps: Steps after which that is judged; a quarter of all if that is less.
        num_sweeps: Of value iteration between two steps.
        prior_count: Visits that the best imaginable counts as, where outcomes vary.
        is_optimistic: Whether what was not tried is worth a try. Without it one step in ten is
            random.
    """

    gamma: float = 0.995
    max_states: int = 20_000
    min_recurrence: float = 0.5
    trial_steps: int = 3000
    num_sweeps: int = 8
    prior_count: float = 1.0
    is_optimistic: bool = True


class Table(Learner):
    """Learns from the steps of all learners."""

    config: TableConfig
    name: ClassVar[str] = "table"
    needs_counted_actions = True

    def __init__(
        self,
        spaces: PolicySpaces,
        num_rows: int,
        total_steps: int,
        seed: int,
        config: TableConfig | None = None,
    ) -> None:
        super().__init__(spaces, num_rows, total_steps, seed, config or TableConfig())
        self.draws = np.random.default_rng([seed, 2])
        self.num_actions = spaces.num_actions
        self._index: dict[bytes, int] = {}
        self._edges: dict[tuple[int, int], int] = {}
        size = 256
        self._edge_source = np.zeros(size, np.int64)  # state * A + action
        self._edge_target = np.zeros(size, np.int64)
        self._edge_count = np.zeros(size)
        self._visits = np.zeros(size * self.num_actions)
        self._rewards = np.zeros(size * self.num_actions)
        self._first_reward = np.zeros(size * self.num_actions)
        self._is_varied = np.zeros(size * self.num_actions, np.bool_)
        self._values = np.zeros(size)
        self._optimistic = np.zeros(size)
        self._num_recurring = 0
        self._num_ends = 0
        self._reward_size = 0.0
        self._best_return = -np.inf
        self._returns = np.zeros(num_rows)

    # --- what was seen

    @property
    def num_states(self) -> int:
        """Different observations seen."""
        return len(self._index)

    def _states(self, obs: Tensor, is_adding: bool) -> NDArray[np.int64]:
        """Numbers [B] of observations; -1 for unknown ones where none is added."""
        # Adding 0 makes -0 the same key as 0.
        rows = np.ascontiguousarray(obs.numpy() + np.float32(0))
        numbers = np.empty(len(rows), np.int64)
        for row, values in enumerate(rows):
            key = values.tobytes()
            number = self._index.get(key, -1)
            if number < 0 and is_adding:
                number = len(self._index)
                self._index[key] = number
                self._grow_states()
            numbers[row] = number
        return numbers

    def _grow_states(self) -> None:
        if len(self._index) < len(self._values):
            return
        size, pairs = len(self._values), len(self._visits)
        self._values = np.append(self._values, np.zeros(size))
        self._optimistic = np.append(self._optimistic, np.zeros(size))
        for name in ("_visits", "_rewards", "_first_reward", "_is_varied"):
            array = getattr(self, name)
            setattr(self, name, np.append(array, np.zeros(pairs, array.dtype)))

    def observe(self, step: VectorStep, own: NDArray[np.bool_]) -> dict[str, float]:
        """Count what followed what."""
        num_known = self.num_states
        before = self._states(step.obs, True)
        after = self._states(step.next_obs, True)
        # The state after a termination has no value of its own, so it is not one.
        after = np.where(step.terminated, -1, after)
        pairs = before * self.num_actions + step.actions.numpy()
        for pair, target, reward in zip(pairs, after, step.rewards, strict=True):
            self._count(int(pair), int(target), float(reward))
        # An episode may have been left for a new one without an end.
        self._returns[step.is_start] = 0.0
        self._returns += step.rewards
        for row in np.flatnonzero(step.ended):
            self._best_return = max(self._best_return, float(self._returns[row]))
            self._returns[row] = 0.0
        self._num_ends += int(step.ended.sum())
        self.num_seen += len(own)
        self._num_recurring += len(own) - min(len(own), self.num_states - num_known)
        self._reward_size = max(self._reward_size, float(np.abs(step.rewards).max()))
        if not self.withdrawal:
            self._judge()
        if not self.withdrawal:
            self._sweep(self.config.num_sweeps)
        return {}

    def _count(self, pair: int, target: int, reward: float) -> None:
        edge = self._edges.get((pair, target))
        if edge is None:
            edge = len(self._edges)
            self._edges[pair, target] = edge
            if edge == len(self._edge_count):
                self._edge_source = np.append(self._edge_source, np.zeros(edge, np.int64))
                self._edge_target = np.append(self._edge_target, np.zeros(edge, np.int64))
                self._edge_count = np.append(self._edge_count, np.zeros(edge))
            self._edge_source[edge], self._edge_target[edge] = pair, target
        if self._visits[pair] == 0:
            self._first_reward[pair] = reward
        elif self._edge_count[edge] == 0 or reward != self._first_reward[pair]:
            self._is_varied[pair] = True
        self._edge_count[edge] += 1
        self._visits[pair] += 1
        self._rewards[pair] += reward

    def _judge(self) -> None:
        """Withdraw where observations do not recur."""
        if self.num_states > self.config.max_states:
            self.withdrawal = f"more than {self.config.max_states:,} different observations"
        share = self._num_recurring / max(1, self.num_seen)
        is_tried = self.num_seen >= self.at_most_a_quarter(self.config.trial_steps)
        if is_tried and share < self.config.min_recurrence:
            self.withdrawal = f"only {share:.0%} of steps led to an observation seen before"

    # --- values

    @property
    def is_deterministic(self) -> bool:
        """Whether outcomes repeat themselves, as far as they were tried twice."""
        num_pairs = self.num_states * self.num_actions
        is_tried = self._visits[:num_pairs] >= 2
        return not is_tried.any() or float(self._is_varied[:num_pairs][is_tried].mean()) < 0.01

    @property
    def lead(self) -> float:
        """More than half while nearly everything recurs, outcomes repeat, and something is untried.

        Then what it finds is optimal, and it finds it soonest by acting itself.
        """
        if self.withdrawal or self.num_seen < 200 or not self.is_deterministic:
            return 0.0
        recurs = self._num_recurring >= 0.9 * self.num_seen
        return 0.6 if recurs else 0.0

    def _best_imaginable(self) -> float:
        """What something unknown may be worth."""
        length = self.num_seen / max(1, self._num_ends)
        length = min(length, 1 / (1 - self.config.gamma))
        size = self._reward_size or 1.0
        if self.is_deterministic:
            # A single visit settles it, so that it may be far too much.
            return 2 * size * length
        return max(self._best_return, size) if np.isfinite(self._best_return) else size

    def _q(self, values: NDArray[np.float64], is_optimistic: bool) -> NDArray[np.float64]:
        """Action values [S, A] from state values."""
        num_pairs = self.num_states * self.num_actions
        num_edges = len(self._edges)
        targets = self._edge_target[:num_edges]
        following = np.where(targets < 0, 0.0, values[targets]) * self._edge_count[:num_edges]
        sums = np.bincount(self._edge_source[:num_edges], following, num_pairs)[:num_pairs]
        visits = self._visits[:num_pairs]
        total = self._rewards[:num_pairs] + self.config.gamma * sums
        if not is_optimistic:
            # What was never tried is not chosen.
            q = np.where(visits > 0, total / np.maximum(visits, 1), -np.inf)
        elif self.is_deterministic:
            q = np.where(visits > 0, total / np.maximum(visits, 1), self._best_imaginable())
        else:
            prior = self.config.prior_count
            q = (total + prior * self._best_imaginable()) / (visits + prior)
        return q.reshape(self.num_states, self.num_actions)

    def _sweep(self, num_sweeps: int) -> None:
        number = self.num_states
        for _ in range(num_sweeps):
            self._optimistic[:number] = self._q(self._optimistic, True).max(1)
        best = self._q(self._values, False).max(1)
        self._values[:number] = np.where(np.isfinite(best), best, 0.0)

    def act(
        self,
        obs: Tensor,
        is_start: NDArray[np.bool_],  # noqa: ARG002
        own: NDArray[np.bool_],
        greedy: NDArray[np.bool_],
    ) -> Tensor:
        """The most promising actions, ties broken at random; the best by their means where greedy."""
        if not own.any():
            return torch.zeros(len(obs), dtype=torch.int64)
        states = self._states(obs, True)
        is_known = greedy | (not self.config.is_optimistic)
        q = self._q(self._optimistic, True)[states]
        if is_known.any():
            known = self._q(self._values, False)[states]
            is_random = ~greedy & (self.draws.random(len(greedy)) < RANDOM_SHARE)
            # Nothing was tried yet: any action is as good.
            known[~np.isfinite(known).any(1) | is_random] = 0.0
            q = np.where(is_known[:, None], known, q)
        highest = q.max(1, keepdims=True)
        is_best = q >= highest - 1e-9 * np.maximum(self._reward_size, np.abs(highest))
        scores = is_best * (1 + self.draws.random(q.shape))
        return torch.from_numpy(scores.argmax(1))

    def predict(
        self,
        obs: Tensor,
        state: Any,
        is_start: NDArray[np.bool_],  # noqa: ARG002
    ) -> tuple[Tensor, Any]:
        """The best actions by their means; the first one where nothing is known."""
        if state is None:
            state = self._exploited()
        states = self._states(obs, False)
        q = state[np.maximum(states, 0)]
        q = np.where((states >= 0)[:, None], q, 0.0)
        return torch.from_numpy(q.argmax(1)), state

    def _exploited(self) -> NDArray[np.float64]:
        """Action values [S, A] without optimism."""
        values = np.zeros(self.num_states)
        for _ in range(2000):
            q = self._q(values, False)
            new = np.where(np.isfinite(q.max(1)), q.max(1), 0.0)
            change = float(np.abs(new - values).max(initial=0.0))
            values = new
            if change <= 1e-6 * float(np.abs(values).max(initial=0.0)):
                break
        return self._q(values, False)

    # --- files

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        num_pairs, num_edges = self.num_states * self.num_actions, len(self._edges)
        keys = np.frombuffer(b"".join(self._index), np.float32)
        return {
            "keys": keys.reshape(self.num_states, self.spaces.observations.size).copy(),
            "edges": [
                self._edge_source[:num_edges].copy(),
                self._edge_target[:num_edges].copy(),
                self._edge_count[:num_edges].copy(),
            ],
            "pairs": [
                self._visits[:num_pairs].copy(),
                self._rewards[:num_pairs].copy(),
                self._first_reward[:num_pairs].copy(),
                self._is_varied[:num_pairs].copy(),
            ],
            "values": self._values[: self.num_states].copy(),
            "optimistic": self._optimistic[: self.num_states].copy(),
            "counts": [
                self.num_seen,
                self._num_recurring,
                self._num_ends,
                self._reward_size,
                self._best_return,
            ],
            "draws": self.draws.bit_generator.state,
            "withdrawal": self.withdrawal,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over counts."""
        self._index = {row.tobytes(): number for number, row in enumerate(state["keys"])}
        size = 256
        while size <= self.num_states:
            size *= 2
        source, target, count = state["edges"]
        edges = zip(source.tolist(), target.tolist(), strict=True)
        self._edges = {pair: number for number, pair in enumerate(edges)}
        spare = max(256, len(count))
        self._edge_source = np.append(source, np.zeros(spare, np.int64))
        self._edge_target = np.append(target, np.zeros(spare, np.int64))
        self._edge_count = np.append(count, np.zeros(spare))
        names = ("_visits", "_rewards", "_first_reward", "_is_varied")
        for name, values in zip(names, state["pairs"], strict=True):
            array = np.zeros(size * self.num_actions, values.dtype)
            array[: len(values)] = values
            setattr(self, name, array)
        self._values = np.zeros(size)
        self._values[: self.num_states] = state["values"]
        self._optimistic = np.zeros(size)
        self._optimistic[: self.num_states] = state["optimistic"]
        (
            self.num_seen,
            self._num_recurring,
            self._num_ends,
            self._reward_size,
            self._best_return,
        ) = state["counts"]
        self.draws.bit_generator.state = state["draws"]
        self.withdrawal = state["withdrawal"]
        self._returns = np.zeros(self.num_rows)

    def decision(self) -> str:
        """How many states there are, and whether their outcomes repeat themselves."""
        if self.withdrawal:
            return self.withdrawal
        kind = "the same each time" if self.is_deterministic else "drawn"
        return f"{self.num_states:,} different observations, outcomes {kind}"
