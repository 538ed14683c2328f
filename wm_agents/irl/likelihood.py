"""The likelihood of demonstrated actions under the soft-optimal policy of linear rewards.

With weights w, features f [S, A, F], the soft-optimal policy pi of rewards f w, and G_t(s, a) =
E[sum of f from (s, a) at time t on], which is dQ_t / dw:

    log-likelihood  L(w)  = sum over steps of log pi_t(a | s)
    score           dL/dw = sum over steps of G_t(s, a) - sum_a' pi_t(a' | s) G_t(s, a')
    information     I(w)  = sum over steps of Cov_{a' ~ pi_t(. | s)} G_t(s, a')

Where the MDP is deterministic this is maximum-entropy IRL (Ziebart et al. 2008, equation 4).
Otherwise it is the likelihood of the maximum-causal-entropy policy, whose dual (Ziebart 2010,
section 5.3) matches feature counts.
"""

from functools import cached_property

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from wm_agents.errors import DemonstrationError
from wm_agents.irl.demonstrations import Demonstrations, check_allowed
from wm_agents.irl.mdp import (
    Floats,
    SoftPolicy,
    TabularMDP,
    future_features,
    occupancy_measures,
    soft_value_iteration,
)

_MIN_PROBABILITY = 1e-300  # whose logarithm is finite


class Likelihood:
    """The likelihood of N demonstrated steps in an MDP with standardized features.

    Args:
        mdp: What could be done.
        demonstrations: What was done, in the MDP's states.
        scale: [F], units of the features.

    Raises:
        DemonstrationError: States that the MDP does not have, forbidden actions, episodes longer
            than the horizon, or steps that the MDP holds impossible.
    """

    def __init__(self, mdp: TabularMDP, demonstrations: Demonstrations, scale: Floats) -> None:
        check_possible(mdp, demonstrations)
        self.mdp = mdp
        self.num_episodes = demonstrations.num_episodes
        self.num_steps = demonstrations.num_steps
        self.features = mdp.features / scale
        self.times = demonstrations.times
        self.states = demonstrations.states
        self.actions = demonstrations.actions.astype(np.int64)
        self.episodes = demonstrations.episode_of_step

    def policy(self, weights: Floats) -> SoftPolicy:
        """The soft-optimal policy."""
        return soft_value_iteration(self.mdp, self.features @ weights)

    def log_probabilities(self, weights: Floats) -> Floats:
        """Of each demonstrated action [N]."""
        return self.policy(weights).log_probabilities[self.times, self.states, self.actions]

    def value_and_gradient(self, weights: Floats) -> tuple[float, Floats]:
        """L and dL/dw in one backward and one forward pass."""
        policy = self.policy(weights)
        # Backward: what each choice is worth. Forward: where the mass goes that the demonstrations
        # bring in.
        mass = occupancy_measures(self.mdp, policy, self._value_slopes, self._counts)
        value = policy.log_probabilities[self.times, self.states, self.actions].sum()
        return float(value), self._feature_sum(mass)

    def matching_and_gradient(self, weights: Floats) -> tuple[float, Floats]:
        """The concave dual and its gradient.

        The dual is w . (demonstrated features) - sum of soft values at the starts. Its maximum
        matches expected to demonstrated feature counts (Ziebart 2010, equation 5.2).
        """
        policy = self.policy(weights)
        starts = np.zeros((self.mdp.horizon, self.mdp.num_states))
        # The dual starts where the demonstrations start, and lets the policy choose from there.
        starts[0] = self._counts[0].sum(1)
        mass = occupancy_measures(self.mdp, policy, starts)
        demonstrated = self._feature_sum(self._counts)
        value = demonstrated @ weights - (starts[0] * policy.values[0]).sum()
        return float(value), demonstrated - self._feature_sum(mass)

    def differences(self, weights: Floats) -> tuple[Floats, Floats]:
        """At each step G less its mean under the policy [N, A, F], and the policy [N, A]."""
        # Without a future the sums are the features themselves.
        if self.mdp.horizon == 1:
            probabilities = self._one_shot(weights)
            sums = self._visited
        else:
            policy = self.policy(weights)
            probabilities = policy.probabilities[self.times, self.states]
            sums = future_features(self.mdp, policy, self.features)[self.times, self.states]
        means = np.matmul(probabilities[:, None], sums)
        return sums - means, probabilities

    def scores(self, weights: Floats) -> Floats:
        """dL/dw of each episode [K, F]."""
        differences, _ = self.differences(weights)
        sums = np.zeros((self.num_episodes, differences.shape[2]))
        # Unbuffered: several steps belong to one episode.
        np.add.at(sums, self.episodes, differences[np.arange(self.num_steps), self.actions])
        return sums

    def information(self, weights: Floats) -> Floats:
        """I(w) [F, F]."""
        # Fisher's information: the covariance of the features under the policy.
        return _second_moment(*self.differences(weights))

    def weighted(self, weights: Floats, step_weights: Floats) -> tuple[float, Floats, Floats]:
        """L, its gradient [F] and I [F, F] where step n counts `step_weights[n]` times."""
        differences, probabilities = self.differences(weights)
        steps = np.arange(self.num_steps)
        scores = differences[steps, self.actions]
        # Where nothing was chosen against great odds this is exact; a probability of 0 must not
        # make the sum NaN.
        logs = np.log(np.maximum(probabilities[steps, self.actions], _MIN_PROBABILITY))
        information = _second_moment(differences, probabilities * step_weights[:, None])
        return float(step_weights @ logs), step_weights @ scores, information

    def predicted_share(self, weights: Floats) -> float:
        """Share of the steps with a choice whose action is the most probable one."""
        policy = self.policy(weights)
        of_steps = policy.log_probabilities[self.times, self.states][self.had_choice]  # [N', A]
        actions = self.actions[self.had_choice]
        demonstrated = of_steps[np.arange(len(actions)), actions]
        return float((demonstrated >= of_steps.max(1)).mean())

    @cached_property
    def had_choice(self) -> NDArray[np.bool_]:
        """[N], the steps at which more than one action was allowed."""
        return self.mdp.mask[self.states].sum(1) > 1

    def _one_shot(self, weights: Floats) -> Floats:
        # Forbidden actions have no probability.
        returns = np.where(self._allowed, self._visited @ weights, -np.inf)
        exponentials = np.exp(returns - returns.max(1, keepdims=True))
        probabilities: Floats = exponentials / exponentials.sum(1, keepdims=True)
        return probabilities

    @cached_property
    def _counts(self) -> Floats:
        """[T, S, A]: how often each step was demonstrated."""
        counts = np.zeros((self.mdp.horizon, self.mdp.num_states, self.mdp.num_actions))
        np.add.at(counts, (self.times, self.states, self.actions), 1.0)
        return counts

    @cached_property
    def _value_slopes(self) -> Floats:
        """[T, S]: dL/dV, since L is the sum of Q - V over the steps; dL/dQ are the counts."""
        return -self._counts.sum(2)

    def _feature_sum(self, mass: Floats) -> Floats:
        total: Floats = mass.sum(0).ravel() @ self.features.reshape(-1, self.features.shape[2])
        return total

    @cached_property
    def _visited(self) -> Floats:
        return self.features[self.states]

    @cached_property
    def _allowed(self) -> NDArray[np.bool_]:
        return self.mdp.mask[self.states]


def check_possible(mdp: TabularMDP, demonstrations: Demonstrations) -> None:
    """Raise DemonstrationError unless the demonstrations are possible in the MDP."""
    states = demonstrations.states
    actions = demonstrations.actions
    if actions.ndim != 1:
        raise DemonstrationError(
            f"a table has Discrete actions, got actions {actions.shape}: use SampledMaxEntIRL"
        )
    if states.max() >= mdp.num_states:
        raise DemonstrationError(
            f"state {states.max()} is demonstrated, but the model has {mdp.num_states} states"
        )
    longest = int(demonstrations.lengths.max())
    if longest > mdp.horizon:
        raise DemonstrationError(
            f"an episode has {longest} steps, but the model's horizon is {mdp.horizon}: raise it"
        )
    check_allowed(mdp.mask[states], demonstrations)
    if mdp.transitions is not None:
        _check_transitions(mdp, demonstrations)


def _check_transitions(mdp: TabularMDP, demonstrations: Demonstrations) -> None:
    states = demonstrations.states
    actions = demonstrations.actions.astype(np.int64)
    # The last step of an episode leads nowhere that was recorded.
    inner = np.flatnonzero(demonstrations.times[1:] > 0)  # steps with a successor in the episode
    rows = states[inner] * mdp.num_actions + actions[inner]
    places = (np.arange(len(inner)), states[inner + 1])
    next_states = sparse.csr_array(
        (np.ones(len(inner)), places), shape=(len(inner), mdp.num_states)
    )
    # Only the probabilities of the demonstrated successors are read off the sparse table.
    probabilities = mdp.transitions[rows, :].multiply(next_states).sum(1)
    impossible = np.flatnonzero(np.asarray(probabilities).ravel() <= 0)
    if len(impossible):
        step = int(inner[impossible[0]])
        raise DemonstrationError(
            f"step {step} (episode {demonstrations.episode_of_step[step]}): the model never leads "
            f"from state {states[step]} by action {actions[step]} to state {states[step + 1]}: "
            "correct the model"
        )


def _second_moment(differences: Floats, weights: Floats) -> Floats:
    """Sum over steps and actions of weight times outer product [F, F]."""
    # By the root of the weights on both sides, as one matrix product.
    flat = (differences * np.sqrt(weights)[..., None]).reshape(-1, differences.shape[-1])
    return flat.T @ flat
