"""Multiple choice: LogiQA's blocks of eight lines and CommonsenseQA's objects."""

from __future__ import annotations

from collections.abc import Mapping
from glob import escape
from pathlib import Path

from tasks.text.files import Place, Record, filled, json_records, lines, list_field, splits_of, text_field
from tasks.text.items import Item, Loaded, Option, Reader, Value, apart

LETTERS = "ABCD"
BLOCK = 8  # lines: a blank one, the letter, context, question and four choices


def read_logiqa(file: Path) -> tuple[Item, ...]:
    """The questions of one file; `A.` … in front of a choice is left out.

    Raises:
      TaskError: for a block that isn't a blank line, a letter, context, question and four choices.
    """
    rows = list(lines(file))
    return tuple(_block(rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK))


def _block(rows: list[tuple[Place, str]]) -> Item:
    place = rows[0][0]
    if rows[0][1].strip():
        raise place.error("a question begins with a blank line, and has eight lines with it; get the file again.")
    if len(rows) < BLOCK:
        raise place.error(f"the last question has {len(rows)} of its eight lines; get the file again.")
    letter = rows[1][1].strip().upper()
    if len(letter) != 1 or letter not in LETTERS:
        raise rows[1][0].error(f"the right choice must be a, b, c or d, not '{letter[:20]}'; correct it.")
    context, question, *offered = (filled(text, "line", where) for where, text in rows[2:])
    choices = tuple(text.removeprefix(f"{own}.").strip() or text for own, text in zip(LETTERS, offered, strict=True))
    chosen = LETTERS.index(letter)
    return Item((context,), question, choices[chosen], choices, {"letter": letter}, place.file, place.line, chosen)


def _logiqa(folder: Path, options: Mapping[str, Value]) -> Loaded:
    names = {split: (f"{escape(str(options['language']))}{split}.txt",) for split in ("train", "eval", "test")}
    if not options["language"]:
        names = {split: (f"{split.capitalize()}.txt", *patterns) for split, patterns in names.items()}
    return Loaded(splits_of(folder, names, read_logiqa))


def read_commonsenseqa(file: Path) -> tuple[Item, ...]:
    """The questions of one file, an object a line.

    Raises:
      TaskError: for a line without its fields, or whose answer is no label of its choices.
    """
    return tuple(_commonsense(record, place) for place, record in json_records(file))


def _commonsense(record: Record, place: Place) -> Item:
    choices: dict[str, str] = {}
    for choice in list_field(record, "question.choices", place):
        if not isinstance(choice, dict):
            raise place.error("a choice must be an object with label and text; get the file again.")
        choices[text_field(choice, "label", place)] = filled(text_field(choice, "text", place), "choice", place)
    letter = text_field(record, "answerKey", place)
    if letter not in choices:
        raise place.error(f"answerKey '{letter}' must be one of {', '.join(choices)}; correct it.")
    return Item(
        (),
        filled(text_field(record, "question.stem", place), "question", place),
        choices[letter],
        tuple(choices.values()),
        {"letter": letter, "concept": text_field(record, "question.question_concept", place)},
        place.file,
        place.line,
        [*choices].index(letter),
    )


def _commonsenseqa(folder: Path, options: Mapping[str, Value]) -> Loaded:
    names = {split: (f"{split}_{escape(str(options['split']))}_split.jsonl",) for split in ("train", "dev")}
    return Loaded(splits_of(folder, names, read_commonsenseqa))


LOGIQA = Reader(
    about="LogiQA: four choices about a paragraph, from examinations of civil servants",
    load=_logiqa,
    words=apart,
    source="Liu et al. 2020, LogiQA, arXiv 2007.08124",
    licence="none stated; github.com/lgw863/LogiQA-dataset",
    layout=("Train.txt, Eval.txt, Test.txt; zh_train.txt, zh_eval.txt, zh_test.txt in Chinese",),
    options={"language": Option("", "zh_ for the Chinese files")},
)

COMMONSENSEQA = Reader(
    about="CommonsenseQA: five choices that need everyday knowledge",
    load=_commonsenseqa,
    words=apart,
    source="Talmor et al. 2019, CommonsenseQA, arXiv 1811.00937",
    licence="MIT, by its authors; tau-nlp.org/commonsenseqa",
    layout=("train_rand_split.jsonl, dev_rand_split.jsonl; the official test file has no answers and is not read",),
    options={"split": Option("rand", "rand or token: how train and dev are cut")},
)
