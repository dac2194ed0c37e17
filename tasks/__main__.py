"""Look at tasks: `python -m tasks [list | show NAME [field=value …] [--split=S] [--count=N] [--seed=N] | gallery]`."""

from __future__ import annotations

import ast
import difflib
import sys
from pathlib import Path
from typing import Any

from tasks import TASKS, TaskError, make
from tasks.gallery import GALLERY, examples, factors, gallery, settings, shown, summary

OPTIONS = {"split": "train", "count": "3", "seed": "0"}
USAGE = """usage:
  python -m tasks list                                  every task, a line each
  python -m tasks show NAME [field=value …]             a few examples with answers, factors and difficulty
                  [--split=train] [--count=3] [--seed=0]
  python -m tasks gallery                               write docs/tasks.md (in the project's root)
  python -m tasks.calibrate [--all | NAME …]            train calibration cards, measured beside expected"""


def show(arguments: list[str]) -> str:
    """What `show` prints.

    Raises:
      TaskError: for a name, field, value, split or option that doesn't exist.
    """
    options, sizes, names = dict(OPTIONS), {}, []
    for argument in arguments:
        key, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("--"):
            if key not in OPTIONS or not equals:
                raise TaskError(f"unknown option '{argument}'; write {', '.join(f'--{o}=…' for o in OPTIONS)}.")
            options[key] = value
        elif equals:
            sizes[key] = _value(value)
        else:
            names.append(argument)
    if len(names) != 1:
        raise TaskError(f"show takes one task, not {names or 'none'}; `python -m tasks list` names them.")
    task, split = make(names[0], **sizes), options["split"]
    if split not in task.splits:
        near = difflib.get_close_matches(split, task.splits, n=3, cutoff=0.5) or task.splits
        raise TaskError(f"--split: {task.name} has no split '{split}'. Nearest: {', '.join(near)}.")
    count, seed = _whole(options, "count", 1, 1000), _whole(options, "seed", 0, 2**31 - 1)
    chosen = task.splits[split]
    head = f"{task.name} ({task.family}), {split}: {chosen.about}\ndifficulty: {settings(chosen.difficulty)}\n"
    head += f"factors: {factors(task)}\n"
    return "\n\n".join([head.rstrip(), *(shown(task, example) for example in examples(task, split, count, seed))])


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _whole(options: dict[str, str], name: str, low: int, high: int) -> int:
    if not options[name].isdecimal() or not low <= int(options[name]) <= high:
        raise TaskError(f"--{name}={options[name]} must be a whole number in [{low}, {high}].")
    return int(options[name])


def main(arguments: list[str]) -> None:
    """Carry out one command line."""
    command, *rest = arguments or ["--help"]
    if command == "list":
        width = max(map(len, TASKS))
        for name, task in TASKS.items():
            print(f"{name:{width}}  {task.family:9}  {summary(task)}")
    elif command == "show":
        print(show(rest))
    elif command == "gallery":
        target = Path(GALLERY)
        if not target.parent.is_dir():
            raise TaskError(f"there is no folder {target.parent}/ here; run the command in the project's root.")
        target.write_text(gallery())
        print(f"wrote {target}")
    elif command in ("-h", "--help", "help"):
        print(USAGE)
    else:
        raise TaskError(f"unknown command '{command}'.\n{USAGE}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TaskError as error:
        sys.exit(f"error: {error}")
