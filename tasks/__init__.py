"""What is learned: task generators, and the registry that makes them by name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, cast

from tasks.base import LATER, Task, TaskError
from tasks.memory.composite_facts import CompositeFacts
from tasks.memory.compression import Compression
from tasks.memory.copy import Copy
from tasks.memory.count_recall import CountRecall
from tasks.memory.facts import Facts
from tasks.memory.flip_flop import FlipFlop
from tasks.memory.fuzzy_recall import FuzzyRecall
from tasks.memory.iid_pairs import IidPairs
from tasks.memory.induction import Induction
from tasks.memory.mqar import MQAR
from tasks.memory.n_back import NBack
from tasks.memory.noisy_recall import NoisyRecall
from tasks.memory.overwrite_recall import OverwriteRecall
from tasks.memory.selective_copy import SelectiveCopy
from tasks.planning.blocksworld import BlocksWorld
from tasks.planning.countdown import Countdown
from tasks.planning.graph_search import GraphSearch
from tasks.planning.hanoi import Hanoi
from tasks.planning.map_walk import MapWalk
from tasks.planning.maze import Maze
from tasks.planning.path_star import PathStar
from tasks.planning.sudoku4 import Sudoku4
from tasks.planning.topological_sort import TopologicalSort
from tasks.planted import SHORTCUTS, Planted, unplanted
from tasks.reasoning.addition import Addition
from tasks.reasoning.comparison import Comparison
from tasks.reasoning.defaults import Defaults
from tasks.reasoning.dyck import Dyck
from tasks.reasoning.grammar_transduction import GrammarTransduction
from tasks.reasoning.group_word import GroupWord
from tasks.reasoning.k_hop import KHop
from tasks.reasoning.modular import ModularArithmetic
from tasks.reasoning.nested_expression import NestedExpression
from tasks.reasoning.regular_language import RegularLanguage
from tasks.reasoning.rule_deduction import RuleDeduction
from tasks.reasoning.three_sum import ThreeSum
from tasks.reasoning.two_hop import TwoHop
from tasks.text.published import PUBLISHED, Published

REGISTERED = (
    ModularArithmetic,
    GroupWord,
    GrammarTransduction,
    Dyck,
    RegularLanguage,
    Addition,
    NestedExpression,
    KHop,
    TwoHop,
    Comparison,
    RuleDeduction,
    Defaults,
    ThreeSum,
    PathStar,
    GraphSearch,
    TopologicalSort,
    Maze,
    MapWalk,
    MQAR,
    NoisyRecall,
    FuzzyRecall,
    OverwriteRecall,
    Copy,
    SelectiveCopy,
    Compression,
    Induction,
    NBack,
    CountRecall,
    FlipFlop,
    Facts,
    CompositeFacts,
    IidPairs,
    BlocksWorld,
    Hanoi,
    Sudoku4,
    Countdown,
)
TASKS: dict[str, Any] = {task.name: task for task in REGISTERED}  # those that need no files


def make(name: str, **sizes: Any) -> Task:
    """The task called `name` with the given sizes; those of `SHORTCUTS` plant a shortcut in any task.

    Raises:
      TaskError: no such task, no such field, a size out of its range, or files that can't be read.
    """
    kinds = {**TASKS, **PUBLISHED}
    if name not in kinds:
        raise TaskError(f"unknown task '{name}'. {_nearest(name, kinds)}")
    own = [
        field.name for field in dataclasses.fields(kinds[name]) if field.init
    ]  # which go before a shortcut of the same name
    for field in sizes:
        if field not in own and field not in SHORTCUTS:
            raise TaskError(f"task '{name}' has no field '{field}'. {_nearest(field, {*own, *SHORTCUTS})}")
    task = kinds[name](**{k: v for k, v in sizes.items() if k in own})
    planted = Planted(task, **{k: v for k, v in sizes.items() if k not in own})  # checks their ranges
    # What a task's class says once, Planted says per instance: its properties are not the contract's class variables.
    return cast(Task, planted) if planted.cued or planted.noisy else task


def with_sizes(task: Task, sizes: Mapping[str, Any]) -> Task:
    """The same task with some of its static fields changed.

    Raises:
      TaskError: a size out of its range.
    """
    return make(task.name, **{**sizes_of(task), **sizes})


def sizes_of(task: Task) -> dict[str, Any]:
    """Everything static about a task: the fields that `make` would need in addition to its name.

    A field that was added since (`tasks.base.LATER`) is left out at its default, so that keys of checkpoints stay.
    """
    if isinstance(task, Planted):
        return sizes_of(task.task) | {name: value for name, value in _sizes(task).items() if name in SHORTCUTS}
    return _sizes(task)


def identity_of(task: Task) -> dict[str, Any]:
    """What makes a task the one that it is, wherever it runs: `sizes_of`, with what files hold for where they lie."""
    inner = unplanted(task)
    sizes = sizes_of(task)
    if isinstance(inner, Published):
        return {name: value for name, value in sizes.items() if name != "data_dir"} | inner.identity
    return sizes


def _sizes(task: Any) -> dict[str, Any]:
    values = {field: getattr(task, field.name) for field in dataclasses.fields(task) if field.init}
    return {f.name: value for f, value in values.items() if f.metadata != LATER or value != f.default}


def _nearest(name: object, valid: Iterable[str]) -> str:
    valid = sorted(valid)
    found = difflib.get_close_matches(str(name).casefold(), {each.casefold() for each in valid}, n=3, cutoff=0.5)
    close = [each for one in found for each in valid if each.casefold() == one]
    return f"Nearest: {', '.join(close)}." if close else f"Valid: {', '.join(valid)}."
