"""The compile decorator, and random numbers that live in the state row.

Every rule of a native domain is compiled by `kernel`. A state is one row of a structured array
whose first fields are `HEADER`; a row draws its random numbers from its own key and counter, so
copying the row copies its future, and row i of a batch seeded with s draws what a single
environment seeded with s + i draws.

Compiled code is cached on disk. Numba does not notice an edit in another module than the compiled
one (numba #1833), and every domain calls the functions below: so the cache folder's name carries a
hash of this file.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from wm_envs.data.compiled import IS_COMPILED, compiled, user_cache_folder

Function = TypeVar("Function", bound=Callable[..., Any])
Row = Any  # one row of a structured array: its fields are attributes inside a kernel

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
SHIFT_30, SHIFT_27, SHIFT_31 = np.uint64(30), np.uint64(27), np.uint64(31)
SHIFT_32, SHIFT_11 = np.uint64(32), np.uint64(11)
ONE = np.uint64(1)

HEADER: list[tuple[str, Any]] = [
    ("key", np.uint64),  # names the row's random stream
    ("counter", np.uint64),  # numbers drawn so far
    ("fingerprint", np.uint64),  # of the parameters that the row belongs to
    ("time", np.int64),  # steps since the reset
    ("ended", np.bool_),  # the episode is over: only a reset may follow
]


def state_dtype(fields: list[Any]) -> np.dtype[Any]:
    """The row layout of a domain: the header, then the domain's own fields."""
    return np.dtype([*HEADER, *fields], align=True)


def empty_rows(num_rows: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeroed rows; the kernels address their fields as attributes, compiled or not.

    A plain structured array is what Numba dispatches fast (0.4 us against 2.6 us for a record
    array); without the compiler only a record array has attributes.
    """
    rows: NDArray[Any] = np.zeros(num_rows, dtype)
    return rows if IS_COMPILED else rows.view(np.recarray)


def copy_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """A plain copy whose padding is zero, so that equal rows are equal bytes.

    NumPy copies the fields of a structured array and leaves between them what the memory held
    before.
    """
    copied = np.zeros(rows.shape, rows.dtype)
    copied[...] = rows
    return copied


def _cache_directory() -> str:
    source_hash = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    return str(user_cache_folder() / "wm-suite" / f"kernels-{source_hash}")


_CACHE_DIRECTORY = _cache_directory()


def kernel(function: Function) -> Function:
    """Compile a pure function of scalars and arrays, with its machine code cached on disk.

    No `fastmath`, so that a run with `NUMBA_DISABLE_JIT=1` is equal to the bit. The interpreter
    lock is released.
    """
    return compiled(function, _CACHE_DIRECTORY)


def specialised(function: Function, *arguments: Any) -> Function:
    """The machine code of a kernel for arguments of these types, without the dispatcher's look-up (0.2 us, not 0.7).

    The result cannot be pickled: whoever keeps it binds it again. A plain function is given back as
    it is.
    """
    dispatcher: Any = function
    if not hasattr(dispatcher, "compile"):
        return function
    signature = tuple(numba.typeof(argument) for argument in arguments)
    dispatcher.compile(signature)
    entry_point: Function = dispatcher.overloads[signature].entry_point
    return entry_point


@kernel
def mix(bits: np.uint64) -> np.uint64:
    """Scatter 64 bits.

    The finaliser of SplitMix64 (Steele, Lea & Flood 2014, variant 13 of Stafford).
    """
    bits = (bits ^ (bits >> SHIFT_30)) * MIX_1
    bits = (bits ^ (bits >> SHIFT_27)) * MIX_2
    return bits ^ (bits >> SHIFT_31)


@kernel
def key_from_seed(seed: np.uint64) -> np.uint64:
    """The stream of a uint64 seed; neighbouring seeds have unrelated keys."""
    return mix(mix(seed + GOLDEN_GAMMA) ^ MIX_2)


@kernel
def random_bits(state: Row) -> np.uint64:
    """The next 64 random bits of a row."""
    state.counter += ONE
    return mix(state.key + state.counter * GOLDEN_GAMMA)


@kernel
def random_integer(state: Row, bound: int) -> np.int64:
    """A uniform integer in [0, bound), bound below 2**32 (bias below bound / 2**32)."""
    # Scaling the high half spares a division.
    return np.int64(((random_bits(state) >> SHIFT_32) * np.uint64(bound)) >> SHIFT_32)


@kernel
def random_uniform(state: Row) -> float:
    """A uniform float in [0, 1) with 53 random bits."""
    return np.float64(random_bits(state) >> SHIFT_11) * 2.0**-53


@kernel
def random_normal(state: Row) -> float:
    """A standard normal float (Box & Muller 1958, the cosine branch, so that each draw takes two counts)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - random_uniform(state)))
    return radius * math.cos(2.0 * math.pi * random_uniform(state))


def seed_rows(states: NDArray[Any], seeds: Sequence[int]) -> None:
    """Give row i the stream of seeds[i] and set its counter to zero.

    Args:
        states: Rows [B] that start with `HEADER`.
        seeds: B integers from 0 on; a range below 2**64 is quickest.
    """
    if isinstance(seeds, range) and seeds.step == 1 and seeds.stop <= 2**64:
        first = np.uint64(seeds.start)
        _seed_rows(states, np.arange(len(seeds), dtype=np.uint64) + first)
    else:
        _seed_rows(states, np.array([_seed_word(seed) for seed in seeds], np.uint64))


def _seed_word(seed: int) -> int:
    """A seed as 64 bits: itself, or a hash of one that has more, so that 2**64 + 5 is not 5.

    Gymnasium draws seeds of 128 bits where none is given.
    """
    if seed < 2**64:
        return seed
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


@kernel
def _seed_rows(states: NDArray[Any], seeds: NDArray[np.uint64]) -> None:
    for row in range(len(states)):
        states[row].key = key_from_seed(seeds[row])
        states[row].counter = np.uint64(0)
