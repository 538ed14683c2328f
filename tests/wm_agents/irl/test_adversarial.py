import copy

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env

from tests.support.thermostat import Thermostat, recorded
from wm_agents import irl
from wm_agents.errors import (
    CheckpointError,
    ConfigError,
    DemonstrationError,
    MixedHorizonError,
    SpaceError,
)
from wm_agents.irl import (
    AdversarialConfig,
    AdversarialIRL,
    BehavioralCloning,
    Demonstrations,
    RewardRelabelVecEnv,
)
from wm_agents.training import saving

SMALL = AdversarialConfig(num_steps=64, num_discriminator_updates=10, batch_size=64, num_epochs=4)


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


@pytest.mark.parametrize("is_discrete", [True, False])
def test_presets_fit_the_actions_and_take_changes(is_discrete):
    space = Thermostat(is_discrete).action_space
    clone = AdversarialConfig.from_clone(space, gamma=0.9)
    assert (clone.starts_from_clone, clone.takes_any_length, clone.gamma) == (True, True, 0.9)
    assert clone.learning_rate == (3e-4 if is_discrete else 1e-4)
    nothing = AdversarialConfig.from_nothing(space, 16, gamma=0.9, num_steps=64)
    assert (nothing.starts_from_clone, nothing.takes_any_length) == (False, True)
    assert (nothing.gamma, nothing.num_steps) == (0.9, 64)
    assert nothing.is_state_only is not is_discrete
    assert nothing.num_replay_rounds == (4 if is_discrete else 8)
    assert AdversarialConfig.from_nothing(space, 4096).num_steps == 1


def test_a_discriminator_that_forgets_nothing_keeps_every_round():
    envs = make_vec_env(lambda: Thermostat(True), 2, seed=0)
    config = AdversarialConfig.from_nothing(
        envs.action_space, 2, num_steps=32, num_epochs=1, num_replay_rounds=None
    )
    airl = AdversarialIRL(recorded(True), envs, config, seed=0).learn(6 * 64)
    assert [len(each.steps) for each in airl.replay] == [64] * 6
    with pytest.raises(ConfigError, match="num_replay_rounds"):
        AdversarialConfig(num_replay_rounds=0)
    with pytest.raises(ConfigError, match="num_replay_rounds is an integer"):
        AdversarialConfig(num_replay_rounds=2.5)


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


def small_airl(seed=0, **changes):
    settings = AdversarialConfig(**{**vars(SMALL), "starts_from_clone": False, **changes})
    envs = make_vec_env(Thermostat, 2, seed=seed)
    return AdversarialIRL(recorded(False), envs, settings, seed)


def ask(airl):
    return airl.reward(np.float32([[0.0], [1.0]]), np.zeros((2, 1), np.float32)).tolist()


@pytest.mark.parametrize(
    "changes", [{}, {"normalizes_rewards": True, "anneals": True, "num_replay_rounds": 2}]
)
def test_copies_and_pickles_learn_on_by_themselves(changes):
    airl = small_airl(**changes)
    airl.learn(128)
    copies = [copy.deepcopy(airl), cloudpickle.loads(cloudpickle.dumps(airl))]
    before = ask(airl)
    rewards = []
    for twin in [*copies, airl]:
        assert ask(twin) == before
        torch.manual_seed(1)
        rewards.append(ask(twin.learn(128)))
    assert rewards[0] == rewards[1] == rewards[2] != before


def test_reward_and_policy_are_saved_and_loaded(tmp_path):
    airl = small_airl()
    with pytest.raises(ConfigError, match="never fitted"):
        airl.save(tmp_path / "airl")
    airl.learn(128)
    path = saving.save(airl, tmp_path / "airl")
    loaded = saving.load(path)
    assert ask(loaded) == ask(airl)
    places = np.float32([[-1.0], [0.5]])
    np.testing.assert_array_equal(
        loaded.predict(places, deterministic=True)[0], airl.predict(places, deterministic=True)[0]
    )
    with pytest.raises(ConfigError, match="loaded to predict"):
        loaded.learn(128)
    envs = make_vec_env(Thermostat, 2, seed=0)
    assert ask(saving.load(path, envs, given=recorded(False)).learn(128)) != ask(airl)
    with pytest.raises(SpaceError, match="the environment has"):
        AdversarialIRL.load(path, make_vec_env(lambda: Thermostat(True), 1))
    with pytest.raises(CheckpointError, match="kind"):
        BehavioralCloning.load(path)


def test_rewards_of_any_function_are_relabeled():
    envs = RewardRelabelVecEnv(make_vec_env(Thermostat, 2, seed=0), lambda s: s.observations[:, 0])
    start = envs.reset()
    obs = start
    for _ in range(7):
        next_obs, rewards, _, _ = envs.step(np.zeros((2, 1), np.float32))
        np.testing.assert_array_equal(rewards, obs[:, 0])
        obs = next_obs
    steps = envs.take_steps()
    assert len(steps) == 14
    np.testing.assert_array_equal(steps.observations[:2], start)
    # After five steps an episode is cut: what it led to is its own last observation.
    np.testing.assert_array_equal(steps.next_observations[8:10], steps.observations[8:10])
    assert steps.truncations.nonzero().flatten().tolist() == [8, 9]
    assert not steps.terminations.any()


def test_old_names_lead_to_the_new_with_a_warning():
    with pytest.warns(DeprecationWarning, match="BehavioralCloning"):
        assert irl.BehaviourCloning is BehavioralCloning
    with pytest.warns(DeprecationWarning, match="TabularMDP"):
        assert irl.DecisionModel is irl.TabularMDP
    with pytest.warns(DeprecationWarning, match="has moved"):
        from wm_agents.irl.held_out import cross_validate
    assert cross_validate is irl.cross_validate


class Cliff(gym.Env):
    """One stands for ten steps with action 1 and falls at once with action 0."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.age = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.age += 1
        return np.zeros(1, np.float32), 0.0, int(action) == 0, self.age >= 10, {}


def standing(num_episodes=4):
    """Ten steps each, cut by the time limit."""
    size = 10 * num_episodes
    return Demonstrations.of(
        {
            "observations": np.zeros((size + num_episodes, 1), np.float32),
            "actions": np.ones(size, np.int64),
            "lengths": [10] * num_episodes,
            "truncations": np.arange(size) % 10 == 9,
        }
    )


def test_what_ends_early_stays_in_the_absorbing_state():
    envs = make_vec_env(Cliff, 2, seed=0)
    settings = AdversarialConfig(
        **{**vars(SMALL), "starts_from_clone": False, "has_absorbing_state": True}
    )
    airl = AdversarialIRL(standing(), envs, settings, 0)
    # Nothing is known before the first round.
    assert vars(airl.absorption) == {"alive_logit": 0.0, "absorbed_logit": 0.0}
    steps = airl.demonstrated.select(torch.arange(4))
    steps.terminations[1] = True
    airl.train_discriminator(steps, 0, num_absorbed=12)
    # Demonstrators never end; of the learner's 16 steps 12 are after an end.
    assert airl.absorption.alive_logit == pytest.approx(np.log(1.001 / 0.251))
    assert airl.absorption.absorbed_logit == pytest.approx(np.log(0.001 / 0.751))
    rewards = airl.learner_reward(steps)
    plain = airl.logits(steps) - airl.log_policy(steps) + airl.absorption.alive_logit
    torch.testing.assert_close(rewards[0], plain[0])
    for_ever = 0.99 / 0.01 * airl.absorption.absorbed_logit
    torch.testing.assert_close(rewards[1], plain[1] + for_ever)


def test_steps_after_an_end_are_counted_up_to_the_horizon():
    envs = RewardRelabelVecEnv(make_vec_env(Cliff, 2, seed=0), lambda s: torch.zeros(len(s)))
    envs.horizon = 10
    envs.reset()
    envs.step(np.array([1, 0]))
    assert envs.take_absorbed() == 9
    for _ in range(8):
        envs.step(np.array([1, 1]))
    assert envs.take_absorbed() == 0
    envs.step(np.array([0, 1]))  # row 0 ends with its tenth step
    assert envs.take_absorbed() == 0
    envs.step(np.array([0, 1]))  # row 1's tenth step: a time limit is no end
    assert envs.take_absorbed() == 9


def test_falling_early_does_not_look_right_with_an_absorbing_state():
    """With permission alone every step costs at last, and the learner falls at once."""
    settings = AdversarialConfig(
        **{
            **vars(SMALL),
            "starts_from_clone": False,
            "has_absorbing_state": True,
            "normalizes_rewards": True,
            "num_replay_rounds": 2,
            "learning_rate": 1e-2,  # only biases can learn where there is nothing to see
            "target_kl": None,
        }
    )
    airl = AdversarialIRL(standing(), make_vec_env(Cliff, 4, seed=0), settings, 0)
    airl.learn(2500)
    probabilities = airl.learner.policy.get_distribution(torch.zeros(1, 1)).distribution.probs
    assert float(probabilities[0, 1].detach()) > 0.9


def test_normalized_rewards_have_returns_of_one_spread():
    def returns(scale):
        envs = RewardRelabelVecEnv(
            make_vec_env(Thermostat, 2, seed=0),
            lambda s: scale * s.observations[:, 0],
            normalized_gamma=0.9,
        )
        envs.reset()
        return np.stack([envs.step(np.zeros((2, 1), np.float32))[1] for _ in range(200)])

    small, large = returns(1.0), returns(1000.0)
    np.testing.assert_allclose(small[50:], large[50:], rtol=0.02)
    assert 0.1 < small[50:].std() < 1
