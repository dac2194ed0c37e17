"""The one way in which the lab and its analysis write a file that a killed process must not leave half written.

A document is a file that is read back: JSON with a digest of its content, so that a changed byte is never believed.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.errors import NOT_DAMAGE
from lab.study.spec import digest

DIGEST = "digest"  # the field of a document that holds the digest of all others
# What code that expects a document of one shape raises at one of another shape; a UserError is a ValueError, too.
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class DamagedFile(Exception):
    """A kept file that can't be read back as written. The message names it and says why.

    Attributes:
      content: what it holds now, where it is a document whose digest is that of another content; None elsewhere.
    """

    def __init__(self, message: str, content: dict[str, Any] | None = None):
        super().__init__(message)
        self.content = content


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: to `<name>.partial` next to it, which then replaces it.

    A reader sees the old file or the new one, never a part. A `.partial` that a killed process left is overwritten.

    Args:
      path: the file; its directory must exist.
      content: text is written as UTF-8, with line ends as they are in it (a byte of a path that is no UTF-8 as an
        escape); bytes as they are.

    Raises:
      OSError: if the directory can't be written to or the disk is full; the old file is then unchanged.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
    partial.replace(path)


def digest_of(content: Any) -> str:
    """The digest of a value as it comes back from JSON: tuples are lists there, and all names text."""
    return digest(json.loads(json.dumps(content)))


def write_document(path: Path, content: Mapping[str, Any], compact: bool = False) -> None:
    """Write a document for `read_document`, atomically.

    Args:
      path: the file; its directory must exist.
      content: JSON values by name; none is called `digest`.
      compact: on one line with names in their order, in place of lines for people with names sorted.

    Raises:
      OSError: as `write_atomically`.
    """
    layout: dict[str, Any] = {} if compact else {"indent": 1, "sort_keys": True}
    text = json.dumps({**content, DIGEST: digest_of(content)}, **layout)
    write_atomically(path, text + "\n")


def read_document(path: Path) -> Any:
    """What `write_document` wrote, without the digest; None where there is no such file.

    Earlier versions wrote an object or array without a digest. It comes back as it is, and so does any other: the
    caller checks what it needs (`MALFORMED`).

    Raises:
      DamagedFile: if the file can't be read, is no JSON, or holds other content than was written.
      OSError: if the system refuses to read it for a cause that is no damage.
    """
    try:
        content = json.loads(path.read_bytes().decode())
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair could not be printed later
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in {*NOT_DAMAGE, errno.ENAMETOOLONG}:  # the content may be whole
            raise
        raise DamagedFile(f"{path} can't be read ({error.strerror or error})") from None
    except (ValueError, RecursionError):
        raise DamagedFile(f"{path} can't be read (it is cut off, or no JSON)") from None
    if not isinstance(content, (dict, list)):
        raise DamagedFile(f"{path} can't be read (it holds no more than {json.dumps(content)[:40]})")
    if isinstance(content, dict) and DIGEST in content:
        written = content.pop(DIGEST)
        if written != digest_of(content):
            raise DamagedFile(f"{path} was edited or damaged after it was written", content)
    return content


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number, NaN and infinities included; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(value: Any) -> float:
    """A JSON value that must be a number.

    Raises:
      TypeError: if it is none.
    """
    if not is_number(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def are_numbers(values: Any, count: int) -> bool:
    """Whether a JSON value is a list of so many numbers, NaN among them."""
    return isinstance(values, list) and len(values) == count and all(map(is_number, values))
