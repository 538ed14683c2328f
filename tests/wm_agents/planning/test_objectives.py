import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.support.analytic_models import rollout_of
from wm_agents.errors import ConfigError
from wm_agents.planning import PlanningAgent
from wm_agents.planning.defaults import make_planner
from wm_agents.planning.mcts import MCTSConfig
from wm_agents.planning.objectives import (
    DiscountedReturn,
    GoalReached,
    NoveltyReward,
    discount_of,
    has_signal,
    survival,
)
from wm_agents.planning.value import ValueConfig
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories

ACTIONS = torch.zeros(1, 3)


def test_survival_is_the_product_of_lasting():
    alive = survival(torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]))
    assert alive.tolist() == [[1.0, 1.0, 0.5, 0.25], [1.0, 0.0, 0.0, 0.0]]


def test_return_is_discounted():
    value = DiscountedReturn(0.5)(rollout_of([[1.0, 2.0, 4.0]]), ACTIONS)
    assert value.tolist() == [1.0 + 0.5 * 2.0 + 0.25 * 4.0]


def test_termination_stops_reward_after_its_own_step():
    value = DiscountedReturn(1.0)(
        rollout_of([[1.0, 2.0, 4.0]], terminations=[[0.0, 1.0, 0.0]]), ACTIONS
    )
    assert value.tolist() == [3.0]


def test_likely_termination_weights_what_follows():
    value = DiscountedReturn(1.0)(
        rollout_of([[1.0, 2.0, 4.0]], terminations=[[0.25, 0.5, 0.0]]), ACTIONS
    )
    assert value.tolist() == [1.0 + 0.75 * 2.0 + 0.375 * 4.0]


def test_terminal_value_counts_if_the_episode_lasts():
    objective = DiscountedReturn(0.5, terminal_value=lambda observations: 8.0 * observations[:, 0])
    lasting = objective(rollout_of([[1.0, 0.0, 0.0]]), ACTIONS)
    assert lasting.tolist() == [1.0 + 0.125 * 24.0]
    ended = objective(rollout_of([[1.0, 0.0, 0.0]], terminations=[[0.0, 0.0, 1.0]]), ACTIONS)
    assert ended.tolist() == [1.0]


def test_disagreement_costs_reward():
    rollout = rollout_of([[1.0, 1.0, 1.0]], disagreement=[[0.0, 0.5, 1.0]])
    assert DiscountedReturn(1.0, disagreement_penalty=2.0)(rollout, ACTIONS).tolist() == [0.0]


def test_disagreement_penalty_needs_an_ensemble():
    with pytest.raises(ConfigError, match=r"disagreement_penalty=2\.0 needs"):
        DiscountedReturn(disagreement_penalty=2.0)(rollout_of([[1.0]]), ACTIONS[:, :1])


def test_reward_function_replaces_the_predicted_reward():
    objective = DiscountedReturn(
        1.0, reward_function=lambda observations, actions: observations[:, 1:, 0] + actions
    )
    assert objective(rollout_of([[9.0, 9.0, 9.0]]), torch.tensor([[0.0, 0.0, 10.0]])).tolist() == [
        1.0 + 2.0 + 13.0
    ]


@pytest.mark.parametrize("discount", [0.0, 1.1, float("nan")])
def test_discount_is_checked(discount):
    with pytest.raises(ConfigError, match="discount"):
        DiscountedReturn(discount)
    with pytest.raises(ConfigError, match="discount"):
        GoalReached(lambda observations: observations[:, 0] > 0, discount)


def test_goal_is_worth_less_the_later_it_is_reached():
    goal = GoalReached(lambda observations: observations[:, 0] == 2.0, 0.5)
    observations = [
        [[0.0], [2.0], [0.0], [2.0]],
        [[2.0], [1.0], [2.0], [2.0]],
        [[2.0], [0.0], [0.0], [0.0]],
    ]
    rollout = rollout_of([[0.0] * 3] * 3, observations=observations)
    assert goal(rollout, torch.zeros(3, 3)).tolist() == [1.0, 0.5, 0.0]


def test_goal_after_the_end_does_not_count():
    goal = GoalReached(lambda observations: observations[:, 0] == 2.0, 1.0)
    rollout = rollout_of([[0.0] * 3], terminations=[[1.0, 0.0, 0.0]])
    assert goal(rollout, ACTIONS).tolist() == [0.0]


def walk(
    positions: list[float], rewards: float | list[float] = -1.0, is_over: bool = False
) -> Trajectories:
    """One episode on a line, its height always 0.5."""
    observations = np.stack([positions, np.full(len(positions), 0.5)], 1).astype(np.float32)
    num_steps = len(positions) - 1
    terminations = np.zeros(num_steps, np.bool_)
    terminations[-1] = is_over
    actions = np.zeros(num_steps, np.int64)
    return Trajectories.from_arrays(
        observations, actions, np.broadcast_to(rewards, num_steps).copy(), terminations
    )


def test_a_step_pays_when_any_feature_leaves_the_range_of_experience():
    reward = NoveltyReward(walk([-1.0, 0.25, 2.0]))
    imagined = torch.tensor([[[9.0, 0.5], [0.0, 0.5], [2.0, 0.5], [2.1, 0.5], [0.0, 0.4]]])
    assert reward(imagined, torch.zeros(1, 4)).tolist() == [
        [0.0, 0.0, 1.0, 1.0]
    ]  # the start is not paid for


def test_a_signal_is_a_reward_that_differs_or_an_end():
    assert not has_signal(walk([0.0, 1.0, 2.0]))
    assert has_signal(walk([0.0, 1.0, 2.0], [-1.0, 0.0]))
    assert has_signal(walk([0.0, 1.0, 2.0], is_over=True))


class Line(Unrolled):
    """Action 1 moves right by 0.1 and action 0 left; all steps pay the same."""

    observation_space = gym.spaces.Box(-10, 10, (2,))
    action_space = gym.spaces.Discrete(2)

    def start(self, observations, hidden=()):
        return ModelState(observations)

    def step(self, state, actions, generator=None):
        moved = state.observations + torch.stack(
            [0.2 * actions - 0.1, torch.zeros(len(actions))], 1
        )
        return ModelState(moved), Prediction(
            moved, -torch.ones(len(actions)), torch.zeros(len(actions))
        )


def test_without_a_signal_exploring_plans_lead_beyond_experience():
    torch.set_num_threads(1)
    model, trajectories = Line(), walk(np.linspace(-3.0, 0.45, 40).tolist())
    agent = PlanningAgent(
        model, make_planner("random_shooting", model, trajectories, seed=0, is_exploring=True)
    )
    position, state, actions = np.array([0.4, 0.5], np.float32), None, []
    for _ in range(5):
        action, state = agent.predict(position, state)
        actions.append(int(action))
        position = position + np.array([0.2 * action - 0.1, 0.0], np.float32)
    assert actions == [1] * 5


def test_the_earlier_name_of_gamma_serves_with_a_warning():
    for make in (
        lambda **settings: DiscountedReturn(**settings),
        lambda **settings: GoalReached(lambda seen: seen[:, 0] > 0, **settings),
        lambda **settings: ValueConfig(**settings),
        lambda **settings: MCTSConfig(**settings),
    ):
        with pytest.warns(DeprecationWarning, match=r"discount of \w+ is now gamma"):
            old = make(discount=0.5)
        assert old.gamma == 0.5
        with pytest.warns(DeprecationWarning, match="is now gamma"):
            assert old.discount == 0.5
        with pytest.warns(DeprecationWarning, match="is now gamma"):
            assert dataclasses.replace(old, discount=0.25).gamma == 0.25


def test_an_objective_of_a_user_may_call_it_either():
    class Own:
        discount = 0.5

    assert discount_of(Own(), 1.0) == 0.5
    Own.gamma = 0.25
    assert discount_of(Own(), 1.0) == 0.25
