"""Old import paths of learners, which lead to the new ones until the next release."""

from wm_envs.data.moved import MovedModules

_MERGED_EVALUATION = {
    "baselines": "windows",
    "comparisons": "statistics",
    "end_scores": "calibration",
    "feature_groups": "error_tables",
    "futures": "windows",
    "intervals": "statistics",
    "planning_gap": "episodes",
    "starts": "windows",
    "verdicts": "verdict",
}
MOVED = MovedModules(
    {
        "wm_agents.box_values": "wm_agents.policy_gradient.spaces",
        "wm_agents.config_checks": "wm_agents.training.config_checks",
        "wm_agents.debate": "wm_agents.domains.debate",
        "wm_agents.debate.plots": "wm_agents.domains.debate.history",
        "wm_agents.domains.resolutions.logistic": "wm_agents.training.newton",
        "wm_agents.episodes": "wm_agents.policy_gradient.collector",
        **{
            f"wm_agents.evaluation.{old}": f"wm_agents.evaluation.{new}"
            for old, new in _MERGED_EVALUATION.items()
        },
        "wm_agents.feature_dreams": "wm_agents.imagination.features",
        "wm_agents.flat_adam": "wm_agents.policy_gradient.reinforce_updates",
        "wm_agents.irl.adversarial_checkpoints": "wm_agents.irl.adversarial",
        "wm_agents.irl.decision_model": "wm_agents.irl.mdp",
        "wm_agents.irl.cross_validation": "wm_agents.irl.comparison",
        "wm_agents.irl.held_out": "wm_agents.irl.comparison",
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
        "wm_agents.planning.holding": "wm_agents.planning.collector",
        "wm_agents.planning.icem": "wm_agents.planning.cem",
        "wm_agents.reinforce": "wm_agents.policy_gradient.reinforce",
        "wm_agents.reinforce_config": "wm_agents.policy_gradient.reinforce_config",
        "wm_agents.safety": "wm_agents.planning.safety",
        "wm_agents.sb3_adapter": "wm_agents.sb3.vec_env",
        "wm_agents.sb3.checkpoints": "wm_agents.sb3.policy",
        "wm_agents.sb3_checkpoints": "wm_agents.sb3.policy",
        "wm_agents.sequence_model": "wm_agents.policy_gradient.sequence_model",
        "wm_agents.training.hub": "wm_agents.training.cards",
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
        "wm_agents.world_models.symbols": "wm_agents.world_models.object_fitting",
    },
    {
        "wm_agents.planning.experience.Experience": "wm_agents.planning.collector.Collector",
        "wm_agents.planning.holding.HeldActionAgent": (
            "wm_agents.planning.collector.ActionRepeatAgent"
        ),
        "wm_agents.trajectories.WindowBatch": "wm_envs.data.trajectories.TrajectoryBatch",
        "wm_agents.world_models.normalisation.Standardiser": (
            "wm_agents.world_models.normalization.Standardizer"
        ),
        "wm_agents.world_models.segments.Segment": "wm_agents.world_models.sampling.TrainingBatch",
        "wm_agents.world_models.segments.SegmentSource": (
            "wm_agents.world_models.sampling.BatchSampler"
        ),
        **{
            f"wm_agents.world_models.symbols.{name}": f"wm_agents.world_models.object_fitting._{name}"
            for name in ("SituationTable", "SymbolTable", "ValueCodec")
        },
        "wm_agents.irl.cross_validation.HeldOut": "wm_agents.irl.comparison._HeldOut",
        "wm_agents.irl.decision_model.DecisionModel": "wm_agents.irl.mdp.TabularMDP",
        "wm_agents.irl.paid_environments.PaidEnvironments": (
            "wm_agents.irl.rewards.RewardRelabelVecEnv"
        ),
        "wm_agents.irl.soft_induction.push_forward": "wm_agents.irl.mdp.occupancy_measures",
        "wm_agents.irl.soft_induction.soft_policy": "wm_agents.irl.mdp.soft_value_iteration",
        "wm_agents.world_model_ppo.WorldModelPPO": "wm_agents.policy_gradient.ppo.PPO",
    },
)
