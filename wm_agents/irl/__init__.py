"""Inverse reinforcement learning: from what somebody did to the reward that explains it."""

from wm_agents.irl.adversarial import AdversarialConfig, AdversarialIRL
from wm_agents.irl.cloning import BehaviourCloning, CloningConfig
from wm_agents.irl.comparison import Comparison, compare
from wm_agents.irl.decision_model import DecisionModel, from_transition_table, from_world_model
from wm_agents.irl.demonstrations import Demonstrations
from wm_agents.irl.held_out import HeldOut, choose_prior_std, cross_validate
from wm_agents.irl.identifiability import Identifiability, identify
from wm_agents.irl.maxent import MaxEntConfig, MaxEntIRL, RewardFit, fit_many
from wm_agents.irl.reward_network import RewardNetwork
from wm_agents.irl.rewards import LearnedReward, RewardedModel, linear_reward, planner_reward
from wm_agents.irl.sampled import SampledConfig, SampledFit, SampledMaxEntIRL, model_futures
from wm_agents.irl.soft_induction import SoftPolicy, optimal_policy, policy_value, soft_policy

__all__ = [
    "AdversarialConfig",
    "AdversarialIRL",
    "BehaviourCloning",
    "CloningConfig",
    "Comparison",
    "DecisionModel",
    "Demonstrations",
    "HeldOut",
    "Identifiability",
    "LearnedReward",
    "MaxEntConfig",
    "MaxEntIRL",
    "RewardFit",
    "RewardNetwork",
    "RewardedModel",
    "SampledConfig",
    "SampledFit",
    "SampledMaxEntIRL",
    "SoftPolicy",
    "choose_prior_std",
    "compare",
    "cross_validate",
    "fit_many",
    "from_transition_table",
    "from_world_model",
    "identify",
    "linear_reward",
    "model_futures",
    "optimal_policy",
    "planner_reward",
    "policy_value",
    "soft_policy",
]
