"""The columns of observations, named once."""

import pickle

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401
from wm_envs.debate.tendencies import DebateColumn
from wm_envs.driving.columns import DrivingColumn
from wm_envs.pong.columns import STACK, PongFeature
from wm_envs.resolutions.codes import ResolutionColumn
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


@pytest.mark.parametrize(
    ("env_id", "options", "columns"),
    [
        ("wm/Driving-v0", {"observation": "extended"}, DrivingColumn),
        ("wm/UNResolution-v0", {}, ResolutionColumn),
        ("wm/Debate-v0", {}, DebateColumn),
    ],
)
def test_enums_name_the_columns_of_the_environments(env_id, options, columns):
    fields = gym.make(env_id, **options).unwrapped.observation_fields
    assert [column.name.lower() for column in columns] == [field.name for field in fields]
    assert pickle.loads(pickle.dumps(columns(3))) is columns(3)


def test_features_of_pong_name_the_columns_of_the_stack():
    fields = gym.make("wm/Pong-v0", directions=True).unwrapped.observation_fields
    assert len(fields) == len(PongFeature) * STACK
    for feature in PongFeature:
        for age in range(STACK):
            name = f"{feature.name.lower()}_{STACK - 1 - age}"
            assert fields[feature.column(age)].name == name
