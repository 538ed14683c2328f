"""The original: needs ale-py, which the extra `atari` brings."""

import copy
import pickle
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError
from gymnasium.vector import AutoresetMode

from wm_envs import oracle
from wm_envs.errors import MissingExtraError, StateError
from wm_envs.pong.planner import PlanningPlayer
from wm_envs.pong.players import Interceptor
from wm_envs.pong.workers import Emulator
from wm_envs.testing.trace import difference

pytest.importorskip(
    "ale_py", reason='the original game needs ale-py: pip install "wm-suite[atari]"'
)

ATARI, NATIVE = "wm/PongAtari-v0", "wm/Pong-v0"


def play(env, actions):
    return [env.step(int(action)) for action in actions]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repeat_action_probability": 0.25, "directions": True},
        {"frame_skip": 3, "max_noops": 120},
    ],
)
def test_equal_seeds_and_actions_give_equal_episodes_in_both_games(options):
    original, native = gym.make(ATARI, **options), gym.make(NATIVE, **options)
    generator, player = np.random.default_rng(0), Interceptor(0)
    for seed in (3, None):
        outcomes = original.reset(seed=seed), native.reset(seed=seed)
        assert difference(*outcomes) is None
        observation, has_ended = outcomes[0][0], False
        while not has_ended:
            is_random = generator.random() < 0.5
            action = int(generator.integers(6)) if is_random else int(player(observation[None])[0])
            outcomes = original.step(action), native.step(action)
            assert difference(*outcomes) is None
            observation, _, terminated, truncated, info = outcomes[0]
            has_ended = terminated or truncated
        assert info["enemy_score"] == 21 or info["player_score"] == 21


def test_every_game_starts_as_the_emulator_resets_it():
    import ale_py

    emulator = ale_py.ALEInterface()
    emulator.setFloat("repeat_action_probability", 0.0)
    emulator.loadROM(ale_py.roms.get_rom_path("pong"))
    emulator.reset_game()
    console, memory = Emulator(), np.zeros(128, np.uint8)
    for _ in range(2):
        console.start(0)
        for frame in range(300):
            console.read(memory)
            np.testing.assert_array_equal(memory, emulator.getRAM())
            console.play([frame // 7 % 6])
            emulator.act(emulator.getMinimalActionSet()[frame // 7 % 6])
        emulator.reset_game()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_vector_environment_equals_the_native_one_with_any_number_of_threads(mode):
    options = {"autoreset_mode": mode, "time_limit": 40, "frame_skip": 5}
    envs = [
        gym.make_vec(env_id, 3, num_threads=n, **options)
        for env_id, n in ((ATARI, 1), (ATARI, 2), (NATIVE, 1))
    ]
    starts = [env.reset(seed=5) for env in envs]
    assert difference(starts[0], starts[2]) is None
    assert difference(starts[1], starts[2]) is None
    num_ended = 0
    envs[0].action_space.seed(0)
    for _ in range(90):
        actions = envs[0].action_space.sample()
        outcomes = [env.step(actions) for env in envs]
        assert difference(outcomes[0], outcomes[2]) is None
        assert difference(outcomes[1], outcomes[2]) is None
        ended = outcomes[0][2] | outcomes[0][3]
        num_ended += ended.sum()
        if mode == AutoresetMode.DISABLED and ended.any():
            for env in envs:
                env.reset(options={"reset_mask": ended.copy()})
    assert num_ended == 6
    for env in envs:
        env.close()


def test_a_clone_returns_to_the_console_and_its_noise():
    env = gym.make(ATARI, repeat_action_probability=0.5).unwrapped
    env.reset(seed=1)
    actions = np.random.default_rng(0).integers(6, size=60)
    play(env, actions[:40])
    state = env.clone_state()
    first = play(env, actions)
    np.testing.assert_array_equal(env.restore_state(state)[:4], first[0][0][:4])
    assert difference(play(env, actions), first) is None
    other = gym.make(ATARI, repeat_action_probability=0.5).unwrapped
    other.restore_state(state)
    assert difference(play(other, actions), first) is None


def test_a_state_of_the_native_game_is_refused():
    env, native = gym.make(ATARI).unwrapped, gym.make(NATIVE).unwrapped
    env.reset(seed=0)
    native.reset(seed=0)
    before = env.clone_state().tobytes()
    with pytest.raises(StateError):
        env.restore_state(native.clone_state())
    assert env.clone_state().tobytes() == before


def test_the_oracle_gives_the_environments_own_future():
    env = gym.make_vec(ATARI, 2, repeat_action_probability=0.25)
    env.reset(seed=0)
    actions = np.random.default_rng(1).integers(6, size=(2, 50))
    for step in range(20):
        env.step(actions[:, step])
    options = {"repeat_action_probability": 0.25}
    observations, rewards, _ = oracle.rollout(ATARI, env.clone_state(), actions, env_kwargs=options)
    for step in range(50):
        observation, reward, *_ = env.step(actions[:, step])
        np.testing.assert_array_equal(observations[:, step + 1], observation)
        np.testing.assert_array_equal(rewards[:, step], reward)
    assert np.any(rewards != 0)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_duplicate_of_a_batch_goes_on_as_the_original(duplicate, num_threads):
    env = gym.make_vec(ATARI, 2, num_threads=num_threads)
    env.reset(seed=5)
    env.step(np.array([1, 2]))
    twin = duplicate(env)
    for _ in range(40):
        assert difference(env.step(np.array([2, 3])), twin.step(np.array([2, 3]))) is None
    env.close()
    twin.close()


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_closed_batch_has_no_games_to_go_on_with(num_threads):
    env = gym.make_vec(ATARI, 2, num_threads=num_threads)
    env.reset(seed=5)
    state = env.clone_state()
    env.close()
    env.close()
    for call in (
        lambda: env.step(np.array([2, 3])),
        env.reset,
        env.clone_state,
        lambda: env.restore_state(state),
    ):
        with pytest.raises(ClosedEnvironmentError, match="make another"):
            call()


def test_without_ale_py_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(MissingExtraError, match=r"wm-suite\[atari\]"):
        gym.make(ATARI)
    with pytest.raises(MissingExtraError, match=r"wm-suite\[atari\]"):
        gym.make_vec(ATARI, 2)
    gym.make(NATIVE).reset(seed=0)


def test_the_planner_plays_the_original_through_a_simulator_copy():
    options = {"repeat_action_probability": 0.25, "time_limit": 150}
    env = gym.make_vec(ATARI, 2, **options)
    planner = PlanningPlayer(7, env_kwargs=options)
    observations, _ = env.reset(seed=7)
    points = 0.0
    for _ in range(150):
        observations, rewards, *_ = env.step(planner(observations))
        points += rewards.sum()
    assert points >= 2
    with pytest.raises(StateError, match="simulator copy"):
        planner(observations + 1)
