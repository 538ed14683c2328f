"""Planners and what they maximize: planner = f(model, objective).

On learned models and on the true dynamics alike:

agent = PlanningAgent(model, ICEM(horizon=20))
"""

from wm_agents.planning.cem import (
    CEM,
    ICEM,
    CategoricalCEM,
    CategoricalCEMConfig,
    CEMConfig,
    ICEMConfig,
)
from wm_agents.planning.collector import ActionRepeatAgent, Collector
from wm_agents.planning.controller import PlanningAgent
from wm_agents.planning.mcts import MCTS, MCTSConfig
from wm_agents.planning.mppi import MPPI, MPPIConfig
from wm_agents.planning.objectives import DiscountedReturn, GoalReached, NoveltyReward
from wm_agents.planning.oracle import OracleModel
from wm_agents.planning.search import (
    BestFirstSearch,
    BestFirstSearchConfig,
    BreadthFirstSearch,
    SearchConfig,
)
from wm_agents.planning.shooting import RandomShooting, RandomShootingConfig
from wm_agents.planning.value import ValueConfig, ValueIteration

__all__ = [
    "CEM",
    "ICEM",
    "MCTS",
    "MPPI",
    "ActionRepeatAgent",
    "BestFirstSearch",
    "BestFirstSearchConfig",
    "BreadthFirstSearch",
    "CEMConfig",
    "CategoricalCEM",
    "CategoricalCEMConfig",
    "Collector",
    "DiscountedReturn",
    "GoalReached",
    "ICEMConfig",
    "MCTSConfig",
    "MPPIConfig",
    "NoveltyReward",
    "OracleModel",
    "PlanningAgent",
    "RandomShooting",
    "RandomShootingConfig",
    "SearchConfig",
    "ValueConfig",
    "ValueIteration",
]
