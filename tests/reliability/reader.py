"""What the reliability tests know of a reader of files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        name: Of the file, with the ending that tells its kind.
        good: A file that is read.
        read: From a path to a value.
        error: What every other file ends in.
        check: Raises AssertionError on a value that should not have been accepted.
        unpack: The bytes inside a packed file, and back; mutations happen there too.
    """

    name: str
    good: bytes
    read: Callable[[Path], Any]
    error: type[Exception] | tuple[type[Exception], ...]
    check: Callable[[Any], None]
    unpack: Callable[[bytes], bytes] | None = None
    pack: Callable[[bytes], bytes] | None = None
