"""Values as Python numbers, as texts and as names: two values never share one, and a typed text finds its value.

A text that names a value (a run, a series, a row of a table, an option) is `exact`. A text for reading only, such as a
tick, may be rounded: to as many digits as tell the values next to it apart (`rounded`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

WHOLE = 10**15  # float64 holds whole numbers up to here exactly, and they are readable
MOST_DIGITS = 17  # significant decimal digits that tell any two float64 apart
TYPED_DIGITS = 6  # to which a typed number must agree with a value: as many as `:g` prints
NAME_BYTES = 100  # of a name: leaves room for hashes and suffixes, since file systems allow 255 or less
HASHED = 8  # hexadecimal digits that make a shortened name unique


def plain(value: Any) -> Any:
    """A scalar of NumPy or JAX, or an array without dimensions, as a Python value; anything else as it is.

    Minus zero, the neutral end of an axis such as `-32 * share`, is zero: it would be printed as '-0'.
    """
    if hasattr(type(value), "__array__") and getattr(value, "ndim", None) == 0:
        value = value.item()
    value = float(value) if isinstance(value, np.floating) else value  # np.longdouble is its own item
    return 0.0 if isinstance(value, float) and value == 0 else value


def plain_fields(config: Any) -> Any:
    """A copy of a ConfigDict without references: fields and entries of tuples and lists `plain`, arrays as tuples."""
    found = config.copy_and_resolve_references()
    try:
        fields = list(found.items())
    except TypeError:  # names that can't be sorted; the schema says so
        return found
    with found.unlocked(), found.ignore_type():
        for name, value in fields:
            if hasattr(value, "copy_and_resolve_references"):
                found[name] = plain_fields(value)
            else:
                found[name] = plain_entries(value)
    return found


def plain_entries(value: Any, depth: int = 3) -> Any:
    """Tuples and lists as deep as a study's fields go; one may hold itself."""
    if hasattr(type(value), "__array__") and getattr(value, "ndim", 0):
        value = tuple(value.tolist())
    if not isinstance(value, (tuple, list)) or not depth:
        return plain(value)
    entries = [plain_entries(one, depth - 1) for one in value]
    return tuple(entries) if isinstance(value, tuple) else entries


def exact(value: Any) -> str:
    """The text of a knob's value that reads back as the same value: '0.9', '20240101', '1e-05', 'global'.

    What `:g` prints where that is exact or a whole number's digits, else as many digits as it takes.
    """
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if abs(value) <= WHOLE and value == int(value):
        return str(int(value))
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def significant(value: float, digits: int) -> str:
    """A number in so many significant digits, but in no more than it takes."""
    return f"{value:.{digits}g}" if digits < MOST_DIGITS else exact(value)


def digits_apart(values: Iterable[float], least: int = 3, write: Callable[[float, int], str] = significant) -> int:
    """The fewest digits, at least `least`, at which `write` tells all values apart that differ."""
    different = {float(value) for value in values}
    counts = range(least, MOST_DIGITS)
    return next((n for n in counts if len({write(v, n) for v in different}) == len(different)), MOST_DIGITS)


def rounded(values: Iterable[float], least: int = 3) -> list[str]:
    """Numbers for reading, next to one another: in the fewest digits, at least `least`, that tell them apart."""
    values = [float(value) for value in values]
    digits = digits_apart(values, least)
    return [significant(value, digits) for value in values]


def meant(text: str, values: Iterable[float]) -> list[float]:
    """The values that a typed number may mean: the one that equals it, else those that round to it.

    A value is rounded to the digits that were typed, at least six: '0.3' means 0.30000000000000004, but not 0.31.

    Raises:
      ValueError: if the text is no number.
    """
    number, known = float(text), list(dict.fromkeys(values))
    if number in known:
        return [known[known.index(number)]]
    typed = len(re.sub(r"[eE].*|\D", "", text).lstrip("0"))
    digits = min(max(typed, TYPED_DIGITS), MOST_DIGITS)
    return [value for value in known if float(significant(value, digits)) == number]


def file_name(text: str, most: int = NAME_BYTES) -> str:
    """A text as the name of a file or directory, unique and at most so many bytes long.

    The text itself where it can be one; else its beginning, without what a name can't have, and a hash of the whole.
    """
    safe = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in text)
    if safe == text and text[:1] not in ("", ".", "-") and len(text.encode()) <= most:
        return text
    hashed = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:HASHED]
    start = safe.lstrip(".-").encode()[: most - HASHED - 1].decode(errors="ignore")
    return f"{start}~{hashed}"
