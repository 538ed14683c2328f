"""SAC in imagination: rounds of acting, fitting and imagining, on a tiny budget."""

import gymnasium as gym
import numpy as np
import pytest

from wm_agents.errors import ConfigError, NotFittedError
from wm_agents.imagination.imagined_sac import ImaginedSAC, ImaginedSACConfig

TINY = ImaginedSACConfig(
    round_steps=20,
    gradient_steps=20,
    num_envs=2,
    horizon=5,
    first_updates=5,
    later_updates=3,
    model_width=8,
    sac_width=16,
)


def test_rounds_follow_the_budget_and_later_calls_resume():
    rounds = []

    def note(agent: ImaginedSAC) -> None:
        rounds.append((agent.num_timesteps, agent.sac.num_timesteps))

    agent = ImaginedSAC("Pendulum-v1", TINY, seed=1)
    observation = np.zeros(3, np.float32)
    with pytest.raises(NotFittedError, match="learn"):
        agent.predict(observation)
    assert agent.learn(30, callback=note) is agent
    first = agent.sac
    assert first.policy.net_arch == [16, 16]
    agent.learn(50, callback=note)
    # 20 gradient steps, 4 of them for each step of 2 rows.
    assert rounds == [(20, 10), (30, 20), (50, 30)]
    assert agent.sac is first
    action, _ = agent.predict(observation, deterministic=True)
    assert gym.make("Pendulum-v1").action_space.contains(action)


def test_a_callback_may_stop():
    agent = ImaginedSAC(gym.make("Pendulum-v1"), TINY).learn(60, callback=lambda _: False)
    assert agent.num_timesteps == 20


@pytest.mark.parametrize(
    "setting", ["round_steps", "max_repeat", "num_envs", "gradient_steps", "sac_width"]
)
def test_settings_that_cannot_work_are_refused(setting):
    with pytest.raises(ConfigError, match=setting):
        ImaginedSACConfig(**{setting: 0})
