"""Every space as rows and back, by hand and by property."""

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate
from hypothesis import given, settings
from hypothesis import strategies as st

from wm_envs.data.errors import SpaceError
from wm_envs.data.spaces import ActionCodec, ObservationCodec, space_from_json, space_to_json


def box(shape=(2,), low=-1, high=1, dtype=np.float32):
    return spaces.Box(low, high, shape, dtype)


leaves = st.one_of(
    st.builds(spaces.Discrete, st.integers(1, 5), start=st.integers(-3, 3)),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 4), min_size=1, max_size=3)),
    st.builds(spaces.MultiBinary, st.integers(1, 3)),
    st.builds(
        box, st.sampled_from([(), (1,), (2, 3)]), dtype=st.sampled_from([np.float32, np.float64])
    ),
    st.builds(lambda: spaces.Box(0, 255, (2, 2), np.uint8)),
)
any_space = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=5,
)


def same(space, first, second):
    if isinstance(space, spaces.Dict):
        return all(same(part, first[key], second[key]) for key, part in space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return all(same(part, first[i], second[i]) for i, part in enumerate(space.spaces))
    return np.allclose(first, second, atol=1e-6)


@settings(deadline=None, max_examples=80)
@given(any_space, st.integers(0, 1000))
def test_observations_return_from_their_rows(space, seed):
    codec = ObservationCodec(space)
    batched = batch_space(space, 3)
    batched.seed(seed)
    values = batched.sample()
    rows = codec.encode(values)
    assert rows.shape == (3, codec.size)
    assert rows.dtype == np.float32
    assert same(batched, codec.decode(rows), values)
    single = next(iter(iterate(batched, values)))
    assert np.array_equal(codec.encode_one(single), rows[0])
    assert space.contains(codec.decode_one(rows[0]))
    assert [group.start for group in codec.groups[1:]] == [
        group.stop for group in codec.groups[:-1]
    ]


@settings(deadline=None, max_examples=80)
@given(any_space, st.integers(0, 1000))
def test_actions_return_from_an_index_or_a_vector(space, seed):
    codec = ActionCodec(space)
    batched = batch_space(space, 3)
    batched.seed(seed)
    actions = batched.sample()
    encoded = codec.encode(actions)
    assert encoded.shape == ((3,) if codec.is_discrete else (3, *codec.row_space.shape))
    assert same(batched, codec.decode(encoded), actions)
    codec.row_space.seed(seed)
    assert space.contains(codec.decode_one(codec.row_space.sample()))


@settings(deadline=None, max_examples=50)
@given(any_space)
def test_spaces_return_from_json(space):
    assert space_from_json(space_to_json(space)) == space


def test_rows_of_a_thermostat():
    space = spaces.Dict(
        {"room": box((2,), -50, 50, np.float64), "mode": spaces.Discrete(3, start=1)}
    )
    codec = ObservationCodec(space)
    assert [(group.name, group.kind) for group in codec.groups] == [
        ("room", "number"),
        ("mode", "one_hot"),
    ] or [(group.name, group.kind) for group in codec.groups] == [
        ("mode", "one_hot"),
        ("room", "number"),
    ]
    row = codec.encode_one({"room": np.array([3.0, -4.0]), "mode": np.int64(2)})
    assert sorted(row.tolist()) == [-4, 0, 0, 1, 3]


def test_choices_are_numbered_with_the_last_counting_fastest():
    codec = ActionCodec(spaces.MultiDiscrete([3, 2]))
    assert codec.row_space == spaces.Discrete(6)
    assert codec.encode(np.array([[0, 0], [0, 1], [1, 0], [2, 1]])).tolist() == [0, 1, 2, 5]
    assert codec.decode_one(5).tolist() == [2, 1]


def test_discrete_and_flat_boxes_stay_as_they_are():
    for space in (spaces.Discrete(4, start=2), box((3,))):
        assert ActionCodec(space).row_space is space
        assert ActionCodec(space).is_identity
    assert ActionCodec(spaces.Discrete(4, start=2)).encode(np.array([2, 5])).tolist() == [2, 5]


def test_too_many_combinations_become_scores():
    space = spaces.MultiDiscrete([100] * 4)
    codec = ActionCodec(space)
    assert isinstance(codec.row_space, spaces.Box)
    assert codec.row_space.shape == (400,)
    assert codec.decode(codec.encode(np.array([[1, 2, 3, 99]]))).tolist() == [[1, 2, 3, 99]]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Dict({"say": spaces.Text(5)}),
        spaces.Sequence(spaces.Discrete(2)),
        box((0,)),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(space):
    with pytest.raises(SpaceError, match=r"say|Text|Sequence|no numbers"):
        ObservationCodec(space)
    with pytest.raises(SpaceError, match=r"say|Text|Sequence|no numbers"):
        ActionCodec(space)


@pytest.mark.parametrize(
    "value", [None, "text", np.zeros(3), np.zeros((1, 2)), (np.zeros(2), {}), {"room": 1}]
)
def test_values_of_another_space_are_refused(value):
    with pytest.raises(SpaceError):
        ObservationCodec(box((2,))).encode_one(value)


@pytest.mark.parametrize("value", [3, -1, 1.5, np.nan])
def test_choices_outside_are_refused(value):
    with pytest.raises(SpaceError, match="outside"):
        ObservationCodec(spaces.Discrete(3)).encode_one(value)
    with pytest.raises(SpaceError, match="outside"):
        ActionCodec(spaces.Discrete(3)).encode(np.array([value]))


def test_a_missing_key_is_named():
    with pytest.raises(SpaceError, match="room"):
        ObservationCodec(spaces.Dict({"room": box()})).encode_one({"rooms": np.zeros(2)})
