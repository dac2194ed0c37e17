"""How `run.py --refine` errs and what it finds, on simulated truths: table 4 of `python -m analysis.simulation`.

The whole procedure is run on data that are drawn as it asks for them: looks, spent shares of α, seeds and settings.

Shape letters: S seeds, K settings.
"""

import collections
import dataclasses
import functools
from collections.abc import Collection

import numpy as np

from analysis.activations import ProbeSite
from analysis.design.interim import InterimAnalyses, first
from analysis.results import Curve
from analysis.simulation.map_truths import RIGHT, SILENT, loss_at
from analysis.simulation.scenarios import too_often
from analysis.simulation.simulator import TRIVIAL, TRUTHS, Truth
from analysis.stats import MapVerdict, break_test, map_verdict, setting_map
from analysis.verdicts import Bounds, Judged, ability_map
from analysis.verdicts.refinement import grow
from lab.mechanisms.knobs import KNOBS

KNOB = KNOBS["prune.sparsity"]  # any traced knob from 0 to 1


@dataclasses.dataclass(frozen=True)
class Row:
    """What one truth gave.

    Attributes:
      truth: its name.
      repetitions: simulated studies.
      right, right_before: share of studies that get the verdict hoped for, the first of `map_truths.RIGHT`, refined and
        at the first look's whole α.
      false, false_before: share with a false verdict.
      free_wrong, harmful_wrong: share whose bound contradicts the truth.
      gap, gap_before: mean distance in u between shown free and shown harmful (1 where none is shown harmful), in
        truths with harm.
      covered: share of the breaks between whose settings the ability truly comes to have lost δ, and their number.
      seeds, cells: means at the end.
      verdicts: how often each verdict was given.
    """

    truth: str
    repetitions: int
    right: float
    right_before: float
    false: float
    false_before: float
    free_wrong: float
    harmful_wrong: float
    gap: float
    gap_before: float
    covered: tuple[float, int]
    seeds: float
    cells: float
    verdicts: collections.Counter


class Study:
    """One simulated study: noise of the seeds drawn once, of a cell when its setting is asked for."""

    def __init__(self, truth: Truth, rng: np.random.Generator, n_seeds: int):
        self.truth, self.rng = truth, rng
        self.metric_S = rng.normal(0, truth.metric_seed_sd, n_seeds)
        self.level_S = rng.normal(0, truth.seed_sd, n_seeds)
        self.slope_S = rng.normal(0, truth.slope_sd, n_seeds)
        self.columns: dict[float, tuple[np.ndarray, np.ndarray]] = {}

    def column(self, u: float) -> tuple[np.ndarray, np.ndarray]:
        """Metric and ability of every seed at one setting."""
        if u not in self.columns:
            truth, rng, at = self.truth, self.rng, np.asarray([u])
            size = len(self.level_S)
            metric_S = truth.metric(at) + self.metric_S + rng.normal(0, truth.metric_cell_sd, size)
            chance_S = truth.ability(at) + self.level_S + self.slope_S * (u - 0.5) + rng.normal(0, truth.cell_sd, size)
            trials = truth.trials or 1000
            self.columns[u] = metric_S, rng.binomial(trials, np.clip(chance_S, 0.01, 0.99)) / trials
        return self.columns[u]


def refined(
    truth: Truth, rng: np.random.Generator, n_seeds: int, n_settings: int, count: int, precision: float
) -> tuple[InterimAnalyses, tuple[MapVerdict, Bounds], tuple[MapVerdict, Bounds]]:
    """One study from its first look to its last.

    Returns:
      (the looks, the last look's verdict and bounds, the verdict and bounds of the first look at the whole α).
    """
    designed = tuple(float(u) for u in np.linspace(0, 1, n_settings))
    looks = first(designed, tuple(range(n_seeds)), count)
    study = Study(truth, rng, round(n_seeds / looks.shares[0]))
    alone = _judged(study, dataclasses.replace(looks, shares=(1.0,)))
    while True:
        judged, bound = _judged(study, looks)
        step = grow(KNOB, looks, [judged], [bound], precision)
        if step is None:
            return looks, (judged.verdict, bound), (alone[0].verdict, alone[1])
        looks = step.looks


@functools.cache
def _no_shape() -> break_test.Verdict:
    """In place of the slope test's verdict, which has no part in what is trained next and takes the longest."""
    return break_test.verdict([0.0], np.zeros((1, 1)), np.zeros((1, 1)), trivial=0.0)


def _judged(study: Study, looks: InterimAnalyses) -> tuple[Judged, Bounds]:
    """A study judged as `analysis.verdicts.claims` judges one."""
    knob_K = np.asarray(sorted({*looks.designed, *(value for _, value in looks.added)}))
    seed_S = np.asarray(looks.seeds[-1])
    metric_SxK, ability_SxK = (
        np.stack([study.column(float(u))[part][: len(seed_S)] for u in knob_K], axis=1) for part in (0, 1)
    )
    gain, ability = Curve(knob_K, seed_S, metric_SxK), Curve(knob_K, seed_S, ability_SxK)
    options = {"neutral_index": 0, "alpha": 0.05, "delta_share": 0.05} | looks.options(knob_K, seed_S)
    data = (knob_K, gain.values_SxK, ability.values_SxK)
    found = setting_map(*data, trivial=TRIVIAL, **options)
    judged, shape = map_verdict(found), _no_shape()
    place = ProbeSite("task", 0, "answer")
    one = Judged("metric", 1, place, "task", "iid", {}, gain, ability, ability, TRIVIAL, found, judged, shape, judged.p)
    free = ability_map(ability, TRIVIAL, **options, statements=("free", "harmed"))
    bound = Bounds(
        "task", "iid", {}, True, ability, ability, TRIVIAL, free.learned,
        free.free_until, free.harmed_from, free.delta, 0.0, free,
    )  # fmt: skip
    return one, bound


def measure(
    name: str,
    repetitions: int,
    n_seeds: int = 8,
    n_settings: int = 9,
    rng_seed: int = 0,
    count: int = 4,
    precision: float = 0.05,
) -> Row:
    """Refines `repetitions` simulated studies of the truth `name` at α = .05."""
    truth, rng = TRUTHS[name], np.random.default_rng([rng_seed, list(TRUTHS).index(name), count])
    ends, begins, sizes, wrong = [], [], [], np.zeros(2)
    for _ in range(repetitions):
        looks, (last, bound), before = refined(truth, rng, n_seeds, n_settings, count, precision)
        ends.append((last, bound))
        begins.append(before)
        sizes.append((len(looks.seeds[-1]), len(looks.seeds[-1]) * (len(looks.designed) + len(looks.added))))
        wrong += _contradicts(truth, bound)
    seeds, cells = np.mean(sizes, axis=0)
    located = [v.break_interval for v, _ in ends if v.break_interval is not None and np.isfinite(loss_at(truth))]
    held = [low <= loss_at(truth) <= high for low, high in located]
    return Row(
        truth=name,
        repetitions=repetitions,
        right=_share(ends, {RIGHT[name][0]}),
        right_before=_share(begins, {RIGHT[name][0]}),
        false=1 - _share(ends, SILENT.union(RIGHT[name])),
        false_before=1 - _share(begins, SILENT.union(RIGHT[name])),
        free_wrong=float(wrong[0] / repetitions),
        harmful_wrong=float(wrong[1] / repetitions),
        gap=float(np.mean([_gap(bound) for _, bound in ends])),
        gap_before=float(np.mean([_gap(bound) for _, bound in begins])),
        covered=(float(np.mean(held)) if held else float("nan"), len(held)),
        seeds=float(seeds),
        cells=float(cells),
        verdicts=collections.Counter(v.kind for v, _ in ends),
    )


def _share(judged: list[tuple[MapVerdict, Bounds]], kinds: Collection[str]) -> float:
    return float(np.mean([v.kind in kinds for v, _ in judged]))


def _contradicts(truth: Truth, bound: Bounds) -> tuple[bool, bool]:
    """Whether a truly worse setting is inside the free stretch, and one that is no worse inside the harmful one."""
    u_K = bound.ability.knob_K
    worse_K = truth.ability(u_K) - truth.ability(u_K[:1])
    free = bound.free_until is not None and (worse_K[u_K <= bound.free_until] < -bound.delta).any()
    harmful = bound.harmful_from is not None and (worse_K[u_K >= bound.harmful_from] > -bound.delta).any()
    return bool(free), bool(harmful)


def _gap(bound: Bounds) -> float:
    free = 0.0 if bound.free_until is None else bound.free_until
    return (1.0 if bound.harmful_from is None else bound.harmful_from) - free


def line(row: Row) -> str:
    """The row as text; what errs too often has an exclamation mark."""

    def rate(share: float) -> str:
        return f"{share:.3f}{'!' if too_often(share, row.repetitions) else ' '}"

    share, count = row.covered
    covered = f"{share:.2f} of {count:3d}" if count else "    -     "
    verdicts = ", ".join(f"{kind} {n / row.repetitions:.2f}" for kind, n in row.verdicts.most_common())
    return (
        f"{row.truth:29s} {row.right_before:.2f} → {row.right:.2f}  {rate(row.false_before)} → {rate(row.false)}"
        f" {rate(row.free_wrong)} {rate(row.harmful_wrong)}  {row.gap_before:.2f} → {row.gap:.2f}  {covered}"
        f"  {row.seeds:4.1f} {row.cells:4.0f}  {verdicts}"
    )


HEADER = (
    "truth                          right         false            free   harmful  gap in u     break held"
    "  seeds cells verdicts\n"
    "                                                              wrong  wrong"
)
