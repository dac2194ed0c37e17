"""Is a decodable latent used? `python -m analysis.causal runs/<study>` reads the checkpoints and trains nothing.

For every task at the claim's layer and its first read position, in every cell: what the subspace of the task's
factor does when it is removed, and when it is swapped between examples (`analysis.causal.activation_edits`), against
random subspaces. In the neutral cells also how far the latent metrics move without any change of function.
docs/activation_edits.md explains the table. Writes interventions.csv, interventions_bases.csv, interventions.svg and
interventions.json.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from analysis.causal.activation_edits import Cut, edit_effects, reparametrize
from analysis.causal.effects import EditEffects, bases_csv, figure, table, to_csv
from analysis.design import is_association, neutral_value, value_at
from analysis.plots import style
from analysis.results import intervention_record
from analysis.study import OpenStudy, open_study
from lab.engine import device_grid
from lab.errors import Parser, UserError, command, nearest
from lab.storage import write_atomically


def cuts_of(opened: OpenStudy, label: str | None, layer: int | None, read: str | None, factor: str | None) -> list[Cut]:
    """The places at which activations are edited: of one task, or of every one.

    Raises:
      UserError: for what the study doesn't have, or a model whose tokens don't pass a layer once, each at its place.
    """
    study = opened.study
    for spec in {study.spec_of(cell) for cell in study.cells}:
        if spec.turns > 1 or spec.slots or spec.registers:
            raise UserError(
                f"{opened.path}: its models loop over their blocks, or think in vectors between the tokens;"
                " activation edits need tokens that pass each layer once, so name a study without them."
            )
    one = None if label is None else opened.place(label, layer, read).label
    found = []
    for use in study.tasks:
        if one not in (None, use.label):
            continue
        sizes, name = use.task.factor_sizes, use.factor if factor is None else factor
        if name not in sizes:
            raise UserError(f"--factor={name}: '{use.label}' has no such factor. {nearest(name, sizes)}")
        if sizes[name] < 2:
            raise UserError(f"--factor={name}: it has one value in '{use.label}', so there is nothing to read.")
        found.append(Cut.at(opened.place(use.label, layer, read), replace(use, factor=name)))
    return found


def measure_effects(opened: OpenStudy, cut: Cut, on_progress: Callable[[str], None] = lambda text: None) -> EditEffects:
    """The effects of every activation edit at one place, a block of cells at a time.

    Args:
      opened: the study.
      cut: where, and by which factor.
      on_progress: called with a line of text after each block.

    Raises:
      UserError: where cells are not trained to the end, or a checkpoint is damaged.
    """
    study, readings = opened.study, {}
    for done, (cells, found) in enumerate(opened.each("activation edits", cut, partial(edit_effects, study, cut))):
        for name, values in found.items():
            readings.setdefault(name, np.full(len(study.cells), np.nan))[list(cells)] = values
        on_progress(f"{cut.place}: block {done + 1}, cells {', '.join(map(str, cells))}")
    neutral, bases = {study.claim.knob: value_at(study, neutral_value(study))}, {}
    for cells, found in opened.each("bases", cut, partial(reparametrize, study, cut), neutral):
        for row, cell in enumerate(cells):
            bases[cell] = {b: {m: float(x[row]) for m, x in metrics.items()} for b, metrics in found.items()}
        on_progress(f"{cut.place}: bases of cells {', '.join(map(str, cells))}")
    return EditEffects(cut, readings, bases)


def _parser() -> Parser:
    parser = Parser("analysis.causal", __doc__)
    parser.add_argument("workdir", type=Path, metavar="DIR", help="a finished study, runs/<study>")
    parser.add_argument("--label", help="the task (every one)")
    parser.add_argument("--layer", type=int, help="of the residual stream, negative from the end (the claim's)")
    parser.add_argument("--read", help="the read position (the task's first)")
    parser.add_argument("--factor", help="whose subspace is removed and swapped (the one that the study probes)")
    parser.add_argument("--out", type=Path, help="the directory to write to (the study's own)")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Prints the table and writes the files. Exit status: 0 done, 2 a user's mistake."""
    args = _parser().read(arguments)
    device_grid.use_every_core()
    edit_activations(**vars(args))
    return 0


def edit_activations(
    workdir: Path,
    label: str | None = None,
    layer: int | None = None,
    read: str | None = None,
    factor: str | None = None,
    out: Path | None = None,
) -> None:
    """Measure what edits of a finished study's activations do, print the tables and write the files.

    Args:
      workdir: the study's directory.
      label, layer, read, factor: what is edited; None as in `--help`.
      out: the directory to write to; the study's own by default.

    Raises:
      UserError: for a directory that is no finished study, or what the study doesn't have.
      OSError: where a file can't be written.
    """
    opened = open_study(workdir)
    study, out = opened.study, out or workdir
    if is_association(study):
        raise UserError(
            f"{workdir}: its claim is an association over a whole grid, and edits are compared along a knob; name a"
            " study of one knob."
        )
    cuts, effects = cuts_of(opened, label, layer, read, factor), []
    out.mkdir(parents=True, exist_ok=True)
    for cut in cuts:
        one = measure_effects(opened, cut, lambda text: print(text, file=sys.stderr, flush=True))
        effects.append(one)
        intervention_record.save(out, study, cut.place, cut.use.factor, one.readings)
        print(table(study, one), end="\n\n", flush=True)
    write_atomically(out / "interventions.csv", to_csv(study, effects))
    write_atomically(out / "interventions_bases.csv", bases_csv(study, effects))
    write_atomically(out / "interventions.svg", style.plain_svg(figure(study, effects).figure))
    print(f"wrote {intervention_record.FILE}, interventions.csv, interventions_bases.csv, interventions.svg in {out}")


if __name__ == "__main__":
    sys.exit(main())
