"""What a study's own design could find, printed with its plan: power for a fall of .1, of .2 and for a cliff.

The noise is a pilot's where the work directory holds one (the study's earlier run, say), else the simulator's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.design import SIDE, cells_of_strata, is_association, is_categorical, neutral_value, setting_of
from analysis.simulation import pilot_noise
from analysis.simulation.simulator import TRIVIAL, Truth
from analysis.stats import categorical_map, setting_map
from analysis.stats.setting_map import fewest_seeds
from lab.errors import UserError
from lab.storage import DamagedFile, read_document
from lab.storage.files import MALFORMED
from lab.study.spec import Study
from lab.values import exact

FALLS = (0.1, 0.2)
BASE = 0.9  # neutral ability where no pilot says it
REPETITIONS = 200
FLIPS = 200 * 2**11 * 9  # (repetitions × flips × settings) that fit in less than a second


@dataclasses.dataclass(frozen=True)
class Design:
    """What power depends on.

    Attributes:
      u_K: the settings as the study spaces them, scaled to [0, 1], neutral first.
      n_seeds: S.
      alpha, delta_share: as the claim has them.
      base, trivial: neutral ability and the trivial baseline.
      noise: with the curves that stand in for the feared ones.
    """

    u_K: np.ndarray
    n_seeds: int
    alpha: float
    delta_share: float
    base: float
    trivial: float
    noise: Truth


def power(design: Design, fall: float, at: int, cliff: bool, rng_seed: int = 0) -> float:
    """Share of simulated studies that show gain and harm at one setting.

    Args:
      design: the study's.
      fall: how far the ability falls.
      at: the setting up to which it is level; from there it falls evenly to the end, or at once to the next setting.
      cliff: at once.
      rng_seed: fixes the draws.
    """
    u_K, truth, rng = design.u_K, design.noise, np.random.default_rng([rng_seed, at])
    knots = [u_K[at], u_K[at + 1] if cliff else u_K[-1]]
    flips = 2 ** min(design.n_seeds, 14) * len(u_K)
    size = (int(np.clip(FLIPS // flips, 40, REPETITIONS)), design.n_seeds, len(u_K))
    level, slope = rng.normal(0, truth.seed_sd, size[:2]), rng.normal(0, truth.slope_sd, size[:2])
    chance = np.interp(u_K, knots, [design.base, design.base - fall]) + level[..., None]
    chance = np.clip(chance + slope[..., None] * (u_K - 0.5) + rng.normal(0, truth.cell_sd, size), 0, 1)
    abilities = chance if truth.trials is None else rng.binomial(truth.trials, chance) / truth.trials
    metrics = u_K + rng.normal(0, truth.metric_seed_sd, size[:2])[..., None]
    metrics = metrics + rng.normal(0, truth.metric_cell_sd, size)
    options: dict[str, Any] = dict(trivial=design.trivial, alpha=design.alpha, delta_share=design.delta_share)
    found = 0
    for metric_SxK, ability_SxK in zip(metrics, abilities, strict=True):
        shown = setting_map(u_K, metric_SxK, ability_SxK, **options, statements=("gain", "harmed"))
        found += bool((shown.shown("gain") & shown.shown("harmed")).any())
    return found / size[0]


def value_power(design: Design, change: float, rng_seed: int = 0) -> float:
    """Share of simulated studies that show a gain at one value of a categorical axis, and what the ability does there.

    Args:
      design: the study's; as many settings as the axis has values.
      change: of the ability at that value; below 0 the share is of *harmed*, else of *better*.
      rng_seed: fixes the draws.
    """
    truth, rng, values = design.noise, np.random.default_rng(rng_seed), len(design.u_K)
    at_K = np.eye(values)[1]
    repetitions = int(np.clip(FLIPS // (2 ** min(design.n_seeds, 14) * values), 40, REPETITIONS))
    size = (repetitions, design.n_seeds, values)
    chance = design.base + change * at_K + rng.normal(0, truth.seed_sd, size[:2])[..., None]
    chance = np.clip(chance + rng.normal(0, truth.cell_sd, size), 0, 1)
    abilities = chance if truth.trials is None else rng.binomial(truth.trials, chance) / truth.trials
    metrics = at_K + rng.normal(0, truth.metric_seed_sd, size[:2])[..., None]
    metrics = metrics + rng.normal(0, truth.metric_cell_sd, size)
    options: dict[str, Any] = dict(trivial=design.trivial, alpha=design.alpha, delta_share=design.delta_share)
    found, statement = 0, "harmed" if change < 0 else "better"
    for metric_SxK, ability_SxK in zip(metrics, abilities, strict=True):
        shown = categorical_map(metric_SxK, ability_SxK, **options, statements=("gain", statement))
        found += bool(shown.shown("gain")[1] and shown.shown(statement)[1])
    return found / repetitions


def lines(study: Study, root: Path) -> list[str]:
    """Power of the study's design as sentences; none where its design can show nothing, as its plan says then.

    Args:
      study: as it would be trained.
      root: its work directory, whose earlier results are the pilot where there are any.
    """
    fewest: dict[str, list[int]] = {}  # by side of neutral, the cells of the smallest stratum
    if is_association(study):
        return []
    if is_categorical(study):
        return _of_values(study)
    for stratum, inside in cells_of_strata(study):
        side = stratum.get(SIDE, "")
        fewest[side] = min(fewest.get(side, inside), inside, key=len)
    return [line for side, inside in fewest.items() for line in _of_side(study, root, side, inside)]


def _of_values(study: Study) -> list[str]:
    """Power of a categorical claim, by the simulator's noise."""
    places = [[study.cells[index] for index in inside] for _, inside in cells_of_strata(study)]
    values = min(len({setting_of(study, cell) for cell in cells}) for cells in places)
    n_seeds = min(len({cell["seed"] for cell in cells}) for cells in places)
    if n_seeds < fewest_seeds(study.claim.alpha) or values < 2:
        return []
    noise = Truth(lambda u: u, lambda u: u, trials=study.eval_examples)
    alpha, delta = study.claim.alpha, study.claim.delta
    design = Design(np.arange(float(values)), n_seeds, alpha, delta, BASE, TRIVIAL, noise)
    falls = ", ".join(f"of {fall:g} in {value_power(design, -fall):.0%}" for fall in FALLS)
    design = dataclasses.replace(design, base=BASE - max(FALLS))
    rises = ", ".join(f"of {fall:g} in {value_power(design, fall):.0%}" for fall in FALLS)
    return [
        f"{n_seeds} seeds × {values} values show at one value, next to a gain, a fall of the ability {falls} and a rise"
        f" {rises} of simulated studies (the simulator's noise)"
    ]


def _of_side(study: Study, root: Path, side: str, inside: Sequence[int]) -> list[str]:
    """Power of the settings on one side of neutral; `side` is '' where there is one."""
    knob, neutral = study.claim.knob, neutral_value(study)
    cells = [study.cells[index] for index in inside]
    n_seeds = len({cell["seed"] for cell in cells})
    far_K = np.array(sorted({abs(float(cell[knob]) - neutral) for cell in cells}))
    if n_seeds < fewest_seeds(study.claim.alpha) or len(far_K) < 3 or not 0 < far_K[-1] < np.inf:
        return []
    pilot = _pilot(root)
    noise = Truth(lambda u: u, lambda u: u, trials=study.eval_examples)
    base, trivial, source = BASE, TRIVIAL, "the simulator's noise, for want of a pilot in its work directory"
    if pilot is not None:
        base, trivial = pilot.neutral, pilot.trivial
        noise = dataclasses.replace(noise, **dataclasses.asdict(pilot.noise), trials=None)
        noise = dataclasses.replace(
            noise, metric_seed_sd=pilot.metric_noise.seed_sd, metric_cell_sd=pilot.metric_noise.cell_sd
        )
        source = f"the noise of {pilot.metric} and {pilot.ability} in the run that its work directory holds"
    u_K = far_K / far_K[-1]
    design = Design(u_K, n_seeds, study.claim.alpha, study.claim.delta, base, trivial, noise)
    at = (len(u_K) - 1) // 2
    said = [f"of {fall:g} in {power(design, fall, at, cliff=False):.0%}" for fall in FALLS if fall < base - trivial]
    said.append(f"to the trivial baseline at once in {power(design, base - trivial, at, cliff=True):.0%}")
    values = [float(cell[knob]) for cell in cells]
    way = np.sign(max(values) + min(values) - 2 * neutral)  # above 0 where the knob runs up from neutral
    place = exact(neutral + way * far_K[at])
    where = f" {side} (and with it)" if side else ""
    return [
        f"{n_seeds} seeds × {len(u_K)} settings{where} show a fall of the ability beyond {knob} = {place}, next to a"
        f" gain, {', '.join(said)} of simulated studies ({source})"
    ]


def _pilot(root: Path) -> pilot_noise.Reading | None:
    """The noise of an earlier run: of the first of its claims whose metric gains; None where there is none to read."""
    try:
        claims = read_document(root / "verdicts.json")["claims"]
        pairs = [(one["ability"], one["metric"]) for one in claims]
    except (DamagedFile, *MALFORMED):
        return None
    for ability, metric in dict.fromkeys(pairs):
        try:
            found = pilot_noise.read(root, ability, metric)
        except UserError:
            continue
        if found.neutral > found.trivial:
            return found
    return None
