"""Which fields a study's config has, and how a command line sets them. Loads no JAX.

`study_config()` is the list: its sections that hold fields have no others; the sections that it leaves empty (tasks,
steps, saves, knobs, gains) name theirs by task, stage, knob and metric. What a field may hold is in `lab.study.schema`.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable, Iterable
from typing import Any

from ml_collections import ConfigDict

from lab.errors import UserError, clipped, nearest, shown
from lab.study.frozen import frozen_config, is_frozen
from lab.study.grid import OWN, study_config
from lab.study.places import Gain

GAINS = "config.claim.gains"  # the one section that may be a tuple
STEPS_MOST = 2**30 - 1  # of a study, all stages together: `lab.mechanisms.NEVER` is the step that none reaches


def is_section(value: Any) -> bool:
    """Whether a value holds fields."""
    return isinstance(value, (dict, ConfigDict))


def check_names(config: Any) -> None:
    """Refuse a config with a field that no study has and that this one doesn't declare, or without one that all have.

    Raises:
      UserError: in one sentence, with the nearest fields.
    """
    own = _declared(config)
    _check_keys(config, "config")
    if is_frozen(config):
        _check_section(config, frozen_config(), "config", own, _frozen_hint)
    else:
        _check_section(config, study_config(), "config", own, _hint)


def _declared(config: Any) -> tuple[str, ...]:
    """The names of the study's own fields."""
    own = config.get(OWN, ())
    if not isinstance(own, (tuple, list)) or not all(isinstance(name, str) for name in own):
        raise UserError(f"config.{OWN}={shown(own)}: declare fields of your own as study_config(own=dict(seeds=8)).")
    return (OWN, *own)


def _check_keys(section: Any, where: str) -> None:
    """Names of fields are text; a section that mixes them with numbers can't even be iterated over."""
    try:
        text = all(isinstance(name, str) for name in section)
    except TypeError:
        text = False
    if not text:
        raise UserError(f"{where}: the name of every field must be text.")
    for name in section:
        if is_section(section[name]):
            _check_keys(section[name], f"{where}.{name}")


def _check_section(
    section: Any, standard: Any, where: str, further: tuple[str, ...], hint: Callable[[str], str]
) -> None:
    for name in standard:
        if name not in section:
            raise UserError(
                f"{where}.{name} is missing: set single fields ({where}.{name} = …), so that all others keep their"
                " defaults."
            )
    for name in section:
        if name not in standard and name not in further:
            raise UserError(f"{where}.{name}={shown(section[name])}: no such field.{hint(f'{where}.{name}')}")
    for name, inner in standard.items():
        if f"{where}.{name}" == GAINS and isinstance(section[name], (tuple, list)):
            continue  # gains at places; `lab.study.claim` reads them
        if is_section(inner):
            if not is_section(section[name]):
                raise UserError(f"{where}.{name}={shown(section[name])} must be a section: dict(…).")
            if len(inner):
                _check_section(section[name], inner, f"{where}.{name}", (), hint)


def _hint(path: str) -> str:
    """The nearest of all fields, knobs among them; of a field at the top how a study declares its own."""
    from lab.mechanisms.knobs import KNOBS  # loads JAX, for the sentence's sake only

    known = [*names(study_config()), *(f"knobs.{knob}" for knob in KNOBS)]
    hint = f" {nearest_field(path.removeprefix('config.'), known)}"
    own = path.removeprefix("config.")
    return hint if "." in own else f"{hint} A field of the study's own is declared: study_config(own=dict({own}=…))."


def _frozen_hint(path: str) -> str:
    """The nearest of a frozen study's fields."""
    return f" {nearest_field(path.removeprefix('config.'), names(frozen_config()))}"


def nearest_field(name: str, fields: Iterable[str]) -> str:
    """The fields that a wrong name may mean: those with the same last part or stage, else the nearest by spelling."""
    fields = list(fields)
    last = name.split(".")[-1].casefold()
    same = [f"config.{field}" for field in fields if last in field.casefold().split(".")]
    if same:
        return f"Nearest: {', '.join(difflib.get_close_matches(f'config.{name}', same, n=3, cutoff=0))}."
    return nearest(f"config.{name}", [f"config.{field}" for field in fields])


def names(config: Any, prefix: str = "") -> list[str]:
    """The dotted names of all fields that are set, those of a study's own included."""
    found = []
    for name, value in config.items():
        if is_section(value):
            found += names(value, f"{prefix}{name}.")
        elif f"{prefix}{name}" != OWN:
            found.append(f"{prefix}{name}")
    return found


def settable(config: Any) -> list[str]:
    """The names that a command line can set without JAX: fields that are set, and those of every stage."""
    stages = config.stages if isinstance(config.get("stages"), (tuple, list)) else ()
    return list(
        dict.fromkeys((*names(config), *(f"{part}.{stage}" for part in ("steps", "saves") for stage in stages)))
    )


def override(config: Any, name: str, text: str) -> None:
    """Set one field as a command line does: `--config.<name>=<text>`.

    Text is taken as it is where the field holds text, and as a Python literal where it doesn't. Every field of a study
    can be set, knobs, task sizes and gains that the study leaves at their defaults included.

    Raises:
      UserError: if there is no such field, or it holds values of another kind.
    """
    *sections, last = name.split(".")
    if sections == ["claim", "gains"] and isinstance(config.claim.gains, (tuple, list)):
        config.claim.gains = _with_gain(config.claim.gains, last, text)
        return
    holder = config
    for part in sections:
        if part not in holder and _may_be_new(config, name):
            holder[part] = ConfigDict()
        if part not in holder or not is_section(holder[part]):
            raise _unknown(config, name)
        holder = holder[part]
    if name == OWN or (last not in holder and not _may_be_new(config, name)):
        raise _unknown(config, name)
    present = holder.get(last)
    value = _like(present, text, f"--config.{name}={clipped(text)}")
    with holder.ignore_type():
        holder[last] = value


def _with_gain(gains: Iterable[Any], metric: str, text: str) -> tuple[Any, ...]:
    """A tuple of gains with the sign of a plain name, in place of what it said of that name."""
    holder = ConfigDict({metric: 1})
    override(holder, metric, text)
    others = ({name: sign for name, sign in one.items() if name != metric} if is_section(one) else one for one in gains)
    kept = (one for one in others if not (isinstance(one, Gain) and one.is_plain and one.metric == metric))
    return (*kept, holder.to_dict())


def _unknown(config: Any, name: str) -> UserError:
    known = settable(config)
    if name.startswith("knobs."):
        from lab.mechanisms.knobs import KNOBS  # loads JAX, for the sentence's sake only

        known = [f"knobs.{knob}" for knob in KNOBS]
    return UserError(f"--config.{name}: no such field. {nearest_field(name, known)}")


def _may_be_new(config: Any, name: str) -> bool:
    """Whether a field that isn't set is one of those that the study's own stages, tasks, knobs and metrics name."""
    if is_frozen(config):
        return name.startswith(("claim.gains.", "knobs.", "data.options.")) and all(name.split("."))
    match name.split("."):
        case ["steps" | "saves", stage]:
            return stage in config.stages
        case ["tasks", label, _] | ["tasks", label, "examples", _]:
            return label in config.tasks
        case ["claim", "gains", _]:
            return True
        case ["knobs", "seed"]:
            return True
        case ["knobs", "task", label, _] | ["knobs", "mixture", label]:
            return label in config.tasks
        case ["knobs", _, _]:
            from lab.mechanisms.knobs import KNOBS  # loads JAX: a known knob that the study leaves at its default

            return name.removeprefix("knobs.") in KNOBS
    return False


def _like(present: Any, text: str, given: str) -> Any:
    """A command line's text as a value of the kind that the field holds; as the literal that it is where it's None."""
    if isinstance(present, str):
        return text
    value = _literal(text)
    if isinstance(present, (tuple, list)):
        return tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if is_section(present) and not is_section(value):
        raise UserError(f"{given} must be a section, such as \"{{'a': 1}}\".")
    if isinstance(present, bool) and not isinstance(value, bool):
        raise UserError(f"{given} must be true or false.")
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2.0**63
    if isinstance(present, int) and not isinstance(present, bool) and not (number and isinstance(value, int)):
        raise UserError(f"{given} must be a whole number.")
    if isinstance(present, float):
        if not number or not math.isfinite(value):
            raise UserError(f"{given} must be a number.")
        return float(value)
    return value


def _literal(text: str) -> Any:
    """The Python literal that a text is, 'true' and 'false' among them; the text itself where it is none."""
    try:
        return ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
