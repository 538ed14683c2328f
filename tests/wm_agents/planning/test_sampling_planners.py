"""What all sampling planners promise, on models whose best plans are known."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.support.analytic_models import CodeModel, PointModel
from wm_agents.errors import ConfigError, SpaceError
from wm_agents.planning import (
    CEM,
    ICEM,
    MPPI,
    CategoricalCEM,
    CategoricalCEMConfig,
    CEMConfig,
    DiscountedReturn,
    ICEMConfig,
    MPPIConfig,
    PlanningAgent,
    RandomShooting,
    RandomShootingConfig,
)
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.unrolling import Unrolled

CONTINUOUS = [
    (RandomShooting, RandomShootingConfig(horizon=4, num_samples=400)),
    (CEM, CEMConfig(horizon=4, num_samples=100, num_elites=10)),
    (ICEM, ICEMConfig(horizon=4, num_samples=40, num_elites=5)),
    (MPPI, MPPIConfig(horizon=4, num_samples=100, num_iterations=4)),
]
DISCRETE = [
    (RandomShooting, RandomShootingConfig(horizon=3, num_samples=400)),
    (CategoricalCEM, CategoricalCEMConfig(horizon=3, num_samples=60)),
]


def at(*positions: float) -> ModelState:
    return ModelState(torch.tensor(positions).view(-1, 1))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("planner", "config"), CONTINUOUS)
def test_moves_towards_the_goal_and_stays(planner, config):
    model = PointModel(goal=1.0)
    plan = planner(model, DiscountedReturn(1.0), config).plan(at(0.0, 2.0), seeded())
    assert plan.actions.shape == (2, 4, 1)
    positions = torch.tensor([[0.0], [2.0]]) + plan.actions[:, :, 0].cumsum(1)
    assert (positions - 1.0).abs().mean() < 0.35
    assert (plan.actions[0, 0] > 0.5).all()
    assert (plan.actions[1, 0] < -0.5).all()


@pytest.mark.parametrize(("planner", "config"), CONTINUOUS)
def test_value_is_that_of_the_plan(planner, config):
    model, objective = PointModel(), DiscountedReturn(0.9)
    plan = planner(model, objective, config).plan(at(0.0, 1.0), seeded())
    again = objective(model.rollout(at(0.0, 1.0), plan.actions), plan.actions)
    torch.testing.assert_close(plan.values, again)


@pytest.mark.parametrize(("planner", "config"), [*CONTINUOUS, *DISCRETE])
def test_model_steps_are_counted_exactly(planner, config):
    model = CodeModel((1, 2, 3)) if (planner, config) in DISCRETE else PointModel()
    searching = planner(model, DiscountedReturn(), config)
    for _ in range(2):  # cold and with a warm start
        model.num_steps = 0
        plan = searching.plan(at(0.0, 0.0, 0.0), seeded())
        assert plan.num_model_steps == model.num_steps > 0


@pytest.mark.parametrize(("planner", "config"), CONTINUOUS)
def test_actions_keep_to_their_bounds(planner, config):
    model = PointModel(goal=50.0, low=-0.25, high=0.5)
    plan = planner(model, DiscountedReturn(), config).plan(at(0.0), seeded())
    assert plan.actions.max() <= 0.5
    assert plan.actions.min() >= -0.25
    assert plan.actions[0, 0, 0] > 0.2  # the goal lies far to the right


@pytest.mark.parametrize(("planner", "config"), [*CONTINUOUS, *DISCRETE])
def test_plans_follow_the_generator(planner, config):
    model = CodeModel((1, 2, 3)) if (planner, config) in DISCRETE else PointModel()
    make = lambda: planner(model, DiscountedReturn(), config)  # noqa: E731
    one, same, other = (make().plan(at(0.0), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.actions, same.actions)
    assert torch.equal(one.values, same.values)
    if (planner, config) in CONTINUOUS:  # the others find the one best plan whatever the seed
        assert not torch.equal(one.actions, other.actions)


@pytest.mark.parametrize(("planner", "config"), DISCRETE)
def test_finds_the_secret_code(planner, config):
    model = CodeModel((2, 0, 3))
    plan = planner(model, DiscountedReturn(1.0), config).plan(at(0.0, 1.0), seeded())
    assert plan.actions[0].tolist() == [2, 0, 3]
    assert plan.actions[1, :2].tolist() == [0, 3]
    assert plan.values.tolist() == [3.0, 3.0]
    assert plan.actions.dtype == torch.int64


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI])
def test_reset_forgets_the_warm_start(planner):
    model = PointModel()
    warm = planner(model, DiscountedReturn())
    first = warm.plan(at(0.0), seeded())
    assert not torch.equal(warm.plan(at(0.0), seeded()).actions, first.actions)
    warm.reset(np.array([True]))
    assert torch.equal(warm.plan(at(0.0), seeded()).actions, first.actions)
    warm.reset()
    assert torch.equal(warm.plan(at(0.0), seeded()).actions, first.actions)


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI])
def test_warm_start_refines_the_last_plan(planner):
    """With few samples a second look at the same future finds a better plan than the first."""
    model, objective = PointModel(goal=20.0), DiscountedReturn(1.0)
    configs = {CEM: CEMConfig, ICEM: ICEMConfig, MPPI: MPPIConfig}
    options = {"num_elites": 3} if planner is not MPPI else {}
    config = configs[planner](horizon=8, num_samples=12, num_iterations=1, **options)
    searching, generator = planner(model, objective, config), seeded()
    values = [float(searching.plan(at(0.0), generator).values[0]) for _ in range(12)]
    best = float(objective(model.rollout(at(0.0), torch.ones(1, 8, 1)), torch.ones(1, 8, 1))[0])
    assert values[0] < values[-1] <= best
    assert values[-1] > values[0] + 0.3 * (best - values[0])


@pytest.mark.parametrize("planner", [CEM, ICEM, MPPI])
def test_discrete_actions_are_refused_with_the_remedy(planner):
    with pytest.raises(SpaceError, match=f"{planner.__name__} plans for Box.*CategoricalCEM"):
        planner(CodeModel((1,)), DiscountedReturn())


def test_box_actions_are_refused_with_the_remedy():
    with pytest.raises(SpaceError, match=r"CategoricalCEM plans for Discrete.*ICEM"):
        CategoricalCEM(PointModel(), DiscountedReturn())


@pytest.mark.parametrize(
    ("space", "remedy"),
    [
        (gym.spaces.Box(-np.inf, np.inf, (1,)), "RescaleAction"),
        (gym.spaces.Text(3), "TransformAction"),
    ],
)
def test_other_spaces_are_refused_with_the_remedy(space, remedy):
    model = PointModel()
    model.action_space = space
    with pytest.raises(SpaceError, match=remedy):
        RandomShooting(model, DiscountedReturn())


@pytest.mark.parametrize(
    ("config", "changes", "name"),
    [
        (CEMConfig, {"horizon": 0}, "horizon"),
        (CEMConfig, {"num_elites": 501}, "num_elites=501"),
        (CEMConfig, {"momentum": 1.0}, "momentum"),
        (CEMConfig, {"initial_std": float("nan")}, "initial_std"),
        (ICEMConfig, {"sample_decay": 0.5}, "sample_decay"),
        (ICEMConfig, {"kept_share": 1.5}, "kept_share"),
        (MPPIConfig, {"temperature": 0.0}, "temperature"),
        (MPPIConfig, {"temperature": float("nan")}, "temperature"),
        (CategoricalCEMConfig, {"repeat_probability": 2.0}, "repeat_probability"),
        (RandomShootingConfig, {"precision": "float16"}, "float16"),
    ],
)
def test_settings_that_cannot_work_are_refused(config, changes, name):
    with pytest.raises(ConfigError, match=name):
        config(**changes)


@pytest.mark.parametrize("reward", [torch.nan, torch.inf])
@pytest.mark.parametrize(("planner", "config"), CONTINUOUS)
def test_a_model_that_diverges_is_avoided(planner, config, reward):
    class Diverging(PointModel):
        def step(self, state, actions, generator=None):
            after, prediction = super().step(state, actions, generator)
            rewards = torch.where(actions[:, 0] > 0.0, reward, prediction.rewards)
            return after, dataclasses.replace(prediction, rewards=rewards)

    plan = planner(Diverging(goal=2.0), DiscountedReturn(), config).plan(at(0.0), seeded())
    assert torch.isfinite(plan.actions).all()
    if planner is not MPPI:  # whose plan is an average
        assert torch.isfinite(plan.values).all()
        assert (plan.actions <= 0.0).all()


def test_all_values_infinite_still_gives_a_plan():
    class Broken(PointModel):
        def step(self, state, actions, generator=None):
            after, prediction = super().step(state, actions, generator)
            return after, dataclasses.replace(
                prediction, rewards=torch.full_like(prediction.rewards, torch.nan)
            )

    for planner, config in CONTINUOUS:
        plan = planner(Broken(), DiscountedReturn(), config).plan(at(0.0), seeded())
        assert torch.isfinite(plan.actions).all()


def test_icem_draws_fewer_samples_in_every_iteration():
    config = ICEMConfig(
        num_samples=100, num_iterations=4, num_elites=10, sample_decay=2.0, kept_share=0.3
    )
    assert config.sample_counts == (100, 50, 25, 20)
    plan = ICEM(PointModel(), DiscountedReturn(), config).plan(at(0.0), seeded())
    assert plan.num_model_steps == (100 + 50 + 25 + 20 + 4 * 3 + 1) * config.horizon


def test_mppi_weights_follow_the_temperature():
    """Two finite samples one apart, at temperature 1: weights e to 1."""
    planner = MPPI(
        PointModel(), DiscountedReturn(), MPPIConfig(temperature=1.0, is_temperature_relative=False)
    )
    weights = planner._weights(torch.tensor([[1.0, 0.0, -torch.inf]]))
    expected = torch.tensor([[torch.e, 1.0, 0.0]]) / (torch.e + 1.0)
    torch.testing.assert_close(weights, expected)


def test_mppi_relative_temperature_ignores_the_size_of_rewards():
    planner = MPPI(PointModel(), DiscountedReturn())
    values = torch.tensor([[1.0, 2.0, 4.0]])
    torch.testing.assert_close(planner._weights(values), planner._weights(1000.0 * values - 7.0))


def test_categorical_candidates_repeat_actions():
    config = CategoricalCEMConfig(horizon=50, repeat_probability=0.8)
    planner = CategoricalCEM(CodeModel((1,)), DiscountedReturn(), config)
    uniform = torch.full((1, 50, 4), 0.25)
    share = [
        (a[:, :, 1:] == a[:, :, :-1]).float().mean()
        for a in (planner._draw(uniform, i, 500, seeded()) for i in (0, 1))
    ]
    assert share[0] == pytest.approx(0.8 + 0.2 / 4, abs=0.01)
    assert share[1] == pytest.approx(0.4 + 0.6 / 4, abs=0.01)


def test_bfloat16_evaluates_the_model_in_lower_precision():
    class Recording(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)
            self.observation_space, self.action_space = (
                gym.spaces.Box(-9, 9, (1,)),
                gym.spaces.Box(-1, 1, (1,)),
            )
            self.point, self.dtypes = PointModel(), set()

        def rollout(self, start, actions, generator=None):
            joint = torch.cat([start.observations, actions[:, 0]], 1)
            self.dtypes.add(self.layer(joint).dtype)
            return self.point.rollout(start, actions)

    model = Recording()
    for precision in ("float32", "bfloat16"):
        model.dtypes.clear()
        config = CEMConfig(horizon=3, num_samples=20, num_elites=4, precision=precision)
        plan = CEM(model, DiscountedReturn(), config).plan(at(0.0), seeded())
        assert model.dtypes == {getattr(torch, precision)}
        assert plan.values.dtype == torch.float32


class Fine(Unrolled):
    """Rewards tell actions apart that bfloat16 does not: the best is 300.37 between 299 and 301."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (1,)), gym.spaces.Box(299, 301, (1,))

    def start(self, observations, hidden=()):
        return ModelState(observations)

    def step(self, state, actions, generator=None):
        rewards = 1000 - (actions[:, 0].float() - 300.37) ** 2
        return state, Prediction(state.observations, rewards, torch.zeros_like(rewards))


@pytest.mark.parametrize(("planner", "config"), CONTINUOUS)
def test_bfloat16_leaves_actions_and_returns_alone(planner, config):
    low = dataclasses.replace(config, precision="bfloat16", horizon=2)
    plans = [
        planner(Fine(), DiscountedReturn(), settings).plan(at(0.0, 0.0), seeded())
        for settings in (low, dataclasses.replace(low, precision="float32"))
    ]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert torch.equal(plans[0].values, plans[1].values)
    assert plans[0].actions.dtype == plans[0].values.dtype == torch.float32
    action, _ = PlanningAgent(Fine(), planner(Fine(), DiscountedReturn(), low)).predict(
        np.zeros(1, np.float32)
    )
    assert action == pytest.approx(300.37, abs=0.25)


def test_bfloat16_leaves_the_probabilities_of_discrete_actions_alone():
    config = CategoricalCEMConfig(horizon=3, num_samples=60, precision="bfloat16")
    model = CodeModel((2, 0, 3))
    plans = [
        CategoricalCEM(model, DiscountedReturn(), settings).plan(
            model.start(torch.zeros(1, 1)), seeded()
        )
        for settings in (config, dataclasses.replace(config, precision="float32"))
    ]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert torch.equal(plans[0].values, plans[1].values)


@pytest.mark.parametrize("unit", [1e-20, 1e-4, 1e4, 1e12])
def test_weights_of_mppi_do_not_depend_on_the_unit_of_rewards(unit):
    values = torch.tensor([[3.0, 1.0, 2.5, -4.0]])
    planner = MPPI(PointModel(), DiscountedReturn())
    torch.testing.assert_close(planner._weights(values * unit), planner._weights(values))
