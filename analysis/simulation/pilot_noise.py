"""The noise of a finished study, read off its results.csv and verdicts.json, to plan the next one with.

The model is the simulator's: ability = curve(u) + a seed's level + a seed's slope · (u − ½) + a cell's noise. Its
variances are estimated by moments: each setting's mean over seeds is taken off, a line is fitted to what is left of
each seed, and what the cells' noise adds to the lines' spread is subtracted.
"""

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from analysis.design import BELOW, SIDE
from lab.errors import UserError, nearest
from lab.storage import DamagedFile, read_document
from lab.storage.files import MALFORMED
from lab.study.kinds import ASSOCIATION, CATEGORICAL
from lab.values import exact, meant


@dataclasses.dataclass(frozen=True)
class Noise:
    """Standard deviations of a seed's level (at u = ½), of its slope in u, and of a cell about its line."""

    seed_sd: float
    slope_sd: float
    cell_sd: float


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a finished study says for a plan.

    Attributes:
      ability, metric: the names of what was read.
      noise: of the ability.
      metric_noise: of the metric, in units of its gain over the whole knob.
      neutral, trivial: mean neutral ability of the seeds read, and the trivial baseline.
      alpha, delta_share: as the study's claim had them.
      n_seeds, n_settings: the seeds and settings without a missing cell that the noise was read from.
    """

    ability: str
    metric: str
    noise: Noise
    metric_noise: Noise
    neutral: float
    trivial: float
    alpha: float
    delta_share: float
    n_seeds: int
    n_settings: int


def estimate(u_K: np.ndarray, values_SxK: np.ndarray) -> Noise:
    """Estimates the noise of S ≥ 2 seeds at K ≥ 3 settings without missing cells, in the unit of the values."""
    n_seeds, n_settings = values_SxK.shape
    residual_SxK = values_SxK - values_SxK.mean(axis=0)
    design_KxP = np.stack([np.ones(n_settings), u_K - 0.5], axis=1)
    inverse_PxK = np.linalg.pinv(design_KxP)
    lines_PxS = inverse_PxK @ residual_SxK.T
    left_SxK = residual_SxK - (design_KxP @ lines_PxS).T
    # The settings' means cost one seed's worth of freedom, the lines two values a seed.
    cell = (left_SxK**2).sum() / ((n_seeds - 1) * (n_settings - 2))
    spread_P = (lines_PxS**2).sum(axis=1) / (n_seeds - 1) - cell * (inverse_PxK**2).sum(axis=1)
    seed_sd, slope_sd = np.sqrt(np.maximum(spread_P, 0.0))
    return Noise(float(seed_sd), float(slope_sd), float(np.sqrt(cell)))


def read(workdir: Path, ability: str | None = None, metric: str | None = None) -> Reading:
    """Reads a study's noise.

    Args:
      workdir: the work directory of a finished study.
      ability: such as 'facts/iid'; the study's first by default.
      metric: such as 'fisher_trace'; the ability's first by default. Of several strata the first is read.

    Raises:
      UserError: a file, the ability or the metric is missing, a file is malformed, or too few cells are left.
    """
    document, rows = _files(workdir)
    try:
        found = _read(workdir, document, rows, ability, metric)
        sizes = (found.neutral, found.trivial, found.alpha, found.delta_share, *dataclasses.astuple(found.noise))
        if not (all(map(math.isfinite, sizes)) and 0 < found.alpha < 1 and found.delta_share > 0):
            raise ValueError
    except UserError:
        raise
    except MALFORMED:
        raise UserError(
            f"--workdir={workdir}: verdicts.json and results.csv there do not belong together, or are not laid out as"
            " docs/verdicts.md says; rerun the study's command."
        ) from None
    return found


def _read(
    workdir: Path, document: dict[str, Any], rows: list[dict[str, str]], ability: str | None, metric: str | None
) -> Reading:
    if document["knob"].get("kind") == CATEGORICAL:
        raise UserError(
            f"--workdir={workdir}: the values of {document['knob']['name']} have no order, so that there is no noise"
            " along a knob; name a study of a knob with numbers."
        )
    found = _find(document["claims"], "ability", ability, "--ability")
    one = _find(found, "metric", metric, "--metric")[0]
    names = (f"{one['ability']}/exact", f"{one['place']}/{one['metric']}")
    knob_K, ability_SxK, metric_SxK = _tables(workdir, rows, document, one["stratum"], names)
    u_K = np.abs(knob_K - document["knob"]["neutral"])
    u_K, order = np.sort(u_K) / u_K.max(), np.argsort(u_K)
    metric_SxK = one["sign"] * metric_SxK[:, order]
    gain = float(np.polyfit(u_K, metric_SxK.mean(axis=0), 1)[0])
    if gain <= 0:
        raise UserError(
            f"--metric={one['metric']} does not gain along {document['knob']['name']} in this study, so its noise has"
            f" no unit here; name another with --metric."
        )
    return Reading(
        ability=one["ability"],
        metric=one["metric"],
        noise=estimate(u_K, ability_SxK[:, order]),
        metric_noise=estimate(u_K, metric_SxK / gain),
        neutral=float(ability_SxK[:, order[0]].mean()),  # of the cells that the noise is of: none of them diverged
        trivial=one["trivial"],
        alpha=document["alpha"],
        delta_share=document["delta"],
        n_seeds=len(ability_SxK),
        n_settings=len(u_K),
    )


def _files(workdir: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """verdicts.json, and the rows of results.csv at the study's last step."""
    try:
        document = read_document(workdir / "verdicts.json")
        if document.get("kind") == ASSOCIATION:
            raise UserError(
                f"--workdir={workdir}: its claim is an association over a whole grid, so that there is no noise along a"
                " knob; name a study of a knob with numbers."
            )
        with (workdir / "results.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["step"]) == document["step"]]
        if not document["claims"] or not rows:
            raise ValueError("nothing in it")
    except UserError:
        raise
    except (OSError, DamagedFile, csv.Error, *MALFORMED) as error:
        raise UserError(
            f"--workdir={workdir}: verdicts.json and results.csv of a finished study cannot be read there"
            f" ({type(error).__name__}); name its work directory, such as --workdir=runs/pruning."
        ) from None
    return document, rows


def _find(claims: list[dict[str, Any]], field: str, wanted: str | None, flag: str) -> list[dict[str, Any]]:
    """The claims whose `field` is `wanted`, the first one's by default."""
    wanted = str(claims[0][field]) if wanted is None else wanted
    found = [one for one in claims if one[field] == wanted]
    if not found:
        raise UserError(
            f"{flag}={wanted} is not among the study's claims. {nearest(wanted, {c[field] for c in claims})}"
        )
    return found


def _tables(
    workdir: Path, rows: list[dict[str, str]], document: dict[str, Any], stratum: dict[str, Any], names: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Knob values [K] and the two columns [S, K], without the settings and then the seeds that lack cells."""
    knob = document["knob"]["name"]
    inside = rows
    for name, value in stratum.items():
        if name == SIDE:
            neutral, way = document["knob"]["neutral"], -1 if value == BELOW else 1
            inside = [row for row in inside if way * (float(row[knob]) - neutral) >= 0]
            continue
        texts = _texts_of(value, {row[name] for row in rows})
        if len(texts) != 1:
            found = " and ".join(sorted(texts)) or "none like it"
            raise UserError(
                f"--workdir={workdir}: for {name} = {exact(value)} of verdicts.json results.csv has {found}; rerun the"
                " study's command, which writes both again."
            )
        inside = [row for row in inside if row[name] in texts]
    knob_K = np.unique([float(row[knob]) for row in inside])
    seed_S = np.unique([int(row["seed"]) for row in inside])
    both_2xSxK = np.full((2, len(seed_S), len(knob_K)), np.nan)
    for row in inside:
        if not row["diverged_at"]:
            at = np.searchsorted(seed_S, int(row["seed"])), np.searchsorted(knob_K, float(row[knob]))
            both_2xSxK[:, at[0], at[1]] = [float(row[name] or "nan") for name in names]
    there_SxK = np.isfinite(both_2xSxK[0]) & np.isfinite(both_2xSxK[1])
    kept_K = there_SxK.mean(axis=0) > 0.5
    kept_S = there_SxK[:, kept_K].all(axis=1)
    if kept_S.sum() < 2 or kept_K.sum() < 3:
        raise UserError(
            f"--workdir={workdir}: noise needs 2 seeds at 3 settings without missing cells, this study leaves"
            f" {kept_S.sum()} at {kept_K.sum()}; leave --workdir out or name a larger study."
        )
    return knob_K[kept_K], *both_2xSxK[:, kept_S][:, :, kept_K]


def _texts_of(value: Any, texts: set[str]) -> set[str]:
    """What results.csv says for a value of verdicts.json; earlier versions rounded both to seven digits."""
    if isinstance(value, str):
        return texts & {value}
    same = {text for text in texts if float(text) == float(value)}
    return same or {t for t in texts if meant(t, [float(value)]) or meant(exact(value), [float(t)])}
