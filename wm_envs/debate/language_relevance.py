"""Relevance by a language model, in batches of numbered texts."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wm_envs.data.options import check_integer
from wm_envs.debate.relevance import Scores
from wm_envs.debate.tendencies import CLAIMS, NUM_TENDENCIES, TENDENCIES
from wm_envs.language_model import LanguageModelClient, is_number

INSTRUCTIONS = """You judge short observations about a person. For each one, say how much it \
supports each claim:
{claims}
Answer with JSON alone: an object that maps the id of every observation to an object with \
a number from 0 (says nothing
for the claim) to 1 (supports it fully) for each of {names}."""


class LanguageModelRelevance:
    """A scorer that asks a language model; see `Relevance`.

    A batch counts only when the answer has exactly the ids that were asked for, each with seven
    numbers from 0 to 1. When a batch fails, `score` raises: it is never taken for zero relevance.
    Answers are kept, so that after a failure only what is missing is asked again.

    Args:
        client: The endpoint.
        batch_size: Observations in one question.

    Raises:
        OptionError: `batch_size` is no integer of at least 1.
    """

    def __init__(self, client: LanguageModelClient, batch_size: int = 20) -> None:
        self.client = client
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self._known: dict[str, list[float]] = {}
        claims = "\n".join(f"- {tendency}: {CLAIMS[tendency]}" for tendency in TENDENCIES)
        self._instructions = INSTRUCTIONS.format(claims=claims, names=", ".join(TENDENCIES))

    def score(self, texts: Sequence[str]) -> Scores:
        """Relevance [N, 7] of N texts; raises LanguageModelError."""
        # Each text once, however often it occurs, in the order of first appearance.
        missing = list(dict.fromkeys(text for text in texts if text not in self._known))
        for start in range(0, len(missing), self.batch_size):
            batch = missing[start : start + self.batch_size]
            self._known |= dict(zip(batch, self._ask(batch), strict=True))
        return np.array([self._known[text] for text in texts], np.float64).reshape(
            len(texts), NUM_TENDENCIES
        )

    def _ask(self, batch: list[str]) -> list[list[float]]:
        # Short ids of our own: texts as keys would come back misspelled.
        names = [f"o{number}" for number in range(len(batch))]
        question = json.dumps(
            [{"id": name, "text": text} for name, text in zip(names, batch, strict=True)]
        )
        rows: list[list[float]] = self.client.ask(self._instructions, question, _checker(names))
        return rows


def _checker(names: list[str]) -> Callable[[Any], list[list[float]]]:
    """A check that an answer holds these ids and no others."""

    def check(answer: Any) -> list[list[float]]:
        if not isinstance(answer, dict) or set(answer) != set(names):
            # A few of the ids are enough to see what went wrong.
            got = sorted(answer)[:5] if isinstance(answer, dict) else type(answer).__name__
            raise ValueError(f"expected the ids {names[0]} to {names[-1]}, got {got}")
        return [_row(answer[name], name) for name in names]

    return check


def _row(scores: Any, name: str) -> list[float]:
    if not isinstance(scores, dict) or set(scores) != set(TENDENCIES):
        raise ValueError(f"{name} needs a number for each of the seven tendencies")
    row = [scores[tendency] for tendency in TENDENCIES]
    if not all(is_number(value) and 0 <= value <= 1 for value in row):
        raise ValueError(f"{name} has a score that is no number from 0 to 1")
    return [float(value) for value in row]
