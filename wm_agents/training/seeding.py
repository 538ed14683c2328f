"""Random numbers of a run: seeds from one seed, and random states that a checkpoint can hold.

Nothing here seeds the world. Every random draw of `wm_agents` comes from a generator that was
passed in, and each of those is made from a seed of `spawn_seeds`; the global generators are
captured only because other libraries draw from them.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from wm_agents.errors import CheckpointError, ConfigError
from wm_envs.data.options import as_integer

Generator = np.random.Generator | torch.Generator | random.Random

# Every consumer (Gymnasium, ALE, torch, Stable-Baselines3) takes a signed 32-bit seed.
_NUM_SEEDS = 2**31


def spawn_seeds(seed: int, num: int) -> list[int]:
    """Independent, distinct seeds in 0..2^31-1 from one (numpy.random.SeedSequence).

    The first seeds do not depend on `num`, so that more runs extend a study instead of replacing
    it.

    Raises:
        ConfigError: on a negative or non-integer seed or num.
    """
    first, size = as_integer(seed), as_integer(num)
    for name, value, number in (("seed", seed, first), ("num", num, size)):
        if number is None or number < 0:
            raise ConfigError(f"{name}={value!r}; give an integer of at least 0")
    # A dict keeps the order of its keys and refuses repeats: two children may fold onto one seed.
    source, seeds = np.random.SeedSequence(first), dict[int, None]()
    while len(seeds) < num:
        seeds[int(source.spawn(1)[0].generate_state(1, np.uint64)[0]) % _NUM_SEEDS] = None
    return list(seeds)


def capture_random_state(generators: Mapping[str, Generator] | None = None) -> dict[str, Any]:
    """The states of the global generators of torch (every CUDA device in use).

    NumPy and `random`, and of those given.

    Args:
        generators: the run's own generators by name: NumPy's, torch's or `random.Random`.

    Returns:
        A structure for `pack_state`.

    Raises:
        ConfigError: on a generator of another type.
    """
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "cuda": [],
        "python": random.getstate(),
    }
    state["numpy"] = np.random.get_state()  # noqa: NPY002 - Stable-Baselines3 draws from it
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    named = generators or {}
    state["generators"] = {
        name: [_type_name(generator), _state_of(generator)] for name, generator in named.items()
    }
    return state


def restore_random_state(
    state: Mapping[str, Any], generators: Mapping[str, Generator] | None = None
) -> None:
    """Sets all generators back to a captured state; a state that does not fit changes none of them.

    Args:
        state: what `capture_random_state` gave, possibly through `pack_state` and `unpack_state`.
        generators: generators of the same names and types as at capture; their states are set in
            place.

    Raises:
        CheckpointError: when the names or types differ, or the state is malformed.
    """
    named = dict(generators or {})
    # Kept, so that a state that turns out to be malformed half-way can be undone.
    before = capture_random_state(named)
    try:
        _check_same(state, before)
        _set_all(state, named)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        _set_all(before, named)
        raise CheckpointError(f"the random state is malformed: {error}") from error


def _check_same(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    stored = {name: entry[0] for name, entry in state["generators"].items()}
    present = {name: entry[0] for name, entry in own["generators"].items()}
    if stored != present:
        raise CheckpointError(
            f"the random state is of generators {stored}, but {present} were given"
        )


def _set_all(state: Mapping[str, Any], generators: Mapping[str, Generator]) -> None:
    torch.set_rng_state(state["torch"])
    # A run may resume on a machine with fewer devices, or none.
    for device in range(min(len(state["cuda"]), torch.cuda.device_count())):
        torch.cuda.set_rng_state(state["cuda"][device], device)
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    for name, generator in generators.items():
        _set_state(generator, state["generators"][name][1])


def _type_name(generator: Generator) -> str:
    if isinstance(generator, np.random.Generator):
        return f"numpy.{type(generator.bit_generator).__name__}"
    if isinstance(generator, torch.Generator):
        return f"torch.{generator.device.type}"
    if isinstance(generator, random.Random):
        return "random.Random"
    raise ConfigError(
        f"{generator!r} is no generator; give a numpy.random.Generator, torch.Generator or "
        "random.Random"
    )


def _state_of(generator: Generator) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state() if isinstance(generator, torch.Generator) else generator.getstate()


def _set_state(generator: Generator, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, torch.Generator):
        generator.set_state(state)
    else:
        generator.setstate(state)
