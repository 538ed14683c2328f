"""Imagination seen through features: another observation, shaped rewards and short episodes.

An `ObjectModel` estimates a state that its observation does not show. A policy that is to act on
this state reads features of it, in imagination (`FeatureModel`) and in the real environment
(`FeatureAgent`) alike.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import SpaceError
from wm_agents.observation_rows import number_array, require_finite_rows
from wm_agents.protocols import ModelState, Prediction
from wm_agents.world_models.objects import ObjectModel, ObjectView
from wm_agents.world_models.stacked import StackedView
from wm_agents.world_models.stacked_forest import StackedForestModel
from wm_agents.world_models.unrolling import Unrolled
from wm_envs.data.moved import renamed

Array = NDArray[Any]

__getattr__ = renamed(__name__, {"RememberingAgent": "wm_agents.imagination.features.FeatureAgent"})


class FeatureView(ObjectView, Protocol):
    """A view that also says what a policy reads of an estimated state."""

    def features(self, states: Array) -> NDArray[np.float32]:
        """Numbers of order one [B, F]."""
        ...


class FeatureModel(Unrolled):
    """An `ObjectModel` whose observations are the features of its view.

    Rewards are shaped by a potential as in Ng et al. 1999 (theorem 1), which leaves the best policy
    what it is: the discounted potential after a step, less the one before it, is added. At an end
    the potential is 0.

    Args:
        model: A fitted model, whose view has `features`.
        view: That view.
        potential: Observations [B, O] to the potential [B]; None adds nothing.
        gamma: The learner's discount.
        ends_at_rewards: Every reward ends an episode, as the points of a game cut it into rallies.
        reward_scale: Factor on the model's rewards, by which a learner has its own unit.
    """

    def __init__(
        self,
        model: ObjectModel | StackedForestModel,
        view: FeatureView | StackedView,
        *,
        potential: Callable[[Array], Array] | None = None,
        gamma: float = 0.99,
        ends_at_rewards: bool = True,
        reward_scale: float = 1.0,
    ) -> None:
        self.model = model
        self.view = view
        self.potential = potential
        self.gamma = gamma
        self.ends_at_rewards = ends_at_rewards
        self.reward_scale = reward_scale
        self.observation_space = feature_space(view)
        self.action_space = model.action_space

    def encode(self, inner: ModelState) -> ModelState:
        """A state of the inner model as one of this model, whose `hidden` it becomes."""
        states = inner.hidden[0].numpy()
        actions = inner.hidden[1].numpy()
        values = self.view.values(inner.observations.numpy())
        # The view's estimate is updated by what is seen, not by the model's state, as in the real
        # game.
        features = self.view.features(self.view.update(states, actions, values))
        return ModelState(torch.from_numpy(features), (inner.observations, *inner.hidden))

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B]."""
        before = state.hidden[0]  # the inner observations
        inner, prediction = self.model.step(
            ModelState(before, state.hidden[1:]), actions, generator
        )
        after = self.encode(inner)
        terminations = prediction.terminations
        if self.ends_at_rewards:
            terminations = torch.maximum(terminations, (prediction.rewards != 0).float())
        shaping = self._shaping(before, inner.observations, terminations)
        rewards = prediction.rewards * self.reward_scale + shaping
        return after, Prediction(after.observations, rewards, terminations)

    def _shaping(self, before: Tensor, after: Tensor, terminations: Tensor) -> Tensor:
        if self.potential is None:
            return torch.zeros(len(before))
        potential = torch.as_tensor(self.potential(before.numpy()), dtype=torch.float32)
        next_potential = torch.as_tensor(self.potential(after.numpy()), dtype=torch.float32)
        # F = gamma Phi(s') - Phi(s), with no potential after an end (Ng, Harada and Russell 1999).
        return self.gamma * next_potential * (1 - terminations) - potential


class FeatureAgent:
    """Plays the real environment with a policy on features; its `state` is what it estimates.

    Args:
        policy: Anything with SB3's `predict` on features.
        view: How to estimate a state, and how it reads as features.
        first_action: The smallest action of the space.
    """

    def __init__(self, policy: Any, view: FeatureView | StackedView, first_action: int = 0) -> None:
        self.policy = policy
        self.view = view
        self.first_action = first_action

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Actions for one observation [O] or a batch [B, O], and the state to pass on.

        The state is (estimated states [B, M], actions [B]).

        Raises:
            SpaceError: What is no observation of the view.
        """
        rows = number_array(observation, "an observation").astype(np.float32)
        if rows.ndim not in (1, 2) or not rows.size:
            raise SpaceError(
                f"expected an observation [O] or a batch [B, O], got shape {rows.shape}"
            )
        batch = np.atleast_2d(rows)
        require_finite_rows(batch)
        if state is None:
            states = self.view.initialize(batch)
        else:
            states = self.view.update(state[0], state[1], self.view.values(batch))
            # Rows that begin an episode know nothing of the one before.
            if episode_start is not None and episode_start.any():
                states[episode_start] = self.view.initialize(batch[episode_start])
        features = self.view.features(states)
        actions, _ = self.policy.predict(features, deterministic=deterministic)
        # The view counts actions from zero, the game from `first_action`.
        next_state = states, np.asarray(actions, np.int64) - self.first_action
        return (actions if rows.ndim > 1 else actions[0]), next_state


def feature_space(view: FeatureView | StackedView) -> spaces.Box:
    """The features that a policy reads through a view, a Box [F] without bounds."""
    if isinstance(view, StackedView):
        return spaces.Box(-np.inf, np.inf, (view.num_features,), np.float32)
    # An observation of the view's layout, which only the view can make.
    observation = view.observations(np.zeros((1, view.state_size), np.int32))
    num_features = view.features(view.initialize(observation)).shape[1]
    return spaces.Box(-np.inf, np.inf, (num_features,), np.float32)
