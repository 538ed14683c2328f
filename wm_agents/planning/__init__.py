"""Planners and what they maximise: planner = f(model, objective), on learned models and on the true dynamics alike.

planner = ICEM(model, DiscountedReturn(), ICEMConfig(horizon=20))
agent = PlanningAgent(model, planner)
"""

from wm_agents.planning.categorical import CategoricalCEM, CategoricalCEMConfig
from wm_agents.planning.cem import CEM, CEMConfig
from wm_agents.planning.controller import PlanningAgent
from wm_agents.planning.icem import ICEM, ICEMConfig
from wm_agents.planning.mcts import MCTS, MCTSConfig
from wm_agents.planning.mppi import MPPI, MPPIConfig
from wm_agents.planning.objectives import DiscountedReturn, GoalReached
from wm_agents.planning.oracle import OracleModel
from wm_agents.planning.search import (
    BestFirstSearch,
    BestFirstSearchConfig,
    BreadthFirstSearch,
    SearchConfig,
)
from wm_agents.planning.shooting import RandomShooting, RandomShootingConfig

__all__ = [
    "CEM",
    "ICEM",
    "MCTS",
    "MPPI",
    "BestFirstSearch",
    "BestFirstSearchConfig",
    "BreadthFirstSearch",
    "CEMConfig",
    "CategoricalCEM",
    "CategoricalCEMConfig",
    "DiscountedReturn",
    "GoalReached",
    "ICEMConfig",
    "MCTSConfig",
    "MPPIConfig",
    "OracleModel",
    "PlanningAgent",
    "RandomShooting",
    "RandomShootingConfig",
    "SearchConfig",
]
