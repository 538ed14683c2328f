import math
from dataclasses import replace

import numpy as np
import pytest

import wm_envs  # noqa: F401
from wm_agents.errors import ConfigError
from wm_agents.evaluation.ablation import (
    ArmResult,
    Protocol,
    best_learning_rate,
    compare,
    ratio_sentence,
    run_arm,
    run_arms,
    world_model_arms,
)
from wm_agents.policy_gradient.reinforce import LossWeights, ReinforceConfig


def arm(label, curve, final, rate=1e-3):
    curve = np.asarray(curve, float)
    return ArmResult(
        label, rate, np.arange(1, curve.shape[1] + 1) * 100, curve, np.asarray(final, float), 1.0
    )


def test_the_arms_differ_in_the_world_model_alone():
    arms = world_model_arms(ReinforceConfig(weights=LossWeights(world_model=3.0)))
    assert arms["with"].weights.world_model == arms["placebo"].weights.world_model == 3.0
    assert arms["without"].weights.world_model == 0.0
    assert (arms["with"].world_model_target, arms["placebo"].world_model_target) == (
        "next",
        "shuffled",
    )
    with pytest.raises(ConfigError, match="world_model above 0"):
        world_model_arms(ReinforceConfig(weights=LossWeights(world_model=0.0)))


def test_the_comparison_by_hand():
    fast = arm("with", [[0.2, 0.95, 1.0], [0.1, 0.92, 1.0]], [1.0, 0.98])
    slow = arm("without", [[0.1, 0.2, 0.95], [0.1, 0.2, 0.93]], [0.5, 0.4])
    summary = compare(fast, slow)
    assert summary["iqm_with"] == pytest.approx(0.99)
    assert summary["iqm_without"] == pytest.approx(0.45)
    assert summary["probability_of_improvement"] == 1.0
    assert summary["permutation_p_value"] == pytest.approx(
        2 / 6
    )  # of 6 arrangements, the two most extreme
    assert (summary["episodes_to_90_with"], summary["episodes_to_90_without"]) == (200, 300)
    assert summary["episodes_to_90_ratio"] == pytest.approx(1.5)
    assert ratio_sentence(summary) == "episodes to 90%, without / with: 1.5"


def test_runs_that_never_get_there_make_the_ratio_a_lower_bound():
    fast = arm("with", [[0.95, 1.0], [0.95, 1.0]], [1.0, 1.0])
    never = arm("without", [[0.1, 0.1], [0.1, 0.1]], [0.1, 0.1])
    summary = compare(fast, never)
    assert summary["episodes_to_90_ratio_is_lower_bound"]
    assert "without world model: not solved within the budget of 200" in ratio_sentence(summary)
    reverse = compare(replace(never, label="with"), replace(fast, label="without"))
    assert reverse["episodes_to_90_ratio_is_upper_bound"]
    assert "with world model: not solved within the budget" in ratio_sentence(reverse)
    assert math.isnan(compare(never, never)["episodes_to_90_ratio"])
    assert "not reached" in ratio_sentence(compare(never, never))


def test_the_learning_rate_is_chosen_on_the_end_of_the_curve():
    early = arm("a", [[1.0, 1.0, 1.0, 0.2]], [1.0])
    late = arm("b", [[0.0, 0.0, 0.0, 0.9]], [0.0])
    assert best_learning_rate([early, late]) is late


def test_an_arm_learns_and_its_processes_agree_with_this_one():
    config = ReinforceConfig(num_seeds=2, episodes_per_update=64)
    protocol = Protocol(
        "wm_envs:wm/PatternEcho-v0",
        num_updates=60,
        evaluate_every=20,
        evaluation_episodes=50,
        final_episodes=100,
    )
    here = run_arm("with", config, protocol)
    assert here.curve.shape == (2, 3)
    assert here.episodes.tolist() == [1280, 2560, 3840]
    assert here.final.min() > 0.5
    messages = []
    apart = run_arms(
        {"with": config}, protocol, num_workers=2, report=lambda *message: messages.append(message)
    )
    np.testing.assert_array_equal(apart["with"].curve, here.curve)
    assert [update for _, update, _ in messages] == [20, 40, 60]


def test_it_stops_once_every_run_is_solved():
    protocol = Protocol(
        "wm/PatternEcho-v0",
        num_updates=400,
        evaluate_every=10,
        evaluation_episodes=50,
        stop_when=0.9,
    )
    result = run_arm("with", ReinforceConfig(num_seeds=2), protocol)
    assert result.curve.shape[1] < 40
    assert (result.curve.max(1) >= 0.9).all()


def test_an_environment_without_success_is_refused():
    protocol = Protocol("CartPole-v1", num_updates=1, evaluate_every=1, evaluation_episodes=2)
    with pytest.raises(ConfigError, match="is_success"):
        run_arm("with", ReinforceConfig(episodes_per_update=2), protocol)


def test_a_protocol_without_an_evaluation_is_refused():
    with pytest.raises(
        ConfigError, match=r"num_updates=10 ends before the first evaluation.*evaluate_every=50"
    ):
        Protocol("wm/PatternEcho-v0", num_updates=10)
    with pytest.raises(ConfigError, match="final_episodes is at least 1, got 0"):
        Protocol("wm/PatternEcho-v0", final_episodes=0)


def test_a_curriculum_is_judged_at_its_last_level():
    config = ReinforceConfig(num_seeds=2, episodes_per_update=8, device="cpu")
    options = {"num_updates": 1, "evaluate_every": 1, "final_episodes": 100}
    # A delay so long that the limit of the time cuts the episode before its answer.
    levels = ({}, {"time_limit": 1})
    result = run_arm("a", config, Protocol("wm/DelayedMatch-v0", levels=levels, **options))
    assert (result.final == 0).all()
    result = run_arm("a", config, Protocol("wm/DelayedMatch-v0", levels=levels[:1], **options))
    assert (result.final > 0).all()
