"""The small files of a finished study that docs/gallery keeps, and the findings that are rebuilt from them.

What is kept is a work directory without checkpoints: study.json, results.csv, verdicts.json, the records of later
stages, the map as a picture, and run.json (which command, at which commit, when). Large texts are compressed by xz.
"""

from __future__ import annotations

import json
import lzma
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.activations.claimable import READINGS
from analysis.design import interim, is_association
from analysis.diagnosis import Findings, find
from analysis.report import verdicts_json
from analysis.report.shapes import association
from analysis.results import from_csv, intervention_record, records, recovery_record
from lab.errors import UserError
from lab.jobs.workdir import FILE, read_study
from lab.storage import write_atomically
from lab.study import published

GALLERY = Path("docs") / "gallery"
RUN = "run.json"
NEEDED = (FILE, "results.csv", "verdicts.json")
FURTHER = (interim.FILE, str(recovery_record.FILE), intervention_record.FILE)
PLAIN_BYTES = 8_000  # of a file that is kept as it is
PICTURES = ("map*.svg", "scatter*.svg")


@dataclass(frozen=True)
class Run:
    """How a kept study was made.

    Attributes:
      study: as `run.py --config` takes it below ablations/.
      commit: of the checkout that trained it, whose file holds the prediction.
      date: on which it was finished, ISO 8601.
      seconds: from its command to its report; None where they were not noted.
      conditions: of the machine, in words.
      options: further ones of its command, '--refine'; '' where there is none.
    """

    study: str
    commit: str
    date: str
    seconds: float | None
    conditions: str
    options: str = ""

    @property
    def command(self) -> str:
        """The command that makes the study again."""
        return f"python run.py --config=ablations/{self.study} {self.options}".strip()


@dataclass(frozen=True)
class Kept:
    """One finished study of the gallery.

    Attributes:
      folder: where its files are.
      run: how it was made.
      findings: rebuilt from the files.
      verdicts: what the study itself concluded, from its verdicts.json.
    """

    folder: Path
    run: Run
    findings: Findings
    verdicts: Mapping[str, Any]


def keep(workdir: Path, folder: Path, run: Run) -> None:
    """Copy what the gallery needs of a finished study.

    Raises:
      UserError: if the study is not finished, its files are not readable, or it trained on published files.
    """
    missing = [name for name in NEEDED if not (workdir / name).is_file()]
    if missing:
        raise UserError(f"{workdir} has no {missing[0]}: it is no finished study; let its command end first.")
    study = read_study(workdir, READINGS)  # what is kept can be read back
    if files := published.files_of(study.tasks):
        raise UserError(
            f"{workdir} trained on the files of {', '.join(files)}, which are not kept with it, so that nobody could"
            " rebuild its verdicts; describe it in docs/real.md."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in (*NEEDED, *(one for one in FURTHER if (workdir / one).is_file())):
        content, target = (workdir / name).read_bytes(), folder / name
        target.parent.mkdir(exist_ok=True)
        if len(content) > PLAIN_BYTES:
            target, content = target.with_name(target.name + ".xz"), lzma.compress(content, preset=9)
        target.write_bytes(content)
    for picture in [one for pattern in PICTURES for one in sorted((workdir / "figures").glob(pattern))]:
        shutil.copyfile(picture, folder / picture.name)
    write_atomically(folder / RUN, json.dumps(asdict(run), indent=1) + "\n")


def load(folder: Path) -> Kept:
    """A kept study, judged again from its results.

    Raises:
      UserError: if a file is missing, damaged, or of a version that this one can't read.
    """
    try:
        run = Run(**json.loads((folder / RUN).read_text(encoding="utf-8")))
        with tempfile.TemporaryDirectory() as made:
            workdir = Path(made)
            _unpack(folder, workdir)
            study = read_study(workdir, READINGS)
            results = from_csv(study, (workdir / "results.csv").read_text(encoding="utf-8"))
            kept_verdicts = json.loads((workdir / "verdicts.json").read_text(encoding="utf-8"))
            findings = find(results, records.read(workdir, results.study))
    except (OSError, lzma.LZMAError, json.JSONDecodeError, TypeError) as error:
        raise UserError(f"{folder} can't be read: {error}; keep its study again with --keep.") from None
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    return Kept(folder, run, findings, kept_verdicts)


def _unpack(folder: Path, workdir: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir() or path.name == RUN:
            continue
        target = workdir / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        if path.suffix == ".xz":
            target.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        else:
            shutil.copyfile(path, target)


def folders(gallery: Path = GALLERY) -> list[Path]:
    """The folders of kept studies, by name."""
    return sorted(path.parent for path in gallery.glob(f"*/{RUN}"))


CHECKED = (
    "claim_hash",
    "alpha",
    "delta",
    "knob",
    "seeds",
    "step",
    "cells",
    "diverged",
    "claims",
    "bounds",
    "associations",
)
CLOSE = 1e-4  # readings are kept to seven digits; a change is a difference of two
CLOSE_P = 0.02  # of a p-value: rounding may part what was a tie, and a flip of signs of eight seeds is 1/256


def differences(kept: Kept) -> list[str]:
    """How the verdicts, rebuilt, differ from those that the study wrote: none where every field of a claim agrees.

    Numbers may differ by the rounding of the table, p-values by a few flips of signs; names, verdicts and what is shown
    at each setting may not.
    """
    study = kept.findings.study
    rebuilt = association.document(kept.findings) if is_association(study) else verdicts_json.document(kept.findings)
    fields = [name for name in CHECKED if name in kept.verdicts or name in rebuilt]
    return [text for name in fields for text in _apart(name, rebuilt.get(name), kept.verdicts.get(name))]


def _apart(where: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in one.keys() & other.keys():  # a later version may know more fields
            yield from _apart(f"{where}.{name}", one[name], other[name])
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from _apart(f"{where}[{index}]", *pair)
    elif isinstance(one, float | int) and isinstance(other, float | int) and not isinstance(one, bool):
        is_p = ".components." in where or any(
            part.startswith(("p_", "kind_p")) or part in ("p", "adjusted_p") for part in where.split(".")
        )
        if not math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE_P if is_p else CLOSE):
            yield f"{where}: rebuilt {one!r}, kept {other!r}"
    elif one != other:
        yield f"{where}: rebuilt {one!r}, kept {other!r}"
