"""A benchmark's figures: kept in a file, and compared with those of an earlier run on the same machine.

Only ratios to something timed in the same run are judged: another load on the machine moves both. Plain times and rates
are printed next to them.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax

from lab.engine import Layout
from lab.engine.provenance import cpu_model
from lab.errors import UserError, cause, refusal
from lab.machine import cores
from lab.storage.files import MALFORMED, number

TOLERANCE = 0.15
VERSIONED = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


@dataclass(frozen=True)
class Figure:
    """One number of a benchmark.

    Attributes:
      name: of the figure, by which runs are compared.
      value: in `unit`.
      unit: for people.
      more: whether a larger value is better.
      judged: whether it is a ratio to something timed in the same run.
    """

    name: str
    value: float
    unit: str = ""
    more: bool = False
    judged: bool = False


class Measured(NamedTuple):
    """The result of one measurement: lines for a person, and the figures in them."""

    lines: Sequence[str]
    figures: Sequence[Figure] = ()


@dataclass(frozen=True)
class Run:
    """One run of a benchmark.

    Attributes:
      kind: which benchmark.
      machine: properties that must agree for figures to be comparable.
      versions: of packages; they may differ, which is reported.
      date: of the start, UTC.
      load: of the machine at the start.
      figures: by name.
    """

    kind: str
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]
    date: str
    load: float | None
    figures: Mapping[str, Figure] = field(default_factory=dict)


def start(kind: str, layout: Layout) -> Run:
    """A run on this machine, before anything is measured."""
    device = jax.local_devices()[0].device_kind
    machine = {"device": device, "processor": cpu_model(), "cores": cores(), **asdict(layout)}
    found = {name: _version(name) for name in VERSIONED}
    versions = {"python": platform.python_version()} | {name: version for name, version in found.items() if version}
    return Run(kind, machine, versions, datetime.now(UTC).isoformat(timespec="seconds"), load())


def load() -> float | None:
    """The machine's load of the last minute; None where the system has no such number."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def save(run: Run, file: Path) -> None:
    """Write a run to a file.

    Raises:
      UserError: if the file can't be written.
    """
    content = asdict(run) | {"figures": [asdict(figure) for figure in run.figures.values()]}
    try:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--save={file} can't be written: {refusal(error)}.") from None


def read(file: Path) -> Run:
    """Read a run back.

    Raises:
      UserError: if there is no such file, or it holds no run.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        figures = [Figure(**figure | {"value": number(figure["value"])}) for figure in content.pop("figures")]
        if not isinstance(content["machine"], dict) or not isinstance(content["versions"], dict):
            raise TypeError
        return Run(**content, figures={figure.name: figure for figure in figures})
    except OSError as error:
        raise UserError(f"--compare={file} can't be read: {cause(error)}; make one with --save={file}.") from None
    except MALFORMED:
        raise UserError(f"--compare={file} was not written by --save; make one with --save={file}.") from None


def check_comparable(before: Run, now: Run, file: Path) -> str:
    """A sentence on package versions that may have changed figures, or nothing.

    Raises:
      UserError: if the earlier run is of another benchmark or machine.
    """
    if before.kind != now.kind:
        raise UserError(f"--compare={file} holds the benchmark '{before.kind}', this is '{now.kind}'; name another.")
    names = sorted({*before.machine, *now.machine})
    other = [name for name in names if before.machine.get(name) != now.machine.get(name)]
    if other:
        listed = "; ".join(
            f"{name} {before.machine.get(name)} there and {now.machine.get(name)} here" for name in other
        )
        raise UserError(f"--compare={file} is of another machine ({listed}): figures don't compare; save a run here.")
    packages = sorted({*before.versions, *now.versions})
    changed = [
        f"{name} {before.versions.get(name, 'none')}, now {now.versions.get(name, 'none')}"
        for name in packages
        if before.versions.get(name) != now.versions.get(name)
    ]
    return f"Other versions than in the saved run: {'; '.join(changed)}." if changed else ""


def slowdown(before: Figure, now: Figure) -> float:
    """How many times worse a figure is than it was; above 1 is worse."""
    there, here = (before.value, now.value) if now.more else (now.value, before.value)
    return there / here if here else float("inf")


def slower(before: Run, figures: Sequence[Figure], tolerance: float) -> list[Figure]:
    """The judged figures that got worse by more than the tolerance, a share."""
    known = [figure for figure in figures if figure.judged and figure.name in before.figures]
    return [figure for figure in known if slowdown(before.figures[figure.name], figure) > 1 + tolerance]


def better_of(first: Sequence[Figure], again: Sequence[Figure]) -> list[Figure]:
    """Figures that were measured twice, the judged ones at their better value."""
    second = {figure.name: figure for figure in again if figure.judged}
    return [min(figure, second.get(figure.name, figure), key=_badness) for figure in first]


def _badness(figure: Figure) -> float:
    return -figure.value if figure.more else figure.value


def measured_twice(measure: Callable[[], Measured], before: Run | None, tolerance: float) -> Measured:
    """Measure; if a figure is worse than in an earlier run, measure again and take the better value of each."""
    measured = measure()
    if before is None or not slower(before, measured.figures, tolerance):
        return measured
    again = measure()
    return Measured([*measured.lines, *again.lines], better_of(measured.figures, again.figures))


def _value(figure: Figure) -> str:
    return f"{figure.value:.4g} {figure.unit}".rstrip()


def comparison(before: Run, now: Run, tolerance: float) -> Iterator[str]:
    """A line for each figure, then a sentence that names those that got slower."""
    worse = {figure.name for figure in slower(before, [*now.figures.values()], tolerance)}
    yield f"compared with {before.date} (load {before.load}; now {now.load}): now ÷ then"
    for name, figure in now.figures.items():
        if name not in before.figures:
            yield f"  {name}: {_value(figure)} (new)"
            continue
        there = before.figures[name]
        ratio = figure.value / there.value if there.value else float("inf")
        verdict = "SLOWER" if name in worse else "" if figure.judged else "(not judged)"
        yield f"  {name}: {there.value:.4g} → {_value(figure)}, {ratio:.2f} {verdict}".rstrip()
    for name in before.figures.keys() - now.figures.keys():
        yield f"  {name}: no longer measured"
    if worse:
        yield f"Slower by more than {tolerance:.0%}: {', '.join(sorted(worse))}."
    else:
        yield f"Nothing got slower by more than {tolerance:.0%}."
