"""What a study can't conclude, whatever comes out: said before it trains, next to the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.design.categories import is_association, is_categorical, setting_of
from analysis.design.controls import cells_of_strata, sides
from analysis.stats import MIN_SETTINGS, least_seeds
from analysis.stats.setting_map import level_divisors
from lab.mechanisms import EVERY, Counted
from lab.storage import DamagedFile, read_document
from lab.storage.files import MALFORMED
from lab.study import sizes
from lab.study.spec import Study
from lab.values import exact


def undecidable(study: Study, root: Path) -> list[str]:
    """Sentences on what the study's design leaves open; none where every claim can be decided.

    Args:
      study: as it would be trained.
      root: its work directory, whose verdicts are read where it was judged before.
    """
    return [
        *_too_few(study),
        *_nothing_compared(study),
        *_one_setting(study),
        *_untrained(study),
        *_at_ceiling(study, root),
    ]


def _too_few(study: Study) -> Iterator[str]:
    knob, least = study.claim.knob, least_seeds(study.claim.alpha)["bounds"]
    places = [[study.cells[index] for index in inside] for _, inside in cells_of_strata(study)]
    settings = min(len({setting_of(study, cell) for cell in cells}) for cells in places)
    seeds = min(len({cell["seed"] for cell in cells}) for cells in places)
    if settings < MIN_SETTINGS and not (is_categorical(study) or is_association(study)):
        yield (
            f"{settings} {'settings' if settings > 1 else 'setting'} of {knob} leave a break somewhere in wide gaps,"
            f" and no shape over the whole range can be tested: {MIN_SETTINGS} are the least; add values to its axis."
        )
    if seeds < least:
        yield (
            f"{seeds} {'seeds' if seeds > 1 else 'seed'} can never reject at alpha={study.claim.alpha:g}, so that"
            f" every claim stays `undecided`: {least} are the least; add seeds."
        )
    claims, alpha = len(study.claim.every_gain) * len(study.claim.abilities) * sides(study), study.claim.alpha
    alone = next(n for n in range(least, 1100) if claims * level_divisors(n, alpha)[0] * 2.0**-n <= alpha)
    if least <= seeds < alone and not is_association(study):
        yield (
            f"With {seeds} seeds a single finding among {claims} claims can't stand after the correction for their"
            f" number (several together can): {alone} seeds are the least; add seeds, or claim less."
        )


def _field(study: Study, knob: str) -> str:
    """Where a config says what an axis would."""
    if knob in study.task_sizes:
        return f"config.tasks.{knob.split('.', 1)[1]}"
    return f"config.{knob}" if knob in sizes.KNOBS else f"config.knobs.{knob}"


def _nothing_compared(study: Study) -> Iterator[str]:
    seeds = {cell["seed"] for cell in study.cells}
    for axis in (axis for axis in study.axes if axis.knob != "seed"):
        pairs = {(cell["seed"], cell[axis.knob]) for cell in study.cells}
        values = {value for _, value in pairs}
        if len(values) == 1 and axis.stage is None:  # with a stage it says from where on the knob has its value
            yield (
                f"The axis {axis.knob} has one value, {values.pop()!r}, so that nothing is compared along it; set"
                f" {_field(study, axis.knob)} in its place, or add values."
            )
        elif len(values) > 1 and len(pairs) == len(seeds):
            yield (
                f"{axis.knob} and the seed change together: no seed has two values of it, and settings are compared"
                " within seeds; make sweep() a product of the two axes."
            )


def _one_setting(study: Study) -> Iterator[str]:
    """Of axes whose effect is a count, such as of weights: values that come to the same one."""
    for axis in study.axes:
        groups: dict[frozenset[Counted], list[str]] = {}
        for value, counts in sorted(_counts(study, axis.knob).items()):
            groups.setdefault(frozenset(counts), []).append(exact(value))
        alike = [(values, counts) for counts, values in groups.items() if len(values) > 1]
        for values, counts in alike[:1]:
            more = f" (and there are {len(alike) - 1} more such groups)" if len(alike) > 1 else ""
            yield (
                f"{', '.join(values[:-1])} and {values[-1]} of {axis.knob} come to the same number of"
                f" {next(iter(counts)).what}{more}, so that nothing is compared between them; set values that lie"
                " further apart."
            )


def _counts(study: Study, knob: str) -> dict[Any, set[Counted]]:
    """What each value of a knob comes to in the cells that have it; empty where its effect is no count."""
    mechanism, last = EVERY.get(knob.split(".")[0]), len(study.stages) - 1
    if mechanism is None:
        return {}
    its = [name for name in study.knobs if name.split(".")[0] in (knob.split(".")[0], "model")]
    cells = (study.knobs_at(cell, last) for cell in study.cells)
    found: dict[Any, set[Counted]] = {}
    for setting in dict.fromkeys(tuple(cell[name] for name in its) for cell in cells):
        knobs = dict(zip(its, setting, strict=True))
        counted = mechanism.counted(study.setup(knobs, last)._replace(opening=study.stages[0].end))
        if knob in counted:
            found.setdefault(knobs[knob], set()).add(counted[knob])
    return found


def _untrained(study: Study) -> Iterator[str]:
    places = ((label, study.claim.place(label, key)) for label, key in study.claim.abilities)
    claimed = {label for label, place in places if place is None or place.probe is None}  # a probe reads any task
    for use in study.tasks:
        if use.label in claimed and not any(use.examples):
            yield f"No stage trains {use.label}, whose abilities are claimed; raise config.tasks.{use.label}.examples."


def _at_ceiling(study: Study, root: Path) -> Iterator[str]:
    """Of the abilities judged here before: those whose neutral cells leave less room above them than delta."""
    claim = study.claim
    places = ((label, split, claim.place(label, split)) for label, split in claim.abilities)
    claimed = [
        f"{label}/{split}" for label, split, place in places if place is None or place.is_share
    ]  # a damaged file's may not be hashable
    found: dict[str, float] = {}
    for one in _judged(root):
        ability, neutral, delta = (one.get(name) for name in ("ability", "neutral_ability", "delta"))
        if ability not in claimed or not isinstance(neutral, (int, float)) or not isinstance(delta, (int, float)):
            continue
        if 1 - neutral < delta:
            found[ability] = max(neutral, found.get(ability, 0.0))
    for ability, neutral in found.items():
        yield (
            f"{ability} was {neutral:.3f} at the neutral setting when this study was last judged: at its ceiling it"
            " can't rise by delta, so that no gain can show in it; make the task harder."
        )


def _judged(root: Path) -> Sequence[Mapping[str, Any]]:
    """The claims of an earlier run's verdicts.json; none where it has none that can be read."""
    try:
        return [one for one in read_document(root / "verdicts.json")["claims"] if isinstance(one, dict)]
    except (DamagedFile, *MALFORMED):
        return []
