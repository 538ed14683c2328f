"""Scores of predicted probabilities, by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from wm_agents.errors import ConfigError
from wm_agents.evaluation.calibration import auroc, average_precision, brier_score


def test_by_hand() -> None:
    probabilities, outcomes = [0.9, 0.8, 0.3, 0.3, 0.1], [1, 0, 1, 0, 0]
    # Pairs event/other: .9 beats three, .3 beats .1, ties .3, loses to .8.
    assert auroc(probabilities, outcomes) == pytest.approx((3 + 1 + 0.5) / 6)
    assert average_precision(probabilities, outcomes) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    assert brier_score(probabilities, outcomes) == pytest.approx(
        (0.01 + 0.64 + 0.49 + 0.09 + 0.01) / 5
    )


@pytest.mark.parametrize("num_levels", [3, 1000])
def test_against_scikit_learn(num_levels: int) -> None:
    generator = np.random.default_rng(num_levels)
    probabilities = generator.integers(num_levels + 1, size=500) / num_levels
    outcomes = generator.random(500) < 0.2 + 0.5 * probabilities
    assert auroc(probabilities, outcomes) == pytest.approx(roc_auc_score(outcomes, probabilities))
    assert average_precision(probabilities, outcomes) == pytest.approx(
        average_precision_score(outcomes, probabilities)
    )
    assert brier_score(probabilities, outcomes) == pytest.approx(
        brier_score_loss(outcomes, probabilities)
    )


def test_nothing_to_rank_is_none() -> None:
    assert auroc([0.1, 0.2], [0, 0]) is None
    assert auroc([0.1, 0.2], [1, 1]) is None
    assert average_precision([0.1, 0.2], [0, 0]) is None


def test_bad_probabilities_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        brier_score([1.2], [1])
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        brier_score([float("nan")], [1])
    with pytest.raises(ConfigError, match="2 probabilities for 1"):
        auroc([0.1, 0.2], [1])
