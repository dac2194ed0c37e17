"""`python -m lab.mechanisms.knob_table` writes docs/knobs.md: every knob, from the registry."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lab.errors import Parser, command
from lab.mechanisms.base import NEVER, Knob
from lab.mechanisms.knobs import MECHANISMS, OF_EVERY_PROGRAM

# Knobs that each study has of its own: name -> (what they are, their values, neutral, kind), for a person.
OWN = {
    "task.<label>.<field>": (
        "a difficulty of the task's training examples; evaluation and probes stay as declared",
        "the task's",
        "that of `train`",
        "traced",
    ),
    "task.<label>.<size>": (
        "a size of the task, as an axis only: each value is another task, judged by itself",
        "the task's",
        "that of `config.tasks`",
        "static",
    ),
    "mixture.<label>": ("share of the task in a training batch", "0 to 1", "that of `config.tasks`", "traced"),
}

HERE = Path(__file__).resolve().parents[2]
INTRO = """# The knobs

Written by `python -m lab.mechanisms.knob_table` from the registry; a test holds it. `python run.py --list=knobs` prints
the same.

A *traced* knob is a value that the compiled program is given: all of an axis's values train in one program. A *static*
one changes the program. A knob acts from the first or the last stage unless its axis names another. Where there is no
neutral value the default stands in its place. Every strength with a `relax_from` can be brought back to neutral: at
once (`relax_over=1`) or in a straight line over that many steps.
"""

OWN_INTRO = """Each study has these knobs of its own, one for each of its tasks' labels, by its tasks' own declarations:
[task_knobs.md](task_knobs.md) is the how-to, [tasks.md](tasks.md) names every task's, with their ranges."""


def shown(value: object) -> str:
    """A knob's value, for a person."""
    if value == NEVER:
        return "never"
    if value is None:
        return "each value its own"
    return f"{value:g}" if isinstance(value, float) else str(value)


def span(knob: Knob, between: str = " to ", either: str = " | ") -> str:
    """The valid values."""
    if knob.choices:
        return either.join(map(str, knob.choices))
    return between.join(shown(int(end) if knob.integer else float(end)) for end in (knob.low, knob.high))


def either_of(names: Sequence[str]) -> str:
    """'`a`', '`a` or `b`'."""
    return " or ".join(f"`{name}`" for name in names)


def rows(knobs: list[Knob]) -> list[str]:
    """The lines of a table, its head included."""
    lines = ["| knob | values | neutral | kind | acts from | what it does |", "|---|---|---|---|---|---|"]
    for knob in knobs:
        neutral = f"({shown(knob.base)})" if knob.neutral is None else shown(knob.neutral)
        neutral += f", default {shown(knob.default)}" if knob.default is not None and knob.neutral is not None else ""
        kind = ("traced" if knob.traced else "static") + (", whole" if knob.integer else "")
        values = span(knob, either=r" \| ")
        about = f"{knob.about}." + (f" Only with {either_of(knob.needs)}." if knob.needs else "")
        lines.append(f"| `{knob.name}` | {values} | {neutral} | {kind} | {knob.stage} | {about} |")
    return lines


def table() -> str:
    """The whole document."""
    parts = [INTRO, "## Every program", "", *rows(list(OF_EVERY_PROGRAM))]
    for name, mechanism in MECHANISMS.items():
        file = f"lab/{type(mechanism).__module__.removeprefix('lab.').replace('.', '/')}.py"
        sources = dict.fromkeys(source for knob in mechanism.knobs for source in knob.source.split("; "))
        parts += ["", f"## {name}", "", f"[{file}](../{file}). {'; '.join(sources)}.", "", *rows(list(mechanism.knobs))]
    parts += ["", "## A study's own", "", OWN_INTRO, "", "| knob | values | neutral | kind | what it does |"]
    parts += ["|---|---|---|---|---|"]
    parts += [f"| `{name}` | {values} | {at} | {kind} | {about}. |" for name, (about, values, at, kind) in OWN.items()]
    return "\n".join(parts) + "\n"


@command
def main(arguments: Sequence[str]) -> int:
    """Write the table."""
    Parser("lab.mechanisms.knob_table", __doc__).read(arguments)
    path = HERE / "docs" / "knobs.md"
    path.write_text(table(), encoding="utf-8")
    print(f"wrote {path.relative_to(HERE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
