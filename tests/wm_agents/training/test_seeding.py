import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.training.packing import pack_state, unpack_state
from wm_agents.training.seeding import capture_random_state, restore_random_state, spawn_seeds

ROOT = Path(__file__).parents[3]


def test_seeds_are_distinct_and_do_not_depend_on_their_number():
    seeds = spawn_seeds(7, 5000)
    assert len(set(seeds)) == 5000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert spawn_seeds(7, 3) == seeds[:3]
    assert spawn_seeds(8, 3) != seeds[:3]
    assert spawn_seeds(7, 0) == []


def test_a_collision_is_skipped(monkeypatch):
    monkeypatch.setattr("wm_agents.training.seeding._NUM_SEEDS", 8)
    assert sorted(spawn_seeds(0, 8)) == list(range(8))


def test_seeds_are_the_same_in_every_process():
    code = "from wm_agents.training.seeding import spawn_seeds; print(spawn_seeds(3, 4))"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "5"},
        capture_output=True,
        text=True,
    )
    assert printed.stdout.strip() == str(spawn_seeds(3, 4))


@pytest.mark.parametrize(("seed", "num"), [(-1, 1), (1.5, 1), (True, 1), (0, -1), (0, None)])
def test_bad_seeds_are_named(seed, num):
    with pytest.raises(ConfigError, match="give an integer"):
        spawn_seeds(seed, num)


def make_generators():
    return {
        "numpy": np.random.default_rng(1),
        "torch": torch.Generator().manual_seed(2),
        "python": random.Random(3),
    }


def draw(generators):
    return [
        torch.rand(3).tolist(),
        random.random(),
        random.gauss(0, 1),
        generators["numpy"].normal(size=3).tolist(),
        generators["numpy"].integers(0, 7, size=3, dtype=np.uint32).tolist(),
        torch.randn(3, generator=generators["torch"]).tolist(),
        generators["python"].gauss(0, 1),
    ]


def test_all_generators_continue_where_they_were():
    generators = make_generators()
    draw(generators)
    tensors, structure = pack_state(capture_random_state(generators))
    expected = draw(generators)
    draw(generators)
    restore_random_state(unpack_state(structure, tensors), generators)
    assert draw(generators) == expected
    others = make_generators()
    restore_random_state(unpack_state(structure, tensors), others)
    assert draw(others) == expected


def test_capture_draws_nothing():
    generators = make_generators()
    capture_random_state(generators)
    assert generators["numpy"].random() == np.random.default_rng(1).random()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["generators"].pop("numpy"),
        lambda state: state["generators"].update(numpy=["numpy.MT19937", {}]),
        lambda state: state["generators"].update(numpy=["numpy.PCG64", {"bit_generator": "PCG64"}]),
        lambda state: state["generators"].update(python=["random.Random", (3, (1,), None)]),
        lambda state: state.update(torch=torch.zeros(3, dtype=torch.uint8)),
        lambda state: state.update(python=(3, "short", None)),
        lambda state: state.pop("python"),
        lambda state: state.pop("generators"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change):
    generators = make_generators()
    state = capture_random_state(make_generators())
    draw(generators)
    before = capture_random_state(generators)
    change(state)
    with pytest.raises(CheckpointError, match="random state"):
        restore_random_state(state, generators)
    expected = draw(generators)
    restore_random_state(before, generators)
    assert draw(generators) == expected


def test_an_unknown_generator_is_named():
    with pytest.raises(ConfigError, match="is no generator"):
        capture_random_state({"a": np.random.RandomState(0)})
