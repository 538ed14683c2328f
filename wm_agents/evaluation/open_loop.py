"""How far ahead a world model can be trusted.

Open-loop error beside baselines, by feature and horizon.

A model is started at recorded observations, given the recorded actions and left alone; after h
steps its prediction is compared with what was recorded. Nothing it predicts is ever corrected by
data on the way.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import TrajectoryError
from wm_agents.evaluation.calibration import (
    auroc,
    average_precision,
    brier_score,
    interval_calibration,
)
from wm_agents.evaluation.error_tables import (
    NON_FINITE_ERROR,
    ErrorCurve,
    ErrorTable,
    error_curve,
    error_tables,
    feature_groups,
)
from wm_agents.evaluation.judged_parts import (
    EXACT,
    JudgedPart,
    group_parts,
    reward_part,
    termination_part,
    trusted_steps,
)
from wm_agents.evaluation.open_loop_report import EndPrediction, OpenLoopReport, RewardErrors
from wm_agents.evaluation.windows import (
    EvaluationWindows,
    Mean,
    baselines,
    model_rollout,
    sample_windows,
    start_states,
)
from wm_agents.protocols import Rollout, WorldModel
from wm_agents.training.config_checks import checked_seed, require_at_least, require_integers
from wm_agents.training.fitted import check_fitted
from wm_envs.data.options import as_integer
from wm_envs.data.trajectories import Trajectories

HORIZONS = (1, 2, 4, 8, 16, 32)

_MIN_SPREAD = 1e-6
"""A column is constant when it varies by less than this share of its size.

Which float32 cannot tell from rounding.
"""


def open_loop_error(
    model: WorldModel,
    trajectories: Trajectories,
    horizons: Sequence[int] = HORIZONS,
    *,
    feature_names: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    env: Any = None,
    train: Trajectories | None = None,
    num_windows: int = 2000,
    num_samples: int = 39,
    allow_training_episodes: bool = False,
    tolerance: float = 0.3,
    ignored: Sequence[str] = (),
    seed: int = 0,
) -> OpenLoopReport:
    """Measure a model's k-step error on held-out episodes, beside persistence.

    Constant velocity and ridge regression.

    How many steps the model can be trusted for is decided by its worst part: each group of features
    by itself, the reward, and the termination where episodes end. A one-hot, the cosine and sine of
    an angle, an array of two or more axes and a key of a Dict space are one group. What never
    varies cannot be judged. A feature that the model predicts no better than a reference forecast
    and no worse, as everybody does a random walk, is named and set aside (`OpenLoopReport.tied`).

    Args:
        model: The world model.
        trajectories: Held-out episodes.
        horizons: Steps ahead at which to report in full; the error curve covers every step up to
            the largest.
        feature_names: Names of the O features; None takes them from `env`, else "feature i".
        groups: Columns that are judged as one, by name; the others are grouped as spaces and data
            show.
        env: An environment (single or vector) whose `observation_fields` name the features, as ours
            do, and whose observation space, before it was flattened, shows groups.
        train: The episodes that the model was fitted to: duplicates are refused, ridge regression
            is fitted to them, and they set the scale of each feature that varies in them. Else the
            held-out episodes set the scale.
        num_windows: Starts per horizon, drawn from all recorded steps.
        num_samples: Samples per start for the calibration of stochastic models; 0 leaves
            calibration out.
        allow_training_episodes: Score episodes that occur in `train` all the same.
        tolerance: Largest trusted root mean squared error, in standard deviations of the features.
        ignored: Parts that are not judged, by name (features, groups, "reward", "termination"). The
            verdict says so. Choose them by what they are, or on other episodes than these.
        seed: Seed of the starts, the samples and the bootstrap.

    Raises:
        TrajectoryError: Horizons that no episode reaches or that are not positive, names or groups
            that do not fit, episodes that were seen in training, ignored names of nothing.
        ConfigError: No windows, or a tolerance that is none.
        NotFittedError: The model was never fitted.
    """
    seed = checked_seed(seed)
    check_fitted(model)
    require_integers(1, num_windows=num_windows)
    require_integers(0, num_samples=num_samples)
    require_at_least(0, tolerance=tolerance)
    steps = _checked_horizons(horizons, trajectories)
    if train is not None and not allow_training_episodes:
        refuse_duplicates(trajectories, train)
    names = names_of_features(feature_names, env, trajectories.observations.shape[1])
    # Errors are measured in the units of training, where those are known.
    reference = train if train is not None else trajectories
    scale, varies = feature_scale(reference.observations, trajectories.observations)
    # Windows for the longest horizon serve all shorter ones.
    windows = sample_windows(trajectories, steps[-1], num_windows, seed)
    starts = start_states(model, trajectories, windows)
    rollout = model_rollout(model, starts, windows)
    predictions = {"model": (rollout.observations.numpy(), rollout.rewards.numpy())}
    predictions |= {
        baseline.name: baseline.predict(windows)
        # The mean is a rule, too: it is hard to beat far ahead.
        for baseline in (*baselines(train), Mean(reference))
    }
    errors = {
        name: prediction_errors(seen, windows, scale) for name, (seen, _) in predictions.items()
    }
    is_counted = _is_counted(reference, trajectories, errors["model"])
    is_integer = _is_integer(trajectories)
    tables = {
        name: error_tables(
            error,
            windows,
            scale,
            is_counted,
            steps,
            is_integer if name == "model" else None,
            seed,
        )
        for name, error in errors.items()
    }
    curves = {
        name: error_curve(error[..., is_counted] / scale[is_counted], windows, seed)
        for name, error in errors.items()
    }
    reward_errors, reward_scale = _reward_errors(predictions, windows, reference, trajectories)
    found = feature_groups(
        names,
        np.concatenate([reference.observations, trajectories.observations]),
        space=space_of(env, model),
        given=groups,
    )
    parts = [
        *group_parts(found, errors, scale, varies, windows, tolerance, seed),
        *reward_part(reward_errors, reward_scale, windows, tolerance, seed),
        *termination_part(
            _end_probability(rollout), windows, _base_rates(reference, steps[-1]), seed
        ),
    ] or [_whole(curves, tolerance)]
    judged = without_ignored([part.name for part in parts], ignored)
    parts = [part for part in parts if part.name in judged]
    return OpenLoopReport(
        horizons=steps,
        feature_names=names,
        scale=scale,
        is_integer=is_integer,
        num_windows=tuple(int(windows.is_scored[:, step - 1].sum()) for step in steps),
        num_episodes=trajectories.num_episodes,
        was_checked_for_duplicates=train is not None and not allow_training_episodes,
        # Told apart, since it counts as a fixed error in everything else.
        share_non_finite=float(
            np.mean(~np.isfinite(rollout.observations.numpy()[:, 1:][windows.is_scored]))
        ),
        tables=tables,
        curves=curves,
        trusted_steps=trusted_steps(parts),
        parts=tuple(parts),
        tolerance=tolerance,
        ignored=tuple(ignored),
        rewards=_reward_table(reward_errors, windows, steps, _reward_std(reference)),
        ends=_end_prediction(rollout, windows, steps),
        calibration=interval_calibration(model, starts, windows, steps, scale, num_samples, seed),
    )


def fitting_horizons(
    trajectories: Trajectories, horizons: Sequence[int] = HORIZONS
) -> tuple[int, ...]:
    """Those of the horizons that the longest episode reaches."""
    longest = int(trajectories.lengths.max())
    return tuple(horizon for horizon in horizons if horizon <= longest)


def unseen_episodes(trajectories: Trajectories, train: Trajectories) -> Trajectories:
    """The episodes that do not occur in `train`: short tasks repeat themselves by chance.

    Raises:
        TrajectoryError: All of them do.
    """
    seen = trajectories.duplicates(train).episodes
    # By content: an episode of a short task may occur in both by chance.
    fresh = np.setdiff1d(np.arange(trajectories.num_episodes), seen)
    if not len(fresh):
        raise TrajectoryError(
            "every held-out episode also occurs in training: this task has too few different "
            "episodes"
        )
    return trajectories.select(fresh)


def _whole(curves: dict[str, ErrorCurve], tolerance: float) -> JudgedPart:
    """All features as one part, where nothing varies by itself."""
    model = curves["model"]
    best = np.min([curve.rmse for name, curve in curves.items() if name != "model"], axis=0)
    is_good = (model.high <= tolerance) & ((model.rmse <= best) | (model.rmse < EXACT))
    # There is no forecast to be better than: what is exact is all that there is to know.
    return JudgedPart("all features", (), curves, {}, is_good, bool(is_good.any()))


def without_ignored(names: Sequence[str], ignored: Sequence[str]) -> list[str]:
    """The names that are judged.

    Raises:
        TrajectoryError: Ignored names of nothing that is judged, or all of them.
    """
    if isinstance(ignored, str):
        raise TrajectoryError(f"ignored is a list of names, got {ignored!r}: give [{ignored!r}]")
    unknown = [name for name in ignored if name not in names]
    kept = [name for name in names if name not in ignored]
    if unknown or not kept:
        problem = f"{unknown} name nothing that varies" if unknown else "nothing is left to judge"
        raise TrajectoryError(f"ignored={list(ignored)}: {problem}; what varies is {list(names)}")
    return kept


def space_of(env: Any, model: WorldModel) -> Any:
    """The observation space before flattening, of the environment where there is one."""
    inner = getattr(env, "unwrapped", env)
    for name in ("single_observation_space", "observation_space"):
        # The space before flattening names its parts.
        if getattr(inner, name, None) is not None:
            return getattr(inner, name)
    return getattr(model, "observation_space", None)


def _checked_horizons(horizons: Sequence[int], trajectories: Trajectories) -> tuple[int, ...]:
    horizons = horizons if isinstance(horizons, Sequence | np.ndarray) else (horizons,)
    numbers = [as_integer(step) for step in horizons]
    steps = tuple(sorted({step for step in numbers if step is not None}))
    if not steps or steps[0] < 1 or None in numbers:
        raise TrajectoryError(f"horizons={tuple(horizons)}: give at least one, each at least 1")
    longest = int(trajectories.lengths.max())
    if steps[-1] > longest:
        fitting = tuple(step for step in steps if step <= longest)
        raise TrajectoryError(
            f"no episode lasts {steps[-1]} steps, the longest lasts {longest}: give "
            f"horizons={fitting or (longest,)} "
            "or record longer episodes"
        )
    return steps


def refuse_duplicates(trajectories: Trajectories, train: Trajectories) -> None:
    seen = trajectories.duplicates(train).episodes
    if len(seen):
        raise TrajectoryError(
            f"{len(seen)} of {trajectories.num_episodes} episodes were seen in training, the first "
            "is number "
            f"{seen[0]}: hold episodes out with trajectories.split, or pass "
            "allow_training_episodes=True"
        )


def names_of_features(names: Sequence[str] | None, env: Any, num_features: int) -> tuple[str, ...]:
    if names is None:
        fields = getattr(getattr(env, "unwrapped", env), "observation_fields", None)
        names = (
            [f"feature {i}" for i in range(num_features)]
            if fields is None
            else [field.name for field in fields]
        )
    if len(names) != num_features:
        raise TrajectoryError(
            f"{len(names)} feature names for {num_features} features: {list(names)}"
        )
    if len(set(names)) < len(names):
        raise TrajectoryError(f"feature names are different from each other, got {list(names)}")
    return tuple(names)


def feature_scale(
    reference: NDArray[Any], held_out: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Standard deviation of each column [O] of rows [N, O], and whether it varies at all.

    That of the held-out rows where the reference never varies, and 1 where it is constant in both,
    so that any error there shows as it is.
    """
    scale, varies = np.ones(reference.shape[1]), np.zeros(reference.shape[1], np.bool_)
    # Training decides wherever it varies there.
    for rows in (held_out, reference):
        std = rows.std(axis=0, dtype=np.float64)
        is_varying = std > _MIN_SPREAD * np.abs(rows).max(axis=0)
        scale = np.where(is_varying, std, scale)
        varies |= is_varying
    return scale, varies


def _is_counted(
    reference: Trajectories, held_out: Trajectories, errors: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Features [O] that enter the totals: not those that never vary and are never wrong.

    Of a one-hot of 500 states of which 50 are ever visited, the others would make any model look
    good.
    """
    spreads = [np.ptp(trajectories.observations, axis=0) for trajectories in (reference, held_out)]
    is_counted: NDArray[np.bool_] = (np.stack(spreads) > 0).any(axis=0) | (errors != 0).any(
        axis=(0, 1)
    )
    # Constants that are predicted exactly would make every total look better.
    return is_counted if is_counted.any() else np.ones_like(is_counted)


def _is_integer(trajectories: Trajectories) -> NDArray[np.bool_]:
    values = trajectories.observations
    is_integer: NDArray[np.bool_] = (values == np.round(values)).all(axis=0)
    return is_integer


def prediction_errors(
    predicted: NDArray[np.float64], windows: EvaluationWindows, scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Prediction minus record [W, H, O]; what is not finite counts as a fixed, huge error."""
    errors = predicted[:, 1:] - windows.observations[:, 1:]
    bound = NON_FINITE_ERROR * scale
    # Bounded, so that one infinite number does not decide a mean.
    return np.clip(np.where(np.isfinite(errors), errors, bound), -bound, bound)


def _reward_errors(
    predictions: dict[str, Any],
    windows: EvaluationWindows,
    reference: Trajectories,
    held_out: Trajectories,
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """By method the predicted reward minus the recorded one [W, H], and the rewards' spread.

    0 where there is none.

    What is not finite counts as a fixed, huge error.
    """
    scale, varies = feature_scale(reference.rewards[:, None], held_out.rewards[:, None])
    bound = NON_FINITE_ERROR * float(scale[0])
    errors: dict[str, NDArray[np.float64]] = {}
    for name, (_, predicted) in predictions.items():
        error = predicted - windows.rewards
        errors[name] = np.clip(np.where(np.isfinite(error), error, bound), -bound, bound)
    return errors, float(scale[0] * varies[0])


def _reward_std(reference: Trajectories) -> float:
    """Standard deviation of the rewards; 0 where they differ by rounding only."""
    std, varies = feature_scale(reference.rewards[:, None], reference.rewards[:, None])
    return float(std[0] * varies[0])


def _reward_table(
    errors: dict[str, NDArray[np.float64]],
    windows: EvaluationWindows,
    horizons: tuple[int, ...],
    std: float,
) -> RewardErrors:
    """Root mean squared error of the reward at each horizon."""
    rmse = {name: np.empty(len(horizons)) for name in errors}
    for index, step in enumerate(horizons):
        rows = windows.is_scored[:, step - 1]
        for name, error in errors.items():
            rmse[name][index] = np.sqrt(np.mean(error[rows, step - 1] ** 2))
    return RewardErrors(rmse, std)


def _end_probability(rollout: Rollout) -> NDArray[np.float64]:
    """Predicted probability [W, H] that an episode ends by itself within h steps."""
    lasting = np.cumprod(
        # What is no number ends the episode: such a future is worth nothing.
        1 - np.clip(np.nan_to_num(rollout.terminations.numpy(), nan=1.0), 0, 1),
        axis=1,
    )
    return np.asarray(1 - lasting, np.float64)


def _base_rates(reference: Trajectories, horizon: int) -> NDArray[np.float64]:
    """Share of recorded steps [H] from which an episode ends by itself within h steps.

    Where that is known.
    """
    episode = reference.episode_of_step
    remaining = reference.lengths[episode] - (
        np.arange(reference.num_steps) - reference.step_starts[episode]
    )
    is_ended = reference.terminations[reference.step_starts + reference.lengths - 1][episode]
    rates = np.zeros(horizon)
    for step in range(1, horizon + 1):
        ends = is_ended & (remaining <= step)
        # A time limit hides whether an episode would have ended.
        is_known = is_ended | (remaining >= step)
        rates[step - 1] = ends.sum() / max(is_known.sum(), 1)
    return rates


def _end_prediction(
    rollout: Rollout, windows: EvaluationWindows, horizons: tuple[int, ...]
) -> EndPrediction:
    """Does the predicted probability that an episode ends within h steps tell which ones do?"""
    predicted = _end_probability(rollout)
    has_ended = np.cumsum(windows.terminations, axis=1) > 0
    columns: dict[str, list[float | None]] = {
        name: []
        for name in (
            "auroc",
            "average_precision",
            "brier",
            "base_brier",
            "share",
            "mean_probability",
        )
    }
    for step in horizons:
        # Only starts of which it is known whether they ended.
        rows = windows.is_end_scored[:, step - 1]
        probability, outcome = predicted[rows, step - 1], has_ended[rows, step - 1]
        share = float(outcome.mean())
        values = (
            auroc(probability, outcome),
            average_precision(probability, outcome),
            brier_score(probability, outcome),
        )
        for name, value in zip(
            columns, (*values, share * (1 - share), share, float(probability.mean())), strict=True
        ):
            columns[name].append(value)
    scores: dict[str, Any] = {name: tuple(values) for name, values in columns.items()}
    return EndPrediction(**scores)


__all__ = [
    "HORIZONS",
    "ErrorTable",
    "OpenLoopReport",
    "fitting_horizons",
    "open_loop_error",
    "trusted_steps",
    "unseen_episodes",
]
