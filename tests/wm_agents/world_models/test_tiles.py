"""Tiles are shares of the two nearest centers."""

import numpy as np

from wm_agents.world_models.tiles import NEAR, TileCoding, centers_within


def test_a_number_is_shared_by_its_two_neighbors():
    coding = TileCoding.of([np.array([-2.0, 0.0, 4.0]), np.array([0.0, 1.0])])
    shares = coding(np.array([[-9, 0], [-1, 1], [0, 2], [3, -1], [9, 0.5]]))
    expected = [
        [1, 0, 0, 1, 0],
        [0.5, 0.5, 0, 0, 1],
        [0, 1, 0, 0, 1],
        [0, 0.25, 0.75, 1, 0],
        [0, 0, 1, 0.5, 0.5],
    ]
    np.testing.assert_allclose(shares, expected)


def test_without_numbers_there_are_no_shares():
    assert TileCoding.of([])(np.zeros((3, 0))).shape == (3, 0)


def test_centers_lie_within_the_span():
    assert centers_within(NEAR, 14).tolist() == [-8, -4, -2, 0, 2, 4, 8]
    assert centers_within(NEAR, 1).tolist() == [-1, 0, 1]
