"""The bAbI tasks: stories in numbered lines, with questions in between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.base import TaskError
from tasks.text.files import Place, filled, find, lines, some
from tasks.text.items import Item, Loaded, Option, Reader, Value, apart

PARTS = 20
SPLITS = ("train", "valid", "test")


def _load(folder: Path, options: Mapping[str, Value]) -> Loaded:
    part, version = options["part"], str(options["version"])
    if not isinstance(part, int) or not 1 <= part <= PARTS:
        raise TaskError(f"babi: part must be in [1, {PARTS}], not {part}.")
    inside = folder / (version or "en")
    if not inside.is_dir():
        if version:
            raise TaskError(
                f"there is no folder {inside}; give the folder of en/, en-10k/ … and one of them as version."
            )
        inside = folder
    found = {split: _file(inside, part, split) for split in SPLITS}
    if found["test"] is None and version == "en-10k" and (folder / "en").is_dir():
        found["test"] = _file(folder / "en", part, "test")  # published twice, byte for byte the same
    if not any(found.values()):
        raise TaskError(
            f"{inside} holds no file of part {part}, such as qa{part}_….txt; give the folder of en/, en-10k/ …."
        )
    return Loaded({split: some(file, read_stories(file)) for split, file in found.items() if file})


def _file(folder: Path, part: int, split: str) -> Path | None:
    return find(folder, f"qa{part}_*_{split}.txt", f"qa{part}_{split}.txt", nested=0)


def read_stories(file: Path) -> tuple[Item, ...]:
    """The questions of one file; the context of each is the sentences before it in its story.

    Raises:
      TaskError: for a line without its number, a story that doesn't begin at 1 or skips a number, a question without
        its answer, or a supporting fact that is no earlier sentence.
    """
    items: list[Item] = []
    sentences: dict[int, str] = {}  # number of a line of this story -> its sentence
    last = 0
    for place, line in lines(file):
        number, text = _numbered(line, last, place)
        sentences, last = ({} if number == 1 else sentences), number
        if "\t" in text:
            items.append(_question(text, sentences, place))
        else:
            sentences[number] = filled(text, "sentence", place)
    return tuple(items)


def _numbered(line: str, last: int, place: Place) -> tuple[int, str]:
    number, blank, text = line.partition(" ")
    if not blank or not number.isascii() or not number.isdecimal() or len(number) > 9:
        raise place.error("a line must begin with its number in the story and a blank; get the file again.")
    if int(number) not in (1, last + 1):
        raise place.error(f"number {number} must be {last + 1}, or 1 for a new story; get the file again.")
    return int(number), text


def _question(text: str, sentences: Mapping[int, str], place: Place) -> Item:
    columns = text.split("\t")
    if len(columns) != 3:
        raise place.error(
            f"a question has question, answer and supporting facts between tabs, not {len(columns)} columns."
        )
    facts = columns[2].split()
    where = {str(number): position for position, number in enumerate(sentences, 1)}
    for fact in facts:
        if fact not in where:
            raise place.error(
                f"supporting fact '{fact}' is no sentence of the story before the question; correct its number."
            )
    return Item(
        context=tuple(sentences.values()),
        question=filled(columns[0], "question", place),
        answer=filled(columns[1], "answer", place),
        factors={
            "supporting_facts": len(facts),
            "support": " ".join(str(where[fact]) for fact in facts),
            "sentences": len(sentences),
        },
        file=place.file,
        line=place.line,
    )


BABI = Reader(
    about="bAbI: short stories with questions in between, 20 parts",
    load=_load,
    words=apart,
    source="Weston et al. 2015, Towards AI-Complete Question Answering, arXiv 1502.05698",
    licence="CC BY 3.0, Facebook, Inc.; the archive 'bAbI tasks data 1-20 (v1.2)'",
    layout=(
        "en/qa1_single-supporting-fact_train.txt",
        "en/qa1_single-supporting-fact_test.txt",
        "en-valid/qa1_train.txt, qa1_valid.txt, qa1_test.txt",
        "en-10k/, en-valid-10k/ likewise; without a test file of its own, en-10k takes that of en/",
    ),
    options={
        "part": Option(1, "which of the 20 parts"),
        "version": Option("", "folder: en-10k, en-valid, en-valid-10k … (en, or the given folder where there is none)"),
    },
)
