"""The chunk timer: how many cells a device should train in one call.

    python -m lab.bench.chunk_size --config=ablations/pruning.py

The program of a study that takes most memory is compiled for 1, 2, 4, … cells a call, as many as fit into a device, and
timed in turns. The fixed rule's choice is marked; pass another one to run.py as --chunk. Fields of the config are
overridden as with run.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from lab.bench.programs import ROUNDS, STEPS, seconds_of
from lab.engine import (
    Layout,
    Plan,
    ProgramGroup,
    Programs,
    device_grid,
    local_layout,
    make_plan,
    memory_budget,
    use_every_core,
)
from lab.engine.plan import traced_arguments
from lab.errors import Parser, UserError, command
from lab.study import fields, loader
from lab.study.parse import parse
from lab.training import step

MOST = {"cpu": 16, "gpu": 1024, "tpu": 1024}  # cells a call that are tried
WORTH = 0.05  # a smaller gain is not worth leaving the rule for, and hard to tell from noise


@dataclass
class Candidate:
    """A number of cells a call to time.

    Attributes:
      layout: the layout with that number.
      timed: makes states, then trains them for a few steps; returns the seconds of training.
      cell_steps: of one such call.
      memory: bytes of one device: its measured peak where it reports one, else the compiler's count.
      seconds: of every round.
    """

    layout: Layout
    timed: Callable[[], float]
    cell_steps: int
    memory: int
    seconds: list[float] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """Of a cell-step, at best."""
        return 1e3 * min(self.seconds) / self.cell_steps


def largest(plan: Plan) -> ProgramGroup:
    """The program group that takes most memory; of several the one that trains most."""
    return max(plan.program_groups, key=lambda g: (plan.memory_of(g.program.spec), plan.steps(g) * len(g.nodes)))


def layouts(plan: Plan, group: ProgramGroup, budget: int) -> list[Layout]:
    """The layouts to time: powers of two while their estimated memory fits and cells are there, and the plan's own."""
    layout, per_device = plan.layout, -(-len(group.nodes) // plan.layout.devices)
    found, chunk = {layout.chunk: layout}, 1
    while chunk <= MOST.get(layout.platform, 1024) and chunk < 2 * per_device:
        one = replace(layout, chunk=chunk, width=1 if layout.platform == "cpu" else chunk)
        if budget and replace(plan, layout=one).memory_of(group.program.spec) > budget:
            break
        found.setdefault(chunk, one)
        chunk *= 2
    return [found[chunk] for chunk in sorted(found)]


def candidate(group: ProgramGroup, layout: Layout) -> Candidate:
    """A group's program compiled for a layout, with as many of its nodes as that takes, and run once.

    States are made again for every round, so that those of two candidates are never in memory together.
    """
    programs, cells = Programs(layout), layout.devices * layout.chunk
    nodes = (list(group.nodes) * -(-cells // len(group.nodes)))[:cells]
    program = replace(group.program, call_steps=min(group.program.call_steps, STEPS))
    seeds, knobs = device_grid.to_devices(traced_arguments(nodes), layout)

    def initial(seed: jax.Array, knobs: Any) -> step.State:
        return step.begin(program, step.init(program, seed), knobs, seed, jnp.int32(0))

    begin = programs.get("beginning", program, initial, (seeds, knobs))
    arguments = (jnp.int32(0), seeds, knobs, begin(seeds, knobs))
    call = programs.get(
        "training",
        program,
        lambda t, s, k, x: step.train_call(program, t, s, k, x),
        arguments,
        shared=1,
        donate=(3,),
    )
    jax.block_until_ready(call(*arguments))
    del arguments

    def timed() -> float:
        state = jax.block_until_ready(begin(seeds, knobs))
        return seconds_of(lambda: call(jnp.int32(0), seeds, knobs, state))

    return Candidate(layout, timed, cells * program.call_steps, _peak() or compiled_bytes(call))


def _peak() -> int:
    """The most bytes in use on a device so far; 0 where it reports none. Candidates come smallest first."""
    return max((device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.local_devices())


def compiled_bytes(call: Any) -> int:
    """Bytes of a device that a compiled program takes while it runs: arguments, results and everything between."""
    analysis = call.memory_analysis()
    held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return held + analysis.temp_size_in_bytes


def time_in_turns(group: ProgramGroup, tried: Sequence[Layout], note: Callable[[str], None]) -> list[Candidate]:
    """Every layout's candidate, timed in turns; those that don't fit after all are noted and left out."""
    found = []
    for layout in tried:
        try:
            found.append(candidate(group, layout))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            note(f"{layout.chunk} cells a call don't fit into a device.")
            break
    for _ in range(ROUNDS):
        for one in found:
            one.seconds.append(one.timed())
    return found


def report(found: Sequence[Candidate], rule: Layout) -> Iterator[str]:
    """The table, and the advice which --chunk to pass."""
    yield "| cells a call | at a time | ms a cell-step | MiB a device | |"
    yield "|---|---|---|---|---|"
    for one in found:
        mark = "the rule's" if one.layout == rule else f"--chunk={one.layout.chunk}"
        yield (
            f"| {one.layout.chunk} | {one.layout.width} | {one.milliseconds:.3f} | {one.memory / 2**20:,.1f} | {mark} |"
        )
    best = min(found, key=lambda one: one.milliseconds)
    ruled = [one for one in found if one.layout == rule]
    if ruled and ruled[0].milliseconds <= (1 + WORTH) * best.milliseconds:
        yield f"Nothing is more than {WORTH:.0%} faster than the rule's {rule.chunk} cells a call."
    else:
        gain = f", {ruled[0].milliseconds / best.milliseconds:.2f} times as fast as the rule's" if ruled else ""
        yield f"Fastest: --chunk={best.layout.chunk}{gain}. Pass it from the study's first run on."
        if best.layout.width != rule.width:
            yield "Another number of cells at a time rounds differently: every number's last bits change."


def planned(arguments: Sequence[str]) -> tuple[Plan, int]:
    """The plan of the study that the command line names, on the layout that the rule gives it, and the budget.

    Raises:
      UserError: for any mistake in the command line or the study.
    """
    args, overrides = _parser().parse_known_args(arguments)
    (file, _), config = loader.split(args.config), loader.get_config(args.config)
    for name, _, value in (override.partition("=") for override in overrides):
        if not name.startswith("--config."):
            raise UserError(f"unknown argument '{name}'; a study's fields are set as --config.field=value.")
        fields.override(config, name.removeprefix("--config."), value)
    config.lock()
    module = loader.load(file)
    with loader.blamed(file):
        grid = module.sweep(config)
    layout = local_layout()
    budget = memory_budget(layout)
    return make_plan(parse(config, grid, config.claim.gains), layout).within(budget), budget


def _parser() -> Parser:
    parser = Parser("lab.bench.chunk_size", __doc__, "options beyond these: --config.FIELD=VALUE overrides a field")
    parser.add_argument("--config", required=True, metavar="FILE", help="the study's file, optionally ':variant'")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    use_every_core()
    plan, budget = planned(arguments)
    group = largest(plan)
    spec, layout = group.program.spec, plan.layout
    print(
        f"{layout.devices} × {jax.local_devices()[0].device_kind}, {budget / 2**20:,.0f} MiB each for cells; stage"
        f" {plan.study.stages[group.stage].name}: {spec.layers} layers, width {spec.width},"
        f" {sum(count for _, count in group.program.counts)} examples × {group.program.length} tokens a step",
        flush=True,
    )
    found = time_in_turns(group, layouts(plan, group, budget), print)
    print(*report(found, layout), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
