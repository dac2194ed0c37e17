"""What mechanisms cost a step, `python -m lab.bench --mechanisms`: each against the same program without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lab.bench.baseline import Figure, Measured
from lab.bench.programs import ROUNDS, SHAPES, STEPS, copying, reference, seconds_of
from lab.engine import Layout, Programs, device_grid
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import Knob, StageSetup
from lab.mechanisms.knobs import KNOBS
from lab.training import step
from lab.training.step import Program

# Values at which mechanisms are timed, where that of `typical` would do little or be out of proportion.
TYPICAL = {
    "batch.share": 0.5,
    "curriculum.order": "progress",
    "mixer.kind": "linear",
    "fsq.levels": 8,
    "vq.codes": 64,
    "loop.turns": 2,
    "experts.top_k": 2,
    "multi_token.ahead": 2,
    "width.active": 0.5,
    "head_dim.active": 0.5,
    "prune.scope": "global",
    "spectral_cap.norm": 1.0,
    "disturb.layer": 0,
}


def typical(knob: Knob) -> Any:
    """A value at which a knob does something: the last choice, 4, or halfway to the end of its range, 1 at most."""
    if knob.name in TYPICAL:
        return TYPICAL[knob.name]
    if knob.choices:
        return knob.choices[-1]
    if knob.neutral is None:
        return knob.base
    if knob.integer:
        return int(np.clip(4, knob.low, knob.high))
    end = max((knob.low, knob.high), key=lambda end: abs(end - knob.neutral))
    return knob.neutral + float(np.clip((end - knob.neutral) / 2, -1, 1))


def settings(mechanism: str) -> dict[str, Any]:
    """Every knob's value in a program with one mechanism at work: what shapes its strengths is at its default."""
    values = {name: knob.base for name, knob in KNOBS.items()} | {"seed": 0}
    for knob in MECHANISMS[mechanism].knobs if mechanism else ():
        if not knob.needs or knob.name in TYPICAL:
            values[knob.name] = typical(knob)
    return values


def with_mechanism(plain: Program, mechanism: str, values: dict[str, Any]) -> Program:
    """The program with one mechanism compiled in, which acts from its first step."""
    static = tuple((k.name, values[k.name]) for k in MECHANISMS[mechanism].knobs if not k.traced)
    spec = MECHANISMS[mechanism].shape(plain.spec, values)
    return replace(plain, spec=spec, mechanisms=(mechanism,), starting=(mechanism,), static=static)


def stepping(program: Program, values: dict[str, Any], programs: Programs) -> tuple[Callable[[], Any], float]:
    """A call that trains one cell a device for STEPS steps from the first on, and the seconds its compilation took."""
    cells = programs.layout.devices
    placed = lambda tree: device_grid.to_devices(tree, programs.layout)  # noqa: E731
    seeds = placed(np.arange(cells, dtype=np.int32))
    traced = [name for name, knob in KNOBS.items() if knob.traced and name != "seed"]
    knobs = placed({name: np.full(cells, KNOBS[name].number(values[name]), np.float32) for name in traced})

    def initial(seed: jax.Array, knobs: dict[str, jax.Array]) -> step.State:
        return step.begin(program, step.init(program, seed), knobs, seed, jnp.int32(0))

    state = programs.get("beginning", program, initial, (seeds, knobs))(seeds, knobs)
    before, arguments = programs.seconds, (jnp.int32(0), seeds, knobs, state)
    call = programs.get(
        "training", program, lambda t, s, k, x: step.train_call(program, t, s, k, x), arguments, shared=1
    )
    return lambda: call(*arguments), programs.seconds - before


def measure(mechanism: str, plain: Program, without: Callable[[], Any], programs: Programs) -> Measured:
    """A line of the table: the mechanism, its knobs' values, the ratio, milliseconds, compile seconds.

    Where it can't act on the plain program's task, it is compared with a program that copies.
    """
    values = settings(mechanism)
    moved = [k for k in MECHANISMS[mechanism].knobs if values[k.name] != k.base]
    at = ", ".join(f"{k.name} {values[k.name]}" for k in moved)
    objects = MECHANISMS[mechanism].objection
    if objects(StageSetup(plain.mixture, plain.spec, values, dict(plain.counts))):
        plain = copying(*SHAPES[0])
        if objection := objects(StageSetup(plain.mixture, plain.spec, values, dict(plain.counts))):
            return Measured([f"| {mechanism} | {at} | — | — | — | {objection} |"])
        at = f"{at}; copying"
        without, _ = stepping(plain, settings(""), programs)
        seconds_of(without)
    call, compile_seconds = stepping(with_mechanism(plain, mechanism, values), values, programs)
    times = {"with": [], "without": []}
    for _ in range(ROUNDS):
        times["with"].append(seconds_of(call))
        times["without"].append(seconds_of(without))
    best = {name: min(seconds) for name, seconds in times.items()}
    milliseconds = 1e3 * best["with"] / (STEPS * programs.layout.devices)
    ratio = best["with"] / best["without"]
    return Measured(
        [f"| {mechanism} | {at} | {ratio:.2f} | {milliseconds:.2f} | {compile_seconds:.1f} |"],
        [
            Figure(f"{mechanism}: ratio to plain", ratio, judged=True),
            Figure(f"{mechanism}: time", milliseconds, "ms a cell-step"),
            Figure(f"{mechanism}: compile", compile_seconds, "s"),
        ],
    )


def measures(layout: Layout) -> dict[str, Callable[[], Measured]]:
    """The table's head, then measuring each mechanism at the first reference shape."""
    programs = Programs(replace(layout, chunk=layout.width))
    plain = reference(*SHAPES[0])
    without, compile_seconds = stepping(plain, settings(""), programs)
    seconds_of(without)
    head = [
        f"the plain program compiles in {compile_seconds:.1f} s",
        "",
        "| mechanism | at | ratio to plain | ms a cell-step | compile, s |",
        "|---|---|---|---|---|",
    ]
    return {"head": lambda: Measured(head)} | {
        mechanism: lambda mechanism=mechanism: measure(mechanism, plain, without, programs) for mechanism in MECHANISMS
    }
