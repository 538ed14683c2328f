"""What all planners share: how they are made and bound, and which actions they choose from."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.support.analytic_models import CodeModel, GridModel, PointModel
from wm_agents.errors import ConfigError
from wm_agents.planning import (
    CEM,
    ICEM,
    MCTS,
    MPPI,
    BestFirstSearch,
    BreadthFirstSearch,
    CategoricalCEM,
    DiscountedReturn,
    ICEMConfig,
    PlanningAgent,
    RandomShooting,
)

BOX_PLANNERS = [CEM, ICEM, MPPI, RandomShooting]
DISCRETE_PLANNERS = [
    BestFirstSearch,
    BreadthFirstSearch,
    CategoricalCEM,
    MCTS,
    RandomShooting,
]
SHORT_SIGHTED = DiscountedReturn(0.1)
"""What the first action is worth outweighs all that follows."""


def decide(planner, model) -> list[float]:
    state = model.start(torch.zeros(2, model.observation_space.shape[0]))
    return planner.plan(state, torch.Generator().manual_seed(0)).actions.tolist()


def test_the_ways_to_make_a_planner_are_the_same_planner():
    model, objective, config = PointModel(), DiscountedReturn(0.9), ICEMConfig(horizon=5)
    planners = [
        ICEM(model, objective, config),
        ICEM(config, objective=objective).bind(model),
        ICEM(horizon=5, objective=objective).bind(model),
        ICEM(ICEMConfig(), objective=objective, horizon=5).bind(model),
        ICEM(model, config=config, objective=objective),
    ]
    plans = [decide(planner, model) for planner in planners]
    assert all(plan == plans[0] for plan in plans)
    assert ICEM(horizon=5).objective == DiscountedReturn()
    assert ICEM(horizon=5).config == config


def test_an_agent_binds_a_planner_and_leaves_the_pattern_as_it_is():
    pattern = ICEM(horizon=3, num_samples=30)
    near, far = PointModel(goal=0.5), PointModel(goal=-50.0)
    first, second = PlanningAgent(near, pattern), PlanningAgent(far, pattern)
    assert not pattern.is_bound
    assert first.predict(np.zeros(1, np.float32))[0] > 0
    assert second.predict(np.zeros(1, np.float32))[0] < 0
    assert first.predict(np.zeros(1, np.float32))[0] > 0


def test_a_bound_planner_carries_nothing_over_from_the_other():
    model = PointModel(goal=20.0)
    first = CEM(model, horizon=6, num_samples=10, num_elites=3, num_iterations=1)
    once = decide(first, model)
    assert decide(first.bind(model), model) == once
    assert decide(first, model) != once  # refined


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ConfigError, match="no setting 'horizont': it has horizon"):
        ICEM(horizont=3)
    with pytest.raises(ConfigError, match="takes a ICEMConfig"):
        ICEM(PointModel(), None, "long")
    with pytest.raises(ConfigError, match="takes a world model or a ICEMConfig"):
        ICEM(DiscountedReturn())
    with pytest.raises(ConfigError, match="horizon"):
        ICEM(horizon=0)
    with pytest.raises(ConfigError, match="this ICEM has no model: give it to PlanningAgent"):
        decide(ICEM(horizon=3), PointModel())
    ICEM(horizon=3).reset()  # nothing to forget
    BreadthFirstSearch(max_depth=3).reset(np.array([True]))


class Shifted(GridModel):
    """The grid whose actions are numbered from 7 on."""

    def __init__(self) -> None:
        super().__init__(size=3, goal=(2, 2))
        self.action_space = gym.spaces.Discrete(4, start=7)

    def step(self, state, actions, generator=None):
        assert int(actions.min()) >= 7
        return super().step(state, actions - 7, generator)


@pytest.mark.parametrize("planner", DISCRETE_PLANNERS)
def test_discrete_actions_may_start_anywhere(planner):
    plain, shifted = GridModel(size=3, goal=(2, 2)), Shifted()
    expected = np.array(decide(planner(plain), plain)) + 7
    assert decide(planner(shifted), shifted) == expected.tolist()
    agent = PlanningAgent(shifted, planner(), exploration=0.5)
    actions, _ = agent.predict(np.zeros((20, 2), np.float32))
    assert all(shifted.action_space.contains(action) for action in actions)


class Combined(CodeModel):
    """The code with two choices in place of one number."""

    def __init__(self, space: gym.Space) -> None:
        super().__init__((3, 1))
        self.action_space = space


@pytest.mark.parametrize(
    ("space", "first"),
    [
        (gym.spaces.MultiDiscrete([2, 2], start=[4, 0]), [5, 1]),
        (gym.spaces.MultiBinary(2), [1, 1]),
        (gym.spaces.Tuple([gym.spaces.Discrete(2), gym.spaces.Discrete(2)]), (1, 1)),
        (gym.spaces.Dict(a=gym.spaces.Discrete(2), b=gym.spaces.Discrete(2, start=1)), (1, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("planner", [CategoricalCEM, MCTS, RandomShooting])
def test_counted_choices_are_planned_as_one(planner, space, first):
    action, _ = PlanningAgent(Combined(space), planner(objective=SHORT_SIGHTED)).predict(
        np.zeros(1, np.float32)
    )
    assert space.contains(action)
    assert tuple(action.values() if isinstance(action, dict) else action) == tuple(first)


@pytest.mark.parametrize("planner", BOX_PLANNERS)
def test_boxes_of_any_shape_and_parts_are_planned_as_vectors(planner):
    model = PointModel()
    for space in (
        gym.spaces.Box(-1.0, 1.0, (1, 1), np.float64),
        gym.spaces.Dict(push=gym.spaces.Box(-1.0, 1.0, ())),
    ):
        model.action_space = space
        action, _ = PlanningAgent(model, planner(objective=SHORT_SIGHTED)).predict(
            np.zeros(1, np.float32)
        )
        assert space.contains(action)
        pushed = action["push"] if isinstance(action, dict) else action
        assert float(np.asarray(pushed).item()) > 0.5
