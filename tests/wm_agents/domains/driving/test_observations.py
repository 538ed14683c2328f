import numpy as np
import pytest
import torch

from wm_agents.domains.driving.observations import (
    COLUMN_NAMES,
    ENV_OPTIONS,
    LAYOUTS,
    CircuitMap,
    DerivedColumn,
    extend,
    make_layout,
    mirrored,
    model_observation_space,
)
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.expert import Expert


def test_the_columns_are_those_of_the_space(recorded):
    assert len(COLUMN_NAMES) == model_observation_space().shape[0]
    assert len(COLUMN_NAMES) == recorded[0].observations.shape[1]
    assert [COLUMN_NAMES[column] for column in DerivedColumn] == [
        column.name.lower() for column in DerivedColumn
    ]
    assert (recorded[1].observations[:, DerivedColumn.CIRCUIT] == 1).all()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_each_layout_knows_more_than_the_one_before(kind, tracks):
    layout = make_layout(kind, CircuitMap.of(tracks))
    num_derived = {"plain": 2, "map": 15, "kinematics": 18}[kind]
    assert sum(len(known.columns) for known in layout.derived) == num_derived


def test_the_map_is_the_road_of_the_environment(tracks):
    """From the true next velocities, geometry gives the true next place, heading and road."""
    env = DrivingEnv(track="figure_eight", **ENV_OPTIONS)
    before, _ = env.reset(seed=3)
    expert = Expert(env.parameters)
    layout = make_layout("kinematics", CircuitMap.of(tracks))
    wrong_columns = [
        Column.TRACK_POSITION,
        Column.OFFSET,
        Column.HEADING_ERROR,
        Column.CURVATURE_0M,
        Column.LEFT_WIDTH,
    ]
    road = slice(Column.CURVATURE_10M, Column.LEFT_WIDTH + 1)
    for _ in range(100):
        after = env.step(expert.actions_on(before[None])[0])[0]
        rows = [torch.as_tensor(extend(row, 1))[None] for row in (before, after)]
        wrong = rows[1].clone()
        wrong[:, wrong_columns] = 7.0
        decoded = layout.decode(rows[0], layout.targets(rows[0], wrong), torch.zeros(1, 3))[0]
        for column, tolerance in (
            (Column.OFFSET, 2e-4),
            (Column.HEADING_ERROR, 2e-4),
            (Column.TRACK_POSITION, 2e-6),
        ):
            np.testing.assert_allclose(decoded[column], after[column], atol=tolerance)
        np.testing.assert_allclose(decoded[road], after[road], atol=2e-4)
        before = after


def test_the_mirror_image_of_driving_obeys_the_same_rules(recorded):
    original, image = recorded[0], mirrored(recorded[0])
    np.testing.assert_array_equal(
        image.observations[:, [Column.VELOCITY_X, Column.BRAKE, Column.LEFT_WIDTH]],
        original.observations[:, [Column.VELOCITY_X, Column.BRAKE, Column.RIGHT_WIDTH]],
    )
    flipped = [
        Column.VELOCITY_Y,
        Column.ACCELERATION_Y,
        Column.STEERING,
        Column.OFFSET,
        Column.HEADING_ERROR,
        Column.CURVATURE_0M,
    ]
    np.testing.assert_array_equal(
        image.observations[:, flipped], -original.observations[:, flipped]
    )
    np.testing.assert_array_equal(mirrored(image).observations, original.observations)
    np.testing.assert_array_equal(mirrored(image).actions, original.actions)
