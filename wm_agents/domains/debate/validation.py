"""Validation: predicted owners of observations against labels that the model did not make."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.debate.model import Debaters
from wm_agents.evaluation.statistics import Interval, wilson_interval
from wm_envs.data.paths import user_path
from wm_envs.debate.claims import Claim
from wm_envs.debate.observations import LABEL, Observations
from wm_envs.debate.relevance import Relevance, Scores, check_scores, default_relevance
from wm_envs.debate.tendencies import NUM_TENDENCIES, TENDENCIES, Tendency
from wm_envs.errors import ObservationError

CHANCE = 1 / NUM_TENDENCIES
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class ValidationResult:
    """How many owners were predicted.

    Attributes:
        num_correct: Right predictions.
        num_observations: Labelled observations.
        accuracy: Their ratio.
        p_value: Probability of as many right predictions or more at 1/7 each (one-sided exact
            binomial test).
        interval: Accuracy with its 95% Wilson interval.
        majority_accuracy: What naming the most frequent label each time would reach.
    """

    num_correct: int
    num_observations: int
    accuracy: float
    p_value: float
    interval: Interval
    majority_accuracy: float

    @property
    def is_above_chance(self) -> bool:
        """Whether the test rejects 1/7 at 5%."""
        return self.p_value < SIGNIFICANCE

    @property
    def verdict(self) -> str:
        """In words."""
        return "above chance" if self.is_above_chance else "not above chance"

    @property
    def stars(self) -> str:
        """One star below .05, two below .01, three below .001."""
        return "*" * sum(self.p_value < level for level in (0.05, 0.01, 0.001))

    def __str__(self) -> str:
        return (
            f"{self.accuracy:.1%} accuracy on {self.num_observations} labels "
            f"(p={self.p_value:.4f}), {self.verdict}"
        )

    def summary(self) -> dict[str, float]:
        """Flat names to numbers, the form of a `summary.json`."""
        return {
            **self.interval.flatten("accuracy"),
            "p_value": self.p_value,
            "labelled": self.num_observations,
            "majority_accuracy": self.majority_accuracy,
        }

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "accuracy": self.accuracy,
            "p_value": self.p_value,
            "num_correct": self.num_correct,
            "num_observations": self.num_observations,
            "interval": [self.interval.low, self.interval.high],
            "majority_accuracy": self.majority_accuracy,
            "verdict": self.verdict,
        }


class Validator:
    """Predicts owners of labelled observations: the highest product of relevance and influence.

    By Bayes' rule, with the relevance of an observation as its likelihood and the allocations as
    the prior. Labels come with the observations (`metadata["owner"]`), from a reader or a
    generator; relevance is never a label.

    Args:
        relevance: The scorer; the default one where None.
    """

    def __init__(self, relevance: Relevance | None = None) -> None:
        self._relevance = relevance

    def validate(
        self, test_obs: Observations, claims: Mapping[Tendency, Claim] | None, agents: Debaters
    ) -> ValidationResult | None:
        """Compare predictions with labels.

        Args:
            test_obs: Held-out observations; those without a label are passed over.
            claims: The debate's claims; a claim that is missing is never predicted, None stands for
                all.
            agents: The tendencies with their influence.

        Returns:
            None when no observation has a label.
        """
        labelled = Observations([o for o in test_obs if o.owner is not None], test_obs.source)
        if not len(labelled):
            return None
        scorer = default_relevance() if self._relevance is None else self._relevance
        relevance = check_scores(scorer.score(labelled.texts), len(labelled))
        return self.compare(labelled, relevance, agents.allocations, claims)

    def compare(
        self,
        labelled: Observations,
        relevance: Scores,
        allocations: Mapping[Tendency, float],
        claims: Mapping[Tendency, Claim] | None = None,
    ) -> ValidationResult:
        """`validate` on relevance [N, 7] that was computed before."""
        influence = np.array([allocations[tendency] for tendency in TENDENCIES])
        if claims is not None:
            influence = influence * np.array([tendency in claims for tendency in TENDENCIES])
        predicted = (relevance * influence).argmax(axis=1)
        owners = [observation.owner for observation in labelled]
        num_correct = sum(
            TENDENCIES[int(place)] is owner for place, owner in zip(predicted, owners, strict=True)
        )
        majority_accuracy = max(Counter(owners).values()) / len(owners)
        return summarize(num_correct, len(owners), majority_accuracy)


def read_labels(path: str | Path) -> dict[str, str | None]:
    """A reader's labels, lines of JSON {"id": ..., "label": ...} as `label_observations.py` writes.

    Returns:
        Names of tendencies by id of the observation, None where it was passed over; of several
        answers the last counts.

    Raises:
        ObservationError: A line is no answer, or names no tendency.
    """
    labels: dict[str, str | None] = {}
    known = {tendency.value for tendency in TENDENCIES} | {None}
    try:
        lines = user_path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ObservationError(f"{path} is no text in UTF-8: give lines of JSON") from error
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            name, label = str(line["id"]), line["label"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ObservationError(f"{path}, line {number} is no answer: {text[:60]!r}") from error
        if not isinstance(label, str | None) or label not in known:
            raise ObservationError(f"{path}, line {number}: {label!r} is no tendency")
        labels[name] = label
    return labels


def labelled_by(observations: Observations, labels: Mapping[str, str | None]) -> Observations:
    """The observations that have one of these labels by id, with it in place of their own.

    Raises:
        ObservationError: None of them has one.
    """
    labelled = [
        replace(each, metadata={**each.metadata, LABEL: labels[each.id]})
        for each in observations
        if labels.get(each.id) is not None
    ]
    if not labelled:
        raise ObservationError("no observation has one of these labels: they are of other texts")
    return Observations(labelled, observations.source)


def cohens_kappa(
    first: Sequence[str],
    second: Sequence[str],
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Agreement of two readers' labels beyond chance (Cohen 1960), by a percentile bootstrap.

    Observations are resampled. Where both give one label to everything, chance explains all: 0.

    Args:
        first: N labels.
        second: N labels of the same observations.
        num_resamples: Of the bootstrap.
        confidence: Of the interval.
        seed: Of the bootstrap.

    Raises:
        ObservationError: No labels, or another number of them.
    """
    if not len(first) or len(first) != len(second):
        raise ObservationError(
            f"expected two labels for each observation, got {len(first)} and {len(second)}"
        )
    names = sorted({*first, *second})
    places = np.array([[names.index(label) for label in labels] for labels in (first, second)])

    def kappa(drawn: NDArray[np.int64]) -> float:
        one, other = places[:, drawn]
        by_chance = (
            float(np.bincount(one, minlength=len(names)) @ np.bincount(other, minlength=len(names)))
            / len(drawn) ** 2
        )
        equal = float((one == other).mean())
        # Readers who only ever use one label agree by necessity, which proves nothing.
        return (equal - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0

    generator = np.random.default_rng(seed)
    draws = generator.integers(len(first), size=(num_resamples, len(first)))
    tail = (1 - confidence) / 2
    low, high = np.quantile([kappa(drawn) for drawn in draws], [tail, 1 - tail])
    return Interval(kappa(np.arange(len(first))), float(low), float(high), confidence)


def summarize(
    num_correct: int, num_observations: int, majority_accuracy: float
) -> ValidationResult:
    """Test and interval for a number of right predictions."""
    from scipy.stats import binomtest

    return ValidationResult(
        num_correct=num_correct,
        num_observations=num_observations,
        accuracy=num_correct / num_observations,
        p_value=float(
            binomtest(num_correct, num_observations, CHANCE, alternative="greater").pvalue
        ),
        interval=wilson_interval(num_correct, num_observations),
        majority_accuracy=majority_accuracy,
    )
