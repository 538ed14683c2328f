"""Rows of an estimated state and what kernels do with their histories."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wm_agents.domains.pong.state import (
    ESTIMATE,
    ESTIMATE_SIZE,
    NEWEST_COLUMNS,
    OBSERVATION_SIZE,
    as_integers,
    as_rows,
    clamp,
    fill,
    shift,
)
from wm_envs.pong.columns import STACK

INTEGERS = st.integers(-(2**31), 2**31 - 1)


@settings(deadline=None)
@given(st.lists(INTEGERS, min_size=2 * ESTIMATE_SIZE, max_size=2 * ESTIMATE_SIZE))
def test_rows_and_integers_are_the_same_memory(values):
    states = np.array(values, np.int32).reshape(2, ESTIMATE_SIZE)
    rows = as_rows(states)
    assert rows.dtype == ESTIMATE
    np.testing.assert_array_equal(as_integers(rows), states)
    rows["setpoint"][1] = 7
    assert as_rows(states)["setpoint"].tolist() == [int(rows["setpoint"][0]), 7]


def test_newest_columns_are_the_last_of_each_stack():
    assert tuple(range(STACK - 1, OBSERVATION_SIZE, STACK)) == NEWEST_COLUMNS


@settings(deadline=None)
@given(st.lists(INTEGERS, min_size=1, max_size=9), INTEGERS)
def test_a_history_forgets_its_oldest(values, newest):
    history = np.array(values)
    shift(history, newest)
    assert history.tolist() == [newest, *values[:-1]]
    fill(history, 3)
    assert history.tolist() == [3] * len(values)


def test_numbers_are_kept_within_bounds():
    assert [clamp(value, -2, 5) for value in (-3, -2, 0, 5, 6)] == [-2, -2, 0, 5, 5]
