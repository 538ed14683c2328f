"""Learners for any Gymnasium environment.

REINFORCE with a world-model loss, world models, planners, IRL.
"""

import os
import sys
from importlib.util import find_spec

from wm_envs.data.moved import MovedModules


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # what stands in for a package that is hidden on purpose
        return False


_NEEDED = ("torch", "stable_baselines3", "safetensors", "scipy")

if _missing := [module for module in _NEEDED if not _is_installed(module)]:
    raise ImportError(
        f"wm_agents needs {', '.join(_missing)}: pip install 'wm-suite[agents]'", name=_missing[0]
    )


def _use_one_thread() -> None:
    """In a forked child: torch's threads stayed in the parent, and whoever hands them work waits for ever.

    The same is done by torch for the workers of its data loaders. A child that was spawned is not
    concerned.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_use_one_thread)

# Until the next release.
MovedModules(
    {
        "wm_agents.box_values": "wm_agents.policy_gradient.spaces",
        "wm_agents.config_checks": "wm_agents.training.config_checks",
        "wm_agents.debate": "wm_agents.domains.debate",
        "wm_agents.episodes": "wm_agents.policy_gradient.collector",
        "wm_agents.feature_dreams": "wm_agents.imagination.features",
        "wm_agents.flat_adam": "wm_agents.policy_gradient.sequence_model",
        "wm_agents.imagined_rows": "wm_agents.imagination.rows",
        "wm_agents.irl.resolutions": "wm_agents.domains.resolutions.resolution_mdp",
        "wm_agents.irl.vote_models": "wm_agents.domains.resolutions.vote_rewards",
        "wm_agents.reinforce": "wm_agents.policy_gradient.reinforce",
        "wm_agents.reinforce_config": "wm_agents.policy_gradient.reinforce_config",
        "wm_agents.safety": "wm_agents.planning.safety",
        "wm_agents.sb3_adapter": "wm_agents.sb3.vec_env",
        "wm_agents.sb3_checkpoints": "wm_agents.sb3.checkpoints",
        "wm_agents.sequence_model": "wm_agents.policy_gradient.sequence_model",
        "wm_agents.trajectories": "wm_envs.data.trajectories",
        "wm_agents.vector_ppo": "wm_agents.policy_gradient.vector_ppo",
        "wm_agents.votes": "wm_agents.domains.resolutions",
        "wm_agents.world_model_policy": "wm_agents.sb3.policy",
        "wm_agents.world_model_ppo": "wm_agents.policy_gradient.ppo",
    },
    {"wm_agents.world_model_ppo.WorldModelPPO": "wm_agents.policy_gradient.ppo.PPO"},
).install()
