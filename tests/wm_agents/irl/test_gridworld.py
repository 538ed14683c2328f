import numpy as np
import pytest

from wm_agents.irl.gridworld import Gridworld, coverage


def test_walls_hold_and_slips_go_astray():
    world = Gridworld.make(3, 5, slip=0.2, seed=1)
    table = world.mdp.transitions.toarray().reshape(9, 5, 9)
    np.testing.assert_allclose(table.sum(2), 1)
    up, stay = table[0, 0], table[4, 4]
    # From the corner up and left are walls: two of the four neighbors are the corner itself.
    assert up[0] == pytest.approx(0.8 + 0.1)
    assert stay[4] == pytest.approx(0.8)
    assert world.rewards[-1] == 1.0


def test_walks_follow_their_seed():
    world = Gridworld.make(4, 6)
    ways = [world.walks(world.uniform(), 10, [0, stream]).states.tolist() for stream in (1, 1, 2)]
    assert ways[0] == ways[1] != ways[2]
    assert world.walks(world.expert(5.0), 10).lengths.tolist() == [6] * 10


def test_the_true_reward_is_worth_everything():
    world = Gridworld.make(4, 6)
    assert world.value_ratio(3 * world.rewards + 1) == pytest.approx(1)
    assert world.value_ratio(-world.rewards) < 0
    assert coverage(world.rewards - 1, world.rewards + 3, world.rewards + 5) == 1
