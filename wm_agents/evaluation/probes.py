"""Linear probes: what can be read off a learned representation by a linear map.

On episodes that the map never saw.

A probe's score means nothing alone. It stands beside a constant guess, the same probe on the raw
observation, and a control whose labels are random (Hewitt and Liang, "Designing and Interpreting
Probes with Control Tasks", EMNLP 2019): a probe that also does well on the control memorises, it
does not read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wm_agents.errors import ConfigError
from wm_agents.training.config_checks import checked_seed

Floats = NDArray[np.float64]

PENALTIES = (1e-4, 1e-2, 1.0, 100.0)
"""Candidate L2 penalties, per training row; a probe takes the best on inner held-out episodes."""


@dataclass(frozen=True)
class ProbeResult:
    """Scores on held-out episodes: accuracy of a classification, R^2 of a regression.

    Attributes:
        score: of the probe on the features.
        baseline: of the training set's commonest class, or of its mean.
        control: of a probe on the features with random labels; near the baseline unless the probe
            memorises.
        observation_score: of the same probe on the raw observations, None when none were given.
        is_classification: which score it is.
        num_train: training rows.
        num_test: held-out rows.
    """

    score: float
    baseline: float
    control: float
    observation_score: float | None
    is_classification: bool
    num_train: int
    num_test: int

    @property
    def selectivity(self) -> float:
        """Score minus control (Hewitt and Liang 2019, section 2.2)."""
        return self.score - self.control


@dataclass(frozen=True)
class _Split:
    """Rows [B] of a training and a test part that share no episode."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]


def linear_probe(
    features: "ArrayLike",
    labels: "ArrayLike",
    groups: "ArrayLike",
    seed: int = 0,
    observations: "ArrayLike | None" = None,
    control_types: "ArrayLike | None" = None,
    test_fraction: float = 0.3,
) -> ProbeResult:
    """Fits a linear map from features to labels and scores it on episodes that were held out.

    Integer, boolean or text labels are classified by L2-regularised multinomial logistic
    regression, float labels regressed by ridge. Features are standardised with the training rows'
    mean and standard deviation.

    Args:
        features: representation [B, D], one row per time step.
        labels: what is to be read off [B].
        groups: id of the episode of each row [B]; an episode is never split.
        seed: seed of the split and of the control's labels.
        observations: raw observations [B, O] for the probe beside it.
        control_types: a discrete type of each row [B], such as the visible symbol. The control then
            gives each type one random label, as Hewitt and Liang do with words, which a probe that
            memorises types can learn. Without it the control's labels are the true ones shuffled
            over rows.
        test_fraction: share of the episodes that is held out, in (0, 1).

    Raises:
        ConfigError: on shapes that do not fit, values that are not finite, fewer than 4 episodes,
            or labels that are all equal.
    """
    inputs, targets, episodes = (
        _matrix(features, "features"),
        np.asarray(labels),
        np.asarray(groups),
    )
    # Numbers are classes where they are whole, and measurements where they are not.
    is_classification = targets.dtype.kind in "biuUS"
    _check_rows(len(inputs), {"labels": targets, "groups": episodes})
    if not is_classification:
        targets = _matrix(targets[:, None], "labels")[:, 0]
    if len(np.unique(targets)) < 2:
        raise ConfigError(
            f"all labels are {targets[0]!r}; a probe needs at least two different ones"
        )
    generator = np.random.default_rng(checked_seed(seed))
    # By episode: steps of one episode know each other.
    split = _split_episodes(episodes, np.arange(len(inputs)), test_fraction, generator)
    # The penalty is chosen within the training episodes, without looking at the test.
    inner = _split_episodes(episodes, split.train, test_fraction, generator)
    # Labels that mean nothing: what a probe reads from them it has memorized.
    controls = _control_labels(targets, control_types, generator)
    score_of = _accuracy_of_probe if is_classification else _r2_of_probe
    raw = None if observations is None else _matrix(observations, "observations")
    if raw is not None and len(raw) != len(inputs):
        raise ConfigError(
            f"observations has {len(raw)} rows and features {len(inputs)}; give as many"
        )
    return ProbeResult(
        score=_best_score(score_of, inputs, targets, inner, split),
        baseline=_baseline(targets, split, is_classification),
        control=_best_score(score_of, inputs, controls, inner, split),
        observation_score=None
        if raw is None
        else _best_score(score_of, raw, targets, inner, split),
        is_classification=is_classification,
        num_train=len(split.train),
        num_test=len(split.test),
    )


def _matrix(values: "ArrayLike", name: str) -> Floats:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ConfigError(f"{name} has shape {matrix.shape}; give rows of numbers, at least one")
    if not np.isfinite(matrix).all():
        raise ConfigError(
            f"{name}{np.argwhere(~np.isfinite(matrix))[0].tolist()} is not finite; leave such rows "
            "out"
        )
    return matrix


def _check_rows(num_rows: int, columns: dict[str, NDArray[Any]]) -> None:
    for name, column in columns.items():
        if column.shape != (num_rows,):
            raise ConfigError(
                f"{name} has shape {column.shape}; give one value for each of the {num_rows} rows"
            )


def _split_episodes(
    episodes: NDArray[Any],
    rows: NDArray[np.intp],
    test_fraction: float,
    generator: np.random.Generator,
) -> _Split:
    present = np.unique(episodes[rows])
    num_test = round(test_fraction * len(present))
    if not 0 < test_fraction < 1 or len(present) < 2:
        raise ConfigError(
            f"test_fraction={test_fraction} of {len(present)} episodes; give 0..1 and at least 4 "
            "episodes"
        )
    num_test = min(max(num_test, 1), len(present) - 1)
    is_test = np.isin(episodes[rows], generator.permutation(present)[:num_test])
    return _Split(rows[~is_test], rows[is_test])


def _control_labels(
    targets: NDArray[Any], control_types: "ArrayLike | None", generator: np.random.Generator
) -> NDArray[Any]:
    """Random labels with the frequencies of the true ones."""
    if control_types is None:
        return generator.permutation(targets)
    types = np.asarray(control_types)
    _check_rows(len(targets), {"control_types": types})
    names, type_indices = np.unique(types, return_inverse=True)
    # One random label for each type, so that the control can be learned where the types can be
    # read.
    return generator.choice(targets, size=len(names))[type_indices]


def _best_score(
    score_of: Callable[..., float],
    inputs: Floats,
    targets: NDArray[Any],
    inner: _Split,
    outer: _Split,
) -> float:
    """Chooses the penalty on the inner split, which has training episodes only.

    And scores on the outer one.
    """
    inner_scores = [score_of(inputs, targets, inner, penalty) for penalty in PENALTIES]
    return score_of(inputs, targets, outer, PENALTIES[int(np.argmax(inner_scores))])


def _standardised(inputs: Floats, split: _Split) -> tuple[Floats, Floats]:
    """Training and test inputs in units of the training rows' spread.

    With a constant 1 appended.
    """
    mean, std = inputs[split.train].mean(axis=0), inputs[split.train].std(axis=0)
    # What hardly varies is noise of rounding; dividing by its spread would blow it up.
    scaled = (inputs - mean) / np.where(std > 1e-9 * np.abs(inputs).max(0), std, 1.0)
    # A column of ones for the constant.
    design = np.column_stack([scaled, np.ones(len(scaled))])
    return design[split.train], design[split.test]


def _r2_of_probe(inputs: Floats, targets: Floats, split: _Split, penalty: float) -> float:
    """R^2 of ridge regression: weights = (X'X + penalty B I)^-1 X'y, the constant unpenalised."""
    train, test = _standardised(inputs, split)
    penalties = np.full(train.shape[1], penalty * len(train))
    penalties[-1] = 0.0
    weights = np.linalg.lstsq(
        # Least squares, since the matrix may be singular at the smallest penalty.
        train.T @ train + np.diag(penalties),
        train.T @ targets[split.train],
        rcond=None,
    )[0]
    return _r2(test @ weights, targets[split.test])


def _r2(predictions: Floats, targets: Floats) -> float:
    """1 - squared error / squared deviation from the test rows' own mean.

    0 where these do not vary.
    """
    deviation = float(((targets - targets.mean()) ** 2).sum())
    return 1 - float(((predictions - targets) ** 2).sum()) / deviation if deviation > 0 else 0.0


def _accuracy_of_probe(
    inputs: Floats, targets: NDArray[Any], split: _Split, penalty: float
) -> float:
    """Accuracy of multinomial logistic regression.

    A class that only the test rows have counts as an error.
    """
    train, test = _standardised(inputs, split)
    classes, train_targets = np.unique(targets[split.train], return_inverse=True)
    weights = _fit_logistic(train, train_targets, len(classes), penalty)
    return float((classes[(test @ weights).argmax(axis=1)] == targets[split.test]).mean())


def _fit_logistic(
    design: Floats, targets: NDArray[np.intp], num_classes: int, penalty: float
) -> Floats:
    """Weights [D + 1, classes] that minimise mean cross-entropy + penalty / 2 |weights|^2.

    The constant left out.
    """
    from scipy.optimize import minimize

    one_hot = np.eye(num_classes)[targets]
    shape = (design.shape[1], num_classes)
    is_penalised = np.ones((design.shape[1], 1))
    is_penalised[-1] = 0.0

    def loss_and_gradient(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(shape)
        logits = design @ weights
        # The largest is taken off, so that no exponential overflows.
        logits -= logits.max(axis=1, keepdims=True)
        log_sums = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss = (
            -((logits - log_sums) * one_hot).sum() / len(design)
            + penalty / 2 * (is_penalised * weights**2).sum()
        )
        errors = np.exp(logits - log_sums) - one_hot
        gradient = design.T @ errors / len(design) + penalty * is_penalised * weights
        return float(loss), gradient.ravel()

    options = {"maxiter": 300}
    found = minimize(
        loss_and_gradient, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options
    )
    return np.asarray(found.x, dtype=np.float64).reshape(shape)


def _baseline(targets: NDArray[Any], split: _Split, is_classification: bool) -> float:
    """Score of the best constant guess from the training rows."""
    train, test = targets[split.train], targets[split.test]
    if not is_classification:
        return _r2(np.full(len(test), train.mean()), test)
    classes, counts = np.unique(train, return_counts=True)
    return float((test == classes[counts.argmax()]).mean())
