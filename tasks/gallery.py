"""Tasks as a person reads them: examples on the terminal, and the gallery docs/tasks.md."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from tasks import SHORTCUTS, TASKS, make, sequence
from tasks.base import FAMILIES, Card, Example, Task, trivial
from tasks.fields import knob_fields

GALLERY = "docs/tasks.md"


def examples(task: Task, split: str, count: int, seed: int) -> list[Example]:
    """The first `count` examples of a split for a seed, as NumPy."""
    chosen = task.splits[split]
    world = task.world(jax.random.key(seed))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), count)
    # Unoptimized: a handful of examples is drawn once.
    draw = jax.jit(
        jax.vmap(lambda key: task.sample(key, world, dict(chosen.difficulty), chosen.length)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    batch = jax.tree.map(np.asarray, draw(keys))
    return [jax.tree.map(lambda leaf, i=i: leaf[i], batch) for i in range(count)]


def shown(task: Task, example: Example) -> str:
    """An example, its factors, and its length in tokens."""
    factors = ", ".join(f"{name} {int(value)}" for name, value in example.factors.items())
    used = int(np.sum(example.tokens != 0))
    asked = f"{int(np.sum(example.weights == 1))} answer"
    steps = int(np.sum((example.weights > 0) & (example.weights < 1)))
    scratch = f" after {steps} of scratchpad" if steps else ""
    drawn = task.render(example).strip("\n")
    return f"{drawn}\n    {used} token{'s' * (used > 1)} in, {asked}{scratch}; {factors}"


def settings(difficulty: Mapping[str, Any]) -> str:
    """`length 6, held_out 0`."""
    return ", ".join(f"{name} {value:g}" for name, value in difficulty.items())


def summary(task: Any) -> str:
    """First sentence or paragraph of a task's docstring, on one line."""
    return " ".join((inspect.getdoc(task) or "").split("\n\n")[0].split())


def factors(task: Any) -> str:
    """What the docstring of `factor_sizes` says of a task's factors, on one line."""
    return " ".join((inspect.getdoc(type(task).factor_sizes) or "").split())


def fields(task: Any) -> dict[str, str]:
    """Field -> what its docstring says of it, a tuple of choices that it names (`GROUPS`) spelled out."""

    def spelled(constant: re.Match[str]) -> str:
        values = getattr(sys.modules[task.__module__], constant[1], getattr(sequence, constant[1], None))
        return ", ".join(f"'{value}'" for value in values) if isinstance(values, tuple) else constant[0]

    text = (inspect.getdoc(task) or "").partition("Attributes:")[2]
    found: dict[str, str] = {}
    for names, about in re.findall(r"^  (\w+(?:, \w+)*): (.*(?:\n    .*)*)", text, re.MULTILINE):
        for name in names.split(", "):
            found[name] = re.sub(r"`(?:[a-z_.]+\.)?([A-Z_]+)`", spelled, " ".join(about.split()))
    return {field.name: found.get(field.name, "") for field in dataclasses.fields(task)}


def gallery() -> str:
    """The whole of docs/tasks.md."""
    parts = [HEAD.format(count=len(TASKS), contents="\n".join(_contents()), shortcuts="\n".join(_shortcuts()))]
    for family in FAMILIES:
        parts.append(f"## {family.capitalize()}\n")
        parts += ["\n".join(_entry(task)) for task in TASKS.values() if task.family == family]
    return "\n".join(parts)


HEAD = """# The tasks

<!-- Written by `python -m tasks gallery`; don't edit. A test compares. -->

{count} tasks in three families, made on the device inside the training program. `python -m tasks show NAME` prints
examples of any of them at any size, `python -m lab.checks.known_results NAME` trains its calibration cards, and
[adding_a_task.md](adding_a_task.md) says how to add one. Fields are what a study's config may set after `task=`;
difficulties are traced, so that one compiled program serves all their values. A split that is *disjoint* never repeats
an instance of training. The floor is the best trivial predictor's exact accuracy; what a search for better ones found
is in [benchmarks.md](benchmarks.md#shortcuts-searched).

{contents}

Two shortcuts can be planted in any task, by these fields:

| field | meaning |
|---|---|
{shortcuts}

A planted cue adds the split `uncued`, where the cue tells nothing, and with `cue=True` the split `cued`, where it is
always right.

Under *knobs* stand the difficulties of a task's training, at its default fields, that a study may turn as any knob:
`axis("task.<label>.<name>", …)` in its sweep(), or `config.knobs.task.<label>.<name>` in all cells
([task_knobs.md](task_knobs.md)). The neutral value is that of `train`. A *field* can be an axis, too, under the same
name: each value is then a task, and a program, of its own.
"""


def _contents() -> Iterator[str]:
    for family in FAMILIES:
        names = [f"[{name}](#{name})" for name, task in TASKS.items() if task.family == family]
        yield f"- **{family}**: {', '.join(names)}"


def _shortcuts() -> Iterator[str]:
    return (f"| `{name}` | {about} |" for name, about in SHORTCUTS.items())


def _entry(made: Any) -> Iterator[str]:
    task = make(made.name)
    yield f"### {made.name}\n\n{summary(made)}\n"
    yield f"Source: {made.source}. {made.known}\n"
    small = make(made.name, **made.small[0])
    example = examples(small, "train", 1, seed=0)[0]
    command = " ".join(
        ["python -m tasks show", made.name, *(f"{k}={v}" for k, v in made.small[0].items()), "--count=1"]
    )
    yield f"```\n$ {command}\n{shown(small, example)}\n```\n"
    yield "| field | default | meaning |\n|---|---|---|"
    for name, about in fields(made).items():
        yield f"| `{name}` | {getattr(task, name)} | {_cell(about)} |"
    yield "\n| split | difficulty | tokens | disjoint | floor | about |\n|---|---|---|---|---|---|"
    for name, split in task.splits.items():
        floor = f"{trivial(task, name).exact:.3g}"
        disjoint = "yes" if split.disjoint else "no"
        cells = f"{settings(split.difficulty)} | {split.length} | {disjoint} | {floor} | {_cell(split.about)}"
        yield f"| `{name}` | {cells} |"
    easiest = settings(task.easiest)
    yield f"\nFactors: {', '.join(f'`{name}` ({size})' for name, size in task.factor_sizes.items())}. {factors(task)}"
    yield f"Hidden states are read at: {', '.join(task.read_names)}."
    yield f"A curriculum begins at: {easiest or '(one difficulty only)'}."
    yield f"Knobs: {', '.join(_knobs(task)) or '(none)'}.\n"
    yield "| card | setting | expected | why |\n|---|---|---|---|"
    for card in made.cards:
        yield f"| `{made.name}/{card.name}` | {_setting(card)} | {_expected(card)} | {_cell(card.about)} |"
    yield ""


def _knobs(task: Task) -> Iterator[str]:
    """`length` 1 to 12 (12)."""
    for name, field in knob_fields(task).items():
        neutral = task.splits["train"].difficulty[name]
        yield f"`{name}` {field.low:.3g} to {field.high:.3g} ({neutral:g})"


def _setting(card: Card) -> str:
    sizes = ", ".join(f"{name} {value}" for name, value in card.sizes.items())
    layers = f"{card.layers} layer{'s' if card.layers > 1 else ''}"
    return f"{sizes or 'defaults'}; {layers}, width {card.width}, {card.steps:,} steps of {card.examples}"


def _expected(card: Card) -> str:
    ranges = [f"{split} {low:g}–{high:g}" for split, (low, high) in card.expected.items()]
    ranges += [] if card.measured else ["not measured"]
    return ", ".join([*ranges, *(["fails, as predicted"] if card.predicted_failure else [])])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
