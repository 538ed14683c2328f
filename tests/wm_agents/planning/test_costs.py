"""The costs that other libraries' solvers ask for are the objective's values of our rollouts."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from wm_agents.errors import ConfigError, SpaceError
from wm_agents.planning.costs import PlanningCosts
from wm_agents.planning.objectives import DiscountedReturn
from wm_agents.protocols import ModelState, Rollout


class Adder:
    """A point on a line that moves by its action; the reward is minus its distance from 1."""

    observation_space = spaces.Box(-9, 9, (1,), np.float32)

    def __init__(self, action_space):
        self.action_space = action_space
        self.memory = ()

    def rollout(self, start, actions, generator=None):
        self.memory = start.hidden
        moves = actions[..., 0] if actions.ndim == 3 else actions.float() - 1.0
        path = torch.cat([start.observations, start.observations + moves.cumsum(1)], 1)
        return Rollout(path.unsqueeze(-1), -(path[:, 1:] - 1.0).abs(), torch.zeros_like(moves))


def test_box_candidates():
    costs = PlanningCosts(Adder(spaces.Box(-1, 1, (1,), np.float32)), DiscountedReturn(gamma=1.0))
    starts = torch.tensor([0.0, 2.0]).view(2, 1, 1).expand(2, 3, 1)
    candidates = (
        torch.tensor([[1.0, 0.0], [0.0, 0.0], [-5.0, 0.0]]).view(1, 3, 2, 1).expand(2, 3, 2, 1)
    )
    # from 0: to 1 and stay costs 0; stay costs 2; -5 is clipped to -1, 2 away twice. From 2: 3 -> 2
    # + 2, 1 + 1, 0.
    expected = torch.tensor([[0.0, 2.0, 4.0], [4.0, 2.0, 0.0]])
    assert torch.equal(costs.get_cost({"state": starts, "goal": starts}, candidates), expected)
    assert torch.equal(costs.criterion({"state": starts.numpy()}, candidates), expected)


def test_discrete_candidates_are_scores_of_actions():
    costs = PlanningCosts(Adder(spaces.Discrete(3)), DiscountedReturn(gamma=1.0), key="pixels")
    right, left = [0.0, 0.1, 0.9], [1.0, 0.0, 0.0]
    candidates = torch.tensor([[[right, left], [left, left]]])
    assert torch.equal(
        costs.get_cost({"pixels": torch.zeros(1, 2, 1)}, candidates),
        torch.tensor([[0.0 + 1.0, 2.0 + 3.0]]),
    )


def test_memory_reaches_the_model():
    model = Adder(spaces.Discrete(3))
    hidden = torch.arange(4.0).view(1, 4, 1)
    costs = PlanningCosts(model, DiscountedReturn())
    costs.get_cost({"state": torch.zeros(1, 4, 1), "hidden_0": hidden}, torch.zeros(1, 4, 2, 3))
    assert isinstance(ModelState(hidden, model.memory), ModelState)
    assert torch.equal(model.memory[0], hidden.flatten(0, 1))


def test_what_does_not_fit_is_refused():
    costs = PlanningCosts(Adder(spaces.Discrete(3)), DiscountedReturn())
    with pytest.raises(ConfigError, match="no 'state'"):
        costs.get_cost({"pixels": torch.zeros(1, 2, 1)}, torch.zeros(1, 2, 2, 3))
    with pytest.raises(ConfigError, match="4 numbers per step"):
        costs.get_cost({"state": torch.zeros(1, 2, 1)}, torch.zeros(1, 2, 2, 4))
    with pytest.raises(SpaceError, match="action is Text"):
        PlanningCosts(Adder(spaces.Text(2)), DiscountedReturn())


def test_scores_of_discrete_actions_that_start_elsewhere():
    states = {"state": torch.zeros(1, 2, 1)}
    scores = torch.eye(3)[None, :2, None]  # the first action, and the second one
    costs = [
        PlanningCosts(Adder(space), DiscountedReturn()).get_cost(states, scores)
        for space in (spaces.Discrete(3), spaces.Discrete(3, start=2))
    ]
    assert (costs[1] - costs[0]).tolist() == [[-2.0, 0.0]]
