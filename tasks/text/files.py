"""Files as published, plain or gzipped, and mistakes in them named by file and line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.base import TaskError
from tasks.text.items import Item

Record = Mapping[str, Any]
NESTED = 2  # folders below the given one in which a file is looked for


class Place(NamedTuple):
    """A line of a file, from 1."""

    file: str
    line: int

    def error(self, problem: str) -> TaskError:
        """The mistake of this line; the problem says what to do."""
        return TaskError(f"{self.file}:{self.line}: {problem}")


def text_of(file: Path) -> str:
    """All of a file, gunzipped if its name ends in `.gz`.

    Raises:
      TaskError: if it isn't UTF-8, or isn't what its name says.
    """
    try:
        data = file.read_bytes()
        data = gzip.decompress(data) if file.suffix == ".gz" else data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TaskError(f"{file}:1: the file is no complete gzip file ({error}); get it again.") from error
    except OSError as error:
        raise TaskError(f"{file} can't be read: {error.strerror or error}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Place(str(file), line).error(
            "the text isn't UTF-8; get the file again, or convert it to UTF-8."
        ) from error


def lines(file: Path) -> Iterator[tuple[Place, str]]:
    """Every line with its place, without its end; a blank end of the file is none.

    Raises:
      TaskError: see `text_of`.
    """
    # No str.splitlines: it would also split at characters that published text contains, U+2028 for one.
    text = text_of(file).rstrip("\r\n")
    for number, line in enumerate(text.split("\n") if text else (), 1):
        yield Place(str(file), number), line.removesuffix("\r")


def find(folder: Path, *patterns: str, nested: int = NESTED) -> Path | None:
    """The file that matches the first pattern that any matches, in `folder` or up to `nested` folders below; else None.

    The plain file is taken where there is a gzipped one of the same name, too.

    Raises:
      TaskError: if the folder doesn't exist, or if several files match.
    """
    if not folder.is_dir():
        raise TaskError(f"there is no folder {folder}; give the one that the files lie in.")
    for pattern in patterns:
        for depth in range(nested + 1):
            found = {
                str(path).removesuffix(".gz"): path
                for ending in (".gz", "")
                for path in folder.glob("*/" * depth + pattern + ending)
                if path.is_file()
            }
            if len(found) > 1:
                names = ", ".join(sorted(found))
                raise TaskError(f"{folder} holds several files for one split: {names}; give the folder of one.")
            if found:
                return next(iter(found.values()))
    return None


def splits_of(
    folder: Path, names: Mapping[str, Sequence[str]], load: Callable[[Path], tuple[Item, ...]], nested: int = NESTED
) -> dict[str, tuple[Item, ...]]:
    """The splits whose files are there, each read.

    Args:
      folder: where to look.
      names: split -> patterns of its file's name, see `find`.
      load: reads one file.
      nested: folders below in which files are looked for, too.

    Raises:
      TaskError: if none is there, or one can't be read or is empty.
    """
    found = {split: find(folder, *patterns, nested=nested) for split, patterns in names.items()}
    if not any(found.values()):
        expected = ", ".join(patterns[0] for patterns in names.values())
        raise TaskError(f"{folder} holds none of {expected} (or the same with .gz); give the folder of these files.")
    return {split: some(file, load(file)) for split, file in found.items() if file}


def some(file: Path, items: tuple[Item, ...]) -> tuple[Item, ...]:
    """The items of a file.

    Raises:
      TaskError: if there are none.
    """
    if not items:
        raise TaskError(f"{file}:1: the file holds no item; get it again.")
    return items


def json_records(file: Path) -> Iterator[tuple[Place, Record]]:
    """The objects of a JSON array (`.json`), or of a file with one object a line.

    Raises:
      TaskError: for a place that isn't JSON, or isn't an object.
    """
    array = file.name.removesuffix(".gz").endswith(".json")
    for place, value in _array(file) if array else _values(file):
        if not isinstance(value, dict):
            raise place.error(f"an object {{…}} is expected here, not {json.dumps(value)[:40]}.")
        yield place, value


def _values(file: Path) -> Iterator[tuple[Place, Any]]:
    for place, line in lines(file):
        if not line.strip():
            continue
        value, end = _decoded(line.strip(), 0, place)
        if end < len(line.strip()):
            raise place.error("something follows the JSON object; put it on a line of its own.")
        yield place, value


def _array(file: Path) -> Iterator[tuple[Place, Any]]:
    """The elements one by one: each is then known to begin at a line."""
    text = text_of(file)
    at, number, seen = _skip(text, 0), 1, 0
    if text[at : at + 1] != "[":
        raise Place(str(file), 1).error("a JSON array [{…}, …] is expected; name the file .jsonl if it has one a line.")
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        number, seen = number + text.count("\n", seen, at), at
        place = Place(str(file), number)
        value, at = _decoded(text, at, place)
        yield place, value
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            line = text.count("\n", 0, at) + 1
            raise Place(str(file), line).error("a comma or the end of the array ']' is missing; get the file again.")
    after = _skip(text, at + 1)
    if after < len(text):
        raise Place(str(file), text.count("\n", 0, after) + 1).error(
            "nothing may follow the array; get the file again."
        )


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


def _decoded(text: str, at: int, place: Place) -> tuple[Any, int]:
    """The JSON value that begins at `at`, where `place` is, and where it ends."""
    try:
        return json.JSONDecoder().raw_decode(text, at)
    except json.JSONDecodeError as error:
        line = place.line + text.count("\n", at, error.pos)
        raise Place(place.file, line).error(f"this is no JSON ({error.msg}); get the file again.") from error
    except (ValueError, RecursionError) as error:
        raise place.error("this JSON nests too deep, or a number in it is too long; get the file again.") from error


def table_records(file: Path) -> Iterator[tuple[Place, Record]]:
    """The rows of a `.tsv` or `.csv` file whose first row names its columns; quotes mean something in `.csv` only.

    Raises:
      TaskError: for a row with more or fewer columns than names, or quotes that don't close.
    """
    tabs = file.name.removesuffix(".gz").endswith(".tsv")
    kind = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    rows = csv.reader(io.StringIO(text_of(file), newline=""), strict=True, **kind)
    names, before = None, 0
    while True:
        place = Place(str(file), before + 1)
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise place.error(f"this row can't be read ({error}); close its quotes.") from error
        before = rows.line_num
        if not row:
            continue
        if names is None:
            names = row
        elif len(row) != len(names):
            raise place.error(
                f"{len(row)} columns, where the first row names {len(names)}; quote what holds a separator."
            )
        else:
            yield place, dict(zip(names, row, strict=True))


def field_of(record: Record, name: str, place: Place) -> Any:
    """The value of a field; `a.b` is field b of field a.

    Raises:
      TaskError: if there is none.
    """
    value: Any = record
    for part in (name,) if name in record else name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            there = ", ".join(map(str, record)) or "none"
            raise place.error(f"there is no field '{name}'; the fields are {there}.")
        value = value[part]
    return value


def text_field(record: Record, name: str, place: Place) -> str:
    """The value of a field that must be text; a number or a truth is written out as JSON has it.

    Raises:
      TaskError: if there is none, or if it is a list or an object or nothing.
    """
    value = field_of(record, name, place)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, str):
        raise place.error(f"field '{name}' must be text, not {json.dumps(value)[:40]}.")
    return value


def filled(text: str, what: str, place: Place) -> str:
    """The text without blanks around it.

    Raises:
      TaskError: if nothing is left.
    """
    if not text.strip():
        raise place.error(f"the {what} is empty; get the file again, or leave this item out.")
    return text.strip()


def list_field(record: Record, name: str, place: Place) -> list[Any]:
    """The value of a field that must be a list.

    Raises:
      TaskError: if there is none, or if it is something else.
    """
    value = field_of(record, name, place)
    if not isinstance(value, list):
        raise place.error(f"field '{name}' must be a list, not {json.dumps(value)[:40]}.")
    return value


def texts_field(record: Record, name: str, place: Place) -> list[str]:
    """The value of a field that must be a list of texts.

    Raises:
      TaskError: if there is none, or if it is something else.
    """
    values = list_field(record, name, place)
    for value in values:
        if not isinstance(value, str):
            raise place.error(f"field '{name}' must hold texts, not {json.dumps(value)[:40]}.")
    return values
