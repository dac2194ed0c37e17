"""Look at tasks (names, examples at any size, the gallery docs/tasks.md) and at published files (docs/text.md)."""

from __future__ import annotations

import argparse
import ast
import difflib
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tasks import TASKS, TaskError, make, shortcuts
from tasks.gallery import GALLERY, examples, factors, gallery, settings, shown, summary
from tasks.text import command as text

TEXT = "what is in a published benchmark's files; alone: the formats"
EPILOG = "`python -m lab.checks.known_results NAME` trains a task's calibration cards."


class Parser(argparse.ArgumentParser):
    """argparse, with a mistake as a `TaskError`."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse where an argument is missing or unknown.

        Raises:
          TaskError: always.
        """
        raise TaskError(f"{message}; see `{self.prog} --help`.")


def _parser() -> Parser:
    parser = Parser(prog="python -m tasks", description=__doc__, epilog=EPILOG, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="name every task, a line each")
    one = commands.add_parser("show", help="print a few examples with answers, factors and difficulty")
    one.add_argument("name", metavar="NAME", help="the task")
    one.add_argument("sizes", nargs="*", metavar="FIELD=VALUE", help="a size of the task (its default)")
    one.add_argument("--split", default="train", help="the split that examples are drawn from (%(default)s)")
    one.add_argument("--count", default="3", metavar="N", help="how many examples (%(default)s)")
    one.add_argument("--seed", default="0", metavar="N", help="of the examples (%(default)s)")
    commands.add_parser("gallery", help=f"write {GALLERY}, in the project's root")
    hunt = commands.add_parser("shortcuts", help="fit simple predictors to tasks: do they beat the declared baselines?")
    hunt.add_argument("names", nargs="*", metavar="NAME", help="tasks at their default sizes (all)")
    hunt.add_argument("--examples", default="5000", metavar="N", help="to fit, and to try on each split (%(default)s)")
    hunt.add_argument("--seed", default="0", metavar="N", help="of examples and worlds (%(default)s)")
    text.add_arguments(commands.add_parser("text", help=TEXT, allow_abbrev=False))
    return parser


def show(args: argparse.Namespace) -> str:
    """What `show` prints.

    Raises:
      TaskError: for a name, field, value or split that doesn't exist.
    """
    fields = [size.partition("=") for size in args.sizes]
    for field, equals, _ in fields:
        if not equals:
            raise TaskError(f"'{field}': show takes one task, then fields as FIELD=VALUE.")
    task = make(args.name, **{field: _value(value) for field, _, value in fields})
    if args.split not in task.splits:
        near = difflib.get_close_matches(args.split, task.splits, n=3, cutoff=0.5) or task.splits
        raise TaskError(f"--split: {task.name} has no split '{args.split}'. Nearest: {', '.join(near)}.")
    count, seed = _whole(args.count, "count", 1, 1000), _whole(args.seed, "seed", 0, 2**31 - 1)
    chosen = task.splits[args.split]
    head = f"{task.name} ({task.family}), {args.split}: {chosen.about}\ndifficulty: {settings(chosen.difficulty)}\n"
    head += f"factors: {factors(task)}\n"
    return "\n\n".join([head.rstrip(), *(shown(task, example) for example in examples(task, args.split, count, seed))])


def hunt(args: argparse.Namespace) -> Iterator[str]:
    """What `shortcuts` prints, a piece a task as they come.

    Raises:
      TaskError: for a name or a number that can't be; without scikit-learn.
    """
    count, seed = _whole(args.examples, "examples", 100, 100_000), _whole(args.seed, "seed", 0, 2**31 - 1)
    head, legend = shortcuts.HEAD
    yield head
    undeclared = []
    for task in [make(name) for name in args.names or TASKS]:
        found = list(shortcuts.search(task, count, seed))
        undeclared += [f"{one.task}/{one.split}" for one in found if one.undeclared]
        yield shortcuts.rows(found) if found else f"| {task.name} | (none is disjoint) | | | | | |"
    yield f"\n{legend}\n\n" + (f"Not declared: {', '.join(undeclared)}." if undeclared else "Nothing undeclared.")


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _whole(text: str, name: str, low: int, high: int) -> int:
    if not text.isdecimal() or len(text) > 20 or not low <= int(text) <= high:
        raise TaskError(f"--{name}={text} must be a whole number in [{low}, {high}].")
    return int(text)


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The values of all arguments, which may come in any order after the command.

    Raises:
      TaskError: for an argument that is unknown or missing.
    """
    args, rest = _parser().parse_known_args(arguments)
    if args.command == "text":  # options of a format are known to its reader only
        args.rest = rest
        return args
    unknown = [one for one in rest if one.startswith("-") or args.command not in ("show", "shortcuts")]
    if unknown:
        raise TaskError(f"unknown argument '{unknown[0]}'; see `python -m tasks {args.command} --help`.")
    if args.command in ("show", "shortcuts"):  # argparse reads no fields or names after an option
        (args.sizes if args.command == "show" else args.names).extend(rest)
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line. Exit status: 0 done, 2 a user's mistake."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no character ends a command where the terminal lacks it
            stream.reconfigure(errors="replace")
    try:
        _carry_out(read(arguments if arguments is not None else sys.argv[1:] or ["--help"]))
    except (TaskError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _carry_out(args: argparse.Namespace) -> None:
    if args.command == "list":
        width = max(map(len, TASKS))
        for name, task in TASKS.items():
            print(f"{name:{width}}  {task.family:9}  {summary(task)}")
    elif args.command == "show":
        print(show(args))
    elif args.command == "shortcuts":
        for piece in hunt(args):
            print(piece, flush=True)
    elif args.command == "text":
        print(text.printed(args, args.rest))
    else:
        target = Path(GALLERY)
        if not target.parent.is_dir():
            raise TaskError(f"there is no folder {target.parent}/ here; run the command in the project's root.")
        target.write_text(gallery(), encoding="utf-8")
        print(f"wrote {target}")


if __name__ == "__main__":
    sys.exit(main())
