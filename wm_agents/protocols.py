"""What world models, planners, objectives and agents promise each other.

Shapes are part of the signatures.

Letters everywhere: B batch, T time, H horizon, N candidates, E ensemble members, O observation
size, A action size. A Discrete observation enters as its one-hot, a Discrete action as an int64
index without the A axis.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_envs.data.display import short_repr


@dataclass(frozen=True)
class ModelState:
    """Where imagination stands, for B rows at once.

    Attributes:
        observations: The newest observation [B, O], in the environment's units.
        hidden: Whatever else the model carries from step to step, each tensor [B, ...]: a recurrent
            state, a latent, a history of earlier observations and actions, an oracle's state rows.
    """

    observations: Tensor
    hidden: tuple[Tensor, ...] = ()

    __repr__ = short_repr

    def select(self, index: Tensor) -> "ModelState":
        """The rows of an index or mask [K]."""
        return ModelState(self.observations[index], tuple(tensor[index] for tensor in self.hidden))

    def repeat(self, num_copies: int) -> "ModelState":
        """Each row `num_copies` times in a row.

        [B] becomes [B * num_copies], row b at b * num_copies + n.
        """
        return ModelState(
            self.observations.repeat_interleave(num_copies, 0),
            tuple(tensor.repeat_interleave(num_copies, 0) for tensor in self.hidden),
        )


@dataclass(frozen=True)
class Prediction:
    """One imagined step of B rows.

    Attributes:
        observations: Next observations [B, O], in the environment's units.
        rewards: [B].
        terminations: Probability [B] that this step ended the episode by itself (time limits are
            not terminations).
        disagreement: How much the members of an ensemble differ [B], in standard deviations; None
            without an ensemble.
    """

    observations: Tensor
    rewards: Tensor
    terminations: Tensor
    disagreement: Tensor | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class Rollout:
    """Imagined futures of B rows over H steps.

    Attributes:
        observations: [B, H + 1, O]; index 0 is where imagination began.
        rewards: [B, H].
        terminations: [B, H], the probability that step h ended the episode given that it lasted
            until then.
        disagreement: [B, H] or None.
    """

    observations: Tensor
    rewards: Tensor
    terminations: Tensor
    disagreement: Tensor | None = None

    __repr__ = short_repr

    def map(self, function: Callable[[Tensor], Tensor]) -> "Rollout":
        """Apply a function to every tensor."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self, **{name: function(value) for name, value in values.items() if value is not None}
        )


@runtime_checkable
class WorldModel(Protocol):
    """A model of an environment: what comes next, the reward and whether it ends.

    `generator` draws the randomness of stochastic models; None asks for the model's best guess
    (mean or mode).
    """

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The state from which imagination begins.

        Observations [B, O] and, for models with memory, what preceded.
        """
        ...

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """Imagine one step for actions [B] (Discrete) or [B, A]."""
        ...

    def predict(
        self, observations: Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Prediction:
        """One step from observations [B, O]."""
        ...

    def rollout(
        self, start: ModelState | Tensor, actions: Tensor, generator: torch.Generator | None = None
    ) -> Rollout:
        """Imagine H steps open loop for actions [B, H] or [B, H, A]."""
        ...


@dataclass(frozen=True)
class Candidates:
    """What a planner considered before it decided: N candidates for each of B environments.

    Attributes:
        rollouts: The imagined futures, each tensor [B, N, ...].
        terms: What their values are made of: named terms [B, N], see `TermObjective`.
        selected: The candidate that is executed [B].
        judgements: Values in each of S scenarios [B, S, N] where a planner weighs risk, NaN for
            candidates that were not judged; None from other planners.
    """

    rollouts: Rollout
    terms: dict[str, Tensor]
    selected: Tensor
    judgements: Tensor | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class Plan:
    """What a planner decided for B environments.

    Attributes:
        actions: The best sequence found [B, H] or [B, H, A]; the first action is the one to
            execute.
        values: The objective's value of that sequence [B].
        num_model_steps: Model steps that were evaluated, over all rows, for honest comparison.
        candidates: What else was considered, from planners that tell; None from others.
    """

    actions: Tensor
    values: Tensor
    num_model_steps: int
    candidates: Candidates | None = None

    __repr__ = short_repr


class Objective(Protocol):
    """What a planner maximizes."""

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        """The value [B] of rollouts of B rows under the actions [B, H] or [B, H, A]."""
        ...


class TermObjective(Objective, Protocol):
    """An objective that says what its value is made of, so that a decision can be explained."""

    @property
    def term_names(self) -> tuple[str, ...]:
        """K names."""
        ...

    def terms(self, rollout: Rollout, actions: Tensor) -> Tensor:
        """Named terms [B, K] of imagined futures of B rows; their sum is the value."""
        ...


CandidatePolicy = Callable[[ModelState, int], Tensor]
"""(state of B rows, horizon H) -> actions [B, H, ...] that a planner considers beside its own candidates.

The first of several is the fallback: what is done unless a plan is better.
"""


class Planner(Protocol):
    """Searches a model's imagination for a good action sequence: planner = f(model, objective)."""

    def plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        """Plan for B environments at once."""
        ...

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget what was carried over from earlier plans (warm starts).

        For the masked environments or for all.
        """
        ...


class Agent(Protocol):
    """Stable-Baselines3's prediction interface.

    So that its `evaluate_policy` runs on every agent of ours.
    """

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Actions for one observation or a batch, and the state to pass on."""
        ...
