"""An early warning: does the first fifth of training predict where an ability will break, for a mechanism never seen?

python -m analysis.forecast runs/width runs/collapse runs/memory_tokens     prints what each predictor is worth
python -m analysis.forecast runs/... --out=warning                          and writes warning/early.csv, .svg
python -m analysis.forecast runs/... --of=runs/mine                         and predicts the breaks of a study
                                                                           from its early evaluation alone

Every ability of every study is predicted by fits on the other mechanisms' studies only. docs/early_warning.md says what
the columns mean and what came out. Latent readings that a study hasn't kept are measured first, which may take minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.comparison.read import names_of
from analysis.design import is_association, is_categorical
from analysis.forecast import views
from analysis.forecast.features import LOST_SO_FAR, ForecastCase, cases, early_evaluation, few_seeds
from analysis.forecast.predictors import LEAST_MECHANISMS, PREDICTORS, break_errors, left_out, mechanisms, predict
from analysis.report import wording
from analysis.study import OpenStudy, open_study
from lab.errors import Parser, UserError, command, refusal


@dataclass(frozen=True)
class Found:
    """What the directories hold: the cases to learn from, and why the rest is left out, a sentence each."""

    cases: list[ForecastCase]
    notes: list[str]


def read(paths: Sequence[Path], share: float) -> Found:
    """The cases of finished studies whose abilities were learned.

    Raises:
      UserError: a directory is named twice, is no study that can be read, or isn't finished.
    """
    names = names_of(paths)
    studies = [_finished(path) for path in paths]  # all of them before the first is measured
    kept, notes = [], []
    for name, opened in zip(names, studies, strict=True):
        why = _useless(opened)
        if why:
            notes.append(f"{name} is left out: {why}.")
            continue
        found = cases(name, opened.judgeable, share, opened.records.looks)
        poor = [views.title(case) for case in found if not case.learned or not np.isfinite(case.lost_K).any()]
        notes += [f"{name}: {wording.listed(poor)} left out: not shown learned."] if poor else []
        kept += [case for case in found if case.learned and np.isfinite(case.lost_K).any()]
    return Found(kept, notes)


def _finished(path: Path) -> OpenStudy:
    opened = open_study(path)
    missing = int((~opened.finished).sum())
    if missing:
        raise UserError(
            f"{path}: {missing} of {len(opened.cells)} cells are not trained to the end; let the study finish, or"
            " name it by --of."
        )
    return opened


def _useless(opened: OpenStudy) -> str:
    """Why a study has nothing to learn from, or ''."""
    if is_association(opened.study):
        return "its claim is an association over a whole grid, so that there is no knob to break along"
    if is_categorical(opened.study):
        return f"the values of {opened.study.claim.knob} have no order, so that there is no break along it"
    if early_evaluation(opened.study, 1.0) is None:
        return f"nothing was evaluated between where {opened.study.claim.knob} begins to act and the end"
    return "too few seeds to show that anything is learned" if few_seeds(opened.study) else ""


def check(found: Found) -> None:
    """Refuse to score what can't be scored.

    Raises:
      UserError: fewer mechanisms than leaving out needs.
    """
    names = mechanisms(found.cases)
    if len(names) < LEAST_MECHANISMS:
        raise UserError(
            f"{LEAST_MECHANISMS} mechanisms are the least to leave one out of, and"
            f" {wording.listed(names)} can be used; name studies of other knobs. " + " ".join(found.notes)
        )


def open_test_study(path: Path) -> OpenStudy:
    """The study to predict.

    Raises:
      UserError: it can't be read, or nothing early is evaluated in it.
    """
    opened = open_study(path)
    if is_categorical(opened.study) or is_association(opened.study):
        raise UserError(f"--of={path}: {_useless(opened)}; name a study of a knob with numbers.")
    if early_evaluation(opened.study, 1.0) is None:
        raise UserError(f"--of={path}: {_useless(opened)}; train it with more saves in the stage in which it acts.")
    return opened


def cases_to_predict(opened: OpenStudy, path: Path, share: float) -> list[ForecastCase]:
    """The cases of the study to predict, cut to the settings that were read.

    Raises:
      UserError: nothing early is there yet.
    """
    results = opened.judgeable
    found = cases(path.resolve().name, results, share, opened.records.looks) if results.columns else []
    found = [_seen(case) for case in found]
    found = [case for case in found if len(case.u_K)]
    if not found:
        raise UserError(
            f"--of={path}: no setting and its neutral cell have both been trained through the stage in which"
            f" {opened.study.claim.knob} acts; try again later."
        )
    return found


def _seen(case: ForecastCase) -> ForecastCase:
    seen_K = np.isfinite(case.readings[LOST_SO_FAR])
    readings = {name: values_K[seen_K] for name, values_K in case.readings.items()}
    return replace(
        case, knob_K=case.knob_K[seen_K], u_K=case.u_K[seen_K], readings=readings, lost_K=case.lost_K[seen_K]
    )


def warn(found: Sequence[ForecastCase], opened: OpenStudy, path: Path, share: float) -> Table:
    """The table of `--of`: studies of the same mechanism are left out of the fit, as they are in the scores.

    Raises:
      UserError: as `cases_to_predict`, or too few mechanisms apart from the study's own.
    """
    test_cases = cases_to_predict(opened, path, share)
    others = [case for case in found if case.mechanism != test_cases[0].mechanism]
    if len(mechanisms(others)) < LEAST_MECHANISMS:
        raise UserError(
            f"--of={path}: apart from its own mechanism, {test_cases[0].mechanism}, there are"
            f" {len(mechanisms(others))} others and {LEAST_MECHANISMS} are the least; name studies of other knobs."
        )
    predictions = {name: predict(others, test_cases, name) for name in PREDICTORS}
    errors = {name: float(break_errors(others, left_out(others, name)).mean()) for name in PREDICTORS}
    return views.warning_table(test_cases, predictions, errors, bool(opened.finished.all()))


def _parser() -> Parser:
    parser = Parser("analysis.forecast", __doc__)
    parser.add_argument("studies", nargs="+", type=Path, metavar="DIR", help="work directories of finished studies")
    parser.add_argument("--share", type=float, default=0.2, help="how much of the training under the knob is looked at")
    parser.add_argument("--of", type=Path, metavar="DIR", help="a study to predict; its trained cells are read")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write early.csv and early.svg into it")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Prints the tables and writes what is asked for. Exit status: 0 done, 2 a user's mistake."""
    args = _parser().read(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if not 0 < args.share < 1:
        raise UserError(f"--share={args.share:g} must lie between 0 and 1; 0.2 is the first fifth.")
    if args.of and args.of.resolve() in [path.resolve() for path in args.studies]:
        raise UserError(f"--of={args.of} is among the studies to learn from; name it once.")
    opened = open_test_study(args.of) if args.of else None
    found = read(args.studies, args.share)
    check(found)
    predictions = {name: left_out(found.cases, name) for name in PREDICTORS}
    warned = [warn(found.cases, opened, args.of, args.share)] if opened else []
    console.print(views.score_table(found.cases, predictions), views.break_table(found.cases, predictions))
    for note in (*views.notes(found.cases, predictions, args.share), *found.notes):
        console.print(Text(note))
    for one in warned:
        console.print(one)
    if args.out:
        paths = _written(found.cases, predictions, args.out)
        console.print(Text(f"wrote {', '.join(map(str, paths))}"), soft_wrap=True)
    return 0


def _written(found: Sequence[ForecastCase], predictions: views.Predictions, folder: Path) -> list[Path]:
    try:
        return views.write(found, predictions, folder)
    except OSError as error:
        raise UserError(f"--out={folder} can't be written: {refusal(error)}.") from None


if __name__ == "__main__":
    sys.exit(main())
