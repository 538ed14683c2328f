import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import wm_envs  # noqa: F401
from wm_envs.errors import OptionError
from wm_envs.wrappers import FrameHistory, VectorReward, VectorRewardBatch


def test_the_vector_reward_is_unweighted_and_in_its_space():
    env = VectorReward(gym.make("wm/PatternEcho-v0", reward_weights={"goal": 5.0}))
    observation, _ = env.reset(seed=0)
    assert env.component_names == ("goal", "prediction")
    assert env.reward_dim == 2
    _, reward, _, truncated, info = env.step(int(observation.argmax()))
    np.testing.assert_array_equal(reward, [1.0, 0.0])
    assert env.reward_space.contains(reward)
    assert truncated
    assert info["is_success"]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_vector_reward_of_a_batch_is_that_of_its_rows(mode):
    env = VectorRewardBatch(
        gym.make_vec("wm/PatternEcho-v0", 6, autoreset_mode=mode, reward_weights={"goal": 5.0})
    )
    observations, _ = env.reset(seed=0)
    actions = observations.argmax(axis=1)
    actions[3:] = (actions[3:] + 1) % 8
    _, rewards, _, truncated, _ = env.step(actions)
    assert truncated.all()
    assert rewards.dtype == np.float32
    np.testing.assert_array_equal(rewards, [[1, 0]] * 3 + [[0, 0]] * 3)


def test_an_environment_without_components_is_refused():
    with pytest.raises(OptionError, match="reward components"):
        VectorReward(gym.make("CartPole-v1"))


def test_a_history_holds_the_last_frames_after_zeros():
    env, plain = FrameHistory(gym.make("wm/TMaze-v0"), 3), gym.make("wm/TMaze-v0")
    stacked, _ = env.reset(seed=4)
    first, _ = plain.reset(seed=4)
    np.testing.assert_array_equal(stacked, np.concatenate([np.zeros(36), first]))
    frames = [np.zeros(18), first]
    for _ in range(8):
        stacked, *_ = env.step(0)
        frames.append(plain.step(0)[0])
        np.testing.assert_array_equal(stacked, np.concatenate(frames[-3:]))
        assert env.observation_space.contains(stacked)
    np.testing.assert_array_equal(env.reset(seed=4)[0][:36], 0)


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_wrapped_environments_pass_the_checker_and_come_back_from_their_spec():
    env = FrameHistory(gym.make("wm/RuleRecall-v0"), 4)
    check_env(env, skip_render_check=True)
    again = gym.make(env.spec)
    np.testing.assert_array_equal(again.reset(seed=1)[0], env.reset(seed=1)[0])


@pytest.mark.parametrize("num_frames", [0, -1, 1.5, True])
def test_a_bad_number_of_frames_is_refused(num_frames):
    with pytest.raises(OptionError, match="num_frames"):
        FrameHistory(gym.make("wm/TMaze-v0"), num_frames)


def test_spaces_that_cannot_be_stacked_are_refused():
    with pytest.raises(OptionError, match="flat Box"):
        FrameHistory(gym.make("FrozenLake-v1"), 2)
    shifted = gym.wrappers.TransformObservation(
        gym.make("wm/TMaze-v0"), lambda o: o + 2, gym.spaces.Box(2, 3, (18,), np.float32)
    )
    with pytest.raises(OptionError, match="zeros"):
        FrameHistory(shifted, 2)
