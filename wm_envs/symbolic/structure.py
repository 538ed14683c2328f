"""The hidden structure of each task that `instance` fixes.

Drawn in Python, and the same in every row of a batch.

Equal (task, size, instance) give equal structure, in every process and on every machine.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

from wm_envs.symbolic import dynamics

MAX_DIGITS = 15  # that a packed list has room for
NUM_PERMUTATIONS = 3
NUM_AUTOMATON_ACTIONS = 4
# Every goal of a permutation puzzle and of an automaton lies within so many steps.
PLANNING_HORIZON = 20


def structure_generator(task: int, instance: int) -> np.random.Generator:
    """The random numbers of one instance of a task."""
    # The task is part of the seed: instance 3 of one task says nothing of instance 3 of another.
    return np.random.default_rng([task, instance])


def hidden_sequence(
    length: int, num_symbols: int, instance: int, *, has_repeats: bool
) -> NDArray[np.int64]:
    """SequenceNext: `length` symbols."""
    generator = structure_generator(dynamics.SEQUENCE_NEXT, instance)
    if has_repeats:
        return generator.integers(num_symbols, size=length)
    # A prefix of one permutation: a longer sequence of the same instance begins with the shorter
    # one.
    return generator.permutation(num_symbols)[:length]


def base_actions(instance: int) -> NDArray[np.int64]:
    """Conditional: a base action for each shape, all different, then the special shape."""
    generator = structure_generator(dynamics.CONDITIONAL, instance)
    actions = generator.permutation(dynamics.NUM_BASE_ACTIONS)[: dynamics.NUM_SHAPES]
    return np.append(actions, generator.integers(dynamics.NUM_SHAPES))


@lru_cache(maxsize=64)
def position_permutations(num_tokens: int, instance: int) -> NDArray[np.int64]:
    """PermPuzzle.

    Three permutations [3, num_tokens] from which every arrangement follows within the horizon.
    """
    generator = structure_generator(dynamics.PERM_PUZZLE, instance)
    # A few permutations of few tokens generate only a part of the arrangements, or reach some late.
    while True:
        permutations = np.array(
            [generator.permutation(num_tokens) for _ in range(NUM_PERMUTATIONS)]
        )
        # Drawn again until every arrangement is within reach.
        if num_arrangements_within(permutations, PLANNING_HORIZON) == factorial(num_tokens):
            return permutations


def num_arrangements_within(permutations: NDArray[np.int64], num_steps: int) -> int:
    """How many arrangements at most `num_steps` moves make from any one.

    Breadth first on the Cayley graph.
    """
    start = tuple(range(permutations.shape[1]))
    moves = [tuple(permutation) for permutation in permutations.tolist()]
    # Level by level, so that the search stops after `num_steps` moves and not when all are found.
    reached = {start}
    frontier = [start]
    for _ in range(num_steps):
        successor = {
            tuple([state[place] for place in move]) for state in frontier for move in moves
        }
        frontier = list(successor - reached)
        reached.update(frontier)
    return len(reached)


def toggle_masks(width: int, instance: int) -> NDArray[np.int64]:
    """LightsOut: the cells that each action toggles, as bits.

    Action a presses a hidden cell of the board.
    """
    generator = structure_generator(dynamics.LIGHTS_OUT, instance)
    # A permutation hides which action presses which cell.
    return np.array([cross_mask(int(cell), width) for cell in generator.permutation(width * width)])


def cross_mask(cell: int, width: int) -> int:
    """A cell and its neighbours above, below, left and right, as bits."""
    row, column = divmod(cell, width)
    neighbours = [
        (row, column),
        (row - 1, column),
        (row + 1, column),
        (row, column - 1),
        (row, column + 1),
    ]
    return sum(1 << (r * width + c) for r, c in neighbours if 0 <= r < width and 0 <= c < width)


@lru_cache(maxsize=64)
def transition_table(num_tokens: int, instance: int) -> NDArray[np.int64]:
    """TokenAutomaton.

    Successors [num_tokens, 4], uniform among the tables with every token in reach of every other.
    """
    # Of the task and the instance alone: levels of one instance are related.
    generator = structure_generator(dynamics.TOKEN_AUTOMATON, instance)
    while True:
        table = generator.integers(num_tokens, size=(num_tokens, NUM_AUTOMATON_ACTIONS))
        # A token that nothing leads to could be drawn as a goal, and would never be reached.
        if len(np.unique(table)) == num_tokens and is_connected_within(table, PLANNING_HORIZON):
            return table


def is_connected_within(table: NDArray[np.int64], num_steps: int) -> bool:
    """Whether at most `num_steps` steps lead from every token to every other."""
    num_tokens = len(table)
    reached = np.eye(num_tokens, dtype=np.bool_)
    for _ in range(num_steps):
        reached |= reached[table].any(
            axis=1
        )  # what a successor reaches in n steps, its predecessor does in n + 1
    return bool(reached.all())


def pack(digits: Iterable[int]) -> int:
    """A short list of symbols as one integer, four bits a digit; `dynamics.digit` reads it."""
    return sum(int(value) << (4 * index) for index, value in enumerate(digits))


def unpack(word: int | np.int64, num_digits: int) -> list[int]:
    """The first digits of a packed list."""
    return [(int(word) >> (4 * index)) & 15 for index in range(num_digits)]
