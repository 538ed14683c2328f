"""Tables that a `StackedForestModel`'s parts are predicted from, and the categories of what follows.

Shape letters: B rows, S recorded steps, A actions, D parts, F columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.world_models.forest import Forest
from wm_agents.world_models.stacked import (
    BLOCK,
    DELTA,
    NUM_ACTIONS_KEPT,
    SINCE_HIGH,
    SINCE_LOW,
    SUM_LENGTHS,
    VALUE,
    StackedView,
)
from wm_envs.data.compiled import compiled

Array = NDArray[Any]

MAX_TERMS = 4
"""Numbers that a column of a table adds up, at most."""
ABSOLUTE = 1 << 20  # added to values that are predicted as they are, not as differences
NUM_RANKED = 9  # actions that are ranked: the present one and those before
_NUM_TOLD = 2  # actions that are one-hot as well
_LIMIT = 1000  # of a table's numbers
_QUARTERS = (1, 2, 3)  # of a step, after which pairs are compared as well


@dataclass(frozen=True)
class TableColumns:
    """The columns of a part's table, each a sum of at most `MAX_TERMS` numbers.

    Attributes:
        places: Where the numbers are [F, MAX_TERMS], -1 for none.
        signs: Of the numbers [F, MAX_TERMS].
        shifts: Added [F].
        groups: The groups that each column touches: parts, then actions, then time.
    """

    places: Array
    signs: Array
    shifts: Array
    groups: tuple[frozenset[int], ...]

    def without(self, dropped: frozenset[int]) -> "TableColumns":
        """The columns that touch none of these groups."""
        kept = [place for place, group in enumerate(self.groups) if not group & dropped]
        return self.only(np.array(kept, np.int64))

    def only(self, kept: Array) -> "TableColumns":
        """The columns at these places."""
        return TableColumns(
            self.places[kept],
            self.signs[kept],
            self.shifts[kept],
            tuple(self.groups[place] for place in kept),
        )


@dataclass(frozen=True)
class PartModel:
    """How one part is predicted.

    Attributes:
        part: Which.
        columns: What it reads.
        ranks: Of the actions [A], by what they do to the part.
        categories: Differences, or values with `ABSOLUTE` added.
        forest: Classifies.
        sharpness: The power of the voted shares from which outcomes are drawn: how many trees agree.
    """

    part: int
    columns: TableColumns
    ranks: Array
    categories: Array
    forest: Forest
    sharpness: int = 1

    def likeliest(
        self, view: StackedView, states: Array, actions: Array, next_values: Array
    ) -> NDArray[np.int64]:
        """The category [B] with most votes, given the next values [B, D] of what was decided."""
        table = part_table(view, self.columns, self.ranks, states, actions, next_values)
        return self.forest.votes(table).argmax(1)


class RecordedParts:
    """Recorded steps as states, actions and what came of them."""

    def __init__(self, states: Array, actions: Array, next_values: Array, num_actions: int) -> None:
        self.states = states
        self.actions = actions
        self.next_values = next_values
        self.num_actions = num_actions

    @property
    def values(self) -> Array:
        """The parts [S, D] before each step."""
        return self.states[:, VALUE : BLOCK * self.next_values.shape[1] : BLOCK]

    def mean_changes(self, part: int) -> tuple[Array, float]:
        """What each action [A] changes of a part on average, and how much of the change it is."""
        changes = (self.next_values[:, part] - self.values[:, part]).astype(np.float64)
        means = np.full(self.num_actions, changes.mean())
        for action in range(self.num_actions):
            is_taken = self.actions == action
            if is_taken.any():
                means[action] = changes[is_taken].mean()
        explained = ((means[self.actions] - changes.mean()) ** 2).mean()
        return means - np.median(means), float(explained / max(changes.var(), 1e-12))

    def ranks(self, part: int) -> NDArray[np.int32]:
        """Of the actions [A], by what they change of a part."""
        means, _ = self.mean_changes(part)
        ranks: NDArray[np.int32] = means.argsort(kind="stable").argsort().astype(np.int32)
        return ranks

    def categories(self, part: int) -> tuple[Array, Array]:
        """The categories of a part, and which of them each step [S] was.

        A change is told by the new value where this value was reached by a change more often than
        values changed by as much.
        """
        after = self.next_values[:, part].astype(np.int64)
        changes = after - self.values[:, part]
        _, change_of, change_counts = np.unique(changes, return_inverse=True, return_counts=True)
        is_moved = changes != 0
        value_counts = np.zeros(int(after.max()) + 1, np.int64)
        np.add.at(value_counts, after[is_moved], 1)
        is_absolute = is_moved & (value_counts[after] > change_counts[change_of])
        codes = np.where(is_absolute, after + ABSOLUTE, changes)
        categories, outcomes = np.unique(codes, return_inverse=True)
        return categories, outcomes


def decoded_values(categories: Array, before: Array) -> Array:
    """The values of categories."""
    is_absolute = categories > ABSOLUTE // 2
    return np.where(is_absolute, categories - ABSOLUTE, before + categories)


def num_numbers(view: StackedView, num_actions: int) -> int:
    """How many numbers `part_table` adds up, of a state, the decided values and the actions."""
    num_sums = len(view.counters) * (len(SUM_LENGTHS) + 1)
    return view.state_size + view.num_parts + NUM_RANKED + _NUM_TOLD * num_actions + num_sums


def all_columns(view: StackedView, num_actions: int, decided: Sequence[int]) -> TableColumns:
    """Everything that a part may read after others were decided."""
    places: list[list[int]] = []
    signs: list[list[int]] = []
    shifts: list[int] = []
    groups: list[frozenset[int]] = []

    def add(terms: Sequence[tuple[int, int]], touched: Sequence[int], shift: int = 0) -> None:
        empty = MAX_TERMS - len(terms)
        places.append([place for place, _ in terms] + [-1] * empty)
        signs.append([sign for _, sign in terms] + [0] * empty)
        shifts.append(shift)
        groups.append(frozenset(touched))

    num_parts = view.num_parts
    by_action = num_parts
    by_time = num_parts + 1
    first_next = view.state_size
    for part in range(num_parts):
        block = part * BLOCK
        for place in range(BLOCK):
            add([(block + place, 1)], [part])
        add([(block + SINCE_LOW, 1), (block + SINCE_HIGH, -1)], [part])
    for one, other in view.pairs:
        _add_pair(view, one, other, decided, add)
    for part in decided:
        add([(first_next + part, 1)], [part])
        add([(first_next + part, 1), (part * BLOCK + VALUE, -1)], [part])
    width = num_numbers(view, num_actions)
    for place in range(view.time_column + 1, view.state_size):
        add([(place, 1)], [by_action])
    for place in range(first_next + num_parts, width):
        add([(place, 1)], [by_action])
    add([(view.time_column, 1)], [by_time])
    return TableColumns(
        np.array(places, np.int32), np.array(signs, np.int32), np.array(shifts, np.int32),
        tuple(groups),
    )  # fmt: skip


def _add_pair(view: StackedView, one: int, other: int, decided: Sequence[int], add: Any) -> None:
    """How far two parts are apart: now, if both go on, and with what is decided of them."""
    shift = round((view.origins[one] - view.origins[other]) / view.quanta[one])
    touched = (one, other)
    value = (one * BLOCK + VALUE, 1)
    delta = (one * BLOCK + DELTA, 1)
    other_value = (other * BLOCK + VALUE, -1)
    other_delta = (other * BLOCK + DELTA, -1)
    add([value, other_value], touched, shift)
    add([value, delta, other_value, other_delta], touched, shift)
    add([value, delta, other_value], touched, shift)
    add([value, other_value, other_delta], touched, shift)
    for quarters in _QUARTERS:
        terms = [(value[0], 4), (delta[0], quarters)]
        add([*terms, (other_value[0], -4), (other_delta[0], -quarters)], touched, 4 * shift)
    after = (view.state_size + one, 1)
    other_after = (view.state_size + other, -1)
    if one in decided:
        add([after, other_value], touched, shift)
        add([after, other_value, other_delta], touched, shift)
        for quarters in _QUARTERS:
            terms = [(value[0], 4 - quarters), (after[0], quarters)]
            add([*terms, (other_value[0], -4), (other_delta[0], -quarters)], touched, 4 * shift)
    if other in decided:
        add([value, other_after], touched, shift)
        add([value, delta, other_after], touched, shift)
        for quarters in _QUARTERS:
            terms = [(other_value[0], quarters - 4), (other_after[0], -quarters)]
            add([(value[0], 4), (delta[0], quarters), *terms], touched, 4 * shift)
    if one in decided and other in decided:
        add([after, other_after], touched, shift)


def part_table(
    view: StackedView,
    columns: TableColumns,
    ranks: Array,
    states: Array,
    actions: Array,
    next_values: Array,
) -> NDArray[np.int16]:
    """What a part reads [B, F]."""
    effects = view.effects
    num_actions = len(ranks)
    out = np.zeros((len(states), len(columns.shifts)), np.int16)
    _write_table(
        np.ascontiguousarray(states),
        actions,
        np.ascontiguousarray(next_values, np.int32),
        view.time_column - NUM_ACTIONS_KEPT,
        ranks,
        effects,
        num_numbers(view, num_actions),
        columns.places,
        columns.signs,
        columns.shifts,
        out,
    )
    return out


@compiled
def _write_table(
    states: Array,
    actions: Array,
    next_values: Array,
    first_action: int,
    ranks: Array,
    effects: Array,
    num_numbers: int,
    places: Array,
    signs: Array,
    shifts: Array,
    out: Array,
) -> None:
    """Sums of the numbers of each row: its state, decided values, and actions in several forms."""
    num_actions = len(ranks)
    state_size = states.shape[1]
    num_parts = next_values.shape[1]
    numbers = np.zeros(num_numbers, np.int32)
    recent = np.zeros(NUM_ACTIONS_KEPT + 1, np.int64)
    for row in range(len(states)):
        for place in range(state_size):
            numbers[place] = states[row, place]
        place = state_size
        for part in range(num_parts):
            numbers[place] = next_values[row, part]
            place += 1
        recent[0] = actions[row]
        for age in range(NUM_ACTIONS_KEPT):
            recent[age + 1] = states[row, first_action + age]
        for age in range(NUM_RANKED):
            numbers[place] = ranks[recent[age]] if recent[age] >= 0 else -1
            place += 1
        for age in range(_NUM_TOLD):
            for action in range(num_actions):
                numbers[place] = 1 if recent[age] == action else 0
                place += 1
        for number in range(len(effects)):
            total = 0
            length = 0
            for age in range(NUM_ACTIONS_KEPT + 1):
                if age == SUM_LENGTHS[length]:
                    numbers[place] = total
                    place += 1
                    length += 1
                    if length == len(SUM_LENGTHS):
                        break
                if recent[age] >= 0:
                    total += effects[number, recent[age]]
            held = 0
            now = effects[number, recent[0]]
            while held <= NUM_ACTIONS_KEPT and recent[held] >= 0:
                if effects[number, recent[held]] != now:
                    break
                held += 1
            numbers[place] = held
            place += 1
        for column in range(len(shifts)):
            total = shifts[column]
            for term in range(MAX_TERMS):
                if places[column, term] >= 0:
                    total += signs[column, term] * numbers[places[column, term]]
            out[row, column] = min(max(total, -_LIMIT), _LIMIT)
