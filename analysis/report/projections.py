"""Hidden states of one seed on a plane: at neutral, on both sides of where the ability breaks, and farthest away.

Each cell is shown on the plane of its own first two principal components, which is the plane that shows most of it. One
plane for all (the neutral cell's) would show any cell whose states merely turned as if it had lost them. Planes of two
cells have no axes in common, so each is turned and mirrored to lie as near as it can on the neutral one, input by input
(orthogonal Procrustes; Schönemann 1966). That changes no distance, and neither does the unit: the root mean square
distance from a cell's mean. The variance share of the axes says how much of the states the plane leaves out.

Shape letters: C cells, N probe examples, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import orthogonal_procrustes

from analysis.activations import extract
from analysis.activations.measure import claim_site
from analysis.design import in_stratum, is_association, neutral_value, setting_of
from analysis.diagnosis import Findings
from analysis.report.large_grid import strata_with_all_figures
from analysis.verdicts import Bounds, Judged
from lab.engine import Plan, Programs
from lab.storage import Store


class Plane(NamedTuple):
    """States on a plane.

    Attributes:
      points_Nx2: in units of the spread, centred; NaN where states aren't finite or all the same.
      share_2: variance along each axis, as a share of the states' whole variance.
      spread: root mean square distance from the mean.
    """

    points_Nx2: np.ndarray
    share_2: np.ndarray
    spread: float


@dataclass(frozen=True)
class View:
    """One cell's states of one task.

    Attributes:
      role: which setting it is: 'neutral', 'last free', ….
      value: the claim's knob there.
      exact: the cell's exact accuracy on the primary ability.
      plane: its states, turned onto the neutral cell's.
    """

    role: str
    value: float
    exact: float
    plane: Plane


@dataclass(frozen=True)
class Embedding:
    """The views of a task within a stratum, from the same inputs, neutral first.

    Attributes:
      stratum, label, split: as in `Bounds`.
      seed: the cells'.
      factor: the name of the factor that the labels are.
      labels_N: int.
      views: one a setting.
    """

    stratum: dict[str, Any]
    label: str
    split: str
    seed: int
    factor: str
    labels_N: np.ndarray
    views: tuple[View, ...]


def principal_plane(states_NxD: np.ndarray) -> Plane:
    """States on their first two principal components; each axis points to where its farthest example lies."""
    centred_NxD = np.asarray(states_NxD, np.float64)
    centred_NxD = centred_NxD - centred_NxD.mean(axis=0)
    spread = float(np.sqrt((centred_NxD**2).sum(axis=1).mean()))
    if not np.isfinite(spread) or spread <= 1e-12 * float(np.abs(states_NxD).max(initial=1.0)):
        return Plane(np.full((len(centred_NxD), 2), np.nan), np.full(2, np.nan), spread)
    _, vectors_DxD = np.linalg.eigh(centred_NxD.T @ centred_NxD)
    points_Nx2 = centred_NxD @ vectors_DxD[:, :-3:-1] / spread
    farthest_2 = points_Nx2[np.abs(points_Nx2).argmax(axis=0), [0, 1]]
    points_Nx2 = points_Nx2 * np.where(farthest_2 < 0, -1.0, 1.0)
    return Plane(points_Nx2, (points_Nx2**2).mean(axis=0), spread)


def turned_onto(plane: Plane, reference: Plane) -> Plane:
    """A plane rotated, and mirrored where that is nearer, onto another of the same inputs; as it is if it can't."""
    if not (np.isfinite(plane.points_Nx2).all() and np.isfinite(reference.points_Nx2).all()):
        return plane
    turn_2x2, _ = orthogonal_procrustes(plane.points_Nx2, reference.points_Nx2)
    points_Nx2 = plane.points_Nx2 @ turn_2x2
    return Plane(points_Nx2, (points_Nx2**2).mean(axis=0), plane.spread)


def settings(bound: Bounds, claims: Sequence[Judged], neutral: float) -> list[tuple[str, float]]:
    """(role, knob value) of two to four settings, neutral first and the farthest last.

    Between them lie the two on either side of the break, where one is shown; else the last setting shown free and the
    first shown harmful; else the one halfway.

    Args:
      bound: the ability's.
      claims: its verdicts.
      neutral: the knob's neutral value.
    """
    values = sorted(bound.ability.knob_K.tolist(), key=lambda value: abs(value - neutral))
    shown = next((j.verdict.break_at for j in claims if j.verdict.break_at is not None), None)
    if shown is not None:
        reached = [abs(value - neutral) <= abs(shown - neutral) for value in values]
        before, after = max(sum(reached) - 1, 0), sum(reached)
        found = [("before the break", values[before])]
        found += [("after the break", values[after])] if after < len(values) else []
    else:
        ends = (("last free", bound.free_until), ("first harmful", bound.harmful_from)) if bound.learned else ()
        found = [(role, value) for role, value in ends if value is not None and value != neutral]
        if not {value for _, value in found} - {values[-1]}:
            found.insert(0, ("halfway", values[len(values) // 2]))
    roles: dict[float, list[str]] = {}
    for role, value in (("neutral", values[0]), *found, ("farthest", values[-1])):
        roles.setdefault(value, []).append(role)
    return [(", ".join(roles[value]), value) for value in sorted(roles, key=values.index)]


def read(findings: Findings, plan: Plan, store: Store, programs: Programs, whole: bool = False) -> list[Embedding]:
    """The embeddings of every primary task, where all figures are drawn, at the claim's site after the last step.

    The seed is the first one that has no diverged cell among the settings shown, or else the first.

    Args:
      findings: of all strata.
      plan, store: of the cells that are judged, and their checkpoints.
      programs: compiled ones.
      whole: in all strata, however many there are.
    """
    study = plan.study
    if is_association(study):
        return []
    strata = [findings.strata[index] for index in strata_with_all_figures(findings, whole)]
    chosen = [one for stratum in strata for one in _chosen(findings.in_stratum(stratum), stratum)]
    wanted = sorted({cell for _, _, cells in chosen for _, _, cell in cells})
    labels = list(dict.fromkeys(bound.label for bound, _, _ in chosen))
    if not labels:
        return []
    sites = tuple(claim_site(study, label) for label in labels)
    members = extract.find(study, store, wanted, int(findings.results.step[-1]))
    knobs = plan.knobs
    planes: dict[tuple[int, str], tuple[Plane, np.ndarray]] = {}
    for block in extract.read(study, programs, knobs, members, sites):
        for c, cell in enumerate(block.cells):
            for m, label in enumerate(labels):
                planes[cell, label] = principal_plane(block.states_CxMxNxD[c, m]), block.labels_CxMxN[c, m]
    return [_embedding(findings, bound, seed, cells, planes) for bound, seed, cells in chosen]


def _embedding(
    findings: Findings,
    bound: Bounds,
    seed: int,
    cells: list[tuple[str, float, int]],
    planes: dict[tuple[int, str], tuple[Plane, np.ndarray]],
) -> Embedding:
    reference, labels_N = planes[cells[0][2], bound.label]
    exact_C = findings.results.ability(bound.label, bound.split)[:, -1]
    views = []
    for role, value, cell in cells:
        plane = planes[cell, bound.label][0]
        turned = plane if plane is reference else turned_onto(plane, reference)
        views.append(View(role, value, float(exact_C[cell]), turned))
    factor = findings.study.use(bound.label).factor
    return Embedding(bound.stratum, bound.label, bound.split, seed, factor, labels_N, tuple(views))


def _chosen(findings: Findings, stratum: dict[str, Any]) -> Iterator[tuple[Bounds, int, list[tuple[str, float, int]]]]:
    """(bound, seed, (role, knob value, cell) of each setting) of the stratum's first primary ability of every task."""
    study, diverged_at, neutral = findings.study, findings.results.diverged_at, neutral_value(findings.study)
    cell_at = {
        (cell["seed"], setting_of(study, cell)): index
        for index, cell in enumerate(study.cells)
        if in_stratum(study, cell, stratum)
    }
    firsts: dict[str, Bounds] = {}
    for bound in findings.primary:
        if bound.reading is None:  # a picture says the exact accuracy of its cell
            firsts.setdefault(bound.label, bound)
    shown = {}
    for label, bound in firsts.items():
        mine = [one for one in findings.claims if (one.label, one.split) == (label, bound.split)]
        shown[label] = settings(bound, mine, neutral)
    values = {value for each in shown.values() for _, value in each}
    seeds = sorted({seed for seed, _ in cell_at})
    whole = [s for s in seeds if all((s, v) in cell_at and diverged_at[cell_at[s, v]] < 0 for v in values)]
    seed = (whole or seeds)[0]
    for label, bound in firsts.items():
        cells = [(role, value, cell_at[seed, value]) for role, value in shown[label] if (seed, value) in cell_at]
        if cells:
            yield bound, seed, cells
