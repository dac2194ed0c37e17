"""`python -m tasks text`: what is in a published benchmark's files, for a person."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from tasks.base import TaskError
from tasks.text import READERS, read, reader
from tasks.text.items import Dataset, Item, Reader
from tasks.text.summary import NO_TRAIN, Summary, summaries

HIGHEST = 10**6  # of --limit and --show
LEGEND = """\
The input is context, question and choices: `median` and `longest` are its words, `answer` the longest answer's.
`commonest` is the share that the commonest training answer gets right, `chance` that of guessing among the choices.
`unknown` counts words that train lacks (different ones), `repeats` inputs that train has, too.
(o): drawn otherwise than train."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command; a format's own options come besides, as --NAME=VALUE."""
    parser.add_argument("name", nargs="?", metavar="FORMAT", help="the format; none: list them")
    parser.add_argument("--data_dir", metavar="DIR", help="the folder of its files; none: what the format expects")
    parser.add_argument("--limit", default="128", metavar="N", help="count items longer than N words (%(default)s)")
    parser.add_argument("--show", default="3", metavar="N", help="how many items to print (%(default)s)")


def printed(args: argparse.Namespace, rest: Sequence[str]) -> str:
    """What the command prints.

    Args:
      args: what `add_arguments` reads.
      rest: what it didn't: the format, if options came first, and the format's own options.

    Raises:
      TaskError: for a format, an option or a number that can't be, and files that can't be read.
    """
    names = [one for one in (args.name, *rest) if one is not None and not one.startswith("-")]
    given = dict(_option(one) for one in rest if one.startswith("-"))
    limit, show = _whole(args.limit, "limit", 1), _whole(args.show, "show", 0)
    if len(names) > 1:
        raise TaskError(f"text takes one format, not {', '.join(names)}; write options as --NAME=VALUE.")
    if not names:
        if given or args.data_dir is not None:
            raise TaskError(f"name the format, too: one of {', '.join(READERS)}.")
        return listed()
    chosen = reader(names[0])
    if args.data_dir is None:
        if given:
            raise TaskError(f"give the folder of the files as --data_dir=DIR; see `python -m tasks text {names[0]}`.")
        return "\n".join(described(names[0], chosen))
    dataset = read(names[0], args.data_dir, **given)
    return "\n".join(_report(names[0], chosen, dataset, limit, show))


def listed() -> str:
    """Every format, a line each."""
    width = max(map(len, READERS))
    return "\n".join(
        [
            *(f"{name:{width}}  {one.about}" for name, one in READERS.items()),
            "",
            "`python -m tasks text FORMAT` says which files it expects; with --data_dir=DIR, what is in them.",
            "These files don't feed training: a study can't name them yet.",
        ]
    )


def described(name: str, chosen: Reader) -> Iterator[str]:
    """Source, licence, layout and options of a format, line by line."""
    yield f"{name}: {chosen.about}"
    yield f"source: {chosen.source}"
    yield f"licence: {chosen.licence}"
    yield "files, plain or .gz:"
    yield from (f"  {line}" for line in chosen.layout)
    if chosen.options:
        yield "options:"
        for key, option in chosen.options.items():
            default = {True: "yes", False: "no"}[option.default] if isinstance(option.default, bool) else option.default
            yield f"  --{key}={default}  {option.about}"


def _report(name: str, chosen: Reader, dataset: Dataset, limit: int, show: int) -> Iterator[str]:
    yield from described(name, chosen)
    yield ""
    yield from table(dataset, limit)
    yield ""
    yield LEGEND
    if "train" not in dataset.splits:
        yield NO_TRAIN
    for split, item in first_items(dataset, show):
        yield ""
        yield from item_lines(split, item)


def table(dataset: Dataset, limit: int) -> list[str]:
    """The summaries, a row a split, in columns of equal width."""
    head = (
        *("split", "items", "distinct", "answers", "commonest", "chance", "median", "longest", "answer"),
        *(f">{limit}", "unknown", "repeats"),
    )
    rows: list[tuple[str, ...]] = [head]
    for split, one in summaries(dataset, limit).items():
        rows.append((split + " (o)" * (split in dataset.out_of_distribution), *_cells(one)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]


def _cells(one: Summary) -> tuple[str, ...]:
    return (
        *(str(one.items), str(one.distinct), str(one.answers), f"{one.floor:.1%}"),
        *("-" if one.chance is None else f"{one.chance:.1%}", f"{one.median:g}", str(one.longest)),
        *(str(one.longest_answer), str(one.over_limit)),
        *("-" if one.unknown is None else f"{one.unknown} ({one.unknown_words})",),
        *("-" if one.repeats is None else str(one.repeats),),
    )


def first_items(dataset: Dataset, count: int) -> list[tuple[str, Item]]:
    """The first items, one of each split in turn: so that a few show every split."""
    turns = max(map(len, dataset.splits.values()))
    taken = ((s, items[turn]) for turn in range(turns) for s, items in dataset.splits.items() if turn < len(items))
    return [pair for pair, _ in zip(taken, range(count), strict=False)]


def item_lines(split: str, item: Item) -> Iterator[str]:
    """An item as a person would read it, line by line."""
    yield f"{split}, {item.file}:{item.line}"
    yield from (f"  {sentence}" for sentence in item.context)
    yield f"  Question: {item.question}"
    yield from (f"    - {choice}" for choice in item.choices)
    yield f"  Answer: {item.answer}"
    if item.factors:
        yield f"  ({', '.join(f'{name} {value}' for name, value in item.factors.items())})"


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not text.startswith("--") or not equals:
        raise TaskError(f"unknown argument '{text}'; write a format's option as --NAME=VALUE.")
    return name.removeprefix("--"), value


def _whole(text: str, name: str, low: int) -> int:
    if not text.isdecimal() or len(text) > 20 or not low <= int(text) <= HIGHEST:
        raise TaskError(f"--{name}={text} must be a whole number in [{low}, {HIGHEST}].")
    return int(text)
