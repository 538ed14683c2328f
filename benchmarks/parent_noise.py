"""Parents that err: noise on what the rules answer, and a language model's answers from a stub.

A parent of a symbolic task says what follows from an action. Here it errs at a given rate, and the
state that the task is in stays what the rules say: an answer is wrong, not the world. What is put
in place of the next observation is one that another row got at the same step, so that it looks like
any other.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from wm_envs.language_model import LanguageModelClient
from wm_envs.symbolic.parents import DeterministicParent, LanguageModelParent

NUM_PLACES, CENTRE_MOVE, NUM_STEPS = 8, 3, 3
"""Of wm/Navigation-v0, as its page says."""


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


class AnsweringParent(VectorWrapper[Any, Any, Any, Any]):
    """A vector environment whose observations and rewards are a parent's word."""

    def __init__(self, env: VectorEnv[Any, Any, Any], parent: LanguageModelParent) -> None:
        super().__init__(env)
        self.parent = parent
        self._shown: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._answers: dict[tuple[bytes, int], tuple[NDArray[np.float32], float]] = {}

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        """Start anew; what is shown first is the rules'."""
        self._shown, infos = self.env.reset(seed=seed, options=options)
        return self._shown, infos

    def step(self, actions: Any) -> Any:
        """Advance, and tell what the parent says of each state and action."""
        states = self.env.unwrapped.clone_state()  # type: ignore[attr-defined]
        truth, _, terminated, truncated, infos = self.env.step(actions)
        answers = [
            self._answer(row.tobytes(), state, int(action))
            for row, state, action in zip(self._shown, states, actions, strict=True)
        ]
        self._shown = truth
        observations = np.stack([observation for observation, _ in answers])
        rewards = np.array([reward for _, reward in answers])
        return observations, rewards, terminated, truncated, infos

    def _answer(self, key: bytes, state: Any, action: int) -> tuple[NDArray[np.float32], float]:
        # The true observation is all that the parent goes by, so its answer can be kept by it.
        if (key, action) not in self._answers:
            word = self.parent.consequence(state, action)
            self._answers[key, action] = word.next_observation, word.reward
        return self._answers[key, action]


@contextmanager
def erring_language_model(rate: float, seed: int) -> Iterator[LanguageModelParent]:
    """A parent of wm/Navigation-v0 whose language model is a server here that knows the rules.

    It gives a wrong place and the other reward for a share `rate` of its questions, always the same
    ones for a seed.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = json.loads(request["messages"][1]["content"])
            content = json.dumps(navigation_answer(question, rate, seed))
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
    try:
        client = LanguageModelClient(f"http://127.0.0.1:{server.server_address[1]}/v1", "stub")
        yield LanguageModelParent(client, DeterministicParent("wm/Navigation-v0"))
    finally:
        server.shutdown()
        server.server_close()


def navigation_answer(question: dict[str, Any], rate: float, seed: int) -> dict[str, Any]:
    """What follows in wm/Navigation-v0, or with a probability a wrong place and reward."""
    shown = np.array(question["observation"])
    place = int(shown[:NUM_PLACES].argmax())
    target = int(shown[NUM_PLACES : 2 * NUM_PLACES].argmax())
    step = int(shown[2 * NUM_PLACES :].argmax())
    action = question["action"]
    after = (place + action - CENTRE_MOVE) % NUM_PLACES
    reward = float(step + 1 == NUM_STEPS and after == target)
    draws = np.random.default_rng([seed, place, target, step, action])
    if draws.random() < rate:
        after = (after + int(draws.integers(1, NUM_PLACES))) % NUM_PLACES
        reward = 1.0 - reward if step + 1 == NUM_STEPS else reward
    observation = np.zeros(len(shown))
    observation[after] = observation[NUM_PLACES + target] = 1.0
    if step + 1 < NUM_STEPS:
        observation[2 * NUM_PLACES + step + 1] = 1.0
    return {"next_observation": observation.tolist(), "reward": reward}
