import itertools
import subprocess
import sys
from collections import deque

import numpy as np
import pytest

from wm_envs.symbolic import structure


def test_instances_are_fixed_and_different():
    for draw in (
        lambda i: structure.hidden_sequence(8, 8, i, has_repeats=False),
        structure.base_actions,
        lambda i: structure.position_permutations(6, i),
        lambda i: structure.toggle_masks(3, i),
        lambda i: structure.transition_table(64, i),
    ):
        np.testing.assert_array_equal(draw(3), draw(3))
        assert not np.array_equal(draw(3), draw(4))


def test_instances_are_the_same_in_every_process():
    code = (
        "from wm_envs.symbolic import structure as s; print(s.transition_table(64, 0)[:2].tolist())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert outputs == {f"{structure.transition_table(64, 0)[:2].tolist()}\n"}


@pytest.mark.parametrize("instance", range(10))
def test_a_sequence_has_no_repeats_unless_asked(instance):
    sequence = structure.hidden_sequence(8, 8, instance, has_repeats=False)
    assert sorted(sequence.tolist()) == list(range(8))


def best_success(sequence):
    """The best answer to an element is its most frequent successor."""
    successors = {}
    for element, following in zip(sequence, [*sequence[1:], sequence[0]], strict=True):
        successors.setdefault(element, []).append(following)
    return sum(max(map(options.count, options)) for options in successors.values()) / len(sequence)


def test_repeats_cap_what_a_reactive_agent_can_reach():
    exact = np.mean([best_success(sequence) for sequence in itertools.product(range(8), repeat=4)])
    drawn = [
        structure.hidden_sequence(4, 8, instance, has_repeats=True).tolist()
        for instance in range(2000)
    ]
    assert np.mean([best_success(sequence) for sequence in drawn]) == pytest.approx(exact, abs=0.02)
    assert best_success([3, 1, 3, 2]) == 0.75


@pytest.mark.parametrize("instance", range(5))
def test_base_actions_differ_and_a_special_shape_follows(instance):
    *base, special = structure.base_actions(instance).tolist()
    assert len(set(base)) == 5
    assert max(base) < 8
    assert 0 <= special < 5


def test_permutations_that_do_not_generate_every_arrangement_are_recognised():
    swaps = np.array([[1, 0, 2, 3], [0, 1, 3, 2], [1, 0, 3, 2]])
    assert structure.num_arrangements_within(swaps, 20) == 4
    rotation = np.array([[1, 2, 3, 0]])
    assert structure.num_arrangements_within(rotation, 2) == 3
    both = np.array([[1, 2, 3, 0], [1, 0, 2, 3]])
    assert structure.num_arrangements_within(both, 20) == 24


@pytest.mark.parametrize(("num_tokens", "num_arrangements"), [(6, 720), (7, 5040)])
@pytest.mark.parametrize("instance", range(3))
def test_every_arrangement_is_within_the_horizon(num_tokens, num_arrangements, instance):
    permutations = structure.position_permutations(num_tokens, instance)
    assert (
        structure.num_arrangements_within(permutations, structure.PLANNING_HORIZON)
        == num_arrangements
    )


def test_a_cross_covers_a_cell_and_its_neighbours():
    assert structure.cross_mask(4, 3) == 0b010111010
    assert structure.cross_mask(0, 3) == 0b000001011
    assert structure.cross_mask(5, 3) == 0b100110100
    assert structure.cross_mask(15, 4) == 1 << 15 | 1 << 14 | 1 << 11


@pytest.mark.parametrize(("width", "num_reachable"), [(3, 512), (4, 4096)])
def test_how_many_boards_can_be_reached(width, num_reachable):
    """3 x 3 is uniquely solvable; 4 x 4 has four quiet patterns (Anderson & Feil 1998)."""
    masks = structure.toggle_masks(width, 0)
    boards = {0}
    for mask in masks.tolist():
        boards |= {board ^ mask for board in boards}
    assert len(boards) == num_reachable


@pytest.mark.parametrize("num_tokens", [64, 256])
def test_every_token_reaches_every_other_within_the_horizon(num_tokens):
    table = structure.transition_table(num_tokens, 1)
    for start in range(num_tokens):
        distance, frontier = {start: 0}, deque([start])
        while frontier:
            token = frontier.popleft()
            for following in table[token].tolist():
                if following not in distance:
                    distance[following] = distance[token] + 1
                    frontier.append(following)
        assert len(distance) == num_tokens
        assert max(distance.values()) <= structure.PLANNING_HORIZON


def test_a_table_that_is_not_connected_is_recognised():
    ring = np.array([[(token + 1) % 5] for token in range(5)])
    assert structure.is_connected_within(ring, 4)
    assert not structure.is_connected_within(ring, 3)
    assert not structure.is_connected_within(np.array([[0], [0]]), 9)


@pytest.mark.parametrize("digits", list(itertools.permutations(range(3))))
def test_lists_are_packed_and_unpacked(digits):
    assert structure.unpack(structure.pack(digits), 3) == list(digits)
    assert structure.pack([1, 2]) == 0x21
