"""Exact soft backward induction over a finite horizon, in float64: pure functions on arrays.

Ziebart, "Modeling Purposeful Adaptive Behavior with the Principle of Maximum Causal Entropy", 2010,
algorithm 9.1. With rewards r [S, A] and probabilities P of what comes next, for t = T - 1, ..., 0:

    Q_t(s, a) = r(s, a) + sum_s' P(s' | s, a) V_t+1(s'),   V_t(s) = log sum_a exp Q_t(s, a),   V_T =
    0, pi_t(a | s) = exp(Q_t(s, a) - V_t(s)),                 where sums run over the actions that
    the mask allows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from wm_agents.irl.decision_model import DecisionModel, Floats
from wm_envs.kernel import kernel


@dataclass(frozen=True)
class SoftPolicy:
    """The policy that maximises reward plus entropy.

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


def soft_policy(model: DecisionModel, rewards: Floats) -> SoftPolicy:
    """The soft-optimal policy for rewards [S, A]."""
    if model.transitions is None:
        returns = np.where(model.mask, rewards, -np.inf)
        values = log_sum_exp(returns)
        return SoftPolicy((returns - values[:, None])[None], values[None])
    table = model.transitions
    rows = np.ascontiguousarray(rewards, np.float64)
    return SoftPolicy(
        *_backward(table.indptr, table.indices, table.data, model.mask, rows, model.horizon)
    )


def future_features(model: DecisionModel, policy: SoftPolicy, features: Floats) -> Floats:
    """G [T, S, A, F]: the expected sum of features [S, A, F] from a state and action on.

    DQ/dw for linear rewards.
    """
    probabilities = policy.probabilities
    sums = np.empty((*probabilities.shape, features.shape[2]))
    for time in reversed(range(model.horizon)):
        sums[time] = features
        if time < model.horizon - 1:
            following = np.einsum("sa,saf->sf", probabilities[time + 1], sums[time + 1])
            sums[time] += model.expected(following)
    return sums


def push_forward(
    model: DecisionModel, policy: SoftPolicy, from_states: Floats, from_actions: Floats | None
) -> Floats:
    """Mass [T, S, A] on steps when mass enters at states [T, S] and at states with their action [T, S, A].

    With a start distribution at time 0 alone it is the occupancy of the policy. With signed mass it
    is the adjoint of `soft_policy`: the derivative with respect to r(s, a) of any function whose
    derivatives with respect to V and Q were put in, which gives exact gradients in one pass
    whatever the number of features.
    """
    if model.transitions is None:
        mass = from_states[:, :, None] * policy.probabilities
        return mass if from_actions is None else mass + from_actions
    table = model.transitions
    entering = np.zeros_like(policy.log_probabilities) if from_actions is None else from_actions
    pushed: Floats = _forward(
        table.indptr, table.indices, table.data, policy.probabilities, from_states, entering
    )
    return pushed


@kernel
def _backward(
    indptr: Any, indices: Any, data: Any, mask: Any, rewards: Any, horizon: int
) -> Any:  # pragma: no cover (compiled)
    """Log probabilities [T, S, A] and values [T, S].

    Compiled, since small models are all overhead otherwise.
    """
    num_states, num_actions = rewards.shape
    log_probabilities = np.full((horizon, num_states, num_actions), -np.inf)
    values = np.empty((horizon, num_states))
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
            size = 0.0
            for action in range(num_actions):
                size += np.exp(log_probabilities[time, state, action] - top)
            values[time, state] = top + np.log(size)
            for action in range(num_actions):
                log_probabilities[time, state, action] -= values[time, state]
    return log_probabilities, values


@kernel
def _forward(
    indptr: Any, indices: Any, data: Any, probabilities: Any, from_states: Any, from_actions: Any
) -> Any:  # pragma: no cover (compiled)
    """Mass [T, S, A]."""
    horizon, num_states, num_actions = probabilities.shape
    mass = np.empty((horizon, num_states, num_actions))
    arriving = np.zeros(num_states)
    for time in range(horizon):
        following = np.zeros(num_states)
        for state in range(num_states):
            here = arriving[state] + from_states[time, state]
            for action in range(num_actions):
                amount = (
                    here * probabilities[time, state, action] + from_actions[time, state, action]
                )
                mass[time, state, action] = amount
                if amount != 0.0:
                    row = state * num_actions + action
                    for place in range(indptr[row], indptr[row + 1]):
                        following[indices[place]] += data[place] * amount
        arriving = following
    return mass


def log_sum_exp(values: Floats) -> Floats:
    """Log sum exp over the last axis, of which at least one entry is finite."""
    top = values.max(-1)
    total: Floats = top + np.log(np.exp(values - top[..., None]).sum(-1))
    return total


def optimal_policy(model: DecisionModel, rewards: Floats) -> Floats:
    """The deterministic policy [T, S, A] of the highest return, one-hot.

    Ties go to the first action.
    """
    choices = np.zeros((model.horizon, model.num_states, model.num_actions))
    values = np.zeros(model.num_states)
    for time in reversed(range(model.horizon)):
        returns = np.where(model.mask, rewards, -np.inf)
        if time < model.horizon - 1:
            returns = returns + model.expected(values)
        best = returns.argmax(1)
        choices[time, np.arange(model.num_states), best] = 1
        values = returns.max(1)
    return choices


def policy_value(
    model: DecisionModel, probabilities: Floats, rewards: Floats, starts: Floats
) -> float:
    """The expected return of a policy [T, S, A] under rewards [S, A] from a start distribution [S]."""
    values = np.zeros(model.num_states)
    for time in reversed(range(model.horizon)):
        returns = rewards.copy()
        if time < model.horizon - 1:
            returns = returns + model.expected(values)
        values = (probabilities[time] * returns).sum(1)
    return float(starts @ values)
