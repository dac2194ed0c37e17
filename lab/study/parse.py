"""From a study file's ConfigDict to a frozen, checked Study; mistakes are reported here, before compiling."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lab.errors import UserError, nearest, shown
from lab.mechanisms import knobs as registry
from lab.mechanisms.base import Knob, Mechanism
from lab.study import comparable, published, schema, sizes, task_knobs, task_sizes, testing, without_steps
from lab.study.claim import parse_claim
from lab.study.fields import STEPS_MOST
from lab.study.grid import CELLS_MOST, Grid
from lab.study.parts import Stage, TaskUse
from lab.study.spec import Study, stage_index
from lab.training.step import Schedule
from lab.values import NAME_BYTES, exact, plain_fields
from tasks import TaskError, make


def parse(config: Any, grid: Grid, metrics: Collection[str]) -> Study:
    """Check a study's config and grid and freeze them.

    Args:
      config: the ConfigDict of get_config(), overrides applied.
      grid: what sweep(config) returned.
      metrics: names of the latent readings that a claim may name.

    Raises:
      UserError: one sentence with the field and the fix.
    """
    if not isinstance(grid, Grid):
        raise UserError("sweep() must return a grid: axis(...), or a product, zipped or chain of such.")
    config = plain_fields(config)
    schema.check(config)
    if not config.stages:
        raise UserError("config.stages is empty; name at least one stage.")
    tasks = _tasks(config)
    stages = _stages(config)
    for index, stage in enumerate(stages):
        if not any(use.examples[index] for use in tasks):
            raise UserError(f"config.tasks: no task has examples in stage '{stage.name}'; give one some.")
    of_tasks = task_sizes.knobs(tasks, grid.axes, [*_flatten(config.knobs)])
    named = {name: where for name, where in _named(config, grid).items() if name not in of_tasks}
    own_of_tasks = task_knobs.used(tasks, named, grid.axes, [s.name for s in stages])
    own = sizes.knobs(config, grid.axes) | own_of_tasks | of_tasks
    known = {**registry.KNOBS, **own}
    tested = testing.knobs(config.stages, grid.axes, known)
    if tested:
        stages, tasks = testing.with_test(stages, tasks)
    acts_from, base = _knob_settings(config, grid, [s.name for s in stages], known, tested)
    task_knobs.check_stages(own_of_tasks.values(), grid.axes, acts_from, tasks)
    spec = sizes.model_spec(config, *task_sizes.room(tasks))
    cells = _cells(grid, base, known)
    task_sizes.check(tasks, own.values(), cells)
    specs = tuple(dict.fromkeys(sizes.with_sizes(spec, cell) for cell in cells))
    sizes.check(specs, config.probe.examples)
    depths = [one.layers for one in specs]
    probe_layers = sizes.layers(config.probe.layers, depths, "config.probe.layers")
    study = Study(
        name=config.name or "study",
        question=config.question,
        spec=spec,
        tasks=tasks,
        stages=stages,
        schedule=_schedule(config, stages[-1].end),
        axes=grid.axes,
        acts_from=acts_from,
        base=base,
        cells=cells,
        notes=(
            *published.notes(tasks, config.probe.examples),
            *_repeated(grid, cells),
            *_alike(grid, cells, known),
            *without_steps.spent(stages, cells),
        ),
        call_steps=config.call_steps,
        eval_examples=config.evaluation.examples,
        probe_examples=config.probe.examples,
        probe_layers=probe_layers,
        claim=parse_claim(config, grid, known, tasks, stages, depths, probe_layers, metrics, base),
        own_knobs=own,
        extra_readings=_extra_readings(config, metrics),
        tested=tested,
    )
    if study.claim.layer not in study.probe_layers:
        raise UserError(
            f"config.claim.layer={config.claim.layer} is not measured; add it to"
            f" config.probe.layers={config.probe.layers}."
        )
    sizes.check(study.bare_specs, config.probe.examples)  # again, with the vocabularies of all its tasks
    comparable.check(study)
    published.check_tuned(study.tasks, study.tuned)
    without_steps.check(study)
    asked = set[Any]()
    for cell in study.cells:
        for stage in range(len(study.stages)):
            knobs = study.knobs_at(cell, stage)
            setting = stage, *(value for name, value in knobs.items() if name != registry.SEED.name)
            if setting in asked:
                continue
            asked.add(setting)
            if objection := registry.objection(study.setup(knobs, stage)):
                raise UserError(objection)
    return study


def _plain_name(name: Any, where: str) -> None:
    """Names become parts of paths and columns."""
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(f"{where}: the name {name!r} must be made of letters, digits and _, and begin with a letter.")
    if len(name.encode()) > NAME_BYTES:
        raise UserError(
            f"{where}: the name '{name[:20]}…' takes {len(name.encode())} bytes, too many for a file; take at most"
            f" {NAME_BYTES}."
        )


def _tasks(config: Any) -> tuple[TaskUse, ...]:
    if not len(config.tasks):
        raise UserError("config.tasks is empty; name at least one task.")
    uses = []
    for label, fields in config.tasks.items():
        _plain_name(label, "config.tasks")
        where = f"config.tasks.{label}"
        fields = dict(fields)
        fields = published.folder_of(config, fields.get("task", label), fields)
        name, examples = fields.pop("task", label), fields.pop("examples", 16)
        factor, probe = fields.pop("factor", ""), fields.pop("probe", "iid")
        examples = _examples(examples, config.stages, f"{where}.examples")
        try:
            task = make(name, **fields)
        except TaskError as error:
            raise UserError(f"{where}: {error}") from None
        factors = (factor,) if isinstance(factor, str) else tuple(factor)
        factors = factors if any(factors) else (next(iter(task.factor_sizes)),)
        for name in factors:
            if name not in task.factor_sizes:
                raise UserError(f"{where}.factor: unknown factor '{name}'. {nearest(name, task.factor_sizes)}")
        short = [name for name, s in task.splits.items() if s.length <= task.splits["train"].length]
        if probe not in short:
            raise UserError(f"{where}.probe: no split '{probe}' no longer than training. {nearest(probe, short)}")
        uses.append(TaskUse(label, task, examples, factors[0], probe, factors[1:]))
    return tuple(uses)


def _examples(value: Any, stages: Sequence[str], field: str) -> tuple[int, ...]:
    """Examples a step in each stage: one number for all, or a section with a number for each, which may be 0."""
    if not hasattr(value, "items"):
        return (value,) * len(stages)
    given = dict(value)
    for name in given:
        if name not in stages:
            raise UserError(f"{field}.{name}: no such stage. {nearest(name, stages)}")
    for name in stages:
        if name not in given:
            raise UserError(f"{field}.{name} is missing; every stage in config.stages needs it.")
    return tuple(given[name] for name in stages)


def _stages(config: Any) -> tuple[Stage, ...]:
    call = config.call_steps
    for name in config.stages:
        _plain_name(name, f"config.stages={shown(config.stages)}")
    for field in ("steps", "saves"):
        for name in sorted({*config[field]} - {*config.stages}):
            raise UserError(f"config.{field}.{name}: no such stage. {nearest(name, config.stages)}")
        for name in sorted({*config.stages} - {*config[field]}):
            raise UserError(f"config.{field}.{name} is missing; every stage in config.stages needs it.")
    stages, start = [], 0
    for name in config.stages:
        steps = config.steps[name]
        if steps % call:
            raise UserError(f"config.steps.{name}={steps} must be a multiple of config.call_steps={call}.")
        saves = save_points(steps, config.saves[name], call)
        stages.append(Stage(name, start, start + steps, tuple(start + s for s in saves)))
        start += steps
    if not stages[0].steps:
        raise UserError(
            f"config.steps.{stages[0].name}=0: a stage without steps learns nothing, and the first stage must train;"
            f" give it a multiple of config.call_steps={call}."
        )
    if start > STEPS_MOST:
        raise UserError(f"config.steps: {start:,} steps in all; a study has at most {STEPS_MOST:,}.")
    return tuple(stages)


def save_points(steps: int, count: int, call_steps: int) -> tuple[int, ...]:
    """At most `count` log-spaced multiples of `call_steps`, the last one `steps`; one where there are no steps."""
    if count == 1 or not steps:
        return (steps,)
    points = np.geomspace(call_steps, steps, count)
    return tuple(sorted({min(steps, call_steps * math.ceil(round(p / call_steps, 6))) for p in points}))


def _schedule(config: Any, total: int) -> Schedule:
    if config.schedule.warmup > total:
        raise UserError(
            f"config.schedule.warmup={config.schedule.warmup} must be at most the {total} steps of the study, or the"
            " learning rate never arrives; lower it, or raise config.steps."
        )
    return Schedule(config.schedule.name, config.schedule.warmup, total)


def _flatten(fields: Any, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in fields.items():
        flat.update(_flatten(value, f"{prefix}{name}.") if hasattr(value, "items") else {f"{prefix}{name}": value})
    return flat


def _named(config: Any, grid: Grid) -> dict[str, str]:
    """The knobs that a study names -> where."""
    return {
        **{a.knob: "sweep()" for a in grid.axes},
        **{name: f"config.knobs.{name}" for name in _flatten(config.knobs)},
    }


def _knob_settings(
    config: Any, grid: Grid, stages: list[str], known: Mapping[str, Knob], tested: Collection[str] = ()
) -> tuple[dict[str, int], dict[str, Any]]:
    base = {name: knob.base for name, knob in known.items()} | {"seed": 0}
    for name, value in _flatten(config.knobs).items():
        base[name] = registry.checked(name, value, f"config.knobs.{name}", known)
    count = len(stages) - bool(tested)
    acts_from = {name: stage_index(knob.stage, count) for name, knob in known.items()}
    for a in grid.axes:
        registry.find(a.knob, "sweep()", known)
        if a.tuned and a.knob in ("seed", config.claim.knob):
            raise UserError(f"sweep(): '{a.knob}' can't be tuned away: the claim is read along it; drop tuned().")
        if a.stage is not None and a.knob not in tested:
            if not isinstance(a.stage, str):
                raise UserError(
                    f"sweep(): axis '{a.knob}': stage={a.stage!r} must be a name of config.stages={stages}."
                )
            if a.stage not in stages:
                raise UserError(
                    f"sweep(): axis '{a.knob}' acts from unknown stage '{a.stage}'. {nearest(a.stage, stages)}"
                )
            acts_from[a.knob] = stages.index(a.stage)
    for mechanism in registry.MECHANISMS.values():
        _same_stage(mechanism, grid, acts_from, stages)
    for knob in (k for k in known.values() if k.pinned):
        if acts_from[knob.name] != stage_index(knob.stage, count):
            raise UserError(f"sweep(): {knob.name} acts from the {knob.stage} stage; drop stage= from its axis.")
    return acts_from | dict.fromkeys(tested, len(stages) - 1), base


def _same_stage(mechanism: Mechanism, grid: Grid, acts_from: dict[str, int], stages: list[str]) -> None:
    """A mechanism starts once: its static knobs act from the stage of its traced ones, whichever the axis names."""
    begins = min(acts_from[k.name] for k in mechanism.deciding)
    for knob in (k for k in mechanism.knobs if not k.traced):
        stage = next((a.stage for a in grid.axes if a.knob == knob.name), None)
        if stage is not None and stages.index(stage) != begins:
            raise UserError(
                f"sweep(): axis '{knob.name}' acts from stage '{stage}', but its mechanism starts at"
                f" '{stages[begins]}'; give both the same stage."
            )
        acts_from[knob.name] = begins
    for knob in (k for k in mechanism.knobs if k.needs):  # what shapes another knob acts as soon as that one does
        if all(a.stage is None for a in grid.axes if a.knob == knob.name):
            acts_from[knob.name] = min(acts_from[knob.name], *(acts_from[name] for name in knob.needs))


def _cells(grid: Grid, base: dict[str, Any], known: Mapping[str, Knob]) -> tuple[dict[str, Any], ...]:
    if not grid.points:
        raise UserError("sweep() returned no cells; give it at least one axis with a value.")
    if len(grid.points) > CELLS_MOST:
        raise UserError(f"sweep() returned {len(grid.points):,} cells; a study has at most {CELLS_MOST:,}.")
    points: dict[Any, None] = {}
    for point in grid.points:
        values = {name: registry.checked(name, value, f"sweep(): axis '{name}'", known) for name, value in point}
        points.setdefault(tuple(values.get(a.knob, base[a.knob]) for a in grid.axes))
    names = [a.knob for a in grid.axes]
    cells = [base | dict(zip(names, values, strict=True)) for values in points]
    for knob in (known[a.knob] for a in grid.axes):
        if knob.needs and all(cell[name] == known[name].neutral for cell in cells for name in knob.needs):
            values = " and ".join(f"{name} is {base[name]!r}" for name in knob.needs)
            fields = " or ".join(f"config.knobs.{name}" for name in knob.needs)
            raise UserError(
                f"sweep(): axis '{knob.name}' does nothing while {values}; set {fields}, or make it an axis."
            )
    return tuple(cells)


def _repeated(grid: Grid, cells: Sequence[Any]) -> tuple[str, ...]:
    more = len(grid.points) - len(cells)
    note = f"sweep(): {more} of {len(grid.points)} cells repeat another one of the grid; every cell is trained once."
    return (note,) if more else ()


def _alike(grid: Grid, cells: Sequence[Any], known: Mapping[str, Knob]) -> Iterator[str]:
    """A sentence for each axis with values that training can't tell apart."""
    for a in grid.axes:
        groups = registry.alike(a.knob, (cell[a.knob] for cell in cells), known)
        if groups:
            more = ", as are others of its values" if len(groups) > 1 else ""
            yield (
                f"sweep(): axis '{a.knob}': {' and '.join(map(exact, groups[0]))} are one number to training (float32)"
                f"{more}: their cells end in the same numbers; keep one of them."
            )


def _extra_readings(config: Any, metrics: Collection[str]) -> tuple[str, ...]:
    for name in config.probe.extra:
        if name not in metrics:
            raise UserError(f"config.probe.extra: no latent reading '{name}'. {nearest(name, metrics)}")
    return tuple(config.probe.extra)
