"""Any file of questions in JSON, JSON lines, TSV or CSV, with the names of its fields given."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tasks.base import TaskError
from tasks.text.files import Place, Record, field_of, filled, json_records, some, table_records, text_field
from tasks.text.items import Item, Loaded, Option, Reader, Value, apart

ENDINGS = (".json", ".jsonl", ".tsv", ".csv")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ANSWERS = ("text", "letter", "index", "number")


def _records(file: Path) -> Iterator[tuple[Place, Record]]:
    name = file.name.removesuffix(".gz")
    return json_records(file) if name.endswith((".json", ".jsonl")) else table_records(file)


def _files(folder: Path, asked: str) -> dict[str, Path]:
    """Split -> file: those asked for, as `train=a.csv,test=b.csv`, or every readable file by its name's stem."""
    if not folder.is_dir():
        raise TaskError(f"there is no folder {folder}; give the one that the files lie in.")
    if asked:
        pairs = [pair.partition("=") for pair in asked.split(",")]
        files = {split.strip(): folder / name.strip() for split, _, name in pairs}
        if not all(equals and split.strip() for split, equals, _ in pairs) or len(files) < len(pairs):
            raise TaskError(f"files: '{asked}' must be like train=a.csv,test=b.csv, each split once.")
        return {split: _there(file) for split, file in files.items()}
    files = {}
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        plain = file.name.removesuffix(".gz")
        split = plain.rpartition(".")[0]
        if plain.endswith(ENDINGS) and split:
            if split in files and files[split].name != plain:
                raise TaskError(f"{folder} holds two files of {split}; name the files as files=train=a.csv,test=b.csv.")
            files.setdefault(split, file)
    if not files:
        raise TaskError(f"{folder} holds no file that ends in {', '.join(ENDINGS)} (or the same with .gz).")
    return dict(sorted(files.items(), key=lambda pair: (pair[0] != "train", pair[0])))


def _there(file: Path) -> Path:
    zipped = file.with_name(f"{file.name}.gz")
    if not file.name.removesuffix(".gz").endswith(ENDINGS):
        raise TaskError(f"{file} must end in {', '.join(ENDINGS)} (or the same with .gz).")
    if not file.is_file() and not zipped.is_file():
        raise TaskError(f"there is no file {file}; correct its name.")
    return file if file.is_file() else zipped


def _names(options: Mapping[str, Value], option: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in str(options[option]).split(",") if name.strip())


def _common(
    record: Record, place: Place, options: Mapping[str, Value]
) -> tuple[tuple[str, ...], str, dict[str, int | str]]:
    """Context, question and factors of one record."""
    context = tuple(text for name in _names(options, "context") for text in _sentences(record, name, place))
    question = filled(text_field(record, str(options["question"]), place), "question", place)
    return context, question, {name: _factor(record, name, place) for name in _names(options, "factors")}


def _sentences(record: Record, name: str, place: Place) -> Sequence[str]:
    value = field_of(record, name, place)
    if isinstance(value, list) and all(isinstance(sentence, str) for sentence in value):
        return value
    text = text_field(record, name, place)
    return (text,) if text.strip() else ()


def _factor(record: Record, name: str, place: Place) -> int | str:
    value = field_of(record, name, place)
    if isinstance(value, int):
        return int(value)
    text = text_field(record, name, place)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else text


def read_answered(file: Path, options: Mapping[str, Value]) -> tuple[Item, ...]:
    """Questions with an answer each; a list of texts as answer is joined with commas.

    Raises:
      TaskError: for a record without a field that the options name, or with an empty one.
    """
    items = []
    for place, record in _records(file):
        context, question, factors = _common(record, place, options)
        answer = ",".join(_sentences(record, str(options["answer"]), place))
        items.append(Item(context, question, filled(answer, "answer", place), (), factors, place.file, place.line))
    return tuple(items)


def read_choices(file: Path, options: Mapping[str, Value]) -> tuple[Item, ...]:
    """Questions with choices: one field that is a list, or several fields with a choice each.

    Raises:
      TaskError: for a record without a field that the options name, or whose answer is none of its choices.
    """
    items = []
    for place, record in _records(file):
        context, question, factors = _common(record, place, options)
        choices = tuple(text for name in _names(options, "choices") for text in _offered(record, name, place))
        answer = text_field(record, str(options["answer"]), place).strip()
        chosen = _chosen(answer, choices, str(options["answer_is"]), place)
        items.append(Item(context, question, choices[chosen], choices, factors, place.file, place.line, chosen))
    return tuple(items)


def _offered(record: Record, name: str, place: Place) -> Iterator[str]:
    value = field_of(record, name, place)
    for choice in value if isinstance(value, list) else [text_field(record, name, place)]:
        if isinstance(choice, dict):
            choice = text_field(choice, "text", place)
        if not isinstance(choice, str):
            raise place.error(
                f"a choice must be text, or an object with a field 'text', not {json.dumps(choice)[:40]}."
            )
        yield filled(choice, "choice", place)


def _chosen(answer: str, choices: tuple[str, ...], kind: str, place: Place) -> int:
    """Which choice a record names, from 0; of two with the same words the first, where it names the words."""
    valid = {
        "text": choices,
        "letter": tuple(LETTERS[: len(choices)]),
        "index": tuple(str(index) for index in range(len(choices))),
        "number": tuple(str(index + 1) for index in range(len(choices))),
    }[kind]
    if answer not in valid:
        near = ", ".join(valid)[:120]
        raise place.error(
            f"answer '{answer[:40]}' must be one of {near}; set answer_is to one of {', '.join(ANSWERS)}."
        )
    return valid.index(answer)


def _loaded(read, folder: Path, options: Mapping[str, Value]) -> Loaded:
    files = _files(folder, str(options["files"]))
    return Loaded({split: some(file, read(file, options)) for split, file in files.items()})


def _answered(folder: Path, options: Mapping[str, Value]) -> Loaded:
    return _loaded(read_answered, folder, options)


def _with_choices(folder: Path, options: Mapping[str, Value]) -> Loaded:
    if options["answer_is"] not in ANSWERS:
        raise TaskError(
            f"multiple_choice: answer_is must be one of {', '.join(ANSWERS)}, not '{options['answer_is']}'."
        )
    return _loaded(read_choices, folder, options)


FIELDS = {
    "question": Option("question", "field of the question; a.b is field b inside a"),
    "answer": Option("answer", "field of the answer"),
    "context": Option("", "fields of the context, with commas between (none)"),
    "factors": Option("", "fields kept as factors, with commas between (none)"),
    "files": Option("", "train=a.csv,test=b.csv (every file, as the split that it is named after)"),
}
LAYOUT = ("train.jsonl, test.jsonl …, each .json, .jsonl, .tsv or .csv; the first row of a table names its columns",)

QUESTION_ANSWER = Reader(
    about="any JSON, JSONL, TSV or CSV of questions and answers",
    load=_answered,
    words=apart,
    source="that of your file",
    licence="that of your file",
    layout=LAYOUT,
    options=FIELDS,
)

MULTIPLE_CHOICE = Reader(
    about="any JSON, JSONL, TSV or CSV of questions with choices",
    load=_with_choices,
    words=apart,
    source="that of your file",
    licence="that of your file",
    layout=LAYOUT,
    options={
        **FIELDS,
        "choices": Option("choices", "the field that lists the choices, or a field a choice, with commas between"),
        "answer_is": Option(
            "text", "what the answer's field holds: text, letter (A …), index (from 0), number (from 1)"
        ),
    },
)
