"""Infos of single environments and of batches, as libraries gather and read them."""

import copy
import pickle

import gymnasium as gym
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import wm_envs  # noqa: F401
from wm_envs.data.infos import StepInfo
from wm_envs.registration import TABLE

IDS = [row.id for row in TABLE]


def no_dictionaries(infos):
    return all(not isinstance(value, dict) or key == "final_info" for key, value in infos.items())


@pytest.mark.parametrize("env_id", IDS)
def test_no_batch_has_dictionaries_within_its_infos(env_id):
    same_step = AutoresetMode.SAME_STEP
    native = gym.make_vec(env_id, 2, autoreset_mode=same_step, max_episode_steps=2)
    singles = SyncVectorEnv(
        [lambda: gym.make(env_id, max_episode_steps=2)] * 2, autoreset_mode=same_step
    )
    for env in (native, singles):
        first = env.reset(seed=0)[1]
        env.action_space.seed(0)
        steps = [env.step(env.action_space.sample())[4] for _ in range(2)]
        assert type(first) is dict  # libraries look into exact dictionaries only
        assert all(type(infos) is dict for infos in steps)
        assert no_dictionaries(first)
        assert all(map(no_dictionaries, steps))
        assert no_dictionaries(steps[-1]["final_info"])
    names = {f"reward_components/{name}" for name in native.reward_components}
    assert names <= set(first)
    assert set(first) == set(native.reset(seed=0)[1])


def test_processes_gather_the_same_infos():
    env = AsyncVectorEnv([lambda: gym.make("wm_envs:wm/TMaze-v0")] * 2)
    infos = env.reset(seed=0)[1]
    env.close()
    assert no_dictionaries(infos)
    assert infos["_reward_components/goal"].tolist() == [True, True]


def test_a_single_environment_keeps_its_dictionary():
    env = gym.make("wm/TMaze-v0")
    info = env.reset(seed=0)[1]
    assert info == {"is_success": False, "reward_components": {"goal": 0.0, "prediction": 0.0}}
    flat = {"is_success": False, "reward_components/goal": 0.0, "reward_components/prediction": 0.0}
    for twin in (
        info,
        copy.copy(info),
        copy.deepcopy(info),
        pickle.loads(pickle.dumps(info)),
        info.copy(),
    ):
        assert type(twin) is StepInfo
        assert twin == info
        assert dict(twin.items()) == flat


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_batches_know_their_old_keys_for_one_release(mode):
    env = gym.make_vec("wm/TMaze-v0", 2, autoreset_mode=mode)
    infos = env.reset(seed=0)[1]
    assert infos["reward_components"]["goal"].tolist() == [0.0, 0.0]
    assert (
        infos["reward_components"]["_goal"].tolist()
        == infos["_reward_components"].tolist()
        == [True, True]
    )
    assert "reward_components" not in infos
    with pytest.raises(KeyError, match="no_such_key"):
        infos["no_such_key"]
