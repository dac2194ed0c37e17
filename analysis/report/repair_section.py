"""What a report says and shows of the interventions that were run: table, sentences and figure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis.plots.recorded_figure import Panel, Picture, panels, styled
from analysis.plots.style import BAND_TINT, BLACK, BLUE, GREY, VERMILLION
from analysis.report import wording
from analysis.results import recovery_record
from analysis.results.recovery_record import KINDS, UNCHANGED, Outcome
from analysis.results.table import Results
from analysis.stats import summaries

TITLE = "What repairs it"
CAPTION = (
    "Where each arm ends (IQM over seeds with its 95% interval), from the same checkpoints, after equally many steps."
    " Grey band: neutral cells that went on as long, ± δ. Dashed: the checkpoint that all arms go on from."
)
COLUMNS = {
    "ability": "ability",
    "at": "from",
    "arm": "arm",
    "lost": "lost",
    "recovered": "recovered [95%]",
    "share": "share",
    "outcome": "shown to recover",
    "p": "p of half",
}
MARKS = {"all of it": "✓", "at least half": "✓", "worse than unchanged": "✗", "some of it": "~", "less than half": "–"}


def chosen(results: Results, stratum: dict[str, Any]) -> list[Outcome]:
    """A stratum's outcomes, ability by ability."""
    return [one for one in results.repairs.outcomes if one.stratum == stratum] if results.repairs else []


def rows(results: Results, stratum: dict[str, Any] | None = None) -> Iterator[dict[str, str]]:
    """A row for each ability and arm, all strata together where none is named."""
    study, words = results.study, wording.phrase(results.study.claim.knob)
    found = results.repairs.outcomes if results.repairs and stratum is None else chosen(results, stratum or {})
    for one in found:
        low, high = one.interval
        kind = one.kind(study.claim.alpha)
        told = "".join(f" [{k}={v}]" for k, v in one.stratum.items()) if stratum is None else ""
        yield {
            "ability": f"{one.label}/{one.split}{told}",
            "at": words.short(one.setting),
            "arm": one.arm,
            "lost": wording.number(float(np.mean(one.lost_S)), ".3f"),
            "recovered": f"{np.mean(one.recovered_S):.3f} [{low:.3f}, {high:.3f}]",
            "share": _share(one, study.claim.alpha) or "—",
            "outcome": f"{MARKS.get(kind, '·')} {kind}",
            "p": "—" if kind == "nothing left" else wording.number(one.p("half"), ".3f"),
        }


def sentences(results: Results, stratum: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(ability, what was recovered, what was not)."""
    study, words = results.study, wording.phrase(results.study.claim.knob)
    found = chosen(results, stratum)
    for label, split in dict.fromkeys((one.label, one.split) for one in found):
        mine = [one for one in found if (one.label, one.split) == (label, split)]
        kinds = {one.arm: one.kind(study.claim.alpha) for one in mine}
        first = mine[0]
        lost = float(np.mean(first.neutral_before) - np.mean(first.before))
        parts = [f"{words.setting(first.setting)} had cost {lost:.3f}."]
        for kind in KINDS:
            arms = [_arm(one, study.claim.alpha) for one in mine if kinds[one.arm] == kind]
            if arms:
                parts.append(f"{kind.capitalize()}: {wording.listed(arms)}.")
        yield f"{label}/{split}", " ".join(parts)


def second_routes(results: Results, stratum: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(ability, what it did where an arm moved a claimed metric as claimed while the knob stood still)."""
    words, alpha = wording.phrase(results.study.claim.knob), results.study.claim.alpha
    for one in chosen(results, stratum):
        for route in recovery_record.routes(one, alpha):
            yield (
                f"{route.label}/{route.split}",
                f"At {words.setting(route.setting)} `{route.arm}` moves {route.metric} as claimed, by"
                f" {abs(route.gain):.3g}; the ability changes by {route.change:+.3f} (p {route.p:.3g}):"
                f" {recovery_record.TOLD[route.told]}.",
            )


def headline(results: Results, stratum: dict[str, Any]) -> list[str]:
    """One sentence for the top of the report: what brought back at least half; empty where no arm was run."""
    found, alpha = chosen(results, stratum), results.study.claim.alpha
    told = []
    for label, split in dict.fromkeys((one.label, one.split) for one in found):
        mine = [one for one in found if (one.label, one.split) == (label, split)]
        arms = [_arm(one, alpha) for one in mine if one.kind(alpha) in ("all of it", "at least half")]
        told.append(
            f"{label}/{split} by {wording.listed(arms)}" if arms else f"{label}/{split} by nothing that was tried"
        )
    steps = results.repairs.steps if results.repairs else 0
    return [f"Repaired, at least by half, in {steps} further steps: {'; '.join(told)}."] if told else []


def _share(one: Outcome, alpha: float) -> str:
    """What was recovered of what was lost; empty where nothing is shown to be lost."""
    return f"{100 * one.share:.0f}%" if one.p("lacks") <= alpha else ""


def _arm(one: Outcome, alpha: float) -> str:
    share = _share(one, alpha)
    return f"`{one.arm}` ({share})" if share else f"`{one.arm}`"


def about(results: Results) -> list[tuple[str, str]]:
    """(arm, what it does)."""
    return list(results.repairs.arms.items()) if results.repairs else []


@styled
def figure(results: Results, stratum: dict[str, Any]) -> Picture:
    """Where every arm ends, a panel for each ability."""
    found, words = chosen(results, stratum), wording.phrase(results.study.claim.knob)
    abilities = list(dict.fromkeys((one.label, one.split) for one in found))
    arms = list(dict.fromkeys(one.arm for one in found))
    drawn, axes = panels(1, len(abilities), 0.32 * len(arms) + 0.75, sharey=True)
    for ax, (label, split) in zip(axes[0], abilities, strict=True):
        mine = {one.arm: one for one in found if (one.label, one.split) == (label, split)}
        reference = mine[UNCHANGED]
        neutral = float(np.mean(reference.neutral_after))
        panel, before = drawn.panel(ax, f"{label}/{split}"), float(np.mean(reference.before))
        low, high = neutral - reference.delta, neutral + reference.delta
        ax.axvspan(low, high, color=BAND_TINT, linewidth=0)
        panel.note("neutral ± δ", x=neutral, x_low=low, x_high=high)
        ax.axvline(before, color=GREY, linestyle="--", linewidth=0.9)
        panel.note("before", x=before)
        for row, arm in enumerate(arms):
            if arm in mine:
                _point(panel, row, mine[arm], mine[arm].kind(results.study.claim.alpha))
        ax.set_title(f"{label}/{split}, from {words.short(reference.setting)}", fontsize=8.5, loc="left")
        ax.set_xlim(-0.03, 1.03)
    axes[0][0].set_yticks(range(len(arms)))
    axes[0][0].set_yticklabels(arms)
    axes[0][0].set_ylim(len(arms) - 0.5, -0.5)
    drawn.figure.supxlabel("exact accuracy", fontsize=8)
    return drawn


def _point(panel: Panel, row: int, one: Outcome, kind: str) -> None:
    """Seeds as dots, their IQM and its interval; the colour says what is shown."""
    after_Sx1 = np.asarray(one.after)[:, None]
    (low,), (high,) = summaries.interval(after_Sx1)
    colour = BLUE if kind in ("all of it", "at least half") else VERMILLION if kind == "worse than unchanged" else BLACK
    ax, iqm = panel.ax, float(summaries.iqm(after_Sx1)[0])
    panel.note(one.arm, x=iqm, x_low=low, x_high=high)
    panel.notes(f"{one.arm}, a seed", x=one.after)
    ax.plot(one.after, [row + 0.22] * len(one.after), "o", color=colour, markersize=2.2, alpha=0.45, linewidth=0)
    ax.plot((low, high), (row, row), color=colour, linewidth=1.6, solid_capstyle="butt")
    ax.plot(iqm, row, "o", color=colour, markersize=4.5)
