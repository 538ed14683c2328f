import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401
from tests.support.trajectories import same_trajectories
from wm_envs import record, record_split
from wm_envs.data.minari import load_minari, save_minari
from wm_envs.data.trajectories import Trajectories
from wm_envs.errors import OptionError


class Countdown(gym.Env):
    """An episode of the length that its seed says: seed s lasts 1 + s % 5 steps.

    The observation counts them.
    """

    observation_space = gym.spaces.Discrete(6)
    action_space = gym.spaces.Discrete(2, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 1 + int(self.np_random.integers(5))
        return self.left, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.left -= 1
        return self.left, float(action), self.left == 0, False, {}


@pytest.fixture(autouse=True, scope="module")
def registered():
    gym.register("test/Countdown-v0", Countdown)
    yield
    del gym.registry["test/Countdown-v0"]


def test_whole_episodes_without_the_autoreset_step():
    data = record("test/Countdown-v0", episodes=40, seed=0, num_envs=4)
    assert isinstance(data, Trajectories)
    assert data.num_episodes == 40
    for number in range(40):
        episode = data.episode(number)
        length = len(episode.actions)
        assert episode.observations.argmax(1).tolist() == list(range(length, -1, -1))
        assert episode.terminations.tolist() == [False] * (length - 1) + [True]
        assert np.array_equal(
            episode.rewards, episode.actions
        )  # each reward stands beside its own action


def test_short_episodes_are_not_favoured():
    """Lengths are uniform on 1..5.

    The first finishers of 64 environments would nearly all have length 1.
    """
    lengths = record("test/Countdown-v0", episodes=64, seed=3, num_envs=64).lengths
    singles = []
    for i in range(64):
        env = Countdown()
        singles.append(env.reset(seed=3 + i)[0])
    assert lengths.tolist() == singles


@pytest.mark.parametrize("env_id", ["wm/Navigation-v0", "wm/PatternEcho-v0", "Pendulum-v1"])
def test_equal_seeds_give_equal_bytes(env_id):
    first, again = (record(env_id, episodes=5, seed=7) for _ in range(2))
    assert same_trajectories(first, again)
    assert not same_trajectories(first, record(env_id, episodes=5, seed=8))


def test_a_recording_is_what_the_single_environment_does():
    data = record("wm/PermPuzzle-v0", episodes=3, seed=5, num_envs=3)
    for number in range(3):
        env, episode = gym.make("wm/PermPuzzle-v0"), data.episode(number)
        observation, _ = env.reset(seed=5 + number)
        assert np.array_equal(observation, episode.observations[0])
        for step, action in enumerate(episode.actions):
            observation, reward, terminated, truncated, _ = env.step(action)
            assert np.array_equal(observation, episode.observations[step + 1])
            assert (reward, terminated, truncated) == (
                episode.rewards[step],
                episode.terminations[step],
                episode.truncations[step],
            )
        assert truncated


def test_a_function_can_be_the_policy():
    data = record("wm/PatternEcho-v0", episodes=50, policy=lambda rows: rows.argmax(1), seed=0)
    assert (data.rewards == 1).all()
    assert data.lengths.tolist() == [1] * 50


def test_options_reach_the_environment():
    data = record("wm/PermPuzzle-v0", episodes=2, seed=0, env_kwargs={"level": 2, "time_limit": 4})
    assert data.observations.shape == (10, 98)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episodes": 0}, "at least 1"),
        ({"policy": "expert"}, "no expert"),
        ({"policy": "best"}, "policy is 'random'"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        record("Pendulum-v1", **{"episodes": 1, "seed": 0, **changes})


@pytest.mark.parametrize("env_id", ["wm/SequenceNext-v0", "FrozenLake-v1", "Pendulum-v1"])
def test_minari_keeps_everything(env_id, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    data = record(env_id, episodes=4, seed=1)
    save_minari(
        data, "wm/sequence-next/random-v0", env_id, author="tests", author_email="tests@example.org"
    )
    assert same_trajectories(load_minari("wm/sequence-next/random-v0"), data)
    assert (tmp_path / "wm" / "sequence-next" / "random-v0").is_dir()
    with pytest.raises(OptionError, match="exists"):
        save_minari(data, "wm/sequence-next/random-v0", env_id)


def test_an_absent_dataset_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(OptionError, match="wm/absent/random-v0"):
        load_minari("wm/absent/random-v0")


def test_an_environment_in_place_of_an_id_is_one_typed_error():
    with pytest.raises(
        OptionError, match=r"record takes an id, got <.*CartPole.*: register the environment"
    ):
        record(gym.make("CartPole-v1"), episodes=1, seed=0)


def test_a_split_has_the_steps_that_were_asked_for_and_a_quarter_as_many_episodes_apart():
    train, test = record_split("wm/Navigation-v0", 60, seed=1)
    assert train.num_steps == 60  # of three steps each
    assert test.num_episodes == train.num_episodes // 4
    again, _ = record_split("wm/Navigation-v0", 60, seed=1)
    assert np.array_equal(again.observations, train.observations)
    with pytest.raises(OptionError, match="steps is an integer at least 1, got 0"):
        record_split("wm/Navigation-v0", 0, seed=1)
