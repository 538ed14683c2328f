"""What a part is predicted as, and what it reads, in numbers that can be counted."""

import numpy as np
import pytest

from wm_agents.world_models.stacked import BLOCK, NO_ACTION, NUM_ACTIONS_KEPT, VALUE, StackedView
from wm_agents.world_models.stacked_tables import (
    ABSOLUTE,
    RecordedParts,
    all_columns,
    decoded_values,
    part_table,
)

VIEW = StackedView(
    observation_size=2,
    frames=((0,), (1,)),
    origins=(0.0, 0.0),
    quanta=(1.0, 1.0),
    num_values=(10, 10),
    lows=(0, 0),
    highs=(9, 9),
    constants=(),
)


def recorded(before, after, actions) -> RecordedParts:
    """Steps of one part that change its value so."""
    states = np.zeros((len(before), BLOCK), np.int32)
    states[:, VALUE] = before
    return RecordedParts(states, np.array(actions), np.array(after)[:, None], 2)


def test_a_change_is_told_by_the_value_where_that_says_more():
    # Three jumps to 9 from anywhere, and moves by 1 of which each value has one.
    steps = recorded([1, 4, 7, 1, 2, 3, 5], [9, 9, 9, 2, 3, 4, 5], [0] * 7)
    categories, outcomes = steps.categories(0)
    assert categories.tolist() == [0, 1, ABSOLUTE + 9]
    assert outcomes.tolist() == [2, 2, 2, 1, 1, 1, 0]
    after = decoded_values(categories[outcomes], steps.values[:, 0])
    np.testing.assert_array_equal(after, steps.next_values[:, 0])


def test_actions_are_ranked_by_what_they_change():
    steps = recorded([5, 5, 5, 5], [6, 4, 6, 4], [0, 1, 0, 1])
    means, explained = steps.mean_changes(0)
    assert means.tolist() == [1, -1]
    assert explained == pytest.approx(1)
    assert steps.ranks(0).tolist() == [1, 0]


def test_columns_say_which_groups_they_touch():
    nothing, first = all_columns(VIEW, 3, []), all_columns(VIEW, 3, [0])
    assert len(first.groups) > len(nothing.groups)
    alone = first.without(frozenset({1, 2, 3}))  # the other part, actions and time
    assert set(alone.groups) == {frozenset({0})}
    assert alone.only(np.array([0])).places[0].tolist() == [VALUE, -1, -1, -1]


def test_a_table_holds_values_differences_and_actions():
    states = np.zeros((2, VIEW.state_size), np.int32)
    states[:, 2 * BLOCK : 2 * BLOCK + NUM_ACTIONS_KEPT] = NO_ACTION
    states[:, VALUE], states[:, BLOCK + VALUE] = [3, 8], [5, 1]
    columns = all_columns(VIEW, 2, [0])
    actions, decided = np.array([0, 1]), np.array([[4, 0], [8, 0]], np.int32)
    table = part_table(VIEW, columns, np.array([1, 0], np.int32), states, actions, decided)
    rows = {tuple(column) for column in table.T.tolist()}
    assert {(3, 8), (5, 1)} < rows  # the values
    assert (-2, 7) in rows  # how far they are apart
    assert (4, 8) in rows  # what is decided of the first part
    assert (1, 0) in rows  # the rank of the action, and its change
