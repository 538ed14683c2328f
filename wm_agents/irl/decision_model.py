"""What a demonstrator could do and where it would have led: a finite model with features for a reward.

Situations that differ in kind fit into one table: the grid of a gridworld, the stages of one
resolution, or all the roll calls that a country was asked about, each a state that ends after one
decision.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from wm_agents.errors import ConfigError
from wm_agents.protocols import WorldModel
from wm_agents.training.config_checks import require_integers

Floats = NDArray[np.float64]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class DecisionModel:
    """S states, A actions, F features of a step, over at most T steps.

    Attributes:
        features: [S, A, F] of taking an action in a state, in any units; a feature of the state
            alone repeats over A.
        feature_names: F names.
        mask: [S, A] bool, which actions a state has; every state has one at least. None allows all.
        transitions: [S * A, S] sparse or dense: row s * A + a holds the probabilities of the next
            state. What they lack to 1 is the probability that the episode ends there. None: every
            action ends the episode.
        horizon: T, the most steps of an episode.

    Raises:
        ConfigError: Shapes that do not fit, features or probabilities that are not finite, rows
            that are no probabilities, or a state without an action.
    """

    features: Floats
    feature_names: tuple[str, ...]
    mask: NDArray[np.bool_]
    transitions: Any
    horizon: int

    def __init__(
        self,
        features: ArrayLike,
        feature_names: Sequence[str],
        *,
        mask: ArrayLike | None = None,
        transitions: Any = None,
        horizon: int = 1,
    ) -> None:
        numbers = np.asarray(features, np.float64)
        names = tuple(feature_names)
        if (
            numbers.ndim != 3
            or 0 in numbers.shape
            or numbers.shape[2] != len(names)
            or len(set(names)) != len(names)
        ):
            raise ConfigError(
                f"features have shape {numbers.shape} and names {names}: give [S, A, F] and F different names"
            )
        allowed = (
            np.ones(numbers.shape[:2], np.bool_)
            if mask is None
            else np.asarray(mask).astype(np.bool_)
        )
        rows = None if transitions is None else sparse.csr_array(transitions, dtype=np.float64)
        for name, value in (
            ("features", numbers),
            ("feature_names", names),
            ("mask", allowed),
            ("transitions", rows),
            ("horizon", int(horizon) if rows is not None else 1),
        ):
            object.__setattr__(self, name, value)
        self._check(horizon)

    @property
    def num_states(self) -> int:
        """S."""
        return self.features.shape[0]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.features.shape[1]

    @property
    def num_features(self) -> int:
        """F."""
        return self.features.shape[2]

    @cached_property
    def is_deterministic(self) -> bool:
        """Whether what comes next is never by chance.

        Then the log-likelihood of an episode that was recorded to its end or to the horizon is
        concave in the weights. Of one that was cut before, the soft value where it was cut is
        added, which is convex.
        """
        if self.transitions is None:
            return True
        sizes = np.diff(self.transitions.indptr)
        return bool((sizes <= 1).all() and (np.abs(self.transitions.data - 1) < _ROUNDING).all())

    @cached_property
    def transposed(self) -> Any:
        """[S, S * A], to push visits forward."""
        return None if self.transitions is None else sparse.csr_array(self.transitions.T)

    def expected(self, values: Floats) -> Floats:
        """What follows each state and action [S, A, ...] from values [S, ...] of the next state, 0 where it ends."""
        following: Floats = self.transitions @ values
        return following.reshape(self.num_states, self.num_actions, *values.shape[1:])

    def with_features(self, features: ArrayLike, feature_names: Sequence[str]) -> "DecisionModel":
        """The same dynamics with other features."""
        return DecisionModel(
            features,
            feature_names,
            mask=self.mask,
            transitions=self.transitions,
            horizon=self.horizon,
        )

    def _check(self, horizon: int) -> None:
        require_integers(None, horizon=horizon)
        if horizon < 1:
            raise ConfigError(f"a horizon is at least 1 step, got {horizon}")
        if self.mask.shape != self.features.shape[:2]:
            raise ConfigError(
                f"mask has shape {self.mask.shape}, but features have {self.features.shape}"
            )
        if not self.mask.any(1).all():
            raise ConfigError(
                f"state {int(np.argmin(self.mask.any(1)))} has no action: allow at least one everywhere"
            )
        bad = np.argwhere(~np.isfinite(self.features))
        if len(bad):
            state, action, feature = bad[0]
            raise ConfigError(
                f"feature {self.feature_names[feature]!r} is not finite in state {state}, action {action}: repair it"
            )
        if self.transitions is not None:
            self._check_transitions()

    def _check_transitions(self) -> None:
        expected = (self.num_states * self.num_actions, self.num_states)
        if self.transitions.shape != expected:
            raise ConfigError(
                f"transitions have shape {self.transitions.shape}: expected [S * A, S] = {expected}"
            )
        sums = self.transitions.sum(1)
        rows = np.repeat(np.arange(expected[0]), np.diff(self.transitions.indptr))
        is_wrong = ~np.isfinite(sums) | (sums > 1 + 1e-6)
        is_wrong[rows[self.transitions.data < 0]] = True
        if is_wrong.any():
            row = int(np.argmax(is_wrong))
            raise ConfigError(
                f"transitions, state {row // self.num_actions}, action {row % self.num_actions}: probabilities are not "
                f"negative and sum to at most 1, got {self.transitions.data[rows == row].tolist()[:8]}"
            )


def from_transition_table(
    table: Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]],
    features: ArrayLike,
    feature_names: Sequence[str],
    horizon: int,
) -> DecisionModel:
    """The model of Gymnasium's toy-text environments from `env.unwrapped.P`.

    Args:
        table: State -> action -> list of (probability, next state, reward, terminated); rewards are
            not looked at.
        features: [S, F] of the state, or [S, A, F].
        feature_names: F names.
        horizon: The time limit.
    """
    num_states, num_actions = len(table), len(table[0])
    rows, columns, shares = [], [], []
    for state, actions in table.items():
        for action, outcomes in actions.items():
            for probability, following, _, is_end in outcomes:
                if not is_end:
                    rows.append(state * num_actions + action)
                    columns.append(following)
                    shares.append(probability)
    shape = (num_states * num_actions, num_states)
    transitions = sparse.csr_array((shares, (rows, columns)), shape=shape)
    numbers = np.asarray(features, np.float64)
    if numbers.ndim == 2:
        numbers = np.repeat(numbers[:, None], num_actions, 1)
    return DecisionModel(numbers, feature_names, transitions=transitions, horizon=horizon)


@torch.no_grad()
def from_world_model(
    model: WorldModel,
    observations: ArrayLike,
    features: Callable[[Floats], ArrayLike],
    feature_names: Sequence[str],
    horizon: int,
) -> DecisionModel:
    """A learned or true world model on a list of observations: each step goes to the closest of them.

    Args:
        model: A world model with Discrete actions; what it thinks most likely comes next, and the
            probability that the episode ends there, become the transitions.
        observations: [S, O], the states; those that were recorded, say.
        features: Observations [S, O] -> features [S, F].
        feature_names: F names.
        horizon: The time limit.

    Raises:
        ConfigError: The actions are not Discrete.
    """
    if not isinstance(model.action_space, spaces.Discrete):
        raise ConfigError(
            f"a table needs Discrete actions, got {model.action_space}: use SampledMaxEntIRL"
        )
    from scipy.spatial import KDTree

    seen, num_actions = np.asarray(observations, np.float32), int(model.action_space.n)
    tree, num_states = KDTree(seen), len(seen)
    columns, survival = (
        np.empty((num_states, num_actions), np.int64),
        np.empty((num_states, num_actions)),
    )
    for action in range(num_actions):
        taken = torch.full((num_states,), action + int(model.action_space.start), dtype=torch.int64)
        prediction = model.predict(torch.from_numpy(seen), taken)
        columns[:, action] = tree.query(prediction.observations.numpy())[1]
        survival[:, action] = 1 - prediction.terminations.numpy()
    rows = np.arange(num_states * num_actions)
    transitions = sparse.csr_array(
        (survival.ravel(), (rows, columns.ravel())), shape=(num_states * num_actions, num_states)
    )
    numbers = np.repeat(
        np.asarray(features(seen.astype(np.float64)), np.float64)[:, None], num_actions, 1
    )
    return DecisionModel(numbers, feature_names, transitions=transitions, horizon=horizon)
