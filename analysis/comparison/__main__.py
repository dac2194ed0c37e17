"""Several finished studies in one table and one figure: how far each knob is free, where it harms, where gains break.

python -m analysis.comparison runs/pruning runs/width                      prints the table
python -m analysis.comparison runs/pruning runs/width --out=comparison     and writes comparison.md, .csv, .svg
                                                                           and .png there

Reads each work directory's verdicts.json (docs/verdicts.md), so it is quick and needs no device.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.comparison.read import Row, read
from analysis.plots import BLACK, GREY, Picture, panels, style, styled
from analysis.report import wording
from lab.errors import Parser, UserError, command, refusal
from lab.storage import write_atomically
from lab.values import digits_apart, exact, significant

COLUMNS = ("study", "knob", "ability", "at neutral", "free until", "harmful from", "verdicts", "labels")


def texts(row: Row) -> tuple[str, ...]:
    """The row as a person reads it, a text for each of `COLUMNS`; several verdicts are lines of one text."""
    stratum = f" [{wording.settings_text(row.stratum)}]" if row.stratum else ""
    free = "—" if row.free_until is None else _placed(row, row.free_until)
    harmful = "nowhere" if row.harmful_from is None else _placed(row, row.harmful_from)
    if row.free_until == row.axis.neutral:
        free = "neutral only"
    labels = "unknown" if row.labels is None else ", ".join(row.labels) or "—"
    return (
        row.study,
        _span(row),
        f"{row.ability}{stratum}",
        wording.number(row.neutral, ".3f"),
        row.unlearned or free,
        "—" if row.unlearned or row.free_until is None else harmful,
        "\n".join(_verdicts(row)),
        labels,
    )


def _span(row: Row) -> str:
    """'prune.sparsity, 0 to 0.9'."""
    return f"{row.axis.knob}, {_short(row, row.axis.neutral)} to {_short(row, row.far)}"


def _placed(row: Row, value: float) -> str:
    return f"{_short(row, value)} ({row.share(value):.0%})"


def _short(row: Row, value: float) -> str:
    """A knob value in as many digits as tell the study's settings apart."""
    return significant(value, digits_apart(row.axis.value_K))


def _verdicts(row: Row) -> list[str]:
    """'gain, then loss between 4 (50%) and 6 (75%): participation_ratio ↓'; gains of one verdict together."""
    groups: dict[str, list[str]] = {}
    for gain in row.gains:
        between = "" if gain.interval is None else f" between {' and '.join(_placed(row, v) for v in gain.interval)}"
        verdict = f"{wording.MARKS[gain.kind][1]} {gain.kind}{between}"
        groups.setdefault(verdict, []).append(f"{gain.metric} {'↑' if gain.sign > 0 else '↓'}")
    return [f"{verdict}: {', '.join(metrics)}" for verdict, metrics in groups.items()]


NOTE = (
    "Free until and harmful from: shown, with what lies between them unknown. In brackets the share of the knob's range"
    " from neutral (0%) to the far end (100%){even}. At neutral: exact accuracy. ↑ ↓: the claimed direction."
)


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader of the table must know."""
    even = list(dict.fromkeys(row.axis.knob for row in rows if row.axis.even))
    scales = f"; of {wording.listed(even)}, spread over scales, the share of settings" if even else ""
    found = [NOTE.format(even=scales)]
    old = list(dict.fromkeys(row.study for row in rows if row.labels is None))
    if old:
        found.append(f"No labels yet in {wording.listed(old)}: rerunning its command rebuilds its verdicts.json.")
    return found


def table(rows: Sequence[Row]) -> Table:
    """For the terminal: a study's name once, its knob below it."""
    made = Table(show_lines=False)
    for name in COLUMNS:
        if name != "knob":
            made.add_column(name, overflow="fold", no_wrap=name in ("at neutral", "free until", "harmful from"))
    for index, row in enumerate(rows):
        study, knob, *rest = texts(row)
        first, last = index == 0 or rows[index - 1].study != row.study, rows[index + 1 : index + 2]
        cells = [Text(cell) for cell in (f"{study}\n{knob}" if first else "", *rest)]  # brackets are no markup
        made.add_row(*cells, end_section=not last or last[0].study != row.study)
    return made


def to_markdown(rows: Sequence[Row]) -> str:
    """The table and its notes."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"

    named = [(wording.markdown(row.study), *texts(row)[1:]) for row in rows]
    lines = [line(COLUMNS), "|" + "---|" * len(COLUMNS), *map(line, named)]
    return "\n".join([*lines, "", "\n\n".join(notes(rows)), ""])


CSV_COLUMNS = (
    *("study", "knob", "neutral_value", "far_value", "even_spacing", "ability", "stratum", "learned"),
    *("neutral_ability", "trivial", "delta", "shown_free_until", "free_share", "shown_harmful_from", "harmful_share"),
    *("metric", "sign", "verdict", "break_at", "break_share", "break_low", "break_high", "labels"),
)


def to_csv(rows: Sequence[Row]) -> str:
    """A line for each row and gain; empty where there is nothing."""
    lines = []
    for row in rows:
        head = [row.study, row.axis.knob, exact(row.axis.neutral), exact(row.far), int(row.axis.even), row.ability]
        head += [wording.settings_text(row.stratum), row.unlearned or "yes", row.neutral, row.trivial, row.delta]
        for bound in (row.free_until, row.harmful_from):
            head += [None, None] if bound is None else [exact(bound), row.share(bound)]
        labels = "" if row.labels is None else "; ".join(row.labels)
        for gain in row.gains:
            low, high = gain.interval or (None, None)
            share = None if gain.break_at is None else row.share(gain.break_at)
            lines.append([*head, gain.metric, gain.sign, gain.kind, gain.break_at, share, low, high, labels])
    return pd.DataFrame(lines, columns=list(CSV_COLUMNS)).to_csv(index=False, lineterminator="\n", float_format="%.7g")


@styled
def figure(rows: Sequence[Row]) -> Picture:
    """A bar a row along its knob's range, from neutral on the left to the far end on the right; breaks as diamonds."""
    at, y = {}, 0.0
    for index, row in enumerate(rows):
        y += 1.0 if index and rows[index - 1].study == row.study else 2.1 if index else 1.0
        at[index] = y
    drawn, axes = panels(1, 1, 0.25 * (y + 1) + 0.25)
    ax = axes[0, 0]
    ax.set_xlim(-0.02, 1.09)
    for index, row in enumerate(rows):
        _bar(ax, at[index], row)
        if index == 0 or rows[index - 1].study != row.study:
            words = _span(row) + (" (even spacing)" if row.axis.even else "")
            name = ax.text(0.0, at[index] - 1.0, row.study, fontweight="bold", va="center", parse_math=False)
            ax.annotate(words, (1, 0.5), xycoords=name, xytext=(8, 0), textcoords="offset points", va="center",
                        color=GREY, fontsize=8)  # fmt: skip
    ax.set_yticks(list(at.values()))
    ax.set_yticklabels([texts(row)[2] for row in rows])
    ax.set_ylim(y + 0.7, -0.6)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["neutral", "25%", "50%", "75%", "far end"])
    ax.set_xlabel("share of the knob's range in the study")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    handles = [*style.range_handles(), Line2D([], [], color=BLACK, marker="D", markersize=4.5, linewidth=1.2,
               markeredgecolor="white", label="break of a gain, 95% interval")]  # fmt: skip
    drawn.figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return drawn


def _bar(ax: Axes, y: float, row: Row) -> None:
    if row.unlearned:
        style.draw_unknown(ax, y, (0.0, 1.0), f" {row.unlearned}: nothing is shown ")
        return
    free = None if row.free_until is None else (0.0, row.share(row.free_until))
    harm = None if row.harmful_from is None else (row.share(row.harmful_from), 1.0)
    if harm and harm[0] == 1.0:
        harm = (1.0, 1.045)  # the last setting alone: into the margin
    style.draw_unknown(ax, y, (0.0, 1.0))
    style.draw_ranges(ax, y, free if free and free[1] > 0 else None, harm)
    found = dict.fromkeys((gain.break_at, gain.interval) for gain in row.gains if gain.break_at is not None)
    for index, (place, interval) in enumerate(found):
        level = y + 0.22 * (index - (len(found) - 1) / 2)
        if interval is not None:
            ends = [row.share(end) for end in interval]
            ax.plot(ends, (level, level), color="white", linewidth=3.2, zorder=4)  # so that it shows on any bar
            ax.plot(ends, (level, level), color=BLACK, linewidth=1.2, zorder=5)
        ax.plot(row.share(place), level, marker="D", markersize=4.5, color=BLACK, markeredgecolor="white", zorder=6)


def write(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write comparison.md, .csv, .svg and .png into a folder, made where it is missing; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn, title = figure(rows).figure, "How far each knob is free, and where it harms"
    files: dict[str, str | bytes] = {
        "md": f"# Comparison\n\n![{title}](comparison.svg)\n\n{to_markdown(rows)}",
        "csv": to_csv(rows),
        "svg": style.svg(drawn, "comparison", title),
        "png": style.png(drawn),
    }
    for suffix, content in files.items():
        write_atomically(folder / f"comparison.{suffix}", content)
    return [folder / f"comparison.{suffix}" for suffix in files]


def _parser() -> Parser:
    parser = Parser("analysis.comparison", __doc__)
    parser.add_argument("studies", nargs="+", type=Path, metavar="DIR", help="work directories of finished studies")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write comparison.md, .csv, .svg and .png into it")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Prints the table and writes what is asked for. Exit status: 0 done, 2 a user's mistake."""
    args = _parser().read(arguments)
    rows = read(args.studies)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(rows))
    for note in notes(rows):
        console.print(Text(note))
    if args.out:
        try:
            written = write(rows, args.out)
        except OSError as error:
            raise UserError(f"--out={args.out} can't be written: {refusal(error)}.") from None
        console.print(Text(f"wrote {', '.join(map(str, written))}"), soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
