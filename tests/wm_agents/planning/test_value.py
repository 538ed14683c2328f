import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.support.analytic_models import GridModel, PointModel
from wm_agents.errors import CheckpointError, ConfigError, SpaceError
from wm_agents.planning import CategoricalCEM, CategoricalCEMConfig, DiscountedReturn
from wm_agents.planning.value import ValueConfig, ValueIteration, _RepeatedActions, _ValueRun
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.trajectories import Trajectories

SMALL = ValueConfig(
    gamma=0.8,
    hidden_size=32,
    num_rounds=1,
    num_updates=800,
    num_branches=8,
    branch_length=5,
    action_noise=0.0,
)


class EndingGrid(GridModel):
    """Entering the goal ends the episode, so that values are discount^(distance - 1)."""

    def step(self, state, actions, generator=None):
        after, prediction = super().step(state, actions, generator)
        return after, type(prediction)(
            prediction.observations, prediction.rewards, prediction.rewards.clamp_min(0.0)
        )


def all_cells(size: int) -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(float(size)), torch.arange(float(size)))


def test_values_fall_with_the_distance_to_the_goal():
    cells = all_cells(4)
    value = ValueIteration(EndingGrid(size=4, goal=(3, 3)), SMALL).fit(cells)
    distance = (3.0 - cells).sum(1)
    is_open = distance > 0  # nothing follows after the goal
    torch.testing.assert_close(
        value(cells)[is_open], 0.8 ** (distance[is_open] - 1), atol=0.08, rtol=0
    )


def test_a_planner_sees_past_its_horizon():
    model = EndingGrid(size=4, goal=(3, 3))
    config = CategoricalCEMConfig(horizon=1, num_samples=20, num_elites=4)
    value = ValueIteration(model, SMALL).fit(all_cells(4))
    planner = CategoricalCEM(model, DiscountedReturn(0.8, terminal_value=value), config)
    plan = planner.plan(model.start(torch.zeros(1, 2)), torch.Generator().manual_seed(0))
    assert plan.actions.item() in (0, 2)  # right or up, four steps before any reward


def test_same_seed_same_values_and_no_trace_in_the_global_generator():
    before = torch.random.get_rng_state()
    config = ValueConfig(num_rounds=1, num_updates=3, num_branches=2, branch_length=2)
    fitted = [
        ValueIteration(GridModel(), config, seed=s).fit(all_cells(5))(all_cells(5))
        for s in (1, 1, 2)
    ]
    assert torch.equal(fitted[0], fitted[1])
    assert not torch.equal(fitted[0], fitted[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_box_actions_are_drawn_within_bounds_and_extremes_are_among_them():
    run = _ValueRun(PointModel(low=-0.5, high=2.0), SMALL, torch.zeros(1, 1), None, 0)
    actions = run._choices(100)
    assert actions.shape == (100, 8, 1)
    assert actions.min() == -0.5
    assert actions.max() == 2.0
    assert len(actions.unique()) > 100


def test_reward_function_replaces_the_models():
    run = _ValueRun(PointModel(), SMALL, torch.zeros(1, 1), lambda seen, actions: seen[:, 1:, 0], 0)
    options = run._imagine(torch.tensor([[3.0]]))
    torch.testing.assert_close(options.rewards, options.after[:, :, 0])


@pytest.mark.parametrize(
    "changes",
    [{"gamma": 1.0}, {"num_updates": 0}, {"exploration": -0.1}, {"num_drawn_actions": 0}],
)
def test_settings_that_cannot_work_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        ValueConfig(**changes)


class ShiftedGrid(GridModel):
    """The grid whose actions are numbered from 3 on."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Discrete(4, start=3)

    def step(self, state, actions, generator=None):
        return super().step(state, actions - 3, generator)


def test_discrete_actions_may_start_anywhere():
    config = ValueConfig(num_rounds=2, num_updates=5, num_branches=2, branch_length=3)
    values = [
        ValueIteration(model, config).fit(all_cells(5))(all_cells(5))
        for model in (GridModel(), ShiftedGrid())
    ]
    assert torch.equal(*values)


def test_actions_without_bounds_are_refused():
    model = PointModel(low=-math.inf)
    with pytest.raises(SpaceError, match="ValueIteration draws actions between finite bounds"):
        ValueIteration(model, SMALL)


def test_a_stopped_fit_resumes_bitwise(tmp_path):
    config = ValueConfig(num_rounds=4, num_updates=5, num_branches=2, branch_length=3)
    whole = ValueIteration(GridModel(), config, seed=1)
    whole.fit(all_cells(5))

    class Stopped(GridModel):
        def rollout(self, start, actions, generator=None):
            self.num_calls = getattr(self, "num_calls", 0) + 1
            if self.num_calls == 6:
                raise KeyboardInterrupt
            return super().rollout(start, actions, generator)

    with pytest.raises(KeyboardInterrupt):
        ValueIteration(Stopped(), config, seed=1).fit(all_cells(5), checkpoints=tmp_path)
    again = ValueIteration(GridModel(), config, seed=1)
    again.fit(all_cells(5), checkpoints=tmp_path)
    assert torch.equal(again.value(all_cells(5)), whole.value(all_cells(5)))
    assert again.report.history == whole.report.history
    with pytest.raises(CheckpointError, match="seed"):
        ValueIteration(GridModel(), config, seed=2).fit(all_cells(5), checkpoints=tmp_path)


def test_trajectories_are_fitted_around_the_states_of_their_steps():
    config = ValueConfig(num_rounds=1, num_updates=3, num_branches=2, branch_length=2)
    cells = all_cells(5)
    data = Trajectories.from_arrays(cells, np.zeros(24, int), np.zeros(24), [False] * 24)
    first = ValueIteration(GridModel(), config).fit(data)
    assert torch.equal(first(cells), ValueIteration(GridModel(), config).fit(cells[:-1])(cells))


def test_a_documented_setting_keeps_its_old_name_for_a_release():
    with pytest.warns(DeprecationWarning, match="is_cautious of ValueConfig is now pessimistic"):
        assert ValueConfig(is_cautious=True).pessimistic


def test_a_single_state_is_enough():
    config = ValueConfig(num_rounds=1, num_updates=3, num_branches=2, branch_length=2)
    assert (
        ValueIteration(GridModel(), config)
        .fit(torch.zeros(1, 2))(torch.zeros(2, 2))
        .isfinite()
        .all()
    )


def test_slip_makes_the_neighbourhood_of_a_danger_worth_less():
    """Beside the pit the best policy escapes, so that only the slip tells the cell from a safe one."""
    cells = all_cells(5)
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 4.0]])
    gaps = []
    for slip in (0.0, 0.3):
        config = ValueConfig(
            gamma=0.8,
            hidden_size=32,
            num_rounds=1,
            num_updates=600,
            num_branches=8,
            branch_length=5,
            action_noise=slip,
        )
        value = ValueIteration(GridModel(goal=(-1, -1), pit=(0, 0)), config).fit(cells)
        gaps.append(float(value(far) - value(near)))
    assert gaps[1] > gaps[0] + 0.05


def test_the_cautious_shun_what_nobody_has_seen():
    """Only the lower left was visited, and what lies beyond may be a cliff for all that the model knows."""
    seen, unseen = (
        torch.tensor([[0.0, 0.0], [2.0, 2.0], [1.0, 2.0]]),
        torch.tensor([[3.0, 0.0], [0.0, 2.5]]),
    )
    values = {}
    for pessimistic in (False, True):
        config = dataclasses.replace(SMALL, num_updates=50, pessimistic=pessimistic)
        values[pessimistic] = ValueIteration(EndingGrid(size=4, goal=(3, 3)), config).fit(seen)
    assert (values[True](unseen) == values[True].bounds[0]).all()
    assert (values[True](seen) > values[True].bounds[0]).all()
    assert (values[False](unseen) > values[False].bounds[0]).all()


class Line(Unrolled):
    """Five places.

    The last step right terminates with `goal`, every other step is rewarded with `step_reward`.
    """

    observation_space, action_space = gym.spaces.Box(0, 5, (1,)), gym.spaces.Discrete(2)

    def __init__(self, goal, step_reward):
        self.goal, self.step_reward = goal, step_reward

    def start(self, observations, hidden=()):
        return ModelState(observations)

    def step(self, state, actions, generator=None):
        after = (state.observations[:, 0] + 2.0 * actions - 1).clamp(0, 5)
        end = (after == 5).float()
        rewards = end * self.goal + (1 - end) * self.step_reward
        return ModelState(after[:, None]), Prediction(after[:, None], rewards, end)


@pytest.mark.parametrize("pessimistic", [True, False])
@pytest.mark.parametrize(
    ("goal", "step_reward"),
    [(1.0, 0.0), (1e-4, 0.0), (1e4, 0.0), (-1e-4, -1e-4), (0.0, -1e4), (1e-9, -1e-9)],
)
def test_values_have_the_unit_and_the_sign_of_the_rewards(goal, step_reward, pessimistic):
    config = dataclasses.replace(SMALL, num_rounds=2, num_updates=400, pessimistic=pessimistic)
    places = torch.arange(5.0)[:, None]
    values = ValueIteration(Line(goal, step_reward), config).fit(places.repeat(10, 1))(places)
    to_go = torch.arange(5.0, 0.0, -1.0)
    expected = 0.8 ** (to_go - 1) * goal + step_reward * (1 - 0.8 ** (to_go - 1)) / 0.2
    unit = max(abs(goal), abs(step_reward))
    torch.testing.assert_close(values / unit, expected / unit, atol=0.15, rtol=0.05)
    assert (values.diff() > 0).all()


def test_without_any_reward_all_values_are_zero_and_the_unseen_is_still_shunned():
    config = dataclasses.replace(SMALL, num_updates=20, pessimistic=True)
    value = ValueIteration(Line(0.0, 0.0), config).fit(torch.arange(5.0)[:, None])
    assert (value(torch.arange(5.0)[:, None]) == 0.0).all()
    assert value(torch.tensor([[7.0]])) < 0.0


def test_rewards_that_are_met_later_widen_the_bounds():
    """Nothing is rewarded around the starts; what the branches find beyond must not be cut off."""
    config = dataclasses.replace(
        SMALL, num_rounds=3, num_updates=200, exploration=1.0, branch_length=40
    )
    value = ValueIteration(Line(3.0, 0.0), config).fit(torch.zeros(10, 1))
    assert float(value(torch.tensor([[4.0]]))) > 2.0


def shares_of_random_steps(max_repeats: torch.Tensor, exploration: float) -> torch.Tensor:
    rows, generator = (
        _RepeatedActions(max_repeats, 3, exploration),
        torch.Generator().manual_seed(0),
    )
    greedy = torch.full((len(max_repeats),), 7)  # not among the random actions
    return torch.stack([rows.replace(greedy, generator) != 7 for _ in range(400)]).float().mean(0)


def test_rows_explore_about_alike_however_long_they_hold():
    shares = shares_of_random_steps(torch.tensor([1, 64]).repeat(200), 0.2).view(200, 2).mean(0)
    assert abs(shares[0] - 0.2) < 0.01
    # On average 1/p - 1 greedy steps lie between holds of H steps, with p = 0.2 / H and H = 4.74.
    assert abs(shares[1] - 4.74 / (4.74 + 4.74 / 0.2 - 1)) < 0.02


def test_a_row_holds_one_action_and_a_dithering_row_draws_anew():
    rows, generator = (
        _RepeatedActions(torch.tensor([1, 64]).repeat(500), 1000, 1.0),
        torch.Generator().manual_seed(0),
    )
    actions = torch.stack(
        [rows.replace(torch.zeros(1000, dtype=torch.long), generator) for _ in range(50)]
    )
    repeats = (actions[1:] == actions[:-1]).float().mean(0).view(500, 2).mean(0)
    assert repeats[0] < 0.01
    assert repeats[1] > 0.6


def test_rows_never_hold_where_random_actions_have_no_chance():
    assert shares_of_random_steps(torch.full((50,), 64), 0.0).max() == 0
