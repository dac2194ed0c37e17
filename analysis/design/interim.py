"""A study that grows: at which seeds it was judged, the share of α that each interim look spent, and what was added.

`run.py --refine` judges, adds seeds and settings where the answer is open, and judges again. Each look spends a share
of α fixed before the first: α times the share of the planned seeds that it adds (the power family of spending
functions with exponent 1: Kim & DeMets 1987, Biometrika 74). A test rejects if it does at any look, so that all looks
together err at most as often as one test at α, whatever a look makes us do next (Bonferroni over the looks). Only the
settings that were designed decide which verdict it is: those that are added are where the first answer made us look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from analysis.design.categories import setting_of
from analysis.stats import InterimLook
from lab.errors import UserError
from lab.storage import DamagedFile, read_document, write_document
from lab.storage.files import MALFORMED
from lab.study import Grid, grown
from lab.study.spec import Study

FILE = "looks.json"
MORE = 0.5  # of the designed seeds: what a look adds
Settings = dict[str, Any]


@dataclass(frozen=True)
class InterimAnalyses:
    """The looks at a study, so far and planned.

    Attributes:
      designed: the settings of the claim's knob that the study's file names.
      shares: of α, for every look planned.
      seeds: for every look so far the seeds that there were, each look's among the next one's.
      added: (stratum, setting) of the settings that came later.
      asked_late: whether the study was started without looks: its verdicts at the whole α were a look, too.
    """

    designed: tuple[float, ...]
    shares: tuple[float, ...]
    seeds: tuple[tuple[int, ...], ...]
    added: tuple[tuple[Settings, float], ...] = ()
    asked_late: bool = False

    @property
    def left(self) -> int:
        """How many of the looks planned have not been taken."""
        return len(self.shares) - len(self.seeds)

    def options(self, knob_K: np.ndarray, seed_S: np.ndarray) -> dict[str, Any]:
        """What the tests of a claim need to know of a curve's settings and seeds."""
        spent = zip(self.seeds, self.shares, strict=False)
        looks = tuple(InterimLook(np.isin(seed_S, seeds), share) for seeds, share in spent)
        return {"looks": looks, "designed_K": np.isin(knob_K, self.designed)}


def designed_seeds(study: Study) -> tuple[int, ...]:
    """The seeds of a study's grid."""
    return tuple(sorted({int(cell["seed"]) for cell in study.cells}))


def begin(study: Study, count: int, asked_late: bool = False) -> InterimAnalyses:
    """The first look at a study as it was designed, of `count` planned."""
    designed = tuple(sorted({setting_of(study, cell) for cell in study.cells}))
    return replace(first(designed, designed_seeds(study), count), asked_late=asked_late)


def plan_looks(workdir: Path, study: Study, count: int, asked_late: bool) -> None:
    """Fix the looks at a study in its work directory, unless they were fixed before.

    Args:
      workdir: the study's directory.
      study: as it was designed.
      count: of looks, at most.
      asked_late: whether the study was started without looks.
    """
    if read(workdir) is None:
        write(workdir, begin(study, count, asked_late))


def first(designed: tuple[float, ...], seeds: tuple[int, ...], count: int) -> InterimAnalyses:
    """The first of `count` looks planned, at these settings and seeds."""
    more = math.ceil(MORE * len(seeds))
    final = len(seeds) + (count - 1) * more
    return InterimAnalyses(designed, (len(seeds) / final, *(more / final for _ in range(count - 1))), (seeds,))


def next_seeds(looks: InterimAnalyses) -> tuple[int, ...]:
    """The seeds of the look after the last: half as many again as were designed, counted on from the largest."""
    last = looks.seeds[-1]
    more = math.ceil(MORE * len(looks.seeds[0]))
    return (*last, *range(max(last) + 1, max(last) + 1 + more))


def write(workdir: Path, looks: InterimAnalyses) -> None:
    """Keep the record in the work directory, before anything that it asks for is trained."""
    write_document(workdir / FILE, asdict(looks))


def read(workdir: Path) -> InterimAnalyses | None:
    """The record of a work directory; None where the study was never refined.

    Raises:
      UserError: if it is there and can't be read: without it the shares of α that were spent are not known.
    """
    path = workdir / FILE
    try:
        found = read_document(path)
        return None if found is None else _looks(found)
    except DamagedFile as error:
        raise UserError(f"{error}; restore it: it says how much of alpha was spent.") from None
    except MALFORMED:
        raise UserError(f"{path} can't be read; restore it: it says how much of alpha was spent.") from None


def _looks(found: Any) -> InterimAnalyses:
    """The record that a document holds, which earlier versions wrote without a digest.

    Raises:
      MALFORMED: if it is none.
    """
    added = tuple((dict(stratum), float(value)) for stratum, value in found["added"])
    seeds = tuple(tuple(int(seed) for seed in look) for look in found["seeds"])
    shares = tuple(float(share) for share in found["shares"])
    nested = all({*early} <= {*late} for early, late in pairwise(seeds))
    spends = math.isclose(math.fsum(shares), 1.0, rel_tol=1e-9) and min(shares) > 0
    if not (0 < len(seeds) <= len(shares) and all(seeds) and nested and spends):
        raise ValueError
    return InterimAnalyses(tuple(map(float, found["designed"])), shares, seeds, added, bool(found["asked_late"]))


def grid_of(looks: InterimAnalyses, study: Study) -> Grid:
    """The grid of a study as its file has it, together with the seeds and settings that looks have added.

    Raises:
      UserError: if it is another study than the one that was looked at first.
    """
    knob = study.claim.knob
    designed = {setting_of(study, cell) for cell in study.cells}
    if designed != {*looks.designed} or {*designed_seeds(study)} != {*looks.seeds[0]}:
        raise UserError(
            f"this study was refined, so its settings of {knob} and its seeds are no longer chosen by hand; repeat the"
            " overrides that it was made with, and let --refine add to them, or name another --workdir."
        )
    points = tuple(tuple((axis.knob, cell[axis.knob]) for axis in study.axes) for cell in study.cells)
    return grown(Grid(study.axes, points), knob, looks.added, looks.seeds[-1])


def of(looks: InterimAnalyses | None, study: Study) -> InterimAnalyses | None:
    """The looks whose seeds a study has: one that was killed as it started to grow has not had its next look yet."""
    if looks is None:
        return None
    there = {*designed_seeds(study)}
    return replace(looks, seeds=tuple(seeds for seeds in looks.seeds if {*seeds} <= there))


def sentence(looks: InterimAnalyses | None, alpha: float) -> str:
    """What a reader must know of the interim looks; '' for a study that was not refined."""
    if looks is None:
        return ""
    counts = ", ".join(str(len(seeds)) for seeds in looks.seeds)
    spent = " + ".join(f"{alpha * share:.3g}" for share in looks.shares[: len(looks.seeds)])
    text = (
        f"Refined: looked at {len(looks.seeds)} of at most {len(looks.shares)} times, at {counts} seeds, spending"
        f" {spent} of alpha = {alpha:g}; p-values are divided by their look's share of it, and the smallest of all"
        f" looks counts, so that they compare with alpha. {_count(len(looks.added), 'setting')} added near breaks; they"
        " serve the bounds and the break's place, not the choice of the verdict."
    )
    if looks.asked_late:
        text += (
            " The study was started before --refine was asked for: if its verdicts at the whole alpha are why it was"
            f" refined, the rate of error is at most {2 * alpha:.3g}."
        )
    return text


def _count(number: int, what: str) -> str:
    return f"{number} {what} was" if number == 1 else f"{number} {what}s were"


def document(looks: InterimAnalyses, alpha: float) -> Mapping[str, Any]:
    """For verdicts.json."""
    return {
        "seeds": [len(seeds) for seeds in looks.seeds],
        "alpha": [alpha * share for share in looks.shares],
        "looks": len(looks.seeds),
        "added": [{"stratum": stratum, "setting": value} for stratum, value in looks.added],
        "asked_late": looks.asked_late,
    }
