"""Does the diagnosis find what was planted?

    python -m analysis.simulation.planted_causes [--only=NAME,…] [--replicates=N]

Trains every study of ablations/planted.py with its repairs (each in a process of its own; rerunning resumes), reads the
verdicts.json of each, and prints two tables in Markdown: which causes the diagnosis found for each planted one, and
what it said of studies in which nothing was planted; and how far it missed the break that is known from counting.
`--replicates=R` plants every cause R times, in other seeds.
"""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy import stats

from analysis import study as library
from analysis.diagnosis import CAUSES, Findings, find
from analysis.results import Results
from lab.errors import Parser, UserError, command, nearest

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "ablations" / "planted.py"
# variant -> the labels of which one must hold (a collapse and its cause may both), the abilities' verdict aside
TRUTHS: dict[str, tuple[str, ...]] = {
    "over_pruning": ("over-pruning",),
    "over_regularization": ("over-regularization",),
    "collapse": ("collapse",),
    "posterior_collapse": ("collapse",),
    "elicitation_gap": ("elicitation gap",),  # its labels' smoothing is an over-regularization, too
    "undertrained": ("undertrained",),
    "linear_image": ("latent artefact",),
    "shortcut": ("shortcut",),
    "all_or_nothing": ("metric artefact",),
    "write_only": (),  # nothing is wrong: no label may hold but those that speak of no harm
}
# A cue is read and used, so nothing decodable is unused, and more than a suspicion can't be had of it.
SUSPECTED_AT_MOST = ("shortcut",)
HARMLESS = ("ceiling", "compression")
CAPACITY = 4  # bits that 16 values need: below it `bottleneck` must break
NOTHING = "nothing"
SEEDS_OF_ONE = 8


@dataclass(frozen=True)
class Found:
    """What the diagnosis said of one planted study.

    Attributes:
      truth: the variant.
      harmful: (setting, ability) from which harm is shown.
      holds, suspected: labels.
      breaks: (where, low, high) of every break that is located.
    """

    truth: str
    harmful: tuple[float, ...]
    holds: tuple[str, ...]
    suspected: tuple[str, ...]
    breaks: tuple[tuple[float, float, float], ...] = ()

    @property
    def right(self) -> bool:
        """Whether a label that was planted holds; where none was, that no label of harm does."""
        if not TRUTHS[self.truth]:
            return not self.harmful and not {*self.holds} - {*HARMLESS}
        named = self.holds + (self.suspected if self.truth in SUSPECTED_AT_MOST else ())
        return bool({*TRUTHS[self.truth]} & {*named})


def found_in(truth: str, verdicts: dict[str, Any]) -> Found:
    """What a verdicts.json says of the primary abilities."""
    primary = {bound["ability"] for bound in verdicts["bounds"] if bound["primary"]}
    labels = [one for one in verdicts["labels"] if one["ability"] in primary]
    harmful = [b["shown_harmful_from"] for b in verdicts["bounds"] if b["primary"] and b["learned"]]

    def named(status: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one["name"] for one in labels if one["status"] == status))

    located = [one for one in verdicts["claims"] if one["ability"] in primary and one["break_at"] is not None]
    breaks = tuple((one["break_at"], *one["break_interval"]) for one in located)
    harmful = tuple(each for each in harmful if each is not None)
    return Found(truth, harmful, named("holds"), named("suspected"), breaks)


def matrix(found: Sequence[Found]) -> str:
    """The confusion matrix as a Markdown table: planted causes down, labels across, bold where it was planted."""
    names = [name for name in CAUSES if any(name in one.holds + one.suspected for one in found)]
    lines = [f"| planted | studies | harm shown | {' | '.join(names)} |", f"|---|---|---|{'---|' * len(names)}"]
    for truth in dict.fromkeys(one.truth for one in found):
        mine = [one for one in found if one.truth == truth]
        cells = []
        for name in names:
            held, suspected = (sum(name in getattr(one, kind) for one in mine) for kind in ("holds", "suspected"))
            text = " ".join(f"{count} {word}" for count, word in ((held, "holds"), (suspected, "suspected")) if count)
            planted = name in TRUTHS.get(truth, ()) and (held or truth in SUSPECTED_AT_MOST)
            cells.append(f"**{text}**" if planted and text else text or "·")
        harmed = sum(bool(one.harmful) for one in mine)
        lines.append(f"| {truth.replace('_', ' ')} | {len(mine)} | {harmed} | {' | '.join(cells)} |")
    return "\n".join(lines)


def located(found: Sequence[Found], truth: float) -> str:
    """Where studies of one known break say that it lies: a Markdown table, and the mean distance from the truth."""
    lines = ["| study | shown harmful from | break, 95% interval | off by |", "|---|---|---|---|"]
    for number, one in enumerate(found):
        harmful = ", ".join(f"{each:g}" for each in one.harmful) or "—"
        places = ", ".join(f"{at:.2f} [{low:.2f}, {high:.2f}]" for at, low, high in one.breaks) or "—"
        off = ", ".join(f"{at - truth:+.2f}" for at, *_ in one.breaks) or "—"
        lines.append(f"| {number} | {harmful} | {places} | {off} |")
    breaks = [each for one in found for each in one.breaks]
    harms = [each for one in found for each in one.harmful]
    for name, places in (("break", [at for at, *_ in breaks]), ("first setting shown harmful", harms)):
        if places:
            error = sum(abs(place - truth) for place in places) / len(places)
            lines.append(f"\nMean absolute error of the {name}: {error:.2f} ({len(places)} located).")
    covered = sum(low <= truth <= high for _, low, high in breaks)
    lines.append(f"\nIntervals that cover {truth:g}: {covered} of {len(breaks)}.")
    return "\n".join(lines)


def blocks(results: Results, size: int) -> Iterator[Results]:
    """A study's seeds as several studies of `size` seeds each; what is left over is dropped."""
    study = results.study
    seeds = sorted({int(cell["seed"]) for cell in study.cells})
    for first in range(0, len(seeds) - size + 1, size):
        mine = {*seeds[first : first + size]}
        rows = [i for i, cell in enumerate(study.cells) if cell["seed"] in mine]
        yield replace(
            results,
            study=replace(study, cells=tuple(study.cells[i] for i in rows)),
            columns={name: column[rows] for name, column in results.columns.items()},
            diverged_at=results.diverged_at[rows],
            shared=tuple(results.shared[i] for i in rows),
            density=None,
            costs=None,
            written_at=None,
        )


def tally(studies: Iterator[Results]) -> tuple[int, dict[str, int]]:
    """(number of studies, what was said -> of how many): verdicts, harm shown, labels."""
    counts: collections.Counter[str] = collections.Counter()
    number = 0
    for results in studies:
        number += 1
        counts.update(sorted(_said(find(results))))
    return number, dict(counts)


def _said(findings: Findings) -> set[str]:
    said = {f"verdict: {one.verdict.kind}" for one in findings.claims}
    said |= {"harm shown at some setting" for b in findings.primary if b.learned and b.harmful_from is not None}
    found = [one for one in findings.diagnoses if one.status in ("holds", "suspected")]
    return said | {f"label: {one.cause} {one.status}" for one in found}


def nulls_table(number: int, counts: dict[str, int]) -> str:
    """What was said of studies with nothing planted, as a Markdown table with Wilson's 95% interval."""
    lines = ["| said | studies | share | 95% interval |", "|---|---|---|---|"]
    for said, count in sorted(counts.items()):
        interval = stats.binomtest(count, number).proportion_ci(method="wilson")
        lines.append(
            f"| {said} | {count} of {number} | {count / number:.3f} | {interval.low:.3f} to {interval.high:.3f} |"
        )
    return "\n".join(lines)


def _train(variant: str, workdir: Path, replicate: int) -> Path:
    """Run one study as a user would; returns its directory."""
    directory = workdir.resolve() / (variant if not replicate else f"{variant}-{replicate}")
    command = [sys.executable, str(ROOT / "run.py"), f"--config={STUDY}:{variant}", f"--workdir={directory}"]
    command += [f"--config.first_seed={replicate * SEEDS_OF_ONE}"]
    command += ["--repair"] if variant in TRUTHS else []
    print(f"# {variant}, replicate {replicate}", file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise UserError(f"the study {variant} ended with {done.returncode}; run it on its own: {' '.join(command)}")
    return directory


def _parser() -> Parser:
    parser = Parser("analysis.simulation.planted_causes", __doc__)
    parser.add_argument(
        "--workdir",
        type=Path,
        default=Path("runs") / "planted",
        metavar="DIR",
        help="where the studies are (%(default)s)",
    )
    parser.add_argument("--only", default="", metavar="NAME,…", help="names of planted truths, with commas (all)")
    parser.add_argument(
        "--replicates", type=int, default=1, metavar="N", help="how often each cause is planted (%(default)s)"
    )
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Prints both tables. Exit status: 0 done, 1 a planted cause was not found, 2 a user's mistake."""
    args = _parser().read(arguments)
    known = (*TRUTHS, "bottleneck", NOTHING)
    names = [name for name in args.only.split(",") if name] or list(known)
    for name in names:
        if name not in known:
            raise UserError(f"--only: there is no planted truth '{name}'. {nearest(name, known)}")
    if args.replicates < 1:
        raise UserError(f"--replicates={args.replicates} must be at least 1.")
    return _run(names, args.workdir, args.replicates)


def _run(names: Sequence[str], workdir: Path, replicates: int) -> int:
    found = []
    for name in (one for one in names if one != NOTHING):
        for replicate in range(replicates):
            directory = _train(name, workdir, replicate)
            verdicts = json.loads((directory / "verdicts.json").read_text(encoding="utf-8"))
            found.append(found_in(name, verdicts))
    missed = [one.truth for one in found if one.truth in TRUTHS and not one.right]
    if found:
        print(matrix(found))
    known = [one for one in found if one.truth == "bottleneck"]
    if known:
        print(f"\nbottleneck, which must break below {CAPACITY} bits:\n\n{located(known, CAPACITY)}")
    if NOTHING in names:
        results = library.open_study(_train(NOTHING, workdir, 0)).judgeable
        number, counts = tally(blocks(results, SEEDS_OF_ONE))
        print(f"\nNothing planted, {number} studies:\n\n{nulls_table(number, counts)}")
    if missed:
        print(f"\nnot found: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
