"""Rule programs: what they mean, what a token model says in them, and what is outside the grammar."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wm_agents as wma
from wm_agents.errors import CheckpointError, ConfigError, NotFittedError, ProgramError, SpaceError
from wm_agents.evaluation.scorecard import scorecard
from wm_agents.world_models import FitConfig, TokenConfig, TokenModel
from wm_agents.world_models.program import ProgramModel
from wm_agents.world_models.program_text import read_program
from wm_envs import record
from wm_envs.data.trajectories import Trajectories

BOX, TWO = gym.spaces.Box(-10, 10, (2,)), gym.spaces.Discrete(2, start=5)
HEADER = "feature x: -3..4 at column 0\nfeature y: 0..9 at column 1\n"


def column_names(env_id: str) -> list[str]:
    with gym.make(env_id) as env:
        return [field.name for field in env.unwrapped.observation_fields]  # type: ignore[attr-defined]


def after(rules: str, x: int = 2, y: int = 3, action: int = 5) -> tuple[float, ...]:
    """x, y, reward and termination after one step of a program."""
    model = ProgramModel(HEADER + rules, BOX, TWO)
    step = model.predict(np.array([[x, y]], np.float32), np.array([action]))
    return (*step.observations[0].tolist(), float(step.rewards[0]), float(step.terminations[0]))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("", (2, 3, 0, 0)),
        ("x, y = y, x", (3, 2, 0, 0)),
        ("x = y\ny = x", (3, 2, 0, 0)),  # both read what was before the step
        ("x = y\ny = after.x + 1", (3, 4, 0, 0)),
        ("x = -7 // 2 + 1", (-3, 3, 0, 0)),
        ("y = -7 % 5", (2, 3, 0, 0)),
        (
            "if action == 5:\n    y = 0\nelif action == 6:\n    y = 1\nelse:\n    y = 2",
            (2, 0, 0, 0),
        ),
        ("y = 1 if x < y <= 3 else 2", (2, 1, 0, 0)),
        ("y = 1 if not (x in {2, 3}) or x == 9 else 7", (2, 7, 0, 0)),
        ("y = 1 if x not in {-1} else 7", (2, 1, 0, 0)),
        ("reward = 0.25 * x - 1\nterminated = y == 3", (2, 3, -0.5, 1)),
        ("y = min(x, y, 1) + max(x, 5) - abs(-x)", (2, 4, 0, 0)),
        ("y = sum((x, y, 1)) + any((x == 0, y == 3)) + all((x == 0, y == 3))", (2, 7, 0, 0)),
        ("k = 0\nwhile k * k < 40:\n    k = k + 1\ny = k", (2, 7, 0, 0)),
        ("y = 5 // (x - 2) if x != 2 else 8", (2, 8, 0, 0)),  # what is not asked for cannot fail
        ("y = 1 if x == 2 or 5 // (x - 2) == 1 else 0", (2, 1, 0, 0)),
        ("pass\n# a comment\nx = unknown", (2, 3, 0, 0)),
    ],
)
def test_what_a_program_means(rules: str, expected: tuple[float, ...]) -> None:
    assert after(rules) == pytest.approx(expected)


numbers = st.integers(-9, 9).map(lambda value: f"({value})")
formulas = st.recursive(
    st.one_of(numbers, st.sampled_from(["x", "y"])),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner).map(
            lambda part: f"({part[0]} {part[1]} {part[2]})"
        ),
        st.tuples(inner, st.sampled_from(["<", "<=", "==", "!="]), inner).map(
            lambda part: f"(1 if {part[0]} {part[1]} {part[2]} else 2)"
        ),
        st.tuples(inner, inner).map(lambda part: f"max({part[0]}, -{part[1]})"),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(formulas, st.integers(-3, 4), st.integers(0, 9))
def test_arithmetic_is_that_of_python(formula: str, x: int, y: int) -> None:
    try:
        expected = eval(formula, {"x": x, "y": y, "max": max})
    except ZeroDivisionError:
        with pytest.raises(ProgramError, match="division by 0"):
            after(f"reward = {formula}", x, y)
        return
    assert after(f"reward = {formula}", x, y)[2] == pytest.approx(expected)


def test_families_slices_and_tables() -> None:
    text = (
        "feature light[4]: 0..1 at column 0\nfeature hour: one of 3 at column 4\n"
        "feature level: 0..4 at column 7, step 0.25 from -0.5\ntable following: 1 2 0\n"
        "light[0:2] = light[2], 1 - light[0]\nlight[3] = 1\nhour = following[hour]\n"
        "level = sum(light)\nreward = 1 if all(after.light[0:2] == light[1:3]) else 0\n"
    )
    model = ProgramModel(text, gym.spaces.Box(-1, 1, (8,)), gym.spaces.Box(-1, 1, (1,)))
    row = np.array([[0, 1, 1, 0, 0, 0, 1, 0.0]], np.float32)
    step = model.predict(row, np.zeros((1, 1)))
    assert step.observations.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0.0]]
    assert step.rewards.tolist() == [1]
    assert model.program.names[:5] == ("light[0]", "light[1]", "light[2]", "light[3]", "hour")
    assert model.num_lines == 9


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("import os", "line 3: Import is outside the grammar"),
        ("x = __import__('os')", "outside the grammar"),
        ("x = x.real", "is not known"),
        ("x = ().__class__", "is not known"),
        ("x = [y for y in x]", "ListComp"),
        ("x = (lambda: 1)()", "outside the grammar"),
        ("x = 2 ** 9", "BinOp"),
        ("x = 1.5", "decimal numbers"),
        ("x += 1", "AugAssign"),
        ("x = 'a'", "numbers go up to"),
        ("x = True", "numbers go up to"),
        ("x = 99999999999", "numbers go up to"),
        ("x = z", "z is not known"),
        ("x[0] = 1", "names nothing"),
        ("action = 1", "cannot be assigned"),
        ("x = 1, 2", "2 values for 1 targets"),
        ("x = (x, y) == (1, 2, 3)", "do not pair"),
        ("if (x, y) == 1:\n    pass", "where one is needed"),
        ("def f():\n    pass", "FunctionDef"),
        ("for k in x:\n    pass", "For is outside"),
        ("while x > 0:\n    pass\nelse:\n    x = 0", "a while has no else"),
        ("x = ", "line 3"),
        ("x = " + "(" * 250 + "1" + ")" * 250, "parentheses"),
        ("x = " + "-" * 90 + "1", "deep"),
        ("x = " + "-" * 5000 + "1", "no program"),
        ("if x == 0:\n    pass\n" + "elif x == 1:\n    pass\n" * 200, "branches"),
        ("x = \x00", "null|no program"),
        ("feature y: 0..1 at column 5", "the name 'y' is taken"),
        ("feature all: 0..1 at column 5", "taken"),
        ("feature z: 0..1 at column 1", r"\[1\] are there twice"),
        ("feature z: 0..1 at column 7", "missing"),
        ("feature z: 4..1 at column 2", "no values"),
        ("feature z 0..1", "is declared as"),
        ("feature z[99999]: 0..1 at column 2", "columns"),
        ("table t:", "table is declared"),
        ("table t: 1 1e999", "numbers go up to"),
    ],
)
def test_what_is_outside_the_grammar_is_refused_by_line(rules: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        read_program(HEADER + rules)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("while x > -100:\n    pass", "line 3: this loop is without end"),
        (
            "k = 0\nwhile k < 40:\n    k = k + 1\n    j = 0\n    while j < 40:\n        j = j + 1",
            "end",
        ),
        ("y = y + 7", "line 3: y would become 10, outside 0..9"),
        ("y = 1 // (x - 2)", "division by 0"),
        ("table t: 1 0\ny = t[x]", "entries 0 to 1, asked for 2"),
        ("terminated = 2", "probability"),
        ("k = 1\nwhile k > 0:\n    k = k * 1000000", "beyond"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused_by_line(rules: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        after(rules)


def test_programs_that_do_not_fit_their_spaces_are_refused() -> None:
    with pytest.raises(SpaceError, match="cover 2 columns"):
        ProgramModel(HEADER, gym.spaces.Box(0, 1, (3,)), TWO)
    with pytest.raises(SpaceError, match="no numbered actions"):
        ProgramModel(HEADER + "x = 1 if action == 5 else 2", BOX, gym.spaces.Box(0, 1, (1,)))
    with pytest.raises(ConfigError, match="needs its program"):
        ProgramModel.for_env("wm/LightsOut-v0")


@pytest.mark.parametrize(
    ("env_id", "max_lines"), [("wm/PermPuzzle-v0", 15), ("wm/LightsOut-v0", 40)]
)
def test_a_token_model_prints_a_puzzle_exactly(env_id: str, max_lines: int, tmp_path: Path) -> None:
    train, test = (record(env_id, episodes=80, seed=seed, progress=False) for seed in (0, 1000))
    model = TokenModel.for_env(env_id)
    model.fit(train)
    for names in (column_names(env_id), None):
        program = model.to_program(names)
        assert program.num_lines <= max_lines
        assert program.replay(train).is_exact
        assert str(program.replay(test)) == f"all {test.num_steps} transitions are replayed exactly"
    start, acts = torch.as_tensor(test.start_observations[::20]), test.actions[:100].reshape(5, 20)
    start = start[:5]
    ours, theirs = model.rollout(start, acts), program.rollout(start, acts)
    assert torch.equal(ours.observations, theirs.observations)
    assert torch.equal(ours.rewards, theirs.rewards)
    again = wma.load(program.save(tmp_path / "puzzle"), env_id)
    assert isinstance(again, ProgramModel)
    assert again.text == program.text
    assert again.replay(test).is_exact


def test_an_action_changed_by_hand_shows_up_as_the_first_mismatch(tmp_path: Path) -> None:
    test = record("wm/LightsOut-v0", episodes=12, seed=5, progress=False)
    model = TokenModel.for_env("wm/LightsOut-v0")
    model.fit(record("wm/LightsOut-v0", episodes=80, seed=0, progress=False))
    text = model.to_program(column_names("wm/LightsOut-v0")).text
    line = text.splitlines()[4]
    broken = text.replace(line, "    cell[0] = 1 - cell[0]")
    program = ProgramModel.for_env("wm/LightsOut-v0", broken)
    replay = program.replay(test)
    assert (test.actions[replay.unexplained] == 0).all()
    assert replay.num_exact == (test.actions != 0).sum()
    first = replay.mismatches[0]
    assert first.line == 0
    assert first.name in line
    card = scorecard(program, test, tmp_path, horizons=(1, 2))
    page = card.page_path.read_text(encoding="utf-8")
    assert str(first) in page
    assert "What the model says" in page
    numbers = json.loads(card.json_path.read_text(encoding="utf-8"))["program"]
    assert numbers["num_exact"] == replay.num_exact


def test_what_a_network_predicts_is_unknown_in_the_program() -> None:
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 2, (401, 2))
    rows[:, 1] = np.arange(401) % 2  # the second is known, the first is noise
    noise = Trajectories.from_arrays(rows, np.zeros(400, int), np.zeros(400), np.zeros(400, bool))
    model = TokenModel(BOX, gym.spaces.Discrete(1), TokenConfig(widths=(8,)))
    model.fit(noise, FitConfig(num_updates=5))
    program = model.to_program(["noise", "clock"])
    assert "noise = unknown" in program.text
    assert "clock = (clock + 1) % 21" not in program.text
    replay = program.replay(noise, max_shown=3)
    assert replay.num_exact == 0
    assert "leaves noise open" in str(replay.mismatches[0])
    assert len(replay.mismatches) == 3


def test_rules_of_all_kinds_are_written_and_read_back() -> None:
    """A value from a table of another feature, shifts, constants, and outcomes that depend on both."""
    generator = np.random.default_rng(1)
    lookup = np.array([2, 0, 3, 1])
    rows, actions, rewards, ends, lengths = [], [], [], [], []
    for _ in range(60):
        row = generator.integers(0, 4, 3)
        rows.append(row)
        for place in range(8):
            action = int(generator.integers(2))
            row = np.array([lookup[row[1]], (row[1] + 1) % 4 if action else row[1], 3])
            rows.append(row)
            actions.append(action)
            rewards.append(0.5 if row[0] == 1 else -1.0)
            ends.append(place == 7)
        lengths.append(8)
    ends_at_last = np.array(ends)
    data = Trajectories(
        np.array(rows, np.float32) + 5,
        np.array(actions),
        np.array(rewards),
        np.zeros(len(ends), np.bool_),
        ends_at_last,
        np.array(lengths),
    )
    model = TokenModel(gym.spaces.Box(5, 8, (3,)), gym.spaces.Discrete(2))
    model.fit(data)
    program = model.to_program(["a", "b", "c"])
    assert model.is_exact
    assert program.replay(data).is_exact
    assert "table t0: 7 5 8 6" in program.text
    assert "reward = 0.5 if b in {8} else -1" in program.text


def test_a_bit_that_is_not_counted_from_zero_flips_where_it_is() -> None:
    rows = 5 + np.arange(41)[:, None] % 2
    data = Trajectories.from_arrays(rows, np.zeros(40, int), np.zeros(40), np.zeros(40, bool))
    model = TokenModel(gym.spaces.Box(5, 6, (1,)), gym.spaces.Discrete(1))
    model.fit(data)
    assert "x = 1 - (x - 5) + 5" in model.to_program(["x"]).text
    assert model.to_program(["x"]).replay(data).is_exact


def test_to_program_asks_for_a_fit_and_for_every_name() -> None:
    model = TokenModel.for_env("wm/LightsOut-v0")
    with pytest.raises(NotFittedError):
        model.to_program()
    model.fit(record("wm/LightsOut-v0", episodes=40, seed=0, progress=False))
    with pytest.raises(ConfigError, match="3 names for 18 columns"):
        model.to_program(["a", "b", "c"])


def test_files_that_hold_no_program_are_refused(tmp_path: Path) -> None:
    path = ProgramModel(HEADER, BOX, TWO).save(tmp_path / "model")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for change, error, message in (
        ({"kind": "other"}, CheckpointError, "other"),
        ({"program": ["import os"]}, ProgramError, "model.json"),
        ({"program": content["program"][:1]}, CheckpointError, "contradicts itself"),
        ({"version": 2}, CheckpointError, "version 2"),
    ):
        path.write_text(json.dumps(content | change), encoding="utf-8")
        with pytest.raises(error, match=message):
            ProgramModel.load(path)
    with pytest.raises(CheckpointError, match="nothing"):
        ProgramModel.load(tmp_path / "nothing")


@pytest.mark.parametrize("unit", [1e-9, 1.0])
def test_rewards_of_any_unit_have_to_be_in_the_program(unit: float) -> None:
    test = record("wm/LightsOut-v0", episodes=4, seed=5, progress=False)
    model = TokenModel.for_env("wm/LightsOut-v0")
    model.fit(record("wm/LightsOut-v0", episodes=80, seed=0, progress=False))
    program = ProgramModel.for_env("wm/LightsOut-v0", model.to_program().text)
    assert program.replay(test).is_exact
    rewards = np.where(np.arange(test.num_steps) == 3, unit, 0.0)
    silent = re.sub(r"reward = .*", "reward = 0", program.text)
    replay = ProgramModel.for_env("wm/LightsOut-v0", silent).replay(replace(test, rewards=rewards))
    assert 3 in replay.unexplained.tolist()
