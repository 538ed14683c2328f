"""A client for any OpenAI-compatible chat endpoint.

Timeouts, retries with backoff, and strict JSON answers.
"""

import json
import math
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from wm_envs.errors import LanguageModelError, OptionError

MAX_ANSWER_BYTES = 4 * 2**20
RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class _TemporaryError(Exception):
    """A failure that another try may mend; `wait_seconds` is what the server asked for."""

    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class LanguageModelClient:
    """Asks a model questions that it has to answer in JSON.

    Attributes:
        url: The endpoint up to its version, for example "http://localhost:8000/v1".
        model: Name of the model, as the endpoint knows it.
        api_key: Sent as a bearer token where given; never shown.
        timeout: Seconds that one try may take in all.
        max_tries: Tries for each question.
        backoff: Seconds before the second try; doubled after each, with up to a quarter more at
            random.
        max_wait: Seconds between two tries at most, whatever the server asks for.
    """

    url: str
    model: str
    api_key: str | None = None
    timeout: float = 60.0
    max_tries: int = 4
    backoff: float = 1.0
    max_wait: float = 30.0

    def __post_init__(self) -> None:
        if not isinstance(self.url, str) or not self.url.startswith(("http://", "https://")):
            raise OptionError(f"url begins with http:// or https://, got {self.url!r}")
        if not isinstance(self.model, str) or not self.model:
            raise OptionError(f"model is the name of a model, got {self.model!r}")
        if (
            isinstance(self.max_tries, bool)
            or not isinstance(self.max_tries, int)
            or self.max_tries < 1
        ):
            raise OptionError(f"max_tries is an integer of at least 1, got {self.max_tries!r}")
        for name in ("timeout", "backoff", "max_wait"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise OptionError(f"{name} is a number of seconds, got {value!r}")

    def __repr__(self) -> str:
        return f"LanguageModelClient(url={self.url!r}, model={self.model!r})"

    def ask(self, instructions: str, question: str, check: Callable[[Any], Any]) -> Any:
        """Ask until an answer passes the check.

        Args:
            instructions: The system message; it says what JSON is wanted.
            question: The user's message.
            check: Takes the parsed answer and returns what the caller wants, or raises ValueError.

        Raises:
            LanguageModelError: Not reachable, refused, or no acceptable answer in `max_tries`;
                names the last reason.
        """
        reason = ""
        for number in range(self.max_tries):
            try:
                return self._try(instructions, question, check)
            except _TemporaryError as error:
                reason = str(error)
                if number + 1 < self.max_tries:
                    time.sleep(self._wait_seconds(number, error.wait_seconds))
        raise LanguageModelError(
            f"{self.url} gave no usable answer in {self.max_tries} tries; the last: {reason}. Is "
            "the endpoint up, and "
            f"does it serve {self.model!r}?"
        )

    def _try(self, instructions: str, question: str, check: Callable[[Any], Any]) -> Any:
        content = self._complete(instructions, question)
        try:
            return check(parse_json(content))
        except ValueError as error:
            # Asked again, a model often does better.
            raise _TemporaryError(
                f"the answer was not what was asked for ({error}): {content[:200]!r}"
            ) from error

    def _complete(self, instructions: str, question: str) -> str:
        """The text of one completion."""
        messages = [
            {"role": "system", "content": instructions},
            {"role": "user", "content": question},
        ]
        # Temperature 0: the same question is to get the same answer, as far as the server can.
        body = {"model": self.model, "messages": messages, "temperature": 0}
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions",
            json.dumps(body).encode(),
            headers,
            method="POST",
        )
        answer = self._send(request)
        try:
            content = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise _TemporaryError(f"no chat completion: {answer[:200]!r}") from error
        if not isinstance(content, str):
            raise _TemporaryError(f"the completion holds no text but {type(content).__name__}")
        return content

    def _send(self, request: urllib.request.Request) -> bytes:
        # The timeout of `urlopen` counts from byte to byte, the deadline over the whole answer.
        deadline = time.monotonic() + self.timeout
        try:
            with urllib.request.urlopen(request, timeout=max(self.timeout, 1e-3)) as response:
                return _read(response, deadline)
        except urllib.error.HTTPError as error:
            detail = f"HTTP {error.code} {error.reason}"
            asked = error.headers.get("Retry-After") if error.headers else None
            # The body is not read: a server's page of HTML helps nobody.
            error.close()
            if error.code in RETRIED_STATUS:
                raise _TemporaryError(detail, _seconds(asked)) from error
            raise LanguageModelError(
                f"{self.url} refused the request: {detail}. Check url, model and key"
            ) from error
        except (HTTPException, OSError) as error:  # URLError and TimeoutError are OSErrors
            raise _TemporaryError(f"not reachable ({error})") from error

    def _wait_seconds(self, number: int, asked: float) -> float:
        # So that clients do not come back in step.
        server_wait = self.backoff * 2**number * (1 + 0.25 * random.random())
        return min(max(server_wait, asked), self.max_wait)


def parse_json(text: str) -> Any:
    """JSON, also within a fence of backticks.

    Raises ValueError on NaN and on keys that appear twice.
    """
    stripped = text.strip()
    # Many models wrap what they answer, whatever the instructions say.
    if stripped.startswith("```"):
        stripped = stripped.strip("`").removeprefix("json").strip()
    try:
        return json.loads(stripped, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_number(value: Any) -> bool:
    """Whether a parsed value is a finite number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read(response: Any, deadline: float) -> bytes:
    """The body within the deadline, which a server that trickles bytes would otherwise outlast."""
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise _TemporaryError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > deadline:
            raise _TemporaryError("the answer took too long")
    return b"".join(parts)


def _seconds(text: str | None) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0  # a date: our own backoff will do
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return result
