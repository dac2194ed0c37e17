"""The blocks of the pages on axes, pieces and knobs of tasks are grids of studies."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import create_autospec

import pytest

import analysis
from analysis import second_order
from analysis.activations.claimable import READINGS
from lab.study import axis, product, zipped
from lab.study.grid import Grid
from lab.study.parse import parse
from tasks.fields import KnobField, knob_fields
from tasks.memory.facts import Facts
from tests.tiny_study import get_config

DOCS = Path(__file__).parents[3] / "docs"


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def grid_of(code, config):
    """Runs a block on a config, 'what comes here is yours' (...) left out; the grid that it ends with."""
    body = [
        statement
        for statement in ast.parse(code).body
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
    ]
    names = {"config": config, "axis": axis, "product": product, "zipped": zipped}
    if isinstance(body[-1], ast.FunctionDef):
        exec(compile(ast.Module(body, []), "page", "exec"), names)
        return names["sweep"](config)
    exec(compile(ast.Module(body[:-1], []), "page", "exec"), names)
    last = body[-1]
    assert isinstance(last, ast.Expr)
    grid = eval(compile(ast.Expression(last.value), "page", "eval"), names)
    return grid if any(one.knob == "seed" for one in grid.axes) else product(grid, axis("seed", range(5)))


def study_with(code, **claim):
    config = get_config()
    config.call_steps = 1
    config.claim.update(claim)
    grid = grid_of(code, config)
    assert isinstance(grid, Grid)
    for stage in config.stages:
        config.steps[stage] = config.steps.get(stage, 50)
        config.saves[stage] = config.saves.get(stage, 1)
    for stage in [stage for stage in config.steps if stage not in config.stages]:
        del config.steps[stage]
    for stage in [stage for stage in config.saves if stage not in config.stages]:
        del config.saves[stage]
    return parse(config, grid, READINGS)


@pytest.mark.parametrize("code", blocks("axes.md"))
def test_the_blocks_of_the_page_on_axes_are_studies(code):
    study = study_with(code)
    assert study.claim.knob in {a.knob for a in study.axes}


def test_the_first_block_of_the_page_on_knobs_of_tasks_is_a_study():
    study = study_with(blocks("task_knobs.md")[0])
    assert study.claim.knob == "task.facts.exponent"
    assert study.knobs[study.claim.knob].neutral == 1.0


def test_the_second_block_of_the_page_on_knobs_of_tasks_is_a_study_of_three_tasks():
    study = study_with(blocks("task_knobs.md")[1])
    assert study.task_sizes == ("task.add.p",)
    assert [one.use("add").task.factor_sizes["result"] for one in study.variants] == [31, 61, 97]


def test_the_third_block_of_the_page_on_knobs_of_tasks_declares_a_knob():
    names = {"Facts": Facts, "Mapping": Mapping, "KnobField": KnobField}
    exec(f"class Task(Facts):\n{blocks('task_knobs.md')[2]}", names)
    field = knob_fields(names["Task"]())["exponent"]
    assert (field.low, field.high) == (0.0, 4.0)


def test_the_last_block_of_the_page_on_pieces_asks_for_what_there_is(monkeypatch):
    """Which the tests of `analysis.second_order` hold against one example at a time."""
    asked = create_autospec(second_order.second_order)
    monkeypatch.setattr(second_order, "second_order", asked)
    monkeypatch.setattr(analysis, "open_study", lambda path: path)
    exec(blocks("pieces.md")[4], {})
    asked.assert_called_once_with("runs/pairs", {"prune.sparsity": 0.8}, split="tail")


CLAIMS = [
    {"knob": "mixer.kind", "control": "softmax"},
    {"knob": "canon.strength"},
    {"knob": "width.active"},
    {"knob": "self_label.share"},
]


@pytest.mark.parametrize(("code", "claim"), [*zip(blocks("pieces.md")[:4], CLAIMS, strict=True)])
def test_the_blocks_of_the_page_on_pieces_are_studies(code, claim):
    study = study_with(code, **claim)
    assert study.claim.knob == claim["knob"]
