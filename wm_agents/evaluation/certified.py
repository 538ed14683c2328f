"""Trust horizon with a guarantee: conformal calibration over episodes, not windows.

The error of a window is compared with a tolerance for every named feature. The share of an
episode's windows that have left the tolerance by step h can only grow with h, so conformal risk
control (Angelopoulos, Bates, Fisch, Lei and Schuster 2022, equation 4) gives the last step up to
which a window of a new episode stays within tolerance with probability at least 1 - alpha. With one
window an episode this is split conformal prediction: ceil((n + 1)(1 - alpha)) of the n episodes
must hold. The guarantee holds for episodes that are exchangeable with the calibration episodes: the
same environment, played in the same way. It is over the draw of both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import ConfigError, TrajectoryError
from wm_agents.evaluation.charts import counted
from wm_agents.evaluation.error_tables import (
    NON_FINITE_ERROR,
    Array,
    FeatureGroup,
    feature_groups,
)
from wm_agents.evaluation.open_loop import (
    feature_scale,
    names_of_features,
    prediction_errors,
    refuse_duplicates,
    space_of,
    without_ignored,
)
from wm_agents.evaluation.windows import (
    EvaluationWindows,
    episode_windows,
    model_rollout,
    start_states,
)
from wm_agents.protocols import WorldModel
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.fitted import check_fitted
from wm_envs.data.display import short_repr
from wm_envs.data.trajectories import Trajectories

REWARD = "reward"
_MAX_HORIZON = 64
_NUM_FOLDS = 5
_ROUNDING = 1e-9  # lest 1 - 0.9 be more than 0.1


@dataclass(frozen=True)
class CertifiedHorizon:
    """How far a model is good with a probability that was asked for, H steps examined.

    Attributes:
        certified: The last step up to which a window of a new episode stays within tolerance with
            probability at least 1 - alpha; 0 where not even the first step does.
        measured: The same without the finite-sample correction: up to here at most a share alpha of
            these windows left the tolerance.
        alpha: The risk.
        tolerance: Largest error by name of what is judged, in its own unit; infinite where it is
            not.
        episode_shares: Share of each episode's windows that have left the tolerance by each step
            [n, H].
        violations_by_name: The same for each name alone, after H steps.
        checked_violation: Mean share of windows that leave the tolerance within the horizon that
            the other episodes certify, each episode left out once; None with too few episodes, and
            where the others never certify a step.
        reach: Share of windows that are so many steps long [H]; the others end before.
        feature_names: Names of the O features.
        half_widths: Of intervals around the prediction [H, O] that hold the observation of a new
            episode with probability at least 1 - alpha, each by itself; infinite where too few
            episodes last so long.
        coverage: Share of observations that such intervals hold [H, O], calibrated on four fifths
            of the episodes and counted on the rest in turn; NaN where that leaves too few.
        num_episodes: n.
        num_windows: Windows in all.
    """

    certified: int
    measured: int
    alpha: float
    tolerance: dict[str, float]
    episode_shares: Array
    violations_by_name: dict[str, float]
    checked_violation: float | None
    reach: Array
    feature_names: tuple[str, ...]
    half_widths: Array
    coverage: Array
    num_episodes: int
    num_windows: int

    __repr__ = short_repr

    @property
    def violations(self) -> Array:
        """Share of windows that have left the tolerance by each step [H], the mean over episodes."""
        mean: Array = self.episode_shares.mean(axis=0)
        return mean

    @property
    def horizon(self) -> int:
        """Steps examined, H."""
        return self.episode_shares.shape[1]

    @property
    def allowed_share(self) -> float:
        """The mean share of windows outside at which so many episodes certify a step."""
        n = self.num_episodes
        return (self.alpha * (n + 1) - 1) / n

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names whose tolerance is infinite, of which nothing is guaranteed."""
        return tuple(name for name, limit in self.tolerance.items() if math.isinf(limit))

    def episodes_needed(self, step: int = 1) -> int | None:
        """How many episodes would certify `step` steps, were their mean share that of these.

        None where no number would, as at most a share alpha minus something may be outside.
        """
        share = float(self.violations[step - 1])
        if share > self.alpha - _ROUNDING:
            return None
        # (n share + 1) / (n + 1) <= alpha, solved for n.
        return max(1, math.ceil((1 - self.alpha) / (self.alpha - share) - _ROUNDING))

    def __str__(self) -> str:
        return (
            f"certified {self.certified} / measured {self.measured} of "
            f"{counted(self.horizon, 'step')} (risk {self.alpha:g}, "
            f"{counted(self.num_episodes, 'episode')})"
        )

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and numbers; None for what is infinite or does not apply."""
        return {
            "certified": self.certified,
            "measured": self.measured,
            "alpha": self.alpha,
            "tolerance": {name: _finite(value) for name, value in self.tolerance.items()},
            "violations": self.violations.tolist(),
            "violations_by_name": self.violations_by_name,
            "checked_violation": self.checked_violation,
            "reach": self.reach.tolist(),
            "feature_names": list(self.feature_names),
            "half_widths": [[_finite(value) for value in row] for row in self.half_widths],
            "coverage": [[_finite(value) for value in row] for row in self.coverage],
            "num_episodes": self.num_episodes,
            "num_windows": self.num_windows,
            "allowed_share": self.allowed_share,
            "episodes_needed": self.episodes_needed(),
        }


def required_episodes(alpha: float) -> int:
    """The fewest episodes from which anything can be certified at a risk of alpha.

    Raises:
        ConfigError: A risk that is not between 0 and 1.
    """
    if not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise ConfigError(f"alpha is a probability between 0 and 1, such as 0.1, got {alpha!r}")
    # The bound (0 + 1) / (n + 1) has to fit below alpha.
    return max(1, math.ceil(1 / alpha - 1 - _ROUNDING))


def episodes_to_check(alpha: float) -> int:
    """The fewest episodes of which `CertifiedHorizon.coverage` counts any.

    Those that are left after a fold of them is held out have to set an interval.
    """
    needed = required_episodes(alpha)
    num = needed + 1
    while num - num // min(_NUM_FOLDS, num) < needed:
        num += 1
    return num


def certified_horizon(
    model: WorldModel,
    trajectories: Trajectories,
    *,
    tolerance: float | Mapping[str, float] = 0.3,
    alpha: float = 0.1,
    horizon: int | None = None,
    starts_per_episode: int = 32,
    feature_names: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    env: Any = None,
    train: Trajectories | None = None,
    allow_training_episodes: bool = False,
    ignored: Sequence[str] = (),
    seed: int = 0,
) -> CertifiedHorizon:
    """The last step up to which a model stays within tolerance with probability 1 - alpha.

    A window begins at a step of an episode that is drawn at random and is given the recorded
    actions. It counts as left from the first step at which any name is off by more than its
    tolerance. One that ends with its episode is judged until there: `reach` says how many.

    Args:
        model: The world model.
        trajectories: Held-out episodes.
        tolerance: Largest error in standard deviations, of every part that varies; or by name in
            the part's own unit. Names are those of features or groups (see `feature_groups`; of
            several columns the length of the error counts) and "reward", where it varies. An
            infinite one leaves a name out.
        alpha: The risk, between 0 and 1.
        horizon: Steps examined; None takes what half of the windows reach, at most 64.
        starts_per_episode: Windows of an episode, at most.
        feature_names: Names of the O features; None takes them from `env`, else "feature i".
        groups: Columns that are judged as one, by name.
        env: As in `open_loop_error`.
        train: The episodes that the model was fitted to: duplicates are refused, and they set the
            standard deviations. Else the held-out episodes do, and the guarantee is slightly
            approximate.
        allow_training_episodes: Take episodes that occur in `train` all the same.
        ignored: Names that get an infinite tolerance. Choose them by what they are, or on other
            episodes: a choice made on these spoils the guarantee.
        seed: Draws the windows.

    Raises:
        TrajectoryError: Too few episodes for the risk, a horizon that no episode reaches, parts
            without tolerance or tolerances without part, episodes seen in training.
        ConfigError: A risk or a tolerance that is no such number.
        NotFittedError: The model was never fitted.
    """
    seed = checked_seed(seed)
    check_fitted(model)
    needed = required_episodes(alpha)
    if trajectories.num_episodes < needed:
        raise TrajectoryError(
            f"a risk of {alpha:g} takes at least {counted(needed, 'held-out episode')}, got "
            f"{trajectories.num_episodes}: record more or allow a larger alpha"
        )
    require_integers(1, starts_per_episode=starts_per_episode)
    steps = _checked_horizon(horizon, trajectories)
    # Conformal guarantees are for data that the model has not seen.
    if train is not None and not allow_training_episodes:
        refuse_duplicates(trajectories, train)
    names = names_of_features(feature_names, env, trajectories.observations.shape[1])
    reference = train if train is not None else trajectories
    scale, varies = feature_scale(reference.observations, trajectories.observations)
    reward_scale, reward_varies = feature_scale(
        reference.rewards[:, None], trajectories.rewards[:, None]
    )
    # Groups such as an angle's sine and cosine leave a tolerance together.
    found = feature_groups(
        names,
        np.concatenate([reference.observations, trajectories.observations]),
        space=space_of(env, model),
        given=groups,
    )
    judged = [group for group in found if varies[list(group.columns)].any()]
    units = {group.name: _spread(group, scale, varies) for group in judged}
    if reward_varies[0]:
        units[REWARD] = float(reward_scale[0])
    limits = _limits(tolerance, units)
    if ignored:
        judged_names = without_ignored(list(limits), ignored)
        limits = {
            name: limit if name in judged_names else math.inf for name, limit in limits.items()
        }
    # The same number of starts from each episode, since episodes and not windows are exchangeable.
    windows = episode_windows(trajectories, steps, starts_per_episode, seed)
    errors, sizes = _sizes(model, trajectories, windows, judged, units, scale)
    has_left = {name: _has_left(sizes[name], limit, windows.mask) for name, limit in limits.items()}
    # One name out of tolerance is enough.
    shares = _episode_shares(np.any(list(has_left.values()), axis=0), windows.episodes)
    half_widths = conformal_half_widths(np.abs(errors), windows.mask, windows.episodes, alpha)
    return CertifiedHorizon(
        certified=certified_steps(shares, alpha),
        measured=measured_steps(shares, alpha),
        alpha=float(alpha),
        tolerance=limits,
        episode_shares=shares,
        violations_by_name={
            name: float(_episode_shares(left, windows.episodes)[:, -1].mean())
            for name, left in has_left.items()
        },
        checked_violation=_left_out_violation(shares, alpha),
        reach=windows.mask.mean(axis=0),
        feature_names=names,
        half_widths=half_widths,
        coverage=_checked_coverage(np.abs(errors), windows, alpha, seed),
        num_episodes=trajectories.num_episodes,
        num_windows=len(windows.episodes),
    )


def _sizes(
    model: WorldModel,
    trajectories: Trajectories,
    windows: EvaluationWindows,
    judged: Sequence[FeatureGroup],
    units: Mapping[str, float],
    scale: Array,
) -> tuple[Array, dict[str, Array]]:
    """Errors of all features [W, H, O], and the size of the error of each name [W, H]."""
    rollout = model_rollout(model, start_states(model, trajectories, windows), windows)
    errors = prediction_errors(rollout.observations.numpy(), windows, scale)
    sizes = {
        group.name: np.sqrt((errors[..., list(group.columns)] ** 2).sum(axis=2)) for group in judged
    }
    if REWARD in units:
        sizes[REWARD] = _reward_sizes(rollout.rewards.numpy(), windows, units[REWARD])
    return errors, sizes


def certified_steps(shares: Array, alpha: float) -> int:
    """The last step that conformal risk control certifies.

    Args:
        shares: Of each calibration episode the share of windows that have left the tolerance by
            each step [n, H]; rises along H from 0 to 1.
        alpha: The risk.
    """
    # The one that is added is the new episode, of which the worst is assumed (Angelopoulos et al.
    # 2024).
    bound = (shares.sum(axis=0) + 1) / (len(shares) + 1)
    return _last_step(bound <= alpha + _ROUNDING)


def measured_steps(shares: Array, alpha: float) -> int:
    """The last step by which at most a share alpha of these very windows left the tolerance.

    Args:
        shares: As for `certified_steps`.
        alpha: The risk.
    """
    return _last_step(shares.mean(axis=0) <= alpha + _ROUNDING)


def conformal_half_widths(
    sizes: Array, mask: NDArray[np.bool_], episodes: NDArray[np.int64], alpha: float
) -> Array:
    """Half widths [H, O] that hold an absolute error of a new episode with 1 - alpha.

    Each window weighs as much as its episode has windows of that length. Infinite where fewer
    episodes than `required_episodes` last so long.

    Args:
        sizes: Absolute errors [W, H, O].
        mask: Whether a window lasts so long [W, H].
        episodes: The episode of each window [W].
        alpha: The risk.
    """
    half_widths = np.full(sizes.shape[1:], np.inf)
    for step in range(sizes.shape[1]):
        rows = np.flatnonzero(mask[:, step])
        # Episodes that have not ended yet at this step, weighted alike whatever their windows.
        numbers, place, counts = np.unique(episodes[rows], return_inverse=True, return_counts=True)
        # How much weight may lie outside: what risk control leaves of the risk.
        allowed = alpha * (len(numbers) + 1) - 1 + _ROUNDING
        if allowed < 0:
            # Too few episodes: the interval is infinite, which is true.
            continue
        weights = 1 / counts[place]
        order = np.argsort(-sizes[rows, step], axis=0, kind="stable")  # [W', O], largest first
        outside = np.cumsum(weights[order], axis=0)
        # The largest error that has to lie inside: those before it weigh at most what is allowed.
        first_inside = np.minimum((outside <= allowed).sum(axis=0), len(rows) - 1)
        half_widths[step] = np.take_along_axis(
            np.take_along_axis(sizes[rows, step], order, 0), first_inside[None], 0
        )[0]
    return half_widths


def _checked_horizon(horizon: int | None, trajectories: Trajectories) -> int:
    longest = int(trajectories.lengths.max())
    if horizon is None:
        position = np.arange(trajectories.num_steps)
        episode = trajectories.episode_of_step
        remaining = trajectories.lengths[episode] - (position - trajectories.step_starts[episode])
        # Half of the starts reach it: longer horizons speak of few episodes.
        return int(np.clip(np.median(remaining), 1, min(_MAX_HORIZON, longest)))
    require_integers(1, horizon=horizon)
    if horizon > longest:
        raise TrajectoryError(
            f"no episode lasts {horizon} steps, the longest lasts {longest}: give horizon={longest} "
            "or record longer episodes"
        )
    return int(horizon)


def _spread(group: FeatureGroup, scale: Array, varies: NDArray[np.bool_]) -> float:
    """The length of the standard deviations of a group's columns, which is one feature's own."""
    columns = np.array(group.columns)
    return float(np.sqrt((scale[columns][varies[columns]] ** 2).sum()))


def _limits(tolerance: float | Mapping[str, float], units: Mapping[str, float]) -> dict[str, float]:
    """The tolerance of each name in its own unit."""
    if isinstance(tolerance, Mapping):
        missing = [name for name in units if name not in tolerance]
        unknown = [name for name in tolerance if name not in units]
        if missing or unknown:
            raise TrajectoryError(
                f"every part that varies needs a tolerance: {missing} have none, and {unknown} "
                f"name nothing that varies; the parts are {list(units)} (math.inf leaves one out)"
            )
        limits = {name: tolerance[name] for name in units}
    else:
        limits = {name: tolerance * unit for name, unit in units.items()}
    for name, limit in limits.items():
        if not isinstance(limit, int | float) or not limit >= 0:
            raise ConfigError(f"the tolerance of {name!r} is a number from 0 on, got {limit!r}")
    if not limits:
        raise TrajectoryError("nothing varies in these episodes, so that nothing can be certified")
    return {name: float(limit) for name, limit in limits.items()}


def _reward_sizes(predicted: Array, windows: EvaluationWindows, scale: float) -> Array:
    sizes: Array = np.abs(predicted - windows.rewards)
    return np.where(np.isfinite(sizes), sizes, NON_FINITE_ERROR * scale)


def _has_left(sizes: Array, limit: float, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a window [W, H] was out of tolerance at this step or before."""
    # Relative, since a tolerance that was computed from the data may be missed by rounding.
    is_outside = (sizes > limit * (1 + _ROUNDING)) & mask
    # Once out of tolerance stays out: a prediction that comes back by chance is not trusted.
    return np.logical_or.accumulate(is_outside, axis=1)


def _episode_shares(has_left: NDArray[np.bool_], episodes: NDArray[np.int64]) -> Array:
    """Share of each episode's windows [n, H]."""
    _, place, counts = np.unique(episodes, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), has_left.shape[1]))
    np.add.at(sums, place, has_left)
    return sums / counts[:, None]


def _last_step(is_good: NDArray[np.bool_]) -> int:
    return len(is_good) if is_good.all() else int(np.argmin(is_good))


def _left_out_violation(shares: Array, alpha: float) -> float | None:
    if len(shares) - 1 < required_episodes(alpha):
        return None
    # Each episode is judged by what the others alone would certify.
    bounds = (shares.sum(axis=0) - shares + 1) / len(shares)  # [n, H], each without its episode
    steps = np.array([_last_step(row <= alpha + _ROUNDING) for row in bounds])
    # No window leaves a tolerance within 0 steps: nothing was checked.
    if not steps.any():
        return None
    lost = [row[step - 1] if step else 0.0 for row, step in zip(shares, steps, strict=True)]
    return float(np.mean(lost))


def _checked_coverage(sizes: Array, windows: EvaluationWindows, alpha: float, seed: int) -> Array:
    """Share of observations [H, O] within intervals that other episodes calibrated."""
    # Whole episodes are left out; windows of one would know each other.
    order = np.random.default_rng(checked_seed(seed)).permutation(np.unique(windows.episodes))
    inside = np.zeros(sizes.shape[1:])
    total = np.zeros(sizes.shape[1:])
    for held_out in np.array_split(order, min(_NUM_FOLDS, len(order))):
        is_held_out = np.isin(windows.episodes, held_out)
        kept = ~is_held_out
        if not kept.any():
            continue
        widths = conformal_half_widths(
            sizes[kept], windows.mask[kept], windows.episodes[kept], alpha
        )
        mask = windows.mask[is_held_out]
        numbers, place = np.unique(windows.episodes[is_held_out], return_inverse=True)
        counts = np.zeros((len(numbers), mask.shape[1]))
        np.add.at(counts, place, mask)
        # Every episode that lasts so long counts alike, as in the guarantee.
        weights = (mask / np.maximum(counts[place], 1))[..., None]
        counted_here = weights * np.isfinite(widths)
        inside += (counted_here * (sizes[is_held_out] <= widths)).sum(axis=0)
        total += counted_here.sum(axis=0)
    return np.divide(inside, total, out=np.full_like(inside, np.nan), where=total > 0)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
