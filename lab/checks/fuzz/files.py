"""Damaged files of a finished study: is damage named, or are the numbers the same?

A study is trained once. A trial copies its work directory, damages one file and reads the directory back: by the
command (`run.py --only=analyze`, all of it but the pictures) or as a library (`analysis.open_study`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from lab.checks.fuzz import small_study
from lab.checks.fuzz.trials import Ended, Judged, Trial, finish, module, read_back
from lab.errors import UserError
from lab.jobs.workdir import read_study

STUDY = Path(small_study.__file__)
LOOKS = 2
NUMBERS = ("results.csv", "verdicts.json")
TRAINING_SECONDS = 600.0
# kind of file -> its pattern in a work directory
KINDS: Mapping[str, str] = {
    "study.json": "study.json",
    "looks.json": "looks.json",
    "interventions.json": "interventions.json",
    "repair.json": "repair/repair.json",
    "reading": "readings/[!i]*.json",
    "images": "readings/images-*.json",
    "index": "checkpoints/*/*/_CHECKPOINT_METADATA",
    "index of arrays": "checkpoints/*/*/*/_METADATA",
    "parameters": "checkpoints/*/*/params/**/*",
    "history": "checkpoints/*/*/history/**/*",
    "state": "checkpoints/*/*/state/**/*",
    "any file": "**/*",
}
FOREIGN = ("repair/repair.json", "interventions.json", "looks.json", "shards/1-of-2-00000000")
DELETABLE = ("looks.json", "interventions.json", "repair.json")  # nothing says that they were there
CONTENTS = (
    b"",
    b"[]",
    b"{}",
    b"3",
    b"null",
    b'"text"',
    b"[null]",
    b'{"version": 1}',
    b"NaN",
    b"\xff\xfe\x00",
    b"{",
    b"\0" * 64,
)
Numbers = Mapping[str, str]  # reader -> the text of what it reads


# --- a whole directory


def prepare(folder: Path, whole: Path) -> Numbers:
    """Train the study, unless it is trained; what each reader makes of its work directory undamaged.

    Args:
      folder: an empty one, to work in.
      whole: the work directory.

    Raises:
      UserError: if it can't be trained or read.
    """
    if not (whole / "repair").exists():  # made last
        _finished(partial(_train, whole), folder / "training")
    numbers = {}
    for reader in READERS:
        where = folder / reader
        _finished(partial(_read, whole, reader, lambda work: None), where)
        numbers[reader] = _numbers(where / "work")
    return numbers


def _finished(carry_out: Callable[[], int], folder: Path) -> None:
    folder.mkdir()
    done = finish(carry_out, TRAINING_SECONDS, folder)
    if done.status:
        said = (done.err.strip() or done.out.strip()).splitlines()[-1:]
        raise UserError(f"the whole study can't be trained and read, so no damage was tried: {' '.join(said)}")


def _train(whole: Path) -> int:
    shutil.copy(STUDY, "study.py")
    _without_pictures()
    status = module("run").main(["run.py", "--config=study.py", f"--workdir={whole}"])
    return status or module("analysis.causal.__main__").main([str(whole), "--label=facts"]) or _add_records(whole)


def _add_records(whole: Path) -> int:
    """The records of stages that need larger studies: looks as they are planned, and made-up outcomes of a repair."""
    study = read_study(whole, module("analysis.activations.claimable").READINGS)
    module("analysis.design.interim").plan_looks(whole, study, LOOKS, asked_late=True)
    recovery_record = module("analysis.results.recovery_record")
    lost = dict(label="facts", split="iid", stratum={}, setting=0.9, delta=0.05, seeds=(0, 1, 2))
    curves = dict(before=(0.1, 0.2, 0.15), neutral_before=(0.8, 0.9, 0.85), neutral_after=(0.85, 0.95, 0.9))
    outcomes = tuple(
        recovery_record.Outcome(arm=arm, after=after, unchanged=(0.4, 0.5, 0.45), **lost, **curves)
        for arm, after in (("continue", (0.4, 0.5, 0.45)), ("relax", (0.6, 0.8, 0.7)))
    )
    parents = tuple(study.key(cell, len(study.stages) - 1) for cell in study.cells)
    (whole / "repair").mkdir()
    arms = {"continue": "trained further unchanged", "relax": "trained further with masks lifted"}
    recovery_record.write(whole, recovery_record.Repairs(10, arms, outcomes, parents))
    return 0


def _without_pictures() -> None:
    """Of the views, write those that hold numbers only."""
    to_csv, verdicts_json = module("analysis.results").to_csv, module("analysis.report.verdicts_json")

    def report(session: Any, plan: Any, store: Any, findings: Any, *rest: Any) -> None:
        _write(to_csv(findings.results), verdicts_json.text(findings))

    vars(module("run"))["report"] = report


def _write(*texts: str) -> None:
    for name, text in zip(NUMBERS, texts, strict=True):
        Path(name).write_text(text, encoding="utf-8")


def _numbers(folder: Path) -> str:
    return "".join((folder / name).read_text(encoding="utf-8") for name in NUMBERS if (folder / name).is_file())


# --- readers


def _command() -> int:
    _without_pictures()
    return module("run").main(["run.py", f"--config={STUDY}", "--workdir=work", "--only=analyze"])


def _library() -> int:
    analysis = module("analysis.study")
    try:
        opened = analysis.open_study("work")
        for path in opened.damaged:
            print(f"damaged: {path}")
        text = module("analysis.report.verdicts_json").text(opened.findings)
        _write(module("analysis.results").to_csv(opened.judgeable), text)
    except UserError as error:
        os.write(2, f"error: {error}\n".encode())
        return 2
    return 0


READERS: Mapping[str, Callable[[], int]] = {"command": _command, "library": _library}


def _read(whole: Path, reader: str, damage: Callable[[Path], None]) -> int:
    """In a child: copy the directory, damage it, read it."""
    shutil.copytree(whole, "work", copy_function=os.link, ignore=shutil.ignore_patterns(".lock", "tb*", "figures"))
    damage(Path("work"))
    return READERS[reader]()


# --- damage


def draw(random: Random, name: str, whole: Path, numbers: Numbers, flips: bool = False) -> Trial:
    """One trial: a kind of file, one file of it, one way to damage it (or one flipped bit), one reader."""
    reader = random.choice(("command", "command", "library"))
    text, place, damage = _flip(random, whole) if flips else _damage(random, whole)
    _, _, other = text.partition(": swapped with ")

    def judge(ended: Ended) -> Judged:
        printed = ended.out + ended.err
        return read_back(ended, _numbers(ended.folder / "work") != numbers[reader], _names(printed, place, other))

    return Trial(name, f"{text}, read by the {reader}", partial(_read, whole, reader, damage), judge)


def _names(printed: str, place: Path, also: str = "") -> bool:
    """Whether a text names a file, a directory of it deeper than the first, or another file that was damaged, too."""
    text = re.sub(r"\s+", "", printed)  # a console breaks lines
    return (also != "" and also in text) or any(
        str(one) in text for one in (place, *place.parents) if len(one.parts) > 1 or one == place
    )


def _damage(random: Random, whole: Path) -> tuple[str, Path, Callable[[Path], None]]:
    """(what is done, to which path, the function that does it to a copy)."""
    if random.random() < 0.05:
        place, content = Path(random.choice(FOREIGN)), random.choice(CONTENTS)
        return f"{place}: written as {content!r}", place, partial(_replace, place=place, content=content)
    if random.random() < 0.12:
        return _moved_step(random, whole)
    place, files = _file(random, whole)
    way = random.choice([_flipped, _flipped, _flipped, _digit, _truncated, _contents, _field, _swapped, _gone])
    return way(random, whole, place, (whole / place).read_bytes(), files)


def _flip(random: Random, whole: Path) -> tuple[str, Path, Callable[[Path], None]]:
    place, files = _file(random, whole)
    return _flipped(random, whole, place, (whole / place).read_bytes(), files)


def _file(random: Random, whole: Path) -> tuple[Path, list[Path]]:
    """A file of some kind, and all of that kind; every kind is as likely as any other."""
    kinds = {kind: _files(whole, pattern) for kind, pattern in KINDS.items()}
    files = kinds[random.choice([kind for kind, found in kinds.items() if found])]
    return random.choice(files), files


def _files(whole: Path, pattern: str) -> list[Path]:
    found = (path for path in whole.glob(pattern) if path.is_file() and path.name not in (".lock", *NUMBERS))
    return sorted(path.relative_to(whole) for path in found)


def _replace(work: Path, place: Path, content: bytes) -> None:
    """A file of its own: the copy's are links to the whole directory's."""
    (work / place).parent.mkdir(parents=True, exist_ok=True)
    (work / place).unlink(missing_ok=True)
    (work / place).write_bytes(content)


Damage = tuple[str, Path, Callable[[Path], None]]


def _flipped(random: Random, whole: Path, place: Path, content: bytes, files: list[Path]) -> Damage:
    if not content:
        return _contents(random, whole, place, content, files)
    at, bit = random.randrange(len(content)), random.randrange(8)
    changed = content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
    return f"{place}: bit {bit} of byte {at} flipped", place, partial(_replace, place=place, content=changed)


def _digit(random: Random, whole: Path, place: Path, content: bytes, files: list[Path]) -> Damage:
    digits = [at for at, byte in enumerate(content) if 48 <= byte <= 57]
    if not digits:
        return _flipped(random, whole, place, content, files)
    at = random.choice(digits)
    other = random.choice([digit for digit in b"0123456789" if digit != content[at]])
    changed = content[:at] + bytes([other]) + content[at + 1 :]
    text = f"{place}: digit {chr(content[at])} at {at} is {chr(other)}"
    return text, place, partial(_replace, place=place, content=changed)


def _truncated(random: Random, whole: Path, place: Path, content: bytes, files: list[Path]) -> Damage:
    length = random.randrange(max(len(content), 1))
    return f"{place}: cut to {length} bytes", place, partial(_replace, place=place, content=content[:length])


def _contents(random: Random, whole: Path, place: Path, content: bytes, files: list[Path]) -> Damage:
    other = random.choice(CONTENTS)
    return f"{place}: replaced by {other!r}", place, partial(_replace, place=place, content=other)


def _field(random: Random, whole: Path, place: Path, content: bytes, files: list[Path]) -> Damage:
    """One field of a JSON file left out, renamed or of another value."""
    try:
        record = json.loads(content)
    except ValueError:
        return _flipped(random, whole, place, content, files)
    holder, trail = record, []
    while isinstance(holder, (dict, list)) and holder:
        keys = sorted(holder, key=str) if isinstance(holder, dict) else range(len(holder))
        key = random.choice([*keys])
        trail.append(key)
        if random.random() < 0.35 or not isinstance(holder[key], (dict, list)) or not holder[key]:
            break
        holder = holder[key]
    if not trail:
        return _contents(random, whole, place, content, files)
    value = random.choice(("left out", None, 0, -1, True, "", "text", [], {}, 1e308, [None], {"a": 1}))
    if value == "left out":
        del holder[trail[-1]]
    else:
        holder[trail[-1]] = value
    changed = json.dumps(record).encode()
    text = f"{place}: field {'.'.join(map(str, trail))} is {value!r}"
    return text, place, partial(_replace, place=place, content=changed)


def _swapped(random: Random, whole: Path, place: Path, content: bytes, files: list[Path]) -> Damage:
    other = random.choice(files)
    text = f"{place}: swapped with {other}"

    def swap(work: Path) -> None:
        _replace(work, place, (whole / other).read_bytes())
        _replace(work, other, content)

    return text, place, swap


def _gone(random: Random, whole: Path, place: Path, content: bytes, files: list[Path]) -> Damage:
    if random.random() < 0.5 and place.name not in DELETABLE:
        return f"{place}: deleted", place, lambda work: (work / place).unlink()

    def folder(work: Path) -> None:
        (work / place).unlink()
        (work / place).mkdir()

    return f"{place}: a directory instead", place, folder


def _moved_step(random: Random, whole: Path) -> Damage:
    """One step's directory of a checkpoint replaced by another's, copied under another name, or deleted."""
    steps = sorted(path.relative_to(whole) for path in whole.glob("checkpoints/*/*") if path.is_dir())
    place, other = random.choice(steps), random.choice(steps)
    way = random.choice(("over", "over", "deleted", "renamed"))

    def change(work: Path) -> None:
        if way == "renamed":
            (work / place).rename(work / place.parent / str(int(place.name) + 1))
            return
        shutil.rmtree(work / place)
        if way == "over":
            shutil.copytree(whole / other, work / place)

    done = f"{other} copied over it" if way == "over" else way
    return f"{place}: {done}", place, change
