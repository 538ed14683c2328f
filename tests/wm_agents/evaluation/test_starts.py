"""Where predictions begin.

Every horizon gets a fair sample, and stretches that an end cuts short are there.
"""

import numpy as np

from tests.support.analytic import walk
from wm_agents.evaluation.starts import sample_stretches


def test_every_step_that_has_room_is_a_start_when_all_are_asked_for() -> None:
    data = walk([3, 5, 1])
    stretches = sample_stretches(data, 4, 1000, seed=0)
    assert stretches.is_scored.sum(axis=0).tolist() == [3 + 5 + 1, 2 + 4, 1 + 3, 2]
    assert len(stretches.episodes) == 9
    for row in range(9):
        episode = data.episode(int(stretches.episodes[row]))
        start, ahead = stretches.positions[row], stretches.num_steps[row]
        assert ahead == min(4, len(episode.rewards) - start)
        recorded = slice(start, start + ahead)
        np.testing.assert_array_equal(
            stretches.observations[row, : ahead + 1],
            episode.observations[start : start + ahead + 1],
        )
        np.testing.assert_array_equal(
            stretches.observations[row, ahead:],
            stretches.observations[row, [ahead]].repeat(5 - ahead, 0),
        )
        np.testing.assert_array_equal(stretches.rewards[row, :ahead], episode.rewards[recorded])
        np.testing.assert_array_equal(stretches.actions[row, :ahead], episode.actions[recorded])
        assert not stretches.rewards[row, ahead:].any()
        previous = max(start - 1, 0)
        np.testing.assert_array_equal(
            stretches.previous_observations[row], episode.observations[previous]
        )
        assert stretches.previous_rewards[row] == (episode.rewards[previous] if start else 0)


def test_samples_are_capped_for_each_horizon_and_uniform_over_what_has_room() -> None:
    data = walk([40] * 25)
    counts = np.zeros(40)
    for seed in range(40):
        stretches = sample_stretches(data, 32, 100, seed)
        assert (stretches.is_scored.sum(axis=0) == 100).all()
        assert (stretches.positions[stretches.is_scored[:, 31]] <= 8).all()
        counts += np.bincount(stretches.positions[stretches.is_scored[:, 0]], minlength=40)
    # 4,000 starts over 40 positions: 100 each, standard deviation 10.
    assert np.abs(counts - 100).max() < 45


def test_ends_count_however_early_and_time_limits_hide_them() -> None:
    ended = sample_stretches(walk([3, 5], has_ends=True), 4, 100, seed=0)
    assert ended.is_end_scored.sum(axis=0).tolist() == [8, 8, 8, 8]
    assert (ended.terminations.cumsum(1) > 0).sum(axis=0).tolist() == [2, 4, 6, 7]
    limited = sample_stretches(walk([3, 5]), 4, 100, seed=0)
    assert (limited.is_end_scored == limited.is_scored).all()
