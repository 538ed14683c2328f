"""stable-worldmodel's solvers plan in our world models, through `PlanningCosts`."""

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip(
    "stable_worldmodel",
    reason="stable-worldmodel is not installed (Python with its own dependencies)",
)
import torch
from stable_worldmodel.policy import PlanConfig
from stable_worldmodel.solver import CEMSolver, MPPISolver

from wm_agents.planning.costs import PlanningCosts
from wm_agents.planning.objectives import DiscountedReturn
from wm_agents.world_models import DeterministicModel, FitConfig
from wm_envs import record


@pytest.fixture(scope="module")
def model():
    """A small model of the pendulum, fitted to random play."""
    env = gym.make("Pendulum-v1")
    model = DeterministicModel(env.observation_space, env.action_space, seed=0)
    model.fit(record("Pendulum-v1", episodes=10, seed=0), FitConfig(num_updates=1500))
    return model


@pytest.mark.parametrize("solver_class", [CEMSolver, MPPISolver])
def test_a_solver_finds_better_plans_than_chance(model, solver_class):
    objective = DiscountedReturn(gamma=1.0)
    costs = PlanningCosts(model, objective)
    solver = solver_class(costs, num_samples=200, n_steps=5, topk=20)
    space = gym.spaces.Box(-2.0, 2.0, (2, 1), np.float32)
    solver.configure(
        action_space=space, n_envs=2, config=PlanConfig(horizon=12, receding_horizon=1)
    )
    start = torch.tensor(
        [[0.87, 0.5, 0.0], [0.87, -0.5, 0.0]]
    )  # 30 degrees from upright, to either side
    plan = torch.as_tensor(solver.solve({"state": start})["actions"], dtype=torch.float32)
    assert plan.shape == (2, 12, 1)
    rows = start[:, None].expand(2, 501, 3)
    random = 4.0 * torch.rand(2, 500, 12, 1, generator=torch.Generator().manual_seed(0)) - 2.0
    values = costs.get_cost({"state": rows}, torch.cat([plan[:, None], random], 1))
    assert (values[:, 0] < values[:, 1:].median(1).values).all()
    assert plan[0, 0].sign() != plan[1, 0].sign()  # towards upright from either side
