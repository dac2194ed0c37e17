"""What activation edits showed, for a person: a table, a figure, CSV. docs/activation_edits.md explains them.

Shape letters: C cells, S seeds, K settings of the claim's knob.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.causal.activation_edits import Cut
from analysis.design import names_of, neutral_value, strata
from analysis.plots import Picture, panels, style, styled
from analysis.results import Curve, Results, curve
from analysis.stats import sign_flip_p, summaries, without_rounding
from lab.study.spec import Study
from lab.values import rounded

Bases = dict[int, dict[str, dict[str, float]]]  # cell -> basis -> metric -> reading


@dataclass(frozen=True)
class EditEffects:
    """The effects of activation edits at one place.

    Attributes:
      cut: where, and by which factor.
      readings: name -> float64[C], see `analysis.causal.activation_edits.edit_effects`.
      bases: of the neutral cells, see `analysis.causal.activation_edits.reparametrize`.
    """

    cut: Cut
    readings: dict[str, np.ndarray]
    bases: Bases

    def curve(self, study: Study, stratum: dict[str, Any], name: str, less: str = "") -> Curve:
        """A reading over seeds and the claim's knob; with `less`, how much it exceeds that one in the same cell."""
        values_C = self.readings[name] - (self.readings[less] if less else 0.0)
        last = study.stages[-1].end
        stand_in = Results(study, np.asarray([last]), ("",), {}, np.full(len(study.cells), -1), ())
        return curve(stand_in, stratum, values_C[:, None])

    def harm(self, study: Study, stratum: dict[str, Any]) -> Curve:
        """Exact answers lost to the factor's subspace beyond those lost to a random one."""
        return self.curve(study, stratum, "remove/random/exact", "remove/factor/exact")

    def lead(self, study: Study, stratum: dict[str, Any]) -> Curve:
        """Answers that follow the factor's subspace beyond those that follow a random one."""
        return self.curve(study, stratum, "swap/factor/follows", "swap/random/follows")


HEAD = (
    f"{'':12s} | {'exact without':24s}| {'probe without':18s}| {'lost with it, beyond random':34s}| follows a swap of",
    f"{'setting':>12s} | {'nothing fact. rand. mat.':24s}| {'nothing fact. mat.':18s}| {'mean, 95%':27s}{'p':7s}"
    "| fact. rand. whole     p",
)


def table(study: Study, effects: EditEffects) -> str:
    """What was found at one place, a line for each setting, then what the metrics read in other bases."""
    cut, lines = effects.cut, []
    dimension, width = np.nanmax([*effects.readings["dimension"], 0]), study.size_text("width")
    for stratum in strata(study):
        what = f"factor {cut.use.factor}, {dimension:g} of {width} dimensions{_stratum_text(stratum)}"
        lines += [f"{cut.place}: {what}; settings of {study.claim.knob}", *HEAD]
        lines += _settings(study, effects, stratum)
    if np.nan_to_num(effects.readings["swap/pairs"]).max() == 0:
        lines.append(f"No swaps: the answer at '{cut.place.read}' is no function of {cut.use.factor} alone.")
    return "\n".join([*lines, *_spans(effects.bases)])


def _settings(study: Study, effects: EditEffects, stratum: dict[str, Any]) -> list[str]:
    """The table's lines of one stratum: interquartile means over seeds."""

    def columns(name: str, kinds: Sequence[str]) -> np.ndarray:
        found = [summaries.iqm(effects.curve(study, stratum, name.format(kind)).values_SxK) for kind in kinds]
        return np.stack(found, axis=1)

    exact_KxE = columns("remove/{}/exact", ("none", "factor", "random", "matched"))
    probe_KxE = columns("remove/{}/probe", ("none", "factor", "matched"))
    follows_KxE = columns("swap/{}/follows", ("factor", "random", "whole"))
    harm, lead = effects.harm(study, stratum), effects.lead(study, stratum)
    middle_K, (low_K, high_K) = summaries.iqm(harm.values_SxK), summaries.interval(harm.values_SxK)
    harm_p, lead_p, names = paired_p(harm), paired_p(lead), names_of(study, harm.knob_K) or rounded(harm.knob_K, 4)
    return [
        f"{setting:>12s} |  {_numbers(exact_KxE[k])} |  {_numbers(probe_KxE[k])} |"
        f" {_numbers([middle_K[k]])} ({_numbers([low_K[k]])} to {_numbers([high_K[k]])}) {harm_p[k]:9.3f} |"
        f" {_numbers(follows_KxE[k])} {lead_p[k]:6.3f}"
        for k, setting in enumerate(names)
    ]


def _spans(bases: Bases) -> list[str]:
    """A line for each metric that other bases of the same function move, medians over the neutral cells."""
    if not bases:
        return []
    one = next(iter(bases.values()))
    median = {b: {m: float(np.median([cell[b][m] for cell in bases.values()])) for m in one[b]} for b in one}
    moved = max(cell[b]["output"] for cell in bases.values() for b in one)
    lines = [f"The same function in other bases (neutral cells; outputs move by {moved:.1g} of their size at most):"]
    for metric in (m for m in one["none"] if m != "output"):
        low, high = (pick(median, key=lambda b, m=metric: median[b][m]) for pick in (min, max))
        as_is, ends = median["none"][metric], (median[low][metric], median[high][metric])
        still = ends[1] - ends[0] <= 0.01 * max(abs(as_is), 1e-9)
        moves = "the same" if still else f"{ends[0]:.3g} ({low}) to {ends[1]:.3g} ({high})"
        lines.append(f"  {metric:22s} {as_is:8.3g}  {moves}")
    return lines


def paired_p(one: Curve) -> np.ndarray:
    """float64[K]: sign-flip p-values that the mean over seeds is above 0, corrected for the number of settings."""
    return sign_flip_p(without_rounding(one.values_SxK))


def _numbers(values: Any) -> str:
    """Five characters each."""
    return " ".join("    -" if np.isnan(value) else f"{value:5.2f}" for value in values)


def _stratum_text(stratum: dict[str, Any]) -> str:
    return "".join(f", {name}={value}" for name, value in stratum.items())


@styled
def figure(study: Study, effects: Sequence[EditEffects]) -> Picture:
    """A row for each place and stratum: exact answers without a subspace, and answers that follow a swap of one."""
    rows = [(one, stratum) for one in effects for stratum in strata(study)]
    drawn, axes = panels(len(rows), 2, 2.3)
    for (one, stratum), (left, right) in zip(rows, axes, strict=True):
        factor = one.cut.use.factor
        removed = {"nothing": "none", factor: "factor", "random": "random", "random, as much variance": "matched"}
        swapped = {factor: "factor", "random": "random", "the whole vector": "whole"}
        for ax, kinds, name in ((left, removed, "remove/{}/exact"), (right, swapped, "swap/{}/follows")):
            for label, kind in kinds.items():
                _line(ax, study, one.curve(study, stratum, name.format(kind)), kind, label)
            ax.set_ylim(-0.03, 1.03)
            ax.legend(loc="best")
        left.set_ylabel("share of examples")
        left.set_title(f"{one.cut.place}{_stratum_text(stratum)}: exact without")
        right.set_title("follows the donor when swapped")
    return drawn


LINES = {
    "none": (style.BLACK, "-"),
    "whole": (style.BLACK, ":"),
    "factor": (style.VERMILLION, "-"),
    "random": (style.BLUE, "--"),
    "matched": (style.GREY, ":"),
}


def _line(ax: Axes, study: Study, found: Curve, kind: str, label: str) -> None:
    axis = style.KnobAxis(study.claim.knob, found.knob_K, neutral_value(study), names_of(study, found.knob_K))
    (colour, dashes), (low_K, high_K) = LINES[kind], summaries.interval(found.values_SxK)
    ax.fill_between(axis.at_K, low_K, high_K, color=colour, alpha=0.15, linewidth=0)
    middle_K = summaries.iqm(found.values_SxK)
    ax.plot(axis.at_K, middle_K, color=colour, linestyle=dashes, marker="o", markersize=3, label=label)
    axis.dress(ax)


def to_csv(study: Study, effects: Sequence[EditEffects]) -> str:
    """A row for each place and cell: the axes' knobs, then every reading; empty where there is none."""
    axes = [axis.knob for axis in study.axes]
    names = list(dict.fromkeys(name for one in effects for name in one.readings))
    rows = [
        [*_where(one), study.key(cell, len(study.stages) - 1), *(cell[knob] for knob in axes)]
        + [_text(one.readings[name][i]) for name in names]
        for one in effects
        for i, cell in enumerate(study.cells)
    ]
    return _csv(["label", "layer", "read", "factor", "cell", *axes, *names], rows)


def bases_csv(study: Study, effects: Sequence[EditEffects]) -> str:
    """A row for each place, neutral cell and basis: every latent metric, and how far outputs moved."""
    axes = [axis.knob for axis in study.axes]
    metrics = list(next((r for one in effects for cell in one.bases.values() for r in cell.values()), {}))
    rows = [
        [*_where(one), *(study.cells[i][knob] for knob in axes), basis, *(_text(readings[m]) for m in metrics)]
        for one in effects
        for i, cell in one.bases.items()
        for basis, readings in cell.items()
    ]
    return _csv(["label", "layer", "read", "factor", *axes, "basis", *metrics], rows)


def _where(one: EditEffects) -> list[Any]:
    return [one.cut.place.label, one.cut.place.layer, one.cut.place.read, one.cut.use.factor]


def _csv(header: list[str], rows: list[list[Any]]) -> str:
    """Settings as Python writes them, next to readings that are texts of six digits."""
    return pd.DataFrame(rows, columns=header, dtype=object).to_csv(index=False, lineterminator="\n")


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
