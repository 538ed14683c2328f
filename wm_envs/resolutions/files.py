"""Untrusted files as text and as JSON.

Capped in size, depth and length, with every failure a TrajectoryError.
"""

import csv
import gzip
import io
import json
import math
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from wm_envs.errors import TrajectoryError

MAX_BYTES = 512 * 2**20
# Of one JSON value: what it becomes takes up to twenty times as much.
MAX_DOCUMENT_BYTES = 64 * 2**20
MAX_LINE_BYTES = 8 * 2**20
MAX_DEPTH = 32
MAX_ITEMS = 100_000
MAX_TEXT = 2_000_000


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in .gz; raises TrajectoryError."""
    try:
        # A byte more than is allowed is enough to know that there are too many.
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
        # A column name that appears twice would make every row ambiguous.
        if absent or len(set(header)) != len(header):
            raise TrajectoryError(
                f"{path}: header: expected the columns {list(columns)}, got {header[:40]}"
            )
        places = [header.index(name) for name in columns]
        for row in filter(None, reader):  # a blank line is no row
            # A comma within a field that is not quoted would shift all columns after it.
            if len(row) != len(header):
                raise TrajectoryError(
                    f"{path}: line {reader.line_num}: {len(row)} fields, the header has "
                    f"{len(header)}"
                )
            yield reader.line_num, [row[place] for place in places]
    except csv.Error as error:
        raise TrajectoryError(f"{path}: line {reader.line_num}: {error}") from error


@lru_cache(maxsize=100_000)  # the same few thousand roll calls stand on a million rows
def _whole_number(text: str) -> int | None:
    """The integer that a text like 10, 10.0 or 1e1 stands for.

    None where it is none below 10**15.
    """
    stripped = text.strip()
    # Bounded and matched first: a text of a million digits takes long to become a number.
    if len(stripped) > 40 or not re.fullmatch(
        r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?", stripped
    ):
        return None
    number = Decimal(stripped)
    # The bound comes first: the integer of 1e999 would take a thousand digits.
    if abs(number) >= 10**15 or number != number.to_integral_value():
        return None
    return int(number)


def whole_number(text: str, where: str, low: int, high: int) -> int:
    """An integer of a CSV file, which tools also write as 10.0 or 1e1: all are one number.

    Args:
        text: The field.
        where: File, line and column, for the message.
        low: The least number that is allowed.
        high: The greatest.

    Raises:
        TrajectoryError: No number, a fraction, or out of bounds.
    """
    number = _whole_number(text)
    if number is None or not low <= number <= high:
        raise TrajectoryError(
            f"{where}: expected a whole number from {low} to {high}, such as 67 or 67.0, got "
            f"{text[:40]!r}"
        )
    return number


def finite_number(text: str, where: str) -> float:
    """A number of a CSV file.

    Args:
        text: The field.
        where: File, line and column, for the message.

    Raises:
        TrajectoryError: No number, or one that is not finite.
    """
    try:
        number = float(text)
    except ValueError as error:
        raise TrajectoryError(f"{where}: expected a number, got {text[:40]!r}") from error
    if not math.isfinite(number):
        raise TrajectoryError(f"{where}: expected a finite number, got {text[:40]!r}")
    return number


class RowCount:
    """Counts the rows of a file that are read and those that are not.

    Of the latter it keeps the first examples and the reasons.

    Args:
        path: The file, for messages.
        rows: What its rows are, such as "votes".
        losses: Takes the counts, in place. Without it, a warning says at the end what was left out.

    Attributes:
        num_read: Rows that are read, those that say the same as an earlier one among them.
        dropped: Rows that are left out, by the reason.
    """

    NUM_EXAMPLES = 3

    def __init__(self, path: Path | str, rows: str, losses: Counter[str] | None) -> None:
        self.path = path
        self.rows = rows
        self.losses = losses
        self.num_read = 0
        self.dropped: Counter[str] = Counter()
        self.examples: list[str] = []

    def note(self, what: str, number: int = 1) -> None:
        """Count something that is no loss, such as a row that says the same as an earlier one."""
        if self.losses is not None:
            self.losses[what] += number

    def drop(self, why: str, example: str) -> None:
        """Count a row that is left out."""
        self.dropped[why] += 1
        self.note(why)
        if len(self.examples) < self.NUM_EXAMPLES:
            self.examples.append(f"{example} ({why})")

    def finish(self, *, may_be_empty: bool = False, may_be_partial: bool = False) -> None:
        """Judge the whole file.

        Args:
            may_be_empty: Whether a file without any row is good.
            may_be_partial: Whether there is no warning where some rows are of no use.

        Raises:
            TrajectoryError: No row was read, or more were left out than read.
        """
        num_dropped = self.dropped.total()
        shown = "; ".join(self.examples)
        # More than half unusable means another file or other columns, not a few bad rows.
        if num_dropped > self.num_read:
            raise TrajectoryError(
                f"{self.path}: {num_dropped} of {num_dropped + self.num_read} {self.rows} cannot "
                "be used, "
                f"the first: {shown}: check that the columns are what their names say and that the "
                "files "
                "belong together"
            )
        # An empty file beside a full list of losses is still no data.
        if self.num_read == 0 and not may_be_empty:
            raise TrajectoryError(
                f"{self.path}: there are no {self.rows} in this file: give one with some"
            )
        if num_dropped > 0 and self.losses is None and not may_be_partial:
            reasons = ", ".join(f"{count} {why}" for why, count in self.dropped.items())
            warnings.warn(
                f"{self.path}: {self.num_read} {self.rows} are read, and left out are {reasons}; "
                f"the first: {shown}; give losses=Losses() to count them yourself",
                stacklevel=3,  # of the reader's caller
            )


def parse_json(text: str | bytes, where: str) -> Any:
    """A JSON value without NaN, infinity, duplicate keys, excessive depth or length.

    Raises TrajectoryError.

    Args:
        text: One document.
        where: The file and line, for the message.
    """
    # Before parsing, which takes many times the memory of the text.
    if len(text) > MAX_DOCUMENT_BYTES:
        raise TrajectoryError(
            f"{where}: more than {MAX_DOCUMENT_BYTES} bytes: write it as JSON lines (.jsonl)"
        )
    try:
        value = json.loads(
            # Duplicate keys are refused: which of the two counts is chance.
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
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


# Depth after parsing: Python's parser has its own limit, the rest of the reader does not.
def _check_depth(value: Any, where: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TrajectoryError(f"{where}: nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict | list):
        if len(value) > MAX_ITEMS:
            raise TrajectoryError(
                f"{where}: {len(value)} items in one place, at most {MAX_ITEMS} are read"
            )
        for child in value.values() if isinstance(value, dict) else value:
            _check_depth(child, where, depth + 1)
    elif isinstance(value, str) and len(value) > MAX_TEXT:
        raise TrajectoryError(
            f"{where}: a text of {len(value)} characters, at most {MAX_TEXT} are read"
        )


class Fields:
    """A JSON object whose fields are read by type.

    Every error names the file and the path of the field.
    """

    def __init__(self, value: Any, where: str, path: str = "") -> None:
        if not isinstance(value, dict):
            raise TrajectoryError(
                f"{where}: {path or 'document'}: expected an object, got {_shown(value)}"
            )
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
        # In Python True is an integer, too.
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
