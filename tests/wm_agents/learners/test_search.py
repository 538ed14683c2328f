"""Search in exact rules: it refuses wrong ones, and rows of different episodes are never joined."""

from dataclasses import replace

import numpy as np
import torch
from gymnasium import spaces

from tests.support.small_tasks import Identity, play, spaces_of
from wm_agents.learners.base import VectorStep
from wm_agents.learners.search import Search, SearchLearnerConfig
from wm_agents.policy_gradient.spaces import PolicySpaces

ALL = np.ones(1, np.bool_)


def search(**options):
    config = SearchLearnerConfig(**{"first_fit": 60, **options})
    return Search(spaces_of(Identity), 1, 1000, 1, config)


def step_of(state, action, reward, is_start=False):
    rows = torch.eye(3)
    no = np.zeros(1, np.bool_)
    return VectorStep(
        rows[state][None],
        torch.tensor([action]),
        np.array([reward], np.float32),
        no,
        no,
        rows[action][None],
        np.array([is_start]),
    )


def test_rules_that_a_step_contradicts_act_no_more():
    learner = search(max_fits=2)
    play(learner, Identity, 64)
    assert learner.can_act
    assert learner.decision().startswith("exact rules after 1 searches")
    right = step_of(2, 2, 1.0, is_start=True)
    learner.observe(right, ALL)
    assert learner.can_act
    # The same state and action with another reward.
    learner.observe(replace(right, rewards=np.array([0.5], np.float32)), ALL)
    assert not learner.can_act
    assert learner.decision() == "no exact rules yet"
    play(learner, Identity, 64)
    # What was recorded contradicts itself, so that no rules explain it.
    assert learner.withdrawal.startswith("no exact rules in ")


def test_rewards_of_a_small_unit_contradict_rules_too():
    learner = search()

    class Small(Identity):
        def step(self, action):
            obs, reward, *rest = super().step(action)
            return obs, reward * 1e-6, *rest

    play(learner, Small, 64)
    assert learner.can_act
    right = step_of(2, 2, 1e-6)
    assert learner._explains(right)
    assert not learner._explains(replace(right, rewards=np.array([0.0], np.float32)))


def test_a_wrong_observation_and_a_wrong_end_contradict_too():
    learner = search()
    play(learner, Identity, 64)
    right = step_of(1, 0, 0.0)
    assert learner._explains(right)
    assert not learner._explains(replace(right, next_obs=torch.eye(3)[1:2]))
    assert not learner._explains(replace(right, terminated=ALL))


def test_numbers_that_are_not_whole_are_left_to_others():
    spaces_of_numbers = PolicySpaces(spaces.Box(-1, 1, (1,)), spaces.Discrete(2))
    learner = Search(spaces_of_numbers, 1, 100, 1, SearchLearnerConfig(first_fit=3))
    draws = torch.rand(4, 1)
    no = np.zeros(1, np.bool_)
    for number in range(3):
        obs, next_obs = draws[number][None], draws[number + 1][None]
        zero = np.zeros(1, np.float32)
        learner.observe(VectorStep(obs, torch.tensor([0]), zero, no, no, next_obs, no), ALL)
    assert learner.decision() == "observations are not whole numbers"


def test_an_episode_that_was_left_is_not_joined_to_the_next():
    learner = search()
    for state, action, is_start in ((0, 1, True), (1, 2, False), (0, 0, True), (0, 2, False)):
        learner.observe(step_of(state, action, 0.0, is_start), ALL)
    parts = [*learner._done_episodes, *learner._open]
    assert [len(part) for part in parts] == [2, 2]
    found = learner.trajectories(parts)
    np.testing.assert_array_equal(found.observations.argmax(1), [0, 1, 2, 0, 0, 2])


def test_stored_rules_are_found_again_and_recording_goes_on():
    learner, again = search(), search()
    play(learner, Identity, 68)
    assert learner._open[0]
    again.load_state_dict(learner.state_dict())
    assert again.can_act
    obs = torch.eye(3)
    assert again.predict(obs, None, np.ones(3, np.bool_))[0].tolist() == [0, 1, 2]
    for one in (learner, again):
        play(one, Identity, 20)
    for first, second in zip(learner._done_episodes, again._done_episodes, strict=True):
        assert [step[1:5] for step in first] == [step[1:5] for step in second]
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[5], other[5])


def test_only_the_newest_steps_are_kept():
    learner = search(first_fit=10**6, max_steps=24)
    play(learner, Identity, 80)
    assert learner._num_kept == sum(len(part) for part in learner._done_episodes) == 24
