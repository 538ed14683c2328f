import json
import random
import struct
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wm_agents.errors import CheckpointError
from wm_agents.training.packing import pack_state, unpack_state


def round_trip(state):
    tensors, structure = pack_state(state)
    return unpack_state(json.loads(json.dumps(structure, allow_nan=False)), tensors)


def assert_same(one, other):
    """Equal in type and in every bit, at every level."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert_same(list(one.items()), list(other.items()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        left, right = (
            tensor.resolve_conj().reshape(-1).view(torch.uint8) for tensor in (one, other)
        )
        assert left.equal(right)
    elif isinstance(one, np.ndarray | np.generic):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    elif isinstance(one, float):
        assert struct.pack(">d", one) == struct.pack(">d", other)
    else:
        assert one == other


def test_every_type_survives_exactly():
    negative_nan = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]
    state = {
        "plain": [
            None,
            True,
            False,
            0,
            1,
            -1,
            "text",
            "",
            "\u00e9\u2028\x00",
            0.1,
            -0.0,
            5e-324,
            1e308,
        ],
        "special": (float("nan"), negative_nan, float("inf"), float("-inf")),
        "big": [2**53, -(2**53), 2**127 + 1, -(2**300), 10**5000],
        "empty": [{}, [], (), OrderedDict()],
        "keys": {1: "int", "1": "text", True + 1: "two", None: 0, (1, 2): "tuple", 2.5: "float"},
        "ordered": OrderedDict([("b", 1), ("a", 2)]),
        "tensors": [
            torch.tensor(float("nan")),
            torch.arange(6).reshape(2, 3).T,
            torch.zeros(0, 4),
            torch.tensor([True, False]),
            torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
            torch.tensor([1 + 2j]).conj(),
        ],
        "arrays": [
            np.arange(6, dtype=">i4").reshape(2, 3).T,
            np.array(3.5),
            np.zeros((0, 2), dtype=np.uint16),
            np.array([np.nan, -0.0], dtype=np.float16),
            np.array(["ab", "c"]),
            np.array([2**64 - 1], dtype=np.uint64),
            np.array(["2020-01-01"], dtype="datetime64[D]"),
        ],
        "scalars": [
            np.float64(0.1),
            np.float32("nan"),
            np.int8(-3),
            np.bool_(True),
            np.uint64(2**64 - 1),
        ],
    }
    assert_same(round_trip(state), state)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.text() | st.integers()
STATES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(STATES)
def test_any_nested_state_survives(state):
    assert_same(round_trip(state), state)


@pytest.mark.parametrize("bit_generator", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_numpy_random_states_continue(bit_generator):
    generator = np.random.Generator(getattr(np.random, bit_generator)(3))
    generator.random(7)
    state = round_trip(generator.bit_generator.state)
    expected = generator.random(20)
    fresh = np.random.Generator(getattr(np.random, bit_generator)(99))
    fresh.bit_generator.state = state
    assert fresh.random(20).tobytes() == expected.tobytes()


def test_python_random_state_continues():
    generator = random.Random(3)
    generator.gauss(0, 1)
    state = round_trip(generator.getstate())
    expected = [generator.gauss(0, 1) for _ in range(3)]
    generator.setstate(state)
    assert [generator.gauss(0, 1) for _ in range(3)] == expected


def test_an_optimizer_continues_bit_for_bit():
    def make():
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 3)
        return model, torch.optim.Adam(model.parameters(), lr=0.01, amsgrad=True)

    def train(model, optimizer, num):
        for index in range(num):
            optimizer.zero_grad()
            model(torch.full((2, 4), 0.1 * index)).square().sum().backward()
            optimizer.step()

    model, optimizer = make()
    train(model, optimizer, 5)
    state = round_trip({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    train(model, optimizer, 5)
    resumed, resumed_optimizer = make()
    resumed.load_state_dict(state["model"])
    resumed_optimizer.load_state_dict(state["optimizer"])
    train(resumed, resumed_optimizer, 5)
    assert_same(dict(resumed.state_dict()), dict(model.state_dict()))
    assert_same(resumed_optimizer.state_dict(), optimizer.state_dict())


def test_tensor_names_tell_the_place_and_never_collide():
    tensors, _ = pack_state(
        {1: torch.zeros(1), "1": torch.ones(1), "a": [torch.ones(2)]}, prefix="optimizer"
    )
    assert sorted(tensors) == ["optimizer.1", "optimizer.1#2", "optimizer.a.0"]


def test_stored_tensors_share_no_memory():
    tensor = torch.zeros(3)
    tensors, structure = pack_state([tensor, tensor])
    tensor += 1
    first, second = unpack_state(structure, tensors)
    first += 2
    assert (first.tolist(), second.tolist()) == ([2.0] * 3, [0.0] * 3)
    assert unpack_state(structure, tensors)[0].tolist() == [0.0] * 3


Pair = namedtuple("Pair", "a b")


class Text(str):
    pass


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        b"bytes",
        Pair(1, 2),
        Text("a"),
        1j,
        len,
        np.array([object()]),
        np.zeros(2, dtype=[("a", "f4")]),
        np.ma.masked_array([1.0]),
        torch.nn.Parameter(torch.zeros(1)),
        torch.zeros(2, 2).to_sparse(),
    ],
)
def test_what_could_not_come_back_is_refused_with_its_place(value):
    with pytest.raises(CheckpointError, match=r"state\.outer\.1: cannot store"):
        pack_state({"outer": [0, value]})


def test_a_cycle_is_refused():
    cycle: list = []
    cycle.append(cycle)
    with pytest.raises(CheckpointError, match="nested deeper"):
        pack_state(cycle)


@pytest.mark.parametrize(
    "structure",
    [
        [1],
        {},
        {"list": [], "tuple": []},
        {"class": "os.system"},
        {"tensor": "absent"},
        {"tensor": ["unhashable"]},
        {"int": "zz"},
        {"int": 3},
        {"float": "00"},
        {"dict": [[1]]},
        {"dict": [[{"list": []}, 1]]},
        {"list": 5},
        {"array": {"data": "x", "dtype": "O", "shape": [1], "is_scalar": False}},
        {"array": {"data": "x", "dtype": "i4,i4", "shape": [1], "is_scalar": False}},
        {"array": {"data": "x", "dtype": "nonsense", "shape": [1], "is_scalar": False}},
        {"array": {"data": "x", "dtype": "<f8", "shape": [3], "is_scalar": False}},
        {"array": {"data": "x"}},
    ],
)
def test_a_malformed_structure_is_refused(structure):
    with pytest.raises(CheckpointError, match="packed state"):
        unpack_state(structure, {"x": torch.zeros(8, dtype=torch.uint8)})


def test_a_deep_structure_is_refused():
    structure: dict = {"list": []}
    for _ in range(500):
        structure = {"list": [structure]}
    with pytest.raises(CheckpointError, match="packed state"):
        unpack_state(structure, {})


@pytest.mark.parametrize("state", [torch.ones(3), np.ones(3)])
def test_a_tensor_that_is_named_twice_is_refused(state):
    """A few bytes for each time that it is named could ask for any amount of memory."""
    tensors, structure = pack_state(state)
    with pytest.raises(CheckpointError, match="malformed node"):
        unpack_state({"list": [structure, structure]}, tensors)
