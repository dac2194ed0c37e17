"""Formulas: ListOps' nested operations on digits, and entailment between propositions."""

from __future__ import annotations

from collections.abc import Mapping
from glob import escape
from pathlib import Path

from tasks.text.files import Place, filled, lines, splits_of
from tasks.text.items import Item, Loaded, Option, Reader, Value, blanks, characters

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
SYMBOLS = frozenset((*OPERATORS, "]", "(", ")", *"0123456789"))
CLOSING = {"]": "[", ")": "("}
HEURISTICS = ("longer", "variables_within", "literals_within")  # the three last columns of the entailment files
ENTAILMENT = ("train", "validate", "test_easy", "test_hard", "test_big", "test_massive", "test_exam")


def read_listops(file: Path, brackets: bool) -> tuple[Item, ...]:
    """The expressions of one file, each with its digit.

    Args:
      file: the file.
      brackets: whether the binary bracketing `(` `)` stays.

    Raises:
      TaskError: for a line that isn't a digit, a tab and an expression whose brackets close.
    """
    items = []
    for place, line in lines(file):
        columns = line.split("\t")
        if len(columns) != 2 or columns[0] not in set("0123456789"):
            raise place.error("a line must be a digit, a tab and an expression; get the file again.")
        symbols = columns[1].split()
        factors = {"depth": _depth(symbols, place), "operators": sum(symbol in OPERATORS for symbol in symbols)}
        expression = columns[1].strip() if brackets else " ".join(s for s in symbols if s not in "()")
        items.append(Item((), expression, columns[0], factors=factors, file=place.file, line=place.line))
    return tuple(items)


def _depth(symbols: list[str], place: Place) -> int:
    """How deep operators nest. The binary bracketing crosses their brackets, so the two are counted apart."""
    deepest = 0
    unclosed = {"[": 0, "(": 0}
    for symbol in symbols:
        if symbol not in SYMBOLS:
            raise place.error(f"'{symbol}' is no symbol of ListOps; they are {' '.join(OPERATORS)} ] ( ) and digits.")
        if symbol[0] in unclosed:
            unclosed[symbol[0]] += 1
            deepest = max(deepest, unclosed["["])
        elif symbol in CLOSING:
            unclosed[CLOSING[symbol]] -= 1
            if unclosed[CLOSING[symbol]] < 0:
                raise place.error(f"a '{symbol}' closes nothing; get the file again.")
    if any(unclosed.values()) or not symbols:
        raise place.error("the expression is empty or does not close; get the file again.")
    return deepest


def _listops(folder: Path, options: Mapping[str, Value]) -> Loaded:
    setting = escape(str(options["setting"]))
    names = {split: (f"{split}_{setting}.tsv", f"{split}.tsv") for split in ("train", "valid", "test")}
    return Loaded(splits_of(folder, names, lambda file: read_listops(file, bool(options["brackets"]))))


def read_entailment(file: Path) -> tuple[Item, ...]:
    """Pairs of formulas: does the context entail the question? 1 or 0.

    Raises:
      TaskError: for a line that isn't `A,B,E,H1,H2,H3`, the last four 0 or 1.
    """
    items = []
    for place, line in lines(file):
        columns = line.split(",")
        if len(columns) != 6 or not set(columns[2:]) <= {"0", "1"}:
            raise place.error("a line must be 'A,B,E,H1,H2,H3': two formulas and four of 0 or 1; get the file again.")
        premise, claim = (
            filled(text, name, place) for text, name in zip(columns, ("formula A", "formula B"), strict=False)
        )
        factors = {name: int(value) for name, value in zip(HEURISTICS, columns[3:], strict=True)}
        items.append(Item((premise,), claim, columns[2], factors=factors, file=place.file, line=place.line))
    return tuple(items)


def _entailment(folder: Path, options: Mapping[str, Value]) -> Loaded:
    splits = splits_of(folder, {split: (f"{split}.txt",) for split in ENTAILMENT}, read_entailment)
    return Loaded(splits, tuple(s for s in ("test_big", "test_massive", "test_exam") if s in splits))


LISTOPS = Reader(
    about="ListOps: nested operations on digits",
    load=_listops,
    words=blanks,
    source="Nangia and Bowman 2018, ListOps, arXiv 1804.06028",
    licence="MIT-style, New York University; github.com/nyu-mll/spinn, python/spinn/data/listops",
    layout=("train_d20s.tsv, test_d20s.tsv (or train.tsv, valid.tsv, test.tsv)",),
    options={
        "setting": Option("d20s", "what the files are named after: SPLIT_SETTING.tsv"),
        "brackets": Option(True, "yes as published, no without the binary bracketing ( )"),
    },
)

LOGICAL_ENTAILMENT = Reader(
    about="logical entailment: does one propositional formula entail another?",
    load=_entailment,
    words=characters,
    source="Evans et al. 2018, Can Neural Networks Understand Logical Entailment?, arXiv 1802.08535",
    licence="Apache-2.0, Google DeepMind; github.com/google-deepmind/logical-entailment-dataset",
    layout=tuple(f"data/{split}.txt" for split in ENTAILMENT),
)
