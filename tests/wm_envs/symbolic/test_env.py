import inspect
import re

import gymnasium as gym
import numpy as np
import pytest

from wm_envs.errors import OptionError
from wm_envs.registration import TABLE
from wm_envs.symbolic import memory, planning, reactive
from wm_envs.symbolic.env import DEFAULT_REWARD_WEIGHTS, SymbolicEnv
from wm_envs.symbolic.memory import RuleRecallEnv
from wm_envs.symbolic.planning import LightsOutEnv, PermPuzzleEnv

CLASSES = [
    value
    for module in (reactive, memory, planning)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, SymbolicEnv) and value is not SymbolicEnv
]
SECTIONS = [
    "Description",
    "Action Space",
    "Observation Space",
    "Rewards",
    "Starting State",
    "Episode End",
    "Arguments",
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


def test_there_are_ten_classes_and_each_has_an_id():
    assert len(CLASSES) == 10
    assert {f"wm/{c.__name__.removesuffix('Env')}-v0" for c in CLASSES} <= {row.id for row in TABLE}


# The docstrings are the documentation, so they must be right


@pytest.mark.parametrize("env_class", CLASSES)
def test_the_docstring_has_exactly_the_sections(env_class):
    assert list(sections(env_class)) == SECTIONS
    assert all(text.strip() for text in sections(env_class).values())


@pytest.mark.parametrize("env_class", CLASSES)
def test_the_docstring_states_the_spaces(env_class):
    rules, text = env_class.rules(), sections(env_class)
    assert text["Action Space"].strip().startswith(f"`{rules.action_space}`")
    size = len(rules.observation_fields)
    assert text["Observation Space"].strip().startswith(f"`Box(0, 1, ({size},), float32)`")
    assert rules.observation_space.shape == (size,)


@pytest.mark.parametrize("env_class", CLASSES)
def test_the_observation_table_lists_the_fields(env_class):
    fields = env_class.rules().observation_fields
    next_index = 0
    for index, names, unit, low, high, meaning in table_rows(
        sections(env_class)["Observation Space"]
    ):
        first, _, last = index.partition("-")
        group = fields[int(first) : int(last or first) + 1]
        assert int(first) == next_index
        next_index += len(group)
        assert re.findall(r"`(\w+)`", names) == list(dict.fromkeys([group[0].name, group[-1].name]))
        assert {(f.unit, f.low, f.high, f.meaning) for f in group} == {
            (unit, float(low), float(high), meaning)
        }
    assert next_index == len(fields)


@pytest.mark.parametrize("env_class", CLASSES)
def test_field_names_are_unique(env_class):
    names = [field.name for field in env_class.rules().observation_fields]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("env_class", CLASSES)
def test_the_arguments_table_lists_the_options_and_their_defaults(env_class):
    parameters = inspect.signature(env_class.rules).parameters
    rows = {row[0].strip("`"): row[1] for row in table_rows(sections(env_class)["Arguments"])}
    assert list(rows) == list(parameters)
    for name in set(rows) - {"reward_weights", "time_limit"}:
        assert rows[name].strip("`") == str(parameters[name].default)
    assert rows["reward_weights"].strip("`") == str(DEFAULT_REWARD_WEIGHTS).replace("'", '"')
    if rows["time_limit"].split(",")[0].isdigit():
        assert int(rows["time_limit"].split(",")[0]) == env_class.rules().time_limit
    else:
        assert rows["time_limit"] == "all steps of the task"


@pytest.mark.parametrize("env_class", CLASSES)
def test_the_version_history_ends_with_the_registered_version(env_class):
    versions = [
        row.id.rpartition("-")[2]
        for row in TABLE
        if f"/{env_class.__name__.removesuffix('Env')}-" in row.id
    ]
    assert re.findall(r"- (v\d+):", sections(env_class)["Version History"])[-1] == versions[-1]


# Options


@pytest.mark.parametrize("env_class", CLASSES)
@pytest.mark.parametrize(
    "options",
    [
        {"level": 0},
        {"level": 99},
        {"level": 1.0},
        {"level": True},
        {"level": "hard"},
        {"instance": -1},
        {"instance": 1.5},
        {"instance": None},
        {"time_limit": 0},
        {"time_limit": -3},
        {"time_limit": 2.5},
        {"reward_weights": {"gaol": 1.0}},
        {"reward_weights": {"goal": float("nan")}},
        {"reward_weights": {"goal": "much"}},
        {"reward_weights": {"prediction": None}},
        {"reward_weights": 2.0},
        {"reward_weights": {"goal": True}},
    ],
)
def test_bad_options_are_refused_by_name_and_value(env_class, options):
    with pytest.raises(OptionError) as error:
        env_class.rules(**options)
    ((name, value),) = options.items()
    assert name.removesuffix("s").replace("_", " ") in str(error.value).replace("_", " ")
    wrong = next(iter(value.values())) if isinstance(value, dict) and "gaol" not in value else value
    assert repr(wrong) in str(error.value)


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("wm/SequenceNext-v0", {"length": 1}),
        ("wm/SequenceNext-v0", {"length": 9}),
        ("wm/SequenceNext-v0", {"length": -4}),
        ("wm/SequenceNext-v0", {"with_replacement": 1}),
        ("wm/SequenceNext-v0", {"resample": "yes"}),
        ("wm/DelayedMatch-v0", {"delay": 0}),
        ("wm/DelayedMatch-v0", {"num_symbols": 65}),
        ("wm/TMaze-v0", {"num_cues": 1}),
        ("wm/DelayedMatch-v0", {"time_limit": 3}),
        ("wm/Navigation-v0", {"time_limit": 4}),
        ("wm/RuleRecall-v0", {"num_symbols": 1}),
        ("wm/RuleRecall-v0", {"num_symbols": 9}),
        ("wm/RuleRecall-v0", {"num_cues": 7}),
        ("wm/RuleRecall-v0", {"num_symbols": 3, "num_cues": 4}),
        ("wm/RuleRecall-v0", {"num_demonstrations": 0}),
        ("wm/RuleRecall-v0", {"num_queries": -1}),
        ("wm/RuleRecall-v0", {"max_level_spaces": 2}),
        ("wm/TMaze-v0", {"length": 1}),
        ("wm/TMaze-v0", {"reveal": None}),
        ("wm/TMaze-v0", {"time_limit": 9}),
    ],
)
def test_bad_options_of_single_tasks_are_refused_through_make(env_id, options):
    with pytest.raises(OptionError, match=list(options)[-1]):
        gym.make(env_id, **options)
    with pytest.raises(OptionError, match=list(options)[-1]):
        gym.make_vec(env_id, num_envs=2, **options)


def test_unknown_options_are_refused():
    for make in (gym.make, gym.make_vec):
        with pytest.raises(
            OptionError, match=r"TMazeEnv .* argument 'lenght': its options are .*'length'"
        ):
            make("wm/TMaze-v0", lenght=3)
    with pytest.raises(
        TypeError, match="unexpected keyword argument 'frameskip'"
    ):  # TorchRL tries it
        gym.make("wm/TMaze-v0", frameskip=1)


@pytest.mark.parametrize("env_class", CLASSES)
def test_every_level_makes_a_playable_task(env_class):
    for level in range(1, len(env_class.LEVELS) + 1):
        env = env_class(level=level)
        env.reset(seed=0)
        observation, *_ = env.step(0)
        assert env.observation_space.contains(observation)


@pytest.mark.parametrize(
    ("env_id", "options", "limit"),
    [
        ("wm/SequenceNext-v0", {}, 1),
        ("wm/SequenceNext-v0", {"resample": True}, 12),
        ("wm/SequenceNext-v0", {"resample": True, "level": 5}, 24),
        ("wm/SequenceNext-v0", {"time_limit": 6}, 6),
        ("wm/PatternEcho-v0", {"time_limit": 2}, 2),
        ("wm/Navigation-v0", {}, 3),
        ("wm/DelayedMatch-v0", {}, 2),
        ("wm/DelayedMatch-v0", {"level": 4}, 9),
        ("wm/RuleRecall-v0", {}, 14),
        ("wm/RuleRecall-v0", {"level": 4}, 24),
        ("wm/TMaze-v0", {"length": 5}, 5),
        ("wm/PermPuzzle-v0", {}, 20),
        ("wm/LightsOut-v0", {}, 16),
        ("wm/TokenAutomaton-v0", {"time_limit": 500}, 500),
    ],
)
def test_the_length_of_an_episode(env_id, options, limit):
    env = gym.make(env_id, **options)
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(limit)] == [False] * (limit - 1) + [True]
    envs = gym.make_vec(env_id, 2, **options)
    envs.reset(seed=0)
    assert [envs.step([0, 0])[3].all() for _ in range(limit)] == [False] * (limit - 1) + [True]


def test_a_shorter_time_limit_cuts_a_task_before_its_reward():
    env = gym.make("wm/DelayedMatch-v0", time_limit=1)
    observation, _ = env.reset(seed=0)
    _, reward, _, truncated, info = env.step(int(observation.argmax()))
    assert (reward, truncated, info["is_success"]) == (0.0, True, False)


def test_rule_recall_levels_share_their_spaces_when_asked():
    rules = [RuleRecallEnv.rules(level=level, max_level_spaces=True) for level in (1, 2, 3, 4)]
    assert {str(r.observation_space) for r in rules} == {"Box(0.0, 1.0, (15,), float32)"}
    assert {str(r.action_space) for r in rules} == {"Discrete(8)"}
    assert rules[3].observation_fields == RuleRecallEnv.rules(level=4).observation_fields


def test_explicit_sizes_override_the_level():
    rules = RuleRecallEnv.rules(level=3, num_symbols=3, num_demonstrations=5, num_queries=1)
    row = rules.parameters[0]
    assert [row[n] for n in ("num_symbols", "num_cues", "num_demonstrations", "num_queries")] == [
        3,
        3,
        5,
        1,
    ]
    assert rules.time_limit == 6


def test_the_parameters_have_no_padding():
    parameters = RuleRecallEnv.rules().parameters
    assert parameters.dtype.itemsize == sum(
        parameters.dtype[name].itemsize for name in parameters.dtype.names
    )


@pytest.mark.parametrize("env_class", CLASSES)
def test_rendering_follows_the_episode(env_class):
    env = env_class(render_mode="rgb_array")
    env.reset(seed=1)
    frames, texts = [env.render()], [env.describe(env.clone_state(), env._rules.parameters[0])]
    for _ in range(min(env._rules.time_limit, 20)):
        env.step(1)
        frames.append(env.render())
        texts.append(env.describe(env.clone_state(), env._rules.parameters[0]))
    assert {frame.shape for frame in frames} == {(300, 400, 3)}
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert len({frame.tobytes() for frame in frames}) == len(
        frames
    )  # the step counter alone makes each one new
    assert len(set(texts)) == len(texts)
    name = env_class.__name__.removesuffix("Env")
    num_lines = {"LightsOut": 6, "PermPuzzle": 4}.get(name, 2)
    assert all(text.startswith(name) and len(text.splitlines()) == num_lines for text in texts)


def test_boards_are_shown_row_by_row():
    text = LightsOutEnv.describe(*_fresh(LightsOutEnv)).splitlines()
    assert text[1] == "  now      goal"
    assert all(re.fullmatch(r"  ([.#] ?){3}    ([.#] ?){3}", line) for line in text[2:5])
    text = PermPuzzleEnv.describe(*_fresh(PermPuzzleEnv)).splitlines()
    assert [line.split()[0] for line in text[1:3]] == ["now", "goal"]
    assert all(sorted(line.split()[1:]) == list("012345") for line in text[1:3])


def _fresh(env_class):
    env = env_class()
    env.reset(seed=3)
    return env.clone_state(), env._rules.parameters[0]
