"""Forecasts of votes before they are cast, and their correction once some votes are known.

A `VoteModel` gives probabilities of what each country does, its attendance, and tallies with
intervals. When the first votes become known, the forecast may turn out wrong about a whole text:
more or less contested, or contested along another axis. With the basis B_c = (1, position of
country c) the corrected logits are

    log p_c(yes, abstain, no) + (z, h, -z),   z = B_c . alpha,   h = B_c . beta,
    (alpha, beta) ~ N(0, Sigma),

and alpha, beta are the most probable values given the revealed votes (the posterior is
log-concave). Sigma is learned from forecasts of earlier years that did not see those years, apart for
texts with a precedent, texts without, and amendments and motions, which surprise differently: it is
the second moment of the corrections that make each fully known roll call most probable (one step of
empirical Bayes, repeated). The same Sigma is what all countries share in joint draws, from which
tallies and their intervals are taken (`tallies.py`). Who votes at all is a model of its own, and so
are votes on amendments and motions, of which there are few: a logarithmic opinion pool of what the
parent text, the mover, earlier questions about the same text and recent ones of the kind speak for.

What follows the recent past is set anew each quarter by the forecasts of the years before it, as
those came out: the countries' offsets (a government that changed votes otherwise than its record
says), the temperature, and the widths of intervals.
"""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.resolutions.classifier import ClassifierConfig, VoteClassifier
from wm_agents.domains.resolutions.corrections import (
    corrected,
    correction_curvature,
    country_offsets,
    learn_covariances,
    map_correction,
    with_offsets,
)
from wm_agents.domains.resolutions.data import Floats, QuestionKind, VoteData, tally
from wm_agents.domains.resolutions.features import NUM_PROCEDURAL, FeatureBuilder, Predictors
from wm_agents.domains.resolutions.tallies import (
    attendance_factor,
    draw_votes,
    interval_scores,
    tally_quantiles,
    widened,
)
from wm_agents.errors import CheckpointError, ConfigError, TrajectoryError
from wm_agents.training.checkpoints import Checkpoint, CheckpointManager
from wm_agents.training.fitted import Fitted
from wm_agents.training.newton import (
    conditional_logit,
    fit_conditional_logit,
    fit_logistic,
    logistic,
)
from wm_agents.training.saving import Savable, stored_path
from wm_agents.training.trainer import FitReport, as_manager
from wm_envs.data.display import short_repr
from wm_envs.resolutions.codes import Vote

MIN_ROLL_CALLS = 20  # to fit, and again to calibrate
MIN_OFFSET_ROLL_CALLS = 80  # with known outcome, before countries' offsets are read off them
_NUM_GROUPS = 3  # of roll calls, by how far they surprise
NUM_DRAWS = 200  # of all votes on a roll call, for its tallies
_TEMPERATURES = np.geomspace(0.6, 2.0, 25)  # a grid: one number is looked for, the loss is cheap
_PROCEDURAL_WEIGHT = 3.0  # votes that all votes on one amendment or motion count for together

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class VoteModelConfig:
    """How a `VoteModel` is fitted.

    Attributes:
        training_years: Years before the cut-off whose roll calls are fitted; earlier ones are
            history.
        calibration_years: The last of them, forecast by a first model that has not seen them:
            temperature, corrections and intervals are learned there. Also the years before a
            forecast that set its temperature and intervals.
        classifier: The perceptrons for yes, abstain and no.
        membership_years: A country is a member if it voted in the last this many years.
        offset_std: Prior standard deviation of a country's offsets, in logits: how far it departs
            from its forecasts.
        offset_decay: Years by which past forecasts lose their say in the offsets.
        coverage: Nominal coverage of the tallies' intervals.
    """

    training_years: float = 24.0
    calibration_years: float = 4.0
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    membership_years: float = 1.5
    offset_std: float = 0.3
    offset_decay: float = 2.0
    coverage: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.calibration_years < self.training_years or not 0 < self.coverage < 1:
            raise ConfigError(
                "calibration_years lie within training_years and coverage within 0 to 1, "
                f"got {self}"
            )
        if self.offset_std <= 0 or self.offset_decay <= 0:
            raise ConfigError(f"offset_std and offset_decay are positive, got {self}")


@dataclass(frozen=True)
class Forecast:
    """What is expected of K roll calls and C countries.

    Attributes:
        rows: [K] which roll calls.
        probabilities: [K, C, 3] of yes, abstain and no, given that the country votes.
        attendance: [K, C] probability that it votes.
        tallies: [K, 3] medians of the numbers of yes, abstain and no.
        intervals: [K, 3, 2] lower and upper ends.
        interval_scales: [K, 3], by which the recent past widened the intervals of the draws.
        covariance: [K, 2 D, 2 D] of the corrections alpha and beta, of which the countries share
            alpha in joint draws; after an update, what the known votes left of it.
        predictors: The simple predictions beside it, None after an update.
    """

    rows: NDArray[np.int64]
    probabilities: Floats
    attendance: Floats
    tallies: Floats
    intervals: Floats
    interval_scales: Doubles
    covariance: Doubles
    predictors: Predictors | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class _PastForecasts:
    """How forecasts of N roll calls came out.

    Attributes:
        rows: [N], which roll calls.
        years: [N].
        raw: [N, C, 3], probabilities before any offset and temperature.
        losses: [N, G], negative log likelihood at each temperature of the grid.
        scores: [N, 3], distances of the tallies from their medians, in half-widths.
    """

    rows: NDArray[np.int64]
    years: Doubles
    raw: Floats
    losses: Doubles
    scores: Doubles

    def joined(self, other: "_PastForecasts") -> "_PastForecasts":
        """These and later ones."""
        return _PastForecasts(
            *(np.concatenate([getattr(self, n), getattr(other, n)]) for n in vars(self))
        )


class VoteModel(Savable, Fitted):
    """Forecasts votes from text, issue, precedent, habits and blocs.

    Corrects itself as votes become known. The records are not in its files: `load` takes them as
    `given`, the same up to the cut-off and any later ones.

    Args:
        config: How it is fitted.
    """

    kind = "vote model"
    is_cpu_only = True
    needs_fit: ClassVar[tuple[str, ...]] = ("forecast", "update", "sample", "_stored")
    past: _PastForecasts
    observed_until: float
    _fitted_records: str  # fingerprint of the records of a model that was loaded

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
        # First models have not seen the late years: how sure they may be is learned there.
        self._fit_parts(predictors, rows, is_early, early, progress)
        self._calibrate(predictors, rows, ~is_early)
        report = self._fit_parts(predictors, rows, np.ones_like(is_early), late, progress)
        self.is_fitted = True
        return replace(report, metrics={"temperature": self.temperature})

    def forecast(self, rows: Iterable[int]) -> Forecast:
        """What is expected of these roll calls before anybody has voted."""
        selected = np.fromiter(rows, np.int64)
        pending = self._pending(selected)
        # Roll calls that have passed since the last forecast are forecast as well: how these came
        # out calibrates the later ones.
        needed = np.union1d(selected, pending)
        predictors = self.builder.build(needed)
        raw = self._votes(predictors, needed)  # [K, C, 3]
        attendance = self._attendance(predictors, needed)
        covariance = self.covariances[self._groups(predictors, needed)]  # [K, 2 D, 2 D]
        shifted = np.empty_like(raw)
        probabilities = np.empty_like(raw)
        quantiles = np.empty((len(needed), 3, 3), np.float32)
        scales = np.empty((len(needed), 3))
        quarters = _quarter(self.data.years[needed])
        # Calibration moves on from quarter to quarter, each judged by those before it.
        for quarter in np.unique(quarters):
            places = np.flatnonzero(quarters == quarter)
            offsets = self._offsets(quarter, self.past.rows, self.past.raw)
            shifted[places] = self._shifted(raw[places], needed[places], offsets)
            temperature, scales[places] = self._calibration(quarter)
            probabilities[places] = self._tempered(shifted[places], needed[places], temperature)
            quantiles[places] = self._quantiles(
                needed[places], probabilities[places], attendance[places], covariance[places]
            )
            passed = places[np.isin(needed[places], pending)]
            outcome = self._outcome(needed[passed], raw[passed], shifted[passed], quantiles[passed])
            self.past = self.past.joined(outcome)
        if len(pending):
            self.observed_until = float(_quarter(self.data.years[selected].max()))
        kept = np.searchsorted(needed, selected)
        return Forecast(
            rows=selected,
            probabilities=probabilities[kept],
            attendance=attendance[kept],
            tallies=quantiles[kept, 1],
            intervals=widened(quantiles[kept], scales[kept]),
            interval_scales=scales[kept],
            covariance=covariance[kept],
            predictors=Predictors(*(array[kept] for array in vars(predictors).values())),
        )

    def sample(self, forecast: Forecast, num_draws: int, seed: int = 0) -> NDArray[np.int8]:
        """Votes [N, K, C] of all countries together, by `Vote`.

        Args:
            forecast: For K roll calls.
            num_draws: N.
            seed: Of the draws; those of a roll call do not depend on which others are forecast.
        """
        bases = self._basis(forecast.rows)
        draws = [
            draw_votes(
                forecast.probabilities[k],
                forecast.attendance[k],
                bases[k],
                _shared_factors(forecast.covariance[k]),
                self.attendance_std,
                num_draws,
                np.random.default_rng([seed, int(row)]),
            )
            for k, row in enumerate(forecast.rows)
        ]
        return np.stack(draws, 1)

    def update(self, forecast: Forecast, is_revealed: NDArray[np.bool_]) -> Forecast:
        """The forecast given some votes; revealed countries keep what they did.

        Args:
            forecast: For K roll calls.
            is_revealed: [K, C]; an absence can be revealed too.
        """
        one_hot = (self.builder.one_hot[forecast.rows] * is_revealed[..., None]).astype(np.float64)
        before = forecast.probabilities.astype(np.float64)
        basis = self._basis(forecast.rows)
        correction = map_correction(before, basis, one_hot, forecast.covariance)
        probabilities = corrected(before, basis, correction).astype(np.float32)
        has_vote = one_hot.sum(2) > 0
        probabilities = np.where(has_vote[..., None], one_hot, probabilities).astype(np.float32)
        # A revealed country is known to have voted, or to have stayed away.
        attendance = np.where(is_revealed, has_vote, forecast.attendance).astype(np.float32)
        # What the revealed votes left unknown of the shared factors.
        curvature = correction_curvature(
            corrected(before, basis, correction), basis, one_hot.sum(2)
        )
        posterior = np.linalg.inv(curvature + np.linalg.inv(forecast.covariance))
        quantiles = self._quantiles(forecast.rows, probabilities, attendance, posterior)
        return replace(
            forecast,
            probabilities=probabilities,
            attendance=attendance,
            tallies=quantiles[:, 1],
            intervals=widened(quantiles, forecast.interval_scales),
            covariance=posterior,
            predictors=None,
        )

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        arrays = {name: getattr(self, name) for name in _LEARNED}
        is_before = self.past.years < self.train_before  # later ones are forecast again
        arrays |= {f"past.{n}": getattr(self.past, n)[is_before] for n in vars(self.past)}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        learned = {f"classifier.{n}": t for n, t in self.classifier.tensors().items()}
        until = self.builder.history_until
        settings = asdict(self.config)
        settings.pop("classifier")  # the classifier describes itself
        return tensors | learned, {
            "settings": settings,
            "classifier": self.classifier.described(),
            "temperature": self.temperature,
            "attendance_std": self.attendance_std,
            "train_before": self.train_before,
            "history_until": None if np.isinf(until) else until,  # JSON has no infinity
            "records": self.data.fingerprint(self.train_before),
        }

    @classmethod
    def _check_request(cls, path: str | os.PathLike[str], device: str, given: Any) -> None:
        super()._check_request(path, device, given)
        if given is None:
            raise CheckpointError(
                f"{stored_path(path)} holds no records, which forecasts look back on: "
                "load(path, given=data)"
            )

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: VoteData) -> Self:  # noqa: ARG003
        described = stored.metadata
        tensors = stored.tensors
        classifier = _classifier_of(described, tensors)
        model = cls(VoteModelConfig(**described["settings"], classifier=classifier.config))
        model.classifier = classifier
        model.temperature = float(described["temperature"])
        for name in _LEARNED:
            setattr(model, name, tensors[name].numpy())
        if model.covariances.ndim != 3 or model.procedural.shape != (NUM_PROCEDURAL,):
            raise ValueError(
                f"covariances {model.covariances.shape} and procedural weights "
                f"{model.procedural.shape} are of another version"
            )
        model.attendance_std = float(described["attendance_std"])
        model.past = _PastForecasts(
            *(tensors[f"past.{field.name}"].numpy() for field in fields(_PastForecasts))
        )
        model.train_before = float(described["train_before"])
        model.observed_until = model.train_before
        until = described["history_until"]
        model.data = given
        model.builder = FeatureBuilder(
            given, model.train_before, np.inf if until is None else float(until)
        )
        model._fitted_records = described["records"]
        model.is_fitted = True
        return model

    def _settle(self, env: Any, device: str, given: VoteData) -> None:
        super()._settle(env, device, given)
        if given.fingerprint(self.train_before) != self._fitted_records:
            raise CheckpointError(
                f"the model was fitted on other records before {self.train_before}: give those"
            )

    def _fit_parts(
        self,
        predictors: Predictors,
        rows: NDArray[np.int64],
        is_used: NDArray[np.bool_],
        checkpoints: CheckpointManager | None,
        progress: bool,
    ) -> FitReport:
        """Classifier, attendance and procedural votes on some of the rows."""
        used = rows[is_used]
        votes = self.data.votes[used]
        is_present = votes != Vote.ABSENT
        is_member = self._is_member(used)
        self.coming = fit_logistic(
            predictors.attendance[is_used][is_member], is_present[is_member].astype(np.int64), 2
        )
        is_cast = is_present & (self.data.kinds[used] >= QuestionKind.AMENDMENT)[:, None]
        num_cast = np.broadcast_to(is_present.sum(1, keepdims=True), votes.shape)
        self.procedural = np.zeros(predictors.procedural.shape[3])
        if is_cast.any():
            self.procedural = fit_conditional_logit(
                predictors.procedural[is_used][is_cast],
                votes[is_cast].astype(np.int64),
                weights=_PROCEDURAL_WEIGHT / num_cast[is_cast],
            )
        self.classifier = VoteClassifier(self.config.classifier)
        features = predictors.features[is_used]
        return self.classifier.fit(
            features[is_present], votes[is_present], checkpoints=checkpoints, progress=progress
        )

    def _calibrate(
        self, predictors: Predictors, rows: NDArray[np.int64], is_used: NDArray[np.bool_]
    ) -> None:
        """Temperature, shared factors and widths of intervals, on years that were not fitted."""
        late = rows[is_used]
        part = Predictors(*(array[is_used] for array in vars(predictors).values()))
        raw = self._votes(part, late)
        attendance = self._attendance(part, late)
        shifted = np.empty_like(raw)
        quarters = _quarter(self.data.years[late])
        for quarter in np.unique(quarters):
            places = quarters == quarter
            offsets = self._offsets(quarter, late, raw)
            shifted[places] = self._shifted(raw[places], late[places], offsets)
        losses = self._losses(shifted, late)
        self.temperature = float(_TEMPERATURES[losses.sum(0).argmin()])
        probabilities = self._tempered(shifted, late, self.temperature)
        one_hot = self.builder.one_hot[late].astype(np.float64)
        # On the tempered probabilities, which are those that a correction starts from.
        groups = self._groups(part, late)
        self.covariances = learn_covariances(
            probabilities.astype(np.float64), self._basis(late), one_hot, groups, _NUM_GROUPS
        )
        self.attendance_std = attendance_factor(attendance, self.data.is_present[late])
        quantiles = self._quantiles(late, probabilities, attendance, self.covariances[groups])
        self.past = self._outcome(late, raw, shifted, quantiles)
        self.observed_until = self.train_before

    def _pending(self, selected: NDArray[np.int64]) -> NDArray[np.int64]:
        """Roll calls that had passed before the quarter of the last selected one."""
        if not len(selected):
            return np.zeros(0, np.int64)
        until = float(_quarter(self.data.years[selected].max()))
        return self.data.between(self.observed_until, min(until, self.builder.history_until))

    def _calibration(self, quarter: float) -> tuple[float, Doubles]:
        """Temperature, and scales [3] of intervals, by the forecasts of the years before."""
        end = max(quarter, self.train_before)
        years = self.past.years
        is_recent = (years < end) & (years >= end - self.config.calibration_years)
        # Too few recent forecasts make a noisy scale: all that there are serve instead.
        if is_recent.sum() < MIN_ROLL_CALLS:
            is_recent = years < end
        temperature = _TEMPERATURES[self.past.losses[is_recent].sum(0).argmin()]
        scales = np.quantile(self.past.scores[is_recent], self.config.coverage, axis=0)
        return float(temperature), scales

    def _outcome(
        self, rows: NDArray[np.int64], raw: Floats, shifted: Floats, quantiles: Floats
    ) -> _PastForecasts:
        """How forecasts of K roll calls came out."""
        counts = tally(self.data.votes[rows])
        return _PastForecasts(
            rows=rows,
            years=self.data.years[rows],
            raw=raw,
            losses=self._losses(shifted, rows),
            scores=interval_scores(quantiles, counts),
        )

    def _offsets(self, quarter: float, rows: NDArray[np.int64], raw: Floats) -> Doubles:
        """The countries' offsets [C, 2] by those of the forecasts `raw` that came out before."""
        years = self.data.years[rows]
        is_used = (years < quarter) & (years >= quarter - self.config.calibration_years)
        is_used &= ~self._is_procedural(rows)
        # A few roll calls are about few subjects: what they show is no habit yet. And perceptrons
        # fitted on few records are unsure of everything, which is no country's departure.
        num_known = (years < max(quarter, self.train_before)).sum()
        if is_used.sum() < MIN_ROLL_CALLS or num_known < MIN_OFFSET_ROLL_CALLS:
            return np.zeros((len(self.data.countries), 2))
        weights = np.exp(-(quarter - years[is_used]) / self.config.offset_decay)
        return country_offsets(
            raw[is_used].astype(np.float64),
            self.builder.one_hot[rows[is_used]].astype(np.float64),
            weights,
            self.config.offset_std,
        )

    def _shifted(self, raw: Floats, rows: NDArray[np.int64], offsets: Doubles) -> Floats:
        """Probabilities with the countries' offsets; procedural votes have none."""
        moved = with_offsets(raw.astype(np.float64), offsets)
        return np.where(self._is_procedural(rows)[:, None, None], raw, moved).astype(np.float32)

    def _losses(self, raw: Floats, rows: NDArray[np.int64]) -> Doubles:
        """Negative log likelihoods [K, G] of the votes at each temperature."""
        votes = self.data.votes[rows]
        is_present = votes != Vote.ABSENT
        # Those who were absent are looked up as if they had said yes, and left out afterwards.
        places = np.maximum(votes, 0)[..., None].astype(np.int64)
        losses = []
        for temperature in _TEMPERATURES:
            chances = self._tempered(raw, rows, float(temperature))
            cast = np.take_along_axis(chances, places, 2)[..., 0]
            losses.append(-(np.log(np.maximum(cast, 1e-12)) * is_present).sum(1))
        return np.stack(losses, 1).astype(np.float64)

    def _tempered(self, raw: Floats, rows: NDArray[np.int64], temperature: float) -> Floats:
        """Probabilities at a temperature; procedural votes have none of the classifier's."""
        powered = np.maximum(raw, 1e-6) ** (1 / temperature)
        result: Floats = powered / powered.sum(-1, keepdims=True)
        return np.where(self._is_procedural(rows)[:, None, None], raw, result).astype(np.float32)

    def _is_procedural(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[K]: amendments and motions, where there were any to learn from."""
        return (self.data.kinds[rows] >= QuestionKind.AMENDMENT) & bool(self.procedural.any())

    def _votes(self, predictors: Predictors, rows: NDArray[np.int64]) -> Floats:
        features = predictors.features
        flat = self.classifier.predict(features.reshape(-1, features.shape[2]))
        votes = flat.reshape(*features.shape[:2], flat.shape[1])
        is_procedural = self._is_procedural(rows)
        votes[is_procedural] = conditional_logit(
            predictors.procedural[is_procedural], self.procedural
        )
        return votes

    def _attendance(self, predictors: Predictors, rows: NDArray[np.int64]) -> Floats:
        """Nobody but members is expected."""
        chances = logistic(predictors.attendance, self.coming)[..., 1]
        expected: Floats = (chances * self._is_member(rows)).astype(np.float32)
        return expected

    def _groups(self, predictors: Predictors, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """[K]: texts with a precedent, which rarely surprise, texts without, procedural votes."""
        has_precedent = predictors.precedent.any((1, 2))
        groups = np.where(has_precedent, 0, 1)
        groups[self._is_procedural(rows)] = 2
        return groups

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
        if not len(rows):
            return np.zeros((0, len(self.data.countries), self.covariances.shape[1] // 2))
        bases = [self.builder.history(self.data.years[row]).basis for row in rows]
        return np.stack(bases).astype(np.float64)

    def _quantiles(
        self,
        rows: NDArray[np.int64],
        probabilities: Floats,
        attendance: Floats,
        covariance: Doubles,
    ) -> Floats:
        """Lower ends, medians and upper ends [K, 3, 3] of the tallies."""
        bases = self._basis(rows)
        quantiles = np.empty((len(rows), 3, 3), np.float32)
        for k, row in enumerate(rows):
            # A generator for each roll call: its interval does not depend on which others are
            # forecast.
            generator = np.random.default_rng([self.config.classifier.seed, int(row)])
            votes = draw_votes(
                probabilities[k],
                attendance[k],
                bases[k],
                _shared_factors(covariance[k]),
                self.attendance_std,
                NUM_DRAWS,
                generator,
            )
            quantiles[k] = tally_quantiles(votes, self.config.coverage)
        return quantiles


_LEARNED = ("covariances", "coming", "procedural")


def _shared_factors(covariance: Doubles) -> Doubles:
    """The part [D, D] of alpha in a covariance [2 D, 2 D] of corrections."""
    size = len(covariance) // 2
    return covariance[:size, :size]


def _quarter(years: Any) -> Any:
    """The beginning of the quarter of each date."""
    return np.floor(np.asarray(years) * 4) / 4


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
