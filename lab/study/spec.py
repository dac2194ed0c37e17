"""A checked study, frozen: everything that the plan, the engine and the analysis need. `lab.study.parse` makes it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lab.mechanisms import knobs as registry
from lab.mechanisms.base import Knob, StageSetup
from lab.mechanisms.knobs import active_knobs
from lab.nn.model import ModelSpec
from lab.study import sizes, task_sizes
from lab.study.grid import Axis
from lab.study.parts import CellRecipe, ProbeSet, Stage, TaskUse
from lab.study.places import Claim
from lab.training.step import Schedule
from tasks import identity_of
from tasks.mixture import Mixture

FORMAT = 5  # raised whenever the same config would train to other numbers, or to other readings of abilities
THEN = "then"  # in a cell of a branch, next to its knobs: {knob: value that replaces the cell's in the last stage}
WEIGHTS = "weights"  # in such a cell, too: the step of the first stage whose weights the last stage starts from


@dataclass(frozen=True)
class Study:
    """A checked study: everything that the plan, the engine and the analysis need."""

    name: str
    question: str
    spec: ModelSpec
    tasks: tuple[TaskUse, ...]
    stages: tuple[Stage, ...]
    schedule: Schedule
    axes: tuple[Axis, ...]
    acts_from: Mapping[str, int]  # knob -> index of the stage from which its axis or base value acts
    base: Mapping[str, Any]  # knob -> value where no axis gives another
    cells: tuple[Mapping[str, Any], ...]  # one full setting of all knobs a cell
    call_steps: int
    eval_examples: int
    probe_examples: int
    probe_layers: tuple[int, ...]
    claim: Claim
    restart: Schedule | None = None  # of the last stage, where it has a schedule of its own; see lab.engine.branch
    room: Mapping[str, int] | None = None  # of a branch: the largest values of the study that it continues
    notes: tuple[str, ...] = ()  # for a person: how the grid was read
    extra_readings: tuple[str, ...] = ()  # latent readings next to those of every study and the claimed ones
    tested: tuple[str, ...] = ()  # knobs that differ in the last stage alone, see `lab.study.testing`
    own_knobs: Mapping[str, Knob] = field(default_factory=dict)  # that this study uses, of those its tasks declare

    @cached_property
    def knobs(self) -> Mapping[str, Knob]:
        """Every knob that a cell has a value of: those of all studies, and this one's own."""
        return {**registry.KNOBS, **self.own_knobs}

    def active(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some knobs' values that do something, see `lab.mechanisms.knobs.active_knobs`."""
        return active_knobs(values, self.knobs)

    def mechanisms(self, settings: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """Names of the mechanisms that some settings of this study's knobs use."""
        return registry.mechanisms_in_use(settings, self._acting)

    @cached_property
    def _acting(self) -> Mapping[str, Knob]:
        """The knobs that mechanisms read: not the static fields of tasks, which make another task."""
        return {name: knob for name, knob in self.knobs.items() if name not in self.task_sizes}

    @cached_property
    def task_sizes(self) -> tuple[str, ...]:
        """The knobs that are static fields of tasks: cells that differ in one of them learn different tasks."""
        return task_sizes.names(self.own_knobs.values())

    def at(self, values: Mapping[str, Any]) -> Study:
        """The study of the cells with these values of `task_sizes`: its tasks have them, and its model room for them.

        Its cells and axes stay the whole study's. The study itself where no static field of a task is an axis.

        Args:
          values: of knobs, such as a cell or the other axes' values; neutral is what they leave out.
        """
        if not self.task_sizes:
            return self
        if (made := self._made.get(setting := self.task_setting(values))) is None:
            given = dict(zip(self.task_sizes, setting, strict=True))
            tasks = task_sizes.tasks_with(self.tasks, self.own_knobs.values(), given)
            own = {name: knob for name, knob in self.own_knobs.items() if name not in given}
            spec = task_sizes.fitted(self.spec, tasks)
            made = self._made[setting] = dataclasses.replace(self, tasks=tasks, spec=spec, own_knobs=own)
        return made

    def task_setting(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of `task_sizes` among some knobs' values: equal for cells that learn the same tasks."""
        return tuple(values.get(name, self.own_knobs[name].neutral) for name in self.task_sizes)

    @cached_property
    def _made(self) -> dict[tuple[Any, ...], Study]:
        """What `at` has made."""
        return {}

    @property
    def variants(self) -> tuple[Study, ...]:
        """What `at` gives for the cells, each once; the study itself where its cells learn the same tasks."""
        return tuple(self.at(setting) for setting in self.task_settings)

    @property
    def task_settings(self) -> list[dict[str, Any]]:
        """The different values of `task_sizes` that cells have, in the order of `variants`."""
        return task_sizes.settings(self.own_knobs.values(), self.cells)

    def setup(self, values: Mapping[str, Any], stage: int) -> StageSetup:
        """A stage as mechanisms see it before anything compiles, given every knob's value in force."""
        examples = {use.label: use.examples[stage] for use in self.tasks if use.examples[stage]}
        one = self.at(values)
        return StageSetup(one.mixture, self.bare_spec(values), values, examples, own=one.own_knobs)

    @property
    def mixture(self) -> Mixture:
        """The tasks as one vocabulary."""
        return Mixture(tuple((use.label, use.task) for use in self.tasks))

    def use(self, label: str) -> TaskUse:
        """The task under a label."""
        return next(use for use in self.tasks if use.label == label)

    @property
    def further_probes(self) -> tuple[tuple[str, str, str], ...]:
        """(label, split, factor) of what is read next to each task's own split and factor; empty in most studies."""
        return tuple((one.use.label, one.split, one.factor) for one in self.probe_sets[len(self.tasks) :])

    @cached_property
    def probe_sets(self) -> tuple[ProbeSet, ...]:
        """What latents are read for: each task's own split and factor first, then what else is declared or claimed."""
        sets = [ProbeSet(use, use.probe, use.factor) for use in self.tasks]
        sets += [ProbeSet(use, use.probe, factor) for use in self.tasks for factor in use.further]
        apart = [(use, s) for use in self.tasks for s in self.claim.splits_of(use.label) if s != use.probe]
        return (*sets, *(ProbeSet(use, split, factor) for use, split in apart for factor in use.factors))

    @property
    def tuned(self) -> tuple[str, ...]:
        """The knobs that are tuned away."""
        return tuple(a.knob for a in self.axes if a.tuned)

    @property
    def examples(self) -> tuple[int, ...]:
        """Examples of all tasks a training step, a number for each stage."""
        return tuple(sum(each) for each in zip(*(use.examples for use in self.tasks), strict=True))

    @property
    def train_length(self) -> int:
        """Padded length of a training batch."""
        return self.mixture.length({use.label: "train" for use in self.tasks})

    @property
    def longest_training(self) -> int:
        """The longest padded length of a training batch in any cell."""
        return max(one.train_length for one in self.variants)

    def steps_from(self, stage: int) -> int:
        """Steps that a stage and those after it train."""
        return self.stages[-1].end - self.stages[stage].start

    def knobs_at(self, cell: Mapping[str, Any], stage: int) -> dict[str, Any]:
        """The value of every knob in force for a cell during a stage."""
        values = {**cell, **self._before_acting[stage]}
        then = values.pop(THEN, {})
        values.pop(WEIGHTS, None)
        return values | then if stage == len(self.stages) - 1 else values

    @cached_property
    def _before_acting(self) -> tuple[dict[str, Any], ...]:
        """[stage]: the values of the knobs that are not active yet; the same for all cells."""
        on_axis = {a.knob for a in self.axes}
        found = []
        for stage in range(len(self.stages)):
            waiting = {}
            for name, knob in self.knobs.items():
                if stage < self.acts_from[name]:
                    due = name in on_axis and stage >= stage_index(knob.stage, len(self.stages) - bool(self.tested))
                    waiting[name] = self.base[name] if due or knob.neutral is None else knob.neutral
            found.append(waiting)
        return tuple(found)

    def weights_at(self, cell: Mapping[str, Any], stage: int) -> int | None:
        """The step of the first stage whose weights a stage starts from; None: the cell's own."""
        return cell.get(WEIGHTS) if stage == len(self.stages) - 1 else None

    def schedule_at(self, stage: int) -> Schedule:
        """The learning rate's schedule during a stage."""
        return self.restart if self.restart and stage == len(self.stages) - 1 else self.schedule

    def starting(self, cell: Mapping[str, Any], stage: int) -> tuple[str, ...]:
        """Mechanisms that start at a stage, or that a branch changes there, so that they run their stage start.

        A mechanism that a branch changes is left out where it has no stage start.
        """
        begins = self._beginning[stage]
        changed = cell.get(THEN, {}) if stage == len(self.stages) - 1 else {}
        changing = {name.split(".")[0] for name in changed if "." in name}
        return (
            begins
            if not changing
            else begins
            + tuple(
                name
                for name in registry.MECHANISMS
                if name in changing - {*begins} and registry.EVERY[name].has_stage_start
            )
        )

    @cached_property
    def _beginning(self) -> tuple[tuple[str, ...], ...]:
        """[stage]: names of the mechanisms that start there."""
        acts_from = {**self.acts_from, **dict.fromkeys(self.tested, 0)}  # another value at test is no start
        first = {
            name: min(acts_from[k.name] for k in mechanism.deciding) for name, mechanism in registry.MECHANISMS.items()
        }
        return tuple(tuple(name for name in first if first[name] == stage) for stage in range(len(self.stages)))

    def bare_spec(self, cell: Mapping[str, Any]) -> ModelSpec:
        """The sizes of a cell's model: the study's, and those that its axes give it, without room for mechanisms."""
        return sizes.with_sizes(self.at(cell).spec, cell)

    @cached_property
    def bare_specs(self) -> tuple[ModelSpec, ...]:
        """The different ones of all cells."""
        return tuple(dict.fromkeys(self.bare_spec(cell) for cell in self.cells))

    @property
    def depths(self) -> tuple[int, ...]:
        """The numbers of blocks that cells have, ascending."""
        return tuple(sorted({spec.layers for spec in self.bare_specs}))

    def size_text(self, size: str) -> str:
        """A size of the cells' models, such as 'layers', for a person: '2'; '1 to 4' where an axis has it."""
        values = sorted({getattr(spec, size) for spec in self.bare_specs})
        return f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"

    def spec_of(self, cell: Mapping[str, Any], at_test: bool = True) -> ModelSpec:
        """The sizes of a cell's model, with room for what its mechanisms need: as it is read at the end, or trained."""
        trained = {**cell, **{name: self.base[name] for name in self.tested}}
        settings, largest = ([trained, cell], self._largest_at_test) if at_test else ([trained], self.largest)
        spec = self.bare_spec(cell)
        for name in self.mechanisms(settings):
            spec = registry.EVERY[name].shape(spec, {**settings[-1], **largest})
        return spec

    @cached_property
    def largest(self) -> Mapping[str, int]:
        """The largest value in training, in any cell, of every knob that models need room for."""
        if self.room is not None:
            return self.room
        sized = [k.name for k in registry.KNOBS.values() if k.sizes]
        return {n: self.base[n] if n in self.tested else max(cell[n] for cell in self.cells) for n in sized}

    @cached_property
    def _largest_at_test(self) -> Mapping[str, int]:
        """The same at the end, where knobs that are tested have a cell's own value."""
        sized = [name for name in self.tested if name in self.largest]
        return {**self.largest, **{n: max(self.largest[n], *(cell[n] for cell in self.cells)) for n in sized}}

    def content(self, cell: Mapping[str, Any], stage: int) -> dict[str, Any]:
        """Everything that decides a cell's numbers up to the end of a stage, as plain JSON values."""
        own = [self._of_stage(cell, i, self._deciding(cell, i)) for i in range(stage + 1)]
        return self.at(cell)._content(self.spec_of(cell, at_test=False), own)

    def _of_stage(self, cell: Mapping[str, Any], stage: int, knobs: Mapping[str, Any]) -> dict[str, Any]:
        """What a cell has of its own in a stage, given its knobs there: the sizes at test, too."""
        at_test = self.tested and stage == len(self.stages) - 1
        own = {"knobs": knobs, **self._rewound(cell, stage)}
        return own | {"model": _model_content(self.spec_of(cell))} if at_test else own

    def _deciding(self, cell: Mapping[str, Any], stage: int) -> dict[str, Any]:
        """The knobs that do something to a cell in a stage, but for sizes of its model and its tasks."""
        return sizes.apart(active_knobs(self.knobs_at(cell, stage), self._acting))

    def _content(self, spec: ModelSpec, own: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """`content` of a cell with a model of those sizes, given what each of its stages has of its own."""
        stages = [{**s, **mine} for s, mine in zip(self._content_of_stages, own, strict=False)]
        return self._content_of_all | {"model": _model_content(spec), "stages": stages}

    @cached_property
    def _content_of_stages(self) -> tuple[dict[str, Any], ...]:
        return tuple(
            {
                "steps": s.end - s.start,
                "saves": list(s.saves),
                "examples": [use.examples[i] for use in self.tasks],
                **self._restarted(i),
            }
            for i, s in enumerate(self.stages)
        )

    @cached_property
    def _content_of_all(self) -> dict[str, Any]:
        """The part of `content` that all cells share."""
        schedule = _schedule_content(self.schedule)
        schedule.pop("begun")
        if self.schedule.name == "constant":
            schedule.pop("total")  # a constant rate doesn't depend on the study's length
        return {
            "format": FORMAT,
            "tasks": [_task_content(use) for use in self.tasks],
            "schedule": schedule,
            "call_steps": self.call_steps,
            "evaluation": self.eval_examples,
            **({"tuning": True} if self.tuned else {}),  # then abilities have more columns
        }

    def _restarted(self, stage: int) -> dict[str, Any]:
        schedule = self.schedule_at(stage)
        return {} if schedule is self.schedule else {"schedule": _schedule_content(schedule)}

    def _rewound(self, cell: Mapping[str, Any], stage: int) -> dict[str, Any]:
        step = self.weights_at(cell, stage)
        return {} if step is None else {WEIGHTS: step}

    def key(self, cell: Mapping[str, Any], stage: int) -> str:
        """The content's hash: equal for cells that agree on all knobs active up to this stage."""
        return digest(self.content(cell, stage))

    def recipes(self) -> Iterator[CellRecipe]:
        """The recipe of each cell, in order; a prefix that cells share is hashed once."""
        hashed: dict[Any, str] = {}
        for cell in self.cells:
            spec, last = self.spec_of(cell, at_test=False), self.spec_of(cell)
            specs = (*[spec] * (len(self.stages) - 1), last)
            active = tuple(self._deciding(cell, i) for i in range(len(self.stages)))
            own = [self._of_stage(cell, i, knobs) for i, knobs in enumerate(active)]
            each = zip(specs, active, strict=True)
            same = [
                self.task_setting(cell),
                spec,
                *((one, tuple(k.items()), self.weights_at(cell, i)) for i, (one, k) in enumerate(each)),
            ]
            keys = []
            for stage in range(len(self.stages)):
                prefix = tuple(same[: stage + 3])
                if prefix not in hashed:
                    hashed[prefix] = digest(self.at(cell)._content(spec, own[: stage + 1]))
                keys.append(hashed[prefix])
            yield CellRecipe(specs, active, tuple(keys))

    @cached_property
    def cell_keys(self) -> tuple[str, ...]:
        """The key of each cell at its end, by which files name the cell."""
        return tuple(recipe.keys[-1] for recipe in self.recipes())

    def claim_hash(self) -> str:
        """Hash of the primary hypotheses, written down before training."""
        fields = {f.name: f.default for f in dataclasses.fields(self.claim)}
        content = dataclasses.asdict(self.claim)
        # What is at a default is left out: a field that a later version adds changes no hash of an earlier claim.
        return digest({name: value for name, value in content.items() if value != fields[name]})


def digest(content: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _model_content(spec: ModelSpec) -> dict[str, Any]:
    """Sizes that are not at their default: a size that a later version adds changes no key."""
    return {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec) if getattr(spec, f.name) != f.default}


def _schedule_content(schedule: Schedule) -> dict[str, Any]:
    """Its fields, `start` by the name that it has in the keys of kept checkpoints."""
    return {"begun" if name == "start" else name: value for name, value in dataclasses.asdict(schedule).items()}


def _task_content(use: TaskUse) -> dict[str, Any]:
    splits = {name: [dict(s.difficulty), s.length] for name, s in use.task.splits.items()}
    return {"label": use.label, "task": use.task.name, **identity_of(use.task), "splits": splits}


def stage_index(name: str, count: int) -> int:
    """The index of a knob's own stage, 'first' or 'last', of so many."""
    return 0 if name == "first" else count - 1
