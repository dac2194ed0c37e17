"""A branch: some cells of a study continue from their last checkpoints for one more stage, with other knobs or not.

    continued = branch(study, [(0, {}), (0, {"label_smoothing.rate": 0.0})], steps=800)

is a study of two cells: the study's first cell as it is for 800 steps more, and without its label smoothing. The
earlier stages are the study's: the keys are equal, so nothing of them is trained again. `{WEIGHTS: 300}` among the
changes takes the weights back to those that the study kept after its 300th step, see `lab.training.step.rewound`.

The learning rate's schedule starts again in the new stage and runs over its steps: at the end of a schedule that goes
to zero nothing moves, and to continue would mean nothing. Learning-rate rewinding (Renda et al. 2020, arXiv 2003.02389)
does the same. A constant rate stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab.errors import UserError
from lab.mechanisms import knobs as registry
from lab.study.fields import STEPS_MOST
from lab.study.parts import Stage
from lab.study.spec import THEN, WEIGHTS, Study
from lab.training.step import Schedule

STAGE = "repair"  # the name of the new stage
WARMUP = 0.05  # share of its steps in which the rate warms up again, at most the study's own warm-up


def branch(study: Study, cells: Sequence[tuple[int, Mapping[str, Any]]], steps: int) -> Study:
    """The study that continues some cells of another one.

    Args:
      study: the study.
      cells: (index of one of its cells, {knob: the value that replaces the cell's in the new stage}); WEIGHTS for a
        knob's name is the step of the first stage whose weights the new one starts from.
      steps: of the new stage; a multiple of the study's call_steps.

    Raises:
      UserError: for a knob that can't change after the model was made, for settings that a mechanism objects to, or for
        weights that were not kept.
    """
    if study.tested:
        raise UserError(
            f"--repair: {study.tested[0]} differs at test alone, where nothing is trained; make it an axis of training"
            " to repair what it costs."
        )
    if steps < 1 or steps % study.call_steps:
        raise UserError(f"--repair_steps={steps} must be a multiple of config.call_steps={study.call_steps}.")
    if study.stages[-1].end + steps > STEPS_MOST:
        own = study.stages[-1].end
        raise UserError(
            f"--repair_steps={steps} must be at most {STEPS_MOST - own:,}, after {own:,} steps of the study."
        )
    if STAGE in {stage.name for stage in study.stages}:
        raise UserError(f"config.stages: '{STAGE}' is the name of the stage that --repair adds; rename yours.")
    end = study.stages[-1].end
    stage = Stage(STAGE, end, end + steps, (end + steps,))
    chosen = []
    for index, changes in cells:
        knobs = {name: value for name, value in changes.items() if name != WEIGHTS}
        then = {name: registry.checked(name, value, f"arm: {name}", study.knobs) for name, value in knobs.items()}
        cell = {**study.cells[index], THEN: then}
        if WEIGHTS in changes:
            cell[WEIGHTS] = changes[WEIGHTS]
        _check(study, cell)
        chosen.append(cell)
    return replace(
        study,
        name=f"{study.name} ({STAGE})",
        tasks=tuple(replace(use, examples=(*use.examples, use.examples[-1])) for use in study.tasks),
        stages=(*study.stages, stage),
        cells=tuple(chosen),
        restart=_again(study.schedule, end, steps),
        room=study.largest,
    )


def can_change(study: Study, knob: str) -> bool:
    """Whether a knob of a study may take another value in a branch: not if it sizes the model or is compiled in."""
    found = study.knobs[knob]
    return found.traced and not found.sizes and found.name != registry.SEED.name


def _check(study: Study, cell: Mapping[str, Any]) -> None:
    """Refuse a branch that can't be trained: in one sentence, before anything compiles."""
    for name in cell[THEN]:
        if not can_change(study, name):
            raise UserError(f"arm: {name} can't change after training began; its value is part of the program.")
    if WEIGHTS in cell and cell[WEIGHTS] not in study.stages[0].saves:
        kept = ", ".join(map(str, study.stages[0].saves))
        raise UserError(f"arm: the weights of step {cell[WEIGHTS]} are not kept; those of {kept} are.")
    then = {**cell, **cell[THEN]}
    new = {*study.mechanisms([then])} - {*study.mechanisms([cell])}
    for name in study.mechanisms([then]):
        if name in new and registry.EVERY[name].sized:
            raise UserError(f"arm: {name} needs room in the model from the first step; no arm can bring it.")
    if objection := registry.objection(study.setup(then, -1)):
        raise UserError(f"arm: {objection}")


def _again(schedule: Schedule, start: int, steps: int) -> Schedule:
    """The same schedule over the new stage's steps."""
    warmup = min(schedule.warmup, max(1, round(WARMUP * steps)))
    return schedule if schedule.name == "constant" else Schedule(schedule.name, warmup, steps, start)
