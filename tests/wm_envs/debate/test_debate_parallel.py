import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from wm_envs.debate import parallel_env
from wm_envs.debate.env import DebateEnv
from wm_envs.debate.parallel import AmongPolicies
from wm_envs.debate.scripted import ScriptedDebater
from wm_envs.debate.tendencies import TENDENCIES
from wm_envs.errors import InvalidActionError, OptionError


def play(env, players, seed):
    """All rewards of an episode, [steps, 7]."""
    observations, _ = env.reset(seed=seed)
    rewards = []
    while env.agents:
        actions = {name: players[name](observations[name]) for name in env.agents}
        observations, gains, *_ = env.step(actions)
        rewards.append(list(gains.values()))
    return np.array(rewards)


@pytest.mark.filterwarnings(
    "ignore:The old environment creation API"
)  # PettingZoo's own, on importing its tests
def test_pettingzoos_test_is_clean():
    from pettingzoo.test import parallel_api_test

    parallel_api_test(parallel_env(), num_cycles=100)


def test_seven_scripts_play_as_in_the_single_environment():
    names = ["partisan", "challenger", "juror", "advocate", "zealot", "partisan", "challenger"]
    rivals = dict(zip(TENDENCIES, names, strict=True))
    players = {str(t): ScriptedDebater(name) for t, name in rivals.items()}
    table = play(parallel_env(), players, seed=4)
    single = DebateEnv(rivals=rivals, seat="curiosity")
    observation, _ = single.reset(seed=4)
    rewards = []
    # Reset draws differ (nobody's script is drawn in either), so persons and orders are the same.
    for _ in range(40):
        observation, reward, *_ = single.step(players["curiosity"](observation))
        rewards.append(reward)
    assert table.shape == (40, 7)
    assert np.abs(table).sum() > 1
    np.testing.assert_allclose(table.sum(axis=1), 0, atol=1e-6)  # influence is only moved


def test_equal_seeds_give_equal_episodes():
    players = {str(t): ScriptedDebater("advocate") for t in TENDENCIES}
    env = parallel_env()
    np.testing.assert_array_equal(play(env, players, 3), play(parallel_env(), players, 3))
    assert not np.array_equal(play(env, players, 3), play(env, players, 4))


def test_wrong_actions_and_missing_resets():
    env = parallel_env()
    good = {name: np.zeros(7, np.float32) for name in env.possible_agents}
    with pytest.raises(ResetNeeded):
        env.step(good)
    env.reset(seed=0)
    before = env.state()
    for bad in (
        {},
        {**good, "hunger": np.zeros(7)},
        {**good, "status": np.full(7, 2.0)},
        {**good, "status": None},
    ):
        with pytest.raises(InvalidActionError):
            env.step(bad)
    np.testing.assert_array_equal(env.state(), before)
    env.step(good)
    with pytest.raises(OptionError):
        parallel_env(seat="status")


def test_rendering():
    env = parallel_env(render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (400, 640, 3)
    text = parallel_env(render_mode="ansi")
    text.reset(seed=0)
    assert "relevance" in text.render()


@pytest.mark.filterwarnings("ignore:.*spec.*")
def test_one_seat_among_policies():
    check_env(AmongPolicies("meaning"), skip_render_check=True)
    seen = []

    def policy(observation):
        seen.append(observation)
        return np.zeros(7, np.float32)

    env = AmongPolicies("meaning", {"status": policy})
    observation, _ = env.reset(seed=0)
    assert observation[5] == 1  # its own place
    total, is_over = 0.0, False
    while not is_over:
        observation, reward, terminated, is_over, _ = env.step(
            ScriptedDebater("partisan")(observation)
        )
        total += reward
        assert not terminated
    assert len(seen) == 40
    assert seen[0][4] == 1
    assert total != 0
    for seat, policies in (("hunger", {}), ("status", {"status": policy})):
        with pytest.raises(OptionError):
            AmongPolicies(seat, policies)


def test_a_restored_state_has_the_same_future():
    env, other = parallel_env(), parallel_env()
    env.reset(seed=2)
    generator = np.random.default_rng(0)
    actions = [
        {name: generator.uniform(-1, 1, 7).astype(np.float32) for name in env.possible_agents}
        for _ in range(3)
    ]
    env.step(actions[0])
    seen = other.restore_state(env.clone_state())
    for row in actions[1:]:
        ours, theirs = env.step(row), other.step(row)
        assert ours[1] == theirs[1]
        np.testing.assert_array_equal(list(ours[0].values()), list(theirs[0].values()))
    assert set(seen) == set(env.possible_agents)


@pytest.mark.parametrize("actions", [None, list(TENDENCIES)])
def test_actions_that_are_no_mapping_are_refused(actions):
    env = parallel_env()
    env.reset(seed=0)
    with pytest.raises(InvalidActionError, match="mapping"):
        env.step(actions)
