"""Carries out a plan: trains, evaluates, saves, resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lab.engine import device_grid, evaluate
from lab.engine.device_grid import Layout
from lab.engine.device_round import DeviceRound
from lab.engine.plan import Node, Plan, ProgramGroup, arguments_of, parameters, traced_arguments
from lab.engine.program_cache import Programs
from lab.engine.progress import Progress
from lab.engine.provenance import made_with
from lab.mechanisms import EVERY
from lab.stop import Stopped
from lab.storage import Chunk, Store, checkpoint
from lab.storage.background_saver import SPARE_SECONDS, Saver
from lab.storage.history import History
from lab.storage.paths import remove
from lab.study.spec import Study, digest
from lab.training import step as train
from lab.training.active_mechanisms import at_inference

Chunks = tuple[Chunk, ...]  # of a device round


class Trainer:
    """Trains the nodes of a plan that its store lacks."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        progress: Progress,
        programs: Programs,
        stop: Callable[[], bool] = lambda: False,
        spare_seconds: float = SPARE_SECONDS,
    ):
        """A trainer of one plan on one store.

        Args:
          plan, store, progress, programs: of one study.
          stop: whether to save and end, asked after every call.
          spare_seconds: the longest time between checkpoints, but for the length of a call.
        """
        self.plan, self.store, self.progress, self.programs = plan, store, progress, programs
        self._stop, self._spare_seconds, self._read_back = stop, spare_seconds, False
        self.study, self.layout = plan.study, plan.layout
        # Chunks that were cut off on these devices decide the shape of the rest, so that one program serves both.
        capacities = [_capacity(c) for c in self._mine() if c[-1].meta["layout"] == asdict(self.layout)]
        self._capacity = max(capacities, default=0) or plan.chunk(store.nodes)

    def _mine(self) -> list[Chunk]:
        """The chunks that were cut off and hold only nodes of the plan, which may be a part of the study's."""
        keys = {node.key for group in self.plan.program_groups for node in group.nodes}
        return [chunk for chunk in self.store.unfinished if keys.issuperset(chunk[-1].meta["cells"])]

    def run(self) -> None:
        """Train one program group after the other; every parent's group comes before its children's.

        Raises:
          Stopped: on request, with everything saved.
        """
        with Saver() as saver:
            for group in self.plan.program_groups:
                for saved in [
                    self._train(group, device_round, saver) for device_round in list(self._device_rounds(group))
                ]:
                    for chunk in saved.result():
                        self.store.add(chunk)

    def _study_of(self, group: ProgramGroup) -> Study:
        """The study of a group's cells, with their own tasks."""
        return self.study.at(group.nodes[0].knobs)

    def _can_continue(self, chunk: Chunk) -> bool:
        """Whether training may continue from a chunk's checkpoints, on however many devices it was cut off.

        On another platform, or at another width, it starts its stage again: its rows would not fill whole widths.
        """
        before = Layout(**chunk[-1].meta["layout"])
        return (before.platform, before.width) == (self.layout.platform, self.layout.width)

    def _device_rounds(self, group: ProgramGroup) -> Iterator[DeviceRound]:
        """The chunks of a program group that were cut off, then chunks of the nodes that are left."""
        order = {node.key: index for index, node in enumerate(group.nodes)}
        cut_off, taken = [], set()
        for chunk in sorted(self._mine(), key=lambda c: order.get(c[-1].meta["cells"][0], 0)):
            cells = chunk[-1].meta["cells"]
            if not all(key in order for key in cells) or taken & set(cells):
                continue
            if self._can_continue(chunk):
                cut_off.append(chunk)
                taken |= set(cells)
            else:
                self.progress.note(
                    f"{len(cells)} cells were cut off on another platform or width; they start their stage again."
                )
        for first in range(0, len(cut_off), self.layout.devices):
            yield from self._resumed_rounds(group, order, cut_off[first : first + self.layout.devices])
        left = [n for n in group.nodes if n.key not in self.store.nodes and n.key not in taken]
        chunks = [tuple(left[i : i + self._capacity]) for i in range(0, len(left), self._capacity)] if left else []
        for first in range(0, len(chunks), self.layout.devices):
            yield DeviceRound(
                tuple(chunks[first : first + self.layout.devices]), (), self._capacity, self.layout.devices
            )

    def _resumed_rounds(self, group: ProgramGroup, order: dict[str, int], chunks: list[Chunk]) -> Iterator[DeviceRound]:
        """One round from the latest step that all of some chunks hold in full; a round each where there is none."""
        common = set.intersection(*({s.step for s in chunk if s.resumable} for chunk in chunks))
        if not common:
            for chunk in chunks:
                yield from self._resumed_rounds(group, order, [chunk])
            return
        resumed = tuple([s for s in chunk if s.step <= max(common)] for chunk in chunks)
        for saved in (s for chunk in chunks for s in chunk if s.step > max(common) and s.spare):
            checkpoint.drop(saved)  # no chunk continues from it
        nodes = tuple(tuple(group.nodes[order[k]] for k in c[-1].meta["cells"]) for c in resumed)
        yield DeviceRound(nodes, resumed, max(_capacity(chunk) for chunk in resumed), self.layout.devices)

    def _train(self, group: ProgramGroup, device_round: DeviceRound, saver: Saver) -> Future[Chunks]:
        """Train one round from its stage's start or its checkpoints to the end. Returns its chunks, once saved."""
        stage = self.study.stages[group.stage]
        seeds, knobs = device_grid.to_devices(traced_arguments(device_round.padded, self.study.own_knobs), self.layout)
        if device_round.cut_off:
            step, state, history = self._resume(group, device_round)
            self.progress.resumed(len(device_round.nodes) * (step - stage.start))
        else:
            step, state = stage.start, self._entry(group, device_round, seeds, knobs)
            history = History.start(len(device_round.padded), len(evaluate.names(self._study_of(group))))
            for chunk in device_round.chunks:  # nothing continues from what an earlier run left of it
                remove(self._directory(group, chunk))
        saved: Future[Chunks] = Future()
        saved.set_result(device_round.cut_off or tuple([] for _ in device_round.chunks))
        if not stage.steps:
            history = self._without_steps(group, device_round, step, seeds, knobs, state, history)
            host = device_grid.fetch(state)
            return saver(partial(self._save, group, device_round, step, host, history, saved, spare=False))
        call = self._training_call(group, seeds, knobs, state)
        while step < stage.end:
            target = min(save for save in stage.saves if save > step)
            step, state, history = self._advance(
                group, device_round, call, (step, target), seeds, knobs, state, history
            )
            if step == target:
                history = history.evaluated(step, self._abilities(group, device_round, step, seeds, state.params))
            host = device_grid.fetch(state)
            saved = saver(partial(self._save, group, device_round, step, host, history, saved, spare=step < target))
            if not self._read_back:  # once a run, before it trains on
                checkpoint.read_back(saved.result()[0][-1])
                self._read_back = True
            if self._stop():
                raise Stopped
        return saved

    def _without_steps(
        self,
        group: ProgramGroup,
        device_round: DeviceRound,
        step: int,
        seeds: Any,
        knobs: Any,
        state: train.State,
        history: History,
    ) -> History:
        """What a stage without steps records of the cells right after it started, the last call's batches their loss's.

        The same batches as of the reading before it, so that the two losses differ by what started here alone.
        """
        program, calls = group.program, group.program.call_steps
        first = device_grid.share(np.int32(step - calls), self.layout)
        name, arguments = f"losses, {self._name(group)}", (first, seeds, knobs, state)
        losses = lambda t, s, k, x: train.call_losses(program, t, s, k, x)  # noqa: E731
        loss_GxT = self._program(name, program, losses, arguments, shared=1)(*arguments)
        history = history.trained(step - calls, jax.device_get(loss_GxT))
        last = group.stage == len(self.study.stages) - 1
        self.progress.advanced(0, sum(len(n.cells) for n in device_round.nodes) if last else 0)
        return history.evaluated(step, self._abilities(group, device_round, step, seeds, state.params))

    def _advance(
        self,
        group: ProgramGroup,
        device_round: DeviceRound,
        call: Any,
        between: tuple[int, int],
        seeds: Any,
        knobs: Any,
        state: train.State,
        history: History,
    ) -> tuple[int, train.State, History]:
        """Train call after call from one step to another, or until a spare checkpoint is due.

        A call's losses are read once the next call is under way, so that no device waits for the host.
        """
        (step, target), calls = between, group.program.call_steps
        unread: tuple[int, Any] | None = None
        started, due = time.monotonic(), False
        with jax.transfer_guard("disallow"):  # only the transfers named here
            while step < target and not due:
                state, loss_GxT = call(device_grid.share(np.int32(step), self.layout), seeds, knobs, state)
                if unread:
                    history = self._read(group, device_round, history, *unread)
                unread, step = (step, loss_GxT), step + calls
                due = self._stop() or time.monotonic() - started > self._spare_seconds
            assert unread is not None, "training continues from before the next save"
            return step, state, self._read(group, device_round, history, *unread)

    def _read(
        self, group: ProgramGroup, device_round: DeviceRound, history: History, first_step: int, loss_GxT: Any
    ) -> History:
        """The history with one more call, which is reported as progress."""
        calls, stage = group.program.call_steps, self.study.stages[group.stage]
        last = group.stage == len(self.study.stages) - 1 and first_step + calls == stage.end
        history = history.trained(first_step, jax.device_get(loss_GxT))
        self.progress.advanced(
            len(device_round.nodes) * calls, sum(len(n.cells) for n in device_round.nodes) if last else 0
        )
        return history

    def _entry(self, group: ProgramGroup, device_round: DeviceRound, seeds: Any, knobs: Any) -> train.State:
        """The state at a stage's first step: fresh, or the parents' end, with the stage's mechanisms set up."""
        program, start = group.program, jnp.int32(self.study.stages[group.stage].start)
        if group.stage == 0:
            content = (program.spec, program.optimizer)
            state = self._program("initialisation", content, lambda s: train.init(program, s), (seeds,))(seeds)
        else:
            parents = [self.store.final(str(node.parent)) for node in device_round.padded]
            parent = next(
                b for b in self.plan.program_groups if any(n.key == device_round.nodes[0].parent for n in b.nodes)
            )
            state = self._restored(parents, parent)
            if parameters(parent.program.spec) < parameters(program.spec):  # a test that needs more than was trained
                name, arguments = f"room of {self._name(group)}", (start, seeds, knobs, state)
                widened = lambda t, s, k, x: train.with_room(program, x, k, s, t)  # noqa: E731
                state = self._program(name, program, widened, arguments, shared=1)(*arguments)
        if program.mechanisms:
            name, arguments = f"entry of {self._name(group)}", (start, seeds, knobs, state)
            begin = lambda t, s, k, x: train.begin(program, x, k, s, t)  # noqa: E731
            state = self._program(name, program, begin, arguments, shared=1)(*arguments)
        if device_round.nodes[0].weights is not None:  # then all nodes of the group have it
            name, arguments = (
                f"rewinding, {self._name(group)}",
                (start, seeds, knobs, state, self._early(device_round)),
            )
            rewind = lambda t, s, k, x, w: train.rewound(program, x, w, k, s, t)  # noqa: E731
            state = self._program(name, program, rewind, arguments, shared=1)(*arguments)
        return state

    def _early(self, device_round: DeviceRound) -> Any:
        """The parameters that the nodes' cells had after the step of the first stage that they return to."""
        places = []
        for node in device_round.padded:
            found = self.store.at(self.study.key(self.study.cells[node.cells[0]], 0), node.weights or 0)
            assert found, "a finished stage has all its checkpoints"
            places.append(found)
        return device_grid.to_devices(checkpoint.gather(places, "params"), self.layout)

    def _resume(self, group: ProgramGroup, device_round: DeviceRound) -> tuple[int, train.State, History]:
        """The step, state and history with which the chunks of a round were cut off."""
        places = {
            key: (chunk[-1], row) for chunk in device_round.cut_off for row, key in enumerate(chunk[-1].meta["cells"])
        }
        ordered = [places[node.key] for node in device_round.padded]
        history = History.start(len(device_round.padded), len(evaluate.names(self._study_of(group))))
        history = history.from_tree(checkpoint.gather(ordered, "history"))
        return device_round.cut_off[0][-1].step, self._restored(ordered, group), history

    def _restored(self, places: list[tuple[checkpoint.Saved, int]], group: ProgramGroup) -> train.State:
        """The saved state of a program group's cells, from whichever chunks hold them."""
        like = _state_shape(group.program)

        def complete(params: Any, rest: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            # A mechanism that no cell used when this was saved has the state of before it acts: the neutral one.
            for name in group.program.mechanisms:
                init = partial(EVERY[name].init, context=group.program.context)
                fresh = checkpoint.flat({"extra": {name: jax.vmap(init)(params)}})
                rest = {path: np.asarray(leaf) for path, leaf in fresh.items()} | rest
            return rest

        params, rest = checkpoint.gather(places, "params"), checkpoint.gather(places, "state", complete)
        parts = checkpoint.unflat(rest, {"moments": like.moments, "extra": like.extra})
        return device_grid.to_devices(train.State(params, parts["moments"], parts["extra"]), self.layout)

    def _name(self, group: ProgramGroup) -> str:
        static = [f"{knob}={value}" for knob, value in group.program.static]
        return ", ".join([f"stage {self.study.stages[group.stage].name}", *static])

    def _program(self, name: str, content: Any, function: Any, arguments: tuple[Any, ...], **options: Any) -> Any:
        return self.programs.get(name, content, function, arguments, on_compiled=self.progress.compiled, **options)

    def _training_call(self, group: ProgramGroup, seeds: Any, knobs: Any, state: train.State) -> Any:
        program, arguments = group.program, (jnp.int32(0), seeds, knobs, state)
        return self._program(
            f"training, {self._name(group)}",
            program,
            lambda t, s, k, x: train.train_call(program, t, s, k, x),
            arguments,
            shared=1,
            donate=(3,),
        )

    def _abilities(
        self, group: ProgramGroup, device_round: DeviceRound, step: int, seeds: Any, params: Any
    ) -> np.ndarray:
        """float32[G, S, 3]: the fields of `evaluate.Ability`, splits in the order of evaluate.names.

        Groups without a mechanism that is active at inference share one program, of seeds and parameters only.
        """
        names, arguments = at_inference(group.program.mechanisms), (seeds, params)
        if names:
            knobs = arguments_of(names, [node.knobs for node in device_round.padded])
            steps = np.full(len(device_round.padded), step, np.int32)
            arguments = (*arguments, *device_grid.to_devices((knobs, steps), self.layout))
        columns = []
        for evaluation in evaluate.evaluations(self._study_of(group)):
            static = tuple((knob, value) for knob, value in group.program.static if knob.split(".")[0] in names)
            evaluation = replace(evaluation, spec=group.program.spec, at_inference=names, static=static)
            call = self._program(
                f"evaluation, length {evaluation.length}",
                evaluation,
                lambda *cell, e=evaluation: evaluate.evaluate(e, *cell),
                arguments,
            )
            abilities = call(*arguments)
            columns += [np.stack(abilities[f"{label}/{split}"], axis=-1) for label, split in evaluation.splits]
        return np.stack(columns, axis=1)

    def _directory(self, group: ProgramGroup, chunk: tuple[Node, ...]) -> Path:
        stage = self.study.stages[group.stage].name
        return self.store.workdir / "checkpoints" / f"{stage}-{digest([node.key for node in chunk])}"

    def _save(
        self,
        group: ProgramGroup,
        device_round: DeviceRound,
        step: int,
        host: train.State,
        history: History,
        before: Future[Chunks],
        spare: bool,
    ) -> Chunks:
        """Save every chunk of a round, then thin them."""
        grown = []
        for index, (nodes, saves) in enumerate(zip(device_round.chunks, before.result(), strict=True)):
            cells = checkpoint.rows(host, device_round.rows(index))
            items = {
                "params": cells.params,
                "state": checkpoint.flat({"moments": cells.moments, "extra": cells.extra}),
                "history": checkpoint.rows(history.tree(), device_round.rows(index)),
            }
            meta = {
                "cells": [node.key for node in nodes],
                "stage": self.study.stages[group.stage].name,
                "capacity": device_round.capacity,
                "layout": asdict(self.layout),
                "abilities": evaluate.names(self._study_of(group)),
                "made_with": made_with(self.layout),
                **({"spare": True} if spare else {}),
            }
            path = self._directory(group, nodes) / f"{step:08d}"
            grown.append([*saves, checkpoint.save(path, items, meta)])
        # Only now does every chunk hold the latest step, so that all can return to a step they share.
        return tuple(_thinned(chunk) for chunk in grown)


def _thinned(chunk: Chunk) -> Chunk:
    """Keep the full state at the latest two steps only, and drop spare checkpoints once there is a later one."""
    for saved in chunk[:-1]:
        if saved.spare:
            checkpoint.drop(saved)
    kept = [saved for saved in chunk[:-1] if not saved.spare] + chunk[-1:]
    return [checkpoint.drop_state(saved) if saved.resumable else saved for saved in kept[:-2]] + kept[-2:]


def _capacity(chunk: Chunk) -> int:
    """Rows that a chunk was padded to when it was cut off."""
    return chunk[-1].meta["capacity"]


def _state_shape(program: train.Program) -> train.State:
    """Shapes of one cell's state after stage entry."""
    knobs = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in traced_arguments([])[1]}
    seed = jax.ShapeDtypeStruct((), jnp.int32)
    return jax.eval_shape(lambda s, k: train.begin(program, train.init(program, s), k, s, s), seed, knobs)
