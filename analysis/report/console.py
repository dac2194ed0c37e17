"""What a run prints: the plan before; verdicts, repairs, the map and the answer after."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from analysis.design import is_association, is_categorical, neutral_value, sides, undecidable
from analysis.diagnosis import Findings
from analysis.report import map_figure, names, repair_section, tables, wording
from analysis.report.answer import answers
from analysis.report.large_grid import strata_with_figures
from analysis.report.shapes import association
from analysis.stats import FINDS_NOTHING, break_test
from analysis.verdicts import Bounds, Judged
from lab.engine import Plan, flops
from lab.errors import UserError, printable
from lab.jobs import shards
from lab.storage import Store, open_store
from lab.study.spec import Study

if TYPE_CHECKING:
    from lab.jobs.session import Session
    from lab.jobs.shards import Shard
    from lab.jobs.workdir import Workdir


def plan_text(plan: Plan, store: Store, root: Path) -> str:
    """The plan: cells, program groups, stages, model-steps, chunk, devices, memory, seeds."""
    study, layout = plan.study, plan.layout
    alone, shared, left = plan.steps_alone(), plan.steps_shared(), plan.steps_shared(store.nodes)
    seeds = len({cell["seed"] for cell in study.cells})
    axes = " × ".join(f"{len(a.values)} {a.knob}{' (tuned away)' if a.tuned else ''}" for a in study.axes)
    stages = ", ".join(f"{s.name} {s.end - s.start}" for s in study.stages)
    nodes = " → ".join(
        str(sum(len(b.nodes) for b in plan.program_groups if b.stage == i)) for i in range(len(study.stages))
    )
    starts = {stage.name: stage.start for stage in study.stages}
    cut_off = sum(len(c[-1].meta["cells"]) * (c[-1].step - starts[c[-1].meta["stage"]]) for c in store.unfinished)
    saved = shared - left + cut_off
    trained = f", {saved:,} of them already trained" if saved else ""
    chunk = plan.chunk(store.nodes) or plan.chunk()
    claims = len(study.claim.every_gain) * len(study.claim.abilities)
    lines = [
        f"study       {printable(study.name)}: {printable(study.question)}",
        f"grid        {axes} = {len(study.cells)} cells",
        f"model       {study.size_text('layers')} layers, width {study.size_text('width')},"
        f" {plan.parameters():,} parameters;"
        f" {wording.by_stage(study.examples)} examples × {study.longest_training} tokens a step"
        f" ({', '.join(f'{u.label} {wording.by_stage(u.examples)}' for u in study.tasks)})",
        f"cost        {_cost_text(plan)}",
        f"stages      {stages} steps; cells trained in each: {nodes}",
        f"model-steps {shared:,} with shared prefixes, {alone:,} without ({alone / shared:.1f} times as many){trained}",
        f"programs    {_programs_text(plan)}",
        f"layout      {layout.devices} {layout.platform} devices, chunks of {chunk} cells, {layout.width} at a"
        f" time; about {math.ceil(plan.memory_bytes() / 2**20):,} MiB a device",
        f"seeds       {seeds}; {_least_text(study.claim.alpha)}",
        f"claims      {claims * sides(study)} primary"
        f"{', half of them on either side of neutral' if sides(study) > 1 else ''}, fixed as {study.claim_hash()}",
        f"workdir     {root}",
    ]
    return "\n".join(lines)


def show_plan(session: Session, plan: Plan, workdir: Workdir, shard: Shard | None, power: Sequence[str] = ()) -> int:
    """Print the plan of a study, or of a part of it, and what would be noted or refused. Returns exit status 0.

    `power` says what the design could find: sentences of the simulation, which is a room above.
    """
    notes = [*plan.study.notes, *undecidable(plan.study, workdir.path)]
    try:
        notes += workdir.check()
    except UserError as error:  # a plan trains nothing: show it all the same
        session.note(f"Would be refused: {error}")
    for note in notes:
        session.note(note)
    store = open_store(workdir.path, plan.study, session.note, brief=True)
    session.say("\n".join([plan_text(plan, store, workdir.path), *(f"power       {line}" for line in power)]))
    if shard:
        session.say(shards.summary(plan, shards.part(plan, shard), shard, store.nodes))
    return 0


def _programs_text(plan: Plan) -> str:
    """How many training programs are compiled, and which axes add to them."""
    count = len(plan.training_programs)
    static = ", ".join(f"{more} of them for {knob}" for knob, more in plan.compiles_of_axes().items())
    text = f"{count} training program{'s' if count > 1 else ''} to compile"
    return text + (f" ({static}, whose values are compiled in)" if static else "")


def _cost_text(plan: Plan) -> str:
    """The range over cells of what a model costs, before anything is removed from it."""
    parameters, passes = zip(*flops.planned(plan.study), strict=True)
    sizes, costs = f"{min(parameters):,}", f"{min(passes):.3g}"
    sizes += f" to {max(parameters):,}" if max(parameters) > min(parameters) else ""
    costs += f" to {max(passes):.3g}" if max(passes) > min(passes) else ""
    return f"{sizes} parameters; {costs} FLOPs a forward pass of one example, before anything is pruned"


def _least_text(alpha: float) -> str:
    least, strict = break_test.least_seeds(alpha), break_test.least_seeds(alpha, strict=True)
    return (
        f"least that can show a bound {least['bounds']}, a reversal {least['reversal']} (strictly"
        f" {strict['reversal']}), a stall {least['stall']} (strictly {strict['stall']})"
    )


def verdict_table(findings: Findings) -> Table:
    """The primary verdicts with their bounds, for the terminal."""
    if is_association(findings.study):
        return association.table(findings)
    study, neutral, words = findings.study, neutral_value(findings.study), wording.phrase(findings.study)
    brief = names.short_gains(study)
    knob_bounds = {(b.label, b.split, str(b.stratum)): b for b in findings.bounds}
    table = Table(title="Claims", title_justify="left", box=box.SIMPLE_HEAD)
    by_value = is_categorical(study)
    heads = ("kept at", "lost at") if by_value else ("kept up to", "lost from", "break")
    for column in ("ability", "latent metric", "verdict", *heads, "p"):
        table.add_column(column)
    for one in findings.claims:
        bound = knob_bounds[one.label, one.split, str(one.stratum)]
        stratum = f" [{wording.stratum_text(study, one.stratum)}]" if one.stratum else ""
        nothing = one.verdict.kind in FINDS_NOTHING
        cells = (
            f"{names.ability(study, one.label, one.split)}{stratum}",
            f"{brief[one.claimed]} {'↑' if one.sign > 0 else '↓'}",
            one.verdict.kind + ("" if one.stands or nothing else " (does not stand)"),
            *(tables.bounds_texts(study, bound).values() if by_value else _range_texts(words, bound, one, neutral)),
            "—" if nothing else wording.p_value(one.verdict.p),
        )
        table.add_row(*map(Text, cells))  # brackets are no markup
    return table


def _range_texts(words: wording.Phrase, bound: Bounds, one: Judged, neutral: float) -> tuple[str, str, str]:
    """Up to where the ability is kept, from where on it is lost, and the break."""
    lost = bound.learned and bound.harmful_from is not None
    return (
        _free(bound.free_until if bound.learned else None, neutral, words.short),
        words.short(bound.harmful_from) if lost and bound.harmful_from is not None else "—",
        wording.break_text(words, one.verdict),
    )


WIDEST = 100  # columns of a terminal that the map fits
LABELS = 34  # columns that the names of a map's rows may take


def map_of(findings: Findings) -> Iterator[RenderableType]:
    """What a run ends with: of each stratum that has figures the map as a table, its legend, and the answer."""
    if is_association(findings.study):
        yield from (Text(f"• {answer}") for answer in association.answers(findings))
        return
    for index in strata_with_figures(findings):
        inside = findings.in_stratum(findings.strata[index])
        yield map_table(inside)
        yield Text(_legend(inside.study))
        for answer in (*answers(inside), *repair_section.headline(inside)):
            yield Text(f"• {answer.replace('`', '')}")


def map_table(findings: Findings) -> Table:
    """The map of one stratum: settings as columns, claims as rows under their ability; at most `WIDEST` wide."""
    most = wording.phrase(findings.study).short
    every = [most(float(value)) for value in map_figure.settings_of(findings.claims)]
    width = max(4, *map(len, every)) + 1
    shown = tables.map_rows(findings, max(2, (WIDEST - LABELS - 2) // width))
    title = names.knob(findings.study.claim.knob, findings.study)
    title += f" ({len(shown['settings'])} of {len(every)} settings)" if shown["left_out"] else ""
    where = wording.stratum_text(findings.study, findings.stratum or {})
    what = "value" if is_categorical(findings.study) else "setting"
    heading = f"What is shown at each {what}{f', {where}' if where else ''}"
    table = Table(title=Text(heading), title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column(Text(title), max_width=LABELS, overflow="fold")
    for text in shown["settings"]:
        table.add_column(Text(text), width=width - 1, justify="center", no_wrap=True)
    for ability, rows in shown["groups"]:
        table.add_row(Text(ability, style="bold"))
        for metric, marks, states, _ in rows:
            cells = (_cell(one, state) for one, state in zip(marks, states, strict=True))
            table.add_row(Text(f"  {metric}"), *cells)
    return table


def _cell(mark: str, state: str) -> Text:
    """A mark in the colour of its state; a break's line is not part of the colour."""
    text = Text(mark)
    line = map_figure.BREAK
    start, end = mark.startswith(line), len(mark) - mark.endswith(line)
    text.stylize(map_figure.STATES[state].style, int(start), end)
    return text


def _legend(study: Study) -> str:
    looks = (f"{look.mark} {look.words}" for look in map_figure.STATES.values())
    others = (f"{map_figure.BETTER} ability better", f"{map_figure.AGAINST} against the claim")
    of_order = () if is_categorical(study) else (f"{map_figure.BREAK} break",)
    return " | ".join((*looks, *others, *of_order, f"{map_figure.NEUTRAL} {map_figure.base_name(study)}"))


def repair_table(findings: Findings) -> Table:
    """What every arm of a repair recovered, for the terminal; there must be such a record."""
    assert findings.records.repairs is not None, "nothing was repaired"
    table = Table(title=f"Repairs, {findings.records.repairs.steps} steps each", title_justify="left")
    for column in repair_section.COLUMNS.values():
        table.add_column(column)
    for row in repair_section.rows(findings):
        table.add_row(*(Text(row[name]) for name in repair_section.COLUMNS))
    return table


def _free(value: float | None, neutral: float, short: Callable[[float], str]) -> str:
    if value is None:
        return "—"
    return short(value) if value != neutral else "neutral only"
