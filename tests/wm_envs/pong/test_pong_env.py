import inspect
import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import wm_envs
from wm_envs.errors import OptionError
from wm_envs.pong.atari import PongAtariEnv
from wm_envs.pong.columns import observation_fields
from wm_envs.pong.env import DEFAULT_REWARD_WEIGHTS, PongEnv
from wm_envs.testing import check_vector_env

CLASSES = [PongEnv, PongAtariEnv]
SECTIONS = [
    *(
        "Description",
        "Action Space",
        "Observation Space",
        "Rewards",
        "Starting State",
        "Episode End",
        "Arguments",
    ),
    "Version History",
]


def sections(env_class):
    """Heading -> text of the class docstring."""
    parts = re.split(r"^## (.+)$", inspect.getdoc(env_class), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table_rows(text):
    """The cells of a Markdown table's body."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("env_class", CLASSES)
def test_the_docstring_has_exactly_the_sections(env_class):
    assert list(sections(env_class)) == SECTIONS
    assert all(text.strip() for text in sections(env_class).values())


@pytest.mark.parametrize("env_class", CLASSES)
def test_the_observation_table_lists_the_fields(env_class):
    fields = observation_fields(False)
    rows = table_rows(sections(env_class)["Observation Space"])
    assert len(rows) == 14
    for feature, (index, names, unit, low, high, meaning) in enumerate(rows):
        group = fields[4 * feature : 4 * feature + 4]
        assert index == f"{4 * feature}-{4 * feature + 3}"
        assert re.findall(r"`(\w+)`", names) == [group[0].name, group[-1].name]
        assert {(f.unit, f.low, f.high, f.meaning) for f in group} == {
            (unit, float(low), float(high), meaning)
        }


@pytest.mark.parametrize("env_class", CLASSES)
def test_the_arguments_table_lists_the_options_and_their_defaults(env_class):
    parameters = inspect.signature(PongEnv.rules).parameters
    rows = {row[0].strip("`"): row[1] for row in table_rows(sections(env_class)["Arguments"])}
    assert list(rows) == list(parameters)
    for name in set(rows) - {"reward_weights", "time_limit"}:
        assert rows[name].strip("`") == str(parameters[name].default)
    assert rows["reward_weights"].strip("`") == str(DEFAULT_REWARD_WEIGHTS).replace("'", '"')
    assert rows["time_limit"] == "108,000 / `frame_skip`"
    assert PongEnv.rules(frame_skip=3).time_limit == 36_000


@pytest.mark.parametrize("env_id", ["wm/Pong-v0", "wm/PongAtari-v0"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("frame_skip", value) for value in (0, -1, 61, 4.0, True, None)],
        *[
            ("repeat_action_probability", value)
            for value in (-0.1, 1.5, float("nan"), "often", None)
        ],
        *[("max_noops", value) for value in (-1, 121, 2.5)],
        *[("directions", value) for value in (1, "yes", None)],
        *[("time_limit", value) for value in (0, -3, 2.5)],
        *[("reward_weights", value) for value in (2.0, {"goal": 1.0}, {"point": float("inf")})],
    ],
)
def test_bad_options_are_refused_by_name(env_id, name, value):
    with pytest.raises(OptionError, match=name.replace("reward_weights", "reward.weight")):
        gym.make(env_id, **{name: value})
    with pytest.raises(OptionError):
        gym.make_vec(env_id, num_envs=2, **{name: value})


def test_the_reward_is_the_weighted_point():
    env = gym.make("wm/Pong-v0", reward_weights={"point": 2.5})
    env.reset(seed=0)
    rewards = {}
    for _ in range(400):
        _, reward, _, _, info = env.step(0)
        rewards[info["reward_components"]["point"]] = reward
    assert rewards == {0.0: 0.0, -1.0: -2.5}


def test_a_time_limit_truncates():
    env = gym.make("wm/Pong-v0", time_limit=5)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(5)] == [(False, False)] * 4 + [(False, True)]


def test_the_vector_checker_passes_over_whole_games():
    report = check_vector_env(
        "wm/Pong-v0", num_steps=200, num_envs=2, env_kwargs={"frame_skip": 60}
    )
    assert set(report.modes) == {mode.value for mode in AutoresetMode}
    assert all(count >= 4 for count in report.num_episodes.values())


def test_the_expert_wins_every_point():
    recording = wm_envs.record("wm/Pong-v0", episodes=2, policy="expert", seed=0)
    last = np.cumsum(recording.lengths + 1) - 1
    np.testing.assert_array_equal(recording.observations[last][:, [51, 55]], [[21, 0], [21, 0]])
    assert recording.terminations.sum() == 2


def test_planning_changes_nothing():
    env = gym.make_vec("wm/Pong-v0", 3, repeat_action_probability=0.25)
    env.reset(seed=0)
    before = env.clone_state().tobytes()
    np.testing.assert_array_equal(env.expert_actions(seed=4), env.expert_actions(seed=4))
    assert env.clone_state().tobytes() == before
