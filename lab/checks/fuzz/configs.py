"""Malformed studies: a valid one in which one or two things are replaced, left out, misspelt, or swept over badly.

A trial is the text of a study's file, or an override of a field, run as `run.py --config=study.py --plan`.
"""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from lab.checks.fuzz import small_study
from lab.checks.fuzz.trials import Ended, Judged, Trial, answered, module
from lab.errors import UserError
from lab.mechanisms import knobs
from lab.study import Grid, study_config
from lab.values import plain, plain_entries
from tasks import TASKS

LARGEST = 2**31 - 1  # a whole number beyond it fits no counter of the program's
VALUES = (
    *("None", "True", "False", "...", "object", "print", "object()", "lambda: 0", "{'a': {'b': 1}}", "1j", "b'bytes'"),
    *("0", "-1", "1", "2", "2.5", "10**5", "10**10", "10**30", "-10**30", "1e308", "1e-320", "-0.0", "'1'", "'nan'"),
    *("float('nan')", "float('inf')", "-float('inf')", "''", "' '", "'x' * 300", "'['", "'[/b]'", "'\\0'", "'→'"),
    *("'a/b'", "'../up'", "'a\\nb'", "'\\x1b[31m'", "'\\ud800'", "[]", "()", "{}", "[1, 2]", "(1, 1)", "[[1]]"),
    *("(None,)", "('train', 'train')", "{'train': 1}", "{'train': None}", "{'nonsense': 3}", "{1: 2}"),
    *("range(3)", "iter((1, 2))", "{1, 2}", "np.int64(3)", "np.float32(0.5)", "np.float64('nan')", "np.bool_(True)"),
    *("np.array(3)", "np.array([1, 2])", "np.array([])", "np.str_('facts')", "('facts/iid', 'facts/iid')", "float"),
)  # fmt: skip
OVERRIDES = (
    *("", "None", "nan", "inf", "-inf", "1e999", "True", "true", "yes", "0", "-1", "1", "2.5", "1e3", "0x10", "1_000"),
    *("100000", "10000000000", "1" + "0" * 30, "[", "[/b]", "(", "()", "(1, 2)", "[1]", "{}", "{'a': 1}", "'", '"'),
    *("a b", "a\nb", "x" * 300, "\\", "%s", "facts", "MQAR", "('train',)", "__import__('os')", "=", "--plan", "→"),
)  # fmt: skip
SETTINGS = (
    *("()", "(0.0,)", "(0.9,)", "(0.0, 0.0)", "(0, 0.0)", "(0.0, 0.3, 0.1 + 0.2)", "(0.0, 0.5, 0.50000001)", "None"),
    *("5", "'abc'", "(None,)", "({},)", "(0.0, '0.5')", "(0.0, True)", "(False, True)", "(0.0, [0.5])", "range(3)"),
    *("(0.0, float('nan'))", "(0.0, float('inf'))", "(0.0, 1e-320)", "(0.0, 1e308)", "(-0.0, 0.0)", "(0.0, 1.5)"),
    *("(0.0, -0.5)", "(0.0, 10**30)", "np.linspace(0, 0.9, 10)", "np.float32((0, 0.3))", "np.array([[0.0, 0.5]])"),
    *("(0.0, np.float64(0.5))", "np.array(0.5)", "iter((0.0, 0.5))", "{0.0: 1, 0.5: 2}", "(0.5, 0.0)", "(0.0, 1 / 3)"),
    *("range(400)", "(np.int64(0), np.int64(1))", "('adamw', 'sgd')", "('global', 'layerwise')", "('',)", "(0.0, 1j)"),
    *("(8, 12)", "(4, 8.5)", "('Z6', 'S3')", "('Z6', 6)"),
)  # fmt: skip
OF_TASKS = ("mixture.facts", "task.facts.exponent", "task.facts.facts", "task.word.group", "task.word.length")
SEEDS = (
    *("range(3)", "np.arange(3)", "(0.5, 1.5)", "(0, 1.0)", "(0, -1)", "(0, 2**31)", "(20240101, 20240102)", "(0,)"),
    *("(True, False)", "(0, None)", "()", "(0, 0)", "(float('nan'),)", "('0', '1')", "(0, 10**30)", "[[0, 1]]", "3"),
    *("np.uint64((0, 1))", "np.float64((0, 1))", "range(0)", "(2**31 - 1, 0)"),
)  # fmt: skip
STAGES = (
    "'prune'",
    "'prune'",
    "'train'",
    "None",
    "'prun'",
    "1",
    "''",
    "['prune']",
    "'x' * 300",
    "True",
    "float('nan')",
)
GRIDS = (
    *("None", "[0]", "{}", "product()", "zipped()", "chain()", "axis", "()", "'grid'", "product(None)", "chain(3)"),
    *("zipped(axis('prune.sparsity', (0.0, 0.5)), axis('seed', range(3)))", "product(axis('seed', range(2)))"),
    *("zipped(axis('prune.sparsity', (0.0, 0.5)), axis('seed', range(2)))", "axis('prune.sparsity', (0.0, 0.5))"),
    *("product(axis('seed', (0,)), axis('seed', (1,)))", "axis(None, (0.0, 0.5))", "axis('', (0.0,))", "axis(3, (1,))"),
    *("axis(['prune.sparsity'], (0.0, 0.5))", "axis('prune', (0.0, 0.5))", "axis('prune.sparsity' * 20, (0.0, 0.5))"),
)  # fmt: skip
WRAPPERS = (
    *("subsample({grid}, {count}, {count})", "tuned({grid})", "chain({grid}, {grid})", "chain({grid}, {settings})"),
    *("conditional({grid}, lambda point: {value})", "conditional({grid}, lambda point: axis('width.active', (1, 2)))"),
    *("product({grid}, {grid})", "zipped({grid}, {settings})", "product({grid}, {drawn})"),
    *("grown({grid}, 'prune.sparsity', [({{}}, {value})], (0, 1, 2))", "grown({grid}, {value}, (), (0,))"),
)  # fmt: skip
FILE = """import numpy as np
from lab.checks.fuzz import small_study
from lab.study import axis, chain, conditional, grown, loguniform, product, subsample, tuned, uniform, zipped

def get_config():
    config = small_study.get_config()
{changes}
    return config

def sweep(config):
    return {sweep}
"""
WHOLE = "small_study.sweep(config)"
FREE = ("name", "question")  # fields for any text
OPEN = ("tasks.", "knobs.", "claim.gains.")  # sections in which a study names fields of its own
Fields = dict[str, Any]  # dotted name -> value


def draw(random: Random, name: str) -> Trial:
    """One trial: mostly one or two changes of the config, else a grid or an override."""
    kind = random.random()
    if kind < 0.2:
        return _planned(name, random, "    pass", WHOLE, override=_override(random))
    if kind < 0.45:
        return _planned(name, random, "    pass", _grid(random))
    changes = [random.choice(CHANGES)(random) for _ in range(random.choice((1, 1, 2)))]
    ignored = random.random() < 0.7  # a ConfigDict refuses values of another type by itself
    opening = "    with config.ignore_type(), config.unlocked():" if ignored else "    with config.unlocked():"
    return _planned(name, random, "\n".join([opening, *(f"        {line}" for line in changes)]), WHOLE)


def _planned(name: str, random: Random, changes: str, sweep: str, override: str = "") -> Trial:
    text = FILE.format(changes=changes, sweep=sweep)
    more = [override] if override else []
    extra = random.choice(([], [], [], ["--refine"], ["--repair"], ["--shard=1/2"]))
    shown = [line.strip() for line in changes.splitlines()[1:]] + ([f"return {sweep}"] if sweep != WHOLE else [])
    command = " ".join(["run.py --config=study.py --plan", *map(repr, [*more, *extra])])

    def carry_out() -> int:
        Path("study.py").write_text(text, encoding="utf-8")
        return module("run").main(["run.py", "--config=study.py", "--plan", "--workdir=study", *more, *extra])

    def judge(ended: Ended) -> Judged:
        return answered(ended, lambda: _harmless_override(override) if override else harmless(text, ended.out))

    return Trial(name, "\n".join([command, *shown]), carry_out, judge)


def flattened(config: Any, prefix: str = "") -> Fields:
    """A config's fields by dotted name; an empty section is a field."""
    found: Fields = {}
    for name, value in config.items():
        if hasattr(value, "items") and len(value):
            found |= flattened(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


VALID = flattened(small_study.get_config())
STANDARD = flattened(study_config())
SECTIONS = sorted({".".join(path.split(".")[:n]) for path in VALID for n in range(1, path.count(".") + 1)})


def _value(random: Random, path: str) -> str:
    """Code of a hostile value for a field; one in four is of the field's own kind."""
    own = VALID.get(path)
    if own is None or random.random() < 0.75:
        return random.choice(VALUES)
    odd = [f"[{own!r}]", f"({own!r}, {own!r})", repr(str(own))]
    if isinstance(own, (int, float)):
        odd += [
            repr(-own),
            repr(own * 10**9),
            repr(float(own)),
            repr(own + 0.5),
            f"np.int64({own})",
            f"np.float64({own})",
        ]
    if isinstance(own, str):
        odd += [repr(own.upper()), repr(own[:-1]), repr(f" {own}"), f"np.str_({own!r})"]
    return random.choice(odd)


def _set(random: Random) -> str:
    path = random.choice([*VALID, *VALID, *SECTIONS])
    return f"config.{path} = {_value(random, path)}"


def _left_out(random: Random) -> str:
    return f"del config.{random.choice([*VALID, *SECTIONS])}"


def _misspelt(random: Random) -> str:
    path = random.choice([*VALID, *SECTIONS])
    section, _, name = path.rpartition(".")
    at = random.randrange(len(name))
    wrong = random.choice((name[:at] + name[at + 1 :], name[: at + 1] + name[at:], name.title(), f"{name}s", "depth"))
    target = f"config.{section}" if section else "config"
    value = repr(VALID[path]) if path in VALID else "{}"
    return f"{target}[{wrong or 'x'!r}] = {value}"


def _labelled(random: Random) -> str:
    label = random.choice(("'a/b'", "''", "'x' * 300", "'→'", "'a b'", "'class'", "'[b]'", "'1'", "'Facts'", "'\\0'"))
    return f"config.tasks[{label}] = config.tasks.facts"


def _sized(random: Random) -> str:
    task = random.choice(sorted(TASKS))
    field = random.choice(
        [*(f.name for f in dataclasses.fields(TASKS[task])), "spurious", "label_noise", "probe", "factor"]
    )
    return f"config.tasks.facts = dict(task={task!r}, examples=4, {field}={random.choice(VALUES)})"


def _knob(random: Random) -> str:
    mechanism, _, setting = random.choice(sorted(knobs.KNOBS)).partition(".")
    inner = f"{{{setting!r}: {random.choice(VALUES)}}}" if setting else random.choice(VALUES)
    return f"config.knobs = {{{mechanism!r}: {inner}}}"


CHANGES: tuple[Callable[[Random], str], ...] = (_set, _set, _set, _left_out, _misspelt, _labelled, _sized, _knob)


def _override(random: Random) -> str:
    known = [*VALID, *SECTIONS, "knobs.optimizer.learning_rate", *(f"knobs.{name}" for name in knobs.KNOBS)]
    path = random.choice(known)
    if random.random() < 0.15:
        path = random.choice((path[:-1], path.upper(), f"{path}.more", "", ".", path.split(".")[-1], "x" * 300))
    return f"--config.{path}={random.choice(OVERRIDES)}"


def _grid(random: Random) -> str:
    def swept(knob: str, values: str) -> str:
        return f"axis({knob!r}, {values}, stage={random.choice(STAGES)})"

    kind = random.random()
    if kind < 0.15:
        return random.choice(GRIDS)
    claimed = swept("prune.sparsity", random.choice((*SETTINGS, "(0.0, 0.5)")))
    seeds = f"axis('seed', {random.choice((*SEEDS, 'range(2)'))})"
    grid = f"product({claimed}, {seeds})" if random.random() < 0.8 else f"product({seeds}, {claimed})"
    if kind < 0.5:
        return grid
    other = random.choice(sorted({*knobs.KNOBS} - {"prune.sparsity", "seed"}))
    other = random.choice(OF_TASKS) if random.random() < 0.2 else other
    settings = swept(other, random.choice(SETTINGS))
    if kind < 0.75:
        return f"product({claimed}, {settings}, {seeds})"
    ends = [
        random.choice(("0", "1", "0.5", "-1", "None", "'a'", "float('nan')", "float('inf')", "1e-9")) for _ in range(2)
    ]
    count, seed = (random.choice(("3", "0", "-1", "2.5", "None", "10**7", "True", "'3'")) for _ in range(2))
    drawn = f"{random.choice(('uniform', 'loguniform'))}({other!r}, {ends[0]}, {ends[1]}, {count}, {seed})"
    return random.choice(WRAPPERS).format(
        grid=grid, settings=settings, drawn=drawn, count=count, value=random.choice(VALUES)
    )


def harmless(text: str, printed: str) -> str:
    """Why a study that was accepted does no harm: every change is a value that its field is for; '' if it isn't.

    Args:
      text: the study's file.
      printed: what the command printed.
    """
    made: dict[str, Any] = {}
    try:
        exec(compile(text, "study.py", "exec"), made)
        config = made["get_config"]()
        reasons = [*_of_fields(flattened(config)), *_of_grid(made["sweep"](config), printed)]
    except Exception:  # whatever the objects of the text raise where they are looked at
        return ""
    return "; ".join(dict.fromkeys(reasons)) if all(reasons) else ""


def _of_fields(found: Fields) -> Iterator[str]:
    for path in sorted({*found, *VALID}):
        if path not in found:
            yield "what is left out has a default" if path in STANDARD or path.startswith("tasks.") else ""
        elif not _same(found[path], VALID.get(path)):
            yield _why(path, found[path], VALID.get(path, STANDARD.get(path)))


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and repr(value) == repr(other)


def _why(path: str, given: Any, standard: Any) -> str:
    """Why a field may have this value; '' where nothing says so."""
    value, section = plain_entries(given), path.partition(".")[0]
    if path not in {*VALID, *STANDARD} and not path.startswith(OPEN):
        return ""
    if section == "knobs":
        return _why_knob(path.removeprefix("knobs."), value)
    if path in FREE:
        line = value.replace("\n", "") if isinstance(value, str) and path == "question" else value
        return "text" if isinstance(line, str) and line.isprintable() else ""
    if section == "tasks":  # the task checks its own sizes
        return "a size that the task accepts" if _is_size(value) or _is_empty(value) else ""
    if isinstance(value, bool) or isinstance(standard, bool):
        return ""
    if isinstance(value, int) and (standard is None or isinstance(standard, (int, float))):
        return "a whole number in its field's range" if abs(value) <= LARGEST else ""
    if isinstance(value, float) and isinstance(standard, float):
        return "a number in its field's range" if math.isfinite(value) else ""
    if isinstance(value, str) and isinstance(standard, str):
        return "a name that is known"
    if isinstance(value, (list, tuple)) and isinstance(standard, tuple):
        kinds = {type(plain(one)) for one in value}
        distinct = len({*map(repr, value)}) == len(value)
        return "a sequence of what its field is for" if distinct and kinds <= {int, str} else ""
    return "an empty section" if _is_empty(value) else ""


def _is_empty(value: Any) -> bool:
    return hasattr(value, "items") and not len(value)


def _is_size(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_size, value))
    return not isinstance(value, bool) and (
        isinstance(value, (int, str)) or (isinstance(value, float) and math.isfinite(value))
    )


def _why_knob(name: str, value: Any) -> str:
    if name in OF_TASKS:
        return "a value that the task accepts" if _is_size(value) else ""
    try:
        knobs.checked(name, value, "")
    except UserError:
        return ""
    return "a value that its knob accepts"


def _of_grid(grid: Any, printed: str) -> Iterator[str]:
    if not isinstance(grid, Grid):
        yield ""
        return
    if repr(grid) == repr(small_study.sweep(None)):
        yield "the study's own grid"
        return
    for one in grid.axes:
        values = [plain(value) for value in one.values]
        repeated = len({*values}) < len(values) and "repeat another one" not in printed
        yield "" if repeated else min((_why_knob(one.knob, value) for value in values), default="")


def _harmless_override(override: str) -> str:
    path, _, text = override.removeprefix("--config.").partition("=")
    standard: Mapping[str, Any] = VALID | {f"knobs.{name}": knob.base for name, knob in knobs.KNOBS.items()}
    if path not in standard:
        return ""
    own = standard[path]
    if isinstance(own, str):
        return _why(path, text, own)
    try:
        value = ast.literal_eval(text.replace("_", ""))
    except (ValueError, SyntaxError):
        return ""
    return "the study is unchanged" if _same(value, own) else _why(path, value, own)
