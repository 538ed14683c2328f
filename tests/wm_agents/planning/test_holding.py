import gymnasium as gym
import numpy as np
import pytest
import torch

from wm_agents.errors import ConfigError
from wm_agents.planning.holding import HeldActionAgent, HeldRows


def act(agent: HeldActionAgent, num_steps: int) -> list[int]:
    actions, state = [], None
    for _ in range(num_steps):
        action, state = agent.predict(None, state)
        actions.append(int(action))
    return actions


def run_lengths(actions: list[int]) -> np.ndarray:
    changes = np.flatnonzero(np.diff(actions)) + 1
    return np.diff(np.concatenate([[0], changes, [len(actions)]]))


def agent(longest_hold: int, seed: int = 0) -> HeldActionAgent:
    space = gym.spaces.Discrete(1000)  # so many that neighbouring holds hardly ever agree
    space.seed(seed)
    return HeldActionAgent(space, longest_hold, seed)


def test_half_of_the_holds_last_one_step_and_a_third_of_them_three_or_more():
    lengths = run_lengths(act(agent(64), 40_000))
    assert abs((lengths == 1).mean() - 1 / 2) < 0.02
    assert abs((lengths >= 3).mean() - 1 / 3) < 0.02
    assert abs((lengths >= 10).mean() - 1 / 10) < 0.015
    assert lengths.max() == 64


def test_a_longest_hold_of_one_step_is_plain_sampling():
    space = gym.spaces.Discrete(1000)
    space.seed(0)
    assert act(agent(1), 50) == [int(space.sample()) for _ in range(50)]


def test_the_seed_settles_actions_and_durations():
    assert act(agent(64, 3), 200) == act(agent(64, 3), 200)
    assert act(agent(64, 3), 200) != act(agent(64, 4), 200)


def test_what_cannot_be_held_is_refused():
    with pytest.raises(ConfigError, match="longest_hold"):
        agent(0)


def test_rows_act_greedily_until_they_hold():
    rows, generator = HeldRows(2000, 3, 0.25, 64), torch.Generator().manual_seed(0)
    greedy = torch.full((2000,), 7)  # not among the random actions
    first = rows.replace(greedy, generator)
    assert abs((first != 7).float().mean() - 0.25) < 0.03
    second = rows.replace(greedy, generator)
    went_on = (first != 7) & (second != 7)
    # Half of the holds last longer than a step; a quarter of the others begin anew, a third of them alike.
    assert (second == first)[went_on].float().mean() > 0.8
    assert abs(went_on[first != 7].float().mean() - (1 / 2 + 1 / 2 * 0.25)) < 0.06


def test_rows_never_hold_where_random_actions_have_no_chance():
    rows, generator = HeldRows(50, 3, 0.0, 64), torch.Generator().manual_seed(0)
    greedy = torch.arange(50)
    assert all(torch.equal(rows.replace(greedy, generator), greedy) for _ in range(20))
