"""How probable the demonstrated actions are under the soft-optimal policy of linear rewards, with derivatives.

With weights w, features f [S, A, F] and G_t(s, a) = E[sum of f from (s, a) at time t on], which is
dQ_t / dw:

    log-likelihood  L(w) = sum over steps of log pi_t(a | s),
    score           dL/dw = sum over steps of G_t(s, a) - sum_a' pi_t(a' | s) G_t(s, a'),
    information     I(w)  = sum over steps of Cov_{a' ~ pi_t(. | s)} G_t(s, a').

Where the model is deterministic this is maximum-entropy IRL (Ziebart et al. 2008, equation 4).
Otherwise it is the likelihood of the maximum-causal-entropy policy, whose dual (Ziebart 2010,
section 5.3) matches feature counts.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import DemonstrationError
from wm_agents.irl.decision_model import DecisionModel, Floats
from wm_agents.irl.demonstrations import Demonstrations, check_allowed
from wm_agents.irl.soft_induction import SoftPolicy, future_features, push_forward, soft_policy


class Likelihood:
    """The likelihood of N demonstrated steps in a model with standardised features.

    Args:
        model: What could be done.
        demonstrations: What was done, in the model's states.
        scale: [F], units of the features.

    Raises:
        DemonstrationError: States that the model does not have, forbidden actions, episodes longer
            than the horizon, or steps that the model holds impossible.
    """

    def __init__(self, model: DecisionModel, demonstrations: Demonstrations, scale: Floats) -> None:
        check_fit(model, demonstrations)
        self.model, self.num_episodes = model, demonstrations.num_episodes
        self.features = model.features / scale
        self.times, self.states = demonstrations.times, demonstrations.states
        self.actions = demonstrations.trajectories.actions.astype(np.int64)
        self.episodes = demonstrations.trajectories.episode_of_step

    @property
    def num_steps(self) -> int:
        """N."""
        return len(self.states)

    def policy(self, weights: Floats) -> SoftPolicy:
        """The soft-optimal policy."""
        return soft_policy(self.model, self.features @ weights)

    def log_probabilities(self, weights: Floats) -> Floats:
        """Of each demonstrated action [N]."""
        return self.policy(weights).log_probabilities[self.times, self.states, self.actions]

    def value_and_gradient(self, weights: Floats) -> tuple[float, Floats]:
        """L and dL/dw in one backward and one forward pass."""
        policy = self.policy(weights)
        mass = push_forward(self.model, policy, self._taken, self._counts)
        value = policy.log_probabilities[self.times, self.states, self.actions].sum()
        return float(value), self._feature_sum(mass)

    def matching_and_gradient(self, weights: Floats) -> tuple[float, Floats]:
        """The concave dual: w . (demonstrated features) - sum of soft values at the starts, and its gradient.

        Its maximum matches expected to demonstrated feature counts (Ziebart 2010, equation 5.2).
        """
        policy, starts = self.policy(weights), np.zeros((self.model.horizon, self.model.num_states))
        starts[0] = self._counts[0].sum(1)
        mass = push_forward(self.model, policy, starts, None)
        demonstrated, expected = self._feature_sum(self._counts), self._feature_sum(mass)
        return float(
            demonstrated @ weights - (starts[0] * policy.values[0]).sum()
        ), demonstrated - expected

    def differences(self, weights: Floats) -> tuple[Floats, Floats]:
        """G less its mean under the policy [N, A, F], and the policy's probabilities [N, A], at each step."""
        if self.model.horizon == 1:
            probabilities, sums = self._one_shot(weights), self._visited
        else:
            policy = self.policy(weights)
            probabilities = policy.probabilities[self.times, self.states]
            sums = future_features(self.model, policy, self.features)[self.times, self.states]
        means = np.matmul(probabilities[:, None], sums)
        return sums - means, probabilities

    def scores(self, weights: Floats) -> Floats:
        """dL/dw of each episode [K, F]."""
        differences, _ = self.differences(weights)
        return self._by_episode(differences[np.arange(self.num_steps), self.actions])

    def information(self, weights: Floats) -> Floats:
        """I(w) [F, F]."""
        return _second_moment(*self.differences(weights))

    def weighted(self, weights: Floats, step_weights: Floats) -> tuple[float, Floats, Floats]:
        """L, its gradient [F] and the information [F, F] where step n counts `step_weights[n]` times."""
        differences, probabilities = self.differences(weights)
        steps = np.arange(self.num_steps)
        chosen = differences[steps, self.actions]
        # Where nothing was chosen against great odds this is exact; a probability of 0 must not
        # make the sum NaN.
        logs = np.log(np.maximum(probabilities[steps, self.actions], 1e-300))
        information = _second_moment(differences, probabilities * step_weights[:, None])
        return float(step_weights @ logs), step_weights @ chosen, information

    def _one_shot(self, weights: Floats) -> Floats:
        returns = np.where(self._allowed, self._visited @ weights, -np.inf)
        exponentials = np.exp(returns - returns.max(1, keepdims=True))
        probabilities: Floats = exponentials / exponentials.sum(1, keepdims=True)
        return probabilities

    def _by_episode(self, values: Floats) -> Floats:
        sums = np.zeros((self.num_episodes, values.shape[1]))
        np.add.at(sums, self.episodes, values)
        return sums

    @cached_property
    def _counts(self) -> Floats:
        """[T, S, A]: how often each step was demonstrated."""
        counts = np.zeros((self.model.horizon, self.model.num_states, self.model.num_actions))
        np.add.at(counts, (self.times, self.states, self.actions), 1.0)
        return counts

    @cached_property
    def _taken(self) -> Floats:
        """[T, S]: what the values at visited states count in the likelihood."""
        return -self._counts.sum(2)

    def _feature_sum(self, mass: Floats) -> Floats:
        total: Floats = mass.sum(0).ravel() @ self.features.reshape(-1, self.features.shape[2])
        return total

    @cached_property
    def _visited(self) -> Floats:
        return self.features[self.states]

    @cached_property
    def _allowed(self) -> NDArray[np.bool_]:
        return self.model.mask[self.states]


def check_fit(model: DecisionModel, demonstrations: Demonstrations) -> None:
    """Raise DemonstrationError unless the demonstrations are possible in the model."""
    states, actions = demonstrations.states, demonstrations.trajectories.actions
    if actions.ndim != 1:
        raise DemonstrationError(
            f"a table has Discrete actions, got actions {actions.shape}: use SampledMaxEntIRL"
        )
    if states.max() >= model.num_states:
        raise DemonstrationError(
            f"state {states.max()} is demonstrated, but the model has {model.num_states} states"
        )
    longest = int(demonstrations.lengths.max())
    if longest > model.horizon:
        raise DemonstrationError(
            f"an episode has {longest} steps, but the model's horizon is {model.horizon}: raise it"
        )
    check_allowed(model.mask[states], actions, demonstrations)
    if model.transitions is not None:
        _check_possible(model, demonstrations, states, actions.astype(np.int64))


def _check_possible(
    model: DecisionModel,
    demonstrations: Demonstrations,
    states: NDArray[np.int64],
    actions: NDArray[np.int64],
) -> None:
    inner = np.flatnonzero(demonstrations.times[1:] > 0)
    rows = states[inner] * model.num_actions + actions[inner]
    pairs = (
        model.transitions[rows, :].multiply(_one_hot(states[inner + 1], model.num_states)).sum(1)
    )
    impossible = np.flatnonzero(np.asarray(pairs).ravel() <= 0)
    if len(impossible):
        step = int(inner[impossible[0]])
        raise DemonstrationError(
            f"step {step} (episode {demonstrations.trajectories.episode_of_step[step]}): the model never leads from "
            f"state {states[step]} by action {actions[step]} to state {states[step + 1]}: correct the model"
        )


def _one_hot(columns: NDArray[np.int64], width: int) -> object:
    import scipy.sparse as sparse

    ones = np.ones(len(columns))
    return sparse.csr_array((ones, (np.arange(len(columns)), columns)), shape=(len(columns), width))


def _second_moment(differences: Floats, weights: Floats) -> Floats:
    """Sum over steps and actions of weight times outer product [F, F]."""
    flat = (differences * np.sqrt(weights)[..., None]).reshape(-1, differences.shape[-1])
    return flat.T @ flat
