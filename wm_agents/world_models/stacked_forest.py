"""A world model of stacked frames to which nothing is specified: forests, one part after the other.

The structure of the observation is found (`stacked.StackedView`). Each part is classified by a
forest of trees: the change of its value, or the new value itself where this says more. The order in
which parts are decided, what each of them reads and how small its leaves are are selected by the
Brier score on held-out steps, so that a part does not read what it does not depend on. Later parts see
what was decided for earlier ones. Whatever is selected is decoded exactly.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import CheckpointError, ConfigError, SpaceError, TrajectoryError
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.checkpoints import Checkpoint
from wm_agents.training.fitted import Fitted
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import config_from_json, spaces_from
from wm_agents.training.trainer import Checkpoints, FitReport
from wm_agents.world_models.encoding import check_fit_spaces, check_observations, spaces_of
from wm_agents.world_models.forest import Forest
from wm_agents.world_models.stacked import (
    BLOCK,
    DELTA,
    GROUP,
    NO_ACTION,
    NUM_ACTIONS_KEPT,
    ONSET_MEAN,
    SINCE_HIGH,
    SINCE_LOW,
    SUM_LENGTHS,
    VALUE,
    Counter,
    StackedView,
    threshold_between_groups,
)
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.compiled import compiled
from wm_envs.data.spaces import space_to_json
from wm_envs.data.trajectories import Trajectories

Array = NDArray[Any]
Rows = tuple[Array, Array]  # to learn from and to test on

_ABSOLUTE = 1 << 20  # added to values that are predicted as they are, not as differences
_NUM_RANKED = 9  # actions that are ranked: the present one and those before
_NUM_TOLD = 2  # actions that are one-hot as well
_TERMS = 4  # numbers that a column of a table adds up, at most
_COUNTER_SIZES = range(6, 66, 4)  # one and a half effects, two and a half and so on
_LEAF_SEARCH = 2  # times as many steps to select leaves
_COUNTER_STEPS = 40_000  # on which a counter is selected, at most
_RUN = 200  # steps that are held out together
_MIN_STEPS = 30
_OPEN_LEAF = 10  # of the forest that says where a part's own past leaves open what comes next
_OPEN = 0.02  # from this chance on that two of its outcomes differ
_POWERS = (1.0, 2.0, 4.0)  # of voted shares that are tried
_EASY_SHARE = 0.25  # of the rows of a trial, those that are not open
_KEPT_SHARE = 0.7  # of the columns, from trial to trial
_MIN_COLUMNS = 3
_MAX_SWEPT = 40  # columns that are tried one by one
_LIMIT = 1000  # of a table's numbers


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
    """

    num_trees: int = 6
    column_share: float = 0.6
    min_leaves: tuple[int, ...] = (1, 5)
    search_steps: int = 20_000
    search_trees: int = 2
    searches_columns: bool = True

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
        if not 0 < self.column_share <= 1:
            raise ConfigError(f"column_share is in (0, 1], got {self.column_share}")
        if not self.min_leaves or min(self.min_leaves) < 1:
            raise ConfigError(f"min_leaves has sizes of at least 1, got {self.min_leaves}")


@dataclass(frozen=True)
class _Columns:
    """The columns of a part's table, each a sum of at most `_TERMS` numbers.

    Attributes:
        places: Where the numbers are [F, _TERMS], -1 for none.
        signs: Of the numbers [F, _TERMS].
        shifts: Added [F].
        groups: The groups that each column touches: parts, then actions, then time.
    """

    places: Array
    signs: Array
    shifts: Array
    groups: tuple[frozenset[int], ...]

    def without(self, dropped: frozenset[int]) -> "_Columns":
        """The columns that touch none of these groups."""
        kept = [place for place, group in enumerate(self.groups) if not group & dropped]
        return self.only(np.array(kept, np.int64))

    def only(self, kept: Array) -> "_Columns":
        """The columns at these places."""
        return _Columns(
            self.places[kept],
            self.signs[kept],
            self.shifts[kept],
            tuple(self.groups[place] for place in kept),
        )


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
    columns: _Columns
    min_leaf: int
    sharpness: float
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
        columns = _Columns(
            np.array(description["places"], np.int32),
            np.array(description["signs"], np.int32),
            np.array(description["shifts"], np.int64),
            tuple(frozenset(group) for group in description["groups"]),
        )
        return cls(
            int(description["part"]),
            columns,
            int(description["min_leaf"]),
            float(description["sharpness"]),
            float(description["loss"]),
        )


@dataclass(frozen=True)
class _PartModel:
    """How one part is predicted.

    Attributes:
        part: Which.
        columns: What it reads.
        ranks: Of the actions [A], by what they do to the part.
        categories: Differences, or values with `_ABSOLUTE` added.
        forest: Classifies.
        sharpness: The power of the voted shares from which outcomes are drawn.
    """

    part: int
    columns: _Columns
    ranks: Array
    categories: Array
    forest: Forest
    sharpness: float = 1.0


class StackedForestModel(Unrolled, Fitted, Savable):
    """Forests on the found structure of a stack of frames.

    Without a generator each value is the likeliest one; with one it is drawn from what was
    recorded. `hidden` is (state [B, M], action [B]): what is remembered before the newest
    observation, and the action that led to it, -1 at the beginning.

    Args:
        observation_space: One-dimensional Box.
        action_space: Discrete.
        config: None takes `ForestConfig()`.
        view: None finds it in the recording of each fit.
        seed: Of the trees.
    """

    needs_fit: ClassVar[tuple[str, ...]] = ("start", "starts", "step")
    kind = "stacked forest world model"
    is_cpu_only = True

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: ForestConfig | None = None,
        *,
        view: StackedView | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(action_space, spaces.Discrete):
            raise SpaceError(f"stacked forests serve Discrete actions, got {action_space}")
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise SpaceError(
                f"stacked forests serve one-dimensional Boxes, got {observation_space}"
            )
        self.observation_space = observation_space
        self.action_space = action_space
        self.first_action = int(action_space.start)
        self.num_actions = int(action_space.n)
        self.config = config or ForestConfig()
        self.given_view = view
        self.seed = seed
        self.selections: tuple[PartSelection, ...] = ()
        self.parts: list[_PartModel] = []
        self.reward_weights = np.zeros(0)
        self.endings: list[tuple[int, ...]] = []

    @classmethod
    def for_env(
        cls,
        env: Any,
        config: ForestConfig | None = None,
        *,
        view: StackedView | None = None,
        seed: int = 0,
        **env_kwargs: Any,
    ) -> Self:
        """A model for the spaces of an id or environment; `env_kwargs` are an id's options.

        Raises ConfigError for options beside an environment that is already made.
        """
        return cls(*spaces_of(env, **env_kwargs), config, view=view, seed=seed)

    # --- imagination

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Observations [B, O], alone or with what preceded them.

        Raises SpaceError for another layout.
        """
        rows = check_observations(observations, self.view.observation_size, torch.device("cpu"))
        self.view.check(rows.numpy())
        if not hidden:
            states = torch.from_numpy(self.view.initialize(rows.numpy()))
            hidden = (states, torch.full((len(rows),), NO_ACTION))
        return ModelState(rows, hidden)

    def starts(self, trajectories: Trajectories) -> ModelState:
        """The state before every recorded step [S], with all that preceded it in its episode."""
        self.view.check(trajectories.observations)
        states, _ = self.view.replay(
            trajectories.observations,
            trajectories.actions - self.first_action,
            trajectories.lengths,
        )
        observations = trajectories.observations[trajectories.observation_of_step]
        no_actions = torch.full((len(observations),), NO_ACTION)
        return ModelState(torch.from_numpy(observations), (torch.from_numpy(states), no_actions))

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B]; raises SpaceError for one outside the action space."""
        rows = actions.numpy().astype(np.int64) - self.first_action
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.num_actions:
            raise SpaceError(
                f"expected actions of {self.action_space}, got {actions.min()} to {actions.max()}"
            )
        values = self.view.values(state.observations.numpy())
        states = self.view.update(state.hidden[0].numpy(), state.hidden[1].numpy(), values)
        next_values = self.decide(states, rows, values, generator)
        next_states = self.view.update(states, rows, next_values)
        observations = torch.from_numpy(self.view.observations(next_states))
        rewards, terminations = self.outcomes(values, next_values)
        hidden = (torch.from_numpy(states), torch.from_numpy(rows))
        return ModelState(observations, hidden), Prediction(observations, rewards, terminations)

    def decide(
        self, states: Array, actions: Array, values: Array, generator: torch.Generator | None
    ) -> NDArray[np.int32]:
        """The next values [B, D], part by part."""
        next_values: NDArray[np.int32] = values.astype(np.int32)
        for model in self.parts:
            table = _table(self.view, model.columns, model.ranks, states, actions, next_values)
            if generator is None:
                categories = model.forest.votes(table).argmax(1)
            else:
                uniforms = torch.rand((len(table), 2), generator=generator, dtype=torch.float64)
                categories = _drawn(model, table, uniforms.numpy())
            decoded = _decoded(model.categories[categories], values[:, model.part])
            highest = self.view.num_values[model.part] - 1
            next_values[:, model.part] = np.clip(decoded, 0, highest)
        return next_values

    def outcomes(self, values: Array, next_values: Array) -> tuple[Tensor, Tensor]:
        """Rewards [B] and terminations [B] of a change of values."""
        changes = (next_values - values).astype(np.float64)
        rewards = (changes @ self.reward_weights).astype(np.float32)
        terminations = np.zeros(len(next_values), np.float32)
        for part, endings in enumerate(self.endings):
            terminations[np.isin(next_values[:, part], endings)] = 1.0
        return torch.from_numpy(rewards), torch.from_numpy(terminations)

    # --- learning

    def fit(
        self,
        trajectories: Trajectories,
        config: ForestConfig | None = None,
        *,
        selections: Sequence[PartSelection] = (),
        checkpoints: Checkpoints = None,  # noqa: ARG002 - forests are grown again in minutes
        progress: bool | None = False,  # noqa: ARG002
    ) -> FitReport:
        """Find the structure and grow the forests, afresh each time.

        Args:
            trajectories: What to learn from.
            config: Takes the place of the model's own; None keeps it.
            selections: Of an earlier fit with the same view, which are not searched again.
            checkpoints: Not used.
            progress: Not used.

        Returns:
            A report of no updates. Its metrics are, for each part, its place in the order, how many
            columns it reads, the smallest leaf, the sharpness and the held-out Brier score.

        Raises:
            SpaceError: The trajectories do not fit the spaces or the given view.
            TrajectoryError: A column lies on no lattice, or nothing changes.
        """
        check_fit_spaces(trajectories, self.observation_space, self.action_space)
        began = time.perf_counter()
        self.config = config or self.config
        self.is_fitted = False
        actions = trajectories.actions.astype(np.int64) - self.first_action
        if self.given_view is None:
            self.view = find_view(
                trajectories, self.observation_space, actions, self.num_actions, self.seed
            )
        else:
            self.view = self.given_view
            self.view.check(trajectories.observations)
        states, next_values = self.view.replay(
            trajectories.observations, actions, trajectories.lengths
        )
        recorded = _Recorded(states, actions, next_values, self.num_actions)
        self._fit_outcomes(recorded, trajectories)
        if not selections:
            selections = _Search(self.view, recorded, self.config, self.seed).selections()
        self.selections = tuple(selections)
        self.parts = []
        metrics = {}
        for place, selected in enumerate(self.selections):
            part = selected.part
            columns = selected.columns
            ranks = recorded.ranks(part)
            table = _table(self.view, columns, ranks, states, actions, next_values)
            categories, outcomes = recorded.categories(part)
            forest = Forest.grown(
                table,
                outcomes,
                len(categories),
                num_trees=self.config.num_trees,
                min_leaf=selected.min_leaf,
                column_share=self.config.column_share,
                seed=self.seed * 100 + part,
            )
            self.parts.append(
                _PartModel(part, columns, ranks, categories, forest, selected.sharpness)
            )
            name = self.view.parts[part]
            metrics[f"{name}_place"] = float(place)
            metrics[f"{name}_columns"] = float(len(columns.groups))
            metrics[f"{name}_min_leaf"] = float(selected.min_leaf)
            metrics[f"{name}_sharpness"] = selected.sharpness
            metrics[f"{name}_held_out_loss"] = selected.loss
        self.is_fitted = True
        losses = [value for name, value in metrics.items() if name.endswith("_loss")]
        return FitReport(
            num_updates=0,
            best_update=0,
            best_loss=float(np.sum(losses)),
            is_held_out=True,
            history=[],
            seconds=time.perf_counter() - began,
            metrics=metrics,
        )

    def _fit_outcomes(self, recorded: "_Recorded", trajectories: Trajectories) -> None:
        """Rewards as a linear function of changes; endings as values that always end an episode."""
        before = recorded.values
        changes = (recorded.next_values - before).astype(np.float64)
        weights = np.linalg.lstsq(changes, trajectories.rewards, rcond=None)[0]
        # Least squares leaves rounding errors, which a reward that is exact should not have.
        weights[np.abs(weights) < 1e-6 * np.abs(weights).max(initial=0.0)] = 0.0
        is_whole = np.isclose(weights, weights.round(), 1e-5, 0.0)
        self.reward_weights = np.where(is_whole, weights.round(), weights)
        self.endings = []
        for part in range(self.view.num_parts):
            # What decides the reward may decide the end; other values would be chance.
            if self.reward_weights[part] == 0:
                self.endings.append(())
                continue
            at_ends = recorded.next_values[trajectories.terminations, part]
            elsewhere = recorded.next_values[~trajectories.terminations, part]
            self.endings.append(tuple(int(v) for v in np.setdiff1d(at_ends, elsewhere)))

    # --- files

    def _stored(self) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        description: dict[str, Any] = {
            "config": asdict(self.config),
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
            "seed": self.seed,
            "is_fitted": self.is_fitted,
        }
        tensors: dict[str, Tensor] = {}
        if self.is_fitted:
            description |= {
                "view": self.view.to_json(),
                "reward_weights": self.reward_weights.tolist(),
                "endings": [list(values) for values in self.endings],
                "parts": [
                    {
                        "part": model.part,
                        "sharpness": model.sharpness,
                        "groups": [sorted(g) for g in model.columns.groups],
                    }
                    for model in self.parts
                ],
            }
            for number, model in enumerate(self.parts):
                for name, array in _arrays(model).items():
                    tensors[f"{number}.{name}"] = torch.from_numpy(np.ascontiguousarray(array))
        return tensors, description

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        data = stored.metadata
        config = config_from_json(ForestConfig, data["config"])
        model = cls(*spaces_from(data), config, seed=int(data["seed"]))
        if data["is_fitted"]:
            model.view = StackedView.from_json(data["view"])
            model.reward_weights = np.array(data["reward_weights"], np.float64)
            model.endings = [tuple(int(v) for v in values) for values in data["endings"]]
            for number, description in enumerate(data["parts"]):
                arrays = {name: stored.tensors[f"{number}.{name}"].numpy() for name in _ARRAY_NAMES}
                model.parts.append(_part_from(arrays, description, model))
            model.is_fitted = True
        return model

    def _check_env(self, env: Any) -> None:
        """Raise SpaceError unless an environment has actions and observations like the model's."""
        observation_space, action_space = spaces_of(env)
        is_same_shape = observation_space.shape == self.observation_space.shape
        if not is_same_shape or action_space != self.action_space:
            raise SpaceError(
                f"the model is of {self.observation_space} and {self.action_space}, the "
                f"environment has {observation_space} and {action_space}: load it for another one"
            )


_FOREST_NAMES = ("columns", "thresholds", "children", "sizes", "outcomes", "roots", "gains")
_ARRAY_NAMES = (
    "places", "signs", "shifts", "ranks", "categories",
    *(f"forest_{name}" for name in _FOREST_NAMES),
)  # fmt: skip


def _arrays(model: _PartModel) -> dict[str, Array]:
    """What a file holds of a part."""
    arrays = {
        "places": model.columns.places,
        "signs": model.columns.signs,
        "shifts": model.columns.shifts,
        "ranks": model.ranks,
        "categories": model.categories,
    }
    return arrays | {f"forest_{name}": getattr(model.forest, name) for name in _FOREST_NAMES}


def _part_from(
    arrays: Mapping[str, Array], description: Mapping[str, Any], model: StackedForestModel
) -> _PartModel:
    """A part from a file; compiled code follows its numbers, so that all of them are checked."""
    view = model.view
    columns = _Columns(
        arrays["places"],
        arrays["signs"],
        arrays["shifts"],
        tuple(frozenset(group) for group in description["groups"]),
    )
    forest = Forest(
        **{name: arrays[f"forest_{name}"] for name in _FOREST_NAMES},
        num_categories=len(arrays["categories"]),
    )
    num_numbers = _num_numbers(view, model.num_actions)
    num_columns = len(columns.groups)
    is_sound = (
        0 <= int(description["part"]) < view.num_parts
        and columns.places.shape == columns.signs.shape == (num_columns, _TERMS)
        and columns.shifts.shape == (num_columns,)
        and (columns.places >= -1).all()
        and (columns.places < num_numbers).all()
        and arrays["ranks"].shape == (model.num_actions,)
        and arrays["ranks"].min(initial=0) >= 0
        and arrays["ranks"].max(initial=0) < model.num_actions
        and float(description.get("sharpness", 1.0)) > 0
        and forest.is_sound(num_columns)
    )
    if not is_sound:
        raise CheckpointError("the trees of a part do not fit together")
    return _PartModel(
        int(description["part"]),
        columns,
        arrays["ranks"],
        arrays["categories"],
        forest,
        # Files of before this was selected drew from the shares themselves.
        float(description.get("sharpness", 1.0)),
    )


# Tables


class _Recorded:
    """Recorded steps as states, actions and what came of them."""

    def __init__(self, states: Array, actions: Array, next_values: Array, num_actions: int) -> None:
        self.states = states
        self.actions = actions
        self.next_values = next_values
        self.num_actions = num_actions

    @property
    def values(self) -> Array:
        """The parts [S, D] before each step."""
        return self.states[:, VALUE : BLOCK * self.next_values.shape[1] : BLOCK]

    def mean_changes(self, part: int) -> tuple[Array, float]:
        """What each action [A] changes of a part on average, and how much of the change it is."""
        changes = (self.next_values[:, part] - self.values[:, part]).astype(np.float64)
        means = np.full(self.num_actions, changes.mean())
        for action in range(self.num_actions):
            is_taken = self.actions == action
            if is_taken.any():
                means[action] = changes[is_taken].mean()
        explained = ((means[self.actions] - changes.mean()) ** 2).mean()
        return means - np.median(means), float(explained / max(changes.var(), 1e-12))

    def ranks(self, part: int) -> NDArray[np.int32]:
        """Of the actions [A], by what they change of a part."""
        means, _ = self.mean_changes(part)
        ranks: NDArray[np.int32] = means.argsort(kind="stable").argsort().astype(np.int32)
        return ranks

    def categories(self, part: int) -> tuple[Array, Array]:
        """The categories of a part, and which of them each step [S] was.

        A change is told by the new value where this value was reached by a change more often than
        values changed by as much.
        """
        after = self.next_values[:, part].astype(np.int64)
        changes = after - self.values[:, part]
        _, change_of, change_counts = np.unique(changes, return_inverse=True, return_counts=True)
        is_moved = changes != 0
        value_counts = np.zeros(int(after.max()) + 1, np.int64)
        np.add.at(value_counts, after[is_moved], 1)
        is_absolute = is_moved & (value_counts[after] > change_counts[change_of])
        codes = np.where(is_absolute, after + _ABSOLUTE, changes)
        categories, outcomes = np.unique(codes, return_inverse=True)
        return categories, outcomes


def _drawn(model: _PartModel, table: Array, uniforms: Array) -> NDArray[np.int64]:
    """A category [B] for each row, from uniform numbers [B, 2]."""
    if model.sharpness == 1.0:
        return model.forest.draw(table, uniforms)
    totals = (model.forest.votes(table).astype(np.float64) ** model.sharpness).cumsum(1)
    drawn: NDArray[np.int64] = (totals < uniforms[:, :1] * totals[:, -1:]).sum(1)
    return np.minimum(drawn, totals.shape[1] - 1)


def _decoded(categories: Array, before: Array) -> Array:
    """The values of categories."""
    is_absolute = categories > _ABSOLUTE // 2
    return np.where(is_absolute, categories - _ABSOLUTE, before + categories)


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
    recorded = _Recorded(states, actions, next_values, num_actions)
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


def _counter_loss(
    plain: StackedView,
    counter: Counter,
    recorded: _Recorded,
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
    train_rows, test_rows = _held_out_runs(np.ones(len(effect), np.bool_), _COUNTER_STEPS)

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


def _held_out_runs(is_open: NDArray[np.bool_], num_kept: int) -> Rows:
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


def _brier_score(forest: Forest, table: Array, outcomes: Array, sharpness: float = 1.0) -> float:
    """Mean squared distance of the voted shares from what happened, between 0 and 2.

    Proper as the log-loss is, but a tree that is sure and wrong costs no more than 2. Sharper shares
    are those of a power of the votes.
    """
    shares = forest.votes(table).astype(np.float64) ** sharpness
    shares /= shares.sum(1, keepdims=True)
    hit = shares[np.arange(len(table)), outcomes]
    return float(((shares**2).sum(1) - 2 * hit + 1).mean())


def _num_numbers(view: StackedView, num_actions: int) -> int:
    """How many numbers `_assemble` writes."""
    num_sums = len(view.counters) * (len(SUM_LENGTHS) + 1)
    return view.state_size + view.num_parts + _NUM_RANKED + _NUM_TOLD * num_actions + num_sums


def _all_columns(view: StackedView, num_actions: int, decided: Sequence[int]) -> _Columns:
    """Everything that a part may read after others were decided."""
    places: list[list[int]] = []
    signs: list[list[int]] = []
    shifts: list[int] = []
    groups: list[frozenset[int]] = []

    def add(terms: Sequence[tuple[int, int]], touched: Sequence[int], shift: int = 0) -> None:
        empty = _TERMS - len(terms)
        places.append([place for place, _ in terms] + [-1] * empty)
        signs.append([sign for _, sign in terms] + [0] * empty)
        shifts.append(shift)
        groups.append(frozenset(touched))

    num_parts = view.num_parts
    by_action = num_parts
    by_time = num_parts + 1
    first_next = view.state_size
    for part in range(num_parts):
        block = part * BLOCK
        for place in range(BLOCK):
            add([(block + place, 1)], [part])
        add([(block + SINCE_LOW, 1), (block + SINCE_HIGH, -1)], [part])
    for one, other in view.pairs:
        _add_pair(view, one, other, decided, add)
    for part in decided:
        add([(first_next + part, 1)], [part])
        add([(first_next + part, 1), (part * BLOCK + VALUE, -1)], [part])
    num_numbers = _num_numbers(view, num_actions)
    for place in range(view.time_column + 1, view.state_size):
        add([(place, 1)], [by_action])
    for place in range(first_next + num_parts, num_numbers):
        add([(place, 1)], [by_action])
    add([(view.time_column, 1)], [by_time])
    return _Columns(
        np.array(places, np.int32), np.array(signs, np.int32), np.array(shifts, np.int32),
        tuple(groups),
    )  # fmt: skip


def _add_pair(view: StackedView, one: int, other: int, decided: Sequence[int], add: Any) -> None:
    """How far two parts are apart: now, if both go on, and with what is decided of them."""
    shift = round((view.origins[one] - view.origins[other]) / view.quanta[one])
    touched = (one, other)
    value = (one * BLOCK + VALUE, 1)
    delta = (one * BLOCK + DELTA, 1)
    other_value = (other * BLOCK + VALUE, -1)
    other_delta = (other * BLOCK + DELTA, -1)
    add([value, other_value], touched, shift)
    add([value, delta, other_value, other_delta], touched, shift)
    add([value, delta, other_value], touched, shift)
    add([value, other_value, other_delta], touched, shift)
    after = (view.state_size + one, 1)
    other_after = (view.state_size + other, -1)
    if one in decided:
        add([after, other_value], touched, shift)
        add([after, other_value, other_delta], touched, shift)
    if other in decided:
        add([value, other_after], touched, shift)
        add([value, delta, other_after], touched, shift)
    if one in decided and other in decided:
        add([after, other_after], touched, shift)


def _table(
    view: StackedView,
    columns: _Columns,
    ranks: Array,
    states: Array,
    actions: Array,
    next_values: Array,
) -> NDArray[np.int16]:
    """What a part reads [B, F]."""
    effects = view.effects
    num_actions = len(ranks)
    out = np.zeros((len(states), len(columns.shifts)), np.int16)
    _write_table(
        np.ascontiguousarray(states),
        actions,
        np.ascontiguousarray(next_values, np.int32),
        view.time_column - NUM_ACTIONS_KEPT,
        ranks,
        effects,
        _num_numbers(view, num_actions),
        columns.places,
        columns.signs,
        columns.shifts,
        out,
    )
    return out


@compiled
def _write_table(
    states: Array,
    actions: Array,
    next_values: Array,
    first_action: int,
    ranks: Array,
    effects: Array,
    num_numbers: int,
    places: Array,
    signs: Array,
    shifts: Array,
    out: Array,
) -> None:
    """Sums of the numbers of each row: its state, decided values, and actions in several forms."""
    num_actions = len(ranks)
    state_size = states.shape[1]
    num_parts = next_values.shape[1]
    numbers = np.zeros(num_numbers, np.int32)
    recent = np.zeros(NUM_ACTIONS_KEPT + 1, np.int64)
    for row in range(len(states)):
        for place in range(state_size):
            numbers[place] = states[row, place]
        place = state_size
        for part in range(num_parts):
            numbers[place] = next_values[row, part]
            place += 1
        recent[0] = actions[row]
        for age in range(NUM_ACTIONS_KEPT):
            recent[age + 1] = states[row, first_action + age]
        for age in range(_NUM_RANKED):
            numbers[place] = ranks[recent[age]] if recent[age] >= 0 else -1
            place += 1
        for age in range(_NUM_TOLD):
            for action in range(num_actions):
                numbers[place] = 1 if recent[age] == action else 0
                place += 1
        for number in range(len(effects)):
            total = 0
            length = 0
            for age in range(NUM_ACTIONS_KEPT + 1):
                if age == SUM_LENGTHS[length]:
                    numbers[place] = total
                    place += 1
                    length += 1
                    if length == len(SUM_LENGTHS):
                        break
                if recent[age] >= 0:
                    total += effects[number, recent[age]]
            held = 0
            now = effects[number, recent[0]]
            while held <= NUM_ACTIONS_KEPT and recent[held] >= 0:
                if effects[number, recent[held]] != now:
                    break
                held += 1
            numbers[place] = held
            place += 1
        for column in range(len(shifts)):
            total = shifts[column]
            for term in range(_TERMS):
                if places[column, term] >= 0:
                    total += signs[column, term] * numbers[places[column, term]]
            out[row, column] = min(max(total, -_LIMIT), _LIMIT)


class _Search:
    """Selects the order of parts, their columns and smallest leaves, on held-out steps."""

    def __init__(
        self, view: StackedView, recorded: _Recorded, config: ForestConfig, seed: int
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
            few, many = (_held_out_runs(is_open, number) for number in self._num_rows)
            self._runs[part] = few, many
        return self._runs[part]

    def _is_open(self, part: int) -> NDArray[np.bool_]:
        """Where [S] a part's own past and the actions do not decide what comes next."""
        recorded = self.recorded
        others = frozenset(range(self.view.num_parts)) - {part}
        columns = _all_columns(self.view, recorded.num_actions, []).without(others)
        table = self.table(part, columns, np.arange(len(recorded.actions)))
        categories, outcomes = recorded.categories(part)
        forest = Forest.grown(
            table,
            outcomes,
            len(categories),
            num_trees=1,
            min_leaf=_OPEN_LEAF,
            column_share=self.config.column_share,
            seed=self.seed,
        )
        shares = forest.votes(table)
        is_open: NDArray[np.bool_] = (shares**2).sum(1) < 1 - _OPEN
        return is_open

    def table(self, part: int, columns: _Columns, rows: Array) -> NDArray[np.int16]:
        """What a part reads at some of the recorded steps."""
        recorded = self.recorded
        return _table(
            self.view, columns, recorded.ranks(part), recorded.states[rows],
            recorded.actions[rows], recorded.next_values[rows],
        )  # fmt: skip

    def loss(self, part: int, columns: _Columns) -> float:
        """Held-out Brier score of a small forest."""
        return self.trial(part, columns, self.runs(part)[0])[0]

    def trial(
        self, part: int, columns: _Columns, runs: Rows, min_leaf: int = 1
    ) -> tuple[float, Array]:
        """Held-out Brier score of a small forest, and the gains of the columns."""
        train_rows, test_rows = runs
        _, outcomes = self.recorded.categories(part)
        forest = self._grown(part, columns, train_rows, min_leaf, self.config.search_trees)
        test_table = self.table(part, columns, test_rows)
        return _brier_score(forest, test_table, outcomes[test_rows]), forest.gains

    def _grown(
        self, part: int, columns: _Columns, rows: Array, min_leaf: int, num_trees: int
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

    def sharpness(self, part: int, columns: _Columns, min_leaf: int) -> float:
        """The power of the shares that predicts best what is held out.

        Trees that were grown from few events are less sure than they could be: their votes differ
        where the outcome does not. Where outcomes are noise, 1 is best.
        """
        train_rows, test_rows = self.runs(part)[1]
        forest = self._grown(part, columns, train_rows, min_leaf, self.config.num_trees)
        table = self.table(part, columns, test_rows)
        _, outcomes = self.recorded.categories(part)
        losses = [_brier_score(forest, table, outcomes[test_rows], power) for power in _POWERS]
        return _POWERS[int(np.argmin(losses))]

    def order(self) -> list[int]:
        """The parts, first those that gain least from seeing what the others do in a step."""
        everything = list(range(self.view.num_parts))
        num_actions = self.recorded.num_actions
        gains = []
        for part in everything:
            others = [other for other in everything if other != part]
            alone = self.loss(part, _all_columns(self.view, num_actions, []))
            told = self.loss(part, _all_columns(self.view, num_actions, others))
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
        columns = _all_columns(self.view, self.recorded.num_actions, decided)
        best = self.loss(part, columns)
        dropped: frozenset[int] = frozenset()
        for group in range(self.view.num_parts + 2):
            if group == part:
                continue
            fewer = columns.without(dropped | {group})
            loss = self.loss(part, fewer)
            # Fewer columns win a draw.
            if loss <= best * 1.005 + 1e-5:
                dropped = dropped | {group}
                best = min(best, loss)
        kept = columns.without(dropped)
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

    def fewest(self, part: int, columns: _Columns) -> _Columns:
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

    def swept(self, part: int, columns: _Columns) -> _Columns:
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
