"""Validation: predicted owners of observations against labels that the model did not make."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wm_agents.domains.debate.model import Debaters
from wm_agents.evaluation.statistics import Interval, wilson_interval
from wm_envs.debate.claims import Claim
from wm_envs.debate.observations import Observations
from wm_envs.debate.relevance import Relevance, Scores, check_scores, default_relevance
from wm_envs.debate.tendencies import NUM_TENDENCIES, TENDENCIES, Tendency

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
