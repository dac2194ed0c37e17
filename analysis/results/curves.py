"""One reading over the claim's knob and the seeds: the arrays that every test and figure takes.

Shape letters: S seeds, K settings of the claim's knob, E evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.results.places import evaluation_at, probe_floor, readable
from analysis.results.table import Results
from lab.storage.history import READINGS
from lab.study.spec import Study
from tasks.base import trivial


@dataclass(frozen=True)
class Curve:
    """One reading over the claim's knob within a stratum.

    Attributes:
      knob_K, seed_S: settings and seeds, ascending.
      values_SxK: NaN where a cell is missing; where it diverged, NaN or (of an ability) the trivial baseline.
      diverged_SxK: bool, which cells diverged; None: none did.
    """

    knob_K: np.ndarray
    seed_S: np.ndarray
    values_SxK: np.ndarray
    diverged_SxK: np.ndarray | None = None


def curve(
    results: Results,
    stratum: dict[str, Any],
    column: np.ndarray,
    evaluation: int = -1,
    diverged: float = np.nan,
) -> Curve:
    """One column of the results over knob and seed.

    Args:
      results: the study's results.
      stratum: values of the other axes.
      column: float64[cells, E].
      evaluation: which evaluation; the last by default.
      diverged: the value of a cell that had diverged by then.
    """
    knob_K, seed_S, cell_C, row_C, column_C = results.places(stratum)
    diverged_C = results.diverged_at[cell_C]
    there_C = (diverged_C < 0) | (diverged_C >= results.step[evaluation])
    values_SxK = np.full((len(seed_S), len(knob_K)), np.nan)
    diverged_SxK = np.zeros(values_SxK.shape, bool)
    for now_C in (~there_C, there_C):  # of several cells at one place, one that is there counts
        place = row_C[now_C], column_C[now_C]
        values_SxK[place] = np.where(there_C, column[cell_C, evaluation], diverged)[now_C]
        diverged_SxK[place] = ~there_C[now_C]
    return Curve(knob_K, seed_S, values_SxK, diverged_SxK)


def ability_curve(
    results: Results, stratum: dict[str, Any], label: str, split: str, reading: str = "exact", evaluation: int = -1
) -> Curve:
    """An ability over knob and seed. Divergence is a loss: such a cell has the ability of the trivial baseline.

    Args:
      results, stratum: as of `curve`.
      label, split: its task, and its split or, of one that a claim places, its key (`lab.study.places`).
      reading: of the answers; of a placed ability 'exact' stands for the reading that it is about.
      evaluation: which one; of a placed ability by default the one that it is read at.
    """
    place = results.study.claim.place(label, split)
    if place is not None and evaluation == -1:
        evaluation = evaluation_at(results, place)
    floor, column = claimed_floor(results, stratum, label, split, reading), results.ability(label, split, reading)
    if place is not None and place.probe is not None:
        column = readable(results, place, column)
    return curve(results, stratum, column, evaluation, floor)


def claimed_floor(
    results: Results, stratum: Mapping[str, Any], label: str, split: str, reading: str = "exact"
) -> float:
    """`ability_floor`, or of an ability that a claim places its own; arguments as of `ability_curve`."""
    study, place = results.study.at(stratum), results.study.claim.place(label, split)
    if place is None:
        return ability_floor(study, label, split, reading)
    if place.probe is not None:
        return probe_floor(results, place, stratum)
    measure = str(place.measure) if reading == "exact" else reading
    return ability_floor(study, label, str(place.split), measure)


def ability_floor(study: Study, label: str, split: str, reading: str) -> float:
    """What the best trivial predictor reaches, by a reading of an ability.

    By token at least what it has right as a whole, and the geometric mean of what it believes of the right token,
    which is the accuracy of one that guesses among equals.
    """
    floor = trivial(study.use(label).task, split)
    return max(floor.exact, math.exp(floor.logprob)) if reading == "token_accuracy" else getattr(floor, reading)


def reading_curve(results: Results, stratum: dict[str, Any], name: str, evaluation: int = -1) -> Curve:
    """A column of the results by its name; of an ability as `ability_curve`."""
    label, _, rest = name.partition("/")
    split, _, reading = rest.partition("/")
    if reading in READINGS:
        return ability_curve(results, stratum, label, split, reading, evaluation)
    return curve(results, stratum, results.columns[name], evaluation)
