import copy
import pickle
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import wm_envs
from wm_envs.data.specs import spec_of
from wm_envs.errors import InvalidActionError, OptionError
from wm_envs.registration import TABLE, register_all

IDS = [row.id for row in TABLE]
SYMBOLIC_IDS = [row.id for row in TABLE if ".symbolic." in row.entry_point]
BAD_DISCRETE_ACTIONS = [
    float("nan"),
    float("inf"),
    99,
    -1,
    1.7,
    None,
    [1, 2],
    "1",
    np.array([1]),
    2**70,
]


def run_episode(env, seed, action_seed=0):
    env.action_space.seed(action_seed)
    trajectory = [env.reset(seed=seed)[0]]
    is_over = False
    while not is_over:
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        trajectory.append(np.append(observation, reward))
        is_over = terminated or truncated
    return np.concatenate(trajectory)


def test_all_symbolic_ids_are_registered():
    reactive = ["PatternEcho", "SequenceNext", "Conditional", "Navigation"]
    others = ["DelayedMatch", "RuleRecall", "TMaze", "PermPuzzle", "LightsOut", "TokenAutomaton"]
    assert {f"wm/{name}-v0" for name in reactive + others} <= set(IDS)


def test_a_module_that_is_not_there_is_one_typed_error(tmp_path, monkeypatch):
    with pytest.raises(
        OptionError, match="no module my_module to import: put its folder on PYTHONPATH"
    ):
        spec_of("my_module:my/Room-v0")
    (tmp_path / "my_room.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        spec_of("my_room:my/Room-v0")


def test_registering_twice_changes_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Gymnasium warns when a spec is overwritten
        register_all()


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_check_env_is_clean(env_id):
    check_env(gym.make(env_id).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", ["wm/RuleRecall-v0", "wm/PatternEcho-v0"])
def test_gymnasium_check_env_is_clean_with_its_render_check(env_id, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    check_env(gym.make(env_id).unwrapped)


@pytest.mark.parametrize("env_id", IDS)
# A pedal has no negative side: SB3 advises against its box, and takes it.
@pytest.mark.filterwarnings("ignore:We recommend you to use a symmetric")
def test_stable_baselines_check_env_is_clean(env_id):
    stable_baselines3.common.env_checker.check_env(gym.make(env_id), warn=True)


@pytest.mark.parametrize("env_id", IDS)
def test_spec_round_trip_makes_the_same_environment(env_id):
    env = gym.make(env_id, max_episode_steps=100)
    spec = EnvSpec.from_json(env.spec.to_json())
    np.testing.assert_array_equal(run_episode(gym.make(spec), 3), run_episode(env, 3))


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_duplicate_goes_on_as_the_original_and_apart_from_it(env_id, duplicate):
    env = gym.make(env_id)
    env.reset(seed=5)
    twin = duplicate(env)
    env.action_space.seed(5)
    action = env.action_space.sample()
    first = env.step(action)
    np.testing.assert_array_equal(first[0], twin.step(action)[0])
    np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])


@pytest.mark.parametrize("env_id", IDS)
def test_equal_seeds_give_equal_episodes_and_others_differ(env_id):
    env = gym.make(env_id, max_episode_steps=100)
    episodes = [run_episode(env, seed) for seed in (7, 7, *range(8, 28))]
    np.testing.assert_array_equal(episodes[0], episodes[1])
    assert any(not np.array_equal(episodes[0], episode) for episode in episodes[2:])


@pytest.mark.parametrize(
    "env_id", [i for i in IDS if isinstance(gym.make(i).action_space, gym.spaces.Discrete)]
)
def test_invalid_actions_raise_and_leave_the_state_untouched(env_id):
    env, twin = gym.make(env_id), gym.make(env_id)
    env.reset(seed=2)
    twin.reset(seed=2)
    before = env.unwrapped.clone_state()
    for action in BAD_DISCRETE_ACTIONS:
        with pytest.raises(InvalidActionError):
            env.unwrapped.step(action)
        assert env.unwrapped.clone_state() == before
    np.testing.assert_array_equal(env.step(1)[0], twin.step(1)[0])


@pytest.mark.parametrize("action", [1, np.int64(1), np.int32(1), np.uint8(1), np.array(1)])
def test_every_kind_of_integer_is_an_action(action):
    env = gym.make("wm/TMaze-v0")
    env.reset(seed=0)
    env.step(action)
    assert env.unwrapped.clone_state()["action"] == 1


@pytest.mark.parametrize("env_id", IDS)
def test_observations_stay_in_their_space_and_info_has_the_promised_keys(env_id):
    env = gym.make(env_id)
    env.action_space.seed(0)
    observation, info = env.reset(seed=0)
    for _ in range(100):
        assert env.observation_space.contains(observation)
        assert {"is_success", "reward_components"} <= set(info)
        observation, _, terminated, truncated, info = env.step(env.action_space.sample())
        if terminated or truncated:
            observation, info = env.reset()


@pytest.mark.parametrize("env_id", SYMBOLIC_IDS)
def test_the_reward_is_the_weighted_sum_of_its_components(env_id):
    envs = gym.make_vec(env_id, num_envs=256, reward_weights={"goal": 3.0})
    envs.reset(seed=0)
    envs.action_space.seed(0)
    num_goals = 0.0
    for _ in range(40):
        _, rewards, _, _, infos = envs.step(envs.action_space.sample())
        goals = infos["reward_components"]["goal"]
        np.testing.assert_array_equal(rewards, 3.0 * goals)
        num_goals += goals.sum()
    assert num_goals > 0


def test_an_id_is_made_without_an_import():
    code = "import gymnasium as gym; print(gym.make('wm_envs:wm/SequenceNext-v0').reset(seed=0)[0].sum())"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "1.0\n"
    )


def test_importing_and_using_the_environments_loads_nothing_heavy():
    code = (
        "import sys, gymnasium as gym, wm_envs; gym.make('wm/TMaze-v0', render_mode='rgb_array').reset(); "
        "print([m for m in ('torch', 'pygame', 'matplotlib', 'imageio', 'stable_baselines3') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_the_module_lists_every_id_with_a_line():
    run = subprocess.run(
        [sys.executable, "-m", "wm_envs"], capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == IDS
    assert all(len(line.split()) > 3 and line.endswith(".") for line in lines)
    assert wm_envs.__version__
