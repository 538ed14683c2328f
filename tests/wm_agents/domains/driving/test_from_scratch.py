"""Learning to drive by gradients through a fitted model, in miniature."""

import numpy as np
import pytest
import torch

from wm_agents.domains.driving.analytic import AnalyticConfig, AnalyticPolicy, ImaginedDriving
from wm_agents.domains.driving.decisions import (
    NUM_FEATURES,
    Cars,
    DecisionModel,
    Decisions,
    Roads,
    car_actions,
    cars_of,
    features,
    fit_decisions,
    has_ended,
    place_of,
)
from wm_agents.domains.driving.from_scratch import (
    ExploringCars,
    Fleet,
    Foresight,
    FromScratchConfig,
    beside_expert,
    drive_circuits,
    learn_to_drive,
    training_circuits,
)
from wm_agents.domains.driving.network import Motion
from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.errors import ConfigError
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.env import DrivingVectorEnv
from wm_envs.driving.streets import street_track
from wm_envs.driving.track import figure_eight, oval

TINY = {
    "first_steps": 400,
    "round_steps": 300,
    "rounds": 2,
    "first_updates": 1,
    "round_updates": 1,
    "last_updates": 2,
    "num_circuits": 2,
    "num_cars": 4,
    "fit_updates": 4,
    "model_width": 16,
    "learning": AnalyticConfig(num_cars=6, horizon=3, width=16),
}


@pytest.fixture(scope="module")
def driven():
    """Decisions of expert driving on the figure eight, and the cars before and after them."""
    env = DrivingVectorEnv(32, track="figure_eight", **ENV_OPTIONS)
    observation, _ = env.reset(seed=0)
    roads = Roads([figure_eight()])
    circuits = torch.zeros(32, dtype=torch.long)
    parts = []
    for _ in range(60):
        before = cars_of(roads, circuits, observation.copy())
        actions = env.expert_actions().copy()
        for _ in range(4):
            observation = env.step(actions)[0]
        after = cars_of(roads, circuits, observation.copy())
        parts.append((before, torch.as_tensor(actions), after))
    return roads, parts


def test_the_place_on_the_map_is_that_of_the_observation(driven):
    roads, _ = driven
    env = DrivingVectorEnv(8, track="figure_eight", **ENV_OPTIONS)
    observation, _ = env.reset(seed=1)
    cars = cars_of(roads, torch.zeros(8, dtype=torch.long), observation)
    places = place_of(roads, cars)
    np.testing.assert_allclose(places.offset, observation[:, Column.OFFSET], atol=2e-3)
    np.testing.assert_allclose(places.heading, observation[:, Column.HEADING_ERROR], atol=1e-3)
    np.testing.assert_allclose(places.left, observation[:, Column.LEFT_WIDTH], atol=1e-3)
    assert features(roads, cars, places).shape == (8, NUM_FEATURES)


def test_recorded_changes_lead_to_the_recorded_place(driven):
    """What a model learns from is what its step applies: the place and the metres driven."""
    roads, parts = driven
    for before, actions, after in parts[5:50:15]:
        targets = Decisions.of(before, actions, after).targets
        moved, metres = DecisionModel.moved(roads, before, targets)
        length = roads.lengths[0]
        gap = torch.remainder(moved.distance - after.distance + length / 2, length) - length / 2
        assert gap.abs().max() < 0.05
        np.testing.assert_allclose(moved.motion, after.motion, atol=1e-4)
        assert (metres > 0).all()
        found, true = place_of(roads, moved), place_of(roads, after)
        np.testing.assert_allclose(found.offset, true.offset, atol=0.02)


def test_a_mirror_image_in_a_mirror_is_the_original(driven):
    _, parts = driven
    data = Decisions.of(*parts[20])
    twice = data.mirrored().mirrored()
    for name in ("motion", "actions", "targets"):
        np.testing.assert_allclose(getattr(twice, name), getattr(data, name))
    assert not torch.equal(data.mirrored().targets, data.targets)


def test_a_fit_explains_most_of_what_a_decision_does(driven):
    _, parts = driven
    data = Decisions.concatenate([Decisions.of(*part) for part in parts])
    model = DecisionModel(2, 64, torch.Generator().manual_seed(0))
    fit_decisions(model, data, 300, seed=0, batch_size=128)
    with torch.no_grad():
        predicted = model.predict(
            data.motion.expand(2, -1, -1), data.actions.expand(2, -1, -1)
        ).mean(0)
    share = (predicted - data.targets).square().mean(0) / data.targets.var(0)
    learned = [Motion.VX, *range(Motion.HEAT, Motion.HEAT + 4)]
    assert share[learned].max() < 0.4


class StraightCar(DecisionModel):
    """Throttle gains speed and brakes lose it; above 20 m/s the car drifts to the left."""

    def __init__(self, num_members=2, drift=0.0):
        super().__init__(num_members, 8, torch.Generator())
        self.drift = drift

    def predict(self, motion, actions):
        changes = torch.zeros(*motion.shape[:-1], 15)
        changes[..., 0] = 2.0 * actions[..., 1] - 4.0 * actions[..., 2]
        changes[..., 13] = torch.where(motion[..., 0] > 20.0, self.drift, 0.0)
        return changes


def test_gradients_through_the_model_teach_throttle():
    settings = {"num_cars": 16, "horizon": 6, "width": 32, "learning_rate": 5e-3}
    config = AnalyticConfig(**settings, end_ramp=0.0, retry_share=0.0)
    agent = AnalyticPolicy(StraightCar(), config, 0)
    roads = Roads([oval()])
    cars = Fleet(roads, [0], None).cars()
    row = features(roads, cars, place_of(roads, cars))
    run = ImaginedDriving(agent, roads, 25)
    before = float(agent.decide(row)[0, 1].detach())
    figures = [run.step(update) for update in range(25)]
    assert float(agent.decide(row)[0, 1].detach()) > before + 0.05
    assert all(np.isfinite(list(row.values())).all() for row in figures)


def test_a_car_off_the_road_or_sideways_has_ended():
    roads = Roads([oval()])
    env = DrivingVectorEnv(3, **ENV_OPTIONS)
    observation, _ = env.reset(seed=0)
    observation[1, Column.OFFSET] = 7.0  # the road is 6 m wide to each side
    observation[2, Column.VELOCITY_Y] = 40.0
    cars = cars_of(roads, torch.zeros(3, dtype=torch.long), observation)
    assert has_ended(cars, place_of(roads, cars)).tolist() == [False, True, True]


def test_everything_repeats_by_its_seed():
    drivers = [learn_to_drive(FromScratchConfig(**TINY)) for _ in range(2)]
    weights = [driver.agent.policy.state_dict() for driver in drivers]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert drivers[0].explorer.num_steps in range(700, 750)
    rows = drive_circuits(drivers[0].act, [oval(), street_track(0)], 1)
    assert all(0.0 <= row["driven"] <= 1.01 for row in rows)
    assert beside_expert(rows, [[20.0], [20.0]])["circuits"] == 2


def test_the_experts_laps_are_recorded_as_decisions():
    explorer = ExploringCars(2, 0)
    explorer.drive_expert(200, [oval()])
    assert explorer.num_steps == 200
    assert len(explorer.decisions) == 50
    assert explorer.num_ends == 0


def test_foresight_brakes_where_the_policy_would_leave_the_road():
    driver = learn_to_drive(FromScratchConfig(**TINY))
    driver.agent.model = StraightCar(3, drift=1.5)
    driver.agent.decide = lambda rows: torch.tensor([[0.0, 0.3]]).repeat(len(rows), 1)
    roads = Roads([oval()])
    decisions = []
    for speed in (20.0, 2.0):
        cars = Fleet(roads, [0], None).cars()
        motion = cars.motion.clone()
        motion[:, Motion.VX] = speed
        cars = Cars(cars.circuits, motion, cars.pose, cars.distance)
        foresight = Foresight(driver, horizon=8, held=8)
        decisions.append(float(foresight.act(roads, cars)[0, 1]))
    assert decisions[0] < 0.3 <= decisions[1]
    assert foresight.num_decisions == 1


def test_training_circuits_differ_by_seed_and_from_those_of_tests():
    first, second = (
        training_circuits(FromScratchConfig(**TINY | {"seed": seed})) for seed in (0, 1)
    )
    assert first[0].length != second[0].length
    assert car_actions(torch.tensor([[0.2, -0.5]])).tolist() == [[pytest.approx(0.2), 0.0, 0.5]]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"rounds": 0}, "rounds"),
        ({"first_steps": 100}, "first_steps=100"),
        ({"num_members": 5}, "num_members=5"),
        ({"expert_steps": -1}, "expert_steps"),
    ],
)
def test_settings_that_cannot_work_are_refused(mistake, message):
    with pytest.raises(ConfigError, match=message):
        FromScratchConfig(**mistake)
