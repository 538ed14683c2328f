import gymnasium as gym
import numpy as np
import pytest

from tests.support.counting_env import CountingEnv
from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.planning.collector import ActionRepeatAgent, Collector
from wm_envs.data.spaces import ActionCodec, ObservationCodec


class AlwaysOne:
    def __init__(self):
        self.states = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.states.append(state)
        return np.int64(1), 7


def test_every_step_is_kept_and_episodes_are_resumed_between_calls():
    env = CountingEnv()
    collector = Collector(env, seed=4)
    agent = AlwaysOne()
    collector.collect(2, agent)
    partial = collector.trajectories()
    assert partial.lengths.tolist() == [2]
    assert partial.observations.tolist() == [[1, 0], [1, 1], [1, 2]]
    collector.collect(3, agent)
    whole = collector.trajectories()
    assert collector.num_steps == whole.num_steps == 5
    assert whole.lengths.tolist() == [3, 2]
    assert whole.terminations.tolist() == [False, False, True, False, False]
    assert whole.rewards.tolist() == [1.0, 2.0, 3.0, 1.0, 2.0]
    assert env.seeds == [4, None]
    assert agent.states == [None, 7, None, None, 7]  # anew with each call and with each episode
    assert whole.start_observations.tolist() == [[1, 0], [1, 1], [1, 2], [2, 0], [2, 1]]


def test_nothing_collected_is_refused():
    with pytest.raises(ConfigError, match="nothing was collected"):
        Collector(CountingEnv(), 0).trajectories()


class DictEnv(gym.Env):
    """Observes its last action beside the time; every part of its spaces is of another kind."""

    observation_space = gym.spaces.Dict(
        time=gym.spaces.Discrete(6, start=2), pushed=gym.spaces.Box(-1.0, 1.0, (2, 1), np.float64)
    )
    action_space = gym.spaces.Dict(
        push=gym.spaces.Box(-1.0, 1.0, (2, 1), np.float64), flag=gym.spaces.MultiBinary(2)
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.pushed = 2, np.zeros((2, 1))
        return self.observe(), {}

    def observe(self):
        return {"time": np.int64(self.time), "pushed": self.pushed}

    def step(self, action):
        self.time += 1
        self.pushed[:] = action["push"]  # the same array each time
        return self.observe(), float(action["flag"][0]), False, self.time == 7, {}


def test_every_space_is_served_and_replayed():
    first = Collector(DictEnv(), seed=1)
    first.collect(8)
    state = first.state()
    again = Collector(DictEnv(), seed=1)
    again.replay(state)
    assert again.state()["hash"] == state["hash"]
    data = first.trajectories()
    assert data.observations.shape == (8 + 2, 6 + 2)
    assert data.actions.shape == (8, 2 + 2)
    pushes = ActionCodec(DictEnv.action_space).decode(data.actions)["push"][:, :, 0]
    observed = ObservationCodec(DictEnv.observation_space).decode(data.next_observations)
    np.testing.assert_array_equal(observed["pushed"][:, :, 0], pushes)
    assert observed["time"].tolist() == [3, 4, 5, 6, 7, 3, 4, 5]


def test_an_agent_is_told_of_an_episode_in_the_form_of_the_spaces():
    heard = []

    class Listener:
        def resume(self, observations, actions):
            heard.append((observations, actions))

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return DictEnv.action_space.sample(), None

    collector = Collector(DictEnv(), seed=1)
    collector.collect(3)
    collector.collect(1, Listener())
    observations, actions = heard[0]
    assert observations["time"].tolist() == [2, 3, 4]
    np.testing.assert_array_equal(observations["pushed"][1:], actions["push"][:2])


def test_random_steps_follow_the_seed():
    runs = []
    for seed in (1, 1, 2):
        collector = Collector(CountingEnv(), seed)
        collector.collect(30)
        runs.append(collector.trajectories().actions.tolist())
    assert runs[0] == runs[1] != runs[2]


def test_discrete_observations_become_one_hots():
    collector = Collector(gym.make("FrozenLake-v1"), 0)
    collector.collect(10)
    seen = collector.trajectories().observations
    assert seen.shape[1] == 16
    assert (seen.sum(1) == 1.0).all()


class NoisyEnv(CountingEnv):
    """Answers otherwise each time."""

    def observation(self):
        return super().observation() + np.random.default_rng().random(2).astype(np.float32)


def test_a_run_is_replayed_step_by_step():
    first = Collector(CountingEnv(), seed=4)
    first.collect(7)
    state = first.state()
    again = Collector(CountingEnv(), seed=4)
    again.replay(state)
    first.collect(6)
    again.collect(6)
    one, other = first.trajectories(), again.trajectories()
    assert one.num_steps == other.num_steps == 13
    for name in ("observations", "actions", "rewards", "terminations", "truncations", "lengths"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_an_environment_that_does_not_repeat_itself_is_refused():
    first = Collector(NoisyEnv(), seed=4)
    first.collect(3)
    with pytest.raises(CheckpointError, match="does not repeat itself"):
        Collector(NoisyEnv(), seed=4).replay(first.state())


def test_an_agent_that_takes_over_an_episode_is_told_of_it():
    class Listener:
        heard = None

        def resume(self, observations, actions):
            self.heard = observations, actions
            return "told"

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            assert state == "told"
            return 1, state

    collector = Collector(gym.make("CartPole-v1"), seed=0)
    collector.collect(3)
    listener = Listener()
    collector.collect(1, listener)
    whole = collector.trajectories()
    assert np.array_equal(listener.heard[0], whole.observations[:3])
    assert listener.heard[1].tolist() == whole.actions[:3].tolist()


def act(agent: ActionRepeatAgent, num_steps: int) -> list[int]:
    actions, state = [], None
    for _ in range(num_steps):
        action, state = agent.predict(None, state)
        actions.append(int(action))
    return actions


def run_lengths(actions: list[int]) -> np.ndarray:
    changes = np.flatnonzero(np.diff(actions)) + 1
    return np.diff(np.concatenate([[0], changes, [len(actions)]]))


def agent(max_repeat: int, seed: int = 0) -> ActionRepeatAgent:
    space = gym.spaces.Discrete(1000)  # so many that neighbouring repeats hardly ever agree
    space.seed(seed)
    return ActionRepeatAgent(space, max_repeat, seed)


def test_half_of_the_actions_last_one_step_and_a_third_of_them_three_or_more():
    lengths = run_lengths(act(agent(64), 40_000))
    assert abs((lengths == 1).mean() - 1 / 2) < 0.02
    assert abs((lengths >= 3).mean() - 1 / 3) < 0.02
    assert abs((lengths >= 10).mean() - 1 / 10) < 0.015
    assert lengths.max() == 64


def test_a_max_repeat_of_one_step_is_plain_sampling():
    space = gym.spaces.Discrete(1000)
    space.seed(0)
    assert act(agent(1), 50) == [int(space.sample()) for _ in range(50)]


def test_the_seed_settles_actions_and_durations():
    assert act(agent(64, 3), 200) == act(agent(64, 3), 200)
    assert act(agent(64, 3), 200) != act(agent(64, 4), 200)


def test_a_repeat_below_one_step_is_refused():
    with pytest.raises(ConfigError, match="max_repeat"):
        agent(0)
