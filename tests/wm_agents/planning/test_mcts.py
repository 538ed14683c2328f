import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.support.analytic_models import CodeModel, GridModel, PointModel
from wm_agents.errors import ConfigError, SpaceError
from wm_agents.planning import MCTS, DiscountedReturn, GoalReached, MCTSConfig
from wm_agents.planning.mcts import _Trees
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.unrolling import Unrolled


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_finds_the_code_for_a_batch():
    model = CodeModel((2, 0, 3))
    planner = MCTS(
        model, DiscountedReturn(), MCTSConfig(num_simulations=60, rollout_horizon=2, num_rollouts=2)
    )
    plan = planner.plan(model.start(torch.tensor([[0.0], [1.0], [2.0]])), seeded())
    assert plan.actions[:, 0].tolist() == [2, 0, 3]


def test_looks_past_a_pit():
    """Beside (0, 0) lies a pit to the right; the goal above needs two steps up."""
    model = GridModel(size=3, goal=(0, 2), pit=(1, 0))
    planner = MCTS(model, DiscountedReturn(), MCTSConfig(num_simulations=100, rollout_horizon=4))
    plan = planner.plan(model.start(torch.zeros(1, 2)), seeded())
    assert plan.actions.tolist() == [[2]]


def test_model_steps_are_counted_exactly():
    model = CodeModel((2, 0, 3))
    config = MCTSConfig(num_simulations=10, rollout_horizon=3, num_rollouts=2)
    for value in (None, lambda observations: torch.zeros(len(observations))):
        model.num_steps = 0
        plan = MCTS(model, DiscountedReturn(), config, value).plan(
            model.start(torch.zeros(2, 1)), seeded()
        )
        assert (
            plan.num_model_steps
            == model.num_steps
            == (2 * 10 * (1 + 2 * 3) if value is None else 2 * 10)
        )


def test_a_learned_value_guides_without_rollouts():
    model = GridModel(size=9, goal=(-1, -1))
    planner = MCTS(
        model, DiscountedReturn(), MCTSConfig(num_simulations=30), lambda seen: seen[:, 1]
    )
    assert planner.plan(model.start(torch.full((1, 2), 4.0)), seeded()).actions.tolist() == [[2]]


def test_a_prior_decides_among_equals():
    model = GridModel(size=9, goal=(-1, -1))
    prior = torch.tensor([0.1, 0.7, 0.1, 0.1])
    planner = MCTS(
        model,
        DiscountedReturn(),
        MCTSConfig(num_simulations=30),
        lambda seen: torch.zeros(len(seen)),
        lambda seen: prior.expand(len(seen), -1),
    )
    assert planner.plan(model.start(torch.full((1, 2), 4.0)), seeded()).actions.tolist() == [[1]]


def test_values_are_discounted_and_stop_at_the_end():
    """One tree of two edges with rewards 1 and 4, discount 0.5, and a leaf worth 8."""
    trees = _Trees(1, 3, 2)
    trees.children[0, 0, 1], trees.children[0, 1, 0] = 1, 2
    trees.rewards[0, 0, 1], trees.rewards[0, 1, 0] = 1.0, 4.0
    path = [
        (np.array([0]), np.array([1]), np.array([True])),
        (np.array([1]), np.array([0]), np.array([True])),
    ]
    trees.backup(path, np.array([8.0]), 0.5)
    assert trees.value_sums[0, 1, 0] == 4.0 + 0.5 * 8.0
    assert trees.value_sums[0, 0, 1] == 1.0 + 0.5 * 8.0
    trees.continues[0, 1, 0] = 0.0
    trees.backup(path, np.array([8.0]), 0.5)
    assert trees.value_sums[0, 0, 1] == 5.0 + 1.0 + 0.5 * 4.0
    assert trees.visits[0].sum() == 4


def test_unvisited_actions_are_tried_by_their_prior():
    trees = _Trees(1, 2, 3)
    trees.priors[0, 0] = [0.2, 0.5, 0.3]
    assert trees.scores(np.array([0]), 1.0)[0].argmax() == 1
    trees.visits[0, 0] = [0, 4, 0]
    np.testing.assert_allclose(trees.scores(np.array([0]), 1.0)[0], [0.2 * 2, 0.5 * 2 / 5, 0.3 * 2])


def test_same_generator_same_plan():
    model = CodeModel((2, 0, 3))
    plans = [
        MCTS(model, DiscountedReturn()).plan(model.start(torch.zeros(4, 1)), seeded())
        for _ in range(2)
    ]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert torch.equal(plans[0].values, plans[1].values)


def test_what_cannot_work_is_refused():
    with pytest.raises(SpaceError, match="MCTS plans for Discrete"):
        MCTS(PointModel(), DiscountedReturn())
    with pytest.raises(ConfigError, match="num_simulations"):
        MCTSConfig(num_simulations=0)


class Endless(Unrolled):
    """Pays 1 for every action, for ever: with discount 0.9 every state is worth 10."""

    def __init__(self):
        self.observation_space, self.action_space = (
            gym.spaces.Box(0, 9, (1,)),
            gym.spaces.Discrete(2),
        )

    def start(self, observations, hidden=()):
        return ModelState(observations)

    def step(self, state, actions, generator=None):
        ones = torch.ones(len(actions))
        return state, Prediction(state.observations, ones, torch.zeros(len(actions)))


@pytest.mark.parametrize("value", [None, lambda seen: torch.full((len(seen),), 10.0)])
def test_the_objectives_terminal_value_and_discount_are_counted_once(value):
    objective = DiscountedReturn(0.9, terminal_value=lambda seen: torch.full((len(seen),), 10.0))
    planner = MCTS(Endless(), objective, MCTSConfig(num_simulations=20), value)
    plan = planner.plan(ModelState(torch.zeros(2, 1)), seeded())
    torch.testing.assert_close(plan.values, torch.full((2,), 10.0))


class Pole(Unrolled):
    """A place that moves left or right between -4 and 4."""

    observation_space, action_space = gym.spaces.Box(-4, 4, (1,)), gym.spaces.Discrete(2)

    def start(self, observations, hidden=()):
        return ModelState(observations)

    def step(self, state, actions, generator=None):
        after = (state.observations + 2.0 * actions[:, None] - 1).clamp(-4, 4)
        return ModelState(after), Prediction(after, after[:, 0], torch.zeros(len(after)))


@pytest.mark.parametrize("value", [None, lambda seen: torch.zeros(len(seen))])
def test_a_goal_is_reached_once_however_long_one_stays_there(value):
    """From 0 the goals left of -1 are four steps of being there.

    The right one is nearer, and as good.
    """
    objective = GoalReached(lambda seen: seen[:, 0] == 1.0, gamma=0.9)
    planner = MCTS(Pole(), objective, MCTSConfig(num_simulations=60, rollout_horizon=6), value)
    plan = planner.plan(ModelState(torch.zeros(1, 1)), seeded())
    assert plan.actions.tolist() == [[1]]
    assert float(plan.values) <= 1.0 + 1e-6
    at_goal = MCTS(
        Pole(), GoalReached(lambda seen: seen[:, 0] >= 1.0), MCTSConfig(num_simulations=60), value
    )
    assert float(at_goal.plan(ModelState(torch.full((1, 1), 3.0)), seeded()).values) <= 1.0 + 1e-6


def test_an_objective_whose_steps_do_not_add_up_is_refused():
    start = ModelState(torch.ones(2, 1))
    for objective in (
        lambda rollout, actions: rollout.observations[:, 1:, 0].amax(1),
        lambda rollout, actions: rollout.rewards[:, -1],
        lambda rollout, actions: rollout.rewards.mean(1),
    ):
        with pytest.raises(ConfigError, match="do not add up"):
            MCTS(Pole(), objective).plan(start, seeded())
    MCTS(Pole(), lambda rollout, actions: rollout.rewards.sum(1)).plan(start, seeded())
