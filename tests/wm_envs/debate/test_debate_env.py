import re

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import pytest

import wm_envs  # noqa: F401  (registers the ids)
from wm_envs.debate import dynamics
from wm_envs.debate.env import DebateEnv
from wm_envs.debate.scripted import ScriptedDebater
from wm_envs.debate.tendencies import DEFAULT_ALLOCATIONS, OBSERVATION, TENDENCIES
from wm_envs.errors import InvalidActionError, OptionError
from wm_envs.oracle import rollout
from wm_envs.testing import check_vector_env

ONE_PERSON = {"ann": [[0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.4, 0.0, 0.0, 0.2]]}
OWN = [0, 0, 0, 0, 0, 0, 0.5]  # curiosity's claim, as far as the observation bears


def small(**options):
    settings = {"relevance": ONE_PERSON, "rivals": "silent", "num_debates": 2, "num_rounds": 2}
    return DebateEnv(**{**settings, **options})


def test_the_vector_checker_is_clean():
    check_vector_env("wm/Debate-v0")


def test_the_documented_fields_are_the_fields():
    table = re.findall(
        r"^ +\| ([\d-]+) \| `(\w+)`(?: \.\.\. `(\w+)`)? \| 1 \| (-?\d+) \| (\d+) \|",
        DebateEnv.__doc__,
        re.MULTILINE,
    )
    assert len(table) == 7
    for places, first, last, low, high in table:
        start, _, end = places.partition("-")
        fields = OBSERVATION[int(start) : int(end or start) + 1]
        assert (fields[0].name, fields[-1].name) == (first, last or first)
        assert {(field.low, field.high) for field in fields} == {(float(low), float(high))}
    assert DebateEnv().observation_space.shape == (len(OBSERVATION),) == (31,)


def test_an_episode_by_hand():
    env = small()
    observation, info = env.reset(seed=0)
    np.testing.assert_array_equal(info["allocations"], list(DEFAULT_ALLOCATIONS.values()))
    assert (info["winner"], info["is_success"]) == (-1, False)
    relevances = {0.5, np.float32(0.2)}
    assert observation[16] in relevances
    observation, reward, *_ = env.step(OWN)
    assert reward == 0
    first = observation[23]
    assert first == pytest.approx(
        0.1 * (0.5 if observation[16] != 0.5 else 0.2), rel=1e-5
    )  # weight x allocation
    observation, reward, terminated, truncated, info = env.step(OWN)
    # The only claim with a positive score wins all of it: 0.10 + 0.15 x (1 - 0.10).
    assert reward == pytest.approx(13.5, abs=1e-9)
    assert info["allocations"][6] == pytest.approx(0.235)
    assert (info["winner"], info["is_success"], terminated, truncated) == (6, True, False, False)
    np.testing.assert_array_equal(observation[17:24], np.zeros(7))  # the next debate is open
    env.step(OWN)
    _, reward, terminated, truncated, info = env.step(OWN)
    assert reward == pytest.approx(100 * 0.15 * 0.9 * (1 - 0.235), abs=1e-9)
    assert (terminated, truncated) == (False, True)


def test_overreach_is_answered_and_budgets_are_scarce():
    env = small(budget=0.5)
    env.reset(seed=0)
    observation, *_ = env.step([0, 0, 0, 0, 0, 0, 1.0])  # asks for weight 1, may stake 0.5
    assert observation[0] == 0
    env.step(OWN)
    assert env.clone_state()["weights"][6].tolist() == [0] * 7  # nothing is left to stake
    observation, *_ = env.step(
        [0, 0, 0, 0, 0, 0, 0.1]
    )  # a new debate: a fifth of what it bears, at most 0.1
    assert 0.7 < observation[0] < 1


def test_influence_is_conserved_and_bounded():
    envs = gym.make_vec(
        "wm/Debate-v0",
        num_envs=256,
        seat=None,
        learning_rate=1.0,
        num_rounds=2,
        autoreset_mode="SameStep",
    )
    envs.reset(seed=0)
    envs.action_space.seed(0)
    winners = set()
    for _ in range(30):
        _, _, _, _, infos = envs.step(envs.action_space.sample())
        np.testing.assert_allclose(infos["allocations"].sum(axis=1), 1, atol=1e-9)
        assert infos["allocations"].min() >= 0.03
        assert infos["allocations"].max() <= 0.5
        winners |= set(infos["winner"].tolist())
    assert winners >= set(range(7))


def test_persons_seats_and_scripts_are_drawn():
    envs = gym.make_vec("wm/Debate-v0", num_envs=512, seat=None)
    envs.reset(seed=0)
    states = envs.clone_state()
    assert set(states["person"].tolist()) == set(range(12))
    assert set(states["seat"].tolist()) == set(range(7))
    assert set(states["strategies"].ravel().tolist()) == {1, 2, 3, 4, 5}


def test_the_walk_meets_every_observation_of_the_person():
    relevance = {"ann": np.eye(7) * np.linspace(0.1, 0.7, 7)[:, None]}
    for seed in range(5):
        env = small(relevance=relevance, num_rounds=7, num_debates=1)
        seen = [tuple(env.reset(seed=seed)[0][10:17])]
        seen += [tuple(env.step(np.zeros(7))[0][10:17]) for _ in range(6)]
        assert len(set(seen)) == 7


def test_a_script_in_the_seat_is_the_script_of_the_rules():
    for number, name in enumerate(dynamics.STRATEGIES):
        env = small(relevance=None, rivals=name, num_rounds=8, budget=100.0)
        observation, _ = env.reset(seed=1)
        for _ in range(7):
            state = env.clone_state()
            expected = np.zeros(7)
            dynamics.script(
                number, 6, np.array(state["relevance"]), np.array(state["scores"]), expected
            )
            observation, *_ = env.step(ScriptedDebater(name)(observation))
            np.testing.assert_allclose(env.clone_state()["weights"][6], expected, atol=1e-6)


def test_evidence_pays_and_zeal_does_not():
    def mean_return(name):
        envs = gym.make_vec("wm/Debate-v0", num_envs=200, autoreset_mode="Disabled")
        observations, _ = envs.reset(seed=5)
        player, total = ScriptedDebater(name), 0.0
        for _ in range(40):
            observations, rewards, *_ = envs.step(player.predict(observations)[0])
            total += rewards.mean()
        return total

    assert mean_return("partisan") > 2 > mean_return("silent") > mean_return("zealot")


def test_the_oracle_replays_an_episode():
    env = gym.make("wm/Debate-v0").unwrapped
    env.action_space.seed(0)
    env.reset(seed=0)
    state = env.clone_state()
    actions = np.stack([env.action_space.sample() for _ in range(40)])
    rewards = [env.step(action)[1] for action in actions]
    np.testing.assert_array_equal(
        rollout("wm/Debate-v0", np.stack([state]), actions[None])[1][0], rewards
    )
    assert np.count_nonzero(rewards) == 5


BAD_OPTIONS = [
    {"seat": "hunger"},
    {"rivals": "loud"},
    {"rivals": 3},
    {"rivals": {"hunger": "juror"}},
    {"num_debates": 0},
    {"num_rounds": 1.5},
    {"budget": 0},
    {"budget": np.nan},
    {"rebuttal": -1},
    {"learning_rate": 1.1},
    {"learning_rate_decay": "x"},
    {"min_allocation": 0.2},
    {"max_allocation": 0.1},
    {"allocations": [0.2] * 7},
    {"allocations": [0.9, 0.1, 0, 0, 0, 0, 0]},
    {"allocations": [np.nan] * 7},
    {"relevance": {"a": [[2.0] * 7]}},
    {"reward_weights": {"goal": 1}},
    {"reward_weights": {"victory": np.inf}},
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=str)
def test_bad_options_are_refused(options):
    with pytest.raises(OptionError):
        DebateEnv(**options)


@pytest.mark.parametrize(
    "action", [None, [0] * 6, [0] * 6 + [1.1], [np.nan] * 7, "x", [[0] * 7]], ids=range(6)
)
def test_a_wrong_action_changes_nothing(action):
    env = DebateEnv()
    env.reset(seed=0)
    before = env.clone_state().tobytes()
    with pytest.raises(InvalidActionError):
        env.step(action)
    assert env.clone_state().tobytes() == before


def test_pictures_and_text(tmp_path):
    env = DebateEnv(render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    env.step(np.full(7, 0.5, np.float32))
    second = env.render()
    assert first.shape == second.shape == (400, 640, 3)
    assert first.dtype == np.uint8
    assert (first != second).any()
    imageio.imwrite(tmp_path / "debate.png", second)
    text = env.describe(env.clone_state(), env.rules().parameters[0])
    assert all(tendency in text for tendency in TENDENCIES)
    assert "debate 1/5 round 1/8" in text
    assert text.count("*") == 1
