"""What a study trains next so that its claims are decided: more seeds, settings near a break, or nothing more.

Seeds are added where a claim or a bound is open, settings where a bound or a break lies in a gap wider than the
precision asked for; both are added to what is trained. Adding settings takes no look: each is tested at the looks there
were (`analysis.design.interim`).

Shape letters: S seeds, K settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np

from analysis.design import controls, interim, is_association, is_categorical, setting_of
from analysis.design.interim import InterimAnalyses, Settings
from analysis.verdicts.claims import Bounds, Judged, check
from lab.errors import UserError
from lab.mechanisms import knobs as registry
from lab.mechanisms.base import Knob
from lab.study import sizes, task_sizes
from lab.study.spec import Study
from lab.values import exact

LEAST_SETTINGS = 3  # neutral, one near it and one far out
PRECISION = 0.05  # of the knob's range: a gap up to this is narrow enough
LOOKS = 4  # planned where no other number is asked for


@dataclass(frozen=True)
class Round:
    """What a study trains next.

    Attributes:
      looks: the record with it.
      settings: what it adds, by stratum.
      seeds: how many it adds.
      why: a sentence for a person.
    """

    looks: InterimAnalyses
    settings: tuple[tuple[Settings, float], ...]
    seeds: int
    why: str


def check_refinable(study: Study, count: int) -> None:
    """Refuse, before anything trains, a study that can't be refined.

    Raises:
      UserError: in one sentence.
    """
    check(study)
    if is_association(study):
        raise UserError("--refine looks for breaks along a knob, and an association has none; add seeds or values.")
    if "seed" not in {axis.knob for axis in study.axes}:
        raise UserError('--refine adds seeds: give sweep() an axis("seed", range(config.seeds)).')
    settings = [{setting_of(study, study.cells[index]) for index in inside} for inside in _by_side(study)]
    if (fewest := min(map(len, settings))) < LEAST_SETTINGS and not is_categorical(study):
        side = " on one side of neutral (and with it)" if len(settings) > 1 else ""
        raise UserError(
            f"--refine: sweep() has {fewest} settings of {study.claim.knob}{side}, and a break can't be looked for"
            f" between fewer than {LEAST_SETTINGS}; add settings to the axis first."
        )
    if not _even(study):
        raise UserError(
            "--refine needs every setting with every seed, in every stratum the same settings: make sweep() a product"
            " of its axes."
        )
    seeds = len(interim.designed_seeds(study))
    share = interim.begin(study, count).shares[0]
    if 2.0**-seeds > study.claim.alpha * share:
        raise UserError(
            f"--refine: with {seeds} seeds p can't fall below {2.0**-seeds:.2g}, and the first of {count} looks has"
            f" {study.claim.alpha * share:.2g} of alpha; start with more seeds (--config.seeds=8)."
        )


def _by_side(study: Study) -> list[list[int]]:
    """Indices of the cells on either side of neutral; of all cells where neutral is at an end."""
    found: dict[str, list[int]] = {}
    for stratum, inside in controls.cells_of_strata(study):
        found.setdefault(stratum.get(controls.SIDE, ""), []).extend(inside)
    return list(found.values())


def _even(study: Study) -> bool:
    """Whether the cells are all combinations of stratum, setting, seed and of what is tuned away."""
    free = (study.claim.knob, "seed", *study.tuned)
    combinations = math.prod(len({cell[name] for cell in study.cells}) for name in free)
    return len(study.cells) == len(controls.cells_of_other_axes(study)) * combinations


def next_round(
    study: Study,
    looks: InterimAnalyses,
    judged: Sequence[Judged],
    bounds: Sequence[Bounds],
    precision: float = PRECISION,
) -> Round | None:
    """What a study trains next; None where nothing is open, or nothing is left to spend. See `grow`.

    A knob that another axis follows (zipped with it) gets no settings: the other axis would have no value for them.
    """
    knob = study.knobs[study.claim.knob]
    settable = not any(controls.follows(study, axis.knob) for axis in study.axes) and not is_categorical(study)
    return grow(knob, looks, judged, bounds, precision if settable else math.inf, partial(_admits, study))


def _admits(study: Study, stratum: Settings, value: float) -> bool:
    """Whether the model can be had at a setting: of a width, say, only whole numbers of dimensions."""
    cell = {**study.cells[0], **stratum, study.claim.knob: value}
    try:
        task_sizes.check(study.tasks, study.own_knobs.values(), [cell])
    except UserError:
        return False
    if sizes.objection(study.bare_spec(cell)):
        return False
    for stage in range(len(study.stages)):
        if registry.objection(study.setup(study.knobs_at(cell, stage), stage)):
            return False
    return True


def grow(
    knob: Knob,
    looks: InterimAnalyses,
    judged: Sequence[Judged],
    bounds: Sequence[Bounds],
    precision: float,
    admits: Callable[[Settings, float], bool] = lambda stratum, value: True,
) -> Round | None:
    """What to train next; None where nothing is open, or nothing is left to spend.

    Args:
      knob: the claim's.
      looks: the looks so far.
      judged, bounds: of the last look; those of the claim count.
      precision: share of the knob's range up to which a gap is narrow enough.
      admits: whether a setting can be had, in a stratum.
    """
    mine = [bound for bound in bounds if bound.primary and bound.learned]
    open_names = sorted({f"{one.label}/{one.split}" for one in judged if is_open(one)})
    open_names = sorted({*open_names, *(f"{b.label}/{b.split}" for b in mine if undetermined(b))})
    found: list[tuple[Settings, float]] = []
    for wanted in _wanted(knob, mine, judged, precision):
        if wanted not in (*found, *looks.added) and admits(*wanted):
            found.append(wanted)
    more = open_names if looks.left else []
    if not more and not found:
        return None
    seeds = (*looks.seeds, interim.next_seeds(looks)) if more else looks.seeds
    added = len(seeds[-1]) - len(looks.seeds[-1])
    why = [f"{added} seed{'' if added == 1 else 's'}, since {_listed(more)} open"] if more else []
    if found:
        values = ", ".join(map(exact, sorted({value for _, value in found})))
        why.append(f"{knob.name} = {values}, where an answer lies")
    return Round(
        replace(looks, seeds=seeds, added=(*looks.added, *found)),
        tuple(found),
        added,
        " and ".join(why),
    )


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def why_over(study: Study, looks: InterimAnalyses, judged: Sequence[Judged], bounds: Sequence[Bounds]) -> str:
    """Why nothing more is trained, for a person."""
    still = {f"{one.label}/{one.split}" for one in judged if is_open(one)}
    still |= {f"{b.label}/{b.split}" for b in bounds if b.primary and b.learned and undetermined(b)}
    spent = f"{len(looks.seeds)} of {len(looks.shares)} looks, {len(looks.seeds[-1])} seeds"
    if still:
        names = ", ".join(sorted(still))
        return f"refined: {spent}; still open, and nothing of alpha = {study.claim.alpha:g} left: {names}"
    return f"refined: {spent}; every claim is decided"


def is_open(one: Judged) -> bool:
    """Whether more seeds could decide a claim: it is undecided, or learning is likely and not shown."""
    if one.verdict.kind == "not learned":
        return one.map.neutral_ability > one.map.trivial and one.map.p_learned < 1.0
    return one.verdict.kind == "undecided"


def undetermined(bound: Bounds) -> bool:
    """Whether some setting is shown neither free nor harmful."""
    if not bound.map.ordered:
        shown = [bound.map.shown(name) for name in ("free", "better", "harmed")]
        return not np.any(shown, axis=0)[1:].all()
    if bound.free_until is None:
        return True
    inside = _between(bound)
    return inside is not None and inside[1] - inside[0] > 1


def _outward(bound: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """(knob [K], ability [S, K]) from neutral outwards; neutral is the end that no bound but 'free' ever lies at."""
    knob_K, values_SxK = bound.ability.knob_K, bound.ability.values_SxK
    turned = bound.neutral == knob_K[-1]
    return (knob_K[::-1], values_SxK[:, ::-1]) if turned else (knob_K, values_SxK)


def _between(bound: Bounds) -> tuple[int, int] | None:
    """Indices, outwards, of the last setting shown free and of the first shown harmful (K if none); None without."""
    knob_K, _ = _outward(bound)
    if bound.free_until is None:
        return None
    free = int(np.flatnonzero(knob_K == bound.free_until)[0])
    none = bound.harmful_from is None
    harmful = len(knob_K) if none else int(np.flatnonzero(knob_K == bound.harmful_from)[0])
    return (free, harmful) if free < len(knob_K) - 1 else None


def _wanted(
    knob: Knob, bounds: Sequence[Bounds], judged: Sequence[Judged], precision: float
) -> Iterator[tuple[Settings, float]]:
    """The middles of the gaps in which bounds and breaks lie."""
    for bound in bounds:
        gap = _crossing(bound)
        if gap is not None:
            yield from _middle(knob, bound.stratum, *gap, bound.ability.knob_K, precision)
    for one in judged:
        if one.verdict.break_between is not None:
            knob_K = one.ability.knob_K
            yield from _middle(knob, one.stratum, *_widest_gap(one), knob_K, precision)


def _widest_gap(one: Judged) -> tuple[float, float]:
    """The neighbouring settings farthest apart, among those between which the break lies."""
    assert one.verdict.break_interval is not None, "there is no break"
    low, high = one.verdict.break_interval
    inside = [float(value) for value in one.ability.knob_K if low <= value <= high]
    return max(pairwise(inside), key=lambda pair: pair[1] - pair[0])


def _crossing(bound: Bounds) -> tuple[float, float] | None:
    """The neighbouring settings between which the mean ability, within the gap, first falls by more than δ."""
    inside = _between(bound)
    if inside is None:
        return None
    knob_K, values_SxK = _outward(bound)
    free, harmful = inside
    change_SxK = values_SxK - values_SxK[:, :1]
    there_SxK = np.isfinite(change_SxK)
    total_K, count_K = np.where(there_SxK, change_SxK, 0.0).sum(axis=0), there_SxK.sum(axis=0)
    fallen = np.flatnonzero(total_K < -bound.delta * count_K)
    fallen = fallen[fallen > free]
    if not len(fallen):
        return None
    at = min(int(fallen[0]), harmful, len(knob_K) - 1)
    return float(knob_K[at - 1]), float(knob_K[at])


def _middle(
    knob: Knob, stratum: Settings, one_end: float, other_end: float, knob_K: np.ndarray, precision: float
) -> Iterator[tuple[Settings, float]]:
    """The middle of a gap, in the knob's own type, if the gap is too wide and the middle is new."""
    position_K = controls.positions(knob_K)
    one_end, other_end = (float(position_K[knob_K == end][0]) for end in (one_end, other_end))
    middle = (one_end + other_end) / 2
    middle = float(round(middle)) if knob.integer else float(f"{middle:.12g}")
    if abs(other_end - one_end) > precision * np.ptp(position_K) and middle not in knob_K:
        value = registry.checked(knob.name, middle, "--refine", {knob.name: knob})
        yield controls.without_side(stratum), value
