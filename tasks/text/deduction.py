"""Deduction in English: PrOntoQA, ProofWriter and RuleTaker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks.base import TaskError
from tasks.text.files import (
    Place,
    Record,
    field_of,
    filled,
    find,
    json_records,
    list_field,
    some,
    splits_of,
    text_field,
    texts_field,
)
from tasks.text.items import Item, Loaded, Option, Reader, Value, apart

SPLITS = ("train", "dev", "test")
TRUTHS = ("True", "False", "Unknown")


def read_lettered(file: Path) -> tuple[Item, ...]:
    """The questions of a JSON array whose options begin with `A) `, `B) ` … and whose answer is a letter.

    Raises:
      TaskError: for an object without its fields, or an answer that is no option's letter.
    """
    return tuple(_lettered(record, place) for place, record in json_records(file))


def _lettered(record: Record, place: Place) -> Item:
    options = [filled(text, "option", place) for text in texts_field(record, "options", place)]
    letters = {option[0]: option[2:].strip() for option in options if option[1:2] == ")"}
    if len(letters) != len(options) or not options:
        raise place.error("options must begin with 'A) ', 'B) ' …, each with its own letter; correct them.")
    letter = text_field(record, "answer", place)
    if letter not in letters:
        raise place.error(f"answer '{letter}' must be one of {', '.join(letters)}; correct it.")
    factors: dict[str, int | str] = {"letter": letter}
    if "explanation" in record:
        factors["proof_sentences"] = len(list_field(record, "explanation", place))
    if depth := re.search(r"-(OWA|CWA)-D(\d{1,3})-", str(record.get("id", ""))):
        factors |= {"world": depth[1], "max_depth": int(depth[2])}
    return Item(
        (filled(text_field(record, "context", place), "context", place),),
        filled(text_field(record, "question", place), "question", place),
        letters[letter],
        tuple(letters.values()),
        factors,
        place.file,
        place.line,
        [*letters].index(letter),
    )


def read_theories(file: Path) -> tuple[Item, ...]:
    """The questions of ProofWriter's and RuleTaker's files: one theory a line, with its questions.

    The answer is `True`, `False` or, in an open world, `Unknown`. The depth of the proof is the factor
    `depth` where the file gives it.

    Raises:
      TaskError: for a line without its fields, or an answer that is none of the three.
    """
    return tuple(item for place, record in json_records(file) for item in _theory(record, place))


def _theory(record: Record, place: Place) -> Iterator[Item]:
    questions = field_of(record, "questions", place)
    context = text_field(record, "theory" if "theory" in record else "context", place)
    for question in questions.values() if isinstance(questions, dict) else list_field(record, "questions", place):
        if not isinstance(question, dict):
            raise place.error("a question must be an object {…}; get the file again.")
        answer = text_field(question, "answer" if "answer" in question else "label", place).capitalize()
        if answer not in TRUTHS:
            raise place.error(f"answer '{answer}' must be true, false or Unknown; correct it.")
        fields = {**_object(record.get("meta")), **record, **_object(question.get("meta")), **question}
        names = {"depth": "QDep", "max_depth": "maxD", "facts": "NFact", "rules": "NRule", "strategy": "strategy"}
        factors = {factor: fields[name] for factor, name in names.items() if isinstance(fields.get(name), int | str)}
        asked = text_field(question, "question" if "question" in question else "text", place)
        yield Item(
            (filled(context, "theory", place),),
            filled(asked, "question", place),
            answer,
            factors=factors,
            file=place.file,
            line=place.line,
        )


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _prontoqa(folder: Path, options: Mapping[str, Value]) -> Loaded:
    return Loaded(splits_of(folder, {split: (f"{split}.json",) for split in SPLITS}, read_lettered, nested=0))


def _theories(folder: Path, options: Mapping[str, Value]) -> Loaded:
    """The official files of one depth, dev and test of another one if asked."""
    depth, tested = str(options["depth"]), str(options["test_depth"] or options["depth"])
    found = {
        split: _theory_file(
            folder, str(options.get("assumption", "original")), depth if split == "train" else tested, split
        )
        for split in SPLITS
    }
    if not any(found.values()):
        raise TaskError(
            f"{folder} holds no depth-{depth}/train.jsonl or depth-{depth}/meta-train.jsonl (or the same with .gz); "
            "give the folder of the published files, and one of its depths."
        )
    splits = {split: some(file, read_theories(file)) for split, file in found.items() if file}
    return _by_depth(splits, bool(options["by_depth"]), shifted=tested != depth)


def _theory_file(folder: Path, world: str, depth: str, split: str) -> Path | None:
    """The sentences that people wrote are in SPLIT.jsonl only; ProofWriter has meta-SPLIT.jsonl only."""
    for inside in (folder / world / f"depth-{depth}", folder / f"depth-{depth}"):
        if inside.is_dir():
            return find(inside, f"{split}.jsonl", f"meta-{split}.jsonl", nested=0)
    return None


def _proofwriter(folder: Path, options: Mapping[str, Value]) -> Loaded:
    """The JSON arrays of the subset with lettered options where they are, else the official files."""
    names = {split: find(folder, f"{split}.json", nested=0) for split in SPLITS}
    if not any(names.values()):
        return _theories(folder, options)
    return _by_depth(_prontoqa(folder, options).splits, bool(options["by_depth"]), shifted=False)


def _by_depth(splits: Mapping[str, tuple[Item, ...]], cut: bool, shifted: bool) -> Loaded:
    """Splits as they are or, if asked, all but `train` cut by the depth of their questions.

    Raises:
      TaskError: if they shall be cut and the files don't give the depth.
    """
    if not cut:
        return Loaded(splits, tuple(split for split in splits if shifted and split != "train"))
    parts: dict[str, list[Item]] = {}
    for split, items in splits.items():
        for item in items:
            if "depth" not in item.factors:
                raise Place(item.file, item.line).error(
                    "the question has no QDep to cut splits by; leave by_depth out."
                )
            parts.setdefault(split if split == "train" else f"{split}_depth_{item.factors['depth']}", []).append(item)
    trained = {item.factors["depth"] for item in splits.get("train", ())}
    deeper = [s for s, items in parts.items() if trained and items[0].factors["depth"] not in trained and s != "train"]
    return Loaded({split: tuple(parts[split]) for split in sorted(parts, key=_in_order)}, tuple(sorted(deeper)))


def _in_order(split: str) -> tuple[int, str]:
    return SPLITS.index(split.partition("_")[0]), split


THEORY_OPTIONS = {
    "depth": Option("5", "the folder depth-N that train is read from: 0, 1, 2, 3, 5, 3ext …"),
    "test_depth": Option("", "the folder depth-N that dev and test are read from (that of train)"),
    "by_depth": Option(False, "yes: dev and test cut by the proof depth of their questions"),
}

PRONTOQA = Reader(
    about="PrOntoQA: true or false, from a chain of made-up categories",
    load=_prontoqa,
    words=apart,
    source="Saparov and He 2023, Language Models Are Greedy Reasoners, arXiv 2210.01240",
    licence="Apache-2.0, github.com/asaparov/prontoqa; the 5-hop subset: MIT, github.com/teacherpeterpan/Logic-LLM",
    layout=("train.json, dev.json, test.json: arrays with context, question, options, answer",),
)

PROOFWRITER = Reader(
    about="ProofWriter: true, false or unknown, from facts and rules",
    load=_proofwriter,
    words=apart,
    source="Tafjord, Dalvi and Clark 2021, ProofWriter, arXiv 2012.13048",
    licence="CC BY, Allen Institute for AI; the subset in JSON arrays: MIT, github.com/teacherpeterpan/Logic-LLM",
    layout=(
        "OWA/depth-5/meta-train.jsonl, meta-dev.jsonl, meta-test.jsonl; CWA/ and other depths likewise",
        "or train.json, dev.json, test.json: arrays with context, question, options, answer (no depths)",
    ),
    options={
        "assumption": Option(
            "OWA", "OWA, an open world with unknown answers, or CWA; unused where depth-N lies in the folder itself"
        ),
        **THEORY_OPTIONS,
    },
)

RULETAKER = Reader(
    about="RuleTaker: true or false, from facts and rules in a closed world",
    load=_theories,
    words=apart,
    source="Clark, Tafjord and Richardson 2020, Transformers as Soft Reasoners over Language, arXiv 2002.05867",
    licence="CC BY 4.0, Allen Institute for AI; the archive rule-reasoning-dataset-V2020.2.5",
    layout=("original/depth-5/train.jsonl, dev.jsonl, test.jsonl; other depths likewise",),
    options=THEORY_OPTIONS,
)
