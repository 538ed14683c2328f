"""The ends of the one-agent scale: random play on every task, and the best that can be computed.

    python -m benchmarks.one_agent_tasks.scale

Random play is measured over 100 episodes a task (more for Blackjack), and anew only where a task
has no figure yet. The best is exact where the rules are a table, and a script or an expert
elsewhere. bsuite has a scale of its own.
"""

import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv

from benchmarks.one_agent_tasks.table import CLIFF_STEPS, SCALE, TRACK_SEEDS, Task, tasks
from benchmarks.report import write_result
from wm_agents.evaluation.episodes import RandomAgent, evaluate

RANDOM_EPISODES = 100
SEED = 50_000_000
"""Apart from those of training and evaluation."""


def random_play(task: Task) -> dict[str, Any]:
    """What uniform actions score, with the standard error of the mean."""
    episodes = max(RANDOM_EPISODES, task.episodes)
    rows = SyncVectorEnv([task.make] * 20)
    agent = RandomAgent(rows.single_action_space, seed=0)
    results = evaluate(agent, rows, episodes, seed=SEED)
    rows.close()
    values = results.returns if task.metric == "mean_return" else results.successes
    assert values is not None, f"{task.name} reports no success"
    return {
        "score": float(np.mean(values)),
        "standard_error": float(np.std(values) / np.sqrt(episodes)),
        "mean_return": results.mean_return,
        "success_rate": results.success_rate,
        "mean_length": float(results.lengths.mean()),
        "num_episodes": episodes,
    }


def table_optimum(env_id: str, horizon: int) -> float:
    """Best expected return of a toy-text environment within its time limit, by value iteration."""
    env: Any = gym.make(env_id).unwrapped
    num_states, num_actions = env.observation_space.n, env.action_space.n
    starts = np.asarray(env.initial_state_distrib, np.float64)
    transitions = np.zeros((num_states, num_actions, num_states))  # [O, A, O], to what goes on
    rewards = np.zeros((num_states, num_actions))  # [O, A]
    for state in range(num_states):
        for action in range(num_actions):
            for probability, following, reward, is_terminal in env.P[state][action]:
                rewards[state, action] += probability * reward
                if not is_terminal:
                    transitions[state, action, following] += probability
    values = np.zeros(num_states)
    for _ in range(horizon):
        values = (rewards + transitions @ values).max(axis=1)
    return float(starts @ values / starts.sum())


CARDS = tuple((min(rank, 10), 1 / 13) for rank in range(1, 14))


def blackjack_optimum() -> float:
    """Best expected return of Blackjack-v1 (`sab`, infinite deck), by dynamic programming."""
    total = 0.0
    for first, p in CARDS:
        for second, q in CARDS:
            for shown, r in CARDS:
                is_natural = {first, second} == {1, 10}
                points, has_ace = first + second, 1 in (first, second)
                total += p * q * r * _hand_value(points, has_ace, shown, is_natural)
    return total


def _worth(points: int, has_ace: bool) -> int:
    return points + 10 if has_ace and points + 10 <= 21 else points


@cache
def _hand_value(points: int, has_ace: bool, shown: int, is_natural: bool = False) -> float:
    """The better of holding and drawing, with `points` where an ace counts 1."""
    hold = sum(
        probability * _payoff(_worth(points, has_ace), dealer, is_natural, dealer_natural)
        for (dealer, dealer_natural), probability in _dealer(shown).items()
    )
    draw = 0.0
    for card, probability in CARDS:
        following = points + card
        if following > 21:
            draw -= probability
        else:
            draw += probability * _hand_value(following, has_ace or card == 1, shown)
    return max(hold, draw)


def _payoff(player: int, dealer: int, is_natural: bool, dealer_natural: bool) -> float:
    if is_natural and not dealer_natural:
        return 1.0
    if dealer > 21:
        return 1.0
    return float(np.sign(player - dealer))


@cache
def _dealer(shown: int) -> dict[tuple[int, bool], float]:
    """Probabilities of the dealer's worth, and of whether it is a natural."""
    outcomes: dict[tuple[int, bool], float] = {}

    def play(points: int, has_ace: bool, num_cards: int, probability: float) -> None:
        worth = _worth(points, has_ace)
        if num_cards >= 2 and worth >= 17:
            key = (worth, num_cards == 2 and worth == 21)
            outcomes[key] = outcomes.get(key, 0.0) + probability
            return
        for card, share in CARDS:
            play(points + card, has_ace or card == 1, num_cards + 1, probability * share)

    play(shown, shown == 1, 1, 1.0)
    return outcomes


def expert_return(track: str, track_seed: int, episodes: int = 20) -> float:
    """Mean return of the driving expert from random starts."""
    from wm_envs.driving.env import DrivingVectorEnv

    env = DrivingVectorEnv(episodes, track=track, track_seed=track_seed)
    env.reset(seed=SEED)
    returns, is_running = np.zeros(episodes), np.ones(episodes, np.bool_)
    while is_running.any():
        _, rewards, terminated, truncated, _ = env.step(env.expert_actions())
        returns += np.where(is_running, rewards, 0.0)
        is_running &= ~(terminated | truncated)
    return float(returns.mean())


def sponsor_return(episodes: int = 1_000) -> float:
    """Mean return of a country that sponsors every draft and votes for it."""
    env = gym.make("wm/UNResolution-v0")
    total = 0.0
    for episode in range(episodes):
        _, info = env.reset(seed=SEED + episode)
        is_over = False
        while not is_over:
            # COSPONSOR where it is valid, else YES, else NO_ACTION.
            action = int(np.flatnonzero(info["action_mask"])[0])
            _, reward, terminated, truncated, info = env.step(action)
            total += float(reward)
            is_over = terminated or truncated
    env.close()
    return total / episodes


def higher_lower_return(episodes: int = 10_000) -> float:
    """Mean return of the likelier guess in HigherLowerEasy, with the cards that are gone counted."""
    generator = np.random.default_rng(SEED)
    total = 0
    for _ in range(episodes):
        deck = generator.permutation(np.repeat(np.arange(13), 4))
        left = np.full(13, 4)
        left[deck[0]] -= 1
        for current, following in pairwise(deck):
            is_higher = left[current + 1 :].sum() > left[:current].sum()
            if following != current:
                total += 1 if (following > current) == is_higher else -1
            left[following] -= 1
    return total / episodes / 52


def best_known() -> dict[str, dict[str, Any]]:
    """Scores and their sources, of the tasks whose best is measured or computed here."""
    iteration = "value iteration over the environment's own table within the time limit"
    expert = "mean of 20 drives of wm_envs.driving.expert from random starts"
    found: dict[str, tuple[Callable[[], float], str]] = {
        "wm/Driving-v0:oval": (lambda: expert_return("oval", 0), expert),
        "wm/UNResolution-v0": (sponsor_return, "sponsoring and voting yes, 1,000 drafts"),
        "FrozenLake-v1": (lambda: table_optimum("FrozenLake-v1", 100), iteration),
        "CliffWalking-v1": (lambda: table_optimum("CliffWalking-v1", CLIFF_STEPS), iteration),
        "Taxi-v4": (lambda: table_optimum("Taxi-v4", 200), iteration),
        "Blackjack-v1": (blackjack_optimum, "dynamic programming over hands and shown cards"),
        "popgym-HigherLowerEasy-v0": (
            higher_lower_return,
            "the likelier guess with the cards that are gone counted, 10,000 decks",
        ),
    }
    scores = {name: {"score": score(), "source": source} for name, (score, source) in found.items()}
    for seed in TRACK_SEEDS:
        score = expert_return("random", seed)
        scores[f"wm/Driving-v0:random-{seed}"] = {"score": score, "source": expert}
    return scores


def main() -> None:
    """Measure what is missing and write benchmarks/results/one_agent_scale.json."""
    random: dict[str, Any] = {}
    if SCALE.exists():
        random = json.loads(SCALE.read_text(encoding="utf-8"))["figures"]["random"]
    for task in tasks().values():
        if task.metric == "bsuite" or task.name in random:
            continue
        if missing := task.missing_packages():
            print(f"{task.name}: skipped, not installed: {', '.join(missing)}")
            continue
        random[task.name] = random_play(task)
        print(f"{task.name}: {random[task.name]['score']:.4g}", flush=True)
    figures = {"random": random, "best_known": best_known()}
    command = "python -m benchmarks.one_agent_tasks.scale"
    write_result("one_agent_scale", figures, seeds=SEED, command=command, folder=SCALE.parent)


if __name__ == "__main__":
    main()
