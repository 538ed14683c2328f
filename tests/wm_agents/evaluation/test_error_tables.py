"""Groups of columns, as given, as the space says, and as the data show; ratios of errors."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from wm_agents.errors import TrajectoryError
from wm_agents.evaluation.error_tables import FeatureGroup, feature_groups, paired_ratios

GENERATOR = np.random.default_rng(0)


def one_hot(size, num_rows=200):
    return np.eye(size, dtype=np.float32)[GENERATOR.integers(size, size=num_rows)]


def numbers(size, num_rows=200):
    return GENERATOR.normal(size=(num_rows, size)).astype(np.float32)


def angle(num_rows=200):
    turn = GENERATOR.uniform(-np.pi, np.pi, num_rows)
    return np.cos(turn).astype(np.float32), np.sin(turn).astype(np.float32)


def found(rows, names=None, **options):
    names = [f"feature {column}" for column in range(rows.shape[1])] if names is None else names
    return {group.name: group.columns for group in feature_groups(names, rows, **options)}


def test_one_hots_lie_side_by_side_and_beside_bits():
    bits = GENERATOR.integers(2, size=(200, 1)).astype(np.float32)
    rows = np.concatenate([bits, one_hot(4), one_hot(3), bits[::-1], numbers(1)], 1)
    assert found(rows) == {
        "feature 0": (0,),
        "feature 1 to feature 4": (1, 2, 3, 4),
        "feature 5 to feature 7": (5, 6, 7),
        "feature 8": (8,),
        "feature 9": (9,),
    }


def test_a_one_hot_is_named_after_what_its_columns_have_in_common():
    names = [f"hour {number}" for number in range(5)] + ["level"]
    assert found(np.concatenate([one_hot(5), numbers(1)], 1), names) == {
        "hour": (0, 1, 2, 3, 4),
        "level": (5,),
    }


def test_categories_that_never_occur_do_not_break_a_one_hot():
    rows = one_hot(6)[:, [0, 1, 2]]
    rows = rows[rows.sum(1) == 1]
    unvisited = np.zeros((len(rows), 1), np.float32)
    groups = found(np.concatenate([unvisited, rows[:, :2], unvisited, rows[:, 2:]], 1))
    assert groups == {"feature 0 to feature 4": (0, 1, 2, 3, 4)}


def test_a_constant_one_is_no_one_hot():
    assert found(np.concatenate([np.ones((200, 1), np.float32), numbers(1)], 1)) == {
        "feature 0": (0,),
        "feature 1": (1,),
    }


def test_angles_are_found_wherever_their_columns_stand():
    (a, b), (c, d) = angle(), angle()
    rows = np.stack([a, c, b, numbers(1)[:, 0], d], 1)  # both cosines first, as in Reacher
    groups = found(rows, ["cos 1", "cos 2", "sin 1", "speed", "sin 2"])
    assert groups == {
        "angle of cos 1 and sin 1": (0, 2),
        "angle of cos 2 and sin 2": (1, 4),
        "speed": (3,),
    }


def test_keys_of_a_dict_and_arrays_are_groups():
    space = spaces.Dict(
        {
            "image": spaces.Box(0, 1, (2, 3)),
            "mode": spaces.Discrete(3),
            "room": spaces.Box(-9, 9, (2,)),
            "deep": spaces.Tuple((spaces.Box(0, 1, (1,)), spaces.MultiDiscrete([2, 3]))),
        }
    )
    rows = np.stack([spaces.flatten(space, space.sample()) for _ in range(50)]).astype(np.float32)
    names = [f"feature {column}" for column in range(rows.shape[1])]
    groups = feature_groups(names, rows, space=space)
    sizes = {group.name: len(group.columns) for group in groups}
    assert sizes == {"deep.0": 1, "deep.1[0]": 2, "deep.1[1]": 3, "image": 6, "mode": 3, "room": 2}
    assert {group.name for group in groups if not group.has_one_unit} == {"deep.0", "room"}
    assert [
        len(group.columns) for group in feature_groups(names[:2], rows[:, :2], space=space)
    ] == [1, 1]


def test_a_discrete_space_is_one_group_and_a_vector_is_none():
    assert found(one_hot(3, 2), space=spaces.Discrete(3)) == {"state": (0, 1, 2)}
    assert found(numbers(2), space=gym.make("MountainCar-v0").observation_space) == {
        "feature 0": (0,),
        "feature 1": (1,),
    }
    assert found(numbers(4), space=spaces.Box(-1, 1, (2, 2))) == {"observation": (0, 1, 2, 3)}


def test_given_groups_come_first_and_are_checked():
    rows = np.concatenate([one_hot(3), numbers(2)], 1)
    groups = feature_groups([*"abcde"], rows, given={"mine": (0, 3)})
    assert FeatureGroup("mine", (0, 3)) in groups
    assert sorted(column for group in groups for column in group.columns) == [0, 1, 2, 3, 4]
    for wrong in ({"x": (5,)}, {"x": ()}, {"x": (0,), "y": (0,)}, {"x": (-1,)}):
        with pytest.raises(TrajectoryError, match="group"):
            feature_groups([*"abcde"], rows, given=wrong)


def ratios(own, other, seed=0):
    """Of one start an episode: squared errors [episodes, H]."""
    mask = np.ones(own.shape, np.bool_)
    episodes = np.arange(len(own))
    return paired_ratios(own[..., None], other[..., None], mask, episodes, seed)[..., 0]


def test_a_paired_ratio_by_hand():
    other = np.random.default_rng(1).exponential(size=(10, 3))
    ratio, low, high = ratios(4 * other, other)
    # Twice the error in each episode, however much episodes differ: the band has no width.
    for values in (ratio, low, high):
        np.testing.assert_allclose(values, 2.0, rtol=1e-6)
    assert (ratios(np.zeros((4, 2)), np.zeros((4, 2))) == 1).all()
    _, low, high = ratios(other[:1], other[:1])
    assert (low == 0).all()
    assert np.isposinf(high).all()
    np.testing.assert_array_equal(ratios(other, other[::-1]), ratios(other, other[::-1]))


@pytest.mark.parametrize("num_episodes", [4, 10])
def test_the_band_holds_the_true_ratio_at_all_steps_at_once(num_episodes):
    # Two forecasts of random walks that err alike in truth, each in its own episodes.
    generator = np.random.default_rng(0)
    num_missed = 0
    for draw in range(100):
        steps = generator.normal(size=(2, num_episodes, 32))
        own, other = np.cumsum(steps, axis=2) ** 2
        _, low, high = ratios(own + other, other + own[::-1], seed=draw)
        num_missed += bool(((low > 1) | (high < 1)).any())
    # A pointwise interval would miss in about half of the draws.
    assert num_missed <= 10
