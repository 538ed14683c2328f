"""The random numbers against a second implementation in Python's integers; what is compiled beside what is not is in
tests/reliability/test_parity.py."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import config

from wm_envs import kernel as kernels
from wm_envs.kernel import (
    empty_rows,
    kernel,
    key_from_seed,
    mix,
    random_bits,
    random_integer,
    random_normal,
    random_uniform,
    seed_rows,
    specialised,
    state_dtype,
)

WORD = 2**64
uint64s = st.integers(0, WORD - 1)
STATE = state_dtype([("value", np.float64)])


def mix_in_python(bits):
    """SplitMix64's finaliser on Python integers."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % WORD
    return bits ^ (bits >> 31)


def new_row(seed=0):
    rows = empty_rows(1, STATE)
    seed_rows(rows, [seed])
    return rows


@kernel
def draw_bits(states, out):
    for i in range(len(out)):
        out[i] = random_bits(states[0])


@kernel
def draw_integers(states, bound, out):
    for i in range(len(out)):
        out[i] = random_integer(states[0], bound)


@kernel
def draw_floats(states, uniforms, normals):
    for i in range(len(uniforms)):
        uniforms[i] = random_uniform(states[0])
    for i in range(len(normals)):
        normals[i] = random_normal(states[0])


def integers(seed, bound, count):
    out = np.zeros(count, np.int64)
    draw_integers(new_row(seed), bound, out)
    return out


@settings(deadline=None)  # the first call loads machine code
@given(uint64s)
def test_mix_is_splitmix64s_finaliser(bits):
    assert int(mix(np.uint64(bits))) == mix_in_python(bits)


def test_the_stream_of_key_zero_is_splitmix64s_published_one():
    # The first outputs of SplitMix64 from state 0, as published beside the xoshiro generators.
    states, out = empty_rows(1, STATE), np.zeros(3, np.uint64)
    draw_bits(states, out)
    assert [hex(bits) for bits in out.tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]
    assert states["counter"][0] == 3


@settings(deadline=None)  # the first call loads machine code
@given(uint64s, st.integers(0, 50))
def test_bits_follow_from_key_and_counter(seed, counter):
    states, out = new_row(seed), np.zeros(1, np.uint64)
    states["counter"] = counter
    draw_bits(states, out)
    key = mix_in_python(mix_in_python((seed + 0x9E3779B97F4A7C15) % WORD) ^ 0x94D049BB133111EB)
    assert int(states["key"][0]) == key
    assert out.tolist() == [mix_in_python((key + (counter + 1) * 0x9E3779B97F4A7C15) % WORD)]


@settings(deadline=None)  # the first call loads machine code
@given(uint64s, st.integers(1, 2**32 - 1))
def test_integers_stay_below_their_bound_and_scale_the_high_half(seed, bound):
    bits = np.zeros(8, np.uint64)
    draw_bits(new_row(seed), bits)
    numbers = integers(seed, bound, 8)
    assert numbers.tolist() == [(b >> 32) * bound >> 32 for b in bits.tolist()]
    assert numbers.min() >= 0
    assert numbers.max() < bound


@pytest.mark.parametrize("bound", [2, 3, 8, 17])
def test_integers_are_uniform(bound):
    counts = np.bincount(integers(11, bound, 20_000), minlength=bound)
    chi_squared = np.sum((counts - 20_000 / bound) ** 2) / (20_000 / bound)
    assert chi_squared < bound - 1 + 4 * math.sqrt(
        2 * (bound - 1)
    )  # four standard deviations above its mean


def test_integers_of_neighbouring_seeds_are_unrelated():
    first = np.array([integers(seed, 8, 1)[0] for seed in range(4_000)])
    pairs = np.bincount(first[:-1] * 8 + first[1:], minlength=64)
    chi_squared = np.sum((pairs - pairs.sum() / 64) ** 2) / (pairs.sum() / 64)
    assert chi_squared < 63 + 4 * math.sqrt(2 * 63)


def test_floats_have_their_moments_and_bounds():
    states, uniforms, normals = new_row(5), np.zeros(50_000), np.zeros(50_000)
    draw_floats(states, uniforms, normals)
    assert states["counter"][0] == 50_000 + 2 * 50_000
    assert uniforms.min() >= 0
    assert uniforms.max() < 1
    assert abs(uniforms.mean() - 0.5) < 4 * math.sqrt(1 / 12 / 50_000)
    assert abs(uniforms.var() - 1 / 12) < 0.002
    assert abs(normals.mean()) < 4 / math.sqrt(50_000)
    assert abs(normals.std() - 1) < 0.015
    assert abs(np.mean(np.abs(normals) < 1.96) - 0.95) < 0.005
    assert np.isfinite(normals).all()


def test_a_uniform_is_53_of_the_random_bits():
    bits, uniforms = np.zeros(4, np.uint64), np.zeros(4)
    draw_bits(new_row(3), bits)
    draw_floats(new_row(3), uniforms, np.zeros(0))
    assert uniforms.tolist() == [(b >> 11) / 2**53 for b in bits.tolist()]


def test_a_normal_is_the_cosine_branch_of_box_and_muller():
    uniforms, normals = np.zeros(2), np.zeros(1)
    draw_floats(new_row(3), uniforms, np.zeros(0))
    draw_floats(new_row(3), np.zeros(0), normals)
    expected = math.sqrt(-2 * math.log(1 - uniforms[0])) * math.cos(2 * math.pi * uniforms[1])
    assert normals[0] == pytest.approx(expected, rel=1e-12)


def test_rows_start_with_the_header_and_zeroed():
    rows = empty_rows(3, STATE)
    assert STATE.names == ("key", "counter", "fingerprint", "time", "ended", "value")
    assert rows.shape == (3,)
    assert not rows.tobytes().strip(b"\0")


def test_seeds_of_any_size_have_streams_of_their_own_and_restart_the_counter():
    rows = empty_rows(4, STATE)
    rows["counter"] = 9
    seed_rows(rows, [0, WORD - 1, WORD, WORD**2])
    assert rows["counter"].tolist() == [0, 0, 0, 0]
    assert rows["key"][1] == key_from_seed(np.uint64(WORD - 1))
    assert len(set(rows["key"].tolist())) == 4


def test_a_range_of_seeds_that_passes_64_bits_is_the_same_as_its_list():
    first = WORD - 2
    rows, listed = empty_rows(4, STATE), empty_rows(4, STATE)
    seed_rows(rows, range(first, first + 4))
    seed_rows(listed, list(range(first, first + 4)))
    assert rows["key"].tolist() == listed["key"].tolist()
    assert len(set(rows["key"].tolist())) == 4


def test_specialised_code_is_the_kernel():
    states, one, other = new_row(2), np.zeros(5, np.uint64), np.zeros(5, np.uint64)
    specialised(draw_bits, states, one)(states, one)
    draw_bits(new_row(2), other)
    assert one.tolist() == other.tolist()


def test_the_cache_folder_carries_the_hash_of_the_module_and_leaves_numbas_setting():
    import hashlib

    names = {path.name for path in kernels.kernel_sources()}
    assert names == {"kernel.py", "codes.py", "columns.py", "tendencies.py"}
    sources = b"".join(path.read_bytes() for path in kernels.kernel_sources())
    digest = hashlib.sha256(sources).hexdigest()[:12]
    assert Path(kernels._CACHE_DIRECTORY).parts[-2:] == ("wm-suite", f"kernels-{digest}")
    assert config.CACHE_DIR != kernels._CACHE_DIRECTORY


def test_a_chosen_cache_folder_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert Path(kernels._cache_directory()).parent == tmp_path / "wm-suite"


@pytest.mark.skipif(not kernels.IS_COMPILED, reason="nothing is compiled")
def test_a_pickled_kernel_is_its_name_so_that_another_process_takes_it_from_the_cache():
    import copy
    import pickle

    stored = pickle.dumps(kernels.mix)
    assert len(stored) < 100
    assert pickle.loads(stored) is kernels.mix is copy.deepcopy(kernels.mix)


def test_a_kernel_that_no_module_holds_is_pickled_with_its_code():
    import pickle

    @kernels.kernel
    def doubled(value):
        return 2 * value

    if kernels.IS_COMPILED:
        assert pickle.loads(pickle.dumps(doubled))(21) == 42
