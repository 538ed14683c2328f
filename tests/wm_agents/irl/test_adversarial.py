import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env

from wm_agents.errors import ConfigError, DemonstrationError, MixedHorizonError, SpaceError
from wm_agents.irl import (
    AdversarialConfig,
    AdversarialIRL,
    BehavioralCloning,
    CloningConfig,
    Demonstrations,
)
from wm_agents.irl.rewards import RewardNetwork

SMALL = AdversarialConfig(num_steps=64, num_discriminator_updates=10, batch_size=64, num_epochs=4)


class Thermostat(gym.Env):
    """One number to be kept at zero by a push; five steps, or as long as an option says."""

    def __init__(self, is_discrete=False, varies=False):
        self.observation_space = gym.spaces.Box(-10, 10, (1,), np.float32)
        self.action_space = (
            gym.spaces.Discrete(3) if is_discrete else gym.spaces.Box(-1, 1, (1,), np.float32)
        )
        self.varies = varies

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.age = self.np_random.uniform(-2, 2, 1).astype(np.float32), 0
        self.length = 3 + int(self.np_random.integers(3)) if self.varies else 5
        return self.place, {}

    def step(self, action):
        push = (
            action - 1 if isinstance(self.action_space, gym.spaces.Discrete) else float(action[0])
        )
        self.place = (self.place + push).astype(np.float32)
        self.age += 1
        return self.place, 0.0, False, self.age >= self.length, {}


def recorded(is_discrete, num_episodes=40, length=5, seed=0):
    """Always towards zero."""
    generator = np.random.default_rng(seed)
    observations, actions = [], []
    for _ in range(num_episodes):
        place = generator.uniform(-2, 2)
        observations.append(place)
        for _ in range(length):
            push = np.clip(-place, -1, 1)
            if is_discrete:
                push = np.round(push)
            place = place + push
            observations.append(place)
            actions.append(int(push) + 1 if is_discrete else [push])
    return Demonstrations.of(
        {
            "observations": np.array(observations, np.float32)[:, None],
            "actions": np.array(actions),
            "lengths": np.full(num_episodes, length),
        }
    )


@pytest.mark.parametrize(("is_discrete", "is_state_only"), [(True, True), (False, False)])
def test_rewards_are_highest_where_the_expert_goes(is_discrete, is_state_only):
    envs = make_vec_env(lambda: Thermostat(is_discrete), 4, seed=0)
    settings = AdversarialConfig(
        **{
            **vars(SMALL),
            "is_state_only": is_state_only,
            "starts_from_clone": False,
            "gradient_penalty": 0.1,
        }
    )
    airl = AdversarialIRL(recorded(is_discrete), envs, settings, seed=0)
    airl.learn(1000)
    pushes = np.array([1, 1, 1]) if is_discrete else np.zeros((3, 1), np.float32)
    middle, right, left = airl.reward(np.array([[0.0], [3.0], [-3.0]], np.float32), pushes)
    assert middle > right
    assert middle > left
    assert airl.predict(np.zeros((2, 1), np.float32))[0].shape == ((2,) if is_discrete else (2, 1))


def test_the_same_seed_gives_the_same_rewards():
    def rewards():
        envs = make_vec_env(lambda: Thermostat(True), 2, seed=3)
        airl = AdversarialIRL(
            recorded(True),
            envs,
            AdversarialConfig(**{**vars(SMALL), "starts_from_clone": False}),
            3,
        )
        airl.learn(128)
        return airl.reward(np.array([[0.0], [1.0]]), np.array([0, 1]))

    np.testing.assert_array_equal(rewards(), rewards())


def test_logits_have_the_potential_as_in_the_paper():
    envs = make_vec_env(Thermostat, 2, seed=0)
    airl = AdversarialIRL(
        recorded(False), envs, AdversarialConfig(**{**vars(SMALL), "starts_from_clone": False}), 0
    )
    rows = torch.randint(200, (4,), generator=torch.Generator().manual_seed(0))
    steps = airl.demonstrated.select(rows)
    steps.terminations[0] = True
    network = airl.reward_network
    before, after = (
        airl.potential((rows - network.mean) / network.std)[:, 0]
        for rows in (steps.observations, steps.next_observations)
    )
    expected = (
        network(steps.observations, steps.actions) + 0.99 * after * ~steps.terminations - before
    )
    torch.testing.assert_close(airl.logits(steps), expected)


def test_mixed_horizons_need_permission():
    mixed = Demonstrations.of(
        {
            "observations": np.zeros((7, 1)),
            "actions": np.zeros((5, 1), np.float32),
            "lengths": [2, 3],
        }
    )
    envs = make_vec_env(Thermostat, 2, seed=0)
    with pytest.raises(MixedHorizonError, match="2 to 3 steps"):
        AdversarialIRL(mixed, envs, SMALL)
    varying = make_vec_env(lambda: Thermostat(varies=True), 2, seed=0)
    settings = {**vars(SMALL), "starts_from_clone": False}
    with pytest.raises(MixedHorizonError, match="the learner's episodes last"):
        AdversarialIRL(recorded(False), varying, AdversarialConfig(**settings)).learn(128)
    permitted = AdversarialConfig(**{**settings, "may_vary_in_length": True})
    AdversarialIRL(mixed, varying, permitted).learn(128)


def test_demonstrations_have_to_fit_the_spaces():
    with pytest.raises(DemonstrationError, match="do not fit the spaces"):
        AdversarialIRL(recorded(True), make_vec_env(Thermostat, 1), SMALL)
    with pytest.raises(ConfigError):
        AdversarialConfig(gamma=1.0)


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("observation_space", gym.spaces.Discrete(4)),
        ("observation_space", gym.spaces.MultiBinary(1)),
        ("action_space", gym.spaces.MultiDiscrete([2, 2])),
        ("action_space", gym.spaces.Discrete(3, start=1)),
        ("action_space", gym.spaces.Box(-1, 1, (1, 1))),
    ],
)
def test_other_spaces_are_refused_at_once(name, space):
    envs = make_vec_env(Thermostat, 1)
    setattr(envs, name, space)
    with pytest.raises(
        SpaceError, match=r"AdversarialIRL serves Box observations.*wrap the environments"
    ):
        AdversarialIRL(recorded(False), envs, SMALL)


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


def test_actions_of_whole_numbers_are_refused_by_the_policy_and_rounded_to_by_cloning():
    whole = gym.spaces.Box(-2, 2, (1,), np.int64)
    envs = make_vec_env(Thermostat, 1)
    envs.action_space = whole
    with pytest.raises(SpaceError, match=r"hands out fractions where actions are Box\(-2, 2"):
        AdversarialIRL(recorded(True), envs)
    envs.action_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    with pytest.raises(SpaceError, match="Box actions have finite bounds"):
        AdversarialIRL(recorded(True), envs)
    cloned = BehavioralCloning(Thermostat().observation_space, whole, seed=0)
    cloned.is_fitted = True  # its weights are set by hand
    seen = Thermostat().observation_space.sample()
    for bias, expected in ((0.6, 1), (-9.0, -2)):
        for parameter in cloned.network.parameters():
            torch.nn.init.zeros_(parameter)
        torch.nn.init.constant_(list(cloned.network.parameters())[-1], bias)
        action = cloned.predict(seen)[0]
        assert whole.contains(action)
        assert action.tolist() == [expected]


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


def test_demonstrations_of_another_action_size_are_refused_by_airl():
    shown = {"observations": np.zeros((6, 1)), "actions": np.zeros((5, 2)), "lengths": [5]}
    with pytest.raises(DemonstrationError, match="do not fit the spaces"):
        AdversarialIRL(shown, make_vec_env(Thermostat, 1))


def test_an_end_that_is_not_told_is_no_termination():
    """The learner's episodes are cut by a time limit.

    A demonstration that ended otherwise would give itself away.
    """
    shown = {"observations": np.zeros((12, 1)), "actions": np.zeros((10, 1)), "lengths": [5, 5]}
    assert not Demonstrations.of(shown).trajectories.terminations.any()
    cut = np.arange(10) % 5 == 4
    recorded = Demonstrations.of(shown | {"truncations": cut}).trajectories
    assert not recorded.terminations.any()
    assert recorded.truncations.tolist() == cut.tolist()


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


@pytest.mark.parametrize(("low", "high"), [(5.0, 10.0), (-0.01, 0.01)])
def test_the_learners_clone_acts_inside_its_bounds(low, high):
    class Elsewhere(Thermostat):
        def __init__(self):
            super().__init__()
            self.action_space = gym.spaces.Box(low, high, (1,), np.float32)

    shown = recorded(False).trajectories
    actions = ((shown.actions + 1) / 2 * (high - low) + low).astype(np.float32)
    data = {"observations": shown.observations, "actions": actions, "lengths": shown.lengths}
    airl = AdversarialIRL(data, make_vec_env(Elsewhere, 1), SMALL)
    places = np.float32([[-2], [0.5], [2]])
    answers = (airl.predict(places, deterministic=True)[0] - low) / (high - low) * 2 - 1
    np.testing.assert_allclose(answers, np.clip(-places, -1, 1), atol=0.2)
    spread = airl.learner.policy.log_std.detach().exp() * airl.learner.policy.action_unit
    assert float(spread) < (high - low) / 4
    assert np.isfinite(airl.learn(64).reward(places, actions[:3])).all()
    with pytest.raises(SpaceError):
        airl.predict(None)
