"""Exact soft backward induction over a finite horizon, in float64: pure functions on arrays.

Ziebart, "Modeling Purposeful Adaptive Behavior with the Principle of Maximum Causal Entropy", 2010, algorithm 9.1. With
rewards r [S, A] and probabilities P of what comes next, for t = T - 1, ..., 0:

    Q_t(s, a) = r(s, a) + sum_s' P(s' | s, a) V_t+1(s'),   V_t(s) = log sum_a exp Q_t(s, a),   V_T = 0,
    pi_t(a | s) = exp(Q_t(s, a) - V_t(s)),                 where sums run over the actions that the mask allows.
"""

from dataclasses import dataclass

import numpy as np

from wm_agents.irl.decision_model import DecisionModel, Floats


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
    shape = (model.horizon, model.num_states, model.num_actions)
    log_probabilities, values = np.empty(shape), np.empty(shape[:2])
    immediate = np.where(model.mask, rewards, -np.inf)
    for time in reversed(range(model.horizon)):
        is_last = time == model.horizon - 1
        returns = immediate if is_last else immediate + model.expected(values[time + 1])
        values[time] = log_sum_exp(returns)
        log_probabilities[time] = returns - values[time][:, None]
    return SoftPolicy(log_probabilities, values)


def future_features(model: DecisionModel, policy: SoftPolicy, features: Floats) -> Floats:
    """G [T, S, A, F]: the expected sum of features [S, A, F] from a state and action on; dQ/dw for linear rewards."""
    probabilities = policy.probabilities
    sums = np.empty((*probabilities.shape, features.shape[2]))
    for time in reversed(range(model.horizon)):
        sums[time] = features
        if time < model.horizon - 1:
            following = np.einsum("sa,saf->sf", probabilities[time + 1], sums[time + 1])
            sums[time] += model.expected(following)
    return sums


def push_forward(model: DecisionModel, policy: SoftPolicy, from_states: Floats, from_actions: Floats | None) -> Floats:
    """Mass [T, S, A] on steps when mass enters at states [T, S] and at states with their action [T, S, A].

    With a start distribution at time 0 alone it is the occupancy of the policy. With signed mass it is the adjoint of
    `soft_policy`: the derivative with respect to r(s, a) of any function whose derivatives with respect to V and Q were
    put in, which gives exact gradients in one pass whatever the number of features.
    """
    probabilities = policy.probabilities
    mass = np.empty_like(probabilities)
    arriving = np.zeros(model.num_states)
    for time in range(model.horizon):
        mass[time] = (arriving + from_states[time])[:, None] * probabilities[time]
        if from_actions is not None:
            mass[time] += from_actions[time]
        if time < model.horizon - 1:
            arriving = model.transposed @ mass[time].ravel()
    return mass


def log_sum_exp(values: Floats) -> Floats:
    """Log sum exp over the last axis, of which at least one entry is finite."""
    top = values.max(-1)
    total: Floats = top + np.log(np.exp(values - top[..., None]).sum(-1))
    return total


def optimal_policy(model: DecisionModel, rewards: Floats) -> Floats:
    """The deterministic policy [T, S, A] of the highest return, one-hot; ties go to the first action."""
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


def policy_value(model: DecisionModel, probabilities: Floats, rewards: Floats, starts: Floats) -> float:
    """The expected return of a policy [T, S, A] under rewards [S, A] from a start distribution [S]."""
    values = np.zeros(model.num_states)
    for time in reversed(range(model.horizon)):
        returns = rewards.copy()
        if time < model.horizon - 1:
            returns = returns + model.expected(values)
        values = (probabilities[time] * returns).sum(1)
    return float(starts @ values)
