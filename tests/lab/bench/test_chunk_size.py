"""The chunk timer: what it tries, what it says, what it refuses. Nothing here rests on how fast anything was."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab.bench import chunk_size
from lab.bench.chunk_size import Candidate
from lab.engine import Layout, make_plan
from tests.lab.conftest import study_of, tiny_sweep

TINY = Path(__file__).parents[2] / "tiny_study.py"
GPU = Layout("gpu", 2, 32, 32)


def chunks(plan, budget=0):
    return [(one.chunk, one.width) for one in chunk_size.layouts(plan, plan.program_groups[0], budget)]


def test_powers_of_two_are_tried_while_they_fit_and_cells_are_there():
    plan = make_plan(study_of(grid=tiny_sweep(seeds=200)), GPU)
    assert chunks(plan) == [(c, c) for c in (1, 2, 4, 8, 16, 32, 64, 128)]  # 100 cells a device
    eight = replace(plan, layout=replace(GPU, chunk=8, width=8))
    assert chunks(eight, eight.memory_bytes()) == [(1, 1), (2, 2), (4, 4), (8, 8)]
    assert chunks(replace(plan, layout=Layout("cpu", 2, 1, 4))) == [(c, 1) for c in (1, 2, 4, 8, 16)]
    assert chunks(make_plan(study_of(), Layout("cpu", 2, 1, 4))) == [(1, 1), (2, 1), (4, 1)]  # the rule's, too


def timed(chunk, seconds, width=None):
    layout = replace(GPU, chunk=chunk, width=width or chunk)
    return Candidate(layout, lambda: 0.0, cell_steps=chunk, memory=chunk * 2**20, seconds=list(seconds))


def test_the_fastest_is_named_with_what_it_changes():
    lines = list(chunk_size.report([timed(16, (0.09, 0.08)), timed(32, (0.16, 0.2)), timed(64, (0.2, 0.16))], GPU))
    assert lines[2:5] == [
        "| 16 | 16 | 5.000 | 16.0 | --chunk=16 |",
        "| 32 | 32 | 5.000 | 32.0 | the rule's |",
        "| 64 | 64 | 2.500 | 64.0 | --chunk=64 |",
    ]
    assert lines[5].startswith("Fastest: --chunk=64, 2.00 times as fast as the rule's.")
    assert "last bits change" in lines[6]
    one_at_a_time = [timed(4, (0.4,), 1), timed(8, (0.4,), 1)]
    assert "last bits" not in " ".join(chunk_size.report(one_at_a_time, one_at_a_time[0].layout))


def test_a_small_gain_leaves_the_rule():
    lines = list(chunk_size.report([timed(16, (0.078,)), timed(32, (0.16,))], GPU))
    assert lines[-1] == "Nothing is more than 5% faster than the rule's 32 cells a call."


@pytest.mark.slow
def test_the_command_times_the_largest_program(monkeypatch, capsys):
    monkeypatch.setattr(chunk_size, "ROUNDS", 1)
    monkeypatch.setattr(chunk_size, "layouts", lambda plan, group, budget: [plan.layout])
    assert chunk_size.main([f"--config={TINY}", "--config.call_steps=2", "--config.tasks.word.examples=6"]) == 0
    out = capsys.readouterr().out
    assert "1 layers, width 16, 10 examples × 4 tokens a step" in out
    assert "| 4 | 1 | " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --config"),
        (["--config=none.py"], "there is no file 'none.py'"),
        ([f"--config={TINY}", "--config.modl.layers=3"], "modl"),
        ([f"--config={TINY}", "--config.model.layers=many"], "layers"),
        ([f"--config={TINY}", "--chunks=3"], "unknown argument '--chunks'"),
        ([f"--config={TINY}", "more"], "unknown argument 'more'"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, message, capsys):
    assert chunk_size.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
