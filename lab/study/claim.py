"""The claim of a study's config, checked: every gain with every ability, each at its place; see `lab.study.places`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lab.errors import UserError, nearest, shown
from lab.mechanisms.base import Knob
from lab.study import sizes
from lab.study.claim_kind import kind_of, knobs_of
from lab.study.fields import is_section
from lab.study.grid import Grid
from lab.study.kinds import ASSOCIATION
from lab.study.parts import Stage, TaskUse
from lab.study.places import MEASURES, PROBES, Ability, Claim, Gain, fields_of
from lab.study.schema import LAYERS_MOST, NAME, SIGN, STEPS_MOST, choice, whole

GAINS, ABILITIES = "config.claim.gains", "config.claim.abilities"
NAMED = 12  # steps that a sentence names
KINDS = {
    **dict.fromkeys(("metric", "task", "split", "factor", "position", "stage"), NAME),
    "sign": SIGN,
    "layer": whole(-LAYERS_MOST - 1, LAYERS_MOST),
    "step": whole(1, STEPS_MOST),
    "measure": choice(MEASURES),
    "probe": choice(PROBES),
}
Placed = TypeVar("Placed", Gain, Ability)


def parse_claim(
    config: Any,
    grid: Grid,
    known: Mapping[str, Knob],
    tasks: Sequence[TaskUse],
    stages: Sequence[Stage],
    depths: Sequence[int],
    probe_layers: Collection[int],
    metrics: Collection[str],
    base: Mapping[str, Any],
) -> Claim:
    """The checked claim.

    Args:
      config: of the study, its fields checked one by one.
      grid: the study's.
      known: all knobs of the study.
      tasks, stages: checked.
      depths: the numbers of blocks that cells have.
      probe_layers: which are measured, as `sizes.layers` counts them.
      metrics: names of the registered latent metrics.
      base: knob -> its value where no axis gives another.

    Raises:
      UserError: one sentence with the field and the fix.
    """
    claim, axes = config.claim, {a.knob: a for a in grid.axes}
    over_all = claim.kind == ASSOCIATION
    if claim.knob not in axes and not over_all:
        raise UserError(f"config.claim.knob: '{claim.knob}' is not an axis of sweep(). {nearest(claim.knob, axes)}")
    over = knobs_of(claim, grid) if over_all else ()
    kind, control = (ASSOCIATION, None) if over_all else kind_of(claim, axes[claim.knob], base[claim.knob], known)
    given = list(_gains(claim.gains))
    for one in given:
        if one.metric not in metrics:
            raise UserError(f"{GAINS}: unknown metric '{one.metric}'. {nearest(one.metric, metrics)}")
    asked = [_ability(one) for one in claim.abilities]
    (layer,) = sizes.layers((claim.layer,), depths, "config.claim.layer")
    places = _Places({use.label: use for use in tasks}, tuple(stages), depths, tuple(probe_layers), layer)
    abilities = [places.ability(one) for one in asked]
    gains = [places.gain(one, abilities) for one in given]
    if not gains or not abilities:
        raise UserError("config.claim needs at least one entry in gains and one in abilities.")
    only = {one.task for one in abilities}  # a task that all abilities share need not be named
    _once([replace(one, sign=1, task=None if {one.task} == only else one.task).key for one in gains], GAINS)
    _once([f"{one.task}/{one.key}" for one in abilities], ABILITIES)
    return Claim(
        claim.knob,
        tuple((one.metric, one.sign) for one in gains if one.is_plain),
        tuple((one.task, one.key) for one in abilities),
        layer,
        float(claim.alpha),
        float(claim.delta),
        tuple(one for one in gains if not one.is_plain),
        tuple(one for one in abilities if not _is_plain(one)),
        below=int(claim.below),
        kind=kind,
        control=control,
        knobs=over,
    )


def _is_plain(one: Ability) -> bool:
    return one == Ability(one.task, one.split, MEASURES[0])


def _once(names: Sequence[str], field: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{field}: '{name}' is claimed twice; claim each once.")


def _gains(given: Any) -> Iterator[Gain]:
    """Gains from metric: sign, as a section or within a tuple, and from `gain(…)`, also as study.json keeps it."""
    for one in (given,) if is_section(given) else given:
        if is_section(one) and "metric" not in one:
            for metric, sign in one.items():
                yield _checked(Gain, {"metric": metric, "sign": sign}, GAINS)
        elif is_section(one) or isinstance(one, Gain):
            yield _checked(Gain, fields_of(one), GAINS)
        else:
            raise UserError(f"{GAINS}: {shown(one)} must be a gain(…), such as gain('fisher_trace', step=600).")


def _ability(one: Any) -> Ability:
    """An ability from 'task/split' or from `ability(…)`; `split` and `measure` at their defaults."""
    if isinstance(one, str):
        task, _, split = one.partition("/")
        return Ability(task, split, MEASURES[0])
    given = _checked(Ability, fields_of(one), ABILITIES)
    if given.probe is None:
        for field in ("factor", "layer", "position"):
            if getattr(given, field) is not None:
                raise UserError(
                    f"{ABILITIES}: {field}={getattr(given, field)!r} is for what a probe reads: name the probe, such as"
                    " probe='linear', or leave it out."
                )
        return replace(given, split=given.split or "iid", measure=given.measure or MEASURES[0])
    if given.measure is not None:
        raise UserError(
            f"{ABILITIES}: measure={given.measure!r} is of answers and probe={given.probe!r} of states: name one of"
            " them."
        )
    return replace(given, probe=PROBES[given.probe])


def _checked(kind: type[Placed], given: Mapping[str, Any], field: str) -> Placed:
    known = [f.name for f in dataclasses.fields(kind)]
    for name, value in given.items():
        if name not in known:
            raise UserError(f"{field}: {shown(name)} is no field of {kind.__name__.lower()}(…). {nearest(name, known)}")
        if not KINDS[name].holds(value):
            raise UserError(f"{field}: {name}={shown(value)} must {KINDS[name].must}.")
    if known[0] not in given:
        raise UserError(f"{field}: {kind.__name__.lower()}(…) needs a {known[0]}.")
    if "stage" in given and "step" in given:
        raise UserError(f"{field}: name the stage or the step of {given[known[0]]!r}, not both.")
    values: dict[str, Any] = {name: int(value) if name == "sign" else value for name, value in given.items()}
    return kind(**values)


@dataclass(frozen=True)
class _Places:
    """What places of a study there are, and how its sentences name them."""

    uses: Mapping[str, TaskUse]
    stages: tuple[Stage, ...]
    depths: Sequence[int]
    probe_layers: tuple[int, ...]
    layer: int

    def ability(self, one: Ability) -> Ability:
        """A checked ability."""
        where = f"{ABILITIES}: '{one.task}{'' if one.split is None else f'/{one.split}'}'"
        use = self._use(one.task, where)
        if one.probe is not None:
            one = self._site(one, use, where)
            one = replace(
                one,
                layer=self.layer if one.layer is None else one.layer,
                position=one.position or use.task.read_names[0],
            )
        elif one.split not in use.splits:
            raise UserError(f"{where}: no split '{one.split}'. {nearest(one.split, use.splits)}")
        return self._dated(one, where)

    def gain(self, one: Gain, abilities: Sequence[Ability]) -> Gain:
        """A checked gain, which must have its place in the task of every ability."""
        where = f"{GAINS}: '{one.metric}'"
        found = one
        for label in [one.task] if one.task is not None else dict.fromkeys(each.task for each in abilities):
            found = self._site(one, self._use(label, where), where)
        if one.task is None:  # which of the tasks' positions, factors and splits is the first one differs among them
            found = replace(found, position=one.position, factor=one.factor, split=one.split)
            found = self._without_defaults(found, abilities)
        layer = None if found.layer == self.layer else found.layer
        return self._dated(replace(found, layer=layer), where)

    def _without_defaults(self, one: Gain, abilities: Sequence[Ability]) -> Gain:
        uses = [self.uses[each.task] for each in abilities]
        if all(one.position == use.task.read_names[0] for use in uses):
            one = replace(one, position=None)
        if all(one.factor == use.factor for use in uses):
            one = replace(one, factor=None)
        return replace(one, split=None) if all(one.split == use.probe for use in uses) else one

    def _use(self, label: str, where: str) -> TaskUse:
        if label not in self.uses:
            raise UserError(f"{where}: no task '{label}'. {nearest(label, self.uses)}")
        return self.uses[label]

    def _site(self, one: Placed, use: TaskUse, where: str) -> Placed:
        """A place in a task whose layer is counted from 0 and whose defaults are None; all of it is measured."""
        task, names = use.task, use.task.read_names
        if one.split is not None and one.split not in task.splits:
            raise UserError(f"{where}: no split '{one.split}' of {use.label}. {nearest(one.split, task.splits)}")
        if one.position is not None and one.position not in names:
            raise UserError(
                f"{where}: no read position '{one.position}' of {use.label}. {nearest(one.position, names)}"
            )
        if one.factor is not None and one.factor not in use.factors:
            raise UserError(f"{where}: {self._unread(one.factor, use)}")
        if one.layer is not None:
            (layer,) = sizes.layers((one.layer,), self.depths, where)
            if layer not in self.probe_layers:
                raise UserError(
                    f"{where}: layer={one.layer} is not measured; add it to config.probe.layers={self.probe_layers}."
                )
            one = replace(one, layer=layer)
        return replace(
            one,
            split=None if one.split == use.probe else one.split,
            position=None if one.position == names[0] else one.position,
            factor=None if one.factor == use.factor else one.factor,
        )

    def _unread(self, factor: str, use: TaskUse) -> str:
        if factor not in use.task.factor_sizes:
            return f"no factor '{factor}' of {use.label}. {nearest(factor, use.task.factor_sizes)}"
        several = (*use.factors, factor)
        return f"the factor '{factor}' of {use.label} is not read; set config.tasks.{use.label}.factor={several}."

    def _dated(self, one: Placed, where: str) -> Placed:
        """A place with its step, and its stage where several end with that step; neither at the study's end."""
        ends = {stage.name: stage.end for stage in self.stages}
        if one.stage is not None and one.stage not in ends:
            raise UserError(f"{where}: no stage '{one.stage}'. {nearest(one.stage, ends)}")
        if one.stage is None and one.step is None:
            return one
        saved = [(stage.name, step) for stage in self.stages for step in stage.saves]
        step = one.step if one.stage is None else ends[one.stage]
        names = [name for name, each in saved if each == step]
        if step is None or not names:
            steps = sorted({each for _, each in saved})
            near = sorted(sorted(steps, key=lambda each: abs(each - (step or 0)))[:NAMED])
            which = "saved are" if len(near) == len(steps) else f"of {len(steps)} that are saved the nearest are"
            raise UserError(f"{where}: step={step} is not saved; {which} {', '.join(map(str, near))}.")
        stage = one.stage or names[-1]
        if (stage, step) == saved[-1]:
            return replace(one, stage=None, step=None)
        return replace(one, stage=stage if len(names) > 1 else None, step=step)
