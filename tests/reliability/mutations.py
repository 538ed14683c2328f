"""Altered files, drawn from a seed.

Bytes that flip, vanish or repeat, foreign tokens, JSON values in wrong places.
"""

import copy
import json
from typing import Any

import numpy as np

TOKENS = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b"194", b"99999999999999999999", b"9" * 5000, b"1.7", b"true",
    b"null", b'""', b"[]", b"{}", b"[" * 3000, b'{"a":' * 3000, b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800",
    b'"', b",", b"\n", b"\r\n", b"<!DOCTYPE a>", b"&amp;", b"&x;", b"<![CDATA[", b"nan", b"inf", b"0x10", b"1_0",
    "١٢".encode(), b"'", b"=cmd()", b"../../etc/passwd", b" " * 4000, b"a" * 4000,
)  # fmt: skip

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 194, 10**5, 10**9, 2**63, 10**400, 1.7, -0.0, 1e308, float("nan"), float("inf"), "",
    "x", "yes", "US",
    "\ud800", "é" * 300, "a" * 5000, [], {}, [[]], [None], ["US", "US"], {"": None}, {"yes": 1}, [0] * 400,
)  # fmt: skip


def mutated(good: bytes, random: np.random.Generator) -> bytes:
    """One altered file; sometimes several alterations on top of each other."""
    is_json = good[:1] in b"{["
    data = good
    for _ in range(1 + int(random.random() < 0.3)):
        kind = int(random.integers(9 if is_json else 7))
        data = (
            _with_other_value(good, random) if kind >= 7 else _with_other_bytes(data, kind, random)
        )
    return data


def _with_other_bytes(data: bytes, kind: int, random: np.random.Generator) -> bytes:
    size = len(data)
    start, stop = sorted(random.integers(0, size + 1, 2).tolist())
    token = TOKENS[int(random.integers(len(TOKENS)))]
    if kind == 0:  # a bit
        position = int(random.integers(max(size, 1)))
        return (
            data[:position]
            + bytes([data[position] ^ (1 << int(random.integers(8)))])
            + data[position + 1 :]
            if size
            else token
        )
    if kind == 1:  # cut off
        return data[:start]
    if kind == 2:  # a part is missing
        return data[:start] + data[min(stop, start + 20) :]
    if kind == 3:  # a part is there twice
        return data[:stop] + data[start:stop] + data[stop:]
    if kind == 4:  # something foreign
        return data[:start] + token + data[start:]
    if kind == 5:  # in the place of something else
        return data[:start] + token + data[min(stop, start + 8) :]
    return data[:start] + random.bytes(min(stop - start, 16)) + data[stop:]


def _with_other_value(good: bytes, random: np.random.Generator) -> bytes:
    """A JSON document with another value, key or length in one place."""
    lines = good.splitlines()
    number = int(random.integers(len(lines))) if lines[0][-1:] == b"}" else 0
    document = json.loads(lines[number] if lines[0][-1:] == b"}" else good)
    places = list(_places(document))
    container, key = places[int(random.integers(len(places)))]
    change = int(random.integers(4))
    if change == 0 and isinstance(container, dict):
        container[str(key) + "x"] = container.pop(key)
    elif change == 1:
        del container[key]
    elif change == 2 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    else:
        container[key] = VALUES[int(random.integers(len(VALUES)))]
    text = json.dumps(document)
    if random.random() < 0.1:  # a key that is there twice
        text = (
            text.replace('{"', '{"trajectory_id": 1, "', 1)
            if random.random() < 0.5
            else text[:-1] + ', "source": ""}'
        )
    return text.encode()


def _places(value: Any):
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in list(items):
        yield value, key
        yield from _places(item)
