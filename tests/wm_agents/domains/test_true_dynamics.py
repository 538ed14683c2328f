"""The planning gap on episodes that are cut, so that a long game does not take hours."""

import gymnasium as gym
import pytest

import wm_agents as wma
from wm_agents.domains.true_dynamics import measure_gap
from wm_agents.errors import ConfigError
from wm_agents.planning import RandomShooting, RandomShootingConfig
from wm_agents.planning.classic_control import true_model


def planner_of(model: wma.WorldModel) -> wma.Planner:
    return RandomShooting(model, config=RandomShootingConfig(horizon=5, num_samples=32))


@pytest.mark.parametrize(("max_steps", "cut"), [(20, 20), (200, None)])
def test_episodes_are_cut_where_they_are_longer(max_steps: int, cut: int | None) -> None:
    with gym.make("Pendulum-v1") as env:
        truth = true_model("Pendulum-v1")
        gap, rates = measure_gap(
            "Pendulum-v1", env, truth, planner_of, episodes=3, seed=0, max_steps=max_steps
        )
    assert gap is not None
    assert gap.max_steps == cut
    # A pendulum earns at worst -16.3 a step, and random play about -6.
    assert -16.3 * max_steps < gap.random < -2 * max_steps
    assert rates == {}


def test_a_cut_below_one_step_is_refused() -> None:
    truth = true_model("Pendulum-v1")
    with gym.make("Pendulum-v1") as env, pytest.raises(ConfigError, match="max_steps"):
        measure_gap("Pendulum-v1", env, truth, planner_of, episodes=1, seed=0, max_steps=0)
