"""A world model of stacked frames to which nothing is specified: forests, one part after the other.

The structure of the observation is found (`stacked.StackedView`). Each part is classified by a
forest of trees: the change of its value, or the new value itself where this says more. The order in
which parts are decided, what each of them reads and how small its leaves are are selected by the
Brier score on held-out steps, so that a part does not read what it does not depend on. Later parts see
what was decided for earlier ones. Whatever is selected is decoded exactly.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import CheckpointError, SpaceError
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.checkpoints import Checkpoint
from wm_agents.training.fitted import Fitted, check_fitted
from wm_agents.training.saving import Savable
from wm_agents.training.stored_shapes import config_from_json, spaces_from
from wm_agents.training.trainer import Checkpoints, FitReport
from wm_agents.world_models.encoding import check_fit_spaces, check_observations, spaces_of
from wm_agents.world_models.forest import Forest
from wm_agents.world_models.program import ProgramModel
from wm_agents.world_models.stacked import (
    NO_ACTION,
    StackedView,
)
from wm_agents.world_models.stacked_program import forest_program
from wm_agents.world_models.stacked_search import (
    SHARPNESSES,
    ForestConfig,
    PartSearch,
    PartSelection,
    find_view,
)
from wm_agents.world_models.stacked_tables import (
    MAX_TERMS,
    PartModel,
    RecordedParts,
    TableColumns,
    decoded_values,
    num_numbers,
    part_table,
)
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.display import span
from wm_envs.data.spaces import space_to_json
from wm_envs.data.trajectories import Trajectories

Array = NDArray[Any]
Rows = tuple[Array, Array]  # to learn from and to test on


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
        self.parts: list[PartModel] = []
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
                f"expected actions of {self.action_space}, got "
                f"{span(int(actions.min()), int(actions.max()))}"
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
            if generator is None:
                categories = model.likeliest(self.view, states, actions, next_values)
            else:
                table = part_table(
                    self.view, model.columns, model.ranks, states, actions, next_values
                )
                uniforms = torch.rand((len(table), 2), generator=generator, dtype=torch.float64)
                categories = model.forest.draw(table, uniforms.numpy(), model.sharpness)
            decoded = decoded_values(model.categories[categories], values[:, model.part])
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
        recorded = RecordedParts(states, actions, next_values, self.num_actions)
        self._fit_outcomes(recorded, trajectories)
        if not selections:
            selections = PartSearch(self.view, recorded, self.config, self.seed).selections()
        self.selections = tuple(selections)
        self.parts = []
        metrics = {}
        for place, selected in enumerate(self.selections):
            part = selected.part
            columns = selected.columns
            ranks = recorded.ranks(part)
            table = part_table(self.view, columns, ranks, states, actions, next_values)
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
                PartModel(part, columns, ranks, categories, forest, selected.sharpness)
            )
            name = self.view.parts[part]
            metrics[f"{name}_place"] = float(place)
            metrics[f"{name}_columns"] = float(len(columns.groups))
            metrics[f"{name}_min_leaf"] = float(selected.min_leaf)
            metrics[f"{name}_sharpness"] = float(selected.sharpness)
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

    def _fit_outcomes(self, recorded: "RecordedParts", trajectories: Trajectories) -> None:
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

    def to_program(
        self,
        trajectories: Trajectories,
        feature_names: Sequence[str] | None = None,
        *,
        max_rules: int = 8,
    ) -> ProgramModel:
        """What the forests decide most often, as a program that one can read, replay and save.

        Its comments say what each part reads and how often its rules decide as the forest does, on
        runs of steps that are held out. `replay` tells how often that is what happened.

        Args:
            trajectories: To distill the forests on: those of the fit, or others of the same layout.
            feature_names: Names of the O columns of an observation; None numbers them.
            max_rules: Of each part; more are closer to the forest and longer to read.

        Raises:
            NotFittedError: The model was never fitted.
            SpaceError: The trajectories do not fit the spaces or the structure that was found.
            ConfigError: Another number of names than there are columns, or `max_rules` below 1.
            TrajectoryError: There are too few steps to hold any out.
        """
        check_fitted(self)
        check_fit_spaces(trajectories, self.observation_space, self.action_space)
        self.view.check(trajectories.observations)
        actions = trajectories.actions.astype(np.int64) - self.first_action
        states, next_values = self.view.replay(
            trajectories.observations, actions, trajectories.lengths
        )
        text = forest_program(
            self.view,
            self.parts,
            RecordedParts(states, actions, next_values, self.num_actions),
            self.reward_weights,
            self.endings,
            feature_names,
            self.first_action,
            max_rules,
        )
        return ProgramModel(text, self.observation_space, self.action_space)

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


def _arrays(model: PartModel) -> dict[str, Array]:
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
) -> PartModel:
    """A part from a file; compiled code follows its numbers, so that all of them are checked."""
    view = model.view
    columns = TableColumns(
        arrays["places"],
        arrays["signs"],
        arrays["shifts"],
        tuple(frozenset(group) for group in description["groups"]),
    )
    forest = Forest(
        **{name: arrays[f"forest_{name}"] for name in _FOREST_NAMES},
        num_categories=len(arrays["categories"]),
    )
    width = num_numbers(view, model.num_actions)
    num_columns = len(columns.groups)
    is_sound = (
        0 <= int(description["part"]) < view.num_parts
        and columns.places.shape == columns.signs.shape == (num_columns, MAX_TERMS)
        and columns.shifts.shape == (num_columns,)
        and (columns.places >= -1).all()
        and (columns.places < width).all()
        and arrays["ranks"].shape == (model.num_actions,)
        and arrays["ranks"].min(initial=0) >= 0
        and arrays["ranks"].max(initial=0) < model.num_actions
        and float(description.get("sharpness", 1)) in SHARPNESSES
        and forest.is_sound(num_columns)
    )
    if not is_sound:
        raise CheckpointError("the trees of a part do not fit together")
    return PartModel(
        int(description["part"]),
        columns,
        arrays["ranks"],
        arrays["categories"],
        forest,
        # Files of before this was selected drew from the shares themselves.
        int(description.get("sharpness", 1)),
    )
