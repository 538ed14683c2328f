"""Learners for any Gymnasium environment: world models, planners, policy gradients, inverse RL.

    import wm_agents as wma

The public names are below, each loaded when it is asked for (PEP 562), so that the import alone
loads no torch. What a learner knows of one domain is in `wm_agents.domains`.
"""

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from wm_agents.old_names import MOVED


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

MOVED.install()

if TYPE_CHECKING:
    from wm_agents.agent import WorldModelAgent as WorldModelAgent
    from wm_agents.agent import WorldModelAgentConfig as WorldModelAgentConfig
    from wm_agents.errors import CheckpointError as CheckpointError
    from wm_agents.errors import ConfigError as ConfigError
    from wm_agents.errors import ConvergenceError as ConvergenceError
    from wm_agents.errors import DemonstrationError as DemonstrationError
    from wm_agents.errors import NonFiniteError as NonFiniteError
    from wm_agents.errors import NotFittedError as NotFittedError
    from wm_agents.errors import ProgramError as ProgramError
    from wm_agents.evaluation.certified import CertifiedHorizon as CertifiedHorizon
    from wm_agents.evaluation.certified import certified_horizon as certified_horizon
    from wm_agents.evaluation.cost import ModelCost as ModelCost
    from wm_agents.evaluation.cost import model_cost as model_cost
    from wm_agents.evaluation.episodes import EpisodeResults as EpisodeResults
    from wm_agents.evaluation.episodes import FunctionAgent as FunctionAgent
    from wm_agents.evaluation.episodes import RandomAgent as RandomAgent
    from wm_agents.evaluation.episodes import evaluate as evaluate
    from wm_agents.evaluation.episodes import planning_gap as planning_gap
    from wm_agents.evaluation.failures import Failures as Failures
    from wm_agents.evaluation.failures import find_failures as find_failures
    from wm_agents.evaluation.open_loop import fitting_horizons as fitting_horizons
    from wm_agents.evaluation.open_loop import open_loop_error as open_loop_error
    from wm_agents.evaluation.open_loop import unseen_episodes as unseen_episodes
    from wm_agents.evaluation.open_loop_report import OpenLoopReport as OpenLoopReport
    from wm_agents.evaluation.out_of_distribution import GuardedAgent as GuardedAgent
    from wm_agents.evaluation.out_of_distribution import OODDetector as OODDetector
    from wm_agents.evaluation.out_of_distribution import ood_auroc as ood_auroc
    from wm_agents.evaluation.plots import plot_intervals as plot_intervals
    from wm_agents.evaluation.plots import plot_learning_curves as plot_learning_curves
    from wm_agents.evaluation.plots import plot_lines as plot_lines
    from wm_agents.evaluation.plots import plot_open_loop as plot_open_loop
    from wm_agents.evaluation.scorecard import Scorecard as Scorecard
    from wm_agents.evaluation.scorecard import scorecard as scorecard
    from wm_agents.evaluation.statistics import Interval as Interval
    from wm_agents.evaluation.statistics import exact_permutation_test as exact_permutation_test
    from wm_agents.evaluation.statistics import interquartile_mean as interquartile_mean
    from wm_agents.evaluation.statistics import paired_difference as paired_difference
    from wm_agents.evaluation.statistics import (
        probability_of_improvement as probability_of_improvement,
    )
    from wm_agents.evaluation.statistics import stratified_bootstrap as stratified_bootstrap
    from wm_agents.evaluation.statistics import wilson_interval as wilson_interval
    from wm_agents.evaluation.thresholds import LearningCurve as LearningCurve
    from wm_agents.evaluation.viewer import viewer as viewer
    from wm_agents.evaluation.what_if import WhatIf as WhatIf
    from wm_agents.evaluation.what_if import what_if as what_if
    from wm_agents.imagination.vector_env import ImaginedVectorEnv as ImaginedVectorEnv
    from wm_agents.irl.adversarial import AdversarialConfig as AdversarialConfig
    from wm_agents.irl.adversarial import AdversarialIRL as AdversarialIRL
    from wm_agents.irl.cloning import BehavioralCloning as BehavioralCloning
    from wm_agents.irl.cloning import CloningConfig as CloningConfig
    from wm_agents.irl.comparison import choose_prior_std as choose_prior_std
    from wm_agents.irl.demonstrations import Demonstrations as Demonstrations
    from wm_agents.irl.maxent import MaxEntConfig as MaxEntConfig
    from wm_agents.irl.maxent import MaxEntIRL as MaxEntIRL
    from wm_agents.irl.mdp import TabularMDP as TabularMDP
    from wm_agents.irl.mdp import occupancy_measures as occupancy_measures
    from wm_agents.irl.mdp import soft_value_iteration as soft_value_iteration
    from wm_agents.irl.sampled import SampledConfig as SampledConfig
    from wm_agents.irl.sampled import SampledMaxEntIRL as SampledMaxEntIRL
    from wm_agents.planning.cem import CEM as CEM
    from wm_agents.planning.cem import ICEM as ICEM
    from wm_agents.planning.cem import CategoricalCEM as CategoricalCEM
    from wm_agents.planning.cem import CategoricalCEMConfig as CategoricalCEMConfig
    from wm_agents.planning.cem import CEMConfig as CEMConfig
    from wm_agents.planning.cem import ICEMConfig as ICEMConfig
    from wm_agents.planning.collector import Collector as Collector
    from wm_agents.planning.controller import PlanningAgent as PlanningAgent
    from wm_agents.planning.defaults import PlannerName as PlannerName
    from wm_agents.planning.defaults import fit_model as fit_model
    from wm_agents.planning.defaults import make_planner as make_planner
    from wm_agents.planning.learning import LearningConfig as LearningConfig
    from wm_agents.planning.learning import learn_to_plan as learn_to_plan
    from wm_agents.planning.mcts import MCTS as MCTS
    from wm_agents.planning.mcts import MCTSConfig as MCTSConfig
    from wm_agents.planning.mppi import MPPI as MPPI
    from wm_agents.planning.mppi import MPPIConfig as MPPIConfig
    from wm_agents.planning.objectives import DiscountedReturn as DiscountedReturn
    from wm_agents.planning.objectives import GoalReached as GoalReached
    from wm_agents.planning.objectives import NoveltyReward as NoveltyReward
    from wm_agents.planning.oracle import OracleModel as OracleModel
    from wm_agents.planning.safety import RiskCalibrator as RiskCalibrator
    from wm_agents.planning.safety import Shield as Shield
    from wm_agents.planning.search import BestFirstSearch as BestFirstSearch
    from wm_agents.planning.search import BestFirstSearchConfig as BestFirstSearchConfig
    from wm_agents.planning.search import BreadthFirstSearch as BreadthFirstSearch
    from wm_agents.planning.search import SearchConfig as SearchConfig
    from wm_agents.planning.shooting import RandomShooting as RandomShooting
    from wm_agents.planning.shooting import RandomShootingConfig as RandomShootingConfig
    from wm_agents.planning.value import ValueConfig as ValueConfig
    from wm_agents.planning.value import ValueIteration as ValueIteration
    from wm_agents.policy_gradient.actor_critic import PPOConfig as PPOConfig
    from wm_agents.policy_gradient.environments import same_step_envs as same_step_envs
    from wm_agents.policy_gradient.ppo import PPO as PPO
    from wm_agents.policy_gradient.reinforce import Reinforce as Reinforce
    from wm_agents.policy_gradient.reinforce_config import LossWeights as LossWeights
    from wm_agents.policy_gradient.reinforce_config import ReinforceConfig as ReinforceConfig
    from wm_agents.policy_gradient.reinforce_updates import UpdateReport as UpdateReport
    from wm_agents.policy_gradient.sequence_model import NetworkConfig as NetworkConfig
    from wm_agents.protocols import Agent as Agent
    from wm_agents.protocols import ModelState as ModelState
    from wm_agents.protocols import Objective as Objective
    from wm_agents.protocols import Plan as Plan
    from wm_agents.protocols import Planner as Planner
    from wm_agents.protocols import Prediction as Prediction
    from wm_agents.protocols import Rollout as Rollout
    from wm_agents.protocols import WorldModel as WorldModel
    from wm_agents.sb3.vec_env import SB3VecEnv as SB3VecEnv
    from wm_agents.training.cards import Card as Card
    from wm_agents.training.cards import command_line as command_line
    from wm_agents.training.cards import from_hub as from_hub
    from wm_agents.training.cards import push_to_hub as push_to_hub
    from wm_agents.training.cards import save_with_card as save_with_card
    from wm_agents.training.cards import write_card as write_card
    from wm_agents.training.checkpoints import CheckpointManager as CheckpointManager
    from wm_agents.training.config_checks import require_integers as require_integers
    from wm_agents.training.loggers import ConsoleLogger as ConsoleLogger
    from wm_agents.training.loggers import JSONLLogger as JSONLLogger
    from wm_agents.training.loggers import LoggerGroup as LoggerGroup
    from wm_agents.training.loggers import TensorBoardLogger as TensorBoardLogger
    from wm_agents.training.loggers import WandbLogger as WandbLogger
    from wm_agents.training.loggers import script_loggers as script_loggers
    from wm_agents.training.onnx_export import export_onnx as export_onnx
    from wm_agents.training.ray_session import ray_session as ray_session
    from wm_agents.training.saving import load as load
    from wm_agents.training.saving import save as save
    from wm_agents.training.seeding import spawn_seeds as spawn_seeds
    from wm_agents.training.summary import make_output_directory as make_output_directory
    from wm_agents.training.summary import say_where as say_where
    from wm_agents.training.summary import write_json as write_json
    from wm_agents.training.summary import write_summary as write_summary
    from wm_agents.training.trainer import FitReport as FitReport
    from wm_agents.training.trainer import Trainer as Trainer
    from wm_agents.training.trainer import TrainingRun as TrainingRun
    from wm_agents.world_models.adapters import DerivedFeature as DerivedFeature
    from wm_agents.world_models.adapters import FeatureLayout as FeatureLayout
    from wm_agents.world_models.deterministic import DeterministicConfig as DeterministicConfig
    from wm_agents.world_models.deterministic import DeterministicModel as DeterministicModel
    from wm_agents.world_models.ensemble import EnsembleConfig as EnsembleConfig
    from wm_agents.world_models.ensemble import EnsembleModel as EnsembleModel
    from wm_agents.world_models.fitting import FitConfig as FitConfig
    from wm_agents.world_models.history import HistoryModel as HistoryModel
    from wm_agents.world_models.latent import LatentConfig as LatentConfig
    from wm_agents.world_models.latent import LatentModel as LatentModel
    from wm_agents.world_models.object_fitting import ObjectConfig as ObjectConfig
    from wm_agents.world_models.objects import ObjectModel as ObjectModel
    from wm_agents.world_models.program import ProgramModel as ProgramModel
    from wm_agents.world_models.recurrent import RecurrentConfig as RecurrentConfig
    from wm_agents.world_models.recurrent import RecurrentModel as RecurrentModel
    from wm_agents.world_models.stacked_forest import StackedForestModel as StackedForestModel
    from wm_agents.world_models.stacked_search import ForestConfig as ForestConfig
    from wm_agents.world_models.tabular import TabularModel as TabularModel
    from wm_agents.world_models.token import TokenConfig as TokenConfig
    from wm_agents.world_models.token import TokenModel as TokenModel
    from wm_envs.data.errors import SpaceError as SpaceError
    from wm_envs.data.errors import TrajectoryError as TrajectoryError
    from wm_envs.data.paths import expand_paths as expand_paths
    from wm_envs.data.progress import progress as progress
    from wm_envs.data.trajectories import Trajectories as Trajectories
    from wm_envs.data.trajectories import TrajectoryBatch as TrajectoryBatch
    from wm_envs.data.trajectories import Transitions as Transitions


# Where each public name lives; editors read the same from the imports above, and a test compares.
_HOMES = {
    "wm_agents.agent": (
        "WorldModelAgent",
        "WorldModelAgentConfig",
    ),
    "wm_agents.errors": (
        "CheckpointError",
        "ConfigError",
        "ConvergenceError",
        "DemonstrationError",
        "NonFiniteError",
        "NotFittedError",
        "ProgramError",
    ),
    "wm_agents.evaluation.certified": (
        "CertifiedHorizon",
        "certified_horizon",
    ),
    "wm_agents.evaluation.cost": (
        "ModelCost",
        "model_cost",
    ),
    "wm_agents.evaluation.episodes": (
        "EpisodeResults",
        "FunctionAgent",
        "RandomAgent",
        "evaluate",
        "planning_gap",
    ),
    "wm_agents.evaluation.failures": (
        "Failures",
        "find_failures",
    ),
    "wm_agents.evaluation.open_loop": (
        "fitting_horizons",
        "open_loop_error",
        "unseen_episodes",
    ),
    "wm_agents.evaluation.open_loop_report": ("OpenLoopReport",),
    "wm_agents.evaluation.out_of_distribution": (
        "GuardedAgent",
        "OODDetector",
        "ood_auroc",
    ),
    "wm_agents.evaluation.plots": (
        "plot_intervals",
        "plot_lines",
        "plot_learning_curves",
        "plot_open_loop",
    ),
    "wm_agents.evaluation.scorecard": (
        "Scorecard",
        "scorecard",
    ),
    "wm_agents.evaluation.statistics": (
        "Interval",
        "exact_permutation_test",
        "interquartile_mean",
        "paired_difference",
        "probability_of_improvement",
        "stratified_bootstrap",
        "wilson_interval",
    ),
    "wm_agents.evaluation.thresholds": ("LearningCurve",),
    "wm_agents.evaluation.viewer": ("viewer",),
    "wm_agents.evaluation.what_if": (
        "WhatIf",
        "what_if",
    ),
    "wm_agents.imagination.vector_env": ("ImaginedVectorEnv",),
    "wm_agents.irl.adversarial": (
        "AdversarialConfig",
        "AdversarialIRL",
    ),
    "wm_agents.irl.cloning": (
        "BehavioralCloning",
        "CloningConfig",
    ),
    "wm_agents.irl.comparison": ("choose_prior_std",),
    "wm_agents.irl.demonstrations": ("Demonstrations",),
    "wm_agents.irl.maxent": (
        "MaxEntConfig",
        "MaxEntIRL",
    ),
    "wm_agents.irl.mdp": (
        "TabularMDP",
        "occupancy_measures",
        "soft_value_iteration",
    ),
    "wm_agents.irl.sampled": (
        "SampledConfig",
        "SampledMaxEntIRL",
    ),
    "wm_agents.planning.cem": (
        "CEM",
        "CEMConfig",
        "CategoricalCEM",
        "CategoricalCEMConfig",
        "ICEM",
        "ICEMConfig",
    ),
    "wm_agents.planning.collector": ("Collector",),
    "wm_agents.planning.controller": ("PlanningAgent",),
    "wm_agents.planning.defaults": (
        "PlannerName",
        "fit_model",
        "make_planner",
    ),
    "wm_agents.planning.learning": (
        "LearningConfig",
        "learn_to_plan",
    ),
    "wm_agents.planning.mcts": (
        "MCTS",
        "MCTSConfig",
    ),
    "wm_agents.planning.mppi": (
        "MPPI",
        "MPPIConfig",
    ),
    "wm_agents.planning.objectives": (
        "DiscountedReturn",
        "GoalReached",
        "NoveltyReward",
    ),
    "wm_agents.planning.oracle": ("OracleModel",),
    "wm_agents.planning.safety": (
        "RiskCalibrator",
        "Shield",
    ),
    "wm_agents.planning.search": (
        "BestFirstSearch",
        "BestFirstSearchConfig",
        "BreadthFirstSearch",
        "SearchConfig",
    ),
    "wm_agents.planning.shooting": (
        "RandomShooting",
        "RandomShootingConfig",
    ),
    "wm_agents.planning.value": (
        "ValueConfig",
        "ValueIteration",
    ),
    "wm_agents.policy_gradient.actor_critic": ("PPOConfig",),
    "wm_agents.policy_gradient.environments": ("same_step_envs",),
    "wm_agents.policy_gradient.ppo": ("PPO",),
    "wm_agents.policy_gradient.reinforce": ("Reinforce",),
    "wm_agents.policy_gradient.reinforce_config": (
        "LossWeights",
        "ReinforceConfig",
    ),
    "wm_agents.policy_gradient.reinforce_updates": ("UpdateReport",),
    "wm_agents.policy_gradient.sequence_model": ("NetworkConfig",),
    "wm_agents.protocols": (
        "Agent",
        "ModelState",
        "Objective",
        "Plan",
        "Planner",
        "Prediction",
        "Rollout",
        "WorldModel",
    ),
    "wm_agents.sb3.vec_env": ("SB3VecEnv",),
    "wm_agents.training.cards": (
        "Card",
        "command_line",
        "from_hub",
        "push_to_hub",
        "save_with_card",
        "write_card",
    ),
    "wm_agents.training.checkpoints": ("CheckpointManager",),
    "wm_agents.training.config_checks": ("require_integers",),
    "wm_agents.training.loggers": (
        "ConsoleLogger",
        "JSONLLogger",
        "LoggerGroup",
        "TensorBoardLogger",
        "WandbLogger",
        "script_loggers",
    ),
    "wm_agents.training.onnx_export": ("export_onnx",),
    "wm_agents.training.ray_session": ("ray_session",),
    "wm_agents.training.saving": (
        "load",
        "save",
    ),
    "wm_agents.training.seeding": ("spawn_seeds",),
    "wm_agents.training.summary": (
        "make_output_directory",
        "say_where",
        "write_json",
        "write_summary",
    ),
    "wm_agents.training.trainer": (
        "FitReport",
        "Trainer",
        "TrainingRun",
    ),
    "wm_agents.world_models.adapters": (
        "DerivedFeature",
        "FeatureLayout",
    ),
    "wm_agents.world_models.deterministic": (
        "DeterministicConfig",
        "DeterministicModel",
    ),
    "wm_agents.world_models.ensemble": (
        "EnsembleConfig",
        "EnsembleModel",
    ),
    "wm_agents.world_models.fitting": ("FitConfig",),
    "wm_agents.world_models.history": ("HistoryModel",),
    "wm_agents.world_models.latent": (
        "LatentConfig",
        "LatentModel",
    ),
    "wm_agents.world_models.object_fitting": ("ObjectConfig",),
    "wm_agents.world_models.objects": ("ObjectModel",),
    "wm_agents.world_models.program": ("ProgramModel",),
    "wm_agents.world_models.recurrent": (
        "RecurrentConfig",
        "RecurrentModel",
    ),
    "wm_agents.world_models.stacked_forest": ("StackedForestModel",),
    "wm_agents.world_models.stacked_search": ("ForestConfig",),
    "wm_agents.world_models.tabular": ("TabularModel",),
    "wm_agents.world_models.token": (
        "TokenConfig",
        "TokenModel",
    ),
    "wm_envs.data.errors": (
        "SpaceError",
        "TrajectoryError",
    ),
    "wm_envs.data.paths": ("expand_paths",),
    "wm_envs.data.progress": ("progress",),
    "wm_envs.data.trajectories": (
        "Trajectories",
        "TrajectoryBatch",
        "Transitions",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    """The public names and the packages, without what this file needs for itself."""
    own = (name for name, value in globals().items() if hasattr(value, "__path__"))
    return sorted({*own, *__all__, *(name for name in globals() if name.startswith("__"))})
