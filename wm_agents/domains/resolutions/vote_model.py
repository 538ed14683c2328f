"""Forecasts of votes: before the vote, and after some votes are known.

With attendance, tallies and their intervals.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wm_agents.domains.resolutions.classifier import ClassifierConfig, VoteClassifier
from wm_agents.domains.resolutions.data import Floats, VoteData
from wm_agents.domains.resolutions.features import FeatureBuilder, Predictors
from wm_agents.domains.resolutions.update import corrected, learn_covariance, most_probable
from wm_agents.errors import ConfigError, TrajectoryError
from wm_agents.training.fitted import Fitted


@dataclass(frozen=True)
class VoteModelConfig:
    """How a `VoteModel` is fitted.

    Attributes:
        training_years: Years before the cut-off whose roll calls are fitted; earlier ones are
            history.
        calibration_years: The last of them, forecast by a first model that has not seen them:
            temperature, corrections and intervals are learned there.
        classifier: The perceptrons for yes, abstain and no.
        membership_years: A country is a member if it voted in the last this many years.
        coverage: Nominal coverage of the tallies' intervals.
    """

    training_years: float = 16.0
    calibration_years: float = 4.0
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    membership_years: float = 1.5
    coverage: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.calibration_years < self.training_years or not 0 < self.coverage < 1:
            raise ConfigError(
                f"calibration_years lie within training_years and coverage within 0 to 1, got {self}"
            )


@dataclass(frozen=True)
class Forecast:
    """What is expected of K roll calls and C countries.

    Attributes:
        rows: [K] which roll calls.
        probabilities: [K, C, 3] of yes, abstain and no, given that the country votes.
        attendance: [K, C] probability that it votes.
        tallies: [K, 3] expected numbers of yes, abstain and no.
        intervals: [K, 3, 2] lower and upper ends.
        predictors: The simple predictions beside it, None after an update.
    """

    rows: NDArray[np.int64]
    probabilities: Floats
    attendance: Floats
    tallies: Floats
    intervals: Floats
    predictors: Predictors | None = None


class VoteModel(Fitted):
    """Forecasts votes from text, issue, precedent, habits and blocs.

    Corrects itself as votes become known.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("forecast", "update")

    def __init__(self, config: VoteModelConfig | None = None) -> None:
        self.config = VoteModelConfig() if config is None else config

    def fit(
        self, data: VoteData, train_before: float, history_until: float = np.inf
    ) -> "VoteModel":
        """Fit on the roll calls before a date.

        Args:
            data: All roll calls. Those from `train_before` on are not fitted; as they pass, they
                become history for the forecasts of later ones, unless `history_until` forbids it.
            train_before: The cut-off, a year.
            history_until: Votes from this year on are never looked at; `train_before` freezes the
                history there.

        Raises:
            TrajectoryError: Too few roll calls before the cut-off.
        """
        config = self.config
        self.data = data
        self.builder = FeatureBuilder(data, train_before, history_until)
        rows = data.between(train_before - config.training_years, train_before)
        is_early = data.years[rows] < train_before - config.calibration_years
        if is_early.sum() < 20 or (~is_early).sum() < 20:
            raise TrajectoryError(
                f"only {len(rows)} roll calls in the {config.training_years} years before the cut-off"
            )
        predictors = self.builder.build(rows)
        self._fit_classifier(predictors.features[is_early], rows[is_early])
        self._calibrate(
            predictors.features[~is_early],
            self._attendance(predictors, rows)[~is_early],
            rows[~is_early],
        )
        self._fit_classifier(predictors.features, rows)
        self.is_fitted = True
        return self

    def forecast(self, rows: Iterable[int]) -> Forecast:
        """What is expected of these roll calls before anybody has voted."""
        chosen = np.fromiter(rows, np.int64)
        predictors = self.builder.build(chosen)
        probabilities = _tempered(self._votes(predictors.features), self.temperature)
        attendance = self._attendance(predictors, chosen)
        tallies, intervals = self._tallies(probabilities, attendance)
        return Forecast(chosen, probabilities, attendance, tallies, intervals, predictors)

    def update(self, forecast: Forecast, is_revealed: NDArray[np.bool_]) -> Forecast:
        """The forecast given some votes; revealed countries keep what they did.

        Args:
            forecast: For K roll calls.
            is_revealed: [K, C]; an absence can be revealed too.
        """
        one_hot = (self.builder.one_hot[forecast.rows] * is_revealed[..., None]).astype(np.float64)
        basis = self._basis(forecast.rows)
        correction = most_probable(
            forecast.probabilities.astype(np.float64), basis, one_hot, self.covariance
        )
        probabilities = corrected(
            forecast.probabilities.astype(np.float64), basis, correction
        ).astype(np.float32)
        has_vote = one_hot.sum(2) > 0
        probabilities = np.where(has_vote[..., None], one_hot, probabilities).astype(np.float32)
        attendance = np.where(is_revealed, has_vote, forecast.attendance).astype(np.float32)
        tallies, intervals = self._tallies(probabilities, attendance)
        return replace(
            forecast,
            probabilities=probabilities,
            attendance=attendance,
            tallies=tallies,
            intervals=intervals,
            predictors=None,
        )

    def _fit_classifier(self, features: Floats, rows: NDArray[np.int64]) -> None:
        votes = self.data.votes[rows]
        present = votes >= 0
        self.classifier = VoteClassifier(self.config.classifier).fit(
            features[present], votes[present]
        )

    def _calibrate(self, features: Floats, attendance: Floats, rows: NDArray[np.int64]) -> None:
        """Temperature, covariance of corrections and width of intervals, on years that were not fitted."""
        votes = self.data.votes[rows]
        raw = self._votes(features)
        grid = np.geomspace(0.6, 2.0, 25)
        losses = [_log_loss(_tempered(raw, temperature), votes) for temperature in grid]
        self.temperature = float(grid[int(np.argmin(losses))])
        probabilities = _tempered(raw, self.temperature)
        one_hot = self.builder.one_hot[rows].astype(np.float64)
        self.covariance = learn_covariance(
            probabilities.astype(np.float64), self._basis(rows), one_hot
        )
        means, deviations = _moments(probabilities, attendance)
        counts = one_hot.sum(1)
        self.tally_scales = _absolute_error_scales(means, counts)
        scores = np.abs(counts - means * self.tally_scales) / deviations
        self.interval_scores = np.quantile(scores, self.config.coverage, axis=0)

    def _votes(self, features: Floats) -> Floats:
        flat = self.classifier.predict(features.reshape(-1, features.shape[2]))
        return flat.reshape(*features.shape[:2], 3)

    def _attendance(self, predictors: Predictors, rows: NDArray[np.int64]) -> Floats:
        """Nobody but members is expected."""
        expected: Floats = predictors.attendance * self._is_member(rows)
        return expected

    def _is_member(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[K, C]: the country voted not long before; states that no longer exist did not."""
        data, member = self.data, np.zeros((len(rows), len(self.data.countries)), np.bool_)
        present = data.is_present
        for place, row in enumerate(rows):
            year = min(data.years[row], self.builder.history_until)
            member[place] = present[data.between(year - self.config.membership_years, year)].any(0)
        return member

    def _basis(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.stack([self.builder.history(self.data.years[row]).basis for row in rows]).astype(
            np.float64
        )

    def _tallies(self, probabilities: Floats, attendance: Floats) -> tuple[Floats, Floats]:
        means, deviations = _moments(probabilities, attendance)
        means = (means * self.tally_scales).astype(np.float32)
        reach = self.interval_scores * deviations
        return means, np.stack([np.maximum(means - reach, 0), means + reach], 2)


def _moments(probabilities: Floats, attendance: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation [K, 3] of the counts, were the countries independent."""
    expected = probabilities * attendance[..., None]
    deviations: Floats = np.sqrt((expected * (1 - expected)).sum(1) + 0.5)
    return expected.sum(1), deviations


def _absolute_error_scales(means: Floats, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The factor [3] on each mean with the least absolute error.

    Counts are skewed, and medians lie off the means.
    """
    grid = np.linspace(0.85, 1.15, 61)
    errors = np.abs(means[None] * grid[:, None, None] - counts).mean(1)
    return grid[errors.argmin(0)]


def _tempered(probabilities: Floats, temperature: float) -> Floats:
    powered = np.maximum(probabilities, 1e-6) ** (1 / temperature)
    result: Floats = powered / powered.sum(-1, keepdims=True)
    return result


def _log_loss(probabilities: Floats, votes: NDArray[np.int8]) -> float:
    present = votes >= 0
    chosen = np.take_along_axis(probabilities, np.maximum(votes, 0)[..., None].astype(np.int64), 2)[
        ..., 0
    ]
    return float(-np.log(np.maximum(chosen[present], 1e-12)).mean())
