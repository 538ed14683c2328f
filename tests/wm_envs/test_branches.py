"""Branch reports: what hand-made episodes exercised, told apart from what options rule out."""

import gymnasium as gym
import numpy as np
import pytest

from wm_envs import record
from wm_envs.branches import BranchCoverage, Condition, branch_coverages
from wm_envs.data.trajectories import Trajectories
from wm_envs.errors import OptionError

PUZZLE, PONG = "wm/PermPuzzle-v0", "wm/Pong-v0"


@pytest.fixture(scope="module")
def reports() -> dict[str, BranchCoverage]:
    """Of three kinds of recordings, one process for all."""
    puzzle = record(PUZZLE, episodes=70, seed=4, progress=False)
    one = record("wm/Conditional-v0", episodes=70, seed=4, progress=False)
    three = record(
        "wm/Conditional-v0", episodes=70, seed=4, env_kwargs={"level": 3}, progress=False
    )
    pong = record(PONG, episodes=1, seed=4, env_kwargs={"time_limit": 150}, progress=False)
    recordings = [
        (PUZZLE, puzzle, {}),
        ("wm/Conditional-v0", one, {}),
        ("wm/Conditional-v0", three, {"level": 3}),
        (PONG, pong, {"time_limit": 150}),
    ]
    found = branch_coverages(recordings, seed=4)
    return dict(zip(("puzzle", "one", "three", "pong"), found, strict=True))


def test_steps_are_counted_as_they_were_recorded(reports: dict[str, BranchCoverage]) -> None:
    report = reports["puzzle"]
    data = record(PUZZLE, episodes=70, seed=4, progress=False)
    assert report.num_steps == data.num_steps
    [met] = [condition for condition in report.conditions if condition.text == "is_met"]
    assert met.num_true == (data.rewards > 0).sum()
    assert met.num_false >= data.num_steps - met.num_true
    assert 0 < report.num_exercised <= report.num_outcomes


def test_what_an_option_rules_out_is_no_gap(reports: dict[str, BranchCoverage]) -> None:
    def texts(name: str) -> set[str]:
        return {condition.text for condition in reports[name].conditions}

    special = "shape == rules.table[NUM_SHAPES]"
    assert special in texts("three")
    assert special not in texts("one")
    for report in reports.values():
        assert not any("rules.task ==" in condition.text for condition in report.conditions)
        assert not any(condition.function.endswith("_rows") for condition in report.conditions)
        assert "step_sequence_next" not in report.idle_functions


def test_sentences_say_what_never_happened(reports: dict[str, BranchCoverage]) -> None:
    lines = reports["pong"].sentences()
    assert any(line.startswith("stay_off: never ran (No ball any more") for line in lines)
    won = "is_over: state.player_score >= POINTS_TO_WIN, never true (Whether one side has won)"
    assert any(line.endswith(won) for line in lines)
    assert "150 steps of wm/Pong-v0" in str(reports["pong"])
    assert reports["pong"].to_json()["never"] == lines


def test_a_part_is_not_said_twice() -> None:
    def condition(text: str, *, is_whole: bool, num_true: int) -> Condition:
        return Condition("a.py", 3, "f", "Does.", text, is_whole, num_true, 5)

    parts = (
        condition("a and b", is_whole=True, num_true=0),
        condition("a", is_whole=False, num_true=2),
        condition("b", is_whole=False, num_true=0),
    )
    report = BranchCoverage("wm/X-v0", 5, parts)
    assert report.sentences() == ["a.py:3 f: a and b, never true (Does)"]


def test_foreign_episodes_are_refused() -> None:
    data = record(PUZZLE, episodes=3, seed=4, progress=False)
    with pytest.raises(OptionError, match="not recorded with seed=5"):
        branch_coverages([(PUZZLE, data, {})], seed=5)
    with pytest.raises(OptionError, match="no native rules"):
        branch_coverages([("CartPole-v1", data, {})], seed=4)
    with pytest.raises(OptionError, match="JSON"):
        branch_coverages([(PUZZLE, data, {"level": object()})], seed=4)


def test_a_single_environment_is_replayed() -> None:
    env = gym.make(PUZZLE)
    env.action_space.seed(0)
    rows, actions, rewards, ends, lengths = [], [], [], [], []
    for episode in range(2):
        observation, _ = env.reset(seed=9 if episode == 0 else None)
        rows.append(observation)
        lengths.append(7)
        for _ in range(7):  # cut short
            actions.append(env.action_space.sample())
            observation, reward, terminated, _, _ = env.step(actions[-1])
            rows.append(observation)
            rewards.append(reward)
            ends.append(terminated)
    data = Trajectories.from_arrays(
        np.stack(rows), np.array(actions), np.array(rewards), np.array(ends), lengths=lengths
    )
    [report] = branch_coverages([(PUZZLE, data, {})], seed=9, num_envs=1, max_steps=10)
    assert report.num_steps == 10
