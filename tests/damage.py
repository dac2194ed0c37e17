"""Damage that tests do to files: flipped bits, and JSON values in the place of others."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

JUNK = (None, [], {}, 3, -1, 1e308, True, "", "x", [[]], float("nan"))
WHOLE = (
    b"",
    b"{",
    b"[]",
    b"{}",
    b"3",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b"\x00",
    b"NaN",
    b"[" * 10_000,
    b'{"a": "\\ud800"}',
)
"""Contents of a whole file."""


def sentence_of(read: Callable[[], Any], kind: type[Exception]) -> str:
    """The sentence with which something is refused; '' where it isn't."""
    try:
        read()
    except kind as error:
        return str(error)
    return ""


def flips(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """The content with one bit flipped, `count` times."""
    for bit in np.random.default_rng(seed).choice(8 * len(content), count, replace=8 * len(content) < count):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def places(document: Any) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON document, its own, (), first."""
    yield ()
    if isinstance(document, (dict, list)):
        items = document.items() if isinstance(document, dict) else enumerate(document)
        for name, value in items:
            yield from ((name, *rest) for rest in places(value))


def replaced(document: Any, count: int, seed: int = 0) -> Iterator[bytes]:
    """The document with another value at one place, or without it, `count` times."""
    rng, paths = np.random.default_rng(seed), [path for path in places(document) if path]
    for _ in range(count):
        changed, path = copy.deepcopy(document), paths[rng.integers(len(paths))]
        holder = changed
        for name in path[:-1]:
            holder = holder[name]
        choice = rng.integers(len(JUNK) + 1)
        if choice < len(JUNK):
            holder[path[-1]] = JUNK[choice]
        else:
            del holder[path[-1]]
        yield json.dumps(changed).encode()
