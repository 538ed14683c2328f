"""The table: values of a chain of three states by hand, and how far it hopes for the unknown."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from wm_agents.learners.base import VectorStep
from wm_agents.learners.table import Table, TableConfig
from wm_agents.policy_gradient.spaces import PolicySpaces

SPACES = PolicySpaces(spaces.Discrete(3), spaces.Discrete(2))
NO, YES = np.array([False]), np.array([True])


def table(**options):
    return Table(SPACES, 1, 1000, 1, TableConfig(**{"gamma": 0.5, **options}))


def tell(learner, state, action, reward, following, end="", is_start=False):
    """One step; `end` is "terminated", "truncated" or nothing."""
    rows = torch.eye(3)
    learner.observe(
        VectorStep(
            rows[state][None],
            torch.tensor([action]),
            np.array([reward], np.float32),
            np.array([end == "terminated"]),
            np.array([end == "truncated"]),
            rows[following][None],
            np.array([is_start]),
        ),
        YES,
    )


def values(learner):
    """Action values by state, in the order of the states."""
    actions = learner._exploited()
    numbers = learner._states(torch.eye(3), False)
    return {state: actions[number].tolist() for state, number in enumerate(numbers)}


def test_values_of_a_chain_by_hand():
    learner = table()
    tell(learner, 0, 1, 0.0, 1)
    tell(learner, 1, 0, 0.0, 0)
    tell(learner, 0, 0, 0.0, 0)
    tell(learner, 0, 1, 0.0, 1)
    tell(learner, 1, 1, 1.0, 2, "terminated")
    found = values(learner)
    assert found[0] == pytest.approx([0.25, 0.5])
    assert found[1] == pytest.approx([0.25, 1.0])
    actions, _ = learner.predict(torch.eye(3)[:2], None, NO)
    assert actions.tolist() == [1, 1]


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_the_best_action_is_taken_whatever_the_unit_of_rewards(unit):
    learner = table(is_optimistic=False)
    for state, action, reward in ((0, 0, 1.0), (0, 1, 2.0), (1, 0, 2.0), (1, 1, 1.0)):
        tell(learner, state, action, reward * unit, 2, "terminated")
    greedy = np.array([True])
    for state, best in ((0, 1), (1, 0)):
        row = torch.eye(3)[state][None]
        taken = [int(learner.act(row, NO, greedy, greedy)) for _ in range(8)]
        assert taken == [best] * 8
    assert learner.predict(torch.eye(3)[:2], None, NO)[0].tolist() == [1, 0]


def test_a_limit_is_no_end_of_values():
    learner = table()
    tell(learner, 1, 1, 1.0, 1)
    tell(learner, 0, 1, 0.0, 1, "truncated")
    tell(learner, 0, 0, 0.0, 1, "terminated")
    # 1 + 1/2 + 1/4 + ... from the second state on.
    assert values(learner)[0] == pytest.approx([0.0, 1.0], abs=1e-4)


def test_outcomes_that_are_drawn_count_by_their_shares():
    learner = table()
    for reward, following in ((1.0, 1), (0.0, 2), (1.0, 1), (0.0, 1)):
        tell(learner, 0, 0, reward, following, "truncated")
    tell(learner, 1, 0, 2.0, 1, "terminated")
    assert not learner.is_deterministic
    # Half of 1, and three of four times half of what is worth 2.
    assert values(learner)[0][0] == pytest.approx(0.5 + 0.75 * 0.5 * 2)


def test_what_was_never_tried_is_hoped_for_and_not_relied_on():
    learner = table()
    for _ in range(3):
        tell(learner, 0, 0, 1.0, 0, "terminated", is_start=True)
    start = torch.eye(3)[:1]
    assert learner.act(start, YES, YES, NO).tolist() == [1]
    assert learner.act(start, YES, YES, YES).tolist() == [0]
    assert learner.predict(start, None, NO)[0].tolist() == [0]
    tell(learner, 0, 1, 0.5, 0, "terminated", is_start=True)
    # Where outcomes repeat themselves a single visit settles it.
    assert learner.act(start, YES, YES, NO).tolist() == [0]


def test_hope_falls_with_visits_where_outcomes_are_drawn():
    learner = table()
    draws = np.random.default_rng(0)
    hopes = []
    for number in range(60):
        tell(learner, 0, number % 2, float(draws.integers(2)), 0, "terminated", is_start=True)
        if number in (9, 29, 59):
            hope = learner._q(learner._optimistic, True) - learner._q(learner._values, False)
            hopes.append(float(hope[0].max()))
    assert hopes[0] > hopes[1] > hopes[2] > 0


def test_an_observation_never_seen_has_an_action_too():
    learner = table()
    tell(learner, 0, 1, 1.0, 0, "terminated")
    actions, state = learner.predict(torch.eye(3), None, NO)
    assert actions.tolist() == [1, 0, 0]
    assert learner.predict(torch.eye(3)[[2]], state, NO)[0].tolist() == [0]


def test_minus_nought_is_nought():
    learner = table()
    learner._states(torch.tensor([[0.0, 0.0, 1.0], [-0.0, 0.0, 1.0]]), True)
    assert learner.num_states == 1


def test_an_episode_that_was_left_is_not_counted_with_the_next():
    learner = table()
    tell(learner, 0, 0, 5.0, 1, is_start=True)
    tell(learner, 0, 0, 1.0, 1, "terminated", is_start=True)
    assert learner._best_return == 1.0


def test_it_leaves_where_observations_do_not_recur():
    few = table(max_states=2)
    for state in range(3):
        tell(few, state, 0, 0.0, state)
    assert few.decision() == "more than 2 different observations"
    learner = Table(
        PolicySpaces(spaces.Box(-1, 1, (1,)), spaces.Discrete(2)),
        1,
        1000,
        1,
        TableConfig(trial_steps=50),
    )
    for number in range(60):
        obs = torch.tensor([[number / 60]])
        step = VectorStep(obs, torch.tensor([0]), np.zeros(1, np.float32), NO, NO, obs + 1 / 60, NO)
        learner.observe(step, YES)
    assert "led to an observation seen before" in learner.withdrawal
    assert not learner.can_act


def test_a_stored_table_goes_on_bitwise():
    learner, again = table(), table()
    draws = np.random.default_rng(0)
    told = [
        (int(a), int(b), float(c), int(d))
        for a, b, c, d in draws.integers([3, 2, 3, 3], size=(80, 4))
    ]
    for one in told[:40]:
        tell(learner, *one, is_start=True)
    again.load_state_dict(learner.state_dict())
    obs = torch.eye(3)
    everyone, greedy = np.ones(3, np.bool_), np.array([True, False, True])
    for one in told[40:]:
        for each in (learner, again):
            tell(each, *one, is_start=True)
        actions = [each.act(obs, everyone, everyone, greedy) for each in (learner, again)]
        assert torch.equal(*actions)
    for name in ("_values", "_optimistic"):
        np.testing.assert_array_equal(getattr(learner, name)[:3], getattr(again, name)[:3])
