"""Small decision problems with known weights."""

import numpy as np
import scipy.sparse as sparse

from wm_agents.irl import Demonstrations, TabularMDP, soft_value_iteration

WEIGHTS = np.array([1.0, -0.5, 2.0])
NAMES = ("left", "risk", "gain")


def one_shot(num_steps=400, weights=WEIGHTS, seed=0, scale=1.0):
    """Single choices among three actions with random features, by the softmax of utilities."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(num_steps, 3, len(weights))) * scale
    utilities = features @ (weights / scale)
    actions = (utilities + generator.gumbel(size=utilities.shape)).argmax(1)
    return TabularMDP(features, NAMES[: len(weights)]), Demonstrations.from_states(
        np.arange(num_steps), actions
    )


def walk(num_states=5, horizon=6, slip=0.0, seed=1):
    """A line on which one steps left or right, with a chance to stay; features of the state.

    The last state ends it.
    """
    features = np.random.default_rng(seed).normal(size=(num_states, 2))
    rows, columns, shares = [], [], []
    for state in range(num_states - 1):
        for action, move in enumerate((-1, 1)):
            following = max(state + move, 0)
            for place, share in ((following, 1 - slip), (state, slip)):
                if share and place < num_states:
                    rows.append(state * 2 + action)
                    columns.append(place)
                    shares.append(share)
    transitions = sparse.csr_array((shares, (rows, columns)), shape=(num_states * 2, num_states))
    numbers = np.repeat(features[:, None], 2, 1)
    return TabularMDP(numbers, ("first", "second"), transitions=transitions, horizon=horizon)


def sample(model, weights, num_episodes, seed=0, start=0):
    """Episodes of the soft-optimal policy.

    An episode ends where the model says so, or at the horizon.
    """
    generator = np.random.default_rng(seed)
    probabilities = soft_value_iteration(model, model.features @ weights).probabilities
    table = model.transitions.toarray()
    states, actions, lengths = [], [], []
    for _ in range(num_episodes):
        state, length = start, 0
        while length < model.horizon:
            action = generator.choice(model.num_actions, p=probabilities[length, state])
            states.append(state)
            actions.append(action)
            length += 1
            chances = table[state * model.num_actions + action]
            if generator.random() >= chances.sum():
                break
            state = generator.choice(model.num_states, p=chances / chances.sum())
        lengths.append(length)
    return Demonstrations.from_states(states, actions, lengths)
