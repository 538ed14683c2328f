"""Claims as trees of stakes, and the arena in which a debate about many observations is held.

A claim is a root without a stake of its own; stakes are its children, rebuttals are the children of
stakes. The whole forest is kept as arrays, parents before children, and scored by
`dynamics.score_nodes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.data.options import check_number
from wm_envs.debate import dynamics
from wm_envs.debate.allocations import (
    Allocations,
    check_allocations,
    check_bounds,
    check_learning_rate,
    to_mapping,
)
from wm_envs.debate.dynamics import NOBODY, NUM, STRATEGIES
from wm_envs.debate.relevance import check_scores
from wm_envs.debate.tendencies import CLAIMS, TENDENCIES, Tendency
from wm_envs.errors import DebateError, OptionError

Array = NDArray[Any]
MAX_REBUTTAL = 1e3


class Polarity(StrEnum):
    """Whether a node speaks for its parent or against it."""

    PRO = "pro"
    CON = "con"


@dataclass(frozen=True)
class Stake:
    """Weight that a tendency puts on an observation, for or against a claim.

    Attributes:
        observation: Number of the observation.
        claim: The claim that it bears on.
        polarity: For or against what it is staked on.
        weight: From 0 to 1.
        tendency: Who stakes it.
        parent: Number of the node that it answers; None when it is staked on the claim itself.
    """

    observation: int
    claim: Tendency
    polarity: Polarity
    weight: float
    tendency: Tendency
    parent: int | None = None

    def __post_init__(self) -> None:
        # In Python True is a number, too, and was never meant as a weight.
        is_number = isinstance(self.weight, int | float | np.number) and not isinstance(
            self.weight, bool
        )
        if not is_number or not 0.0 <= self.weight <= 1.0:  # False for NaN
            raise DebateError(f"the weight of a stake is a number from 0 to 1, got {self.weight!r}")


@dataclass(frozen=True)
class _Forest:
    """The seven claim trees of a debate; node t < 7 is the root of claim t.

    Attributes:
        parents: int64 [nodes], -1 for a root.
        signs: float64 [nodes], +1 for PRO and -1 for CON; 1 for a root.
        amounts: float64 [nodes], weight x allocation of the staker; 0 for a root.
        observations: int64 [nodes], -1 for a root.
        stakers: int64 [nodes], number of the tendency.
        net_scores: float64 [nodes]: own amount + PRO children - CON children.
    """

    parents: Array
    signs: Array
    amounts: Array
    observations: Array
    stakers: Array
    net_scores: Array

    @classmethod
    def of(
        cls, parents: Array, signs: Array, amounts: Array, observations: Array, stakers: Array
    ) -> "_Forest":
        """Score the nodes."""
        net_scores = np.zeros(len(parents))
        dynamics.score_nodes(parents, signs, amounts, net_scores)
        return cls(parents, signs, amounts, observations, stakers, net_scores)

    @property
    def scores(self) -> Allocations:
        """Net scores of the seven claims."""
        return self.net_scores[:NUM]

    @property
    def total_stakes(self) -> int:
        """Nodes that are not roots."""
        return len(self.parents) - NUM

    @property
    def winner(self) -> Tendency | None:
        """The claim with the highest score; None where no score is positive."""
        best = int(dynamics.best_claim(self.scores))
        return None if best == NOBODY else TENDENCIES[best]

    def claim_of(self, node: int) -> Tendency:
        """The claim in whose tree a node stands."""
        while self.parents[node] != NOBODY:
            node = int(self.parents[node])
        return TENDENCIES[node]

    def describe(self, claim: Tendency, texts: Sequence[str], max_stakes: int = 5) -> str:
        """A claim with its weightiest stakes and their rebuttals, as indented text."""
        lines = [f"{CLAIMS[claim]} (net {self.net_scores[claim.index]:+.3f})"]
        children = np.flatnonzero(self.parents == claim.index)
        # A stable order, so that equal stakes are told in the order of the debate.
        # By what they are worth with their answers, and not by what was staked.
        for node in children[np.argsort(-np.abs(self.net_scores[children]), kind="stable")][
            :max_stakes
        ]:
            lines.append("  " + self._line(int(node), texts))
            lines += [
                "    " + self._line(int(reply), texts)
                for reply in np.flatnonzero(self.parents == node)
            ]
        return "\n".join(lines)

    def _line(self, node: int, texts: Sequence[str]) -> str:
        polarity = "PRO" if self.signs[node] > 0 else "CON"
        staker = TENDENCIES[int(self.stakers[node])]
        return (
            f"{polarity} {self.amounts[node]:.3f} by {staker}: "
            f"{texts[int(self.observations[node])]}"
        )


@dataclass(frozen=True)
class Claim:
    """What a tendency holds about the person, and how well it was supported."""

    tendency: Tendency
    text: str
    score: float


@dataclass(frozen=True)
class DebateResult:
    """What a debate came to.

    Attributes:
        forest: The claim trees.
        winner: The best-supported claim, None where no score is positive.
        winning_score: Its net score; 0 without a winner.
        scores: Net score of each claim.
        allocations: Influence after the debate.
        allocation_changes: After less before.
        total_stakes: Number of stakes and rebuttals.
    """

    forest: _Forest
    winner: Tendency | None
    winning_score: float
    scores: dict[Tendency, float]
    allocations: dict[Tendency, float]
    allocation_changes: dict[Tendency, float]
    total_stakes: int

    @property
    def claims(self) -> dict[Tendency, Claim]:
        """The seven claims with their net scores."""
        return {
            tendency: Claim(tendency, CLAIMS[tendency], score)
            for tendency, score in self.scores.items()
        }


def grow_forest(
    stakes: Sequence[Stake], allocations: Mapping[Tendency, float] | Sequence[float]
) -> _Forest:
    """The trees of a list of stakes.

    `parent` of a stake is the place of an earlier stake in the list.

    Raises:
        DebateError: A parent that does not come before, or that stands in the tree of another
            claim.
    """
    # Checked before trees are built: a wrong influence would be found in no score.
    shares = check_allocations(allocations)
    parents = np.full(NUM + len(stakes), NOBODY, np.int64)
    # Roots have no parent; each stake is a node behind them in the order of the list.
    for place, stake in enumerate(stakes):
        if stake.parent is None:
            parents[NUM + place] = stake.claim.index
            continue
        # A parent comes first, so that nodes can be scored in one pass from the end.
        if not 0 <= stake.parent < place or stakes[stake.parent].claim is not stake.claim:
            raise DebateError(
                f"stake {place} answers {stake.parent}, which is no earlier stake on the same claim"
            )
        parents[NUM + place] = NUM + stake.parent
    stakers = np.array([*range(NUM), *(stake.tendency.index for stake in stakes)], np.int64)
    weights = np.array([0.0] * NUM + [float(stake.weight) for stake in stakes])
    signs = np.array(
        [1.0] * NUM + [1.0 if stake.polarity is Polarity.PRO else -1.0 for stake in stakes]
    )
    observations = np.array([NOBODY] * NUM + [stake.observation for stake in stakes], np.int64)
    return _Forest.of(parents, signs, weights * shares[stakers], observations, stakers)


@dataclass(frozen=True)
class Arena:
    """Holds debates in which every tendency stakes every observation.

    Attributes:
        strategies: Script of each tendency; see `dynamics.script`. Budgets are not limited here.
        rebuttal: Weight of the answer to each unit of overreach.
        min_allocation: Floor of every allocation.
        max_allocation: Ceiling of every allocation.
    """

    strategies: tuple[str, ...] = ("advocate",) * NUM
    rebuttal: float = 2.0
    min_allocation: float = 0.03
    max_allocation: float = 0.50

    def __post_init__(self) -> None:
        if len(self.strategies) != NUM or not set(self.strategies) <= set(STRATEGIES):
            raise OptionError(
                f"strategies are seven of {', '.join(STRATEGIES)}, got {self.strategies!r}"
            )
        check_number("rebuttal", self.rebuttal, 0.0, MAX_REBUTTAL)
        check_bounds(self.min_allocation, self.max_allocation)

    def debate(
        self, relevance: Array, allocations: Allocations, learning_rate: float
    ) -> DebateResult:
        """Stake all observations, score the claims and move the allocations.

        Args:
            relevance: [N, 7], each number in 0..1.
            allocations: [7], summing to 1; not changed.
            learning_rate: How far allocations move toward the shares of the positive scores, 0..1.

        Raises:
            ObservationError: Relevance of another shape, outside 0..1, or NaN.
            DebateError: Allocations that do not sum to 1 or are out of bounds, or a rate outside
                0..1.
        """
        rows, rate = check_scores(relevance, len(relevance)), check_learning_rate(learning_rate)
        # A copy: the caller's allocations stay as they are.
        before = check_allocations(allocations, self.min_allocation, self.max_allocation)
        numbers = np.array([STRATEGIES.index(name) for name in self.strategies], np.int64)
        # The roots, and for each observation a stake of every tendency on every claim with a
        # rebuttal.
        # The most that all scripts together can place; what is unused is cut off below.
        room = NUM + 2 * NUM * NUM * len(rows)
        nodes = [np.zeros(room, np.int64), np.ones(room), np.zeros(room), np.zeros(room, np.int64)]
        nodes.append(np.zeros(room, np.int64))
        num_nodes = dynamics.place_all(
            np.ascontiguousarray(rows), before, numbers, self.rebuttal, *nodes
        )
        # Copies, so that a forest of few nodes does not keep the whole room alive.
        forest = _Forest.of(*(column[:num_nodes].copy() for column in nodes))
        after = before.copy()
        dynamics.reallocate(after, forest.scores, rate, self.min_allocation, self.max_allocation)
        winner = forest.winner
        return DebateResult(
            forest=forest,
            winner=winner,
            winning_score=0.0 if winner is None else float(forest.scores[winner.index]),
            scores=to_mapping(forest.scores),
            allocations=to_mapping(after),
            allocation_changes=to_mapping(after - before),
            total_stakes=forest.total_stakes,
        )
