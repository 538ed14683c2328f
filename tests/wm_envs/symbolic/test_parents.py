import json

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401  (registers the ids)
from tests.support.misbehaving_server import completion, serving
from wm_envs.errors import OptionError
from wm_envs.language_model import LanguageModelClient
from wm_envs.symbolic.parents import DeterministicParent, LanguageModelParent, check_consistency

ENV_ID = "wm/PermPuzzle-v0"


def start(seed=0):
    env = gym.make(ENV_ID).unwrapped
    env.reset(seed=seed)
    return env, env.clone_state()


def model(url, rules, **options):
    client = LanguageModelClient(url, "m", timeout=5.0, backoff=0.001, max_tries=2)
    return LanguageModelParent(client, rules, **options)


def test_the_deterministic_parent_is_the_environment():
    rules = DeterministicParent(ENV_ID)
    env, state = start()
    np.testing.assert_array_equal(rules.observe(state), env.restore_state(state))
    observation, reward, *_ = env.step(1)
    np.testing.assert_array_equal(rules.transition(state, 1), observation)
    assert rules.reward(state, 1) == reward
    assert check_consistency(rules, rules).is_consistent
    assert [DeterministicParent(ENV_ID, 3).instance(episode) for episode in range(4)] == [
        0,
        1,
        2,
        0,
    ]


def test_a_truthful_model_is_consistent():
    rules = DeterministicParent(ENV_ID)
    truths = {}
    env, _ = start()
    for seed in range(60):
        env.reset(seed=seed)
        for action in (0, 1, 2, 1, 0):
            state = env.clone_state()
            for tried in range(3):
                consequence = rules.consequence(state, tried)
                key = (tuple(rules.observe(state).tolist()), tried)
                truths[key] = {
                    "next_observation": consequence.next_observation.tolist(),
                    "reward": consequence.reward,
                }
            env.step(action)

    def answer(request):
        question = json.loads(request["messages"][1]["content"])
        return 200, completion(truths[tuple(question["observation"]), question["action"]])

    with serving(answer) as (url, requests):
        parent = model(url, rules)
        state = start(3)[1]
        np.testing.assert_array_equal(parent.transition(state, 2), rules.transition(state, 2))
        assert parent.reward(state, 2) == rules.reward(state, 2)
    assert len(requests) == 1  # the second question was known
    assert parent.num_fallbacks == 0
    assert (
        "arrangement" in requests[0]["messages"][0]["content"]
        or "token" in requests[0]["messages"][0]["content"]
    )


BAD_ANSWERS = [
    {"next_observation": [0.0] * 72},
    {"next_observation": [0.0] * 71, "reward": 0},
    {"next_observation": [2.0] + [0.0] * 71, "reward": 0},
    {"next_observation": [None] * 72, "reward": 0},
    {"next_observation": [0.0] * 72, "reward": "1"},
    {"next_observation": [0.0] * 72, "reward": True},
    [],
]


@pytest.mark.parametrize("answer", BAD_ANSWERS, ids=range(len(BAD_ANSWERS)))
def test_the_rules_answer_where_the_model_is_no_use(answer):
    rules = DeterministicParent(ENV_ID)
    state = start()[1]
    with serving((200, completion(answer))) as (url, _):
        parent = model(url, rules)
        np.testing.assert_array_equal(parent.transition(state, 0), rules.transition(state, 0))
    assert parent.num_fallbacks == 1


def test_a_dead_model_falls_back():
    with serving((200, "")) as (url, _):
        pass
    rules = DeterministicParent(ENV_ID, 2)
    parent = model(url, rules)
    assert parent.reward(start()[1], 0) == rules.reward(start()[1], 0)
    assert parent.instance(3) == 1
    assert parent.num_fallbacks == 2


def test_a_model_that_invents_is_found_out():
    rules = DeterministicParent(ENV_ID)
    with serving((200, completion({"next_observation": [0.0] * 72, "reward": 1.0}))) as (url, _):
        found = check_consistency(model(url, rules), rules, num_steps=20)
    assert found.num_questions == 20
    assert found.num_wrong_transitions == 20
    assert found.num_wrong_rewards >= 15
    assert found.num_unequal_repeats == 0
    assert not found.is_consistent


def test_instances_by_the_model():
    rules = DeterministicParent(ENV_ID, 5)
    with serving((200, completion({"instance": 4})), (200, completion({"instance": 5}))) as (
        url,
        _,
    ):
        parent = model(url, rules)
        assert parent.instance(0) == 4
        assert parent.instance(1) == 1  # out of range: the fallback's
    assert parent.num_fallbacks == 1


def test_bad_options():
    with pytest.raises(OptionError):
        DeterministicParent("CartPole-v1")
    with pytest.raises(OptionError):
        DeterministicParent(ENV_ID, 0)
