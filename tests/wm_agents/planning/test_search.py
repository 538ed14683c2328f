import dataclasses

import gymnasium as gym
import pytest
import torch

from tests.support.analytic_models import CodeModel, GridModel, PointModel
from wm_agents.errors import ConfigError, SpaceError
from wm_agents.planning import (
    BestFirstSearch,
    BestFirstSearchConfig,
    BreadthFirstSearch,
    DiscountedReturn,
    GoalReached,
    SearchConfig,
)
from wm_agents.planning.search import observation_keys
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.unrolling import Unrolled


def breadth_first(model, objective=None, **options) -> BreadthFirstSearch:
    return BreadthFirstSearch(model, objective or DiscountedReturn(), SearchConfig(**options))


def best_first(model, objective=None, **options) -> BestFirstSearch:
    return BestFirstSearch(model, objective or DiscountedReturn(), BestFirstSearchConfig(**options))


SEARCHES = [breadth_first, best_first]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def follow(model: GridModel, start: tuple[int, int], actions: list[int]) -> list[int]:
    state = model.start(torch.tensor([start], dtype=torch.float32))
    for action in actions:
        state, _ = model.step(state, torch.tensor([action]))
    return state.observations[0].int().tolist()


@pytest.mark.parametrize("make", SEARCHES)
def test_shortest_ways_for_a_batch_of_starts(make):
    model = GridModel()
    starts = torch.tensor([[0.0, 0.0], [4.0, 3.0], [4.0, 0.0]])
    plan = make(model).plan(model.start(starts), seeded())
    for row, (start, length) in enumerate([((0, 0), 8), ((4, 3), 1), ((4, 0), 4)]):
        assert follow(model, start, plan.actions[row, :length].tolist()) == [4, 4]
    assert plan.actions.shape == (3, 8)
    assert plan.values.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("make", SEARCHES)
def test_walls_are_gone_around_and_pits_avoided(make):
    """The only way from (0, 0) to (2, 0) leads around the wall by the row y = 2, not through the pit."""
    model = GridModel(size=4, goal=(2, 0), walls=[(1, 0), (1, 1)], pit=(1, 2))
    plan = make(model).plan(model.start(torch.zeros(1, 2)), seeded())
    assert plan.actions.shape == (1, 8)  # up 3, right 2, down 3
    assert follow(model, (0, 0), plan.actions[0].tolist()) == [2, 0]


@pytest.mark.parametrize("make", SEARCHES)
def test_goal_may_be_a_test_of_the_observation(make):
    model = GridModel(goal=(-1, -1))
    objective = GoalReached(lambda observations: (observations == 3.0).all(1))
    plan = make(model, objective).plan(model.start(torch.zeros(1, 2)), seeded())
    assert follow(model, (0, 0), plan.actions[0].tolist()) == [3, 3]


@pytest.mark.parametrize("make", SEARCHES)
def test_model_steps_are_counted_exactly(make):
    model = GridModel()
    planner, state = make(model), model.start(torch.tensor([[0.0, 0.0], [2.0, 2.0]]))
    for _ in range(2):
        model.num_steps = 0
        assert planner.plan(state, seeded()).num_model_steps == model.num_steps > 0


@pytest.mark.parametrize("make", SEARCHES)
def test_a_plan_that_comes_true_is_followed_without_searching(make):
    model = GridModel()
    planner, state = make(model), model.start(torch.zeros(1, 2))
    first = planner.plan(state, seeded())
    state, _ = model.step(state, first.actions[:, 0])
    second = planner.plan(state, seeded())
    assert second.actions[0].tolist() == first.actions[0, 1:].tolist()
    assert second.num_model_steps == 1
    elsewhere = model.start(torch.tensor([[4.0, 0.0]]))
    assert follow(model, (4, 0), planner.plan(elsewhere, seeded()).actions[0].tolist()) == [4, 4]


@pytest.mark.parametrize("make", SEARCHES)
def test_reset_searches_again(make):
    model = GridModel()
    planner, state = make(model), model.start(torch.zeros(1, 2))
    first = planner.plan(state, seeded())
    state, _ = model.step(state, first.actions[:, 0])
    planner.reset()
    assert planner.plan(state, seeded()).num_model_steps > 4


@pytest.mark.parametrize("make", SEARCHES)
def test_without_a_goal_the_best_total_is_taken_and_equals_are_drawn(make):
    model = GridModel(goal=(-1, -1), size=3, pit=(0, 1))
    planner = make(model, has_warm_start=False)
    generator = seeded()
    ends = {
        tuple(
            follow(
                model,
                (0, 0),
                planner.plan(model.start(torch.zeros(1, 2)), generator).actions[0].tolist(),
            )
        )
        for _ in range(40)
    }
    assert len(ends) > 3  # it wanders
    assert (0, 1) not in ends  # but not into the pit, which costs 1


@pytest.mark.parametrize("make", SEARCHES)
def test_nowhere_to_go_still_gives_an_action(make):
    model = GridModel(size=1, goal=(5, 5))
    plan = make(model).plan(model.start(torch.zeros(2, 2)), seeded())
    assert plan.actions.shape == (2, 1)
    assert plan.values.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("make", SEARCHES)
def test_depth_is_limited(make):
    model = GridModel()
    plan = make(model, max_depth=3).plan(model.start(torch.zeros(1, 2)), seeded())
    assert plan.actions.shape[1] <= 3
    assert plan.values.tolist() == [0.0]


def test_breadth_first_reaches_each_state_once():
    """All 25 states but the goal's row of discovery.

    4 steps from each of the states that are expanded.
    """
    model = GridModel(goal=(-1, -1))
    plan = BreadthFirstSearch(model, DiscountedReturn()).plan(
        model.start(torch.zeros(1, 2)), seeded()
    )
    assert plan.num_model_steps == 25 * 4


def test_an_estimate_leads_best_first_straight_to_the_goal():
    model = GridModel(size=30, goal=(29, 0))

    def estimate(observations: torch.Tensor) -> torch.Tensor:
        return -(observations - torch.tensor([29.0, 0.0])).abs().sum(1)

    config = BestFirstSearchConfig(step_price=1.0, num_expansions=1, max_depth=100)
    informed = BestFirstSearch(model, DiscountedReturn(), config, estimate).plan(
        model.start(torch.zeros(1, 2)), seeded()
    )
    blind = BreadthFirstSearch(model, DiscountedReturn()).plan(
        model.start(torch.zeros(1, 2)), seeded()
    )
    assert informed.actions[0].tolist() == [0] * 29 == blind.actions[0].tolist()
    assert informed.num_model_steps < blind.num_model_steps / 5


def test_keys_tell_observations_apart_by_the_resolution():
    keys = observation_keys(torch.tensor([[0.0, 1.0], [0.004, 1.0], [0.02, 1.0]]), 0.01)
    assert keys[0] == keys[1] != keys[2]


def test_box_actions_are_refused():
    for search in (BreadthFirstSearch, BestFirstSearch):
        with pytest.raises(SpaceError, match=f"{search.__name__} plans for Discrete"):
            search(PointModel(), DiscountedReturn())


@pytest.mark.parametrize(
    "changes",
    [{"max_depth": 0}, {"max_nodes": 0}, {"resolution": 0.0}, {"resolution": float("nan")}],
)
def test_settings_that_cannot_work_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        SearchConfig(**changes)


def test_rewards_along_the_way_add_up():
    model = CodeModel((1, 2, 3))
    plan = BreadthFirstSearch(
        model, DiscountedReturn(), SearchConfig(goal_value=2.0, max_depth=3)
    ).plan(model.start(torch.zeros(1, 1)), seeded())
    assert plan.values.item() <= 3.0


@pytest.mark.parametrize("make", SEARCHES)
def test_a_terminal_value_is_no_step_towards_a_goal(make):
    """Only the step into the far corner pays.

    What each state is said to be worth is not counted on the way.
    """
    objective = DiscountedReturn(terminal_value=lambda seen: torch.full((len(seen),), 5.0))
    model = GridModel()
    plan = make(model, objective).plan(model.start(torch.zeros(1, 2)), seeded())
    assert follow(model, (0, 0), plan.actions[0].tolist()) == [4, 4]
    assert plan.values.tolist() == [1.0]


@pytest.mark.parametrize("make", SEARCHES)
def test_a_followed_plan_is_worth_what_is_left_of_it(make):
    """Every step costs 1 and the last pays 10 beside.

    Four steps are worth 7, the three that are left 8, and so on.
    """

    class Toll(GridModel):
        def step(self, state, actions, generator=None):
            after, prediction = super().step(state, actions, generator)
            return after, dataclasses.replace(prediction, rewards=11.0 * prediction.rewards - 1.0)

    model = Toll(goal=(4, 0))
    planner, state, values = make(model, goal_value=5.0), model.start(torch.zeros(1, 2)), []
    for _ in range(4):
        plan = planner.plan(state, seeded())
        values.append(plan.values.item())
        state, _ = model.step(state, plan.actions[:, 0])
    assert values == [7.0, 8.0, 9.0, 10.0]


class TwoWays(Unrolled):
    """Action 0 ends the episode at 0, action 1 goes on.

    Both are seen as 1, from where every step is rewarded.
    """

    observation_space, action_space = gym.spaces.Box(0, 9, (1,)), gym.spaces.Discrete(2)

    def start(self, observations, hidden=()):
        return ModelState(observations)

    def step(self, state, actions, generator=None):
        place = state.observations[:, 0]
        after = torch.clamp(place + 1, max=2)[:, None]
        is_end = (place == 0) & (actions == 0)
        return ModelState(after), Prediction(after, (place == 1).float(), is_end.float())


@pytest.mark.parametrize("make", SEARCHES)
@pytest.mark.parametrize("goal_value", [0.5, 9.0])
def test_an_ended_state_does_not_hide_the_one_that_goes_on(make, goal_value):
    for seed in range(4):
        plan = make(TwoWays(), goal_value=goal_value, max_depth=4).plan(
            ModelState(torch.zeros(1, 1)), torch.Generator().manual_seed(seed)
        )
        assert plan.actions[0, 0] == 1


class Lane(TwoWays):
    """Actions 0 and 1 move left and right.

    The reward is a small share of the place to the right of 0.
    """

    def __init__(self, unit):
        self.unit = unit

    def step(self, state, actions, generator=None):
        after = (state.observations[:, 0] + 2.0 * actions - 1).clamp(-2, 2)
        return ModelState(after[:, None]), Prediction(
            after[:, None], self.unit * after, torch.zeros(len(after))
        )


@pytest.mark.parametrize("make", SEARCHES)
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
def test_the_best_total_is_found_in_any_unit_of_reward(make, unit):
    search = make(Lane(unit), goal_value=1e30, max_depth=2)
    for seed in range(5):
        plan = search.plan(ModelState(torch.zeros(1, 1)), torch.Generator().manual_seed(seed))
        assert plan.actions.tolist() == [[1, 1]]


class Closest:
    """The best step counts: how near 1 it came, from 0 to 1."""

    is_maximum = True

    def __call__(self, rollout, actions):
        return (1 - (rollout.observations[:, 1:, 0] - 1).abs() / 4).amax(1)


@pytest.mark.parametrize("make", SEARCHES)
def test_a_maximum_is_not_added_up(make):
    plan = make(Lane(1.0), Closest(), goal_value=2.0, max_depth=3).plan(
        ModelState(torch.full((1, 1), -2.0)), seeded()
    )
    assert plan.values.tolist() == [1.0]
    assert plan.actions[0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("make", SEARCHES)
def test_an_objective_whose_steps_do_not_add_up_is_refused(make):
    with pytest.raises(ConfigError, match="is_maximum = True"):
        make(Lane(1.0), lambda rollout, actions: rollout.rewards.amax(1)).plan(
            ModelState(torch.zeros(1, 1)), seeded()
        )
    plan = make(Lane(1.0), lambda rollout, actions: rollout.rewards.sum(1)).plan(
        ModelState(torch.zeros(1, 1)), seeded()
    )
    assert plan.actions[0, 0] == 1


def test_keys_of_large_observations_do_not_wrap_around():
    keys = observation_keys(torch.tensor([[1e9], [1e9 + 2**32 / 100], [3e9], [-3e9]]), 0.01)
    assert len(set(keys)) == 4


class ScaledGrid(GridModel):
    """The grid with its places in another unit."""

    def __init__(self, unit: float) -> None:
        super().__init__()
        self.unit = unit

    def step(self, state, actions, generator=None):
        places = (state.observations.double() / self.unit).round().float()
        plain = ModelState(places, state.hidden)
        after, prediction = super().step(plain, actions, generator)
        rows = (after.observations.double() * self.unit).float()
        return ModelState(rows, after.hidden), dataclasses.replace(prediction, observations=rows)


@pytest.mark.parametrize("unit", [1e-3, 1e-7, 1e-20, 1.0, 1e7])
@pytest.mark.parametrize("make", SEARCHES)
def test_states_are_told_apart_in_any_unit(make, unit):
    model = ScaledGrid(unit)
    planner = make(model)
    state = model.start(torch.zeros(1, 2))
    plan = planner.plan(state, seeded())
    assert (plan.values.item(), plan.actions.shape) == (1.0, (1, 8))
    after, _ = model.step(state, plan.actions[:, 0])
    again = planner.plan(after, seeded())
    assert again.num_model_steps <= 1  # the plan is followed, and not searched for again
    assert again.actions.tolist() == plan.actions[:, 1:].tolist()
