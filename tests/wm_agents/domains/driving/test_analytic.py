"""What an imagined decision earns, where imagined cars start, and that a run resumes bitwise."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch

from wm_agents.domains.driving.analytic import (
    REWARD_PER_METRE,
    AnalyticConfig,
    AnalyticPolicy,
    ImaginedDriving,
)
from wm_agents.domains.driving.decisions import (
    NUM_FEATURES,
    DecisionModel,
    Places,
    Roads,
    cars_at,
    place_of,
)
from wm_agents.domains.driving.from_scratch import Fleet
from wm_agents.domains.driving.network import NUM_MOTIONS, Motion
from wm_agents.errors import ConfigError
from wm_envs.driving.dynamics import HALF_WIDTH
from wm_envs.driving.track import figure_eight, oval

CONFIG = AnalyticConfig(num_cars=8, horizon=3, width=16)


@pytest.fixture
def agent() -> AnalyticPolicy:
    return AnalyticPolicy(DecisionModel(2, 8, torch.Generator().manual_seed(0)), CONFIG, 0)


def earned(agent: AnalyticPolicy, offset: float = 0.0, sideways: float = 0.0) -> float:
    """The reward of 2 m on the oval's straight, at 20 m/s, with steady hands."""
    roads = Roads([oval()])
    motion = torch.zeros(1, NUM_MOTIONS)
    motion[:, Motion.VX], motion[:, Motion.VY] = 20.0, sideways
    place = torch.tensor([5.0]), torch.tensor([offset]), torch.zeros(1)
    cars = cars_at(roads, torch.tensor([0]), motion, *place)
    reward, _ = agent.reward(torch.tensor([2.0]), cars, place_of(roads, cars), torch.zeros(1, 2))
    return float(reward)


def test_metres_earn_and_sliding_costs(agent):
    plain = earned(agent)
    assert plain == pytest.approx(2.0 * REWARD_PER_METRE)
    slide = math.tan(0.2)
    cost = CONFIG.slip_cost * slide**2
    assert earned(agent, sideways=20.0 * slide) == pytest.approx(plain - cost, rel=1e-4)


def test_leaving_the_road_costs_what_an_end_costs(agent):
    # The oval's road has 6 m to each side: the middle of a car may be as far as its half width
    # beyond it, and the edge costs at most 2 m squared.
    assert earned(agent, offset=12.0) == pytest.approx(
        2.0 * REWARD_PER_METRE - 4.0 * CONFIG.edge_cost - CONFIG.end_cost, rel=1e-4
    )


def test_restless_hands_cost(agent):
    roads = Roads([oval()])
    zero = torch.zeros(1)
    motion = torch.zeros(1, NUM_MOTIONS)
    cars = cars_at(roads, torch.tensor([0]), motion, torch.tensor([5.0]), zero, zero)
    places = place_of(roads, cars)
    still, moved = (
        agent.reward(zero, cars, places, change)[0]
        for change in (torch.zeros(1, 2), torch.tensor([[0.5, -1.0]]))
    )
    assert float(still - moved) == pytest.approx(CONFIG.smooth_cost * 1.25, rel=1e-4)


def test_decisions_lie_between_minus_one_and_one_and_begin_with_some_throttle(agent):
    rows = 100 * torch.randn(50, NUM_FEATURES, generator=torch.Generator().manual_seed(1))
    decisions = agent.decide(rows)
    assert decisions.abs().max() <= 1
    still = agent.decide(torch.zeros(1, NUM_FEATURES))[0]
    assert still[1] > 0.1 > abs(still[0])


def test_cars_start_on_their_roads_no_faster_than_the_bends_allow(agent):
    roads = Roads([oval(), figure_eight()])
    run = ImaginedDriving(agent, roads, 10)
    cars = run.cars
    places = place_of(roads, cars)
    assert (places.beyond <= -HALF_WIDTH + 1e-3).all()
    speed = cars.motion[:, Motion.VX]
    assert (speed >= 8).all()
    assert (speed <= 60).all()
    bend = roads.at(cars.circuits, cars.distance)[:, Roads.CURVATURE].abs()
    assert (speed**2 * bend <= 15.0 + 64 * bend).all()


def test_a_stored_run_goes_on_bitwise():
    roads = Roads([oval()])

    def run(seed: int) -> ImaginedDriving:
        model = DecisionModel(2, 8, torch.Generator().manual_seed(0))
        return ImaginedDriving(AnalyticPolicy(model, CONFIG, seed), roads, 4)

    whole = run(0)
    for update in range(2):
        whole.step(update)
    resumed = run(1)
    # As a file would hold it: later updates must not change what was stored.
    resumed.load_state_dict(deepcopy(whole.state_dict()))
    figures = [one.step(2) for one in (whole, resumed)]
    assert figures[0] == figures[1]
    for name, weights in whole.agent.policy.state_dict().items():
        assert torch.equal(weights, resumed.agent.policy.state_dict()[name])
    np.testing.assert_array_equal(whole.cars.pose, resumed.cars.pose)


@pytest.mark.parametrize("wrong", [{"num_cars": 0}, {"horizon": 0}, {"noise": -0.1}])
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AnalyticConfig(**wrong)


def agent_of(**settings):
    model = DecisionModel(2, 8, torch.Generator().manual_seed(0))
    return AnalyticPolicy(model, AnalyticConfig(num_cars=4, horizon=2, width=8, **settings), 0)


def reward_at(agent, offset):
    """Reward and survival of a car at an offset on a road of 5 m to each side."""
    roads = Roads([oval()])
    cars = Fleet(roads, [0], None).cars()
    five = torch.full((1,), 5.0)
    places = Places(offset, torch.zeros(1), five, five)
    return agent.reward(torch.ones(1), cars, places, torch.zeros(1, 2))


def test_a_ramp_before_the_end_has_a_gradient_and_none_has_none():
    for ramp in (0.0, 0.8):
        offset = torch.tensor([5.0 + HALF_WIDTH - 0.2], requires_grad=True)
        _, goes_on = reward_at(agent_of(end_ramp=ramp), offset)
        if ramp == 0.0:
            assert goes_on.tolist() == [1.0]
        else:
            torch.testing.assert_close(goes_on, torch.tensor([1.0 - 0.75**2]))
            goes_on.sum().backward()
            assert offset.grad < 0.0
    _, goes_on = reward_at(agent_of(end_ramp=0.8), torch.tensor([5.0 + HALF_WIDTH + 0.1]))
    assert goes_on.tolist() == [0.0]
    _, goes_on = reward_at(agent_of(end_ramp=0.8), torch.tensor([4.0]))
    assert goes_on.tolist() == [1.0]


def test_cars_that_ended_try_again_from_a_window_earlier():
    agent = agent_of(retry_share=1.0)
    run = ImaginedDriving(agent, Roads([oval()]), 2)
    run.ages[:] = 0
    earlier, before = run.earlier.distance.clone(), run.cars
    has_ended = torch.tensor([True, False, True, False])
    gone_on = run.cars.distance + 1.0
    run.cars = type(before)(before.circuits, before.motion, before.pose, gone_on)
    run._start_anew(has_ended, before)
    assert torch.equal(run.cars.distance[has_ended], earlier[has_ended])
    assert torch.equal(run.cars.distance[~has_ended], gone_on[~has_ended])
    assert torch.equal(run.earlier.distance, before.distance)
    assert (place_of(run.roads, run.cars).beyond < HALF_WIDTH).all()
