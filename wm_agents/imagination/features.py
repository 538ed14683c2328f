"""Dreams that are seen through features: a world model with another observation, shaped rewards and short episodes.

An `ObjectModel` remembers what its observation does not show. A policy that is to act on this
memory sees features of it, in the dream (`FeatureModel`) and in the real environment
(`RememberingAgent`) alike.
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
from wm_agents.world_models.objects import ObjectModel, PartView
from wm_agents.world_models.unrolling import Unrolled

Array = NDArray[Any]


class FeatureView(PartView, Protocol):
    """A view that also says what a policy sees of a memory."""

    def features(self, memories: Array) -> NDArray[np.float32]:
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
        discount: The learner's.
        ends_at_rewards: Every reward ends an episode, as the points of a game cut it into rallies.
    """

    def __init__(
        self,
        model: ObjectModel,
        view: FeatureView,
        *,
        potential: Callable[[Array], Array] | None = None,
        discount: float = 0.99,
        ends_at_rewards: bool = True,
    ) -> None:
        self.model, self.view, self.potential = model, view, potential
        self.discount, self.ends_at_rewards = discount, ends_at_rewards
        self.observation_space, self.action_space = feature_space(view), model.action_space

    def seen(self, inner: ModelState) -> ModelState:
        """A state of the inner model as one of this model."""
        memories, actions = inner.hidden[0].numpy(), inner.hidden[1].numpy()
        settled = self.view.advance(
            memories, actions, self.view.present(inner.observations.numpy())
        )
        return ModelState(
            torch.from_numpy(self.view.features(settled)), (inner.observations, *inner.hidden)
        )

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B]."""
        before = state.hidden[0]
        inner, prediction = self.model.step(
            ModelState(before, state.hidden[1:]), actions, generator
        )
        after = self.seen(inner)
        terminations = prediction.terminations
        if self.ends_at_rewards:
            terminations = torch.maximum(terminations, (prediction.rewards != 0).float())
        rewards = prediction.rewards + self._shaping(before, inner.observations, terminations)
        return after, Prediction(after.observations, rewards, terminations)

    def _shaping(self, before: Tensor, after: Tensor, terminations: Tensor) -> Tensor:
        if self.potential is None:
            return torch.zeros(len(before))
        following = torch.as_tensor(self.potential(after.numpy()), dtype=torch.float32)
        return self.discount * following * (1 - terminations) - torch.as_tensor(
            self.potential(before.numpy()), dtype=torch.float32
        )


class RememberingAgent:
    """Plays the real environment with a policy on features; its `state` is the memory of each row.

    Args:
        policy: Anything with SB3's `predict` on features.
        view: What to remember, and how it reads as features.
        first_action: The smallest action of the space.
    """

    def __init__(self, policy: Any, view: FeatureView, first_action: int = 0) -> None:
        self.policy, self.view, self.first_action = policy, view, first_action

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Actions for one observation [O] or a batch [B, O], and the memories and actions to pass on.

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
            memories = self.view.begin(batch)
        else:
            memories = self.view.advance(state[0], state[1], self.view.present(batch))
            if episode_start is not None and episode_start.any():
                memories[episode_start] = self.view.begin(batch[episode_start])
        actions, _ = self.policy.predict(self.view.features(memories), deterministic=deterministic)
        following = memories, np.asarray(actions, np.int64) - self.first_action
        return (actions if rows.ndim > 1 else actions[0]), following


def feature_space(view: FeatureView) -> spaces.Box:
    """The features that a policy sees through a view, a Box [F] without bounds."""
    of_nothing = view.observations(
        np.zeros((1, view.memory_size), np.int32)
    )  # an observation of the view's layout
    num_features = view.features(view.begin(of_nothing)).shape[1]
    return spaces.Box(-np.inf, np.inf, (num_features,), np.float32)
