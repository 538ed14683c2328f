"""What a `StackedForestModel` reads, selected on held-out steps.

Its structure (`find_view`), the order in which parts are decided, and the columns, smallest leaf and
sharpness of each part (`PartSearch`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import ConfigError, TrajectoryError
from wm_agents.world_models.forest import Forest
from wm_agents.world_models.stacked import (
    BLOCK,
    DELTA,
    GROUP,
    NO_THRESHOLD,
    NUM_ACTIONS_KEPT,
    ONSET_MEAN,
    VALUE,
    Counter,
    StackedView,
)
from wm_agents.world_models.stacked_tables import (
    RecordedParts,
    TableColumns,
    all_columns,
    decoded_values,
    part_table,
)
from wm_envs.data.compiled import compiled
from wm_envs.data.trajectories import Trajectories

Array = NDArray[Any]
Rows = tuple[Array, Array]  # to learn from and to test on

_COUNTER_SIZES = range(6, 66, 4)  # one and a half effects, two and a half and so on
_LEAF_SEARCH = 2  # times as many steps to select leaves
_COUNTER_STEPS = 40_000  # on which a counter is selected, at most
_RUN = 200  # steps that are held out together
_MIN_STEPS = 30
_OPEN_LEAF = 10  # of the forest that says where a part's own past leaves open what comes next
_OPEN = 0.02  # from this chance on that two of its outcomes differ
SHARPNESSES = (1, 2, 4)
"""Powers of voted shares that are tried."""
_EASY_SHARE = 0.25  # of the rows of a trial, those that are not open
_KEPT_SHARE = 0.7  # of the columns, from trial to trial
_MIN_COLUMNS = 3
_MAX_SWEPT = 40  # columns that are tried one by one


@dataclass(frozen=True)
class ForestConfig:
    """Shape and training of a `StackedForestModel`.

    Attributes:
        num_trees: Of each part.
        column_share: Of the columns, how many each split selects from.
        min_leaves: Sizes of the smallest leaf that are tried.
        search_steps: Recorded steps, at most, on which order, columns and leaves are selected.
        search_trees: Trees of each trial.
        searches_columns: Select single columns as well, which is most of a search; else whole parts.
        max_loss_ratio: A part is left out of what another reads where the held-out loss becomes at
            most so many times as large. 0 leaves nothing out and saves the trials: a rare event,
            which hardly shows in a sample, then cannot lose what decides it. Trees of a small
            `column_share` pass over much that they do not need.
    """

    num_trees: int = 6
    column_share: float = 0.6
    min_leaves: tuple[int, ...] = (1, 5)
    search_steps: int = 20_000
    search_trees: int = 2
    searches_columns: bool = True
    max_loss_ratio: float = 1.005

    def __post_init__(self) -> None:
        """Raise ConfigError for what no forest can have."""
        counts = {
            "num_trees": self.num_trees,
            "search_steps": self.search_steps,
            "search_trees": self.search_trees,
        }
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"{name} is at least 1, got {value}")
        if not self.max_loss_ratio >= 0:
            raise ConfigError(f"max_loss_ratio is at least 0, got {self.max_loss_ratio}")
        if not 0 < self.column_share <= 1:
            raise ConfigError(f"column_share is in (0, 1], got {self.column_share}")
        if not self.min_leaves or min(self.min_leaves) < 1:
            raise ConfigError(f"min_leaves has sizes of at least 1, got {self.min_leaves}")


@dataclass(frozen=True)
class PartSelection:
    """What a search selected for a part, which a longer recording may be fitted with.

    Attributes:
        part: Which; selections are in the order in which parts are decided.
        columns: What it reads.
        min_leaf: The smallest leaf.
        sharpness: The power of the voted shares from which outcomes are drawn.
        loss: The held-out Brier score.
    """

    part: int
    columns: TableColumns
    min_leaf: int
    sharpness: int
    loss: float

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs."""
        return {
            "part": self.part,
            "places": self.columns.places.tolist(),
            "signs": self.columns.signs.tolist(),
            "shifts": [int(shift) for shift in self.columns.shifts],
            "groups": [sorted(group) for group in self.columns.groups],
            "min_leaf": self.min_leaf,
            "sharpness": self.sharpness,
            "loss": self.loss,
        }

    @classmethod
    def from_json(cls, description: Mapping[str, Any]) -> Self:
        """The selection that `to_json` described."""
        columns = TableColumns(
            np.array(description["places"], np.int32),
            np.array(description["signs"], np.int32),
            np.array(description["shifts"], np.int64),
            tuple(frozenset(group) for group in description["groups"]),
        )
        return cls(
            int(description["part"]),
            columns,
            int(description["min_leaf"]),
            int(description["sharpness"]),
            float(description["loss"]),
        )


def find_view(
    trajectories: Trajectories,
    observation_space: gym.Space[Any],
    actions: Array,
    num_actions: int,
    seed: int,
) -> StackedView:
    """The structure of a recording, with groups of episodes and counters of what actions move.

    How far a counter goes is what predicts the part best on held-out steps.
    """
    plain = StackedView.found(trajectories, observation_space)
    states, _ = plain.replay(trajectories.observations, actions, trajectories.lengths)
    thresholds = tuple(
        threshold_between_groups(states[:, part * BLOCK + ONSET_MEAN])
        for part in range(plain.num_parts)
    )
    plain = replace(plain, thresholds=thresholds)
    states, next_values = plain.replay(trajectories.observations, actions, trajectories.lengths)
    recorded = RecordedParts(states, actions, next_values, num_actions)
    counters = []
    for part in range(plain.num_parts):
        means, explained = recorded.mean_changes(part)
        if explained < 0.05:
            continue
        effects = tuple(int(effect) for effect in np.rint(means / np.abs(means).max()))
        losses = []
        for size in _COUNTER_SIZES:
            counter = Counter(effects, size)
            losses.append(_counter_loss(plain, counter, recorded, part, trajectories, seed))
        counters.append(Counter(effects, _COUNTER_SIZES[int(np.argmin(losses))]))
    return replace(plain, counters=tuple(counters))


def threshold_between_groups(means: Array) -> int:
    """The middle between the centers of two groups of numbers (Lloyd's algorithm)."""
    shown = means[means > 0].astype(np.float64)
    if not len(shown):
        return NO_THRESHOLD
    threshold = float(np.percentile(shown, [5, 95]).mean())
    for _ in range(20):
        is_high = shown > threshold
        if is_high.all() or not is_high.any():
            return NO_THRESHOLD
        threshold = (shown[is_high].mean() + shown[~is_high].mean()) / 2
    return int(threshold)


def _counter_loss(
    plain: StackedView,
    counter: Counter,
    recorded: RecordedParts,
    part: int,
    trajectories: Trajectories,
    seed: int,
) -> float:
    """Held-out Brier score of a part from its own recent past, the action and a counter."""
    effects = np.array(counter.effects, np.int64) * 4
    effect = effects[recorded.actions]
    counts = np.zeros(len(effect), np.int64)
    is_first = np.zeros(len(effect), np.bool_)
    is_first[trajectories.step_starts] = True
    _count(effect, is_first, counter.size, counts)
    block = part * BLOCK
    train_rows, test_rows = held_out_runs(np.ones(len(effect), np.bool_), _COUNTER_STEPS)

    def table(rows: Array) -> Array:
        states = recorded.states[rows]
        told = (VALUE, DELTA, DELTA + 1, GROUP)
        columns = [states[:, block + place] for place in told]
        last = states[:, plain.time_column - NUM_ACTIONS_KEPT]
        columns.append(np.where(last >= 0, effects[last], 0))
        return np.column_stack([*columns, effect[rows], counts[rows]])

    categories, outcomes = recorded.categories(part)
    forest = Forest.grown(
        table(train_rows),
        outcomes[train_rows],
        len(categories),
        num_trees=2,
        min_leaf=1,
        column_share=0.6,
        seed=seed,
    )
    return _brier_score(forest, table(test_rows), outcomes[test_rows])


def held_out_runs(is_open: NDArray[np.bool_], num_kept: int) -> Rows:
    """Rows to learn from and rows to test on, out of steps [S] that are open or easy.

    Every third run of steps is held out whole, so that neighbors do not give it away. At most a
    share of `_EASY_SHARE` is easy, unless there are too few others.
    """
    num_steps = len(is_open)
    if num_steps < _MIN_STEPS:
        raise TrajectoryError(
            f"a recording of {num_steps} steps is too short to hold any out: record at least "
            f"{_MIN_STEPS}"
        )
    open_rows = np.flatnonzero(is_open)
    easy_rows = np.flatnonzero(~is_open)
    num_kept = min(num_kept, num_steps)
    num_open = min(
        len(open_rows), max(round((1 - _EASY_SHARE) * num_kept), num_kept - len(easy_rows))
    )
    kept = [
        _spread(open_rows, num_open),
        _spread(easy_rows, min(len(easy_rows), num_kept - num_open)),
    ]
    rows = np.sort(np.concatenate(kept))
    run = min(_RUN, num_steps // 3)
    is_held_out = rows // run % 3 == 2
    return rows[~is_held_out], rows[is_held_out]


def _spread(rows: Array, number: int) -> Array:
    """So many of the rows, from all over them."""
    return rows[np.linspace(0, len(rows) - 1, number).round().astype(int)] if number else rows[:0]


@compiled
def _count(effects: Array, is_first: Array, size: int, out: Array) -> None:
    """What a counter shows before each step."""
    count = size // 2
    for step in range(len(effects)):
        if is_first[step]:
            count = size // 2
        out[step] = count
        count = min(max(count + effects[step], 0), size)


def _brier_score(forest: Forest, table: Array, outcomes: Array) -> float:
    """Mean squared distance of the voted shares from what happened, between 0 and 2.

    Proper as the log-loss is, but a tree that is sure and wrong costs no more than 2.
    """
    shares = forest.votes(table).astype(np.float64)
    hit = shares[np.arange(len(table)), outcomes]
    return float(((shares**2).sum(1) - 2 * hit + 1).mean())


def _ranked_score(votes: Array, numbers: Array, after: Array) -> float:
    """Mean ranked probability score of votes [B, K] for numbers [B, K], where `after` [B] came.

    Proper, too, but it counts how far a number was missed: the expected distance from what
    happened, less half of that between two draws (Gneiting & Raftery 2007, section 4.2).
    """
    order = numbers.argsort(1, kind="stable")
    numbers = np.take_along_axis(numbers, order, 1)
    shares = np.take_along_axis(votes / votes.sum(1, keepdims=True), order, 1)
    distances = (shares * np.abs(numbers - after[:, None])).sum(1)
    below = shares.cumsum(1)[:, :-1]
    spreads = (below * (1 - below) * np.diff(numbers, axis=1)).sum(1)
    return float((distances - spreads).mean())


class PartSearch:
    """Selects the order of parts, their columns and smallest leaves, on held-out steps."""

    def __init__(
        self, view: StackedView, recorded: RecordedParts, config: ForestConfig, seed: int
    ) -> None:
        self.view = view
        self.config = config
        self.seed = seed
        self.recorded = recorded
        # Smallest leaves depend on how much is recorded, and few columns are left by then.
        long = _LEAF_SEARCH * config.search_steps
        self._runs: dict[int, tuple[Rows, Rows]] = {}
        self._num_rows = (config.search_steps, long)

    def runs(self, part: int) -> tuple[Rows, Rows]:
        """Rows for trials of a part, few and more of them: mostly of what it alone leaves open.

        Steps in which a part goes on as before are many and say nothing of what else it depends
        on. A forest that reads the part and the actions alone tells the others: rows are selected by
        what it reads, never by what happened, so that the shares of outcomes stay what they are.
        """
        if part not in self._runs:
            is_open = self._is_open(part)
            few, many = (held_out_runs(is_open, number) for number in self._num_rows)
            self._runs[part] = few, many
        return self._runs[part]

    def _is_open(self, part: int) -> NDArray[np.bool_]:
        """Where [S] a part's own past and the actions do not decide what comes next."""
        recorded = self.recorded
        others = frozenset(range(self.view.num_parts)) - {part}
        columns = all_columns(self.view, recorded.num_actions, []).without(others)
        table = self.table(part, columns, np.arange(len(recorded.actions)))
        categories, outcomes = recorded.categories(part)
        forest = Forest.grown(
            table,
            outcomes,
            len(categories),
            num_trees=self.config.search_trees,
            min_leaf=_OPEN_LEAF,
            column_share=self.config.column_share,
            seed=self.seed,
        )
        shares = forest.votes(table)
        is_open: NDArray[np.bool_] = (shares**2).sum(1) < 1 - _OPEN
        return is_open

    def table(self, part: int, columns: TableColumns, rows: Array) -> NDArray[np.int16]:
        """What a part reads at some of the recorded steps."""
        recorded = self.recorded
        return part_table(
            self.view, columns, recorded.ranks(part), recorded.states[rows],
            recorded.actions[rows], recorded.next_values[rows],
        )  # fmt: skip

    def loss(self, part: int, columns: TableColumns) -> float:
        """Held-out Brier score of a small forest."""
        return self.trial(part, columns, self.runs(part)[0])[0]

    def trial(
        self, part: int, columns: TableColumns, runs: Rows, min_leaf: int = 1
    ) -> tuple[float, Array]:
        """Held-out Brier score of a small forest, and the gains of the columns."""
        train_rows, test_rows = runs
        _, outcomes = self.recorded.categories(part)
        forest = self._grown(part, columns, train_rows, min_leaf, self.config.search_trees)
        test_table = self.table(part, columns, test_rows)
        return _brier_score(forest, test_table, outcomes[test_rows]), forest.gains

    def _grown(
        self, part: int, columns: TableColumns, rows: Array, min_leaf: int, num_trees: int
    ) -> Forest:
        categories, outcomes = self.recorded.categories(part)
        return Forest.grown(
            self.table(part, columns, rows),
            outcomes[rows],
            len(categories),
            num_trees=num_trees,
            min_leaf=min_leaf,
            column_share=self.config.column_share,
            seed=self.seed,
        )

    def sharpness(self, part: int, columns: TableColumns, min_leaf: int) -> int:
        """The power of the shares that predicts best what is held out, as numbers.

        Trees that were grown from few events differ where the outcome does not, and a policy that
        learns to aim needs to know about where a ball goes more than how often exactly there.
        Where outcomes are noise, 1 is best.
        """
        train_rows, test_rows = self.runs(part)[1]
        forest = self._grown(part, columns, train_rows, min_leaf, self.config.num_trees)
        categories, _ = self.recorded.categories(part)
        before = self.recorded.values[test_rows, part]
        after = self.recorded.next_values[test_rows, part]
        votes = forest.votes(self.table(part, columns, test_rows)).astype(np.float64)
        numbers = decoded_values(categories, before[:, None])
        losses = [_ranked_score(votes**power, numbers, after) for power in SHARPNESSES]
        return SHARPNESSES[int(np.argmin(losses))]

    def order(self) -> list[int]:
        """The parts, first those that gain least from seeing what the others do in a step."""
        everything = list(range(self.view.num_parts))
        num_actions = self.recorded.num_actions
        gains = []
        for part in everything:
            others = [other for other in everything if other != part]
            alone = self.loss(part, all_columns(self.view, num_actions, []))
            told = self.loss(part, all_columns(self.view, num_actions, others))
            gains.append(alone - told)
        return [int(part) for part in np.argsort(gains, kind="stable")]

    def selections(self) -> tuple[PartSelection, ...]:
        """Of all parts, in the order in which they are decided."""
        decided: list[int] = []
        selections = []
        for part in self.order():
            selections.append(self.selected(part, decided))
            decided.append(part)
        return tuple(selections)

    def selected(self, part: int, decided: Sequence[int]) -> PartSelection:
        """The columns that a part needs, its smallest leaf and its sharpness."""
        kept = all_columns(self.view, self.recorded.num_actions, decided)
        if self.config.max_loss_ratio > 0:
            kept = self.without_groups(part, kept)
        if self.config.searches_columns:
            kept = self.fewest(part, kept)
        losses = [
            self.trial(part, kept, self.runs(part)[1], min_leaf)[0]
            for min_leaf in self.config.min_leaves
        ]
        number = int(np.argmin(losses))
        min_leaf = self.config.min_leaves[number]
        sharpness = self.sharpness(part, kept, min_leaf)
        return PartSelection(part, kept, min_leaf, sharpness, losses[number])

    def without_groups(self, part: int, columns: TableColumns) -> TableColumns:
        """The columns but those of whole groups that the part does not need."""
        best = self.loss(part, columns)
        dropped: frozenset[int] = frozenset()
        for group in range(self.view.num_parts + 2):
            if group == part:
                continue
            loss = self.loss(part, columns.without(dropped | {group}))
            if loss <= best * self.config.max_loss_ratio:
                dropped = dropped | {group}
                best = min(best, loss)
        return columns.without(dropped)

    def fewest(self, part: int, columns: TableColumns) -> TableColumns:
        """The columns that matter: those of little gain are left out, as long as that helps."""
        trials = []
        while True:
            loss, gains = self.trial(part, columns, self.runs(part)[1])
            trials.append((loss, columns))
            num_kept = int(len(columns.groups) * _KEPT_SHARE)
            if num_kept < _MIN_COLUMNS:
                break
            best_first = np.argsort(-gains, kind="stable")
            columns = columns.only(np.sort(best_first[:num_kept]))
        best = min(loss for loss, _ in trials)
        # The fewest of those that are as good.
        selected = [tried for loss, tried in trials if loss <= best * 1.01][-1]
        if len(selected.groups) > _MAX_SWEPT:
            return selected
        return self.swept(part, self.swept(part, selected))

    def swept(self, part: int, columns: TableColumns) -> TableColumns:
        """Leave out one column after the other, those of little gain first, where that helps.

        Gains alone do not tell two columns that say the same.
        """
        best, gains = self.trial(part, columns, self.runs(part)[0])
        kept = np.ones(len(gains), np.bool_)
        for column in np.argsort(gains, kind="stable"):
            if kept.sum() == 1:
                break
            kept[column] = False
            loss, _ = self.trial(part, columns.only(np.flatnonzero(kept)), self.runs(part)[0])
            if loss <= best * 1.005:
                best = min(best, loss)
            else:
                kept[column] = True
        return columns.only(np.flatnonzero(kept))
