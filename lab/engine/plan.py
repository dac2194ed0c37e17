"""Plans a study: program groups, stages with shared prefixes, and chunks. Everything is decided before compiling.

A node is a stretch of training that is carried out once: a stage, for all the cells that agree on every knob active so
far. Nodes form trees, each node starting from its parent's end. Nodes of one stage that share every static knob form a
program group: they run in one compiled program.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from lab.engine.device_grid import Layout, chunk_for, halved
from lab.errors import UserError
from lab.mechanisms import knobs as registry
from lab.mechanisms.base import Knob
from lab.nn import model
from lab.study.parts import CellRecipe
from lab.study.spec import Study
from lab.training.step import Program


@dataclass(frozen=True)
class Node:
    """A stage of training carried out once.

    Attributes:
      key: content hash, by which its numbers are found on disk.
      stage: index of the stage.
      parent: key of the node it continues; None at the first stage.
      cells: indices of the study's cells that share it.
      knobs: every knob's value in force.
      weights: the step of the first stage whose weights it starts from; None: its parent's.
    """

    key: str
    stage: int
    parent: str | None
    cells: tuple[int, ...]
    knobs: Mapping[str, Any]
    weights: int | None = None


@dataclass(frozen=True)
class ProgramGroup:
    """The nodes of one stage that share a compiled program and the step of their weights."""

    stage: int
    program: Program
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Plan:
    """What will be trained, and how it is laid out.

    Attributes:
      study, layout: what is trained, and on which devices.
      program_groups: earlier stages first.
      chunk_mates: key -> knobs of nodes that are not the study's but share chunks with its own.
    """

    study: Study
    layout: Layout
    program_groups: tuple[ProgramGroup, ...]
    chunk_mates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def knobs(self) -> dict[str, Mapping[str, Any]]:
        """The knobs in force of every node, by its key, and of the chunk mates."""
        return {**self.chunk_mates, **{node.key: node.knobs for group in self.program_groups for node in group.nodes}}

    def nodes_of_cells(self) -> list[list[Node]]:
        """[cell][stage]: the node that holds a cell's numbers during a stage."""
        found: list[dict[int, Node]] = [{} for _ in self.study.cells]
        for node in (n for group in self.program_groups for n in group.nodes):
            for cell in node.cells:
                found[cell][node.stage] = node
        return [[stages[stage] for stage in sorted(stages)] for stages in found]

    def steps_alone(self) -> int:
        """Cell-steps if every cell were trained on its own."""
        return len(self.study.cells) * self.study.stages[-1].end

    def steps_shared(self, done: Collection[str] = ()) -> int:
        """Cell-steps with shared prefixes, the nodes already trained left out."""
        return sum(self.steps(b) for b in self.program_groups for n in b.nodes if n.key not in done)

    def is_trained(self, done: Collection[str]) -> bool:
        """Whether nothing is left to do, nodes of stages without steps included: they are evaluated and kept, too."""
        return all(node.key in done for group in self.program_groups for node in group.nodes)

    def cells_trained(self, done: Collection[str] | None = None) -> int:
        """How many of the study's cells this plan trains to their end; with `done`, how many of them are trained."""
        last = [n for b in self.program_groups for n in b.nodes if b.stage == len(self.study.stages) - 1]
        return sum(len(n.cells) for n in last if done is None or n.key in done)

    def steps(self, group: ProgramGroup) -> int:
        """Steps of one node of the group."""
        stage = self.study.stages[group.stage]
        return stage.end - stage.start

    def chunk(self, done: Collection[str] = ()) -> int:
        """Cells a device trains in one call, for the nodes left: one number, so that shapes, hence programs, repeat."""
        left = [sum(n.key not in done for n in group.nodes) for group in self.program_groups]
        return min((chunk_for(count, self.layout) for count in left if count), default=0)

    @property
    def training_programs(self) -> list[ProgramGroup]:
        """The groups that a training program is compiled for: those whose stage has steps."""
        return [group for group in self.program_groups if self.steps(group)]

    def compiles_of_axes(self) -> dict[str, int]:
        """Axis with static values -> how many fewer training programs a grid with one of its values would have."""
        programs_of = [set() for _ in self.study.cells]
        for index, group in enumerate(self.training_programs):
            for node in group.nodes:
                for cell in node.cells:
                    programs_of[cell].add(index)
        saved = {}
        static = [a for a in self.study.axes if not self.study.knobs[a.knob].traced and len(a.values) > 1]
        for axis in static:
            alone = {value: set[int]() for value in axis.values}
            for cell, programs in zip(self.study.cells, programs_of, strict=True):
                alone[cell[axis.knob]] |= programs
            saved[axis.knob] = len(self.training_programs) - max(len(programs) for programs in alone.values())
        return saved

    def parameters(self) -> int:
        """Parameters of the largest cell."""
        return max(parameters(spec) for spec in {group.program.spec for group in self.program_groups})

    def memory_bytes(self) -> int:
        """Estimated peak of a device: its cells' states and gradients, and activations of the cells run together.

        Activations are those of a step, of an evaluation or of the probes, whichever are most.
        """
        return max(self.memory_of(spec) for spec in {group.program.spec for group in self.program_groups})

    def memory_of(self, spec: model.ModelSpec) -> int:
        """The same for the programs of one model."""
        study = self.study
        state = 4 * parameters(spec) * (self.layout.chunk * 4 + self.layout.width)
        length = study.longest_training + spec.slots + spec.registers
        tokens = max(max(study.examples), study.eval_examples) * length
        neurons = spec.mlp_width * max(spec.experts, 1)
        passes = spec.turns * (spec.thoughts + 1)
        per_token = spec.layers * passes * (12 * spec.width + 3 * neurons + 2 * spec.heads * length)
        trained = tokens * per_token
        return state + 4 * self.layout.width * max(trained, self._probed(spec, length, neurons))

    def _probed(self, spec: model.ModelSpec, length: int, neurons: int) -> int:
        """Numbers held while one cell's latents are read: a pass over a task's probe inputs, states, distances."""
        study = self.study
        count = study.probe_examples
        lengths = (s.mixture.length({use.label: split}) for s in study.variants for use, split, _ in s.probe_sets)
        length = max(length, *lengths)
        a_pass = count * length * ((spec.layers + 1) * spec.width + neurons + spec.heads * length)
        places = len(study.probe_layers) * sum(len(one.use.task.read_names) for one in study.probe_sets)
        return a_pass + count * (places * spec.width + count)

    def within(self, budget: int) -> Plan:
        """The plan with the chunk halved until its estimated memory fits into that of a device; else unchanged.

        Args:
          budget: bytes of a device, `device_grid.memory_budget`; 0 where that isn't known.

        Raises:
          UserError: if even one cell doesn't fit.
        """
        plan = self
        while budget and (needed := plan.memory_bytes()) > budget:
            if plan.layout.chunk == 1:
                raise UserError(
                    f"one cell takes about {needed / 2**20:,.0f} MiB and a device has {budget / 2**20:,.0f} for cells;"
                    " make config.model, the tasks' examples, config.evaluation.examples or config.probe.examples"
                    " smaller, raise this process's limit on memory where it has one (`ulimit -v`, the batch job's), or"
                    " pass --chunk=1 to try it all the same."
                )
            plan = replace(plan, layout=halved(plan.layout))
        return plan


@functools.cache
def parameters(spec: model.ModelSpec) -> int:
    """Parameters of a model of those sizes."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), spec))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def make_plan(study: Study, layout: Layout) -> Plan:
    """Group a study's cells into nodes and program groups."""
    program_groups: list[ProgramGroup] = []
    recipes = list(study.recipes())
    for stage in range(len(study.stages)):
        groups: dict[Any, list[Node]] = {}
        found: list[ProgramGroup] = []
        for node in _nodes(study, stage, recipes):
            cell = study.cells[node.cells[0]]
            tasks, spec = study.at(cell).tasks, recipes[node.cells[0]].specs[stage]
            shared = tasks, spec, _static(node.knobs), study.starting(cell, stage), node.weights
            groups.setdefault(shared, []).append(node)
        for (_, spec, static, starting, _), nodes in groups.items():
            found.append(_program_group(study, stage, spec, static, starting, nodes, recipes))
        # The longest first: it shows early how long everything takes, and whether it fits into memory.
        program_groups += sorted(found, key=lambda b: -parameters(b.program.spec) * len(b.nodes))
    return Plan(study, layout, tuple(program_groups))


def _nodes(study: Study, stage: int, recipes: Sequence[CellRecipe]) -> list[Node]:
    members: dict[str, list[int]] = {}
    for index, recipe in enumerate(recipes):
        members.setdefault(recipe.keys[stage], []).append(index)
    nodes = []
    for key, cells in members.items():
        cell = study.cells[cells[0]]
        parent = recipes[cells[0]].keys[stage - 1] if stage else None
        weights = study.weights_at(cell, stage)
        nodes.append(Node(key, stage, parent, tuple(cells), study.knobs_at(cell, stage), weights))
    return nodes


def _static(knobs: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, knobs[name]) for name in registry.STATIC if name in knobs)


def _program_group(
    study: Study,
    stage: int,
    spec: model.ModelSpec,
    static: tuple[tuple[str, Any], ...],
    starting: tuple[str, ...],
    nodes: list[Node],
    recipes: Sequence[CellRecipe],
) -> ProgramGroup:
    mechanisms = study.mechanisms(knobs for n in nodes for knobs in recipes[n.cells[0]].active_knobs[: stage + 1])
    mine = study.at(nodes[0].knobs)
    program = Program(
        spec=spec,
        mixture=mine.mixture,
        counts=tuple((use.label, use.examples[stage]) for use in mine.tasks),
        length=mine.train_length,
        schedule=study.schedule_at(stage),
        mechanisms=mechanisms,
        starting=tuple(name for name in mechanisms if name in starting),
        static=tuple((k, v) for k, v in static if k.split(".")[0] in mechanisms),
        call_steps=study.call_steps,
        opening=study.stages[0].end,
        optimizer=dict(static)[registry.OPTIMIZER.name],
    )
    return ProgramGroup(stage, program, tuple(nodes))


def traced_arguments(
    nodes: list[Node], own: Mapping[str, Knob] | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(seeds int32[G], {traced knob: float32[G]}): what distinguishes the cells of one call.

    Args:
      nodes: one a cell.
      own: the knobs of their study alone, `Study.own_knobs`.
    """
    seeds = jnp.asarray([n.knobs["seed"] for n in nodes], jnp.int32)
    traced = [k for k in {**registry.KNOBS, **(own or {})}.values() if k.traced and k.name != "seed"]
    return seeds, _columns(traced, [n.knobs for n in nodes])


def arguments_of(mechanisms: tuple[str, ...], settings: Sequence[Mapping[str, Any]]) -> dict[str, jax.Array]:
    """{traced knob of some mechanisms: float32[G]} for the settings of G cells."""
    return _columns([k for name in mechanisms for k in registry.EVERY[name].knobs if k.traced], settings)


def _columns(knobs: Sequence[Knob], settings: Sequence[Mapping[str, Any]]) -> dict[str, jax.Array]:
    return {k.name: jnp.asarray([k.number(s[k.name]) for s in settings], jnp.float32) for k in knobs}
