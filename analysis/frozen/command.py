"""`run.py` on a frozen study: plan, read what is not kept, judge, report."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from analysis.frozen import measure
from analysis.frozen.judge import FrozenFindings, answers, claim_hash, judge, short
from analysis.frozen.views import write_views
from analysis.report import tensorboard
from lab.engine import xla_cache
from lab.engine.progress import duration
from lab.errors import UserError, printable
from lab.frozen.embed import Embedder, Questions, check_texts, model_facts, read_questions
from lab.frozen.knobs import LAYERS, VECTORS
from lab.frozen.study import FrozenStudy, check_sizes, parse
from lab.jobs import locking
from lab.jobs.options import Options
from lab.storage import DamagedFile, pretrained, read_document, write_document
from lab.values import exact

FILE = "study.json"
TAKEN = ("list", "config", "file", "workdir", "plan")  # options that a frozen study has a use for


def run(options: Options, console: Console, argv: Sequence[str]) -> int:
    """Plan → read → judge → report. Returns exit status 0.

    Raises:
      UserError: in one sentence, for a mistake in the study or the command line.
    """
    started = time.perf_counter()
    _check_options(options)
    xla_cache.keep()
    study = parse(options.config, options.grid(), measure.READINGS_OF_STATES)
    model = pretrained.read(study.model_dir)
    check_sizes(study, model.spec.layers, model.spec.width)
    questions = read_questions(study)
    check_texts(study, model, questions)
    files = _digest(study, questions)
    _check_workdir(options.workdir, study, files)
    about = _about(study, model, questions)
    left = [value for value in study.values if value not in measure.kept(options.workdir, study, files)]
    for line in _plan(study, about, left, options.workdir):
        console.print(Text(line), soft_wrap=True)
    if options.plan:
        return 0
    with locking.locked(options.workdir) as notes:
        for note in notes:
            console.print(Text(note, style="yellow"))
        _check_workdir(options.workdir, study, files)
        write_document(options.workdir / FILE, _record(study, options.config, files))
        readings = _read(options, console, Embedder(study, model, questions), files, started)
        found = judge(study, readings, questions.chance)
        seconds = {"total": duration(time.perf_counter() - started)}
        path = write_views(options.workdir, found, _facts(options.workdir, about, argv, seconds))
    _say(console, found, path)
    return 0


def _read(options: Options, console: Console, embedder: Embedder, files: str, started: float) -> measure.Readings:
    """The readings of all settings, those that are kept and those that are taken now; a line for each of these."""
    study = embedder.study
    left = [value for value in study.values if value not in measure.kept(options.workdir, study, files)]
    if not left:
        console.print(Text("Everything is read; only the views are rebuilt."))
    done = len(study.values) - len(left)

    def on_setting(value: float, record: Mapping[str, Any]) -> None:
        nonlocal done
        done += 1
        accuracy = sum(record["accuracy"]) / len(record["accuracy"])
        spent = duration(time.perf_counter() - started)
        said = (
            f"{done}/{len(study.values)}  {study.knob.name} {short(study, value)}: accuracy {accuracy:.1%}  ({spent})"
        )
        console.print(Text(said))

    return measure.take(options.workdir, study, embedder, files, on_setting)


def _say(console: Console, found: FrozenFindings, path: Path) -> None:
    for line in answers(found):
        console.print(Text(f"· {line}"), soft_wrap=True)
    console.print(Text(f"report: {path}"), soft_wrap=True)
    console.print(Text(f"arrays: {path.with_name('arrays.npz')} (analysis.judge_arrays, docs/npz.md)"), soft_wrap=True)


def _check_options(options: Options) -> None:
    """Refuse options for training: nothing is trained."""
    standard = Options()
    for one in fields(Options):
        if one.name not in TAKEN and getattr(options, one.name) != getattr(standard, one.name):
            raise UserError(f"--{one.name}: a frozen study trains nothing and has no use for it; leave it out.")


def _digest(study: FrozenStudy, questions: Questions) -> str:
    """Of everything that is read from the model's and the benchmark's files."""
    found = hashlib.sha256()
    for name in (pretrained.CONFIG, pretrained.WEIGHTS, pretrained.TOKENIZER):
        found.update((study.model_dir / name).read_bytes())
    asked = [[*item.context, item.question, *item.choices, item.answer] for item in questions.items]
    found.update(json.dumps(asked).encode())
    return found.hexdigest()[:16]


def _about(study: FrozenStudy, model: pretrained.Pretrained, questions: Questions) -> list[tuple[str, str]]:
    sizes = model_facts(model)
    size = f"{sizes['blocks']} blocks, width {sizes['width']}, {sizes['parameters']:,} parameters"
    fold, more = divmod(len(questions.items), study.folds)
    chosen = "".join(f", {name} {value}" for name, value in study.chosen.items())
    rows = [
        ("model", f"{study.model_dir.resolve().name}: {size}; as published, never trained here"),
        (
            "benchmark",
            f"{study.format}, split '{study.ask}': {len(questions.items):,} questions, {len(questions.texts):,}"
            f" distinct texts; guessing gets {questions.chance:.1%}",
        ),
        (
            "folds",
            f"{study.folds}, each of {fold}{f' or {fold + 1}' if more else ''} questions, drawn with seed {study.seed}",
        ),
        ("knob", f"{study.knob.name}{chosen}: {study.knob.about} ({study.knob.source})"),
        ("settings", ", ".join(short(study, value) for value in study.values)),
    ]
    if study.fits:
        rows.append(
            (
                "fitted on",
                f"split '{study.fit}': {len(questions.fit_texts):,} distinct texts, none of whose questions is asked",
            )
        )
    return rows


def _plan(study: FrozenStudy, about: Sequence[tuple[str, str]], left: Sequence[float], root: Path) -> list[str]:
    shared = study.knob.acts_on in (VECTORS, LAYERS)
    passes = min(1, len(left)) if shared else len(left)
    passing = f"{passes} pass{'' if passes == 1 else 'es'} over the texts"
    passing += ", one over those to fit on" if left and "fitted on" in dict(about) else ""
    reads = f"{len(left)} of {len(study.values)} settings to read, {passing}"
    rows = [("study", f"{study.name}: {study.question}"), *about, ("to do", reads), ("workdir", str(root))]
    claim = (
        f"{len(study.gains)} gains, level {exact(study.alpha)}, δ {exact(study.delta)}, fixed as {claim_hash(study)}"
    )
    return [f"{name:<11} {printable(text)}" for name, text in [*rows, ("claim", claim)]]


def _record(study: FrozenStudy, config: Any, files: str) -> dict[str, Any]:
    given = json.loads(config.to_json_best_effort())
    return {
        "frozen": measure.FORMAT,
        "config": {name: value for name, value in given.items() if name not in ("model_dir", "data_dir")},
        "knob": study.knob.name,
        "values": list(study.values),
        "claim_hash": claim_hash(study),
        "files": files,
    }


def _check_workdir(root: Path, study: FrozenStudy, files: str) -> None:
    """Refuse a directory of another study, of another claim, or of another model or benchmark."""
    locking.check_place(root)
    try:
        record = read_document(root / FILE)
    except DamagedFile as error:
        raise UserError(f"{error}; name another directory with --workdir.") from None
    if record is None:
        return
    if not isinstance(record, dict) or "frozen" not in record:
        raise UserError(f"{root} holds a study that trains; name another directory with --workdir.")
    if record.get("claim_hash") != claim_hash(study):
        raise UserError(
            f"{root} holds a study of another claim ({record.get('claim_hash')}, not {claim_hash(study)}), which was"
            " fixed before it was read; name another directory with --workdir."
        )
    if record.get("files") != files:
        raise UserError(
            f"{root} holds a study of another model or benchmark: what the files of config.model_dir and"
            " config.data_dir hold differs; name another directory with --workdir."
        )


def _facts(
    root: Path, about: Sequence[tuple[str, str]], argv: Sequence[str], seconds: Mapping[str, str]
) -> dict[str, Any]:
    packages = ("jax", "jaxlib", "flax", "numpy", "scipy", "safetensors", "tokenizers")
    return {
        "about": list(about),
        "command": shlex.join(["python", *argv]),
        "tensorboard": tensorboard.command(root / "tb"),
        "seconds": list(seconds.items()),
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in packages},
    }
