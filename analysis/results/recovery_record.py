"""What a repair recovered: abilities of cells trained further from where an ability was lost, and of their controls.

Everything is paired by seed. What an arm recovers is counted against the same cells trained further unchanged for as
many steps; what that further training itself recovers, against the checkpoint that all arms start from. What was lost
is counted against neutral cells at the same age. Numbers come from `analysis.repair.branch_study`; they are kept in
<workdir>/repair/repair.json.

Shape letter: S seeds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.stats import summaries
from analysis.stats.sign_flip import sign_flip_p, without_rounding
from lab.storage import DamagedFile, read_document, write_document
from lab.storage.files import MALFORMED, number
from lab.study.spec import Study

FILE = Path("repair") / "repair.json"
UNCHANGED = "continue"  # the arm that all others are compared with
SHARE = 0.5  # of what was lost: what a diagnosis asks to be recovered: at least half
KINDS = {
    "all of it": "at least half is shown to come back, and what remains lost to be below δ",
    "at least half": "at least half of what was lost is shown to come back",
    "some of it": "a recovery is shown, but neither that it is half nor that it is all",
    "worse than unchanged": "it is shown to end more than δ below the cells trained further unchanged (`continue`:"
    " below the checkpoint)",
    "not shown": "no recovery is shown; with these seeds that is no evidence of none",
    "less than half": "what comes back, if anything, is shown to be less than half",
    "nothing left": "cells trained further unchanged are not shown to lack anything, and shown to lack less than δ",
}


@dataclass(frozen=True)
class Outcome:
    """One arm, at one setting, for one ability.

    Attributes:
      label, split, stratum: the ability.
      setting: the knob's value that cells were trained at.
      delta: the change that counts, in units of the ability.
      arm: its name, one of `analysis.repair.arms.ARMS`.
      seeds: the S seeds that all the cells below have.
      before: ability at the checkpoint that the arm starts from, [S].
      after: at the end of the arm, [S].
      unchanged: at the end of the arm that changes nothing, [S].
      neutral_before, neutral_after: of neutral cells, at the checkpoint and after as many steps unchanged, [S].
      latents: claimed metric -> its mean in the neutral cells trained further, in the unchanged ones, and in this arm.
      moved: claimed metric -> this arm minus unchanged, [S], signed so that above 0 is the claimed gain; of arms that
        leave the claim's knob where it was, see `routes`.
    """

    label: str
    split: str
    stratum: dict[str, Any]
    setting: float
    delta: float
    arm: str
    seeds: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    unchanged: tuple[float, ...]
    neutral_before: tuple[float, ...]
    neutral_after: tuple[float, ...]
    latents: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    moved: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @cached_property
    def lost_S(self) -> np.ndarray:
        """What was lost before the arm could recover it."""
        if self.arm == UNCHANGED:
            return np.asarray(self.neutral_before) - np.asarray(self.before)
        return np.asarray(self.neutral_after) - np.asarray(self.unchanged)

    @cached_property
    def recovered_S(self) -> np.ndarray:
        """What the arm brought back."""
        return np.asarray(self.after) - np.asarray(self.before if self.arm == UNCHANGED else self.unchanged)

    @property
    def share(self) -> float:
        """Mean recovered over mean lost; NaN where nothing was lost."""
        lost = float(np.mean(self.lost_S))
        return float(np.mean(self.recovered_S)) / lost if lost > 0 else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of what was recovered, in units of the ability (interquartile mean, seeds resampled)."""
        low, high = summaries.interval(self.recovered_S[:, None])
        return float(low[0]), float(high[0])

    def p(self, contrast: str) -> float:
        """One-sided sign-flip p-value that a contrast is above 0: see `CONTRASTS`."""
        return _positive(CONTRASTS[contrast](self.lost_S, self.recovered_S, self.delta))

    def kind(self, alpha: float) -> str:
        """The first of these that is shown, one of `KINDS`."""
        if self.p("worse") <= alpha:
            return "worse than unchanged"
        if self.p("lacks") > alpha:
            return "nothing left" if self.p("lacks little") <= alpha else "not shown"
        # What is lost at the first setting shown harmful is little more than δ: all of it is more than half of it, too.
        if max(self.p("half"), self.p("all")) <= alpha:
            return "all of it"
        return next((kind for contrast, kind in SHOWN.items() if self.p(contrast) <= alpha), "not shown")


@dataclass(frozen=True)
class Route:
    """A latent metric moved by other means than the claim's knob, and the ability's response: do(M) by a second route.

    Attributes:
      arm, metric: what moved which metric.
      label, split, stratum, setting: the ability, and where the knob stood.
      gain: mean move of the metric, above 0 where it is the claimed gain.
      change: mean change of the ability.
      p: the p-value of the response, or the smallest of all three where none is shown.
      response: what the ability is shown to do, one of `RESPONSES`.
    """

    arm: str
    metric: str
    label: str
    split: str
    stratum: dict[str, Any]
    setting: float
    gain: float
    change: float
    p: float
    response: str


RESPONSES = {
    "stays": "the ability is shown to stay within δ, so the metric's gain is not shown to carry it",
    "rises": "the ability is shown to rise by more than δ with it",
    "falls": "the ability is shown to fall by more than δ although the metric gains",
    "open": "what the ability does is not shown",
}


def routes(one: Outcome, alpha: float) -> Iterator[Route]:
    """The claimed metrics that an arm is shown to move as claimed while the claim's knob stays, each with the ability.

    A gain that carries an ability should carry it by whatever means it is brought about; that the ability rises, too,
    shows no more than that the arm moves both.
    """
    for metric, values in one.moved.items():
        measured_S = np.isfinite(values)
        moved, change_S, delta = np.asarray(values)[measured_S], one.recovered_S[measured_S], one.delta
        if _positive(moved) > alpha:
            continue
        p_of = {
            "stays": max(_positive(delta - change_S), _positive(delta + change_S)),
            "rises": _positive(change_S - delta),
            "falls": _positive(-change_S - delta),
        }
        response = next((name for name, p in p_of.items() if p <= alpha), "open")
        where = (one.label, one.split, one.stratum, one.setting)
        p = p_of.get(response, min(p_of.values()))
        yield Route(one.arm, metric, *where, float(np.mean(moved)), float(np.mean(change_S)), p, response)


def _positive(values_S: np.ndarray) -> float:
    """One-sided sign-flip p-value that the mean is above 0; NaN is left out, and 1 where nothing is left."""
    present_S = values_S[np.isfinite(values_S)]
    size = np.abs(present_S).max(initial=0.0) or 1.0
    return float(sign_flip_p(without_rounding(present_S[:, None] / size))[0]) if len(present_S) else 1.0


# contrast -> the outcome if it is shown, where something is lost; the first in this order
SHOWN = {
    "half": "at least half",
    "under half": "less than half",
    "some": "some of it",
}
# name -> what is shown if this is above 0, from what was lost, what was recovered, and δ
CONTRASTS = {
    "lacks": lambda lost, recovered, delta: lost,
    "lacks little": lambda lost, recovered, delta: delta - lost,
    "some": lambda lost, recovered, delta: recovered,
    "half": lambda lost, recovered, delta: recovered - SHARE * lost,
    "under half": lambda lost, recovered, delta: SHARE * lost - recovered,
    "all": lambda lost, recovered, delta: delta - (lost - recovered),
    "worse": lambda lost, recovered, delta: -recovered - delta,
}


@dataclass(frozen=True)
class Repairs:
    """Every arm that was run on a study.

    Attributes:
      steps: of each arm, the unchanged one included.
      arms: arm's name -> what it changes at which setting, in words.
      outcomes: a record for each ability, setting and arm.
      parents: keys of the study's cells that arms start from.
    """

    steps: int
    arms: dict[str, str]
    outcomes: tuple[Outcome, ...]
    parents: tuple[str, ...]

    def of(self, label: str, split: str, stratum: Mapping[str, Any], setting: float) -> dict[str, Outcome]:
        """An ability's outcomes at a setting: arm -> outcome."""
        return {
            one.arm: one
            for one in self.outcomes
            if (one.label, one.split, one.stratum, one.setting) == (label, split, dict(stratum), setting)
        }


def write(workdir: Path, repairs: Repairs) -> Path:
    """Keep the outcomes in a work directory. Returns the file's path."""
    path = workdir / FILE
    write_document(path, asdict(repairs))
    return path


def read(workdir: Path, study: Study, note: Callable[[str], None] = warnings.warn) -> Repairs | None:
    """The outcomes that are kept in a work directory; None where there are none, or none of this study's cells.

    Args:
      workdir: the study's directory.
      study: the cells that are judged.
      note: called with a sentence where the file is damaged, and its outcomes are left out.
    """
    path = workdir / FILE
    try:
        found = read_document(path)
        repairs = None if found is None else _repairs(found)
    except (DamagedFile, *MALFORMED) as error:
        problem = str(error) if isinstance(error, DamagedFile) else f"{path} is no record of repairs"
        note(f"{problem}: its outcomes are left out; --repair reads them again from the arms' checkpoints.")
        return None
    return repairs if repairs and {*repairs.parents} <= {*study.cell_keys} else None


def _repairs(found: Any) -> Repairs:
    """The outcomes of a document, which earlier versions wrote without a digest.

    Raises:
      MALFORMED: if it holds none.
    """
    outcomes = tuple(map(_outcome, found["outcomes"]))
    if not isinstance(found["steps"], int) or {one.arm for one in outcomes} - found["arms"].keys():
        raise TypeError
    return Repairs(
        found["steps"], {arm: str(text) for arm, text in found["arms"].items()}, outcomes, (*found["parents"],)
    )


def _outcome(record: Mapping[str, Any]) -> Outcome:
    per_seed = ("before", "after", "unchanged", "neutral_before", "neutral_after")
    values: dict[str, Any] = {name: tuple(map(number, record[name])) for name in per_seed}
    # Earlier versions kept no moves.
    moved = {metric: tuple(map(number, each)) for metric, each in record.get("moved", {}).items()}
    latents = {metric: tuple(map(number, each)) for metric, each in record.get("latents", {}).items()}
    seeds = tuple(map(int, record["seeds"]))
    if {len(each) for each in (*values.values(), *moved.values())} != {len(seeds)} or not seeds:
        raise ValueError("not one value a seed")
    if any(len(each) != 3 for each in latents.values()):
        raise ValueError("not one mean for neutral, unchanged and arm")
    return Outcome(
        label=str(record["label"]),
        split=str(record["split"]),
        stratum=dict(record["stratum"]),
        setting=number(record["setting"]),
        delta=number(record["delta"]),
        arm=str(record["arm"]),
        seeds=seeds,
        latents=latents,
        moved=moved,
        **values,
    )
