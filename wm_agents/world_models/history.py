"""Any neural model with a memory of the last observations and actions."""

from dataclasses import replace
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from wm_agents.errors import CheckpointError, ConfigError
from wm_agents.networks import choose_device
from wm_agents.protocols import ModelState, Prediction
from wm_agents.training.checkpoints import Checkpoint
from wm_agents.training.config_checks import require_integers
from wm_agents.training.fitted import check_fitted
from wm_agents.training.saving import HISTORY_KIND, Savable, stored_class
from wm_agents.training.trainer import FitReport
from wm_agents.world_models.adapters import FeatureLayout, detect_layout, revise_layout
from wm_agents.world_models.deterministic import DeterministicModel
from wm_agents.world_models.encoding import (
    ActionEncoder,
    EncodedSpaces,
    as_actions,
    check_observations,
    spaces_of,
)
from wm_agents.world_models.fitting import FitConfig
from wm_agents.world_models.neural import NeuralModel
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.spaces import ObservationCodec, space_from_json, space_to_json
from wm_envs.data.trajectories import Trajectories


class HistoryModel(EncodedSpaces, Unrolled, Savable):
    """Shows a model the last `num_past` observations and actions beside the present observation.

    The inner model works on vectors (present observation, earlier ones, earlier actions) whose
    earlier parts move up exactly. `hidden[0]` holds the earlier parts [B, num_past * (O + action
    inputs)]; () stands for the beginning of an episode, where the first observation is taken to
    have been there before, after actions of zeros.

    Args:
        model_class: Such as DeterministicModel or EnsembleModel.
        observation_space: Of any kind that Gymnasium has numbers for.
        action_space: Of any kind that Gymnasium has numbers for.
        num_past: Earlier observations and actions, at least 1.
        config: The inner model's configuration.
        seed: Draws the initial weights.
    """

    kind = HISTORY_KIND

    def __init__(
        self,
        model_class: type[NeuralModel],
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_past: int,
        config: Any = None,
        *,
        seed: int = 0,
    ) -> None:
        require_integers(None, num_past=num_past)
        if num_past < 1:
            raise ConfigError(
                f"num_past is at least 1, got {num_past}: without a past use the model itself"
            )
        self._set_spaces(observation_space, action_space)
        self.num_past = num_past
        num_acts = ActionEncoder(self.action_space).size
        # Provisional, as in every model, until data are seen.
        layout = self._stacked(FeatureLayout(self.num_features), num_acts)
        self.model = model_class(
            self._stacked_space(num_acts), action_space, config, layout=layout, seed=seed
        )

    @classmethod
    def for_env(
        cls,
        env: Any,
        config: Any = None,
        *,
        seed: int = 0,
        model_class: type[NeuralModel] = DeterministicModel,
        num_past: int = 4,
        **env_kwargs: Any,
    ) -> Self:
        """A model with the spaces of an environment; see `NeuralModel.for_env`.

        Args:
            env: An id, an environment or a vector environment.
            config: The inner model's.
            seed: Draws the initial weights.
            model_class: Of the inner model.
            num_past: Earlier observations and actions.
            **env_kwargs: Options of the environment, with an id.
        """
        observation_space, action_space = spaces_of(env, **env_kwargs)
        return cls(model_class, observation_space, action_space, num_past, config, seed=seed)

    @property
    def encode_actions(self) -> ActionEncoder:
        """The inner model's, since earlier actions are columns of its observations."""
        return self.model.encode_actions

    @property
    def is_fitted(self) -> bool:
        """Whether the inner model was fitted."""
        return self.model.is_fitted

    @is_fitted.setter
    def is_fitted(self, value: bool) -> None:
        self.model.is_fitted = value

    def fit(
        self, trajectories: Trajectories, config: FitConfig | None = None, **options: Any
    ) -> FitReport:
        """Learn from recorded episodes; see `NeuralModel.fit`."""
        self._check_trajectories(trajectories)
        # Stacked like the training episodes, which needs the unit of the actions first.
        validation = options.pop("validation", None)
        is_warm = config is not None and config.is_warm_start and self.model.is_measured
        if not is_warm:  # the unit of actions stays in a warm start
            self.model.encode_actions = ActionEncoder(self.action_space).to(self.model.device)
            self.model.encode_actions.fit(trajectories.actions)
        stacked = self._with_past(trajectories)
        held_out = None if validation is None else self._with_past(validation)
        if is_warm:
            self.model.given_layout = revise_layout(self.model.layout, stacked)
        else:
            self.model.given_layout = self._stacked(
                detect_layout(trajectories), self.encode_actions.size
            )
        return self.model.fit(stacked, config, validation=held_out, **options)

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """Observations [B, O] and the past before them, or () at the beginning of an episode."""
        check_fitted(self)
        rows = check_observations(observations, self.num_features, self.model.device)
        if not hidden:
            actions = rows.new_zeros(len(rows), self.num_past * self.encode_actions.size)
            past = torch.cat([rows.repeat(1, self.num_past), actions], 1)
            # The inner model may carry something of its own, as an ensemble its members.
            hidden = (past, *self.model.start(torch.cat([rows, past], 1)).hidden)
        return ModelState(rows, hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B] or [B, A]."""
        stacked = torch.cat([state.observations, state.hidden[0]], 1)
        inner, prediction = self.model.step(
            ModelState(stacked, state.hidden[1:]), actions, generator
        )
        observations, past = (
            inner.observations[:, : self.num_features],
            inner.observations[:, self.num_features :],
        )
        return ModelState(observations, (past, *inner.hidden)), replace(
            prediction, observations=observations
        )

    def _stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        surroundings = {
            "observation_space": space_to_json(self.raw_observation_space),
            "num_past": self.num_past,
        }
        description = self.model.description() | {
            "kind": HISTORY_KIND,
            "model_kind": self.model.kind,
            "surroundings": surroundings,
        }
        return self.model.state_dict(), description

    @classmethod
    def _from_stored(cls, stored: Checkpoint, env: Any, device: str, given: Any) -> Self:  # noqa: ARG003
        metadata = stored.metadata
        surroundings = metadata["surroundings"]
        num_past = surroundings["num_past"]
        # Files of the first release call themselves by the inner model.
        model_class = stored_class(metadata.get("model_kind", metadata["kind"]), "the file")
        if not issubclass(model_class, NeuralModel):
            raise CheckpointError(f"{model_class.__name__} is no model with a history")
        inner = model_class.of_checkpoint(stored, None)
        space = space_from_json(surroundings["observation_space"])
        size = ObservationCodec(space).size
        num_stacked = (num_past + 1) * size + num_past * inner.encode_actions.size
        if num_stacked != inner.num_features:
            raise CheckpointError(
                f"{num_past} past steps make {num_stacked} features, not {inner.num_features}"
            )
        model = cls(model_class, space, inner.raw_action_space, num_past, inner.config)
        model.model = inner.to(choose_device(device))
        return model

    def _stacked_space(self, num_acts: int) -> spaces.Box:
        """The bounds of present and past observations, and none for encoded actions."""
        box = self.observation_space
        bounds = (np.zeros(self.num_features), np.ones(1))
        if isinstance(box, spaces.Box):
            bounds = (box.low, box.high)
        actions = np.full(self.num_past * num_acts, np.inf)
        low, high = (
            np.tile(np.broadcast_to(bound, self.num_features), self.num_past + 1)
            for bound in bounds
        )
        return spaces.Box(
            np.append(low, -actions).astype(np.float32), np.append(high, actions).astype(np.float32)
        )

    def _stacked(self, layout: FeatureLayout, num_acts: int) -> FeatureLayout:
        """The layout of the present observation, followed by what moves up.

        Observations, then actions.
        """
        size, num_past = self.num_features, self.num_past
        shifted = [(column + size, column) for column in range(num_past * size)]
        first = size * (num_past + 1)
        newest = [(first + column, column) for column in range(num_acts)]
        older = [
            (first + column + num_acts, first + column)
            for column in range((num_past - 1) * num_acts)
        ]
        return FeatureLayout(
            first + num_past * num_acts,
            circles=layout.circles,
            copies=(*layout.copies, *shifted, *older),
            actions=tuple(newest),
        )

    def _with_past(self, trajectories: Trajectories) -> Trajectories:
        """The same episodes with stacked observations."""
        actions = as_actions(self.action_space, trajectories.actions, torch.device("cpu"))
        acts = self.encode_actions(actions).numpy()
        rows = []
        for number in range(trajectories.num_episodes):
            first, length = trajectories.step_starts[number], trajectories.lengths[number]
            rows.append(
                self._stack(trajectories.episode(number).observations, acts[first : first + length])
            )
        return replace(
            trajectories,
            observations=np.concatenate(rows),
            observation_space=self.model.observation_space,
        )

    def _stack(
        self, observations: np.ndarray[Any, Any], acts: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """One episode [T + 1, O] with its encoded actions [T, a] as vectors of the inner model."""
        steps, past = np.arange(len(observations)), range(1, self.num_past + 1)
        before = [observations[np.maximum(steps - back, 0)] for back in past]
        padded = np.concatenate([np.zeros((self.num_past, acts.shape[1]), np.float32), acts])
        done = [padded[steps + self.num_past - back] for back in past]
        return np.concatenate([observations, *before, *done], 1)
