"""Carries a plan out: trains, evaluates, saves, resumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lab import checkpoint, evaluate, population, train
from lab.config import digest
from lab.history import History
from lab.plan import Bucket, Node, Plan, traced_arguments
from lab.programs import Programs
from lab.store import Chunk, Store


class Progress(Protocol):
    """Who is told what happens."""

    def compiled(self, what: str, seconds: float) -> None:
        """A program was compiled."""

    def note(self, text: str) -> None:
        """Something that a person should know."""

    def resumed(self, cell_steps: int) -> None:
        """That many cell-steps were already trained."""

    def advanced(self, cell_steps: int, cells: int) -> None:
        """Training went on by that many cell-steps and finished that many of the study's cells."""


@dataclass(frozen=True)
class Wave:
    """Nodes trained side by side.

    Attributes:
      nodes: the cells that count.
      size: cells of a call, the padding included.
      begun: the checkpoints to go on from; empty for a wave that starts with its stage.
    """

    nodes: tuple[Node, ...]
    size: int
    begun: list[Chunk]

    @property
    def padded(self) -> list[Node]:
        """The nodes and their padding."""
        return population.padded(list(self.nodes), self.size)

    @property
    def keys(self) -> list[str]:
        """The nodes' keys."""
        return [node.key for node in self.nodes]


class Trainer:
    """Trains what a store lacks of a plan."""

    def __init__(self, plan: Plan, store: Store, progress: Progress, programs: Programs):
        self.plan, self.store, self.progress, self.programs = plan, store, progress, programs
        self.study, self.layout = plan.study, plan.layout
        self._size = plan.chunk(store.nodes) * plan.layout.devices  # cells of a call, the padding included

    def run(self) -> None:
        """Train bucket by bucket; every parent's bucket comes before its children's."""
        for bucket in self.plan.buckets:
            for wave in list(self._waves(bucket)):
                self._train(bucket, wave)

    def _waves(self, bucket: Bucket) -> Iterator[Wave]:
        """The cut-off waves of a bucket, then waves of what is left."""
        by_key = {node.key: node for node in bucket.nodes}
        begun = set()
        for chunks in self.store.unfinished:
            meta = chunks[0][-1].meta
            if not all(key in by_key for key in meta["wave"]):
                continue
            if meta["layout"] != asdict(self.layout):
                self.progress.note(
                    f"A wave of {len(meta['wave'])} cells was cut off on another device layout;"
                    " it starts its stage anew."
                )
                for chunk in chunks:
                    checkpoint.remove(chunk)
                continue
            begun.update(meta["wave"])
            yield Wave(tuple(by_key[key] for key in meta["wave"]), meta["wave_size"], chunks)
        left = [n for n in bucket.nodes if n.key not in self.store.nodes and n.key not in begun]
        for start in range(0, len(left), max(self._size, 1)):
            yield Wave(tuple(left[start : start + self._size]), self._size, [])

    def _train(self, bucket: Bucket, wave: Wave) -> None:
        """Train one wave from where it stands to the end of its stage."""
        stage, calls = self.study.stages[bucket.stage], bucket.program.call_steps
        last_stage = bucket.stage == len(self.study.stages) - 1
        seeds, knobs = population.place(traced_arguments(wave.padded), self.layout)
        if wave.begun:
            step, state, history = self._resume(bucket, wave)
            self.progress.resumed(len(wave.nodes) * (step - stage.start))
        else:
            step, state = stage.start, self._entry(bucket, wave, seeds, knobs)
            history = History.start(wave.size, len(evaluate.names(self.study)))
        call = self._training_call(bucket, seeds, knobs, state)
        chunks = [list(chunk) for chunk in wave.begun]
        for target in [save for save in stage.saves if save > step]:
            while step < target:
                state, loss_GxT = call(jnp.int32(step), seeds, knobs, state)
                history = history.trained(step, np.asarray(loss_GxT))
                step += calls
                finished = sum(len(n.cells) for n in wave.nodes) if last_stage and step == stage.end else 0
                self.progress.advanced(len(wave.nodes) * calls, finished)
            history = history.evaluated(step, self._abilities(seeds, state.params))
            chunks = self._save(stage.name, wave, step, state, history, chunks)
        for chunk in chunks:
            self.store.add(chunk)

    def _entry(self, bucket: Bucket, wave: Wave, seeds: Any, knobs: Any) -> train.State:
        """The state at a stage's first step: fresh, or the parents' end, with the stage's mechanisms set up."""
        program = bucket.program
        if bucket.stage == 0:
            state = self._program("initialisation", program.spec, lambda s: train.init(program, s), (seeds,))(seeds)
        else:
            parents = [self.store.final(str(node.parent)) for node in wave.padded]
            parent = next(b for b in self.plan.buckets if any(n.key == wave.nodes[0].parent for n in b.nodes))
            state = self._restored(parents, parent)
        if not program.mechanisms:
            return state
        name = f"entry of {self._name(bucket)}"
        begin = self._program(name, program, lambda s, k: train.begin(program, s, k), (state, knobs))
        return begin(state, knobs)

    def _resume(self, bucket: Bucket, wave: Wave) -> tuple[int, train.State, History]:
        """Go back to the latest step that every chunk of a cut-off wave holds in full."""
        step = max(set.intersection(*({s.step for s in chunk if s.resumable} for chunk in wave.begun)))
        at = [next(s for s in chunk if s.step == step) for chunk in wave.begun]
        places = {key: (saved, row) for saved in at for row, key in enumerate(saved.meta["cells"])}
        ordered = [places[node.key] for node in wave.padded]
        return step, self._restored(ordered, bucket), History(**checkpoint.gather(ordered, "history"))

    def _restored(self, places: list[tuple[checkpoint.Saved, int]], bucket: Bucket) -> train.State:
        like = _state_shape(bucket.program)
        rest = checkpoint.unflat(checkpoint.gather(places, "state"), {"adam": like.adam, "extra": like.extra})
        state = train.State(checkpoint.gather(places, "params"), rest["adam"], rest["extra"])
        return population.place(state, self.layout)

    def _name(self, bucket: Bucket) -> str:
        static = [f"{knob}={value}" for knob, value in bucket.program.static]
        return ", ".join([f"stage {self.study.stages[bucket.stage].name}", *static])

    def _program(self, name: str, content: Any, function: Any, arguments: tuple[Any, ...], **options: Any) -> Any:
        return self.programs.get(name, content, function, arguments, told=self.progress.compiled, **options)

    def _training_call(self, bucket: Bucket, seeds: Any, knobs: Any, state: train.State) -> Any:
        program, arguments = bucket.program, (jnp.int32(0), seeds, knobs, state)
        return self._program(
            f"training, {self._name(bucket)}",
            program,
            lambda t, s, k, x: train.train_call(program, t, s, k, x),
            arguments,
            shared=1,
            donate=(3,),
        )

    def _abilities(self, seeds: Any, params: Any) -> np.ndarray:
        """float32[G, S, 2]: exact accuracy and log-probability, splits in the order of evaluate.names."""
        columns = []
        for evaluation in evaluate.evaluations(self.study):
            call = self._program(
                f"evaluation, length {evaluation.length}",
                evaluation,
                lambda s, p, e=evaluation: evaluate.evaluate(e, s, p),
                (seeds, params),
            )
            abilities = call(seeds, params)
            columns += [np.stack(abilities[f"{label}/{split}"], axis=-1) for label, split in evaluation.splits]
        return np.stack(columns, axis=1)

    def _save(
        self, stage: str, wave: Wave, step: int, state: train.State, history: History, chunks: list[Chunk]
    ) -> list[Chunk]:
        """Save every chunk of a wave, then thin the chunks: the full state stays at the latest two steps."""
        per_device, host = wave.size // self.layout.devices, population.fetch(state)
        wave_id, grown = digest(wave.keys), []
        for index, first in enumerate(range(0, len(wave.nodes), per_device)):
            rows = list(range(first, min(first + per_device, len(wave.nodes))))
            cells = checkpoint.rows(host, rows)
            items = {
                "params": cells.params,
                "state": checkpoint.flat({"adam": cells.adam, "extra": cells.extra}),
                "history": checkpoint.rows(history.tree(), rows),
            }
            meta = {
                "cells": [wave.keys[row] for row in rows],
                "wave": wave.keys,
                "wave_id": wave_id,
                "wave_size": wave.size,
                "stage": stage,
                "layout": asdict(self.layout),
                "abilities": evaluate.names(self.study),
            }
            path = self.store.workdir / "checkpoints" / f"{stage}-{wave_id}-{index:03d}" / f"{step:08d}"
            before = chunks[index] if chunks else []
            grown.append([s for s in before if s.step < step] + [checkpoint.save(path, items, meta)])
        for saved in [s for chunk in grown for s in chunk[:-2] if s.resumable]:
            checkpoint.drop_state(saved)
        return grown


def _state_shape(program: train.Program) -> train.State:
    """Shapes of one cell's state after stage entry."""
    knobs = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in traced_arguments([])[1]}
    seed = jax.ShapeDtypeStruct((), jnp.int32)
    return jax.eval_shape(lambda s, k: train.begin(program, train.init(program, s), k), seed, knobs)
