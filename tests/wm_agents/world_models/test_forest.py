"""Trees that can be worked out by hand: their splits, their votes and what they keep of a leaf."""

from dataclasses import replace

import numpy as np

from wm_agents.world_models.forest import LEAF, MAX_KEPT, Forest


def grown(table, outcomes, num_categories=2, min_leaf=1, num_trees=1):
    return Forest.grown(
        np.asarray(table), np.asarray(outcomes), num_categories, num_trees=num_trees,
        min_leaf=min_leaf, column_share=1.0, seed=0,
    )  # fmt: skip


def test_one_split_lies_in_the_middle_of_the_gap():
    forest = grown([[0], [1], [7], [9]], [0, 0, 1, 1])
    assert forest.columns.tolist() == [0, LEAF, LEAF]
    assert forest.thresholds[0] == 4
    # A threshold belongs to the lower side.
    np.testing.assert_array_equal(forest.votes(np.array([[4], [5]])), [[1, 0], [0, 1]])


def test_a_leaf_votes_with_its_shares():
    table = np.zeros((8, 1), np.int64)
    forest = grown(table, [0, 0, 0, 1, 1, 2, 2, 2], 3)
    np.testing.assert_allclose(forest.votes(table[:1]), [[3 / 8, 2 / 8, 3 / 8]])
    # Drawing takes one of the recorded outcomes, in their order.
    uniforms = np.stack([np.zeros(8), (np.arange(8) + 0.5) / 8], 1)
    assert forest.draw(table, uniforms).tolist() == [0, 0, 0, 1, 1, 2, 2, 2]


def test_the_smallest_leaf_forbids_a_split():
    table, outcomes = [[0], [1], [2], [3]], [0, 1, 1, 1]
    assert (grown(table, outcomes).votes(np.array([[0]])) == [1, 0]).all()
    even = grown(table, outcomes, min_leaf=2)
    np.testing.assert_allclose(even.votes(np.array([[0], [3]])), [[0.5, 0.5], [0, 1]])


def test_a_large_leaf_keeps_its_shares_in_few_outcomes():
    outcomes = np.repeat([0, 1], [750, 250])
    forest = grown(np.zeros((1000, 1), np.int64), outcomes)
    assert forest.sizes.tolist() == [MAX_KEPT]
    np.testing.assert_allclose(forest.votes(np.zeros((1, 1))), [[0.75, 0.25]])


def test_gains_are_of_the_columns_that_decide():
    table = np.array([[row % 3, row // 10] for row in range(100)])
    forest = grown(table, table[:, 1] >= 5)
    # Before: 100 rows with 50 of each, 50 rows' worth of purity; after: all 100.
    np.testing.assert_allclose(forest.gains, [0, 50])


def test_numbers_that_lead_out_of_the_arrays_are_not_sound():
    forest = grown([[0], [1], [7], [9]], [0, 0, 1, 1])
    assert forest.is_sound(1)
    for broken in (
        replace(forest, children=forest.children + 5),
        replace(forest, columns=forest.columns + 1),
        replace(forest, roots=forest.roots + 3),
        replace(forest, outcomes=forest.outcomes + 2),
        # A child that is its own parent would go round for ever.
        replace(forest, children=np.where(forest.columns == LEAF, forest.children, 0)),
    ):
        assert not broken.is_sound(1)
