"""What the fields of a study's config may hold: one table, from which the sentences for mistakes are made.

The table is about single values. How fields go together (stages and steps, heads and width) is in `lab.study.parse`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.errors import UserError, shown
from lab.nn.model import ACTIVATIONS, COMPUTE, POSITIONS, PRODUCTS
from lab.study.fields import STEPS_MOST, check_names, is_section
from lab.study.kinds import ASSOCIATION, CATEGORICAL, MAP
from lab.study.places import Ability
from lab.training.step import SCHEDULES

SAVES_MOST = 10_000  # of a stage; each of them is evaluated and measured
LAYERS_MOST = 64  # blocks are traced and compiled one by one: with more, a plan alone takes minutes; GPT-2 XL has 48
WIDTH_MOST = 2**13  # of the residual stream: latent metrics take eight probe examples for each of its dimensions
EXAMPLES_MOST = 2**20  # of a step, an evaluation or a task
PROBES_MOST = 8 * WIDTH_MOST  # TwoNN takes all distances between them: 16 GiB at this number
PARAMETERS_MOST = 2**31  # 8 GiB of float32, and four times as much with the gradient and two moments


@dataclass(frozen=True)
class Rule:
    """What a field may hold.

    Attributes:
      must: it in words, after 'must'.
      holds: whether a value, of any type, is such.
    """

    must: str
    holds: Callable[[Any], bool]


def whole(low: int, high: int) -> Rule:
    """A whole number, both ends included."""
    return Rule(f"be a whole number from {low:,} to {high:,}", lambda value: _is_int(value) and low <= value <= high)


def inside(low: float, high: float) -> Rule:
    """A number, both ends left out."""
    return Rule(f"lie between {low:g} and {high:g}", lambda value: _is_number(value) and low < value < high)


def choice(valid: Collection[str]) -> Rule:
    """One of some names."""
    return Rule(f"be one of {', '.join(valid)}", lambda value: isinstance(value, str) and value in valid)


def text(most: int, lines: bool = False) -> Rule:
    """Text that can be printed; over several lines where it may be."""
    must = f"be text of at most {most:,} characters that can be printed{'' if lines else ', on one line'}"
    return Rule(must, lambda value: _is_text(value, most, lines))


def several(of: Rule, what: str) -> Rule:
    """A tuple or list of values of one kind, each once."""

    def holds(value: Any) -> bool:
        return (
            isinstance(value, (tuple, list)) and all(of.holds(each) for each in value) and len({*value}) == len(value)
        )

    return Rule(f"be a tuple of {what}, each once", holds)


def either(rule: Rule, words: str, further: Callable[[Any], bool]) -> Rule:
    """A value of one kind or another."""
    return Rule(f"{rule.must}{words}", lambda value: rule.holds(value) or further(value))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _is_text(value: Any, most: int, lines: bool = False) -> bool:
    if not isinstance(value, str) or len(value) > most:
        return False
    return (value.replace("\n", "") if lines else value).isprintable()


def _is_size(value: Any) -> bool:
    """Whether a task's field is a plain value, whose range the task itself then checks."""
    if isinstance(value, (tuple, list)):
        return len(value) <= 1000 and all(_is_size(each) for each in value)
    return isinstance(value, bool) or (_is_number(value) and abs(value) < 2**53) or _is_text(value, 200)


def _is_names(value: Any) -> bool:
    return several(NAME, "").holds(value) and len(value) > 0 and all(value)


def _is_gains(value: Any) -> bool:
    """Whether it is a section or a tuple; `lab.study.claim` checks what is in a tuple."""
    return is_section(value) or isinstance(value, (tuple, list))


def _is_abilities(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(
        _is_text(one, 200) or is_section(one) or isinstance(one, Ability) for one in value
    )


SIGN = Rule("be 1 (the claim is that it rises) or -1 (falls)", lambda value: _is_number(value) and value in (1, -1))
NAME = text(100)
# A field's dotted name, * for every name that the study chooses -> what it may hold; sections before their fields.
RULES: Mapping[str, Rule] = {
    "name": NAME,
    "question": text(1000, lines=True),
    "tasks.*": Rule("be a section, such as dict(task='facts', examples=16)", is_section),
    "tasks.*.task": NAME,
    "tasks.*.examples": either(whole(1, EXAMPLES_MOST), ", or a section with one for each stage", is_section),
    "tasks.*.examples.*": whole(0, EXAMPLES_MOST),
    "tasks.*.factor": either(NAME, ", or a tuple of several, each once", _is_names),
    "tasks.*.probe": NAME,
    "tasks.*.*": Rule("be a number below 2^53, text, True, False or a tuple of such", _is_size),
    "model.width": whole(1, WIDTH_MOST),
    "model.layers": whole(1, LAYERS_MOST),
    "model.heads": whole(1, WIDTH_MOST),
    "model.mlp_width": whole(1, 8 * WIDTH_MOST),
    "model.positions": choice(POSITIONS),
    "model.activation": choice(ACTIVATIONS),
    "model.compute": choice(COMPUTE),
    "model.products": choice(PRODUCTS),
    "stages": several(NAME, "names of stages, such as ('train', 'prune')"),
    "steps.*": whole(0, STEPS_MOST),
    "saves.*": whole(1, SAVES_MOST),
    "schedule.name": choice(SCHEDULES),
    "schedule.warmup": whole(1, STEPS_MOST),
    "knobs.seed": whole(0, 2**31 - 1),
    "knobs.task": Rule("be a section with one for each task, such as dict(facts=dict(exponent=1.2))", is_section),
    "knobs.task.*": Rule("be a section with the task's difficulties, such as dict(exponent=1.2)", is_section),
    "knobs.task.*.*": Rule("be the knob's value, a number", lambda value: not is_section(value)),
    "knobs.*": Rule("be a section with the mechanism's settings, such as dict(rate=0.1)", is_section),
    "knobs.*.*": Rule("be the knob's value, a number or a name", lambda value: not is_section(value)),
    "call_steps": whole(1, STEPS_MOST),
    "evaluation.examples": whole(1, EXAMPLES_MOST),
    "probe.examples": whole(1, PROBES_MOST),
    "probe.layers": several(whole(-LAYERS_MOST - 1, LAYERS_MOST), "layers, such as (1, -1)"),
    "probe.extra": several(NAME, "names of latent readings, such as ('lidar',)"),
    "claim.knob": NAME,
    "claim.gains.*": SIGN,
    "claim.gains": Rule("be a section, dict(fisher_trace=1), or a tuple of gain(…)", _is_gains),
    "claim.abilities": Rule(
        "be a tuple of abilities, such as ('facts/iid', ability('facts', step=600))", _is_abilities
    ),
    "claim.layer": whole(-LAYERS_MOST - 1, LAYERS_MOST),
    "claim.alpha": inside(0, 1),
    "claim.delta": inside(0, 1),
    "claim.kind": either(choice((MAP, CATEGORICAL, ASSOCIATION)), ", or None", lambda value: value is None),
    "claim.knobs": several(NAME, "knobs that are axes, such as ('optimizer.learning_rate', 'weight_decay.rate')"),
    "claim.control": Rule("be a value of the claim's knob, or None", lambda value: value is None or _is_size(value)),
    "claim.below": Rule("be 1 (gains as the knob leaves neutral, on either side) or -1 (along the axis)", SIGN.holds),
}


def check(config: Any) -> None:
    """Refuse a config with a field that is unknown, missing, or holds what it may not.

    Raises:
      UserError: in one sentence with the field, its value and what is allowed.
    """
    check_names(config)
    for pattern, rule in RULES.items():
        for name, value in _matching(config, pattern.split("."), "config", ""):
            if not rule.holds(value):
                raise UserError(f"{name}={shown(value)} must {rule.must}.")


def _matching(section: Any, pattern: Sequence[str], where: str, above: str) -> Iterator[tuple[str, Any]]:
    """(name, value) of the fields that a pattern means; * stands for the names that have no rule of their own."""
    first, *rest = pattern
    found = [name for name in section if f"{above}{name}" not in RULES] if first == "*" else [first]
    for name in (name for name in found if name in section):
        if not rest:
            yield f"{where}.{name}", section[name]
        elif is_section(section[name]):
            yield from _matching(section[name], rest, f"{where}.{name}", f"{above}{first}.")
