"""The sentences of the page follow its numbers."""

from dataclasses import replace

import numpy as np

from tests.support.analytic import WalkModel, walk
from wm_agents.evaluation.calibration import LEVELS, Calibration
from wm_agents.evaluation.charts import short
from wm_agents.evaluation.episodes import planning_gap
from wm_agents.evaluation.open_loop import open_loop_error
from wm_agents.evaluation.open_loop_report import EndPrediction
from wm_agents.evaluation.verdict import (
    calibration_sentence,
    comparison,
    ends_sentence,
    gap_sentence,
    reason,
)

TRAIN, TEST = walk([40] * 6, seed=1), walk([40] * 8, seed=2)


def test_comparison_names_the_best_rule_and_the_ratio() -> None:
    std = float(TRAIN.observations.std(axis=0)[0])
    report = open_loop_error(WalkModel(drift=0.5 * std), TEST, (2,), train=TRAIN)
    ratio = report.error(2) / report.error(2, "ridge")
    assert comparison(report, 2) == (
        f"After 2 steps its error is {ratio:.1f} times larger than that of the best simple rule "
        "(“ridge regression”)."
    )
    small = open_loop_error(WalkModel(drift=0.05 * std), TEST, (2,))
    assert f"{small.error(2, 'persistence') / small.error(2):.1f} times smaller" in comparison(
        small, 2
    )
    assert "right to a thousandth" in comparison(open_loop_error(WalkModel(), TEST, (2,)), 2)


def test_a_rule_that_is_exact_is_said_to_be() -> None:
    report = open_loop_error(WalkModel(drift=0.1), TEST, (2,))
    curve = report.curves["persistence"]
    report.curves["persistence"] = replace(curve, rmse=np.zeros_like(curve.rmse))
    expected = (
        f"After 2 steps “nothing changes” is exact, and its own error is {short(report.error(2))}."
    )
    assert comparison(report, 2) == expected


def test_the_reason_is_the_tolerance_or_the_better_rule() -> None:
    std = float(TRAIN.observations.std(axis=0)[0])
    assert "may exceed 0.3 standard deviations" in reason(
        open_loop_error(WalkModel(drift=9.0), TEST)
    )
    beaten = open_loop_error(WalkModel(drift=0.05 * std), TEST, train=TRAIN, tolerance=9.0)
    assert beaten.trusted_steps == 0
    assert "After 1 step “ridge regression” predicts better" in reason(beaten)


def test_a_trusted_model_that_a_rule_beats_by_little_is_not_said_to_be_the_best() -> None:
    std = float(TRAIN.observations.std(axis=0)[0])
    exact = open_loop_error(WalkModel(drift=0.001 * std), TEST, (1, 2), train=TRAIN)
    assert exact.trusted_steps == 2
    assert exact.error(2, "ridge") < exact.error(2)
    assert "right to a hundredth of one where a simple rule predicts better" in reason(exact)
    assert "no simple rule predicts better" in reason(
        open_loop_error(WalkModel(drift=0.001 * std), TEST, (1, 2))
    )


def test_ends() -> None:
    none = EndPrediction((None,), (None,), (0.0,), (0.0,), (0.0,), (0.02,))
    assert "within 4 steps is 0.020; it should be 0" in ends_sentence(none, (4,))
    some = EndPrediction((0.9, 0.8), (0.5, 0.4), (0.1, 0.1), (0.2, 0.2), (0.1, 0.25), (0.1, 0.3))
    sentence = ends_sentence(some, (1, 8))
    assert sentence.startswith(
        "25% of starts end by themselves within 8 steps; the model says 30% on average."
    )
    assert "80% of the time" in sentence


def test_calibration_is_judged() -> None:
    def judged(coverage: float) -> str:
        table = np.full((1, len(LEVELS)), coverage)
        return calibration_sentence(Calibration(LEVELS, table, table, 39), (8,))

    assert judged(0.9).endswith("hold the outcome 90% after 8 steps: about right.")
    assert judged(0.6).endswith("overconfident.")
    assert judged(0.99).endswith("too cautious.")
    assert "no intervals" in calibration_sentence(None, (8,))
    unknown = np.array(
        [[0.9] * len(LEVELS), [np.nan] * len(LEVELS)]
    )  # no examined start lasts 32 steps
    sentence = calibration_sentence(Calibration(LEVELS, unknown, unknown, 39), (8, 32))
    assert sentence.endswith("hold the outcome 90% after 8 steps: about right.")


def test_a_gap_within_chance_is_not_given_a_number() -> None:
    assert "cannot" not in gap_sentence(planning_gap([0.5, 0.5], [1, 1], [0, 0]))
    assert "closes 50% of the gap" in gap_sentence(planning_gap([0.5, 0.5], [1, 1], [0, 0]))
    assert "closes none of the gap" in gap_sentence(planning_gap([-0.1, -0.1], [1, 1], [0, 0]))
    assert "within chance" in gap_sentence(
        planning_gap([1.0, 5.0, 3.0], [0.0, 10.0, 0.2], [5.0, 0.0, 5.0])
    )


def test_ratios_that_round_to_one_are_equal() -> None:
    report = open_loop_error(WalkModel(drift=0.1), TEST, (2,))
    curve = report.curves["persistence"]
    for ratio in (0.96, 1.0, 1.04):
        report.curves["persistence"] = replace(curve, rmse=ratio * report.curves["model"].rmse)
        assert comparison(report, 2) == (
            "After 2 steps its error equals that of the best simple rule (“nothing changes”)."
        )


def test_numbers_and_nouns_agree() -> None:
    ends = EndPrediction((0.9,), (0.5,), (0.1,), (0.2,), (0.25,), (0.3,))
    assert "within 1 step;" in ends_sentence(ends, (1,))
    none = EndPrediction((None,), (None,), (0.0,), (0.0,), (0.0,), (0.0,))
    assert "within 1 step is 0;" in ends_sentence(none, (1,))
    table = np.full((1, len(LEVELS)), 0.9)
    assert "90% after 1 step:" in calibration_sentence(Calibration(LEVELS, table, table, 39), (1,))
