"""The Stable-Baselines3 adapter.

The same transitions as DummyVecEnv, and algorithms that train through it.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from wm_agents.errors import ConfigError
from wm_agents.sb3.vec_env import SB3VecEnv, split_infos


def _make() -> gym.Env[Any, Any]:
    return gym.make("CartPole-v1", max_episode_steps=15)


def _adapted(mode: AutoresetMode, num_envs: int = 4) -> SB3VecEnv:
    return SB3VecEnv(SyncVectorEnv([_make] * num_envs, autoreset_mode=mode))


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_transitions_equal_those_of_dummy_vec_env(mode: AutoresetMode) -> None:
    ours, theirs = _adapted(mode), DummyVecEnv([_make] * 4)
    ours.seed(7)
    theirs.seed(7)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    generator, num_time_limits, num_falls = np.random.default_rng(0), 0, 0
    for _ in range(120):
        actions = generator.integers(2, size=4)
        observations, rewards, dones, infos = ours.step(actions)
        expected_observations, expected_rewards, expected_dones, expected_infos = theirs.step(
            actions
        )
        np.testing.assert_array_equal(observations, expected_observations)
        np.testing.assert_array_equal(rewards, expected_rewards)
        np.testing.assert_array_equal(dones, expected_dones)
        for info, expected in zip(infos, expected_infos, strict=True):
            assert info.keys() == expected.keys()
            assert info["TimeLimit.truncated"] == expected["TimeLimit.truncated"]
            if "terminal_observation" in expected:
                np.testing.assert_array_equal(
                    info["terminal_observation"], expected["terminal_observation"]
                )
                num_time_limits += info["TimeLimit.truncated"]
                num_falls += not info["TimeLimit.truncated"]
    assert num_time_limits > 3
    assert num_falls > 3
    assert observations.dtype == expected_observations.dtype
    assert rewards.dtype == expected_rewards.dtype


def test_observations_outlive_a_reused_buffer() -> None:
    env = SB3VecEnv(SyncVectorEnv([_make] * 2, copy=False, autoreset_mode=AutoresetMode.SAME_STEP))
    first = env.reset()
    kept = first.copy()
    env.step(np.array([0, 1]))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("env_id", ["CartPole-v1"])
def test_next_step_environments_are_refused_with_the_remedy(env_id: str) -> None:
    with pytest.raises(ConfigError, match="SAME_STEP"):
        SB3VecEnv(gym.make_vec(env_id, 2, vectorization_mode="sync"))


def test_ppo_trains_through_it_exactly_as_through_dummy_vec_env() -> None:
    torch.set_num_threads(1)
    parameters = []
    for env in (_adapted(AutoresetMode.SAME_STEP), DummyVecEnv([_make] * 4)):
        model = PPO(
            "MlpPolicy",
            VecMonitor(env),
            n_steps=64,
            batch_size=64,
            n_epochs=2,
            seed=3,
            device="cpu",
        )
        before = model.policy.parameters_to_vector()
        model.learn(512)
        assert len(model.ep_info_buffer or []) > 10
        parameters.append(model.policy.parameters_to_vector())
        assert np.abs(parameters[-1] - before).max() > 1e-3
    np.testing.assert_array_equal(*parameters)


def test_an_off_policy_algorithm_stores_the_terminal_observation() -> None:
    model = DQN(
        "MlpPolicy", _adapted(AutoresetMode.SAME_STEP, 2), learning_starts=50, seed=0, device="cpu"
    )
    model.learn(120)
    buffer = model.replay_buffer
    assert buffer is not None
    steps, rows = np.nonzero(buffer.dones[: buffer.pos])
    assert len(steps) > 2
    following = buffer.observations[steps[:-1] + 1, rows[:-1]]
    assert (
        np.abs(buffer.next_observations[steps[:-1], rows[:-1]] - following).max(axis=1) > 0.01
    ).all()


def test_attributes_methods_and_wrappers_of_the_rows() -> None:
    env = _adapted(AutoresetMode.SAME_STEP, 3)
    assert env.get_attr("gravity") == [9.8] * 3
    env.set_attr("gravity", 5.0, indices=[1])
    assert env.get_attr("gravity") == [9.8, 5.0, 9.8]
    assert env.env_method("get_wrapper_attr", "length", indices=[0, 2]) == [0.5, 0.5]
    assert env.env_is_wrapped(TimeLimit) == [True] * 3
    assert not any(env.env_is_wrapped(gym.wrappers.ClipAction))
    assert is_wrapped(env.vector_env.envs[0], TimeLimit)  # type: ignore[attr-defined]
    assert env.render_mode is None
    with pytest.raises(AttributeError):
        env.get_attr("no_such_attribute")


def test_rows_of_a_batch_share_attributes_and_refuse_partial_changes() -> None:
    env = SB3VecEnv(
        gym.make_vec("wm_envs:wm/PatternEcho-v0", 3, autoreset_mode=AutoresetMode.SAME_STEP)
    )
    assert len(env.get_attr("observation_fields", indices=0)[0]) == 8
    assert env.env_is_wrapped(TimeLimit) == [False] * 3
    with pytest.raises(ConfigError, match="rows"):
        env.set_attr("label", 1.0, indices=[0])
    env.set_attr("label", 1.0)
    assert env.get_attr("label") == [1.0] * 3
    env.seed(5)
    assert env.reset().shape == (3, 8)
    *_, dones, infos = env.step(np.zeros(3, np.int64))
    assert dones.all()
    assert all(
        info["TimeLimit.truncated"] and info["terminal_observation"].shape == (8,) for info in infos
    )
    assert len(env.env_method("clone_state")) == 3


def test_frames_are_tiled() -> None:
    env = SB3VecEnv(
        SyncVectorEnv(
            [lambda: gym.make("CartPole-v1", render_mode="rgb_array")] * 2,
            autoreset_mode="SameStep",
        )
    )
    env.reset()
    picture = env.render()
    assert env.render_mode == "rgb_array"
    assert picture is not None
    assert picture.ndim == 3
    env.close()


def test_infos_are_split_by_their_masks() -> None:
    mask = np.array([True, False])
    infos = {
        "a": np.array([1, 0]),
        "_a": mask,
        "parts": {"b": np.array([2.0, 3.0])},
        "_parts": np.array([False, True]),
    }
    assert split_infos(infos, 2) == [{"a": 1}, {"parts": {"b": 3.0}}]


def test_options_must_be_shared() -> None:
    env = _adapted(AutoresetMode.SAME_STEP, 2)
    env.set_options([{"low": 0.0}, {"low": -0.1}])
    with pytest.raises(ConfigError, match="differ between rows"):
        env.reset()


def test_the_remedy_for_a_next_step_environment_is_a_call_that_works() -> None:
    makers = [lambda: gym.make("CartPole-v1")]
    for env, remedy in (
        (
            gym.make_vec("CartPole-v1", 2, vectorization_mode="sync"),
            r"gym.make_vec\('CartPole-v1', 2, vectorization_mode",
        ),
        (SyncVectorEnv(makers), r"SyncVectorEnv\(env_fns, autoreset_mode="),
        (gym.make_vec("wm/TMaze-v0", 3), r"gym.make_vec\('wm/TMaze-v0', 3, autoreset_mode="),
    ):
        with pytest.raises(ConfigError, match=remedy):
            SB3VecEnv(env)
        env.close()


@pytest.mark.parametrize("wrap", [lambda env: env, gym.wrappers.vector.RecordEpisodeStatistics])
@pytest.mark.parametrize("options", [{}, {"vectorization_mode": "sync"}])
def test_maskable_ppo_finds_the_masks_of_each_row(wrap: Any, options: dict[str, Any]) -> None:
    mode = {"autoreset_mode": AutoresetMode.SAME_STEP}
    mode = {"vector_kwargs": mode} if options else mode
    rows = gym.make_vec("wm_envs:wm/UNResolution-v0", 3, **options, **mode)
    env = SB3VecEnv(wrap(rows))
    env.reset()
    # The calls of sb3-contrib's is_masking_supported and get_action_masks.
    assert env.has_attr("action_masks")
    masks = np.stack(env.env_method("action_masks"))
    assert masks.tolist() == [[True, False, False, False, True]] * 3
    assert np.shape(env.env_method("action_masks", indices=[2])) == (1, 5)
    assert VecMonitor(env).has_attr("action_masks")
    unmasked = gym.make_vec("wm/TMaze-v0", 2, **options, **mode)
    assert not SB3VecEnv(unmasked).has_attr("action_masks")


def test_rows_have_the_infos_of_single_environments() -> None:
    env = SB3VecEnv(
        gym.make_vec("wm_envs:wm/PatternEcho-v0", 2, autoreset_mode=AutoresetMode.SAME_STEP)
    )
    env.seed(0)
    actions = env.reset().argmax(axis=1)
    infos = env.step(actions)[3]
    assert [info["reward_components"]["goal"] for info in infos] == [1.0, 1.0]
    assert env.reset_infos[0]["reward_components"] == {"goal": 0.0, "prediction": 0.0}
