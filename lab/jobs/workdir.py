"""A study's work directory: the record of the study, and the lock that lets only one process write."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.engine import Layout
from lab.errors import UserError
from lab.jobs import locking
from lab.jobs.layouts import described, is_layout
from lab.jobs.shards import Shard, locks
from lab.mechanisms.knobs import KNOBS, shapes_something
from lab.storage import DamagedFile, checkpoint, read_document, write_document
from lab.storage.files import MALFORMED
from lab.study import Axis, Grid, published, study_config
from lab.study.parse import parse
from lab.study.spec import FORMAT, Study
from lab.values import plain_fields

FILE = "study.json"
LOST = "lost"  # in place of a claim's hash that no record holds any more
LATER = {"grid", "format", "earlier", "files"}  # fields that study.json of earlier versions lacks
KINDS = {"files": dict, "config": dict, "axes": dict, "cells": list, "claim_hash": str, "layout": dict, "layouts": list}


class Workdir:
    """The directory of one study.

    Attributes:
      path: the directory.
      record: the content of study.json: the config's own fields (not those that only sweep() reads), the cells, the
        grid that they came from, the claim's hash, the layout, and the version's `FORMAT`; on disk all layouts so far,
        too, those of an earlier version, with its format, and hashes of other claims that were there before. Enough to
        read the study back without its file.
    """

    def __init__(self, path: Path, study: Study, config: Any, layout: Layout):
        self.path, self._study = path, study
        standard = set(study_config())
        given = json.loads(plain_fields(config).to_json_best_effort())
        files = published.files_of(study.tasks)
        self.record = {
            "config": published.without_folders({n: value for n, value in given.items() if n in standard}, files),
            "axes": {a.knob: a.stage or "" for a in study.axes},
            "cells": [study.active(cell) for cell in study.cells],
            "claim_hash": study.claim_hash(),
            "layout": asdict(layout),
            "format": FORMAT,
            "earlier": None,
            "grid": {
                "axes": [[a.knob, list(a.values), a.stage, *([True] if a.tuned else [])] for a in study.axes],
                "points": [{a.knob: cell[a.knob] for a in study.axes} for cell in study.cells],
            },
            **({"files": files} if files else {}),
        }

    def locked(self) -> contextlib.AbstractContextManager[list[str]]:
        """Hold the directory for this process alone; see `lab.jobs.locking.locked`."""
        return locking.locked(self.path)

    @contextlib.contextmanager
    def shared(self, shard: Shard, division: str) -> Iterator[list[str]]:
        """Hold one shard, next to the other shards of the same division, and claim the directory.

        The shard's lock file stays behind: it records for later runs how the study is divided.

        Args:
          shard: to hold.
          division: a hash of each shard's nodes; two divisions at the same time could train the same cells.

        Yields:
          the notes of `claim`.

        Raises:
          UserError: if the directory, this shard or a shard of another division is held, or there are no locks.
        """
        with contextlib.ExitStack() as held:
            if not locking.shares(self.path, held.enter_context(locking.lock(self.path, ".lock"))):
                raise locking.in_use(self.path, "a process that isn't a shard")
            with locking.lock(self.path, "shards/.claim") as turn:  # one at a time, for the moment
                fcntl.flock(turn, fcntl.LOCK_EX)
                for other in locks(self.path):
                    with other.open("r+") as theirs:  # NFS locks what it may write only
                        if not other.name.endswith(division) and not locking.held(theirs, fcntl.LOCK_EX):
                            raise locking.in_use(self.path, "shards that divide the study differently")
                notes = self.claim()
                if not locking.held(held.enter_context(locking.lock(self.path, shard.file(division))), fcntl.LOCK_EX):
                    raise locking.in_use(self.path, f"another process that trains shard {shard}")
                os.utime(self.path / shard.file(division))
            yield notes

    def check(self) -> list[str]:
        """Check that the directory holds this study, perhaps with fewer values or seeds, or none.

        Returns:
          notes for a person.

        Raises:
          UserError: if it is another study, with the difference.
        """
        locking.check_place(self.path)
        known, notes = self._known()
        if known is None:
            return []
        if differences := self._differences(known):
            raise UserError(
                f"--workdir={self.path} holds another study ({'; '.join(differences[:5])}). Values and seeds may be"
                " added to a study, nothing else changed: repeat the overrides that it was made with, or name another"
                " --workdir."
            )
        if others := self._other_claims(known):
            notes.append(
                f"{self.path / FILE} was written for another claim (hash {', '.join(others)}) than this one (hash"
                f" {self.record['claim_hash']}): the claim was changed after training started, or the file was edited"
                " or lost."
            )
        if self._earlier(known):
            notes.append(
                f"{self.path} holds checkpoints of an earlier version of the lab, too, which trained to other numbers"
                " or read other ones off its cells: they are not used here, so that the study trains again, and stay."
                " That version reads them."
            )
        layouts = self._layouts(known)
        if len({layout.rounding() for layout in layouts}) > 1:
            notes.append(
                f"This study has been on more than one device layout ({described(layouts)}): its numbers may differ"
                " from an uninterrupted run on the first in the last bits, which training amplifies."
            )
        return notes

    def claim(self) -> list[str]:
        """`check`, then write study.json, before anything trains."""
        notes = self.check()
        known, _ = self._known()
        layouts = self._layouts(known) if known else [Layout(**self.record["layout"])]
        record = self.record | {
            "layout": asdict(layouts[0]),
            "layouts": [asdict(layout) for layout in layouts],
            "earlier": self._earlier(known) if known else None,
            **({"other_claims": others} if (others := self._other_claims(known or {})) else {}),
        }
        write_document(self.path / FILE, record)
        return notes

    def _other_claims(self, known: dict[str, Any]) -> list[str]:
        """Hashes of claims that a record was written for, apart from this one: a change stays known."""
        before = [*known.get("other_claims", []), known.get("claim_hash", self.record["claim_hash"])]
        return [one for one in dict.fromkeys(before) if one != self.record["claim_hash"]]

    def _earlier(self, known: dict[str, Any]) -> dict[str, Any] | None:
        """The record of an earlier version's checkpoints: its format, where it wrote one, and its layouts."""
        if known.get("format") == FORMAT:
            return known.get("earlier")
        return {"format": known.get("format"), "layouts": known.get("layouts", [known["layout"]])}

    def _layouts(self, known: dict[str, Any]) -> list[Layout]:
        """The layouts that round differently, of the runs so far and of this one, earliest first."""
        found: dict[Any, Layout] = {}
        earlier = known.get("layouts", [known["layout"]]) if known.get("format") == FORMAT else []
        for one in [*earlier, self.record["layout"]]:
            found.setdefault(Layout(**one).rounding(), Layout(**one))
        return list(found.values())

    def _known(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The record on disk, None where there is none; and a sentence if it was damaged.

        Raises:
          UserError: if it is damaged, disagrees with this study, and can't be made again.
        """
        path, problem = self.path / FILE, ""
        try:
            known = read_document(path)
        except DamagedFile as error:
            known, problem = error.content, str(error)
        if known is None and not problem:
            if not (self.path / "checkpoints").exists():
                return None, []
            problem = f"--workdir={self.path} holds checkpoints but no {FILE}"
        if known is not None and not self._is_record(known):
            known, problem = None, f"{path} is not a study's record"
        if known is not None:
            standard = json.loads(study_config().to_json_best_effort())
            known = known | {"config": _filled(known["config"], standard)}
        differences = self._differences(known) if known is not None and problem else []
        if known is None or differences:
            other = f", and holds another study now ({'; '.join(differences[:5])})" if differences else ""
            return self._made_again(f"{problem}{other}")
        return known, [f"{problem}; it agrees with this study, and a run writes it again."] if problem else []

    def _made_again(self, problem: str) -> tuple[dict[str, Any], list[str]]:
        """The record that is lost, where every checkpoint is of this study; which claim it had is not known.

        Raises:
          UserError: if there are no checkpoints, or others, too.
        """
        saved = [one for saves in checkpoint.scan(self.path)[0].values() for one in saves]
        keys = {key for recipe in self._study.recipes() for key in recipe.keys}
        if not saved or not all(keys.issuperset(one.meta["cells"]) for one in saved):
            raise UserError(f"{problem}; restore it, or name another --workdir.")
        layouts = {Layout(**one.meta["layout"]): None for one in saved}
        known = self.record | {"layouts": [asdict(layout) for layout in layouts], "other_claims": [LOST]}
        return known, [f"{problem}; every checkpoint is of this study, and a run writes the record again."]

    def _differences(self, known: dict[str, Any]) -> list[str]:
        """How this study differs from that of a record, apart from new values, new seeds and a reworded question."""
        there = _completed(known["config"]) | {"question": self.record["config"]["question"]}
        found = list(_differences(there, self.record["config"], "config"))
        found += list(_differences(known["axes"], self.record["axes"], "the stage of axis"))
        found += list(published.changed(known.get("files", {}), self.record.get("files", {})))
        own: dict[str, list[Any]] = {}  # by seed: of thousands of cells each would be compared with each
        for cell in self.record["cells"]:
            own.setdefault(repr(cell.get("seed")), []).append(cell)
        lost = [cell for cell in known["cells"] if cell not in own.get(repr(cell.get("seed")), ())]
        if not found and lost:
            knobs = [name for name in lost[0] if len({str(cell.get(name)) for cell in known["cells"]}) > 1]
            example = ", ".join(f"{name}={lost[0][name]}" for name in knobs)
            found.append(f"{len(lost)} of its cells are not in this grid, such as {example}")
        return found

    def _is_record(self, known: Any) -> bool:
        """Whether a document has the fields of a record, each of its type."""
        if not isinstance(known, dict) or not set(self.record) - LATER <= set(known):
            return False
        layouts, others = known.get("layouts", []), known.get("other_claims", [])
        return (
            all(isinstance(known[name], kind) for name, kind in KINDS.items() if name in known)
            and all(isinstance(cell, dict) for cell in known["cells"])
            and all(is_layout(one) for one in [known["layout"], *layouts])
            and isinstance(known.get("format"), int | None)
            and isinstance(known.get("earlier"), dict | None)
            and isinstance(others, list)
            and all(isinstance(one, str) for one in others)
        )


def _filled(known: Any, standard: dict[str, Any]) -> Any:
    """A record's fields, with the default of those that a later version brought."""
    if not isinstance(known, dict):
        return known
    sections = [name for name, one in standard.items() if isinstance(one, dict) and name in known]
    return {**standard, **known, **{name: _filled(known[name], standard[name]) for name in sections}}


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    """A record's config with the fields that it lacks at their defaults: a later version may have more of them."""

    def with_defaults(there: Any, standard: Any) -> Any:
        if not isinstance(there, dict) or not isinstance(standard, dict):
            return there
        missing = {name: value for name, value in standard.items() if name not in there}
        return missing | {name: with_defaults(value, standard.get(name)) for name, value in there.items()}

    return with_defaults(config, json.loads(plain_fields(study_config()).to_json_best_effort()))


def _differences(there: Any, here: Any, field: str) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for name in sorted(set(there) | set(here)):
            yield from _differences(there.get(name), here.get(name), f"{field}.{name}")
    elif there != here:
        yield f"{field} is {there!r} there and {here!r} here"


def read_study(path: Path, metrics: Collection[str]) -> Study:
    """The study of a work directory, from its study.json alone. Takes no lock and writes nothing.

    Args:
      path: the directory.
      metrics: names of the registered latent metrics.

    Raises:
      UserError: if there is none, or it can't be read back as the study that was claimed.
    """
    file, edited = path / FILE, False
    if not file.is_file():
        raise UserError(f"{path} is no work directory: it has no study.json; name one, such as runs/pruning.")
    record: Any = None
    try:
        record = read_document(file)
    except DamagedFile as error:
        record, edited = error.content, True
    try:
        axes = record["axes"]
        points = record["grid"]["points"] if "grid" in record else [_point(axes, cell) for cell in record["cells"]]
        files = record.get("files", {})
        config, fields = study_config(), _frozen(published.with_folders(record["config"], files))
        with config.unlocked():
            if not isinstance(fields["claim"]["gains"], dict):
                config.claim.gains = ()  # a section takes no tuple
            config.update(fields)
        grid = Grid(_axes(record, points), tuple(tuple(point.items()) for point in points))
        study, claimed = parse(config, grid, metrics), record["claim_hash"]
    except UserError as error:
        raise UserError(f"{file} can't be read back by this version: {error}") from None
    except MALFORMED:
        raise UserError(f"{file} is not a study's record; restore it, or name another directory.") from None
    for clause in published.changed(files, published.files_of(study.tasks)):
        raise UserError(f"{file}: {clause}; restore them.")
    if study.claim_hash() != claimed:
        raise UserError(f"{file} reads back as another claim than was hashed before training; restore it.")
    if edited:
        raise UserError(
            f"{file} was edited or damaged after it was written; restore it, or rerun the study's command, which"
            " compares it with the study's own file."
        )
    return study


def _axes(record: dict[str, Any], points: list[dict[str, Any]]) -> tuple[Axis, ...]:
    if "grid" in record:
        return tuple(Axis(knob, tuple(values), *rest) for knob, values, *rest in record["grid"]["axes"])
    axes = record["axes"].items()
    return tuple(Axis(knob, tuple(dict.fromkeys(one[knob] for one in points)), stage or None) for knob, stage in axes)


def _point(axes: dict[str, str], cell: dict[str, Any]) -> dict[str, Any]:
    """A cell's values on the axes, from a record that leaves out knobs which do nothing."""
    for knob in axes:
        off = [name for name in KNOBS[knob].needs if cell.get(name, KNOBS[name].neutral) != KNOBS[name].neutral]
        if knob not in cell and not shapes_something(KNOBS[knob], off):
            raise UserError(f"it doesn't say what '{knob}' is where it does nothing; rerun the study's command once.")
    return {knob: cell.get(knob, KNOBS[knob].neutral) for knob in axes}


def _frozen(value: Any) -> Any:
    """JSON's arrays as tuples, as the sizes of tasks are."""
    if isinstance(value, dict):
        return {name: _frozen(one) for name, one in value.items()}
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value
