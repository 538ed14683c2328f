from dataclasses import dataclass

import numpy as np

from wm_envs.data.display import counted, short_repr, span


@dataclass
class Record:
    name: str
    rows: object

    __repr__ = short_repr


def test_one_is_no_plural():
    assert [counted(number, "step") for number in (0, 1, 2000)] == [
        "0 steps",
        "1 step",
        "2,000 steps",
    ]


def test_a_range_of_one_value_is_that_value():
    assert (span(2, 7), span(7, 7)) == ("2 to 7", "7")


def test_arrays_are_shown_by_kind_and_shape():
    assert repr(Record("a", np.zeros((2, 3)))) == "Record(name='a', rows=float64[2, 3])"
    nested = {"b": (np.zeros(2, np.bool_), [Record("c", None)])}
    inner = "Record(name='c', rows=None)"
    assert repr(Record("a", nested)) == f"Record(name='a', rows={{'b': (bool[2], [{inner}])}})"


def test_a_long_list_is_cut():
    assert repr(Record("a", list(range(100)))).endswith("10, 11, ...])")
