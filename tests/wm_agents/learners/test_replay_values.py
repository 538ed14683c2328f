"""Values from replay: what n steps led to, by hand, at ends, restarts and the ring's seam."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from wm_agents.learners.base import VectorStep
from wm_agents.learners.replay_values import ReplayValues, ReplayValuesConfig
from wm_agents.policy_gradient.spaces import PolicySpaces

SPACES = PolicySpaces(spaces.Box(-99, 99, (1,)), spaces.Discrete(2))
CONFIG = ReplayValuesConfig(gamma=0.5, max_updates=0, batch_size=400, width=8)


def fed(num_steps, ends, ring, starts=()):
    """One row whose step t has observation t and reward t; `ends` by step, True where terminated."""
    learner = ReplayValues(SPACES, 1, ring - 2, 1, CONFIG)
    is_start = True
    for number in range(num_steps):
        is_end, is_cut = number in ends, number + 1 in starts
        is_terminated = ends.get(number, False)
        learner.observe(
            VectorStep(
                torch.tensor([[float(number)]]),
                torch.tensor([number % 2]),
                np.array([number], np.float32),
                np.array([is_terminated]),
                np.array([is_end and not is_terminated]),
                # Another one than the next episode begins with.
                torch.tensor([[number + (0.5 if is_end or is_cut else 1.0)]]),
                np.array([is_start or number in starts]),
            ),
            np.array([True]),
        )
        is_start = is_end
    return learner


def followed(learner):
    """By step: n-step return, what it led to and the discount there, as far as batches show."""
    rows = {}
    obs, actions, rewards, next_obs, terminated, returns, last, discount = learner._batch()
    for number in range(len(obs)):
        step = int(obs[number])
        assert int(actions[number]) == step % 2
        assert float(rewards[number]) == step
        found = (float(returns[number]), float(last[number]), float(discount[number]))
        assert rows.setdefault(step, found) == found
        if found[2] == 0 and found[0] == step:
            assert terminated[number]
            assert float(next_obs[number]) == found[1]
    return rows


# With discount 1/2 and three steps; step 5 terminates and step 8 is cut by a limit.
TABLE = {
    3: (6.25, 5.5, 0.0),  # 3 + 4 / 2 + 5 / 4
    4: (6.5, 5.5, 0.0),
    5: (5.0, 5.5, 0.0),
    6: (11.5, 8.5, 0.125),
    7: (11.0, 8.5, 0.25),
    8: (8.0, 8.5, 0.5),
    9: (14.0, 11.0, 0.25),  # only one more step is known
    10: (10.0, 11.0, 0.5),
}


@pytest.mark.parametrize("ring", [8, 64])
def test_what_three_steps_led_to(ring):
    """Both where the ring has overwritten its first three steps and where it has not."""
    found = followed(fed(11, {5: True, 8: False}, ring))
    assert {step: found[step] for step in TABLE} == TABLE
    assert min(found) == (3 if ring == 8 else 0)


def test_nothing_is_summed_across_a_restart_without_an_end():
    found = followed(fed(4, {}, 64, starts=(2,)))
    assert found[0] == (0.5, 1.5, 0.25)
    assert found[1] == (1.0, 1.5, 0.5)
    assert found[2] == (3.5, 4.0, 0.25)


def test_a_ring_that_was_stored_half_full_goes_on_growing():
    learner = fed(70, {}, 100)
    again = ReplayValues(SPACES, 1, 98, 1, CONFIG)
    again.load_state_dict(learner.state_dict())
    for one in (learner, again):
        step = VectorStep(
            torch.tensor([[70.0]]),
            torch.tensor([0]),
            np.array([70], np.float32),
            np.array([False]),
            np.array([False]),
            torch.tensor([[71.0]]),
            np.array([False]),
        )
        one.observe(step, np.array([True]))
    assert (again.replay.size, again.replay.cursor) == (71, 71)
    for first, second in zip(learner._batch(), again._batch(), strict=True):
        assert torch.equal(first, second)


def test_rewards_in_any_unit_give_the_same_sizes():
    learner = fed(11, {}, 64)
    assert learner.replay.reward_size == pytest.approx(5.0)


def test_what_is_learned_does_not_depend_on_the_unit_of_rewards():
    learned = []
    for unit in (1.0, 2.0**-60, 2.0**40):
        config = replace(CONFIG, first_steps=10, batch_size=16, max_updates=60_000)
        learner = ReplayValues(SPACES, 1, 60, 1, config)
        for number in range(40):
            rows = torch.tensor([[float(number % 7)], [float((number + 1) % 7)]])
            reward = np.array([unit * (number % 3 == 1)], np.float32)
            action, no = torch.tensor([number % 2]), np.array([False])
            start = np.array([number == 0])
            learner.observe(
                VectorStep(rows[:1], action, reward, no, no, rows[1:], start), np.array([True])
            )
        assert learner.num_updates > 20
        learned.append(torch.cat([weight.flatten() for weight in learner.networks.parameters()]))
    assert torch.equal(learned[0], learned[1])
    assert torch.equal(learned[0], learned[2])
