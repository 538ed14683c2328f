"""Every task can be solved with certainty by who knows its hidden structure, and by chance as often as stated."""

from collections import deque
from functools import partial

import gymnasium as gym
import numpy as np
import pytest

import wm_envs  # noqa: F401
from wm_envs.symbolic import structure

NUM_EPISODES = 25
CHANCE = {
    "wm/PatternEcho-v0": 1 / 8,
    "wm/SequenceNext-v0": 1 / 8,
    "wm/Conditional-v0": 1 / 16,
    "wm/Navigation-v0": 1 / 8,
    "wm/DelayedMatch-v0": 1 / 8,
    "wm/RuleRecall-v0": 1 / 36,
    "wm/TMaze-v0": 1 / 16,
}


def hot(observation, start, stop):
    """The index of the one in a one-hot field; None if it is all zero."""
    part = observation[start:stop]
    return int(part.argmax()) if part.any() else None


# A policy is a generator: it is sent observations and gives actions. It sees what an agent sees.


def echo(first):
    observation = first
    while True:
        observation = yield int(observation.argmax())


def remember(num_symbols, first):
    while True:
        yield hot(first, 0, num_symbols)


def next_in_sequence(sequence, first):
    successor = dict(zip(sequence.tolist(), np.roll(sequence, -1).tolist(), strict=True))
    observation = first
    while True:
        observation = yield successor[int(observation.argmax())]


def conditional(level, first):
    *base, special = structure.base_actions(0).tolist()
    observation = first
    while True:
        shape, colour = hot(observation, 0, 5), hot(observation, 5, 13)
        answer = base[(shape + (level > 1 and colour > 3)) % 5]
        observation = yield (answer + 8 * (colour == 0) + 8 * (level > 2 and shape == special)) % 16


def navigate(num_places, first):
    observation = first
    while True:
        gap = hot(observation, num_places, 2 * num_places) - hot(observation, 0, num_places)
        gap = (gap + num_places // 2) % num_places - num_places // 2
        observation = yield max(-3, min(4, gap)) + 3


def recall(num_cues, num_symbols, first):
    observation, rule, previous = first, {}, None
    while True:
        cue, response = (
            hot(observation, 0, num_cues),
            hot(observation, num_cues, num_cues + num_symbols),
        )
        if response is not None:
            rule[previous] = response
        previous = cue
        observation = yield rule[cue] if observation[-1] else 0


def then_anything(actions):
    for action in actions:  # noqa: UP028 (a list cannot be sent the observations)
        yield action
    while True:
        yield 0


def search(successors, num_actions, parse, first):
    """Breadth first, forward from the start."""
    start, goal = parse(first)
    paths, frontier = {start: []}, deque([start])
    while goal not in paths:
        state = frontier.popleft()
        for action in range(num_actions):
            following = successors(state, action)
            if following not in paths:
                paths[following] = [*paths[state], action]
                frontier.append(following)
    yield from then_anything(paths[goal])


def perm_puzzle(num_tokens, first):
    moves = structure.position_permutations(num_tokens, 0).tolist()

    def parse(observation):
        tokens = observation.reshape(2, num_tokens, num_tokens).argmax(axis=2)
        return tuple(tokens[0].tolist()), tuple(tokens[1].tolist())

    return search(lambda state, a: tuple([state[place] for place in moves[a]]), 3, parse, first)


def lights_out(width, first):
    """Press the smallest set of cells whose toggles turn one board into the other."""
    cells = first.astype(bool).reshape(2, -1)
    difference = sum(1 << i for i in np.flatnonzero(cells[0] ^ cells[1]).tolist())
    shortest = {0: ()}
    for action, mask in enumerate(structure.toggle_masks(width, 0).tolist()):
        for board, presses in list(shortest.items()):
            longer = (*presses, action)
            if len(shortest.get(board ^ mask, range(99))) > len(longer):
                shortest[board ^ mask] = longer
    yield from then_anything(shortest[difference])


def automaton(num_tokens, first):
    table = structure.transition_table(num_tokens, 0).tolist()

    def parse(observation):
        return hot(observation, 0, num_tokens), hot(observation, num_tokens, 2 * num_tokens)

    return search(lambda token, a: table[token][a], 4, parse, first)


def success_rate(env_id, policy, **options):
    env = gym.make(env_id, **options)
    successes = []
    for episode in range(NUM_EPISODES):
        observation, _ = env.reset(seed=0 if episode == 0 else None)
        actions, is_over = policy(observation), False
        action = next(actions)
        while not is_over:
            observation, _, terminated, truncated, info = env.step(action)
            assert not terminated
            is_over = truncated
            action = action if is_over else actions.send(observation)
        successes.append(info["is_success"])
    return np.mean(successes)


@pytest.mark.parametrize(
    ("env_id", "options", "policy"),
    [
        ("wm/PatternEcho-v0", {}, echo),
        ("wm/PatternEcho-v0", {"level": 3}, echo),
        (
            "wm/SequenceNext-v0",
            {},
            partial(next_in_sequence, structure.hidden_sequence(4, 8, 0, has_repeats=False)),
        ),
        (
            "wm/SequenceNext-v0",
            {"level": 5, "instance": 2, "time_limit": 10},
            partial(next_in_sequence, structure.hidden_sequence(8, 8, 2, has_repeats=False)),
        ),
        *(
            ("wm/Conditional-v0", {"level": level}, partial(conditional, level))
            for level in (1, 2, 3)
        ),
        *(
            ("wm/Navigation-v0", {"level": level}, partial(navigate, 8 * level))
            for level in (1, 2, 3)
        ),
        *(("wm/DelayedMatch-v0", {"level": level}, partial(remember, 8)) for level in (1, 4)),
        ("wm/DelayedMatch-v0", {"num_symbols": 64}, partial(remember, 64)),
        ("wm/RuleRecall-v0", {}, partial(recall, 4, 6)),
        ("wm/RuleRecall-v0", {"level": 4}, partial(recall, 6, 8)),
        *(
            ("wm/RuleRecall-v0", {"level": level, "max_level_spaces": True}, partial(recall, 6, 8))
            for level in (1, 2, 3, 4)
        ),
        ("wm/TMaze-v0", {}, partial(remember, 16)),
        ("wm/TMaze-v0", {"level": 3, "reveal": True}, partial(remember, 16)),
        ("wm/TMaze-v0", {"num_cues": 4}, partial(remember, 4)),
        ("wm/PermPuzzle-v0", {}, partial(perm_puzzle, 6)),
        ("wm/PermPuzzle-v0", {"level": 2}, partial(perm_puzzle, 7)),
        ("wm/LightsOut-v0", {}, partial(lights_out, 3)),
        ("wm/LightsOut-v0", {"level": 2}, partial(lights_out, 4)),
        ("wm/TokenAutomaton-v0", {}, partial(automaton, 64)),
        ("wm/TokenAutomaton-v0", {"level": 2}, partial(automaton, 256)),
    ],
)
def test_a_scripted_solver_always_succeeds(env_id, options, policy):
    assert success_rate(env_id, policy, **options) == 1.0


@pytest.mark.parametrize("env_id", sorted(CHANCE))
def test_random_actions_succeed_by_chance(env_id):
    num_envs = 20_000
    envs = gym.make_vec(env_id, num_envs)
    envs.reset(seed=1)
    envs.action_space.seed(2)
    truncated = np.zeros(num_envs, bool)
    while not truncated.any():
        _, rewards, _, truncated, infos = envs.step(envs.action_space.sample())
    np.testing.assert_array_equal(infos["is_success"], rewards == 1.0)
    chance = CHANCE[env_id]
    tolerance = 4 * np.sqrt(chance * (1 - chance) / num_envs)
    assert infos["is_success"].mean() == pytest.approx(chance, abs=tolerance)


def test_rule_recall_needs_its_demonstrations():
    """Who ignores the cue and always gives the same answer is right on both queries more rarely than one in six."""
    assert success_rate("wm/RuleRecall-v0", partial(remember, 4)) < 0.2
