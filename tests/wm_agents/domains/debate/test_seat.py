"""Contenders in one seat play the same episodes, so that a contender beside itself differs by 0."""

import numpy as np
import pytest

from wm_agents.domains.debate.seat import SeatConfig, compare_with_scripts, seat_returns
from wm_agents.errors import ConfigError
from wm_envs.debate.dynamics import STRATEGIES
from wm_envs.debate.scripted import ScriptedDebater

CONFIG = SeatConfig(evaluation_episodes=6)


def test_a_script_beside_the_best_script_differs_by_its_own_returns():
    returns = {name: seat_returns(CONFIG, ScriptedDebater(name), seed=3) for name in STRATEGIES}
    best = max(returns, key=lambda name: returns[name].mean())
    for name in (best, STRATEGIES[0]):
        figures = compare_with_scripts(CONFIG, ScriptedDebater(name), seed=3)
        assert figures["best_script"] == best
        assert figures["ppo_return"] == returns[name].mean() == figures[f"return_{name}"]
        expected = (returns[name] - returns[best]).mean()
        assert figures["difference"] == pytest.approx(expected)
        assert figures["difference_low"] <= figures["difference"] <= figures["difference_high"]
    assert compare_with_scripts(CONFIG, ScriptedDebater(best), seed=3)["difference_high"] == 0.0


def test_returns_follow_from_the_seed():
    debater = ScriptedDebater(STRATEGIES[0])
    np.testing.assert_array_equal(
        seat_returns(CONFIG, debater, seed=3), seat_returns(CONFIG, debater, seed=3)
    )
    assert (seat_returns(CONFIG, debater, 3) != seat_returns(CONFIG, debater, 4)).any()


def test_one_episode_has_no_interval():
    with pytest.raises(ConfigError, match="got 1"):
        SeatConfig(evaluation_episodes=1)
