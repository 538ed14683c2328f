"""Learners for any Gymnasium environment: REINFORCE with a world-model loss, world models, planners, IRL."""

import os
import sys
from importlib.util import find_spec


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # what stands in for a package that is hidden on purpose
        return False


_NEEDED = ("torch", "stable_baselines3", "safetensors", "scipy")

if _missing := [module for module in _NEEDED if not _is_installed(module)]:
    raise ImportError(f"wm_agents needs {', '.join(_missing)}: pip install 'wm-suite[agents]'", name=_missing[0])


def _use_one_thread() -> None:
    """In a forked child: torch's threads stayed in the parent, and whoever hands them work waits for ever.

    The same is done by torch for the workers of its data loaders. A child that was spawned is not concerned.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_use_one_thread)
