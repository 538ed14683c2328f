import numpy as np
import pytest

from wm_agents.world_models.structure import UNKNOWN, find_goal, find_rule, learn_rules


def draw(num_rows, num_values, seed=0):
    return np.random.default_rng(seed).integers(
        np.array(num_values), size=(num_rows, len(num_values))
    )


def test_each_kind_of_rule_is_found():
    sizes = np.array([5, 5, 3])
    before = draw(60, sizes)
    assert find_rule(before, before[:, 0], 0, sizes)[0] == 0
    source, table = find_rule(before, before[:, 1], 0, sizes)
    assert (source, table.tolist()) == (1, [0, 1, 2, 3, 4])
    source, table = find_rule(before, (before[:, 0] + 2) % 5, 0, sizes)
    assert (source, table.tolist()) == (0, [2, 3, 4, 0, 1])
    source, table = find_rule(before, np.full(60, 3), 0, sizes)
    assert (source, table.tolist()) == (0, [3] * 5)
    source, table = find_rule(before, np.array([4, 4, 0])[before[:, 2]], 0, sizes)
    assert (source, table.tolist()) == (2, [4, 4, 0])


def test_noise_has_no_rule_and_one_contradiction_refutes():
    sizes = np.array([5, 5, 3])
    before, noise = draw(60, sizes), draw(60, [5], seed=1)[:, 0]
    assert find_rule(before, noise, 0, sizes) is None
    target = before[:, 1].copy()
    target[17] = (target[17] + 1) % 5
    assert find_rule(before, target, 0, sizes) is None


def test_too_few_steps_prove_nothing():
    sizes = np.array([2] * 8)
    before = draw(60, sizes)
    assert find_rule(before[:10], 1 - before[:10, 0], 0, sizes) is None
    source, table = find_rule(before, 1 - before[:, 0], 0, sizes)
    assert (source, table.tolist()) == (0, [1, 0])


def test_unseen_entries_of_a_table_are_unknown():
    sizes = np.array([4, 6])
    before = draw(60, sizes)
    before = before[before[:, 1] != 2]
    source, table = find_rule(before, np.array([0, 2, 0, 1, 3, 0])[before[:, 1]], 0, sizes)
    assert (source, table.tolist()) == (1, [0, 2, UNKNOWN, 1, 3, 0])


def test_rules_may_differ_between_actions():
    sizes = np.array([5, 5])
    before = draw(80, sizes)
    actions = np.arange(80) % 2
    after = before.copy()
    after[actions == 1] = before[actions == 1][:, ::-1]
    rules = learn_rules(before, after, actions, 2, sizes)
    assert rules.sources.tolist() == [[0, 1], [1, 0]]
    assert rules.unresolved == []
    assert rules.copied.tolist() == [False, False]


@pytest.mark.parametrize("num_paid", [0, 1, 5])
def test_the_goal_is_found_by_its_layout(num_paid):
    after = draw(50, [4, 4, 4, 4, 4])
    after = after[(after[:, :2] != after[:, 3:]).any(1)]
    after[:num_paid, :2] = after[:num_paid, 3:]
    is_paid = np.arange(len(after)) < num_paid
    copied = np.array([False, False, True, True, True])
    assert find_goal(after, after, is_paid, copied) == [3, 4] if num_paid else [2, 3]


def test_a_paid_step_elsewhere_refutes_the_goal():
    after = draw(50, [4, 4, 4, 4])
    copied = np.array([False, False, True, True])
    is_met = (after[:, :2] == after[:, 2:]).all(1)
    assert find_goal(after, after, is_met, copied) == [2, 3]
    is_met[0] = ~is_met[0]
    assert find_goal(after, after, is_met, copied) is None
