"""What a command gives back."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class CommandResult(NamedTuple):
    """The result for programs, the same for people, and the exit code."""

    result: Mapping[str, Any]
    text: str
    exit_code: int = 0
