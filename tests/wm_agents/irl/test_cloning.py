import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.support.thermostat import Thermostat, recorded
from wm_agents.errors import CheckpointError, ConfigError, DemonstrationError, SpaceError
from wm_agents.irl import BehavioralCloning, CloningConfig, Demonstrations, RewardNetwork
from wm_agents.training import saving
from wm_envs.data.spaces import ActionCodec, ObservationCodec
from wm_envs.data.trajectories import Trajectories


@pytest.mark.parametrize("is_discrete", [True, False])
def test_behaviour_cloning_does_what_was_shown(is_discrete):
    env = Thermostat(is_discrete)
    cloning = BehavioralCloning(
        env.observation_space, env.action_space, CloningConfig(num_updates=400)
    )
    cloning.fit(recorded(is_discrete))
    actions = cloning.predict(np.array([[1.5], [-1.5]], np.float32))[0]
    np.testing.assert_allclose(np.ravel(actions), [0, 2] if is_discrete else [-1, 1], atol=0.15)
    single, _ = cloning.predict(np.array([1.5], np.float32))
    assert np.shape(single) == (() if is_discrete else (1,))


def test_behaviour_cloning_checks_what_it_gets():
    env = Thermostat()
    with pytest.raises(DemonstrationError, match="do not fit the spaces"):
        BehavioralCloning(env.observation_space, env.action_space).fit(recorded(True))
    with pytest.raises(SpaceError):
        BehavioralCloning(env.observation_space, gym.spaces.Text(3))
    with pytest.raises(ConfigError):
        CloningConfig(num_updates=0)


@pytest.mark.parametrize(
    ("actions", "space"),
    [
        (
            np.zeros((4, 1)),
            gym.spaces.Box(-1, 1, (3,)),
        ),  # one number would be spread over all three
        (np.zeros((4, 2)), gym.spaces.Box(-1, 1, (3,))),
        (np.array([0, 3, 1, 1]), gym.spaces.Discrete(3)),
        (np.array([0, 1, 1, 1]), gym.spaces.Discrete(3, start=1)),
    ],
)
def test_actions_that_no_environment_with_the_space_takes_are_refused(actions, space):
    shown = {"observations": np.zeros((5, 1)), "actions": actions, "lengths": [4]}
    with pytest.raises(DemonstrationError, match="do not fit the spaces"):
        BehavioralCloning(gym.spaces.Box(-1, 1, (1,)), space).fit(shown)


def test_behaviour_cloning_reads_discrete_observations_one_by_one_and_in_batches():
    seen, taken = np.arange(41) % 4, np.array([2, 0, 1, 1])
    cloning = BehavioralCloning(
        gym.spaces.Discrete(4, start=5), gym.spaces.Discrete(3), CloningConfig(num_updates=200)
    )
    cloning.fit(
        {
            "observations": np.eye(4, dtype=np.float32)[seen],
            "actions": taken[seen[:-1]],
            "lengths": [40],
        }
    )
    assert cloning.predict(np.arange(5, 9))[0].tolist() == [2, 0, 1, 1]
    assert [cloning.predict(np.int64(place))[0] for place in range(5, 9)] == [2, 0, 1, 1]


def test_what_was_constant_when_it_was_shown_does_not_decide_later():
    generator = np.random.default_rng(0)
    place = generator.uniform(-1, 1, 201)
    shown = {
        "observations": np.stack([place, np.full(201, 0.3)], 1).astype(np.float32),
        "actions": (place[:-1] > 0).astype(int),
    }
    cloning = BehavioralCloning(
        gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2), CloningConfig(num_updates=400), seed=0
    )
    cloning.fit(Demonstrations.of(shown | {"lengths": [200]}))
    asked = np.stack([generator.uniform(-1, 1, 500), np.full(500, 0.4)], 1).astype(np.float32)
    assert (cloning.predict(asked)[0] == (asked[:, 0] > 0)).mean() > 0.9
    network = RewardNetwork(2, gym.spaces.Discrete(2), generator=torch.Generator().manual_seed(0))
    network.standardize(torch.tensor([[1.0, 12345.678], [5.0, 12345.678]]))
    assert network.std.tolist() == [2.0, 1.0]


@pytest.mark.parametrize(("low", "high"), [(5.0, 10.0), (-0.01, 0.01), (-np.inf, np.inf)])
def test_cloning_learns_actions_in_any_unit(low, high):
    """The action is a share of the range that one number of the observation names."""
    centre, half = (0.0, 300.0) if np.isinf(low) else ((low + high) / 2, (high - low) / 2)
    shares = np.random.default_rng(0).uniform(-0.9, 0.9, 401).astype(np.float32)
    data = {
        "observations": shares[:, None],
        "actions": (centre + half * shares[:400, None]).astype(np.float32),
        "lengths": np.array([400]),
    }
    spaces = gym.spaces.Box(-1, 1, (1,), np.float32), gym.spaces.Box(low, high, (1,), np.float32)
    cloning = BehavioralCloning(*spaces, CloningConfig(widths=(16,), num_updates=600))
    assert cloning.fit(data).metrics["loss"] < 0.01
    asked = np.float32([[-0.8], [0.0], [0.5]])
    np.testing.assert_allclose((cloning.predict(asked)[0] - centre) / half, asked, atol=0.1)


def pushes(space, seed=0):
    """Rows of an environment whose action says in which quarter its number lies."""
    places = np.random.default_rng(seed).uniform(0, 4, 201).astype(np.float32)
    quarters = places[:200].astype(int)
    bits = np.stack([quarters // 2, quarters % 2], 1)
    given = (
        {"up": quarters // 2, "left": quarters % 2} if isinstance(space, gym.spaces.Dict) else bits
    )
    data = Trajectories.from_arrays(
        places, ActionCodec(space).encode(given), np.zeros(200), np.zeros(200, bool)
    )
    return data, places, bits


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.MultiDiscrete([2, 2]),
        gym.spaces.MultiBinary(2),
        gym.spaces.Dict(up=gym.spaces.Discrete(2), left=gym.spaces.Discrete(2)),
    ],
    ids=lambda space: type(space).__name__,
)
def test_every_action_space_is_cloned(space):
    data, places, bits = pushes(space)
    cloning = BehavioralCloning(gym.spaces.Box(0, 4, (1,)), space, CloningConfig(num_updates=300))
    cloning.fit(data)
    single = cloning.predict(np.float32([2.5]))[0]
    assert space.contains(single)
    actions = cloning.predict(places[:200, None])[0]
    if isinstance(space, gym.spaces.Dict):
        actions = np.stack([actions["up"], actions["left"]], 1)
        single = [single["up"], single["left"]]
    assert (actions == bits).all(1).mean() > 0.9
    assert list(single) == [1, 0]


def test_observations_of_several_parts_are_cloned():
    parts = gym.spaces.Dict(place=gym.spaces.Box(-1, 1, (1,)), door=gym.spaces.Discrete(2))
    seen = {"place": np.zeros((101, 1), np.float32), "door": np.arange(101) % 2}
    rows = ObservationCodec(parts).encode(seen)
    data = Trajectories.from_arrays(
        rows, np.arange(100) % 2, np.zeros(100), np.zeros(100, bool), observation_space=parts
    )
    cloning = BehavioralCloning(parts, gym.spaces.Discrete(2), CloningConfig(num_updates=50))
    cloning.fit(data)
    shown = {"place": np.float32([0]), "door": np.int64(1)}
    assert cloning.predict(shown)[0] == 1
    batch = {"place": np.zeros((2, 1), np.float32), "door": np.array([1, 0])}
    assert cloning.predict(batch)[0].tolist() == [1, 0]


def test_a_fit_reports_and_resumes_bitwise(tmp_path):
    env = Thermostat()
    config = CloningConfig(num_updates=250)
    whole = BehavioralCloning(env.observation_space, env.action_space)
    report = whole.fit(recorded(False), config)
    assert report.num_updates == 250
    assert report.metrics["loss"] < report.history[0]["loss"]

    class KilledError(Exception):
        pass

    resumed = BehavioralCloning(env.observation_space, env.action_space, config)
    weights = resumed.network.layers[0].weight
    calls = [0]

    def die(gradient):
        calls[0] += 1
        if calls[0] > 120:
            raise KilledError
        return gradient

    handle = weights.register_hook(die)
    with pytest.raises(KilledError):
        resumed.fit(recorded(False), checkpoints=tmp_path)
    handle.remove()
    again = BehavioralCloning(env.observation_space, env.action_space, config)
    again.fit(recorded(False), checkpoints=tmp_path)
    for ours, theirs in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(CheckpointError, match="learning_rate"):
        again.fit(
            recorded(False), CloningConfig(num_updates=250, learning_rate=1.0), checkpoints=tmp_path
        )


def test_a_cloned_policy_is_saved_and_loaded(tmp_path):
    env = Thermostat()
    cloning = BehavioralCloning(
        env.observation_space, env.action_space, CloningConfig(num_updates=20)
    )
    with pytest.raises(ConfigError, match="never fitted"):
        cloning.save(tmp_path / "clone")
    cloning.fit(recorded(False))
    path = saving.save(cloning, tmp_path / "clone")
    assert path.name == "clone.safetensors"
    loaded = saving.load(tmp_path / "clone", env)
    places = np.float32([[-1.5], [0.3]])
    np.testing.assert_array_equal(loaded.predict(places)[0], cloning.predict(places)[0])
    with pytest.raises(SpaceError, match="the environment has"):
        BehavioralCloning.load(path, Thermostat(is_discrete=True))
    with pytest.raises(ConfigError, match="on the CPU"):
        BehavioralCloning.load(path, device="cuda")
