"""Columns by name, and the reward of observations beside the environment's own."""

import numpy as np

from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.columns import observation_fields
from wm_envs.driving.env import DrivingEnv
from wm_envs.driving.observations import has_left_or_spun, step_rewards


def test_the_columns_are_those_of_the_observation():
    fields = observation_fields(is_extended=True)
    assert [column.name.lower() for column in Column] == [field.name for field in fields]
    assert [int(column) for column in Column] == list(range(len(fields)))


def test_observations_give_the_reward_and_the_end_that_the_environment_gives():
    env = DrivingEnv(track="oval", observation="extended", normalize=False, start_speed=20.0)
    generator, causes = np.random.default_rng(0), []
    for seed in range(4):
        before, _ = env.reset(seed=seed)
        last_action, has_ended = None, False
        while not has_ended:
            action = generator.uniform([-0.02, 0.2, 0.0], [0.06, 0.6, 0.1]).astype(np.float32)
            after, reward, terminated, truncated, info = env.step(action)
            rows = (before, after, action, action if last_action is None else last_action)
            rewards, ends = step_rewards(env.parameters, *(row[None] for row in rows))
            np.testing.assert_allclose(rewards, [reward], atol=1e-3)
            assert ends[0] == has_left_or_spun(after[None])[0] == terminated
            before, last_action, has_ended = after, action, terminated or truncated
        causes.append(int(info["cause"]))
    assert 1 in causes
