"""What a report says and shows of a repair: table, sentences and figure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis.diagnosis import Findings
from analysis.plots.recorded_figure import Panel, Picture, panels, styled
from analysis.plots.style import BAND_TINT, BLACK, BLUE, GREY, VERMILLION
from analysis.report import names, wording
from analysis.results import recovery_record
from analysis.results.recovery_record import KINDS, UNCHANGED, Outcome
from analysis.stats import summaries

TITLE = "What repairs it"
CAPTION = (
    "Where each arm ends (IQM over seeds with its 95% interval), from the same checkpoints, after equally many steps."
    " Grey band: neutral cells trained further for as long, ± δ. Dashed: the checkpoint that all arms start from."
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


def section(findings: Findings) -> dict[str, Any]:
    """What the templates print of a stratum's repairs; empty where no arm was run."""
    record = findings.records.repairs
    if record is None or not record.outcomes:
        return {}
    return {
        "title": TITLE,
        "steps": record.steps,
        "arms": list(record.arms.items()),
        "sentences": list(sentences(findings)),
        "routes": list(second_routes(findings)),
        "columns": COLUMNS,
        "rows": list(rows(findings)),
        "kinds": list(KINDS.items()),
    }


def rows(findings: Findings) -> Iterator[dict[str, str]]:
    """A row for each ability and arm; of all strata together, each ability with its stratum."""
    alpha, words = findings.study.claim.alpha, wording.phrase(findings.study)
    for one in findings.repairs:
        low, high = one.interval
        kind = one.kind(alpha)
        stratum = (
            f" [{wording.stratum_text(findings.study, one.stratum)}]"
            if one.stratum and findings.stratum is None
            else ""
        )
        yield {
            "ability": f"{_name(findings, one)}{stratum}",
            "at": words.short(one.setting),
            "arm": one.arm,
            "lost": wording.number(float(np.mean(one.lost_S)), ".3f"),
            "recovered": f"{np.mean(one.recovered_S):.3f} [{low:.3f}, {high:.3f}]",
            "share": _share(one, alpha) or "—",
            "outcome": f"{MARKS.get(kind, '·')} {kind}",
            "p": "—" if kind == "nothing left" else wording.number(one.p("half"), ".3f"),
        }


def _by_ability(findings: Findings) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for one in findings.repairs:
        found.setdefault(f"{one.label}/{one.split}", []).append(one)
    return found


def _name(findings: Findings, one: Outcome) -> str:
    return names.ability(findings.study, one.label, one.split)


def sentences(findings: Findings) -> Iterator[tuple[str, str]]:
    """(ability, what was lost and what each arm recovered of it)."""
    alpha, words = findings.study.claim.alpha, wording.phrase(findings.study)
    for mine in _by_ability(findings).values():
        first = mine[0]
        lost = float(np.mean(first.neutral_before) - np.mean(first.before))
        parts = [f"{words.setting(first.setting)} had cost {lost:.3f}."]
        for kind in KINDS:
            arms = [_arm(one, alpha) for one in mine if one.kind(alpha) == kind]
            if arms:
                parts.append(f"{kind.capitalize()}: {wording.listed(arms)}.")
        yield _name(findings, first), " ".join(parts)


def second_routes(findings: Findings) -> Iterator[tuple[str, str]]:
    """(ability, its response where an arm moved a claimed metric as claimed while the knob stood still)."""
    words, alpha = wording.phrase(findings.study), findings.study.claim.alpha
    for one in findings.repairs:
        for route in recovery_record.routes(one, alpha):
            yield (
                _name(findings, one),
                f"At {words.setting(route.setting)} `{route.arm}` moves {names.metric(route.metric)} as claimed, by"
                f" {abs(route.gain):.3g}; the ability changes by {route.change:+.3f} (p {route.p:.3g}):"
                f" {recovery_record.RESPONSES[route.response]}.",
            )


def headline(findings: Findings) -> list[str]:
    """One sentence for the top of the report: what brought back at least half; empty where no arm was run."""
    alpha, repaired, record = findings.study.claim.alpha, [], findings.records.repairs
    for mine in _by_ability(findings).values():
        ability = _name(findings, mine[0])
        arms = [_arm(one, alpha) for one in mine if one.kind(alpha) in ("all of it", "at least half")]
        repaired.append(f"{ability} by {wording.listed(arms)}" if arms else f"{ability} by nothing that was tried")
    if record is None or not repaired:
        return []
    return [f"Repaired, at least by half, in {record.steps} further steps: {'; '.join(repaired)}."]


def _share(one: Outcome, alpha: float) -> str:
    """What was recovered of what was lost; empty where nothing is shown to be lost."""
    return f"{100 * one.share:.0f}%" if one.p("lacks") <= alpha else ""


def _arm(one: Outcome, alpha: float) -> str:
    share = _share(one, alpha)
    return f"`{one.arm}` ({share})" if share else f"`{one.arm}`"


@styled
def figure(findings: Findings) -> Picture:
    """Where every arm ends, a panel for each ability of a stratum."""
    alpha, words = findings.study.claim.alpha, wording.phrase(findings.study)
    abilities = _by_ability(findings)
    arms = list(dict.fromkeys(one.arm for one in findings.repairs))
    drawn, axes = panels(1, len(abilities), 0.32 * len(arms) + 0.75, sharey=True)
    for ax, (ability, outcomes) in zip(axes[0], abilities.items(), strict=True):
        mine = {one.arm: one for one in outcomes}
        reference = mine[UNCHANGED]
        neutral = float(np.mean(reference.neutral_after))
        panel, before = drawn.panel(ax, ability), float(np.mean(reference.before))
        low, high = neutral - reference.delta, neutral + reference.delta
        ax.axvspan(low, high, color=BAND_TINT, linewidth=0)
        panel.note("neutral ± δ", x=neutral, x_low=low, x_high=high)
        ax.axvline(before, color=GREY, linestyle="--", linewidth=0.9)
        panel.note("before", x=before)
        for row, arm in enumerate(arms):
            if arm in mine:
                _point(panel, row, mine[arm], mine[arm].kind(alpha))
        ax.set_title(f"{_name(findings, reference)}, from {words.short(reference.setting)}", fontsize=8.5, loc="left")
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
    panel.hover(iqm, row, f"{one.arm}: {iqm:.3f} [{low:.3f}, {high:.3f}], {kind}")
