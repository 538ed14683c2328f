"""Probability of leaving a safe region, from imagined futures, its calibration, and a shield.

A model imagines what the present policy leads to, several times where something is random. How near
the imagined futures come to the border is turned into a probability by a logistic regression on
recorded outcomes, so that a warning of ten per cent comes true one time in ten (Platt 1999). The
shield takes over while the probability is too high.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, ConvergenceError
from wm_agents.protocols import ModelState, WorldModel
from wm_agents.training.config_checks import checked_outcomes, require_between, require_integers
from wm_agents.training.newton import minimize_convex
from wm_envs.data.display import span

Floats = NDArray[np.float64]
Policy = Callable[[Tensor], Tensor]
"""Observations [B, O] -> actions [B] or [B, A]; it may draw random numbers."""
Margin = Callable[[Tensor], Tensor]
"""Observations [B, O] -> how far they are from the border of what is safe [B].

Negative is beyond.
"""

NUM_FEATURES = 5
_ROUNDING = 1e-12  # a spread below this share of the largest value is rounding
# Per event of the rarer kind, along any direction of the weights; less is none.
_MIN_INFORMATION = 1e-6
_MIN_GROUP = 5  # events and non-events without which nothing can be calibrated


@torch.no_grad()
def imagined_margins(
    model: WorldModel,
    start: ModelState | Tensor,
    policy: Policy,
    margin: Margin,
    *,
    horizon: int,
    num_samples: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How near imagined futures come to the border [B, S, H].

    Args:
        model: Imagines.
        start: Where the B rows stand.
        policy: What would be done on the way.
        margin: Distance to the border; what the model itself holds for an end is not used.
        horizon: Steps ahead, H.
        num_samples: Futures per row, S; more than one makes sense where the policy or the model
            draws.
        generator: Randomness of the model; None takes its best guess.
    """
    require_integers(None, horizon=horizon, num_samples=num_samples)
    if horizon < 1 or num_samples < 1:
        raise ConfigError(f"horizon={horizon} and num_samples={num_samples}: give at least 1")
    if not isinstance(start, ModelState):
        start = model.start(start)
    state = start.repeat(num_samples)
    margins = []
    for _ in range(horizon):
        state, prediction = model.step(state, policy(state.observations), generator)
        margins.append(margin(prediction.observations))
    return torch.stack(margins, 1).unflatten(0, (-1, num_samples))


def risk_features(margins: "ArrayLike", scale: float) -> Floats:
    """What a calibrator needs of imagined margins [B, S, H]: five numbers [B, 5] without units.

    The share of futures that cross the border, the mean and the worst of their lowest margins, the
    mean time until the border (1 where it is not reached), and the lowest margin of the mean
    future; margins are divided by `scale` and squashed, since a metre matters near the border and
    not far from it.
    """
    values = np.asarray(margins, np.float64)
    if values.ndim != 3 or 0 in values.shape or not np.isfinite(values).all():
        raise ConfigError(f"expected finite margins [B, S, H], got shape {values.shape}")
    if not 0 < scale < np.inf:
        raise ConfigError(f"scale={scale}: give a positive number")
    horizon = values.shape[2]
    lowest = values.min(axis=2)  # of each future [B, S]
    has_crossed = values < 0
    # A future that stays within is as good as one that leaves at its very end.
    first = np.where(has_crossed.any(axis=2), has_crossed.argmax(axis=2), horizon) / horizon
    # Share of futures that leave, how far they get on average, how far the worst gets, when, and
    # the worst step on average.
    columns = [
        (lowest < 0).mean(axis=1),
        # Squashed by tanh: a margin of ten times the scale is not ten times as safe.
        np.tanh(lowest / scale).mean(axis=1),
        np.tanh(lowest.min(axis=1) / scale),
        first.mean(axis=1),
        np.tanh(values.mean(axis=1).min(axis=1) / scale),
    ]
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class RiskCalibrator:
    """A logistic regression from risk features to a probability.

    Attributes:
        mean: Of the features it was fitted to [F].
        std: Of the same [F].
        weights: Of the standardised features [F].
        bias: Log-odds at the mean.
    """

    mean: Floats
    std: Floats
    weights: Floats
    bias: float

    @classmethod
    def fit(
        cls, features: "ArrayLike", outcomes: "ArrayLike", ridge: float = 1.0
    ) -> "RiskCalibrator":
        """Maximum likelihood with a small ridge.

        Args:
            features: [N, F].
            outcomes: [N] booleans: what was warned of happened.
            ridge: Penalty on the squared weights of standardized features. It keeps weights finite
                where some features tell all outcomes apart; 0 is refused there.

        Raises:
            ConfigError: Shapes that do not fit, features that are not finite, a negative ridge, or
                too few events or non-events.
            ConvergenceError: Without a ridge, features that repeat each other or tell all outcomes
                apart, so that no weights are the most probable ones.
        """
        values = np.asarray(features, np.float64)
        happened = checked_outcomes(outcomes)
        if values.ndim != 2 or happened.shape != (len(values),):
            raise ConfigError(
                f"expected features [N, F] and outcomes [N], got {values.shape} and "
                f"{happened.shape}"
            )
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise ConfigError(f"the features of row {row} are not finite")
        if min(happened.sum(), (~happened).sum()) < _MIN_GROUP:
            raise ConfigError(
                f"{happened.sum()} of {len(happened)} outcomes happened: record at least "
                f"{_MIN_GROUP} of each kind"
            )
        require_between(0, 1e12, ridge=ridge)
        mean = values.mean(axis=0)
        std = values.std(axis=0)
        # A constant tells nothing in any unit.
        # Its weight would be decided by the last digit.
        std = np.where(std > _ROUNDING * np.abs(values).max(axis=0), std, 1.0)
        inputs = np.column_stack([(values - mean) / std, np.ones(len(values))])
        penalty = np.array([*np.full(values.shape[1], ridge), 0.0])  # the bias is free
        weights = _logistic_regression(inputs, happened, penalty)
        return cls(mean, std, weights[:-1], float(weights[-1]))

    def probability(self, features: "ArrayLike") -> Floats:
        """The calibrated probability [N] for features [N, F].

        Raises:
            ConfigError: Features of another number, or that are not finite.
        """
        values = np.asarray(features, np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.mean) or not np.isfinite(values).all():
            raise ConfigError(
                f"expected finite features [N, {len(self.mean)}], as those of the fit, got shape "
                f"{values.shape}"
            )
        standardized = (values - self.mean) / self.std
        return _sigmoid(standardized @ self.weights + self.bias)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "weights": self.weights.tolist(),
            "bias": self.bias,
        }

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> "RiskCalibrator":
        """The calibrator of `to_json`."""
        mean, std, weights = (
            np.array(description[name], np.float64) for name in ("mean", "std", "weights")
        )
        return cls(mean, std, weights, float(description["bias"]))


def calibration_error(
    probabilities: "ArrayLike", outcomes: "ArrayLike", num_bins: int = 10
) -> float:
    """Expected calibration error: |mean probability - frequency| over bins of equal counts.

    Bins are weighted by their counts.

    Equal counts, since most probabilities of rare events lie near 0 (Nguyen & O'Connor 2015). Rows
    of one probability count with their frequency, wherever bins part them, so that the order of the
    rows does not matter.
    """
    predicted = np.asarray(probabilities, np.float64).ravel()
    happened = checked_outcomes(outcomes).astype(np.float64).ravel()
    if predicted.shape != happened.shape or not predicted.size:
        raise ConfigError(
            f"{predicted.size} probabilities for {happened.size} outcomes: give equally many, at "
            "least 1"
        )
    if not np.all((predicted >= 0) & (predicted <= 1)):  # False for NaN
        raise ConfigError(
            f"probabilities lie in [0, 1], got {span(predicted.min(), predicted.max())}"
        )
    # Equal probabilities in two bins would make the error depend on the order of the rows.
    # Rows of one probability share their frequency, so that bins may part them anywhere.
    _, tie = np.unique(predicted, return_inverse=True)
    happened = (np.bincount(tie, happened) / np.bincount(tie))[tie]
    order = np.argsort(predicted, kind="stable")
    gaps = [
        abs(predicted[part].mean() - happened[part].mean()) * len(part)
        # Bins of equal counts, so that none is empty.
        for part in np.array_split(order, min(num_bins, len(order)))
    ]
    return float(np.sum(gaps) / len(order))


class Shield:
    """Says which rows are to be handed over: from a high risk on until it has been low for a while.

    Args:
        threshold: Probability at which it takes over.
        release: Probability below which it may let go; at most the threshold.
        hold: Decisions that a row stays handed over at least.
    """

    def __init__(self, threshold: float, release: float | None = None, hold: int = 5) -> None:
        self.release = threshold / 2 if release is None else release
        if not 0 < threshold <= 1 or not 0 <= self.release <= threshold or hold < 1:
            raise ConfigError(
                f"threshold {threshold}, release {self.release}, hold {hold}: see the docstring"
            )
        self.threshold = threshold
        self.hold = hold
        self._remaining: NDArray[np.int64] = np.zeros(0, np.int64)

    def decide(self, risk: "ArrayLike") -> NDArray[np.bool_]:
        """The rows to hand over [B] given their risk [B]; call it once per decision, in order.

        Raises:
            ConfigError: A risk is no number from 0 to 1; NaN is below every threshold and would
                pass for safe.
        """
        values = np.asarray(risk, np.float64)
        if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
            raise ConfigError(f"expected a risk from 0 to 1 for each row, got {values}")
        # Another number of rows is another batch.
        if len(self._remaining) != len(values):
            self._remaining = np.zeros(len(values), np.int64)
        # Only decisions of low risk count towards the release.
        is_counted = (self._remaining > 0) & (values < self.release)
        self._remaining = np.where(is_counted, self._remaining - 1, self._remaining)
        # Last, so that a high risk starts the hold anew in any case.
        self._remaining = np.where(values >= self.threshold, self.hold, self._remaining)
        return self._remaining > 0

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Let go of the rows of a mask [B], or of all."""
        if mask is None:
            self._remaining = np.zeros(0, np.int64)
        elif len(self._remaining) == len(mask):
            self._remaining[mask] = 0


def _logistic_regression(inputs: Floats, happened: NDArray[np.bool_], penalty: Floats) -> Floats:
    """The maximum a posteriori weights [F + 1] of inputs [N, F + 1], the last of which are ones.

    `penalty` [F + 1] is on the squared weights.
    """

    def problem(points: Floats) -> tuple[Floats, Floats, Floats]:
        logits = inputs @ points[0]
        probabilities = _sigmoid(logits)
        # log(1 + exp(x)) - y x is the negative log-likelihood without a logarithm of 0.
        loss = np.logaddexp(0.0, logits).sum() - logits[happened].sum()
        value = loss + 0.5 * penalty @ points[0] ** 2
        gradient = inputs.T @ (probabilities - happened) + penalty * points[0]
        variances = probabilities * (1 - probabilities)
        curvature = (inputs * variances[:, None]).T @ inputs + np.diag(penalty)
        return np.array([value]), gradient[None], curvature[None]

    what = "the logistic regression of RiskCalibrator"
    share = happened.mean()
    start = np.zeros((1, inputs.shape[1]))
    # Where all weights are 0 the bias is the logit of the share.
    start[0, -1] = np.log(share / (1 - share))
    if penalty.any():
        return minimize_convex(problem, start, what)[0]
    # Without information along some direction its weight would be whatever the last step was.
    # At the start, where a constant feature shows, and at the end, where perfect separation does.
    _require_information(problem(start)[2][0], happened, what)
    weights = minimize_convex(problem, start, what)
    _require_information(problem(weights)[2][0], happened, what)
    return weights[0]


def _require_information(curvature: Floats, happened: NDArray[np.bool_], what: str) -> None:
    rarer = min(happened.sum(), (~happened).sum())
    if np.linalg.eigvalsh(curvature)[0] < _MIN_INFORMATION * rarer:
        raise ConvergenceError(
            f"{what} has no finite solution: features repeat each other, never vary, or tell all "
            "outcomes apart; give a positive ridge, such as 1"
        )


def _sigmoid(values: Floats) -> Floats:
    # By tanh, which overflows nowhere.
    return 0.5 * (1.0 + np.tanh(0.5 * values))
