"""Gridworlds with a known reward for every cell, by which inferred rewards can be judged."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.mdp import (
    Floats,
    TabularMDP,
    optimal_policy,
    policy_value,
    soft_value_iteration,
)

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))
"""Up, down, left, right, stay: rows and columns."""

HAZARD = -1.0
MUD = -0.4
GOAL = 1.0


@dataclass(frozen=True)
class Gridworld:
    """A grid with S cells.

    Attributes:
        mdp: With one feature per cell.
        rewards: True rewards [S] of being in a cell.
        starts: Probabilities [S] of where walks begin.
    """

    mdp: TabularMDP
    rewards: Floats
    starts: Floats

    @classmethod
    def make(cls, size: int, horizon: int, slip: float = 0.0, seed: int = 0) -> "Gridworld":
        """A goal in the far corner, a sixth of the cells hazards, a sixth mud.

        Args:
            size: Cells on a side.
            horizon: Steps of a walk.
            slip: Probability that a move goes astray, to a random neighbor.
            seed: Of where hazards and mud lie.
        """
        num_cells = size**2
        generator = np.random.default_rng(seed)
        rewards = generator.choice([0.0, HAZARD, MUD], num_cells, p=[4 / 6, 1 / 6, 1 / 6])
        # Whatever was drawn there.
        rewards[-1] = GOAL
        features = np.repeat(np.eye(num_cells)[:, None], len(MOVES), 1)  # [S, A, S]
        names = [f"cell_{row}_{column}" for row in range(size) for column in range(size)]
        transitions = _transitions(size, slip)
        mdp = TabularMDP(features, names, transitions=transitions, horizon=horizon)
        return cls(mdp, rewards, np.full(num_cells, 1 / num_cells))

    def of_steps(self, rewards: Floats) -> Floats:
        """Rewards [S, A] of steps from rewards [S] of cells."""
        return np.repeat(rewards[:, None], self.mdp.num_actions, 1)

    def expert(self, rationality: float) -> Floats:
        """The policy [T, S, A] of a walker who prefers better walks.

        Args:
            rationality: Inverse temperature: rewards count this many times in the exponent.
        """
        return soft_value_iteration(
            self.mdp, rationality * self.of_steps(self.rewards)
        ).probabilities

    def uniform(self) -> Floats:
        """The policy [T, S, A] of an aimless walker."""
        shape = (self.mdp.horizon, self.mdp.num_states, self.mdp.num_actions)
        return np.full(shape, 1 / self.mdp.num_actions)

    def walks(self, policy: Floats, num_walks: int, seed: int | list[int] = 0) -> Demonstrations:
        """Walks of a policy [T, S, A] from random cells."""
        generator = np.random.default_rng(seed)
        cells = generator.choice(len(self.starts), num_walks, p=self.starts)
        # Of a grid, which is small; the MDP keeps it sparse.
        table = self.mdp.transitions.toarray().reshape(*self.mdp.mask.shape, -1)  # [S, A, S]
        states = []
        actions = []
        for time in range(self.mdp.horizon):
            moves = _draw(policy[time, cells], generator)
            states.append(cells)
            actions.append(moves)
            cells = _draw(table[cells, moves], generator)
        lengths = np.full(num_walks, self.mdp.horizon)
        return Demonstrations.from_states(
            np.stack(states, 1).ravel(), np.stack(actions, 1).ravel(), lengths
        )

    def value_ratio(self, rewards: Floats) -> float:
        """True value of the best policy for rewards [S], as a share of the best possible."""
        true = self.of_steps(self.rewards)
        best = policy_value(self.mdp, optimal_policy(self.mdp, true), true, self.starts)
        inferred = optimal_policy(self.mdp, self.of_steps(rewards))
        return policy_value(self.mdp, inferred, true, self.starts) / best


def coverage(low: Floats, high: Floats, rewards: Floats) -> float:
    """Share of intervals that hold the true reward.

    A constant on all cells changes no choice and is taken off.
    """
    shift = float(np.median(rewards - (low + high) / 2))
    return float(((low + shift <= rewards) & (rewards <= high + shift)).mean())


def _transitions(size: int, slip: float) -> Any:
    """[S * A, S]: where moves lead; a wall holds the walker back."""
    cells = np.arange(size**2)
    row, column = np.divmod(cells, size)
    reached = []
    for down, right in MOVES:
        next_row = np.clip(row + down, 0, size - 1)
        next_column = np.clip(column + right, 0, size - 1)
        reached.append(next_row * size + next_column)
    table = np.zeros((size**2, len(MOVES), size**2))
    for move, cell in enumerate(reached):
        table[cells, move, cell] += 1 - slip
        # Slipping leads to any of the four neighbors, the wanted one included; staying does not
        # slip.
        for astray in reached[:4]:
            table[cells, move, astray] += slip / 4
    return sparse.csr_array(table.reshape(-1, size**2))


def _draw(probabilities: Floats, generator: np.random.Generator) -> NDArray[np.int64]:
    """One index [N] from each row of probabilities [N, M]."""
    shares = generator.random(len(probabilities))[:, None]
    index = (probabilities.cumsum(1) < shares).sum(1)
    return np.minimum(index, probabilities.shape[1] - 1)  # a sum may be just below 1
