import pytest

pytest.importorskip(
    "ale_py", reason='the original game needs ale-py: pip install "wm-suite[atari]"'
)

import gymnasium as gym

from benchmarks.pong_throughput import BALL_X, Contender


def test_a_contender_counts_what_happened():
    contender = Contender("batch", lambda: gym.make_vec("wm/Pong-v0", 8), 1200, BALL_X)
    contender.take_turn()
    contender.check()
    tally = contender.tally
    assert tally.games >= 8
    assert tally.points >= 21 * tally.games
    assert 8 * 1200 - tally.games <= tally.steps <= 8 * 1200  # a call that resets a row is no step
    assert tally.steps_per_cpu_second > 0


def test_a_contender_that_plays_nothing_fails():
    contender = Contender("single", lambda: gym.make("wm/Pong-v0"), 5, BALL_X)
    contender.take_turn()
    with pytest.raises(AssertionError, match=r"no point was scored in single|stood still"):
        contender.check()
