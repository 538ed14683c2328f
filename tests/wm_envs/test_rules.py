"""The columns of observations, named once."""

import pickle

import gymnasium as gym
import numpy as np
import pytest

from wm_envs.resolutions.codes import OBSERVATION, ResolutionColumn
from wm_envs.rules import Field, ObservationSpec

SPEC = ObservationSpec(
    [Field("speed", "m/s", 0.0, 9.5, "forward"), Field("t", "steps", 0, 5, "time", "integer")]
)


def test_a_spec_gives_bounds_names_and_a_table():
    assert SPEC.names == ("speed", "t")
    assert SPEC.space == gym.spaces.Box(
        np.zeros(2, np.float32), np.array([9.5, 5], np.float32), dtype=np.float32
    )
    assert SPEC.table().splitlines()[2:] == [
        "| 0 | `speed` | m/s | 0 | 9.5 | forward |",
        "| 1 | `t` | steps | 0 | 5 | time |",
    ]
    assert pickle.loads(pickle.dumps(SPEC)) == SPEC
    assert isinstance(pickle.loads(pickle.dumps(SPEC)), ObservationSpec)


def test_column_enums_index_observations():
    columns = SPEC.columns("Columns", module=__name__)
    assert [column.name for column in columns] == ["SPEED", "T"]
    assert np.arange(2)[columns.T] == 1
    with pytest.raises(AttributeError):
        _ = columns.PACE


def test_enums_of_the_environments_follow_their_specs():
    names = [column.name.lower() for column in ResolutionColumn]
    assert names == list(OBSERVATION.names)
    assert pickle.loads(pickle.dumps(ResolutionColumn.TOPIC)) is ResolutionColumn.TOPIC
