"""Observations: short texts about a person, without polarity, and the files that hold them."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from wm_envs.data.files import replacing
from wm_envs.data.paths import user_path
from wm_envs.debate.tendencies import TENDENCIES, Tendency
from wm_envs.errors import ObservationError

MAX_BYTES = 280
# Far above any corpus: what is larger was not made for this.
MAX_FILE_BYTES = 64 * 2**20
# The key of `metadata` that holds a label made by hand or by a generator.
LABEL = "owner"
CORPUS = "autobiographies.json"


@dataclass(frozen=True)
class Observation:
    """One thing that a person did, felt, wanted or said.

    Attributes:
        id: Name, unique within a collection.
        content: Text of at most 280 bytes in UTF-8; `from_text` cuts longer ones.
        source_id: Where it comes from, for example a person or a file.
        timestamp: When it was so, in any notation.
        metadata: Whatever else is known; `owner` names the tendency that a label gives it.
    """

    id: str
    content: str
    source_id: str = ""
    timestamp: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise ObservationError(
                f"the id of an observation is text that is not empty, got {self.id!r}"
            )
        if not isinstance(self.content, str) or not self.content.strip():
            raise ObservationError(f"observation {self.id!r} has no content: leave it out")
        # Bytes and not characters: limits of stores are in bytes.
        if (size := len(_utf8(self.id, self.content))) > MAX_BYTES:
            raise ObservationError(
                f"observation {self.id!r} has {size} bytes, more than {MAX_BYTES}: make it with "
                "Observation.from_text"
            )
        if not isinstance(self.source_id, str) or not isinstance(self.timestamp, str | None):
            raise ObservationError(f"observation {self.id!r}: source_id and timestamp are text")
        if not isinstance(self.metadata, Mapping):
            raise ObservationError(
                f"observation {self.id!r}: metadata maps names to values, got {self.metadata!r}"
            )
        if LABEL in self.metadata:
            to_tendency(self.metadata[LABEL])

    @classmethod
    def from_text(cls, id: str, text: str, **others: Any) -> "Observation":
        """An observation from text of any length, cut at a word to 280 bytes."""
        return cls(id, cut(text), **others)

    @property
    def content_hash(self) -> str:
        """Equal for texts that differ in case and spaces only."""
        # What differs in case and spaces alone is the same thing said twice, and would count twice.
        return sha256(" ".join(self.content.lower().split()).encode()).hexdigest()

    @property
    def owner(self) -> Tendency | None:
        """The label, where there is one."""
        return to_tendency(self.metadata[LABEL]) if LABEL in self.metadata else None


class Observations:
    """An ordered collection without duplicates of content.

    Args:
        observations: Any number; of two with the same content the first is kept.
        source: Where they come from, in words.

    Raises:
        ObservationError: Two different observations have the same id.
    """

    def __init__(self, observations: Iterable[Observation] = (), source: str = "") -> None:
        unique: dict[str, Observation] = {}
        self.num_duplicates = 0
        for observation in observations:
            # A hash that is there already is counted and dropped; the first wording stays.
            self.num_duplicates += observation.content_hash in unique
            unique.setdefault(observation.content_hash, observation)
        self._items = tuple(unique.values())
        self.source = source
        ids: set[str] = set()
        for observation in self._items:
            if observation.id in ids:
                raise ObservationError(
                    f"two observations have the id {observation.id!r}: give each its own"
                )
            ids.add(observation.id)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Observation]:
        return iter(self._items)

    def __getitem__(self, index: int) -> Observation:
        return self._items[index]

    @property
    def texts(self) -> list[str]:
        """The contents in order."""
        return [observation.content for observation in self]

    def chosen(self, **metadata: Any) -> "Observations":
        """Those whose metadata have these values, for example `chosen(split="train")`."""
        matching = [
            o
            for o in self
            if all(o.metadata.get(name) == value for name, value in metadata.items())
        ]
        return Observations(matching, self.source)

    def split(self, share: float, seed: int = 0) -> tuple["Observations", "Observations"]:
        """Two disjoint parts drawn at random, the second with `share` of them, rounded."""
        if not 0.0 <= share < 1.0:
            raise ObservationError(f"the share to hold out is in [0, 1), got {share!r}")
        order = np.random.default_rng(seed).permutation(len(self))
        num_held_out = round(share * len(self))
        # Sorted, so that both parts keep the order of the collection.
        parts = (np.sort(order[num_held_out:]), np.sort(order[:num_held_out]))
        first, second = (Observations([self[int(i)] for i in part], self.source) for part in parts)
        return first, second

    def to_plain(self) -> dict[str, Any]:
        """`{source, count, observations: [...]}`."""
        rows = [
            {
                "id": o.id,
                "content": o.content,
                "source_id": o.source_id,
                "timestamp": o.timestamp,
                "metadata": dict(o.metadata),
            }
            for o in self
        ]
        return {"source": self.source, "count": len(rows), "observations": rows}

    def save(self, path: str | Path) -> None:
        """Write the file that `load` reads; after an error an earlier one is as it was."""
        with replacing(user_path(path)) as stream:
            stream.write(json.dumps(self.to_plain(), indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Observations":
        """Read a file; raises ObservationError that names the file and the place."""
        try:
            text = content_of(path).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ObservationError(f"cannot read {path}: {error}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str = "the text") -> "Observations":
        """Read the JSON of a file; `name` is what errors call it."""
        return cls.from_plain(parse_document(text, name), name)

    @classmethod
    def from_plain(cls, data: Any, name: str = "the data") -> "Observations":
        """From the form of `to_plain`; raises ObservationError. Longer texts are cut at a word."""
        if not isinstance(data, dict) or not isinstance(data.get("observations"), list):
            raise ObservationError(
                f"{name} is not of the form {{source, count, observations: [...]}}"
            )
        rows, source = data["observations"], data.get("source", "")
        # A file that was cut off in the middle of its list says another number.
        if data.get("count", len(rows)) != len(rows):
            raise ObservationError(
                f"{name} says count {data['count']!r} but holds {len(rows)} observations"
            )
        if not isinstance(source, str):
            raise ObservationError(f"{name}: source is text, got {source!r}")
        observations = [_from_row(row, f"{name}: observation {i}") for i, row in enumerate(rows)]
        try:
            return cls(observations, source)
        except ObservationError as error:
            raise ObservationError(f"{name}: {error}") from error


def content_of(path: str | Path) -> bytes:
    """The content of a file of at most `MAX_FILE_BYTES`, whatever its size is said to be.

    Raises ObservationError.
    """
    # Read up to a byte too many: the size that a file system tells may be wrong.
    with open(user_path(path), "rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ObservationError(f"{path} has more than {MAX_FILE_BYTES} bytes: split it")
    return content


def parse_document(text: str, name: str) -> Any:
    """JSON without NaN, infinities and keys that appear twice.

    Raises ObservationError, which calls it `name`.
    """
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_unique_keys,
        )
    except (ValueError, RecursionError) as error:
        raise ObservationError(f"{name} is not JSON: {str(error)[:200]}") from error


def cut(text: str, max_bytes: int = MAX_BYTES) -> str:
    """The text without surrounding spaces, cut at the last word that fits.

    A longer word is cut within.
    """
    stripped = text.strip()
    encoded = _utf8("", stripped)
    if len(encoded) <= max_bytes:
        return stripped
    # A character that the limit cuts through is left out.
    head = encoded[:max_bytes].decode("utf-8", "ignore")
    is_between_words = stripped[len(head)].isspace()
    # A single word has no space before it.
    words = head if is_between_words else re.sub(r"\s+\S*$", "", head)
    return words.rstrip()


def to_tendency(name: Any) -> Tendency:
    """The tendency of this name; raises ObservationError."""
    try:
        return Tendency(name)
    except ValueError:
        names = ", ".join(TENDENCIES)
        raise ObservationError(f"unknown tendency {name!r}: it is one of {names}") from None


def load_corpus(split: str | None = None) -> Observations:
    """The labelled observations after twelve autobiographies; see corpora/LABELS.md.

    Args:
        split: "train" or "held-out" for the persons of that part alone.
    """
    text = files("wm_envs.debate").joinpath("corpora", CORPUS).read_text(encoding="utf-8")
    corpus = Observations.parse(text, CORPUS)
    if split is None:
        return corpus
    if split not in ("train", "held-out"):
        raise ObservationError(f"split is 'train', 'held-out' or None, got {split!r}")
    return corpus.chosen(split=split)


def _from_row(row: Any, place: str) -> Observation:
    if not isinstance(row, dict) or not isinstance(row.get("content"), str):
        raise ObservationError(f"{place} has no text in 'content'")
    unknown = set(row) - {"id", "content", "source_id", "timestamp", "metadata"}
    if unknown:
        raise ObservationError(
            f"{place} has unknown fields {sorted(unknown)}: put them into 'metadata'"
        )
    others = {name: row[name] for name in ("source_id", "timestamp", "metadata") if name in row}
    name, text = row.get("id", ""), row["content"]
    try:
        # What fits stays as it is, spaces at its ends too: a file gives back what was saved.
        is_long = len(_utf8(name, text)) > MAX_BYTES
        return Observation(name, cut(text) if is_long else text, **others)
    except ObservationError as error:
        raise ObservationError(f"{place}: {error}") from error


def _utf8(id: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ObservationError(
            f"observation {id!r} has content that is no valid Unicode: {error}"
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large")
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return result
