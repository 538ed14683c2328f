"""Kernels of the native domains: rows of state, their random numbers, and threads for batches.

Every rule of a native domain is compiled by `kernel`. A state is one row of a structured array
whose first fields are `HEADER`; a row draws its random numbers from its own key and counter, so
copying the row copies its future, and row i of a batch seeded with s draws what a single
environment seeded with s + i draws.

Compiled code is cached on disk. Numba does not notice an edit in another module than the compiled
one (numba #1833), and every domain calls the functions below and reads codes and columns of modules
of its own: so the cache folder's name carries a hash of all of these files.
"""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from wm_envs.data.compiled import IS_COMPILED, compiled, user_cache_folder

Function = TypeVar("Function", bound=Callable[..., Any])
# One row of a structured array: its fields are attributes inside a kernel.
Row = Any

# The constants of SplitMix64 (Steele, Lea & Flood 2014), Stafford's variant 13 of the mixer.
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


# Rows


def state_dtype(fields: list[Any]) -> np.dtype[Any]:
    """The row layout of a domain: the header, then the domain's own fields."""
    # Aligned, so that compiled code reads each field with one instruction.
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
    # Copying an array keeps its padding bytes, which hold whatever was in memory.
    copied = np.zeros(rows.shape, rows.dtype)
    copied[...] = rows
    return copied


# Compilation


# Modules of a domain whose constants are compiled into the kernels of others.
_CONSTANT_MODULES = ("codes.py", "columns.py", "tendencies.py")


def kernel_sources() -> list[Path]:
    """The files on which compiled code depends beside its own.

    This one, and modules of constants.
    """
    here = Path(__file__)
    constants = [path for name in _CONSTANT_MODULES for path in here.parent.glob(f"*/{name}")]
    return [here, *sorted(constants)]


def _cache_directory() -> str:
    sources = b"".join(path.read_bytes() for path in kernel_sources())
    # A part of the hash names the folder: twelve digits are enough to tell versions apart.
    source_hash = hashlib.sha256(sources).hexdigest()[:12]
    return str(user_cache_folder() / "wm-suite" / f"kernels-{source_hash}")


_CACHE_DIRECTORY = _cache_directory()


def kernel(function: Function) -> Function:
    """Compile a pure function of scalars and arrays, see `wm_envs.data.compiled`."""
    return compiled(function, _CACHE_DIRECTORY)


def specialised(function: Function, *arguments: Any) -> Function:
    """The machine code of a kernel for arguments of these types.

    Without the dispatcher's look-up a call takes 0.2 us, not 0.7.

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


# Random numbers


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
    # Mixed twice: streams are key + n * gamma, and keys that differ by a multiple of gamma would
    # overlap.
    return mix(mix(seed + GOLDEN_GAMMA) ^ MIX_2)


@kernel
def random_bits(state: Row) -> np.uint64:
    """The next 64 random bits of a row."""
    # Counted first, so that the counter says how many numbers were drawn; a stream needs no other
    # state.
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
    # A float64 holds 53 bits: more would round up to 1.
    return np.float64(random_bits(state) >> SHIFT_11) * 2.0**-53


@kernel
def random_normal(state: Row) -> float:
    """A standard normal float (Box & Muller 1958).

    Of the cosine branch alone, so that each draw takes two counts.
    """
    # One minus the number is never 0, whose logarithm is infinite.
    radius = math.sqrt(-2.0 * math.log(1.0 - random_uniform(state)))
    # The sine's twin is thrown away: keeping it would be one more field of every state.
    return radius * math.cos(2.0 * math.pi * random_uniform(state))


def seed_rows(states: NDArray[Any], seeds: Sequence[int]) -> None:
    """Give row i the stream of seeds[i] and set its counter to zero.

    Args:
        states: Rows [B] that start with `HEADER`.
        seeds: B integers from 0 on; a range below 2**64 is quickest.
    """
    # A range is the usual case, and a list of a million Python integers is slow.
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


# Threads


class ThreadPool:
    """A pool that starts its threads when it is first used, and anew in each process.

    A fork copies the pool but none of its threads, so that a child which waited for them would wait
    for ever.

    Args:
        num_threads: At most.
    """

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._executor: ThreadPoolExecutor | None = None
        # Of the process that started the threads.
        self._process_id = 0

    def __getstate__(self) -> dict[str, Any]:
        # Threads do not survive pickling or forking; the copy starts its own when it needs them.
        return {"_num_threads": self._num_threads, "_executor": None, "_process_id": 0}

    def run(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> None:
        """Call a function with the arguments of each task, side by side.

        Returns when all of them have returned.
        """
        if self._executor is None or self._process_id != os.getpid():
            self._executor, self._process_id = ThreadPoolExecutor(self._num_threads), os.getpid()
        for future in [self._executor.submit(function, *arguments) for arguments in tasks]:
            # Also raises what a task raised, in the thread of the caller.
            future.result()

    def stop(self) -> None:
        """End the threads of this process; may be called twice."""
        # The executor of a parent process has no threads here, and waiting for them would never
        # end.
        if self._executor is not None and self._process_id == os.getpid():
            self._executor.shutdown()
        self._executor = None
