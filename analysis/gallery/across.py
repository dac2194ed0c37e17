"""What all studies of the gallery say together: which latent metrics, where they improve, go with ability.

The unit is a study: within one, settings of a knob share seeds and neutral cells. A share is taken in each study and
averaged over studies, so that a large grid counts no more than a small one; intervals resample studies.

Shape letters: N studies, O outcomes.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from analysis.gallery.kept import Kept
from analysis.plots.recorded_figure import Picture, panels, styled
from analysis.plots.style import BAND_TINT, BLACK, BLUE_TINT, GREY, STRONG, WHITE
from analysis.report import names
from analysis.stats import SettingMap
from analysis.verdicts import Judged

OUTCOMES: tuple[str, ...] = ("better", "kept", "undecided", "lost")
COLOURS = {"better": BLUE_TINT, "kept": BAND_TINT, "undecided": WHITE, "lost": STRONG}
LEAST_STUDIES = 5  # fewer are counted, and given no interval
DRAWS, LEVEL = 10_000, 0.95


@dataclass(frozen=True)
class MetricRow:
    """A latent metric where it is shown to move as claimed.

    Attributes:
      metric: its name, with an arrow for the claimed direction.
      studies: that claim it; of `gaining` of them some claim shows the gain somewhere.
      settings: claim × setting pairs with the gain shown.
      share_O: of these, by outcome of the ability, the mean over gaining studies.
      interval_O: [2, O], of 95%, by resampling studies; NaN with fewer than `LEAST_STUDIES`.
      lost_elsewhere: share of settings lost where no gain is shown, the mean over the same studies; NaN where all gain.
    """

    metric: str
    studies: int
    gaining: int
    settings: int
    share_O: np.ndarray
    interval_O: np.ndarray
    lost_elsewhere: float


def outcome(found: SettingMap, k: int) -> str:
    """What is shown of the ability at one setting, one of `OUTCOMES`."""
    for name, statement in (("lost", "harmed"), ("better", "better"), ("kept", "free")):
        if found.shown(statement)[k]:
            return name
    return "undecided"


def by_metric(studies: Sequence[Kept]) -> list[MetricRow]:
    """A row for each claimed metric and direction, the most often gaining first, then one for all metrics."""
    gained: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    elsewhere: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    claiming: dict[str, set[str]] = defaultdict(set)
    for kept in studies:
        study = kept.run.study
        for one in _learned(kept.findings.claims):
            for name in (_called(one), ALL):
                claiming[name].add(study)
                for k in range(1, len(one.map.knob_K)):
                    if one.map.shown("gain")[k]:
                        gained[name][study][outcome(one.map, k)] += 1
                    else:
                        elsewhere[name][study].append(bool(one.map.shown("harmed")[k]))
    rows = [_row(name, len(claiming[name]), gained[name], elsewhere[name]) for name in claiming]
    return sorted(rows, key=lambda row: (row.metric == ALL, -row.gaining, -row.settings, row.metric))


ALL = "any claimed metric"
COMPARE = ("_to_neutral", "_between_seeds")  # ends of metrics of two cells, of which neither direction is better


def _learned(claims: Iterable[Judged]) -> list[Judged]:
    """Claims that count: the ability was learned, and the metric is one of a single cell."""
    return [
        one
        for one in claims
        if one.verdict.kind != "not learned" and one.map.testable and not one.metric.endswith(COMPARE)
    ]


def _called(one: Judged) -> str:
    return f"{names.metric(one.metric)} {'↑' if one.sign > 0 else '↓'}"


def _row(
    name: str, claiming: int, gained: Mapping[str, Counter[str]], elsewhere: Mapping[str, list[bool]]
) -> MetricRow:
    counts_NxO = np.asarray([[one[name] for name in OUTCOMES] for one in gained.values()], float).reshape(
        -1, len(OUTCOMES)
    )
    share_NxO = counts_NxO / counts_NxO.sum(axis=1, keepdims=True)
    others = [float(np.mean(elsewhere[study])) for study in gained if elsewhere.get(study)]
    return MetricRow(
        name,
        claiming,
        len(gained),
        int(counts_NxO.sum()),
        share_NxO.mean(axis=0) if len(share_NxO) else np.full(len(OUTCOMES), np.nan),
        interval(share_NxO),
        float(np.mean(others)) if others else float("nan"),
    )


def interval(share_NxO: np.ndarray, seed: int = 0) -> np.ndarray:
    """[2, O]: the percentile interval of the mean over studies, which are resampled (Efron & Tibshirani 1993)."""
    if len(share_NxO) < LEAST_STUDIES:
        return np.full((2, share_NxO.shape[1]), np.nan)
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(share_NxO), size=(DRAWS, len(share_NxO)))
    ends = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
    return np.percentile(share_NxO[picks].mean(axis=1), ends, axis=0)


@dataclass(frozen=True)
class Contradiction:
    """Two metrics of one study that move apart at some setting: one as claimed, the other against its claim."""

    one: str
    other: str
    studies: int
    settings: int
    of_settings: int


def contradictions(studies: Sequence[Kept]) -> list[Contradiction]:
    """Pairs of metrics claimed of one ability; of the settings where both are shown to move, those where they part."""
    apart: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    moving: Counter[tuple[str, str]] = Counter()
    for kept in studies:
        groups: dict[tuple[str, str, str], list[Judged]] = defaultdict(list)
        for one in kept.findings.claims:
            groups[one.label, one.split, str(one.stratum)].append(one)
        # Abilities of one task share its metrics, so that a place and a setting count once.
        seen: dict[tuple[str, str], dict[tuple[str, str, float], bool]] = defaultdict(dict)
        for group in groups.values():
            for one, other in combinations(sorted(group, key=_called), 2):
                if _called(one) != _called(other):
                    where = f"{one.site} {other.site}", str(one.stratum)
                    parted = _parted(one.map, other.map)
                    seen[_called(one), _called(other)] |= {
                        (*where, value): they_part for value, they_part in parted.items()
                    }
        for pair, settings in seen.items():
            moving[pair] += len(settings)
            if any(settings.values()):
                apart[pair][kept.run.study] += sum(settings.values())
    rows = [Contradiction(*pair, len(found), found.total(), moving[pair]) for pair, found in apart.items()]
    return sorted(rows, key=lambda row: (-row.studies, -row.settings, row.one, row.other))


def _parted(one: SettingMap, other: SettingMap) -> dict[float, bool]:
    """Settings at which both metrics are shown to move, and whether one gains where the other moves against."""
    at = {float(value): k for k, value in enumerate(other.knob_K)}
    found = {}
    for k, value in enumerate(map(float, one.knob_K)):
        if k == 0 or value not in at:
            continue
        up, down = one.shown("gain")[k], one.shown("against")[k]
        other_up, other_down = other.shown("gain")[at[value]], other.shown("against")[at[value]]
        if (up or down) and (other_up or other_down):
            found[value] = bool((up and other_down) or (down and other_up))
    return found


def verdict_counts(studies: Sequence[Kept]) -> Counter[str]:
    """How many claims have each verdict; of an association, its own kinds."""
    return Counter(
        kind
        for kept in studies
        for kind in (
            *(one.verdict.kind for one in kept.findings.claims),
            *(one.found.kind for one in kept.findings.associations),
        )
    )


def labels(studies: Sequence[Kept]) -> list[tuple[str, int, int, int]]:
    """(cause, abilities of which it is shown, those it is suspected of, studies), as the studies themselves said."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    where: dict[str, set[str]] = defaultdict(set)
    for kept in studies:
        for one in kept.verdicts.get("labels", ()):
            if one["status"] in ("holds", "suspected"):
                found[one["name"]][one["status"]] += 1
                where[one["name"]].add(kept.run.study)
    rows = [(name, each["holds"], each["suspected"], len(where[name])) for name, each in found.items()]
    return sorted(rows, key=lambda row: (-row[1], -row[2], row[0]))


def repairs(studies: Sequence[Kept]) -> list[tuple[str, int, int, int, int]]:
    """(arm, losses on which it was tried, of which at least half is shown to come back, worse than training on, other).

    Other: less than half is shown to come back, or nothing is shown, or training on left nothing to bring back.
    """
    tried: dict[str, Counter[str]] = defaultdict(Counter)
    for kept in studies:
        for one in kept.verdicts.get("repairs", ()):
            tried[one["about"]][one["outcome"]] += 1
    rows = []
    for about, each in tried.items():
        half, worse = each["all of it"] + each["at least half"], each["worse than unchanged"]
        rows.append((about, each.total(), half, worse, each.total() - half - worse))
    return sorted(rows, key=lambda row: (-row[2], -row[1], row[0]))


def to_csv(rows: Sequence[MetricRow]) -> str:
    """The table of `by_metric` as text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    shares = [text for name in OUTCOMES for text in (name, f"{name}_low", f"{name}_high")]
    writer.writerow(["metric", "studies", "gaining_studies", "settings", *shares, "lost_where_no_gain"])
    for row in rows:
        numbers = [
            value
            for o in range(len(OUTCOMES))
            for value in (row.share_O[o], row.interval_O[0, o], row.interval_O[1, o])
        ]
        texts = ["" if np.isnan(value) else f"{value:.4f}" for value in (*numbers, row.lost_elsewhere)]
        writer.writerow([row.metric, row.studies, row.gaining, row.settings, *texts])
    return out.getvalue()


@styled
def draw(rows: Sequence[MetricRow]) -> Picture:
    """A bar a metric: what is shown of the ability where the metric is shown to improve, the mean over studies."""
    shown = [row for row in rows if row.gaining]
    picture, axes = panels(1, 1, 0.26 * len(shown) + 0.9)
    ax = axes[0, 0]
    panel = picture.panel(ax, "ability where the metric gains")
    for y, row in enumerate(shown):
        left = 0.0
        for o, name in enumerate(OUTCOMES):
            share = float(row.share_O[o])
            ax.barh(y, share, left=left, height=0.78, color=COLOURS[name], edgecolor=GREY, linewidth=0.5,
                    label=name if y == 0 else None)  # fmt: skip
            panel.note(name, x=share)
            left += share
        if np.isfinite(row.lost_elsewhere):
            mark: dict[str, Any] = dict(marker="|", color=BLACK, markersize=10, markeredgewidth=1.6, linestyle="none")
            label = "lost where it does not gain, from the right" if y == len(shown) - 1 else None
            ax.plot(1 - row.lost_elsewhere, y, label=label, **mark)
            panel.note("lost where it does not gain", x=row.lost_elsewhere)
        plural = "study" if row.gaining == 1 else "studies"
        ax.text(1.01, y, f"{row.gaining} {plural}, {row.settings} settings", va="center", fontsize=8, color=BLACK)
    ax.set_yticks(range(len(shown)), [row.metric for row in shown])
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of the settings at which the metric is shown to improve, mean over studies")
    ax.spines[:].set_visible(False)
    ax.tick_params(axis="y", length=0)
    picture.figure.legend(loc="outside lower left", ncols=5, fontsize=8, handlelength=1.4)
    return picture
