"""Inverse reinforcement learning: from what somebody did to the reward that explains it."""

from wm_agents.irl.adversarial import AdversarialConfig, AdversarialIRL
from wm_agents.irl.cloning import BehavioralCloning, CloningConfig
from wm_agents.irl.comparison import Comparison, choose_prior_std, compare, cross_validate
from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.maxent import MaxEntConfig, MaxEntIRL, fit_many
from wm_agents.irl.mdp import (
    SoftPolicy,
    TabularMDP,
    from_transition_table,
    from_world_model,
    occupancy_measures,
    optimal_policy,
    policy_value,
    soft_value_iteration,
)
from wm_agents.irl.rewards import (
    LearnedReward,
    RewardedModel,
    RewardNetwork,
    RewardRelabelVecEnv,
    linear_reward,
    planner_reward,
)
from wm_agents.irl.sampled import SampledConfig, SampledFit, SampledMaxEntIRL, model_rollouts
from wm_agents.irl.uncertainty import Identifiability, RewardFit, identify
from wm_envs.data.moved import renamed

# Until the next release.
__getattr__ = renamed(
    __name__,
    {
        "BehaviourCloning": "wm_agents.irl.cloning.BehavioralCloning",
        "HeldOut": "wm_agents.irl.comparison._HeldOut",
        "DecisionModel": "wm_agents.irl.mdp.TabularMDP",
        "model_futures": "wm_agents.irl.sampled.model_rollouts",
        "soft_policy": "wm_agents.irl.mdp.soft_value_iteration",
    },
)

__all__ = [
    "AdversarialConfig",
    "AdversarialIRL",
    "BehavioralCloning",
    "CloningConfig",
    "Comparison",
    "Demonstrations",
    "Identifiability",
    "LearnedReward",
    "MaxEntConfig",
    "MaxEntIRL",
    "RewardFit",
    "RewardNetwork",
    "RewardRelabelVecEnv",
    "RewardedModel",
    "SampledConfig",
    "SampledFit",
    "SampledMaxEntIRL",
    "SoftPolicy",
    "TabularMDP",
    "choose_prior_std",
    "compare",
    "cross_validate",
    "fit_many",
    "from_transition_table",
    "from_world_model",
    "identify",
    "linear_reward",
    "model_rollouts",
    "occupancy_measures",
    "optimal_policy",
    "planner_reward",
    "policy_value",
    "soft_value_iteration",
]
