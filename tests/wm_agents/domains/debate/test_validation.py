"""Predicted owners against labels, with probabilities that can be counted by hand."""

import numpy as np
import pytest

from wm_agents.domains.debate.model import Debaters
from wm_agents.domains.debate.validation import (
    Validator,
    cohens_kappa,
    labelled_by,
    read_labels,
    summarize,
)
from wm_envs.debate.claims import Claim
from wm_envs.debate.observations import Observation, Observations
from wm_envs.debate.tendencies import CLAIMS, NUM_TENDENCIES, TENDENCIES
from wm_envs.errors import ObservationError


def labelled(*owners):
    rows = [
        Observation(
            f"{number}", f"text {number}", metadata={} if owner is None else {"owner": owner}
        )
        for number, owner in enumerate(owners)
    ]
    return Observations(rows, "a test")


def one_hot(*places):
    return np.eye(NUM_TENDENCIES)[list(places)]


@pytest.mark.parametrize(
    ("num_correct", "p_value", "stars"),
    [
        (0, 1.0, ""),
        (1, 1 - (6 / 7) ** 3, ""),
        (2, 3 * (1 / 7) ** 2 * (6 / 7) + (1 / 7) ** 3, ""),
        (3, (1 / 7) ** 3, "**"),
    ],
)
def test_the_chance_of_as_many_right_predictions_is_binomial(num_correct, p_value, stars):
    result = summarize(num_correct, 3, 1 / 3)
    assert result.p_value == pytest.approx(p_value)
    assert result.accuracy == num_correct / 3
    assert result.interval.low <= result.accuracy <= result.interval.high
    assert (result.stars, result.is_above_chance) == (stars, p_value < 0.05)
    assert result.verdict == ("above chance" if p_value < 0.05 else "not above chance")
    assert result.summary()["accuracy"] == result.accuracy
    assert f"{result}" == (
        f"{num_correct / 3:.1%} accuracy on 3 labels (p={p_value:.4f}), {result.verdict}"
    )


def test_relevance_is_weighed_with_influence_and_claims_that_are_missing_are_never_predicted():
    first, second = TENDENCIES[:2]
    rows = labelled(first, first, second)
    relevance = np.full((3, NUM_TENDENCIES), 1e-3)
    relevance[:, 0], relevance[:, 1] = 0.4, 0.5
    even = dict.fromkeys(TENDENCIES, 1 / NUM_TENDENCIES)
    validator = Validator()
    assert validator.compare(rows, relevance, even).num_correct == 1  # the second every time
    # 0.4 * 0.4 is more than 0.5 * 0.2: the first every time.
    tilted = dict.fromkeys(TENDENCIES, 0.08) | {first: 0.4, second: 0.2}
    assert validator.compare(rows, relevance, tilted).num_correct == 2
    only_second = {second: Claim(second, CLAIMS[second], 1.0)}
    assert validator.compare(rows, relevance, tilted, only_second).num_correct == 1


def test_what_has_no_label_is_passed_over():
    class OneHot:
        def score(self, texts):
            return one_hot(*range(len(texts)))

    first, second = TENDENCIES[:2]
    validator = Validator(OneHot())
    result = validator.validate(labelled(None, first, None, second), None, Debaters())
    assert (result.num_observations, result.num_correct) == (2, 2)
    assert result.majority_accuracy == 0.5
    assert validator.validate(labelled(None), None, Debaters()) is None


def test_kappa_by_hand_and_within_its_interval():
    """Cohen 1960: agreement less what the shares of the labels alone would bring."""
    first = ["a"] * 25 + ["b"] * 25
    second = ["a"] * 20 + ["b"] * 5 + ["a"] * 10 + ["b"] * 15
    # 35 of 50 equal; by chance .5 x .6 + .5 x .4 = .5.
    kappa = cohens_kappa(first, second, seed=1)
    assert kappa.estimate == pytest.approx(0.4)
    assert 0.05 < kappa.low < 0.25 < 0.55 < kappa.high < 0.75
    assert cohens_kappa(first, first).estimate == 1
    assert cohens_kappa(["a"], ["a"]).estimate == 0
    with pytest.raises(ObservationError, match="two labels for each"):
        cohens_kappa(["a"], [])


def test_labels_of_a_reader_take_the_place_of_the_given_ones(tmp_path):
    path = tmp_path / "ada.jsonl"
    lines = ['{"id": "1", "label": "status"}', '{"id": "0", "label": "meaning"}']
    lines += ['{"id": "1", "label": "comfort"}', '{"id": "2", "label": null}']
    path.write_text("\n".join(lines))
    labels = read_labels(path)
    assert labels == {"1": "comfort", "0": "meaning", "2": None}
    theirs = labelled_by(labelled("survival", "status", "meaning", "status"), labels)
    # Passed over and never asked are left out alike.
    assert [(each.id, each.owner.value) for each in theirs] == [("0", "meaning"), ("1", "comfort")]
    with pytest.raises(ObservationError, match="of other texts"):
        labelled_by(labelled("survival"), {"7": "status"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "1"}', "line 1 is no answer"),
        (b'{"id": "1", "label": "status"}\nnothing', "line 2 is no answer"),
        (b'{"id": "1", "label": ["status"]}', "is no tendency"),
        (b"[" * 100_000, "line 1 is no answer"),
        (b"\xff\xfe", "no text in UTF-8"),
    ],
)
def test_files_that_hold_no_labels_are_refused(tmp_path, content, message):
    path = tmp_path / "labels.jsonl"
    path.write_bytes(content)
    with pytest.raises(ObservationError, match=message):
        read_labels(path)
