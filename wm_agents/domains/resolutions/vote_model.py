"""Forecasts of votes before they are cast, and their correction once some votes are known.

A `VoteModel` gives probabilities of what each country does, its attendance, and tallies with
intervals. When the first votes become known, the forecast may turn out wrong about a whole text:
more or less contested, or contested along another axis. With the basis B_c = (1, position of
country c) the corrected logits are

    log p_c(yes, abstain, no) + (z, h, -z),   z = B_c . alpha,   h = B_c . beta,
    (alpha, beta) ~ N(0, Sigma),

and alpha, beta are the most probable values given the revealed votes (the posterior is
log-concave). Sigma is learned from forecasts of earlier years that did not see those years: it is
the second moment of the corrections that make each fully known roll call most probable (one step of
empirical Bayes, repeated).
"""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.resolutions.classifier import ClassifierConfig, VoteClassifier
from wm_agents.domains.resolutions.data import Floats, VoteData, tally
from wm_agents.domains.resolutions.features import FeatureBuilder, Predictors
from wm_agents.errors import CheckpointError, ConfigError, TrajectoryError
from wm_agents.training.checkpoints import CheckpointManager, load_checkpoint, save_checkpoint
from wm_agents.training.fitted import Fitted
from wm_agents.training.newton import minimize_convex
from wm_agents.training.saving import saved_path
from wm_agents.training.stored_shapes import reading_description
from wm_agents.training.trainer import FitReport, as_manager
from wm_envs.resolutions.codes import Vote

KIND = "vote model"
MIN_ROLL_CALLS = 20  # to fit, and again to calibrate
_LOGIT_DIRECTIONS = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # yes, abstain, no by (z, h)

Doubles = NDArray[np.float64]


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
                "calibration_years lie within training_years and coverage within 0 to 1, "
                f"got {self}"
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

    Args:
        config: How it is fitted.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("forecast", "update", "save")

    def __init__(self, config: VoteModelConfig | None = None) -> None:
        self.config = VoteModelConfig() if config is None else config

    def fit(
        self,
        data: VoteData,
        config: VoteModelConfig | None = None,
        *,
        train_before: float,
        history_until: float = np.inf,
        checkpoints: CheckpointManager | str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> FitReport:
        """Fit on the roll calls before a date.

        Args:
            data: All roll calls. Those from `train_before` on are not fitted; as they pass, they
                become history for the forecasts of later ones, unless `history_until` forbids it.
            config: Takes the place of the constructor's.
            train_before: The cut-off, a year.
            history_until: Votes from this year on are never looked at; `train_before` freezes the
                history there.
            checkpoints: Folder to save to and to resume from, bitwise.
            progress: Show a progress bar for each of the two fits.

        Returns:
            The report of the last fit, with the temperature among its metrics.

        Raises:
            TrajectoryError: Too few roll calls before the cut-off.
            ConfigError: `config` is something else, such as the cut-off.
            CheckpointError: The checkpoints are of another fit.
        """
        if config is not None and not isinstance(config, VoteModelConfig):
            raise ConfigError(
                f"config is a VoteModelConfig, got {config!r}: give the cut-off as train_before="
            )
        config = self.config if config is None else config
        rows = data.between(train_before - config.training_years, train_before)
        is_early = data.years[rows] < train_before - config.calibration_years
        if min(is_early.sum(), (~is_early).sum()) < MIN_ROLL_CALLS:
            raise TrajectoryError(
                f"only {len(rows)} roll calls in the {config.training_years} years before the "
                f"cut-off: at least {MIN_ROLL_CALLS} to fit and {MIN_ROLL_CALLS} to calibrate"
            )
        self.config = config
        self.train_before = train_before
        self.data = data
        self.builder = FeatureBuilder(data, train_before, history_until)
        predictors = self.builder.build(rows)
        early, late = _subfolders(checkpoints)
        # A first classifier has not seen the late years: how sure it may be is learned there.
        features = predictors.features
        self._fit_classifier(features[is_early], rows[is_early], early, progress)
        attendance = self._attendance(predictors, rows)
        self._calibrate(features[~is_early], attendance[~is_early], rows[~is_early])
        report = self._fit_classifier(features, rows, late, progress)
        self.is_fitted = True
        return replace(report, metrics={"temperature": self.temperature})

    def forecast(self, rows: Iterable[int]) -> Forecast:
        """What is expected of these roll calls before anybody has voted."""
        selected = np.fromiter(rows, np.int64)
        predictors = self.builder.build(selected)
        probabilities = _tempered(self._votes(predictors.features), self.temperature)
        attendance = self._attendance(predictors, selected)
        tallies, intervals = self._tallies(probabilities, attendance)
        return Forecast(selected, probabilities, attendance, tallies, intervals, predictors)

    def update(self, forecast: Forecast, is_revealed: NDArray[np.bool_]) -> Forecast:
        """The forecast given some votes; revealed countries keep what they did.

        Args:
            forecast: For K roll calls.
            is_revealed: [K, C]; an absence can be revealed too.
        """
        one_hot = (self.builder.one_hot[forecast.rows] * is_revealed[..., None]).astype(np.float64)
        before = forecast.probabilities.astype(np.float64)
        basis = self._basis(forecast.rows)
        correction = map_correction(before, basis, one_hot, self.covariance)
        probabilities = corrected(before, basis, correction).astype(np.float32)
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

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one file (safetensors with JSON) and return its path.

        The records are not in it: `load` is given them.

        Raises:
            CheckpointError: It cannot be written.
        """
        arrays = {name: getattr(self, name) for name in _CALIBRATED}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        until = self.builder.history_until
        settings = asdict(self.config)
        settings.pop("classifier")  # the classifier describes itself
        metadata = {
            "kind": KIND,
            "settings": settings,
            "classifier": self.classifier.described(),
            "temperature": self.temperature,
            "train_before": self.train_before,
            "history_until": None if np.isinf(until) else until,  # JSON has no infinity
            "records": self.data.fingerprint(self.train_before),
        }
        learned = {f"classifier.{n}": t for n, t in self.classifier.tensors().items()}
        return save_checkpoint(saved_path(path), {**tensors, **learned}, metadata)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        env: Any = None,  # noqa: ARG003
        *,
        device: str = "cpu",  # noqa: ARG003
        given: VoteData | None = None,
    ) -> Self:
        """What `save` wrote; the model has no environment and lives on the CPU.

        Args:
            path: The file.
            env: Ignored.
            device: Ignored.
            given: The records: the same up to the cut-off, and any later ones.

        Raises:
            CheckpointError: The file is missing, damaged or of something else, or the records are
                others than those that the model was fitted on.
        """
        target = saved_path(path)
        stored = load_checkpoint(target, KIND)
        if given is None:
            raise CheckpointError(
                f"{target} holds no records, which forecasts look back on: load(path, given=data)"
            )
        with reading_description(target, "a vote model"):
            described = stored.metadata
            tensors = stored.tensors
            classifier = _classifier_of(described, tensors)
            model = cls(VoteModelConfig(**described["settings"], classifier=classifier.config))
            model.classifier = classifier
            model.temperature = float(described["temperature"])
            for name in _CALIBRATED:
                setattr(model, name, tensors[name].numpy())
            model.train_before = float(described["train_before"])
            until = described["history_until"]
            history_until = np.inf if until is None else float(until)
        if given.fingerprint(model.train_before) != described["records"]:
            raise CheckpointError(
                f"{target} was fitted on other records before {model.train_before}: give those"
            )
        model.data = given
        model.builder = FeatureBuilder(given, model.train_before, history_until)
        model.is_fitted = True
        return model

    def _fit_classifier(
        self,
        features: Floats,
        rows: NDArray[np.int64],
        checkpoints: CheckpointManager | None,
        progress: bool,
    ) -> FitReport:
        votes = self.data.votes[rows]
        is_present = votes != Vote.ABSENT
        self.classifier = VoteClassifier(self.config.classifier)
        return self.classifier.fit(
            features[is_present], votes[is_present], checkpoints=checkpoints, progress=progress
        )

    def _calibrate(self, features: Floats, attendance: Floats, rows: NDArray[np.int64]) -> None:
        """Temperature, covariance of corrections and widths of intervals.

        On years that were not fitted.
        """
        votes = self.data.votes[rows]
        raw = self._votes(features)
        # A grid, since one number is looked for and the loss is cheap.
        grid = np.geomspace(0.6, 2.0, 25)
        losses = [_log_loss(_tempered(raw, temperature), votes) for temperature in grid]
        self.temperature = float(grid[int(np.argmin(losses))])
        probabilities = _tempered(raw, self.temperature)
        one_hot = self.builder.one_hot[rows].astype(np.float64)
        self.covariance = learn_covariance(
            probabilities.astype(np.float64), self._basis(rows), one_hot
        )
        means, deviations = _moments(probabilities, attendance)
        counts = tally(votes)
        self.tally_scales = _absolute_error_scales(means, counts)
        scores = np.abs(counts - means * self.tally_scales) / deviations
        self.interval_scores = np.quantile(scores, self.config.coverage, axis=0)

    def _votes(self, features: Floats) -> Floats:
        flat = self.classifier.predict(features.reshape(-1, features.shape[2]))
        return flat.reshape(*features.shape[:2], flat.shape[1])

    def _attendance(self, predictors: Predictors, rows: NDArray[np.int64]) -> Floats:
        """Nobody but members is expected."""
        expected: Floats = predictors.attendance * self._is_member(rows)
        return expected

    def _is_member(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[K, C]: the country voted not long before; states that no longer exist did not."""
        data = self.data
        is_present = data.is_present
        is_member = np.zeros((len(rows), len(data.countries)), np.bool_)
        for place, row in enumerate(rows):
            year = min(data.years[row], self.builder.history_until)
            recent = data.between(year - self.config.membership_years, year)
            is_member[place] = is_present[recent].any(0)
        return is_member

    def _basis(self, rows: NDArray[np.int64]) -> Doubles:
        """[K, C, D]: the countries on the axes of voting at the date of each roll call."""
        bases = [self.builder.history(self.data.years[row]).basis for row in rows]
        return np.stack(bases).astype(np.float64)

    def _tallies(self, probabilities: Floats, attendance: Floats) -> tuple[Floats, Floats]:
        means, deviations = _moments(probabilities, attendance)
        means = (means * self.tally_scales).astype(np.float32)
        reach = self.interval_scores * deviations
        return means, np.stack([np.maximum(means - reach, 0), means + reach], 2)


_CALIBRATED = ("covariance", "tally_scales", "interval_scores")


def _subfolders(
    checkpoints: CheckpointManager | str | os.PathLike[str] | None,
) -> tuple[CheckpointManager | None, CheckpointManager | None]:
    """A folder for the fit before calibration, and one for the fit after it."""
    manager = as_manager(checkpoints)
    if manager is None:
        return None, None
    early = CheckpointManager(manager.directory / "calibration", manager.keep, manager.kind)
    late = CheckpointManager(manager.directory / "final", manager.keep, manager.kind)
    return early, late


def _classifier_of(described: dict[str, Any], tensors: dict[str, Tensor]) -> VoteClassifier:
    prefix = "classifier."
    learned = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    return VoteClassifier.from_parts(described["classifier"], learned)


def corrected(probabilities: Doubles, basis: Doubles, correction: Doubles) -> Doubles:
    """Probabilities [K, C, 3] with corrections [K, 2 D] applied on bases [K, C, D]."""
    size = basis.shape[2]
    z = np.einsum("kcd,kd->kc", basis, correction[:, :size])
    h = np.einsum("kcd,kd->kc", basis, correction[:, size:])
    logits = np.log(np.maximum(probabilities, 1e-6)) + np.stack([z, h, -z], 2)
    exponentials = np.exp(logits - logits.max(2, keepdims=True))
    result: Doubles = exponentials / exponentials.sum(2, keepdims=True)
    return result


def map_correction(
    probabilities: Doubles, basis: Doubles, one_hot: Doubles, covariance: Doubles
) -> Doubles:
    """Corrections [K, 2 D] given what is revealed.

    Args:
        probabilities: Forecasts [K, C, 3].
        basis: [K, C, D].
        one_hot: Revealed votes [K, C, 3], zero where not revealed.
        covariance: Sigma [2 D, 2 D].

    Raises:
        ConvergenceError: The maximum was not found.
    """
    precision = np.linalg.inv(covariance)
    is_revealed = one_hot.sum(2)

    def problem(corrections: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        current = corrected(probabilities, basis, corrections)
        # Products of vanishing probabilities underflow to 0 only where nobody voted so.
        log_chances = np.where(one_hot > 0, np.log(np.maximum(current, 1e-300)), 0.0)
        likelihood = (log_chances * one_hot).sum((1, 2))
        prior = 0.5 * np.einsum("kd,de,ke->k", corrections, precision, corrections)
        residual = (one_hot - current * is_revealed[..., None]) @ _LOGIT_DIRECTIONS  # [K, C, 2]
        slopes = np.concatenate(
            [np.einsum("kcd,kc->kd", basis, residual[..., j]) for j in range(2)], 1
        )
        hessian = _hessian(current, basis, is_revealed) + precision
        return prior - likelihood, corrections @ precision - slopes, hessian

    start = np.zeros((len(basis), 2 * basis.shape[2]))
    return minimize_convex(problem, start, "the correction of a forecast by revealed votes")


def _hessian(probabilities: Doubles, basis: Doubles, is_revealed: Doubles) -> Doubles:
    """Of the negative log likelihood, [K, 2 D, 2 D]."""
    mean = probabilities @ _LOGIT_DIRECTIONS
    second = np.einsum("kcv,vi,vj->kcij", probabilities, _LOGIT_DIRECTIONS, _LOGIT_DIRECTIONS)
    spread = (second - mean[..., :, None] * mean[..., None, :]) * is_revealed[..., None, None]
    blocks = np.einsum("kcij,kcd,kce->kidje", spread, basis, basis, optimize=True)
    size = 2 * basis.shape[2]
    result: Doubles = blocks.reshape(len(basis), size, size)
    return result


def learn_covariance(
    probabilities: Doubles, basis: Doubles, one_hot: Doubles, num_rounds: int = 4
) -> Doubles:
    """Sigma [2 D, 2 D] from fully known roll calls.

    Second moments of their corrections, plus their uncertainty.
    """
    size = 2 * basis.shape[2]
    covariance = 0.5 * np.eye(size)
    # Each round looks for corrections under the covariance of the round before.
    for _ in range(num_rounds):
        correction = map_correction(probabilities, basis, one_hot, covariance)
        hessian = _hessian(corrected(probabilities, basis, correction), basis, one_hot.sum(2))
        uncertainty = np.linalg.inv(hessian + np.linalg.inv(covariance)).mean(0)
        covariance = correction.T @ correction / len(correction) + uncertainty + 1e-3 * np.eye(size)
    return covariance


def _moments(probabilities: Floats, attendance: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation [K, 3] of the counts, were the countries independent."""
    expected = probabilities * attendance[..., None]
    deviations: Floats = np.sqrt((expected * (1 - expected)).sum(1) + 0.5)
    return expected.sum(1), deviations


def _absolute_error_scales(means: Floats, counts: NDArray[np.int64]) -> Doubles:
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
    is_present = votes != Vote.ABSENT
    # Those who were absent are looked up as if they had said yes, and left out afterwards.
    places = np.maximum(votes, 0)[..., None].astype(np.int64)
    cast = np.take_along_axis(probabilities, places, 2)[..., 0]
    return float(-np.log(np.maximum(cast[is_present], 1e-12)).mean())
