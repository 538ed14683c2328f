"""Parents that err: noise on what the rules answer, and a language model's answers from a stub.

A parent of a symbolic task says what follows from an action. Here it errs at a given rate, and the
state that the task is in stays what the rules say: an answer is wrong, not the world. What is put
in place of the next observation is one that another row got at the same step, so that it looks like
any other.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from wm_envs.language_model import LanguageModelClient
from wm_envs.symbolic.parents import DeterministicParent, LanguageModelParent
from wm_envs.symbolic.structure import hidden_sequence

ASKED_ID = "wm/SequenceNext-v0"
"""The task that a language model is the parent of: what is shown decides what follows."""
SEQUENCE = hidden_sequence(4, 8, 0, has_repeats=False).tolist()
NUM_SYMBOLS = 8


@dataclass(frozen=True)
class Noise:
    """How often a parent errs, each a share of its answers.

    Attributes:
        transition: Another row's next observation in place of the own.
        reward: At the end of an episode, 1 - reward in place of the reward.
        answer: Both at once.
    """

    transition: float = 0.0
    reward: float = 0.0
    answer: float = 0.0


class NoisyParent(VectorWrapper[Any, Any, Any, Any]):
    """A vector environment whose answers are wrong at the rates of `noise`.

    The errors are a function of the seed of the reset. `is_success` stays true.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], noise: Noise) -> None:
        super().__init__(env)
        self.noise = noise
        self._draws = np.random.default_rng(0)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        """Start anew, with errors that the seed determines."""
        if seed is not None:
            self._draws = np.random.default_rng([1, *np.atleast_1d(seed).tolist()])
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        """The same step with other answers."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        num_rows = len(rewards)
        both, shown, paid, others = self._draws.random((4, num_rows))
        is_wrong = (both < self.noise.answer) | (shown < self.noise.transition)
        other_row = (np.arange(num_rows) + 1 + (others * (num_rows - 1)).astype(int)) % num_rows
        observations = np.where(is_wrong[:, None], observations[other_row], observations)
        flipped = (both < self.noise.answer) | (paid < self.noise.reward)
        rewards = np.where(flipped & (terminated | truncated), 1.0 - rewards, rewards)
        return observations, rewards, terminated, truncated, infos


class AnsweringParents(VectorWrapper[Any, Any, Any, Any]):
    """A vector environment whose observations and rewards are the word of parents.

    Args:
        env: The task itself, whose rows are as many for each parent, one parent after the other.
        parents: One for each stacked run.
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], parents: Sequence[LanguageModelParent]
    ) -> None:
        super().__init__(env)
        self.parents = parents
        self._shown: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._answers: dict[tuple[int, bytes, int], tuple[NDArray[np.float32], float]] = {}

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        """Start anew; what is shown first is the rules'."""
        self._shown, infos = self.env.reset(seed=seed, options=options)
        return self._shown, infos

    def step(self, actions: Any) -> Any:
        """Advance, and tell what the parents say of each state and action."""
        states = self.env.unwrapped.clone_state()  # type: ignore[attr-defined]
        truth, _, terminated, truncated, infos = self.env.step(actions)
        # A batch of another size, as that of a probe, has fewer rows than parents.
        share = max(1, len(states) // len(self.parents))
        answers = [
            self._answer(min(row // share, len(self.parents) - 1), shown.tobytes(), state, action)
            for row, (shown, state, action) in enumerate(
                zip(self._shown, states, np.asarray(actions).tolist(), strict=True)
            )
        ]
        self._shown = truth
        observations = np.stack([observation for observation, _ in answers])
        rewards = np.array([reward for _, reward in answers])
        return observations, rewards, terminated, truncated, infos

    def _answer(
        self, number: int, shown: bytes, state: Any, action: int
    ) -> tuple[NDArray[np.float32], float]:
        # What is shown is all that a parent goes by, so its answer can be kept by it.
        key = (number, shown, action)
        if key not in self._answers:
            word = self.parents[number].consequence(state, action)
            self._answers[key] = word.next_observation, word.reward
        return self._answers[key]


@contextmanager
def erring_language_models(
    rate: float, seeds: Sequence[int]
) -> Iterator[list[LanguageModelParent]]:
    """A parent for each seed whose language model is a server here that knows the rules.

    It answers a share `rate` of its questions wrongly, always the same ones for a seed.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = json.loads(request["messages"][1]["content"])
            seed = int(request["model"].removeprefix("stub-"))
            content = json.dumps(sequence_answer(question, rate, seed))
            body = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield [
            LanguageModelParent(
                LanguageModelClient(url, f"stub-{seed}"), DeterministicParent(ASKED_ID)
            )
            for seed in seeds
        ]
    finally:
        server.shutdown()
        server.server_close()


def sequence_answer(question: dict[str, Any], rate: float, seed: int) -> dict[str, Any]:
    """What follows in wm/SequenceNext-v0, or with a probability another symbol and reward."""
    shown = int(np.argmax(question["observation"]))
    action = question["action"]
    after = SEQUENCE[(SEQUENCE.index(shown) + 1) % len(SEQUENCE)]
    reward = float(action == after)
    draws = np.random.default_rng([seed, shown, action])
    if draws.random() < rate:
        after = (after + int(draws.integers(1, NUM_SYMBOLS))) % NUM_SYMBOLS
        reward = 1.0 - reward
    observation = np.zeros(NUM_SYMBOLS)
    observation[after] = 1.0
    return {"next_observation": observation.tolist(), "reward": reward}
