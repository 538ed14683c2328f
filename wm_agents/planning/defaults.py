"""Models and planners with settings that suit a kind of space: `fit_model` and `make_planner`.

They are selected from the spaces and the data, never from an environment's name.
"""

import math
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np

from wm_agents.errors import ConfigError
from wm_agents.networks import choose_device
from wm_agents.planning.cem import (
    CEM,
    ICEM,
    CategoricalCEM,
    CategoricalCEMConfig,
    CEMConfig,
    ICEMConfig,
)
from wm_agents.planning.mcts import MCTS, MCTSConfig
from wm_agents.planning.mppi import MPPI, MPPIConfig
from wm_agents.planning.objectives import (
    DiscountedReturn,
    NoveltyReward,
    RewardFunction,
    ValueFunction,
    has_signal,
)
from wm_agents.planning.search import (
    BestFirstSearch,
    BestFirstSearchConfig,
    BreadthFirstSearch,
    SearchConfig,
)
from wm_agents.planning.shooting import RandomShooting, RandomShootingConfig
from wm_agents.planning.value import ValueConfig, ValueIteration
from wm_agents.protocols import Planner, WorldModel
from wm_agents.world_models.deterministic import DeterministicConfig, DeterministicModel
from wm_agents.world_models.ensemble import EnsembleModel
from wm_agents.world_models.fitting import FitConfig
from wm_agents.world_models.latent import LatentModel
from wm_agents.world_models.recurrent import RecurrentModel
from wm_agents.world_models.tabular import TabularModel
from wm_agents.world_models.token import TokenModel
from wm_envs.data.spaces import ActionCodec
from wm_envs.data.trajectories import Trajectories

PlannerName = Literal[
    "auto",
    "random_shooting",
    "cem",
    "icem",
    "mppi",
    "categorical_cem",
    "breadth_first",
    "best_first",
    "mcts",
]
"""What `make_planner` can make."""

ModelName = Literal["auto", "deterministic", "ensemble", "recurrent", "latent", "token", "tabular"]
"""What `fit_model` can fit; "token" and "tabular" are for one-hots, bits and integers."""

_MODELS: dict[str, type[Any]] = {
    "deterministic": DeterministicModel,
    "ensemble": EnsembleModel,
    "recurrent": RecurrentModel,
    "latent": LatentModel,
    "token": TokenModel,
    "tabular": TabularModel,
}

WITH_VALUE = ("categorical_cem", "mcts")
"""Planners whose horizon a learned value extends by default."""


def reward_to_reach(trajectories: Trajectories) -> float | None:
    """The reward above which a step reaches a goal; None if there is none.

    It lies halfway from the typical reward to the best. While no reward stands out, a goal may
    still come, unless episodes are ended by what happens in them: then the end is what matters, and
    the return has to tell.
    """
    # The median: most steps reach nothing.
    typical = float(np.median(trajectories.rewards))
    best = float(trajectories.rewards.max())
    if best > typical:
        # Half-way between, so that noise on either side does not matter.
        return (typical + best) / 2
    # What a goal would be worth is not known yet: half of the present size away, whatever the unit.
    if trajectories.terminations.any():
        return None
    return typical + 0.5 * (abs(typical) or 1.0)


def planner_for(action_space: gym.Space[Any], trajectories: Trajectories) -> PlannerName:
    """ICEM for Box actions.

    Exact search where observations are whole numbers and a reward stands out; else CEM.
    """
    if not ActionCodec(action_space).is_discrete:
        return "icem"
    # Search needs exact states to come back to, and a goal to look for.
    if trajectories.is_lattice and reward_to_reach(trajectories) is not None:
        return "breadth_first"
    return "categorical_cem"


def fit_model(
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    trajectories: Trajectories,
    seed: int,
    *,
    name: ModelName = "auto",
    num_updates: int = 2000,
    device: str = "cpu",
    progress: bool | None = False,
) -> Any:
    """A world model with settings that suit the data, fitted, on the CPU.

    Args:
        observation_space: Of a single environment.
        action_space: Of a single environment.
        trajectories: What to learn from.
        seed: Of the weights and batches.
        name: Which; "auto" takes tokens where observations are whole numbers, else a perceptron
            that predicts differences.
        num_updates: Optimizer steps at most; "tabular" counts and has none.
        device: Where to fit: "cpu", "cuda" or "auto".
        progress: A bar on a terminal, elsewhere lines; None: there only of long work.

    Raises:
        ConfigError: A name that is not a model's, no updates, or no such device.
        SpaceError: A model that does not serve the spaces.
    """
    if name not in get_args(ModelName):
        raise ConfigError(f"no model {name!r}: known are {', '.join(get_args(ModelName))}")
    target = choose_device(device)
    config: Any = None
    options = FitConfig(num_updates=num_updates, seed=seed)
    if name == "auto" and trajectories.is_lattice:
        name = "token"
    elif name == "auto":
        name = "deterministic"
        # Smaller than the default: small tasks, one core.
        config = DeterministicConfig(dynamics_widths=(128, 128), reward_widths=(64, 64))
        options = FitConfig(
            num_updates=num_updates, evaluate_every=min(500, num_updates), seed=seed
        )
    model = _MODELS[name]._of_spaces(observation_space, action_space, config, seed)
    if name == "tabular":
        model.fit(trajectories)
        return model
    model.to(target)
    model.fit(trajectories, options, progress=progress)
    # Planning moves single states, for which a GPU is slower.
    return model.to("cpu")


def make_planner(
    name: PlannerName,
    model: WorldModel,
    trajectories: Trajectories,
    *,
    seed: int,
    value: ValueFunction | None = None,
    is_exploring: bool = False,
) -> Planner:
    """A planner by name with settings that suit small control tasks.

    Args:
        name: Which; "auto" is `planner_for`.
        model: Imagines.
        trajectories: What was recorded; a value function is learned around its states.
        seed: Of the value function.
        value: A value function at hand; None learns one for the planners of `WITH_VALUE`.
        is_exploring: The plans are for collecting data with noise, so that half the effort is
            enough. While all rewards are the same, they lead to what is novel.

    Raises:
        ConfigError: A name that is not a planner's.
        SpaceError: A planner that cannot serve the action space.
    """
    if name == "auto":
        name = planner_for(model.action_space, trajectories)
    if name not in get_args(PlannerName):
        raise ConfigError(f"no planner {name!r}: known are {', '.join(get_args(PlannerName))}")
    novelty = None
    # Where any reward was met, it is followed; novelty is for a world without any.
    if is_exploring and not has_signal(trajectories):
        novelty = NoveltyReward(trajectories)
    is_discrete = ActionCodec(model.action_space).is_discrete
    if value is None and name in WITH_VALUE and is_discrete:
        value = _learned_value(model, trajectories, seed, novelty, is_exploring)
    objective = DiscountedReturn(terminal_value=value, reward_function=novelty)
    goal = reward_to_reach(trajectories)
    goal_value = math.inf if goal is None else goal
    # Exploring plans are made in every round, acting ones once.
    effort = 1 if is_exploring else 2
    match name:
        case "random_shooting":
            shooting = RandomShootingConfig(horizon=20, num_samples=256)
            return RandomShooting(model, objective, shooting)
        case "cem":
            return CEM(model, objective, CEMConfig(horizon=20, num_samples=200, num_elites=20))
        case "icem":
            icem = ICEMConfig(horizon=20, num_samples=32, num_iterations=effort + 1, num_elites=6)
            return ICEM(model, objective, icem)
        case "mppi":
            return MPPI(model, objective, MPPIConfig(horizon=20, num_samples=64))
        case "categorical_cem":
            categorical = CategoricalCEMConfig(
                horizon=8 * effort, num_samples=24, num_iterations=effort, num_elites=5
            )
            return CategoricalCEM(model, objective, categorical)
        case "breadth_first":
            breadth_first = SearchConfig(goal_value=goal_value)
            return BreadthFirstSearch(model, DiscountedReturn(), breadth_first)
        case "best_first":
            # A step costs a hundredth of what the best reward is above the typical one, in whatever
            # unit.
            # Between the best and the typical reward, in whatever unit rewards come.
            spread = float(trajectories.rewards.max() - np.median(trajectories.rewards))
            best_first = BestFirstSearchConfig(
                goal_value=goal_value, step_price=0.01 * spread or 0.01
            )
            return BestFirstSearch(model, DiscountedReturn(), best_first, value)
        case _:
            return MCTS(model, DiscountedReturn(), MCTSConfig(num_simulations=48), value)


def _learned_value(
    model: WorldModel,
    trajectories: Trajectories,
    seed: int,
    novelty: RewardFunction | None,
    is_exploring: bool,
) -> ValueFunction:
    """Rough and optimistic while exploring, thorough and pessimistic at the end."""
    config = ValueConfig(num_rounds=20, pessimistic=True)
    if is_exploring:
        config = ValueConfig(num_rounds=8)
    return ValueIteration(model, config, reward_function=novelty, seed=seed).fit(trajectories)
