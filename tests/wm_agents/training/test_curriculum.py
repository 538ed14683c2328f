import json

import numpy as np
import pytest

from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.training.curriculum import Curriculum


def test_a_level_is_mastered_over_a_full_window_only():
    curriculum = Curriculum(["easy", "hard"], mastery=0.75, window=4)
    assert not curriculum.record([True, True, True]).any()
    assert curriculum.level() == "easy"
    assert curriculum.success_rates[0] == 1.0
    assert curriculum.record(False).tolist() == [True]
    assert curriculum.level() == "hard"
    assert np.isnan(curriculum.success_rates[0])


def test_the_window_slides_by_hand():
    curriculum = Curriculum([0, 1], mastery=1.0, window=3)
    advanced = [bool(curriculum.record(success)[0]) for success in [1, 1, 0, 1, 1, 1]]
    assert advanced == [False] * 5 + [True]


def test_the_rest_of_a_batch_was_played_on_the_old_level():
    curriculum = Curriculum([0, 1, 2], mastery=1.0, window=2)
    assert curriculum.record([True] * 10).tolist() == [True]
    assert curriculum.level_indices.tolist() == [1]
    assert np.isnan(curriculum.success_rates[0])


def test_the_last_level_stays_and_says_when_it_is_mastered():
    curriculum = Curriculum([0, 1], mastery=1.0, window=2)
    curriculum.record([True, True])
    assert not curriculum.is_mastered[0]
    assert not curriculum.record([True, True]).any()
    assert curriculum.is_mastered[0]
    curriculum.record([False])
    assert not curriculum.is_mastered[0]
    assert curriculum.level_indices.tolist() == [1]


def test_seeds_advance_on_their_own():
    curriculum = Curriculum(["a", "b"], mastery=0.5, window=2, num_seeds=3)
    advanced = curriculum.record([[True, True], [True, False], [False, False]])
    assert advanced.tolist() == [True, True, False]
    assert [curriculum.level(index) for index in range(3)] == ["b", "b", "a"]


def test_episodes_of_other_levels_and_unfinished_ones_do_not_count():
    curriculum = Curriculum([0, 1, 2], mastery=1.0, window=2, num_seeds=2)
    curriculum.record([[True, True], [True, True]], played_levels=[[0, 0], [0, -1]])
    assert curriculum.level_indices.tolist() == [1, 0]
    # Two stragglers of level 0 finish after seed 0 has advanced.
    assert not curriculum.record(
        [[True, True], [False, False]], played_levels=[[0, 0], [1, 2]]
    ).any()
    assert np.isnan(curriculum.success_rates[0])
    assert curriculum.success_rates[1] == 1.0
    assert curriculum.record(
        [[True, True], [True, True]], played_levels=[[1, 1], [0, -1]]
    ).tolist() == [True, True]


def test_mastery_is_counted_exactly():
    # 0.28 * 25 is 7.000000000000001 in floating point; 7 of 25 are 28% all the same.
    curriculum = Curriculum([0, 1], mastery=0.28, window=25)
    assert curriculum.record([True] * 7 + [False] * 18).any()


def test_many_seeds_equal_single_ones():
    outcomes = np.random.default_rng(0).random((4, 200)) < 0.7
    together = Curriculum(range(20), mastery=0.7, window=10, num_seeds=4)
    for start in range(0, 200, 8):
        together.record(outcomes[:, start : start + 8])
    for index in range(4):
        alone = Curriculum(range(20), mastery=0.7, window=10)
        for start in range(0, 200, 8):
            alone.record(outcomes[index, start : start + 8])
        assert alone.level_indices[0] == together.level_indices[index] > 0


def test_a_state_continues_through_json():
    outcomes = np.random.default_rng(1).random((2, 300)) < 0.8
    whole, first = (Curriculum(range(30), window=10, num_seeds=2) for _ in range(2))
    whole.record(outcomes[:, :143])
    first.record(outcomes[:, :143])
    second = Curriculum(range(30), window=10, num_seeds=2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for column in range(143, 300):
        whole.record(outcomes[:, column : column + 1])
        second.record(outcomes[:, column : column + 1])
    assert second.state_dict() == whole.state_dict()
    assert second.level_indices.min() > 1


@pytest.mark.parametrize(
    "change",
    [
        {"window": 11},
        {"mastery": 0.5},
        {"level_indices": [0, 30]},
        {"level_indices": [0]},
        {"num_recorded": [0, -1]},
        {"num_recorded": ["x", 0]},
        {"outcomes": [[0]]},
        {"outcomes": None},
    ],
)
def test_a_state_that_does_not_fit_is_refused(change):
    curriculum = Curriculum(range(30), window=10, num_seeds=2)
    curriculum.record([[True] * 3] * 2)
    before = curriculum.state_dict()
    with pytest.raises(CheckpointError, match="curriculum"):
        curriculum.load_state_dict(before | change)
    assert curriculum.state_dict() == before


@pytest.mark.parametrize(
    "change", [{"levels": []}, {"window": 0}, {"mastery": 0}, {"mastery": 1.1}, {"num_seeds": 0}]
)
def test_bad_settings_are_named(change):
    with pytest.raises(ConfigError, match="Curriculum of"):
        Curriculum(**({"levels": [1]} | change))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[True]],), "num_seeds=2"),
        ((True,), "num_seeds=2"),
        (([[0.5], [1]],), "True or False"),
        (([[True], [True]], [[0, 0], [0, 0]]), "equal shapes"),
    ],
)
def test_bad_records_change_nothing(arguments, message):
    curriculum = Curriculum([0, 1], num_seeds=2)
    before = curriculum.state_dict()
    with pytest.raises(ConfigError, match=message):
        curriculum.record(*arguments)
    assert curriculum.state_dict() == before
