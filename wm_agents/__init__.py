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
_MERGED_EVALUATION = {
    "baselines": "windows",
    "comparisons": "statistics",
    "end_scores": "calibration",
    "feature_groups": "error_tables",
    "futures": "windows",
    "intervals": "statistics",
    "planning_gap": "episodes",
    "starts": "windows",
    "verdicts": "open_loop_report",
}
MovedModules(
    {
        "wm_agents.box_values": "wm_agents.policy_gradient.spaces",
        "wm_agents.config_checks": "wm_agents.training.config_checks",
        "wm_agents.debate": "wm_agents.domains.debate",
        "wm_agents.debate.plots": "wm_agents.domains.debate.history",
        "wm_agents.episodes": "wm_agents.policy_gradient.collector",
        **{
            f"wm_agents.evaluation.{old}": f"wm_agents.evaluation.{new}"
            for old, new in _MERGED_EVALUATION.items()
        },
        "wm_agents.feature_dreams": "wm_agents.imagination.features",
        "wm_agents.flat_adam": "wm_agents.policy_gradient.sequence_model",
        "wm_agents.irl.adversarial_checkpoints": "wm_agents.irl.adversarial",
        "wm_agents.irl.decision_model": "wm_agents.irl.mdp",
        "wm_agents.irl.held_out": "wm_agents.irl.cross_validation",
        "wm_agents.irl.identifiability": "wm_agents.irl.uncertainty",
        "wm_agents.irl.paid_environments": "wm_agents.irl.rewards",
        "wm_agents.irl.prior": "wm_agents.irl.uncertainty",
        "wm_agents.irl.resolutions": "wm_agents.domains.resolutions.resolution_mdp",
        "wm_agents.irl.reward_network": "wm_agents.irl.rewards",
        "wm_agents.irl.soft_induction": "wm_agents.irl.mdp",
        "wm_agents.irl.standardisation": "wm_agents.irl.uncertainty",
        "wm_agents.irl.vote_models": "wm_agents.domains.resolutions.vote_rewards",
        "wm_agents.planning.categorical": "wm_agents.planning.cem",
        "wm_agents.planning.experience": "wm_agents.planning.collector",
        "wm_agents.planning.icem": "wm_agents.planning.cem",
        "wm_agents.reinforce": "wm_agents.policy_gradient.reinforce",
        "wm_agents.reinforce_config": "wm_agents.policy_gradient.reinforce_config",
        "wm_agents.safety": "wm_agents.planning.safety",
        "wm_agents.sb3_adapter": "wm_agents.sb3.vec_env",
        "wm_agents.sb3_checkpoints": "wm_agents.sb3.checkpoints",
        "wm_agents.sequence_model": "wm_agents.policy_gradient.sequence_model",
        "wm_agents.trajectories": "wm_envs.data.trajectories",
        "wm_agents.vector_ppo": "wm_agents.policy_gradient.vector_ppo",
        "wm_agents.votes": "wm_agents.domains.resolutions",
        "wm_agents.votes.baselines": "wm_agents.domains.resolutions.evaluation",
        "wm_agents.votes.metrics": "wm_agents.domains.resolutions.evaluation",
        "wm_agents.votes.text": "wm_agents.domains.resolutions.history",
        "wm_agents.votes.update": "wm_agents.domains.resolutions.vote_model",
        "wm_agents.world_model_policy": "wm_agents.sb3.policy",
        "wm_agents.world_model_ppo": "wm_agents.policy_gradient.ppo",
        "wm_agents.world_models.normalisation": "wm_agents.world_models.normalization",
        "wm_agents.world_models.outcomes": "wm_agents.world_models.structure",
        "wm_agents.world_models.recorded_states": "wm_agents.world_models.unrolling",
        "wm_agents.world_models.segments": "wm_agents.world_models.sampling",
    },
    {
        "wm_agents.planning.experience.Experience": "wm_agents.planning.collector.Collector",
        "wm_agents.world_models.normalisation.Standardiser": (
            "wm_agents.world_models.normalization.Standardizer"
        ),
        "wm_agents.world_models.segments.Segment": "wm_agents.world_models.sampling.TrainingBatch",
        "wm_agents.world_models.segments.SegmentSource": (
            "wm_agents.world_models.sampling.BatchSampler"
        ),
        "wm_agents.irl.decision_model.DecisionModel": "wm_agents.irl.mdp.TabularMDP",
        "wm_agents.irl.paid_environments.PaidEnvironments": (
            "wm_agents.irl.rewards.RewardRelabelVecEnv"
        ),
        "wm_agents.irl.soft_induction.push_forward": "wm_agents.irl.mdp.occupancy_measures",
        "wm_agents.irl.soft_induction.soft_policy": "wm_agents.irl.mdp.soft_value_iteration",
        "wm_agents.world_model_ppo.WorldModelPPO": "wm_agents.policy_gradient.ppo.PPO",
    },
).install()
