"""Finite Markov decision processes with features: soft value iteration and occupancy measures.

Situations that differ in kind fit into one table: the grid of a gridworld, the stages of one
resolution, or all the roll calls that a country was asked about, each a state that ends after one
decision.

Soft value iteration is exact, over a finite horizon and in float64 (Ziebart, "Modeling Purposeful
Adaptive Behavior with the Principle of Maximum Causal Entropy", 2010, algorithm 9.1). With rewards
r [S, A] and probabilities P of the next state, for t = T - 1, ..., 0 and V_T = 0:

    Q_t(s, a)    = r(s, a) + sum_s' P(s' | s, a) V_t+1(s')
    V_t(s)       = log sum_a exp Q_t(s, a)
    pi_t(a | s)  = exp(Q_t(s, a) - V_t(s))

where sums run over the actions that the mask allows.
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
from wm_envs.data.compiled import compiled
from wm_envs.data.display import short_repr

Floats = NDArray[np.float64]

_ROUNDING = 1e-9  # how far a probability of 1 may be off
_MAX_EXCESS = 1e-6  # by which a row of probabilities may sum to more than 1, from rounded tables


@dataclass(frozen=True)
class TabularMDP:
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

    __repr__ = short_repr

    def __init__(
        self,
        features: "ArrayLike",
        feature_names: Sequence[str],
        *,
        mask: "ArrayLike | None" = None,
        transitions: Any = None,
        horizon: int = 1,
    ) -> None:
        numbers = np.asarray(features, np.float64)
        names = tuple(feature_names)
        _check_features(numbers, names)
        all_actions = np.ones(numbers.shape[:2], np.bool_)
        allowed = all_actions if mask is None else np.asarray(mask).astype(np.bool_)
        rows = None
        num_steps = 1  # without transitions every action ends the episode
        if transitions is not None:
            # Sparse: most actions lead to few states.
            rows = sparse.csr_array(transitions, dtype=np.float64)
            num_steps = int(horizon)
        object.__setattr__(self, "features", numbers)
        object.__setattr__(self, "feature_names", names)
        object.__setattr__(self, "mask", allowed)
        object.__setattr__(self, "transitions", rows)
        object.__setattr__(self, "horizon", num_steps)
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
        # A deterministic step has one entry of 1, or none where the episode ends.
        is_certain = np.abs(self.transitions.data - 1) < _ROUNDING
        return bool((sizes <= 1).all() and is_certain.all())

    @cached_property
    def transposed(self) -> Any:
        """Transitions as [S, S * A], which carries visits of steps to visits of next states."""
        return None if self.transitions is None else sparse.csr_array(self.transitions.T)

    def expected(self, values: Floats) -> Floats:
        """Expected values of the next state [S, A, ...] from values [S, ...], 0 where it ends."""
        next_values: Floats = self.transitions @ values
        return next_values.reshape(self.num_states, self.num_actions, *values.shape[1:])

    def with_features(self, features: "ArrayLike", feature_names: Sequence[str]) -> "TabularMDP":
        """The same dynamics with other features."""
        return TabularMDP(
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
        has_action = self.mask.any(1)
        if not has_action.all():
            state = int(np.argmin(has_action))
            raise ConfigError(f"state {state} has no action: allow at least one everywhere")
        if self.transitions is not None:
            self._check_transitions()

    def _check_transitions(self) -> None:
        shape = (self.num_states * self.num_actions, self.num_states)
        if self.transitions.shape != shape:
            raise ConfigError(
                f"transitions have shape {self.transitions.shape}: expected [S * A, S] = {shape}"
            )
        sums = self.transitions.sum(1)
        rows = np.repeat(np.arange(shape[0]), np.diff(self.transitions.indptr))
        # Rows may sum to less than 1: the rest is the end of the episode.
        is_wrong = ~np.isfinite(sums) | (sums > 1 + _MAX_EXCESS)
        is_wrong[rows[self.transitions.data < 0]] = True
        if is_wrong.any():
            row = int(np.argmax(is_wrong))
            state, action = divmod(row, self.num_actions)
            raise ConfigError(
                f"transitions, state {state}, action {action}: probabilities are not negative and "
                f"sum to at most 1, got {self.transitions.data[rows == row].tolist()[:8]}"
            )


def _check_features(features: Floats, names: tuple[str, ...]) -> None:
    is_named = features.ndim == 3 and features.shape[2] == len(set(names)) == len(names)
    if not is_named or 0 in features.shape:
        raise ConfigError(
            f"features have shape {features.shape} and names {names}: give [S, A, F] and F "
            "different names"
        )
    bad = np.argwhere(~np.isfinite(features))
    if len(bad):
        state, action, feature = bad[0]
        raise ConfigError(
            f"feature {names[feature]!r} is not finite in state {state}, action {action}: repair it"
        )


def from_transition_table(
    table: Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]],
    features: "ArrayLike",
    feature_names: Sequence[str],
    horizon: int,
) -> TabularMDP:
    """The MDP of Gymnasium's toy-text environments from `env.unwrapped.P`.

    Args:
        table: State -> action -> list of (probability, next state, reward, terminated); rewards are
            not looked at.
        features: [S, F] of the state, or [S, A, F].
        feature_names: F names.
        horizon: The time limit.
    """
    # Gymnasium lists [(probability, next state, reward, is end), ...].
    num_states = len(table)
    num_actions = len(table[0])
    rows = []
    columns = []
    probabilities = []
    for state, actions in table.items():
        for action, outcomes in actions.items():
            for probability, next_state, _, is_end in outcomes:
                # An end leads nowhere: the row's missing probability says it.
                if not is_end:
                    rows.append(state * num_actions + action)
                    columns.append(next_state)
                    probabilities.append(probability)
    shape = (num_states * num_actions, num_states)
    transitions = sparse.csr_array((probabilities, (rows, columns)), shape=shape)
    numbers = np.asarray(features, np.float64)
    # Features of states hold for every action in them.
    if numbers.ndim == 2:
        numbers = np.repeat(numbers[:, None], num_actions, 1)
    return TabularMDP(numbers, feature_names, transitions=transitions, horizon=horizon)


@torch.no_grad()
def from_world_model(
    model: WorldModel,
    observations: "ArrayLike",
    features: "Callable[[Floats], ArrayLike]",
    feature_names: Sequence[str],
    horizon: int,
) -> TabularMDP:
    """A learned or true world model on a list of observations: each step goes to the closest one.

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

    rows = np.asarray(observations, np.float32)
    num_states = len(rows)
    num_actions = int(model.action_space.n)
    # A tree of the observations: each prediction is looked up in it.
    tree = KDTree(rows)
    next_states = np.empty((num_states, num_actions), np.int64)
    survival = np.empty((num_states, num_actions))
    for action in range(num_actions):
        index = action + int(model.action_space.start)
        actions = torch.full((num_states,), index, dtype=torch.int64)
        prediction = model.predict(torch.from_numpy(rows), actions)
        next_states[:, action] = tree.query(prediction.observations.numpy())[1]
        # An end is missing probability, as above.
        survival[:, action] = 1 - prediction.terminations.numpy()
    steps = np.arange(num_states * num_actions)
    transitions = sparse.csr_array(
        (survival.ravel(), (steps, next_states.ravel())), shape=(len(steps), num_states)
    )
    of_states = np.asarray(features(rows.astype(np.float64)), np.float64)
    numbers = np.repeat(of_states[:, None], num_actions, 1)
    return TabularMDP(numbers, feature_names, transitions=transitions, horizon=horizon)


@dataclass(frozen=True)
class SoftPolicy:
    """The policy that maximizes reward plus entropy.

    Attributes:
        log_probabilities: [T, S, A], minus infinity for actions that the mask forbids.
        values: [T, S], soft values.
    """

    log_probabilities: Floats
    values: Floats

    @property
    def probabilities(self) -> Floats:
        """[T, S, A]."""
        return np.exp(self.log_probabilities)


def soft_value_iteration(mdp: TabularMDP, rewards: Floats) -> SoftPolicy:
    """The soft-optimal policy for rewards [S, A]."""
    if mdp.transitions is None:
        returns = np.where(mdp.mask, rewards, -np.inf)
        # Without a future the policy is a softmax of the rewards.
        values = log_sum_exp(returns)
        return SoftPolicy((returns - values[:, None])[None], values[None])
    table = mdp.transitions
    rows = np.ascontiguousarray(rewards, np.float64)
    log_probabilities, values = _backward(
        table.indptr, table.indices, table.data, mdp.mask, rows, mdp.horizon
    )
    return SoftPolicy(log_probabilities, values)


def future_features(mdp: TabularMDP, policy: SoftPolicy, features: Floats) -> Floats:
    """G [T, S, A, F]: the expected sum of features [S, A, F] from a state and action on.

    It is dQ/dw where rewards are linear in the features.
    """
    probabilities = policy.probabilities
    sums = np.empty((*probabilities.shape, features.shape[2]))  # [T, S, A, F]
    # From the last step back: what follows is known by then.
    for time in reversed(range(mdp.horizon)):
        sums[time] = features
        if time < mdp.horizon - 1:
            next_sums = np.einsum("sa,saf->sf", probabilities[time + 1], sums[time + 1])
            sums[time] += mdp.expected(next_sums)
    return sums


def occupancy_measures(
    mdp: TabularMDP,
    policy: SoftPolicy,
    entering_states: Floats,
    entering_steps: Floats | None = None,
) -> Floats:
    """Expected visits [T, S, A] of steps under a policy, from mass that enters.

    With a start distribution at time 0 alone these are the occupancy measures of the policy. With
    signed mass it is the adjoint of `soft_value_iteration`: the derivative with respect to r(s, a)
    of any function whose derivatives with respect to V and Q were put in, which gives exact
    gradients in one pass whatever the number of features.

    Args:
        mdp: The dynamics.
        policy: What it does from there.
        entering_states: Mass [T, S] that enters at states.
        entering_steps: Mass [T, S, A] that enters at states with their action.
    """
    if mdp.transitions is None:
        mass = entering_states[:, :, None] * policy.probabilities
        # Nothing follows, so that mass only spreads over the actions.
        return mass if entering_steps is None else mass + entering_steps
    if entering_steps is None:
        entering_steps = np.zeros_like(policy.log_probabilities)
    table = mdp.transitions
    visits: Floats = _forward(
        table.indptr,
        table.indices,
        table.data,
        policy.probabilities,
        entering_states,
        entering_steps,
    )
    return visits


# The two passes over time are compiled: small tables are nothing but overhead in NumPy, and a fit
# makes hundreds of passes.


@compiled
def _backward(
    indptr: Any, indices: Any, data: Any, mask: Any, rewards: Any, horizon: int
) -> Any:  # pragma: no cover (compiled)
    """Log probabilities [T, S, A] and values [T, S]."""
    num_states, num_actions = rewards.shape
    log_probabilities = np.full((horizon, num_states, num_actions), -np.inf)
    values = np.empty((horizon, num_states))
    # A loop that counts back: Numba ranges rise.
    for back in range(horizon):
        time = horizon - 1 - back
        for state in range(num_states):
            top = -np.inf
            for action in range(num_actions):
                if mask[state, action]:
                    total = rewards[state, action]
                    if back > 0:
                        row = state * num_actions + action
                        for place in range(indptr[row], indptr[row + 1]):
                            total += data[place] * values[time + 1, indices[place]]
                    log_probabilities[time, state, action] = total
                    top = max(top, total)
            # The largest return is taken off before the exponential, which overflows otherwise.
            size = 0.0
            for action in range(num_actions):
                size += np.exp(log_probabilities[time, state, action] - top)
            values[time, state] = top + np.log(size)
            for action in range(num_actions):
                log_probabilities[time, state, action] -= values[time, state]
    return log_probabilities, values


@compiled
def _forward(
    indptr: Any,
    indices: Any,
    data: Any,
    probabilities: Any,
    entering_states: Any,
    entering_steps: Any,
) -> Any:  # pragma: no cover (compiled)
    """Mass [T, S, A]."""
    horizon, num_states, num_actions = probabilities.shape
    mass = np.empty((horizon, num_states, num_actions))
    arriving = np.zeros(num_states)
    for time in range(horizon):
        next_arriving = np.zeros(num_states)
        for state in range(num_states):
            here = arriving[state] + entering_states[time, state]
            for action in range(num_actions):
                amount = here * probabilities[time, state, action]
                amount += entering_steps[time, state, action]
                mass[time, state, action] = amount
                # Most of a large table has no mass.
                if amount != 0.0:
                    row = state * num_actions + action
                    for place in range(indptr[row], indptr[row + 1]):
                        next_arriving[indices[place]] += data[place] * amount
        arriving = next_arriving
    return mass


def log_sum_exp(values: Floats) -> Floats:
    """Log sum exp over the last axis, of which at least one entry is finite."""
    top = values.max(-1)
    total: Floats = top + np.log(np.exp(values - top[..., None]).sum(-1))
    return total


def optimal_policy(mdp: TabularMDP, rewards: Floats) -> Floats:
    """The deterministic policy [T, S, A] of the highest return, one-hot.

    Ties go to the first action.
    """
    choices = np.zeros((mdp.horizon, mdp.num_states, mdp.num_actions))
    values = np.zeros(mdp.num_states)
    for time in reversed(range(mdp.horizon)):
        returns = np.where(mdp.mask, rewards, -np.inf)
        # At the last step nothing follows.
        if time < mdp.horizon - 1:
            returns = returns + mdp.expected(values)
        best = returns.argmax(1)
        choices[time, np.arange(mdp.num_states), best] = 1
        values = returns.max(1)
    return choices


def policy_value(mdp: TabularMDP, probabilities: Floats, rewards: Floats, starts: Floats) -> float:
    """The expected return of a policy [T, S, A] for rewards [S, A] and a start distribution [S]."""
    values = np.zeros(mdp.num_states)
    for time in reversed(range(mdp.horizon)):
        returns = rewards.copy()
        if time < mdp.horizon - 1:
            returns = returns + mdp.expected(values)
        values = (probabilities[time] * returns).sum(1)
    return float(starts @ values)
