"""What there is, a line each: `run.py --list`."""

from __future__ import annotations

import ast
from pathlib import Path

from analysis.activations.claimable import READINGS
from analysis.metrics import ON_CALL
from lab.frozen.knobs import KNOBS as FROZEN
from lab.mechanisms.knob_table import OWN, shown, span
from lab.mechanisms.knobs import KNOBS
from lab.study import loader, sizes
from lab.values import exact
from tasks import TASKS
from tasks.text import READERS


def listing(what: str, studies: Path) -> str:
    """The lines for 'tasks', 'knobs', 'metrics' or 'studies'.

    Args:
      what: one of the four.
      studies: the folder of study files.
    """
    rows = {"tasks": _tasks, "knobs": _knobs, "metrics": _metrics}
    lines = rows[what]() if what in rows else _studies(studies)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]) for line in lines
    )


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""


def _tasks() -> list[tuple[str, ...]]:
    made = [(name, TASKS[name].family, _first_line(TASKS[name].__doc__)) for name in sorted(TASKS)]
    files = [(name, "published", f"{reader.about} (docs/text.md)") for name, reader in READERS.items()]
    return [*made, *files]


def _knobs() -> list[tuple[str, ...]]:
    lines = []
    for knob in (*KNOBS.values(), *sizes.KNOBS.values()):
        neutral = "no neutral value" if knob.neutral is None else f"neutral {shown(knob.neutral)}"
        neutral = "neutral as config.model says" if knob.name in sizes.KNOBS else neutral
        neutral += "" if knob.default is None else f", default {shown(knob.default)}"
        kind = "traced" if knob.traced else "static"
        lines.append(
            (knob.name, span(knob), neutral, kind, f"from {knob.stage} stage", f"{knob.about} ({knob.source})")
        )
    for name, (about, values, at, kind) in OWN.items():
        lines.append((name, values, f"neutral {at}", kind, "from first stage", f"{about} (the task's source)"))
    for knob in FROZEN.values():
        span_of = f"{exact(knob.low)} to {exact(knob.high)}"
        about = f"of a pretrained model: {knob.about} ({knob.source})"
        lines.append(
            (knob.name, span_of, f"neutral {exact(knob.neutral)}", "frozen study", f"on {knob.acts_on}", about)
        )
    return lines


def _metrics() -> list[tuple[str, ...]]:
    lines = []
    for one in READINGS.values():
        usual = {1: " Usually claimed to rise.", -1: " Usually claimed to fall.", 0: ""}[one.gain]
        needs = f" Needs {one.needs}." if one.needs else ""
        cost = f" Costs {one.cost}." if one.cost else ""
        about = f"{one.meaning} ({one.source}). Trap: {one.trap}.{usual}{needs}{cost}"
        lines.append((one.name, one.range, one.how, about))
    for one in ON_CALL.values():  # of several readings, or of two cells
        if one.name not in READINGS:
            needs = f" Needs {one.needs}." if one.needs else ""
            about = f"{one.meaning} ({one.source}). Trap: {one.trap}.{needs}"
            lines.append((one.name, one.range, "study.measure", about))
    return lines


def _studies(folder: Path) -> list[tuple[str, ...]]:
    # Read, not run: a listing must work even while one study is being edited.
    files = loader.studies(folder)
    return [(f"ablations/{file.relative_to(folder).as_posix()}", _question(file)) for file in files]


def _question(file: Path) -> str:
    try:
        return _first_line(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))))
    except SyntaxError as error:
        return f"(can't be read: line {error.lineno}: {error.msg})"
