"""A result file says what, with what, when and how; the throughput loops count what they say."""

import datetime
import json
import platform
from importlib.metadata import version

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401
from benchmarks.report import add_row, machine, versions, write_result
from benchmarks.throughput import Contender, contenders, summarise


def test_a_result_says_how_it_came_to_be(tmp_path):
    path = write_result(
        "speed", {"a": 1.5}, seeds=3, command="python -m benchmarks.speed", folder=tmp_path / "new"
    )
    result = json.loads(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "new" / "speed.json"
    assert (result["name"], result["figures"], result["seeds"]) == ("speed", {"a": 1.5}, [3])
    assert result["command"] == "python -m benchmarks.speed"
    assert result["date"] == datetime.date.today().isoformat()
    assert result["versions"]["numba"] == version("numba")
    assert result["versions"]["python"] == platform.python_version()
    assert result["machine"]["cores"] >= 1


def test_a_row_replaces_the_one_with_its_key_and_says_how_it_came_to_be(tmp_path):
    def add(arm, seed, score):
        return add_row(
            "games",
            {"arm": arm, "seed": seed, "score": score},
            key=("arm", "seed"),
            summarise=lambda rows: {"mean": sum(row["score"] for row in rows) / len(rows)},
            command=f"python -m benchmarks.games --seed {seed}",
            notes=("short",),
            folder=tmp_path,
        )

    for arm, seed, score in (("b", 1, 3.0), ("a", 2, 4.0), ("b", 1, 8.0)):
        figures = add(arm, seed, score)
    today = datetime.date.today().isoformat()
    assert figures == {
        "summary": {"mean": 6.0},
        "notes": ["short"],
        "rows": [
            {
                "arm": "a",
                "seed": 2,
                "score": 4.0,
                "command": "python -m benchmarks.games --seed 2",
                "date": today,
            },
            {
                "arm": "b",
                "seed": 1,
                "score": 8.0,
                "command": "python -m benchmarks.games --seed 1",
                "date": today,
            },
        ],
    }
    stored = json.loads((tmp_path / "games.json").read_text(encoding="utf-8"))
    assert (stored["figures"], stored["seeds"], stored["command"]) == (
        figures,
        [1, 2],
        "python -m benchmarks.games",
    )
    with pytest.raises(KeyError):
        add_row(
            "games", {"arm": "a"}, key=("arm", "seed"), summarise=dict, command="-", folder=tmp_path
        )
    assert json.loads((tmp_path / "games.json").read_text(encoding="utf-8")) == stored


def test_a_result_names_no_host():
    assert set(machine()) == {"processor", "cores", "system"}
    assert platform.node() not in json.dumps([machine(), versions()])


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_figure_that_is_not_finite_is_refused(tmp_path, figure):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_result("speed", {"a": figure}, seeds=[1, 2], command="-", folder=tmp_path)
    assert not list(tmp_path.iterdir())


def small(contender, num_calls=40):
    """A contender that is ready without the search for a good number of calls."""
    contender.env = (
        gym.make(contender.env_id) if contender.num_envs is None else contender._make_batch(8)
    )
    contender.env.action_space.seed(0)
    contender.actions = [contender.env.action_space.sample() for _ in range(16)]
    contender.num_calls = num_calls
    contender.num_changes = contender._count_changes()
    contender.take_turn()
    return contender


# TMaze lasts 8 steps: 40 calls are 5 episodes; with the reset call of next-step mode, 40 = 4 * 9 +
# 4.
@pytest.mark.parametrize(
    ("num_envs", "mode", "num_steps", "num_episodes"),
    [
        (None, "NextStep", 40, 5),
        (8, "NextStep", 8 * 36, 8 * 4),
        (8, "SameStep", 8 * 40, 8 * 5),
        (8, "Disabled", 8 * 40, 8 * 5),
    ],
)
def test_the_loops_count_agent_steps_and_episodes(num_envs, mode, num_steps, num_episodes):
    turn = small(Contender("wm/TMaze-v0", num_envs, gym.vector.AutoresetMode(mode))).turns[0]
    assert (turn.num_steps, turn.num_row_calls, turn.num_episodes) == (
        num_steps,
        40 * (num_envs or 1),
        num_episodes,
    )
    assert turn.cpu_seconds > 0


def test_a_contender_whose_episodes_never_end_fails():
    contender = small(Contender("wm/TMaze-v0"))
    contender.num_calls = 3
    with pytest.raises(AssertionError, match="no episode"):
        contender.take_turn()


def test_the_summary_compares_with_the_peer_of_the_same_size():
    everyone = [small(contender) for contender in contenders()]
    figures = summarise(everyone)
    assert all(np.isfinite(ratio) and ratio > 0 for ratio in figures["headline"].values())
    assert len({row["name"] for row in figures["rows"]}) == len(everyone)
    assert [row["ratio"] for row in figures["rows"] if row["name"].startswith("CartPole")] == [
        1.0
    ] * 4
    assert all(row["observations_changed_in_200_calls"] > 0 for row in figures["rows"])
