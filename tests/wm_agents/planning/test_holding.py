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


def shares_of_random_steps(longest_holds: torch.Tensor, exploration: float) -> torch.Tensor:
    rows, generator = HeldRows(longest_holds, 3, exploration), torch.Generator().manual_seed(0)
    greedy = torch.full((len(longest_holds),), 7)  # not among the random actions
    return torch.stack([rows.replace(greedy, generator) != 7 for _ in range(400)]).float().mean(0)


def test_rows_explore_about_alike_however_long_they_hold():
    shares = shares_of_random_steps(torch.tensor([1, 64]).repeat(200), 0.2).view(200, 2).mean(0)
    assert abs(shares[0] - 0.2) < 0.01
    # On average 1/p - 1 greedy steps lie between holds of H steps, with p = 0.2 / H and H = 4.74.
    assert abs(shares[1] - 4.74 / (4.74 + 4.74 / 0.2 - 1)) < 0.02


def test_a_row_holds_one_action_and_a_dithering_row_draws_anew():
    rows, generator = (
        HeldRows(torch.tensor([1, 64]).repeat(500), 1000, 1.0),
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
