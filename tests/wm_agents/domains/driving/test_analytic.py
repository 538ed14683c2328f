"""How an imagined drive ends: with a gradient before the edge, and again from before it."""

import torch

from wm_agents.domains.driving.analytic import AnalyticConfig, AnalyticPolicy, ImaginedDriving
from wm_agents.domains.driving.decisions import DecisionModel, Places, Roads, place_of
from wm_agents.domains.driving.from_scratch import Fleet
from wm_envs.driving.dynamics import HALF_WIDTH
from wm_envs.driving.track import oval


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
