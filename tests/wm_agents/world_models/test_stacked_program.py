"""A forest's decisions as a program: what it says, how exact it is, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import wm_agents as wma
from tests.wm_agents.world_models.test_stacked_forest import ACTIONS, BOX, CONFIG, ladder
from wm_agents.errors import ConfigError, NotFittedError, SpaceError, TrajectoryError
from wm_agents.world_models.forest import Forest
from wm_agents.world_models.stacked_forest import StackedForestModel
from wm_agents.world_models.stacked_program import distilled_rules

NAMES = ("constant", "place_0", "place_1", "turn_0", "turn_1", "top_0", "top_1")


@pytest.fixture(scope="module")
def fitted() -> StackedForestModel:
    """A model of the ladder, whose place reads nothing that an observation does not show."""
    model = StackedForestModel(BOX, ACTIONS, CONFIG, seed=1)
    model.fit(ladder())
    return model


def test_the_program_says_what_the_game_does(fitted):
    program = fitted.to_program(ladder(), NAMES)
    for line in (
        "feature place[2]: 0..20 at column 1",
        "place[1] = place[0]",
        "if place[0] >= 1 and action == 1:",
        "    place[0] = max(place[0] - 1, 0)",
        "elif place[0] <= 7 and action == 2:",
        "    place[0] = min(place[0] + 1, 20)",
        "if turn[0] >= 4:",
        "reward = (after.top[0] - top[0])",
    ):
        assert line in program.text.splitlines()
    assert "place[0] reads place[0], the action. These rules decide as the forest" in program.text
    other = ladder(8)
    assert program.replay(other).is_exact
    state = program.start(torch.as_tensor(other.observations[:1]))
    rollout = program.rollout(state, torch.as_tensor(other.actions[None, :50]))
    np.testing.assert_array_equal(rollout.observations[0], other.observations[:51])


def test_memory_is_named_and_any_column_may_stand_in_for_it(fitted):
    (top,) = (part for part in fitted.parts if part.part == 2)
    counter = np.array([[fitted.view.time_column + 1, -1, -1, -1]], np.int32)
    columns = replace(top.columns.only(np.array([0])), places=counter)
    forest = Forest.grown(
        np.arange(18)[:, None], np.arange(18) % len(top.categories), len(top.categories),
        num_trees=1, min_leaf=1, column_share=1.0, seed=0,
    )  # fmt: skip
    parts = [part for part in fitted.parts if part.part != 2]
    model = StackedForestModel(BOX, ACTIONS, CONFIG)
    model.__dict__ |= fitted.__dict__ | {
        "parts": [*parts, replace(top, columns=columns, forest=forest)]
    }
    text = " ".join(model.to_program(ladder(), NAMES).text.replace("\n#", "").split())
    assert "top[0] reads nothing that an observation shows; and from memory" in text
    assert "what the actions' moves add up to" in text


def test_few_rules_are_shorter_and_the_shares_say_so(fitted):
    long, short = (fitted.to_program(ladder(), NAMES, max_rules=number) for number in (8, 1))
    assert short.num_lines < long.num_lines
    # One outcome for all: what happens most often.
    assert "if " not in short.text.split("reward")[0].replace("#", "")
    assert "turn[0] = min(turn[0] + 1, 20)" in short.text
    assert not short.replay(ladder()).is_exact


def test_a_tree_is_pruned_to_the_leaves_that_save_most_errors():
    random = np.random.default_rng(0)
    table = random.integers(0, 10, (3000, 3))
    outcomes = np.where(table[:, 1] >= 5, 2, (table[:, 2] >= 9).astype(np.int64))
    test = np.array([[0, 5, 0], [0, 4, 9], [0, 0, 0]])
    rules, ends = distilled_rules(table, outcomes, 3, 3, test)
    assert len(rules) == 3
    decided = {rule.node: rule.category for rule in rules}
    assert [decided[node] for node in ends] == [2, 1, 0]
    rules, ends = distilled_rules(table, outcomes, 3, 2, test)
    assert sorted(rule.category for rule in rules) == [0, 2]
    # Labels that nothing explains leave a single rule.
    rules, _ = distilled_rules(table, (random.random(3000) < 0.2).astype(np.int64), 2, 1, test)
    assert [(rule.bounds, rule.category) for rule in rules] == [({}, 0)]


def test_it_is_saved_and_loaded_as_any_program(fitted, tmp_path):
    program = fitted.to_program(ladder())
    assert wma.load(program.save(tmp_path / "ladder.json")).text == program.text


def test_bad_input_is_refused_by_name(fitted):
    with pytest.raises(NotFittedError):
        StackedForestModel(BOX, ACTIONS).to_program(ladder(1))
    with pytest.raises(ConfigError, match="2 names for 7 columns"):
        fitted.to_program(ladder(1), ("a", "b"))
    with pytest.raises(ConfigError, match="max_rules is at least 1, got 0"):
        fitted.to_program(ladder(1), max_rules=0)
    with pytest.raises(TrajectoryError, match="too short"):
        fitted.to_program(ladder(1, 20))
    moved = ladder(1)
    other = replace(moved, observations=moved.observations + np.eye(7, dtype=np.float32)[0])
    with pytest.raises(SpaceError, match="column 0 was 3 throughout"):
        fitted.to_program(other)
