"""Knobs that differ when a model is evaluated and read: `axis("loop.turns", (2, 4, 8), at="test")`.

One training serves all values: it has the knob at `config.knobs`, or at neutral. After it comes a stage `test` without
steps, in which each cell's model runs with the axis's value, is evaluated and read; so evaluations during training are
of the trained value, and the last one is of the axis's. The nodes before it have the keys of a study without the axis.

Where the test needs more room in the model than training did (more pauses than were trained, say), what the room adds,
a learned position, is as it was drawn at the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import Knob
from lab.study.grid import AT_TEST, TEST, Axis
from lab.study.parts import Stage, TaskUse


def knobs(stages: Sequence[str], axes: Iterable[Axis], known: Mapping[str, Knob]) -> tuple[str, ...]:
    """The knobs that differ at test.

    Raises:
      UserError: for one that can't, or where the study has a stage of that name.
    """
    found = []
    for a in (a for a in axes if a.stage == AT_TEST and a.knob in known):
        if TEST in stages:
            raise UserError(f"config.stages: '{TEST}' is the stage of axes with at='test'; rename yours.")
        if a.tuned:
            raise UserError(f"sweep(): '{a.knob}' can't be tuned away at test, where nothing is trained; drop tuned().")
        if reason := _objection(known[a.knob]):
            raise UserError(f"sweep(): axis '{a.knob}' can't have at='test': {reason}")
        found.append(a.knob)
    return tuple(found)


def _objection(knob: Knob) -> str:
    """Why a knob can't differ at test, empty if it can."""
    mechanism = MECHANISMS.get(knob.name.split(".")[0])
    if knob.name == "experts.count":
        return "experts are trained; experts.top_k says to how many a token is sent."
    if not knob.traced or (knob.pinned and not knob.sizes):
        return "its value is part of the trained model."
    if mechanism is None or not mechanism.active_at_inference:
        noise = " disturb.noise is noise at test." if "noise" in knob.name or "dropout" in knob.name else ""
        return f"it acts on training alone.{noise}"
    if mechanism.has_stage_start or mechanism.projects:
        return "it changes the trained weights; name a stage of 0 steps as its axis's stage."
    return ""


def with_test(stages: tuple[Stage, ...], tasks: tuple[TaskUse, ...]) -> tuple[tuple[Stage, ...], tuple[TaskUse, ...]]:
    """Stages and tasks of a study with a test, which comes after all steps and has the examples of the last stage."""
    end = stages[-1].end
    uses = tuple(replace(use, examples=(*use.examples, use.examples[-1])) for use in tasks)
    return (*stages, Stage(TEST, end, end, (end,))), uses
