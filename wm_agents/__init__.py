"""Learners for any Gymnasium environment: REINFORCE with a world-model loss, world models, planners, IRL."""

from importlib.util import find_spec


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # what stands in for a package that is hidden on purpose
        return False


_NEEDED = ("torch", "stable_baselines3", "safetensors", "scipy")

if _missing := [module for module in _NEEDED if not _is_installed(module)]:
    raise ImportError(f"wm_agents needs {', '.join(_missing)}: pip install 'wm-suite[agents]'", name=_missing[0])
