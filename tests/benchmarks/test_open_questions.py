"""Each question runs small, goes on where it stopped, and says only what its runs carry."""

import json
from contextlib import ExitStack

import gymnasium as gym
import numpy as np
import pytest

from benchmarks import open_questions
from benchmarks.open_questions_summary import breaks, law, smallest_that_solves
from benchmarks.parent_noise import (
    ASKED_ID,
    AnsweringParents,
    Noise,
    NoisyParent,
    erring_language_models,
)
from benchmarks.reward_balance import SUM_OF_WEIGHTS, hypervolume
from benchmarks.tuning import faults

SETTINGS = {"learning_rate": 4e-3, "entropy": 0.02}


def test_a_question_is_tuned_equally_and_a_second_call_runs_nothing(tmp_path, monkeypatch):
    arms = {"navigation, next": open_questions.Arm("navigation")}
    arms["navigation, none"] = open_questions.Arm("navigation", 0.0)
    monkeypatch.setattr(open_questions, "arms_of", lambda _: arms)
    for name, value in (("FINAL_EPISODES", 20), ("CURVE_EPISODES", 10), ("EVALUATE_EVERY", 2)):
        monkeypatch.setattr(open_questions, name, value)
    config = open_questions.Config(
        "targets",
        num_seeds=2,
        episodes_scale=0.01,
        output_dir=tmp_path / "runs",
        results_dir=tmp_path,
        pictures_dir=tmp_path,
    )
    figures = open_questions.main(config)
    result = json.loads((tmp_path / "open_questions_targets.json").read_text(encoding="utf-8"))
    assert faults(result) == []
    assert [cell["runs"] for cell in figures["cells"]] == [2, 2]
    assert (tmp_path / "open_questions_targets.png").stat().st_size > 5000
    monkeypatch.setattr(open_questions, "train", None)
    assert open_questions.main(config) == figures


@pytest.mark.parametrize(
    "question", ["scaling", "structure", "scalarization", "parents", "targets"]
)
def test_every_arm_and_cell_can_be_made(question):
    for arm in open_questions.arms_of(question).values():
        for cell in open_questions.cells_of(question, arm.task):
            with ExitStack() as stack:
                agent = open_questions.make_agent(arm, cell, SETTINGS, 1, 2, stack)
                assert agent.model.num_parameters > 0
                agent.collector.makers[0](3).close()


@pytest.mark.parametrize("rule", ["gradient norm", "uncertainty", "constrained"])
def test_adapted_weights_differ_between_runs_and_keep_their_sum(rule):
    arm = open_questions.Arm("navigation", balance=(rule, (1.0, 0.1)))
    with ExitStack() as stack:
        agent = open_questions.make_agent(arm, open_questions.BASE, SETTINGS, 1, 2, stack)
        for _ in range(21):
            agent._update()
    weights = agent.component_weights
    assert weights.sum(1) == pytest.approx(SUM_OF_WEIGHTS)
    assert (weights >= 0).all()
    assert weights[0, 1] != weights[1, 1]


def test_hypervolume_by_hand():
    points = [[1.0, 1.0], [2.0, 0.5], [0.5, 0.5], [3.0, -1.0]]
    assert hypervolume(points, (0.0, 0.0)) == pytest.approx(1.0 + 0.5)
    assert hypervolume(points, (2.0, 2.0)) == 0.0


def test_a_noisy_parent_errs_at_its_rate_and_as_the_seed_says():
    def played(noise, seed=3):
        env = NoisyParent(gym.make_vec("wm/Navigation-v0", 4000), noise)
        observations = [env.reset(seed=seed)[0]]
        for _ in range(3):
            shown, rewards, *_ = env.step(np.full(4000, 3))
            observations.append(shown)
        return np.stack(observations), rewards

    truth, goals = played(Noise())
    shown, rewards = played(Noise(answer=0.25))
    assert (rewards != goals).mean() == pytest.approx(0.25, abs=0.03)
    # Of wrong rows, 1 of 64 gets a place and a target like its own.
    assert (shown[1] != truth[1]).any(1).mean() == pytest.approx(0.25 * 63 / 64, abs=0.03)
    assert (shown[0] == truth[0]).all()
    assert all(
        (a == b).all() for a, b in zip(played(Noise(answer=0.25)), (shown, rewards), strict=True)
    )
    assert (played(Noise(reward=0.25))[0] == truth).all()
    assert (played(Noise(transition=0.25))[1] == goals).all()


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_language_models_stubs_know_the_sequence_and_err_each_at_its_own_questions(rate):
    with erring_language_models(rate, seeds=(1, 2)) as parents:
        env = AnsweringParents(gym.make_vec(ASKED_ID, 512), parents)
        other = gym.make_vec(ASKED_ID, 512)
        env.reset(seed=1)
        other.reset(seed=1)
        actions = np.arange(512) % 8
        shown, rewards, *_ = env.step(actions)
        truth, goals, *_ = other.step(actions)
        wrong = (shown != truth).any(1)
        assert (wrong == (rewards != goals)).all()
        assert [parent.num_fallbacks for parent in parents] == [0, 0]
    assert wrong.mean() == pytest.approx(rate, abs=0.15)
    assert rate == 0 or wrong[:256].mean() != wrong[256:].mean()


def rows_of_law(times_of_value):
    """Runs that are at 90% after so many episodes."""
    grid = [100, 200, 400, 800]
    return {
        value: [
            {"curve": [float(step >= time) for step in grid], "episodes": grid} for time in times
        ]
        for value, times in times_of_value.items()
    }


def test_a_growth_law_needs_three_solved_cells():
    solved = rows_of_law({1.0: [100] * 3, 2.0: [200] * 3, 4.0: [400] * 3, 8.0: [9999] * 3})
    found = law(solved)
    assert found["exponent"] == pytest.approx(1.0)
    assert (found["low"], found["high"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found["values_solved"] == [1.0, 2.0, 4.0]
    del solved[4.0]
    assert law(solved)["exponent"] is None


def test_what_did_not_hold_is_told():
    cell = {"arm": "a", "iqm_low": 0.95, "num_parameters": 5}
    cells = [cell, {**cell, "num_parameters": 3, "iqm_low": 0.8}, {**cell, "num_parameters": 4}]
    assert smallest_that_solves(cells)["num_parameters"] == 4
    assert smallest_that_solves(cells[1:2]) is None
    rates = {0.0: 1.0, 0.2: 0.92, 0.4: 0.6}
    cells = [
        {"arm": "a", "axis": "reward" if rate else "base", "value": rate, "iqm": iqm}
        for rate, iqm in rates.items()
    ]
    assert breaks(cells) == [{"arm": "a", "error": "reward", "breaks_at": 0.4}]
    assert breaks(cells[:2])[0]["breaks_at"] is None
