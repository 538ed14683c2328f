"""Untrusted files as text and as JSON: capped in size, depth and length, with every failure a TrajectoryError."""

import csv
import gzip
import io
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wm_envs.errors import TrajectoryError

MAX_BYTES = 512 * 2**20
MAX_DOCUMENT_BYTES = 64 * 2**20  # of one JSON value: what it becomes takes up to twenty times as much
MAX_LINE_BYTES = 8 * 2**20
MAX_DEPTH = 32
MAX_ITEMS = 100_000
MAX_TEXT = 2_000_000


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in .gz; raises TrajectoryError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise TrajectoryError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise TrajectoryError(f"{path}: cannot be read, truncated or damaged: {error}") from error
    if len(content) > MAX_BYTES:
        raise TrajectoryError(f"{path}: more than {MAX_BYTES} bytes: split the file")
    return content


def read_text(path: Path) -> str:
    """The content of a UTF-8 file; raises TrajectoryError."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrajectoryError(f"{path}: byte {error.start} is not UTF-8") from error


def read_columns(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """The named columns of a CSV file, row by row with its line number.

    Raises:
        TrajectoryError: A column is missing, or a row has another number of fields than the header.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        header = next(reader, [])
        absent = [name for name in columns if name not in header]
        if absent or len(set(header)) != len(header):
            raise TrajectoryError(f"{path}: header: expected the columns {list(columns)}, got {header[:40]}")
        places = [header.index(name) for name in columns]
        for row in filter(None, reader):  # a blank line is no row
            if len(row) != len(header):
                raise TrajectoryError(
                    f"{path}: line {reader.line_num}: {len(row)} fields, the header has {len(header)}"
                )
            yield reader.line_num, [row[place] for place in places]
    except csv.Error as error:
        raise TrajectoryError(f"{path}: line {reader.line_num}: {error}") from error


def parse_json(text: str | bytes, where: str) -> Any:
    """A JSON value without NaN, infinity, duplicate keys, excessive depth or length; raises TrajectoryError.

    Args:
        text: One document.
        where: The file and line, for the message.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        raise TrajectoryError(f"{where}: more than {MAX_DOCUMENT_BYTES} bytes: write it as JSON lines (.jsonl)")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
        _check_depth(value, where, 0)
    except (ValueError, RecursionError) as error:
        if isinstance(error, TrajectoryError):
            raise
        raise TrajectoryError(f"{where}: not valid JSON: {str(error)[:200]}") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"duplicate key {name[:80]!r}")
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large a number")
    return number


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _check_depth(value: Any, where: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TrajectoryError(f"{where}: nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict | list):
        if len(value) > MAX_ITEMS:
            raise TrajectoryError(f"{where}: {len(value)} items in one place, at most {MAX_ITEMS} are read")
        for child in value.values() if isinstance(value, dict) else value:
            _check_depth(child, where, depth + 1)
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        raise TrajectoryError(f"{where}: a text of {len(value)} characters, at most {MAX_TEXT} are read")


class Fields:
    """A JSON object whose fields are read by type; every error names the file and the path of the field."""

    def __init__(self, value: Any, where: str, path: str = "") -> None:
        if not isinstance(value, dict):
            raise TrajectoryError(f"{where}: {path or 'document'}: expected an object, got {_shown(value)}")
        self.value: dict[str, Any] = value
        self.where = where
        self.path = path

    def error(self, name: str, problem: str) -> TrajectoryError:
        """An error at a field."""
        return TrajectoryError(f"{self.where}: {self._path(name)}: {problem}")

    def text(self, name: str) -> str | None:
        """A text, or None where it is missing or null."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, str):
            raise self.error(name, f"expected text, got {_shown(value)}")
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """An integer within the bounds, or None where it is missing or null."""
        value = self.value.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(name, f"expected an integer from {low} to {high}, got {_shown(value)}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, empty where it is missing or null."""
        values = self.list(name)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"{name}[{index}]", f"expected text, got {_shown(value)}")
        return tuple(values)

    def list(self, name: str) -> list[Any]:
        """A list, empty where it is missing or null."""
        value = self.value.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(name, f"expected a list, got {_shown(value)}")
        return value

    def fields(self, name: str) -> "Fields | None":
        """An object, or None where it is missing or null."""
        value = self.value.get(name)
        return None if value is None else Fields(value, self.where, self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"
