"""Where a model fails: a tree over regions and events, which error causes which, worst windows.

The tree is grown on one half of the episodes and its errors are those of the other half (honest
trees, Athey and Imbens 2016), so that a region that chance has found shows no error of its own.
Causes are found by intervention: the model is given one true feature at every step, and the errors
that vanish were caused by that feature's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wm_agents.errors import TrajectoryError
from wm_agents.evaluation.charts import counted, percent, short
from wm_agents.evaluation.error_tables import NON_FINITE_ERROR, FeatureGroup, feature_groups
from wm_agents.evaluation.open_loop import (
    feature_scale,
    names_of_features,
    prediction_errors,
    refuse_duplicates,
    space_of,
)
from wm_agents.evaluation.windows import EvaluationWindows, episode_windows, start_states
from wm_agents.protocols import ModelState, WorldModel
from wm_agents.training.config_checks import checked_seed, require_integers
from wm_agents.training.fitted import check_fitted
from wm_envs.data.display import short_repr
from wm_envs.data.trajectories import Trajectories

Array = NDArray[np.float64]

_MAX_DEPTH = 3
_MIN_SHARE = 0.05  # of the windows, in a leaf
_MIN_LEAF = 5
_MIN_GAIN = 0.05  # of all that varies, explained by a split
_NUM_THRESHOLDS = 15
_MIN_RATIO = 1.25
"""A region counts where its error is larger than elsewhere by this factor, in both halves."""

_MAX_GIVEN = 12  # features that are given, those with the largest errors
_MIN_RELIEF = 0.3
_NUM_RESAMPLES = 200
_NUM_WORST = 3
_FLOOR = 1e-3  # standard deviations; errors below it are alike


@dataclass(frozen=True)
class Region:
    """Windows that are alike, and how wrong the model is there.

    Attributes:
        conditions: What holds at the start of all of them, or happens in them; none says all.
        share: Of the windows that the tree was not grown on.
        error: Root mean squared error there, in standard deviations.
        elsewhere: The same of all other windows.
        num_windows: Windows there that the tree was not grown on.
    """

    conditions: tuple[str, ...]
    share: float
    error: float
    elsewhere: float
    num_windows: int

    def __str__(self) -> str:
        return (
            f"Where {' and '.join(self.conditions)}, the error is {short(self.error)} standard "
            f"deviations ({percent(self.share)} of windows); elsewhere it is "
            f"{short(self.elsewhere)}."
        )


@dataclass(frozen=True)
class Failures:
    """Where and why a model is wrong within H steps, errors in standard deviations.

    Attributes:
        horizon: H.
        error: Root mean squared error of all windows.
        regions: Where it is larger than elsewhere, worst first; none where nothing tells.
        part_names: G features or groups of them, those with the largest errors first.
        part_errors: Their errors [G].
        relief: Share [G, G] by which the error of the column's part falls when the model is given
            the true values of the row's part at every step; NaN on the diagonal.
        relief_low: Lower ends of 95% intervals of it, which resample episodes [G, G].
        worst: The windows with the largest errors, each of another episode: the episode, the step
            at which it begins, the part that is furthest off, and what was recorded and predicted
            of that part's first column [H + 1].
        num_windows: Windows in all.
        num_episodes: Of them.
    """

    horizon: int
    error: float
    regions: tuple[Region, ...]
    part_names: tuple[str, ...]
    part_errors: Array
    relief: Array
    relief_low: Array
    worst: tuple[dict[str, Any], ...]
    num_windows: int
    num_episodes: int

    __repr__ = short_repr

    def causes(self) -> list[str]:
        """Which part's error causes which, one sentence each, the largest relief first."""
        found = []
        for row, given in enumerate(self.part_names):
            for column, helped in enumerate(self.part_names):
                if row != column and self.relief_low[row, column] >= _MIN_RELIEF:
                    found.append((float(self.relief[row, column]), given, helped))
        found.sort(key=lambda cause: -cause[0])
        return [
            f"Given the true “{given}” at every step, the error of “{helped}” falls by "
            f"{percent(relief)}: it comes from that of “{given}”."
            for relief, given, helped in found
        ]

    def __str__(self) -> str:
        if not self.regions:
            return (
                f"Within {counted(self.horizon, 'step')} no region or event was found in which the "
                f"error ({short(self.error)} standard deviations) is larger than elsewhere."
            )
        return str(self.regions[0])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and numbers; None for what does not apply."""
        return {
            "horizon": self.horizon,
            "error": self.error,
            "regions": [asdict(region) for region in self.regions],
            "part_names": list(self.part_names),
            "part_errors": self.part_errors.tolist(),
            "relief": _plain(self.relief),
            "relief_low": _plain(self.relief_low),
            "causes": self.causes(),
            "worst": [dict(window) for window in self.worst],
            "num_windows": self.num_windows,
            "num_episodes": self.num_episodes,
        }


def find_failures(
    model: WorldModel,
    trajectories: Trajectories,
    *,
    horizon: int = 16,
    feature_names: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    env: Any = None,
    train: Trajectories | None = None,
    allow_training_episodes: bool = False,
    starts_per_episode: int = 32,
    max_windows: int = 512,
    seed: int = 0,
) -> Failures:
    """Find the regions and events in which a model fails, and which error causes which.

    Regions are conditions on the observation at which a window starts and on its first action;
    events are an end of the episode within it and a feature that turns, which means that it rises
    and falls. Windows are as long as H steps or end with their episode.

    Args:
        model: The world model.
        trajectories: Held-out episodes, at least 4.
        horizon: Steps imagined, H; cut to the longest episode.
        feature_names: Names of the O features; None takes them from `env`, else "feature i".
        groups: Columns that are judged as one, by name.
        env: As in `open_loop_error`.
        train: The episodes of the fit; they set the scale of errors, and duplicates are refused.
        allow_training_episodes: Do not refuse them.
        starts_per_episode: Windows of an episode, at most.
        max_windows: Windows in all, at most.
        seed: Draws the windows and splits the episodes.

    Raises:
        TrajectoryError: Fewer than 4 episodes, or episodes seen in training.
        NotFittedError: The model was never fitted.
    """
    seed = checked_seed(seed)
    check_fitted(model)
    require_integers(
        1, horizon=horizon, starts_per_episode=starts_per_episode, max_windows=max_windows
    )
    # Two halves, each with at least two episodes.
    if trajectories.num_episodes < 4:
        raise TrajectoryError(
            "to find where a model fails takes at least 4 held-out episodes, two to search and two "
            f"to check, got {trajectories.num_episodes}: record more"
        )
    if train is not None and not allow_training_episodes:
        refuse_duplicates(trajectories, train)
    names = names_of_features(feature_names, env, trajectories.observations.shape[1])
    reference = train if train is not None else trajectories
    scale, varies = feature_scale(reference.observations, trajectories.observations)
    found = feature_groups(
        names,
        np.concatenate([reference.observations, trajectories.observations]),
        space=space_of(env, model),
        given=groups,
    )
    judged = [group for group in found if varies[list(group.columns)].any()]
    if not judged:
        raise TrajectoryError("nothing varies in these episodes, so that nothing can go wrong")
    steps = min(horizon, int(trajectories.lengths.max()))
    # Few episodes have more starts each, so that the number of windows stays.
    each = max(1, min(starts_per_episode, max_windows // trajectories.num_episodes))
    windows = episode_windows(trajectories, steps, each, seed)
    starts = start_states(model, trajectories, windows)
    rollout = _rollout_given(model, starts, windows, ())
    squares = _part_squares(rollout, windows, judged, scale, varies)  # [W, H, G]
    sums = (squares.mean(axis=2) * windows.mask).sum(axis=1)
    errors = np.sqrt(sums / windows.num_steps)  # [W]
    # The parts with the largest errors: each is a rollout of its own below.
    order = np.argsort(-_means(squares, windows.mask), kind="stable")[:_MAX_GIVEN]
    parts = [judged[place] for place in order]
    relief, relief_low = _reliefs(
        model, starts, windows, parts, squares[..., order], scale, varies, seed
    )
    inputs, labels = _tree_inputs(windows, names, varies)
    return Failures(
        horizon=steps,
        error=float(np.sqrt((errors**2).mean())),
        regions=_regions(inputs, labels, errors, windows.episodes, seed),
        part_names=tuple(part.name for part in parts),
        part_errors=np.sqrt(_means(squares, windows.mask))[order],
        relief=relief,
        relief_low=relief_low,
        worst=_worst_windows(rollout, windows, errors, squares, judged, names),
        num_windows=len(errors),
        num_episodes=trajectories.num_episodes,
    )


@torch.no_grad()
def _rollout_given(
    model: WorldModel, starts: ModelState, windows: EvaluationWindows, given: Sequence[int]
) -> Array:
    """Predicted observations [W, H + 1, O], the true values put into the given columns each step."""
    device = starts.observations.device
    actions = torch.as_tensor(windows.actions, device=device)
    true = torch.as_tensor(windows.observations, device=device)
    columns = torch.as_tensor(list(given), dtype=torch.int64, device=device)
    state, seen = starts, [starts.observations]
    for step in range(windows.horizon):
        state, prediction = model.step(state, actions[:, step])
        seen.append(prediction.observations)
        if len(columns):
            rows = prediction.observations.clone()
            rows[:, columns] = true[:, step + 1, columns].to(rows.dtype)
            # The model goes on from the corrected observation with its own memory.
            state = model.start(rows, state.hidden)
    return np.asarray(torch.stack(seen, 1).double().cpu().numpy())


def _part_squares(
    predicted: Array,
    windows: EvaluationWindows,
    groups: Sequence[FeatureGroup],
    scale: Array,
    varies: NDArray[np.bool_],
) -> Array:
    """Squared errors [W, H, G] of the groups, each in units of its spread."""
    errors = prediction_errors(predicted, windows, scale)
    squares = []
    for group in groups:
        columns = np.array(group.columns)
        # A group that is one thing is measured by its length.
        spread = float((scale[columns][varies[columns]] ** 2).sum())
        squares.append((errors[..., columns] ** 2).sum(axis=2) / spread)
    # A single diverging window would be all that a mean says.
    return np.minimum(np.stack(squares, 2), NON_FINITE_ERROR**2)


def _means(squares: Array, mask: NDArray[Any]) -> Array:
    """Mean squared error [G] over the recorded steps of all windows."""
    mean: Array = (squares * mask[..., None]).sum(axis=(0, 1)) / mask.sum()
    return mean


def _reliefs(
    model: WorldModel,
    starts: ModelState,
    windows: EvaluationWindows,
    parts: Sequence[FeatureGroup],
    squares: Array,
    scale: Array,
    varies: NDArray[np.bool_],
    seed: int,
) -> tuple[Array, Array]:
    """How much of each part's error vanishes [G, G], and the lower ends of intervals of it."""
    num = len(parts)
    relief, low = np.full((num, num), np.nan), np.full((num, num), np.nan)
    # The model's errors are the same in every resample; only the episodes change.
    # Errors of an episode belong together, so that whole episodes are drawn again.
    numbers, place = np.unique(windows.episodes, return_inverse=True)
    drawn = np.random.default_rng(checked_seed(seed)).multinomial(
        len(numbers), np.full(len(numbers), 1 / len(numbers)), _NUM_RESAMPLES
    )
    before = _episode_sums(squares, windows.mask, place)  # [N, G]
    for row, part in enumerate(parts):
        predicted = _rollout_given(model, starts, windows, part.columns)
        after = _episode_sums(
            _part_squares(predicted, windows, parts, scale, varies), windows.mask, place
        )
        relief[row] = _fall(after.sum(axis=0), before.sum(axis=0))
        low[row] = np.quantile(_fall(drawn @ after, drawn @ before), 0.025, axis=0)
    # That a part is right when it is given says nothing.
    np.fill_diagonal(relief, np.nan)
    np.fill_diagonal(low, np.nan)
    return relief, low


def _episode_sums(squares: Array, mask: NDArray[Any], place: NDArray[np.int64]) -> Array:
    sums = np.zeros((int(place.max()) + 1, squares.shape[2]))
    np.add.at(sums, place, (squares * mask[..., None]).sum(axis=1))
    return sums


def _fall(after: Array, before: Array) -> Array:
    """By which share root mean squared errors fall; none where there was hardly an error."""
    ratio = np.divide(after, before, out=np.ones_like(before), where=before > _FLOOR**2)
    fall: Array = 1 - np.sqrt(ratio)
    return fall


def _tree_inputs(
    windows: EvaluationWindows, names: Sequence[str], varies: NDArray[np.bool_]
) -> tuple[Array, list[tuple[str, str]]]:
    """What the tree may split by [W, K], and how each input reads when it is small and large.

    A label with "{}" takes the threshold.
    """
    columns: list[Array] = []
    labels: list[tuple[str, str]] = []
    # Where the window starts is what one can know before the model is wrong.
    starts = windows.observations[:, 0].astype(np.float64)
    for column in np.flatnonzero(varies).tolist():
        columns.append(starts[:, column])
        labels.append((f"{names[column]} ≤ {{}}", f"{names[column]} > {{}}"))
    if windows.actions.ndim == 2:
        for action in np.unique(windows.actions[:, 0]):
            columns.append((windows.actions[:, 0] == action).astype(np.float64))
            labels.append(
                (f"the first action is not {action:g}", f"the first action is {action:g}")
            )
    else:
        for axis in range(windows.actions.shape[2]):
            name = "the first action" if windows.actions.shape[2] == 1 else f"action {axis}"
            columns.append(windows.actions[:, 0, axis].astype(np.float64))
            labels.append((f"{name} ≤ {{}}", f"{name} > {{}}"))
    # What happens within the window explains but does not predict; it is said as an event.
    columns.append(np.asarray((windows.terminations > 0).any(axis=1), np.float64))
    labels.append(("the episode does not end within it", "the episode ends within it"))
    for column in np.flatnonzero(varies).tolist():
        values = windows.observations[..., column]
        if len(np.unique(values[:200])) > 2:  # flags and one-hots switch, they do not turn
            columns.append(_turns(values, windows.mask))
            labels.append((f"{names[column]} does not turn", f"{names[column]} turns"))
    return np.stack(columns, 1), labels


def _turns(values: NDArray[Any], mask: NDArray[Any]) -> Array:
    """Whether a feature [W, H + 1] both rises and falls within its window."""
    changes = np.diff(values.astype(np.float64), axis=1) * (mask > 0)
    is_turning = (changes > 0).any(axis=1) & (changes < 0).any(axis=1)
    return np.asarray(is_turning, np.float64)


@dataclass(frozen=True)
class _Split:
    column: int
    threshold: float
    is_above: bool


def _regions(
    inputs: Array,
    labels: Sequence[tuple[str, str]],
    errors: Array,
    episodes: NDArray[np.int64],
    seed: int,
) -> tuple[Region, ...]:
    """Leaves of a tree grown on half of the episodes that are worse in the other half, too."""
    # Half to search, half to check: a tree always finds something in the data that it was grown on.
    order = np.random.default_rng(checked_seed(seed)).permutation(np.unique(episodes))
    is_grown_on = np.isin(episodes, order[: len(order) // 2])
    leaves: list[tuple[_Split, ...]] = []
    # Logarithms, so that one huge error does not make the tree.
    logs = np.log(np.maximum(errors, _FLOOR))
    _grow(inputs[is_grown_on], logs[is_grown_on], _Limits.of(logs[is_grown_on]), (), leaves)
    checked = ~is_grown_on
    squares = errors[checked] ** 2
    found = []
    for leaf in leaves:
        inside = _is_inside(inputs[checked], leaf)
        grown = _is_inside(inputs[is_grown_on], leaf)
        if not leaf or not inside.any() or inside.all():
            continue
        # Root mean squares of the raw errors are what a reader is told.
        mean, rest = np.sqrt(squares[inside].mean()), np.sqrt(squares[~inside].mean())
        was = np.sqrt((errors[is_grown_on][grown] ** 2).mean())
        was_elsewhere = np.sqrt((errors[is_grown_on][~grown] ** 2).mean())
        # In both halves, or it was chance.
        if min(mean / max(rest, _FLOOR), was / max(was_elsewhere, _FLOOR)) >= _MIN_RATIO:
            region = Region(
                _read(leaf, labels),
                float(inside.mean()),
                float(mean),
                float(rest),
                int(inside.sum()),
            )
            found.append(region)
    return tuple(sorted(found, key=lambda region: -region.error))


@dataclass(frozen=True)
class _Limits:
    """The smallest leaf, and how much of the squared error a split has to explain."""

    smallest: int
    gain: float

    @classmethod
    def of(cls, values: Array) -> "_Limits":
        total = float(((values - values.mean()) ** 2).sum())
        return cls(max(_MIN_LEAF, int(np.ceil(_MIN_SHARE * len(values)))), _MIN_GAIN * total)


def _grow(
    inputs: Array,
    values: Array,
    limits: _Limits,
    path: tuple[_Split, ...],
    leaves: list[tuple[_Split, ...]],
) -> None:
    """Split where the variance of the values falls most, until a leaf is small or deep."""
    best = _best_split(inputs, values, limits) if len(path) < _MAX_DEPTH else None
    if best is None:
        leaves.append(path)
        return
    # Both sides with the same split, first what is below.
    column, threshold = best
    is_above = inputs[:, column] > threshold
    for side in (False, True):
        rows = is_above == side
        longer = (*path, _Split(column, threshold, side))
        _grow(inputs[rows], values[rows], limits, longer, leaves)


def _best_split(inputs: Array, values: Array, limits: _Limits) -> tuple[int, float] | None:
    """Column and threshold with the largest fall of the squared error; None where it falls little."""
    best, gain = None, limits.gain
    for column in range(inputs.shape[1]):
        values_of_column = np.unique(inputs[:, column])
        if len(values_of_column) < 2:
            continue
        if len(values_of_column) > _NUM_THRESHOLDS + 1:
            # A few quantiles are enough, and keep the search linear.
            levels = np.linspace(0, 1, _NUM_THRESHOLDS + 2)[1:-1]
            thresholds = np.unique(np.quantile(inputs[:, column], levels))
        else:
            thresholds = (values_of_column[1:] + values_of_column[:-1]) / 2
        is_above = inputs[:, column, None] > thresholds  # [W, S]
        above = is_above.sum(axis=0)
        below = len(values) - above
        is_allowed = np.minimum(above, below) >= limits.smallest
        if not is_allowed.any():
            continue
        sum_above = values @ is_above
        sum_below = values.sum() - sum_above
        between = np.divide(sum_above**2, above, out=np.zeros(len(above)), where=above > 0)
        between += np.divide(sum_below**2, below, out=np.zeros(len(above)), where=below > 0)
        # The fall of the sum of squares is that of the between-group part.
        gains = np.where(is_allowed, between - values.sum() ** 2 / len(values), -np.inf)
        place = int(np.argmax(gains))
        if gains[place] > gain:
            best, gain = (column, float(thresholds[place])), float(gains[place])
    return best


def _is_inside(inputs: Array, leaf: Sequence[_Split]) -> NDArray[np.bool_]:
    inside = np.ones(len(inputs), np.bool_)
    for split in leaf:
        inside &= (inputs[:, split.column] > split.threshold) == split.is_above
    return inside


def _read(leaf: Sequence[_Split], labels: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The conditions of a leaf in words; of two bounds on one side the closer one holds."""
    kept: dict[tuple[int, bool], float] = {}
    for split in leaf:
        # The nearer of two bounds on one side.
        key = (split.column, split.is_above)
        closer = max if split.is_above else min
        kept[key] = closer(kept.get(key, split.threshold), split.threshold)
    return tuple(
        labels[column][is_above].replace("{}", short(threshold))
        for (column, is_above), threshold in kept.items()
    )


def _worst_windows(
    predicted: Array,
    windows: EvaluationWindows,
    errors: Array,
    squares: Array,
    judged: Sequence[FeatureGroup],
    names: Sequence[str],
) -> tuple[dict[str, Any], ...]:
    """The windows with the largest errors, one of an episode."""
    found: list[dict[str, Any]] = []
    for row in np.argsort(-errors, kind="stable"):
        episode = int(windows.episodes[row])
        # One window an episode: neighbors would show the same failure three times.
        if errors[row] <= _FLOOR or episode in [window["episode"] for window in found]:
            continue
        length = int(windows.num_steps[row])
        # The part with the most error in this window, and of it the worst column.
        group = judged[int(np.argmax(squares[row, :length].sum(axis=0)))]
        columns = np.array(group.columns)
        off = np.abs(predicted[row, 1 : length + 1] - windows.observations[row, 1 : length + 1])
        column = int(columns[np.argmax(np.nan_to_num(off[:, columns]).sum(axis=0))])
        found.append(
            {
                "episode": episode,
                "step": int(windows.positions[row]),
                "error": float(errors[row]),
                "part": group.name,
                "feature": names[column],
                "recorded": windows.observations[row, : length + 1, column].tolist(),
                "predicted": _finite_list(predicted[row, : length + 1, column]),
            }
        )
        if len(found) == _NUM_WORST:
            break
    return tuple(found)


def _finite_list(values: Array) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _plain(values: Array) -> list[list[float | None]]:
    return [_finite_list(row) for row in values]
