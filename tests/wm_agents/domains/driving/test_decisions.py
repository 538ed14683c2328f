"""The map is read between its points, and places on it are found again."""

import math

import numpy as np
import pytest
import torch

from wm_agents.domains.driving.decisions import (
    DECISION_TIME,
    DecisionModel,
    Decisions,
    Roads,
    car_actions,
    cars_at,
    place_of,
)
from wm_agents.domains.driving.network import NUM_MOTIONS, Motion
from wm_envs.driving.track import figure_eight, oval


@pytest.fixture(scope="module")
def roads() -> Roads:
    return Roads([oval(), figure_eight()])


def test_the_map_is_exact_at_its_points_and_linear_between_them(roads):
    track = figure_eight()
    points = torch.tensor([3, 4]) * track.spacing
    between = (3 + 0.25) * torch.tensor([track.spacing])
    rows = roads.at(torch.tensor([1]), torch.cat([points, between])[None].float())[0]
    np.testing.assert_allclose(rows[0, Roads.X], track.x[3], atol=1e-3)
    np.testing.assert_allclose(rows[1, Roads.CURVATURE], track.curvature[4], atol=1e-5)
    np.testing.assert_allclose(rows[2, Roads.Y], 0.75 * track.y[3] + 0.25 * track.y[4], atol=1e-3)


@pytest.mark.parametrize(("circuit", "turns"), [(0, 1), (1, 0)])
def test_what_lies_ahead_of_the_line_goes_on_after_it(roads, circuit, turns):
    circuits = torch.tensor([circuit])
    length = roads.lengths[circuit]
    first = roads.at(circuits, torch.tensor([[20.0]]))[0, 0]
    later = roads.at(circuits, length + torch.tensor([[20.0]]))[0, 0]
    same = [Roads.X, Roads.Y, Roads.CURVATURE, Roads.RIGHT, Roads.LEFT]
    np.testing.assert_allclose(first[same], later[same], atol=2e-2)
    # The heading is unwrapped: an oval is one whole turn, the figure eight is none.
    turned = abs(float(later[Roads.HEADING] - first[Roads.HEADING])) / math.tau
    assert turned == pytest.approx(turns, abs=1e-3)


def test_a_place_on_the_road_is_found_again(roads):
    circuits = torch.tensor([0, 1, 1])
    distance = torch.tensor([10.0, 100.0, 300.0])
    offset, heading = torch.tensor([0.0, 2.5, -1.0]), torch.tensor([0.1, -0.2, 0.0])
    cars = cars_at(roads, circuits, torch.zeros(3, NUM_MOTIONS), distance, offset, heading)
    places = place_of(roads, cars)
    np.testing.assert_allclose(places.offset, offset, atol=1e-3)
    np.testing.assert_allclose(places.heading, heading, atol=1e-4)
    edge = torch.maximum(offset - places.left, -offset - places.right)
    np.testing.assert_allclose(places.beyond, edge, atol=1e-3)


def test_a_car_without_changes_goes_straight_on(roads):
    motion = torch.zeros(1, NUM_MOTIONS)
    motion[:, Motion.VX], motion[:, Motion.HEAT :] = 25.0, 90.0
    zero = torch.zeros(1)
    cars = cars_at(roads, torch.tensor([0]), motion, torch.tensor([5.0]), zero, zero)
    after, driven = DecisionModel.moved(roads, cars, torch.zeros(1, NUM_MOTIONS + 3))
    moved = after.pose[0, :2] - cars.pose[0, :2]
    assert float(moved.norm()) == pytest.approx(25.0 * DECISION_TIME, rel=1e-4)
    assert float(driven) == pytest.approx(25.0 * DECISION_TIME, rel=0.01)
    # What a model would learn from this step is that nothing changed.
    targets = Decisions.of(cars, torch.zeros(1, 3), after).targets
    np.testing.assert_allclose(targets, 0, atol=1e-4)


def test_one_number_moves_both_pedals():
    actions = car_actions(torch.tensor([[0.5, 0.25], [-1.0, -0.75], [0.0, 0.0]]))
    assert actions.tolist() == [[0.5, 0.25, 0.0], [-1.0, 0.0, 0.75], [0.0, 0.0, 0.0]]
