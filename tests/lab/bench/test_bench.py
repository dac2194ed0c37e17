"""Benchmarks: each mechanism is timed at work and alone; runs are compared on synthetic figures, nothing is timed."""

import json
from dataclasses import replace

import pytest

from lab.bench import __main__ as bench
from lab.bench import baseline, mechanisms
from lab.bench.baseline import Figure, Measured
from lab.bench.programs import SHAPES, reference
from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.mechanisms import knobs as registry
from tests.damage import WHOLE, flips, replaced, sentence_of
from tests.lab.conftest import LAYOUT


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_mechanism_is_timed_at_valid_values_at_which_it_alone_acts(mechanism):
    values = mechanisms.settings(mechanism)
    assert registry.mechanisms_in_use([values]) == (mechanism,)
    for knob in MECHANISMS[mechanism].knobs:
        assert registry.checked(knob.name, values[knob.name], "") == values[knob.name]


def test_the_plain_program_has_none():
    assert registry.mechanisms_in_use([mechanisms.settings("")]) == ()


def test_what_is_overridden_exists():
    assert set(mechanisms.TYPICAL) <= set(registry.KNOBS)


def test_a_mechanism_that_cannot_act_on_the_task_says_why(monkeypatch):
    monkeypatch.setitem(mechanisms.TYPICAL, "width.active", 0.505)  # not a whole number of dimensions a head
    measured = mechanisms.measure("width", reference(*SHAPES[0]), lambda: None, None)
    (row,) = measured.lines
    assert row.startswith("| width | width.active 0.505 | — | — | — |")
    assert "must be a whole number" in row
    assert not measured.figures


def run_of(share=0.5, ratio=2.0, rate=100.0):
    """A run with a figure that should be large, one that should be small, and a plain rate."""
    figures = (
        Figure("share of the ceiling", share, more=True, judged=True),
        Figure("ratio to plain", ratio, judged=True),
        Figure("rate", rate, "cell-steps/s", more=True),
    )
    return replace(baseline.start("shapes", LAYOUT), figures={figure.name: figure for figure in figures})


def worse(before, now, tolerance=0.15):
    return [figure.name for figure in baseline.slower(before, [*now.figures.values()], tolerance)]


def test_a_run_is_read_back_as_it_was_saved(tmp_path):
    run = run_of()
    baseline.save(run, tmp_path / "run.json")
    assert baseline.read(tmp_path / "run.json") == run


@pytest.mark.parametrize(
    ("now", "named"),
    [
        (run_of(), []),
        (run_of(share=0.44, ratio=2.29), []),  # within 15%
        (run_of(share=0.43), ["share of the ceiling"]),
        (run_of(ratio=2.31), ["ratio to plain"]),
        (run_of(share=0.9, ratio=0.5), []),  # faster
        (run_of(rate=1.0), []),  # a plain rate is the machine's load as much as ours
    ],
)
def test_what_got_slower_is_named(now, named):
    assert worse(run_of(), now) == named


def test_the_comparison_says_each_ratio_and_what_is_new_or_gone():
    before, now = run_of(), run_of(share=0.25, rate=50.0)
    gone = {name: figure for name, figure in now.figures.items() if name != "ratio to plain"}
    now = replace(now, figures=gone | {"memory": Figure("memory", 3.0)})
    lines = [line.strip() for line in baseline.comparison(before, now, 0.15)]
    assert "share of the ceiling: 0.5 → 0.25, 0.50 SLOWER" in lines
    assert "rate: 100 → 50 cell-steps/s, 0.50 (not judged)" in lines
    assert "memory: 3 (new)" in lines
    assert "ratio to plain: no longer measured" in lines
    assert lines[-1] == "Slower by more than 15%: share of the ceiling."
    assert [*baseline.comparison(before, before, 0.15)][-1] == "Nothing got slower by more than 15%."


def test_what_is_slower_is_measured_again_and_the_better_value_counts():
    turns = [run_of(share=0.1, ratio=1.0, rate=9.0), run_of(share=0.5, ratio=3.0, rate=8.0)]
    measure = lambda: Measured(["a line"], [*turns.pop(0).figures.values()])  # noqa: E731
    measured = baseline.measured_twice(measure, run_of(), 0.15)
    assert [figure.value for figure in measured.figures] == [0.5, 1.0, 9.0]
    assert len(measured.lines) == 2
    turns = [run_of()]
    assert baseline.measured_twice(measure, run_of(), 0.15).lines == ["a line"]


def test_other_versions_are_said_and_another_machine_or_benchmark_refused(tmp_path):
    run, file = run_of(), tmp_path / "run.json"
    assert baseline.check_comparable(run, run, file) == ""
    note = baseline.check_comparable(replace(run, versions={**run.versions, "jax": "0.1"}), run, file)
    assert note == f"Other versions than in the saved run: jax 0.1, now {run.versions['jax']}."
    with pytest.raises(UserError, match=r"another machine .*device TPU v9 there and cpu here"):
        baseline.check_comparable(replace(run, machine={**run.machine, "device": "TPU v9"}), run, file)
    with pytest.raises(UserError, match="holds the benchmark 'mechanisms'"):
        baseline.check_comparable(replace(run, kind="mechanisms"), run, file)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"figures": [{"name": "x"}]}', '{"figures": 3}'])
def test_a_file_that_is_no_run_is_named(tmp_path, content):
    file = tmp_path / "run.json"
    file.write_text(content)
    with pytest.raises(UserError, match="was not written by --save"):
        baseline.read(file)
    with pytest.raises(UserError, match="can't be read"):
        baseline.read(tmp_path / "none.json")


def test_a_malformed_saved_run_is_one_sentence_or_is_read(tmp_path):
    file, run = tmp_path / "run.json", run_of()
    baseline.save(run, file)
    whole = file.read_bytes()
    for content in (*WHOLE, whole[:-9], *flips(whole, 60), *replaced(json.loads(whole), 60)):
        file.write_bytes(content)
        if sentence := sentence_of(lambda: baseline.read(file), UserError):
            assert "\n" not in sentence
        else:
            before = baseline.read(file)
            sentence_of(lambda: baseline.check_comparable(before, run, file), UserError)  # noqa: B023
            baseline.slower(before, list(run.figures.values()), 0.15)


@pytest.mark.parametrize(("share", "status"), [(0.5, 0), (0.1, 1)])
def test_the_command_saves_compares_and_exits_by_what_it_found(tmp_path, monkeypatch, capsys, share, status):
    figures = [*run_of().figures.values()]
    monkeypatch.setattr(bench, "local_layout", lambda: LAYOUT)
    monkeypatch.setattr(bench, "measures", lambda kind, layout: {"it": lambda: Measured(["measured"], figures)})
    assert bench.main([f"--save={tmp_path / 'run.json'}"]) == 0
    figures = [*run_of(share=share).figures.values()]
    assert bench.main([f"--compare={tmp_path / 'run.json'}"]) == status
    assert ("Slower by more than 15%: share of the ceiling." in capsys.readouterr().out) == bool(status)
    assert bench.main([f"--save={tmp_path / 'none' / 'run.json'}"]) == 2
    assert "there is no such directory" in capsys.readouterr().err
    assert bench.main(["--tolerance=0"]) == 2
    assert "--tolerance=0 must be above 0" in capsys.readouterr().err


class FakeProcess:
    """Stands for one process of PyTorch's reference: 10 steps a second, fused 15; compiling fails."""

    def __init__(self, command, **_):
        self.arrangement = command[-1]
        self.returncode = int(self.arrangement == "compiled")

    def communicate(self):
        return ("" if self.returncode else {"eager": "10.0\n", "fused": "15.0\n"}[self.arrangement]), ""


def test_pytorch_runs_in_every_arrangement_and_those_that_fail_are_left_out(monkeypatch):
    monkeypatch.setattr(bench.subprocess, "Popen", FakeProcess)
    monkeypatch.setattr(bench, "cores", lambda: 4)
    assert bench.torch_rates(reference(*SHAPES[0])) == {
        "eager, all threads": 10.0,
        "eager, a process a core": 40.0,
        "fused, all threads": 15.0,
        "fused, a process a core": 60.0,
    }
