"""Abilities at matched compute: read off the right place, against neutral, only where there is something to match."""

import dataclasses
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analysis.diagnosis import Findings
from analysis.report import figure_list, matched_compute, write
from analysis.results import Results
from analysis.results.costs import Costs
from lab.mechanisms.knobs import KNOBS
from lab.storage.history import READINGS
from lab.study import axis, product
from lab.training.step import Schedule
from tests.analysis import synthetic_study
from tests.lab.conftest import study_of, tiny_config

SEEDS, TURNS, STEPS = 6, (1, 2, 4), (3, 6, 12, 18)


def planted(ability, spent_a_step=lambda turns: 100.0 * turns, knob="loop.turns", values=TURNS, stage=None):
    """Results whose ability is `ability(step, FLOPs, value, seed)`."""
    config = tiny_config()
    config.claim.knob = knob
    config.saves = dict(train=3, prune=1)
    study = study_of(config, product(axis(knob, values, stage=stage), axis("seed", range(SEEDS))))
    step = np.asarray([step for one in study.stages for step in one.saves])
    assert tuple(step) == STEPS
    value_C = np.asarray([float(cell[knob]) for cell in study.cells])
    seed_C = np.asarray([cell["seed"] for cell in study.cells])
    spent_CxE = np.asarray([spent_a_step(value) for value in value_C])[:, None] * step
    columns = {
        f"{use.label}/{split}/{reading}": ability(step[None], spent_CxE, value_C[:, None], seed_C[:, None])
        for use, reading in itertools.product(study.tasks, READINGS)
        for split in use.splits
    }
    whole = np.ones(spent_CxE.shape, int)
    costs = Costs(whole, whole, spent_CxE / step, spent_CxE)
    names = tuple(one.name for one in study.stages for _ in one.saves)
    shared = tuple(("",) * len(step) for _ in study.cells)
    return Results(study, step, names, columns, np.full(len(study.cells), -1), shared, costs=costs)


def of(results):
    """Findings with no verdicts, which matching takes no notice of."""
    return Findings(results, (), (), (), (), stratum={})


def test_a_reading_lies_on_the_line_between_its_neighbours():
    spent, values, joined = np.asarray([10.0, 20.0, 40.0]), np.asarray([1.0, 2.0, 6.0]), np.ones(3, bool)
    at = lambda budget, joined=joined: matched_compute.read(spent, values, joined, budget)  # noqa: E731
    assert at(20.0) == 2.0
    assert at(20.0 * (1 + 1e-12)) == 2.0
    assert at(25.0) == 3.0
    assert at(40.0) == 6.0
    assert np.isnan(at(9.0))
    assert np.isnan(at(41.0))
    apart = np.asarray([True, True, False])
    assert np.isnan(at(25.0, apart))
    assert at(40.0, apart) == 6.0


def test_what_compute_alone_buys_is_level_at_matched_compute():
    """Ability is a function of FLOPs: more turns look better at matched steps, and are not."""
    results = planted(lambda step, spent, value, seed: spent / 10_000 + 0.01 * seed)
    one = matched_compute.matched(of(results))
    assert one.budget == 100.0 * 18
    np.testing.assert_allclose(one.total_K, [1800.0, 3600.0, 7200.0])
    np.testing.assert_allclose(one.step_K, [18, 9, 4.5])
    (pair,) = one.pairs
    assert (pair.label, pair.split) == ("facts", "iid")
    np.testing.assert_allclose(matched_compute.differences(pair.at_compute, 1.0), 0, atol=1e-12)
    np.testing.assert_allclose(matched_compute.differences(pair.at_steps, 1.0)[0], [0, 0.18, 0.54])


def test_what_steps_alone_buy_is_behind_at_matched_compute():
    results = planted(lambda step, spent, value, seed: step / 20 + 0.0 * spent + 0.001 * seed * (value > 1))
    one = matched_compute.matched(of(results))
    (pair,) = one.pairs
    np.testing.assert_allclose(pair.at_compute.values_SxK[0], [18 / 20, 9 / 20, 4.5 / 20])
    steps, at = (matched_compute.signs(matched_compute.differences(c, 1.0)) for c in (pair.at_steps, pair.at_compute))
    assert steps[1:] == [1, 1]
    assert at[1:] == [-1, -1]
    printed = matched_compute.table(of(results))
    sentence = "8 facts: 2 and 4 are ahead of neutral at matched steps, behind neutral at matched compute."
    assert printed["sentences"] == [sentence]
    assert "loop turns = 1 is the cheapest setting, the dearest spends 4 times as much" in printed["intro"]
    assert [line["step"] for line in printed["lines"]] == ["18", "9", "4"]
    assert printed["lines"][0]["steps_apart"] == printed["lines"][0]["compute_apart"] == "—"


def test_before_the_first_checkpoint_nothing_is_read():
    results = planted(lambda step, spent, value, seed: step / 20 + 0 * spent + 0 * seed, values=(1, 2, 8))
    one = matched_compute.matched(of(results))  # at eight turns the budget is spent after 2.25 steps, first saved at 3
    assert np.isnan(one.pairs[0].at_compute.values_SxK[:, 2]).all()
    assert any(matched_compute.UNREAD in text for text in matched_compute.table(of(results))["sentences"])


def test_no_line_is_drawn_over_the_step_where_the_knob_starts_to_act():
    """Pruned cells fall at once: between the last dense checkpoint and the first pruned one nothing is known."""

    def pruned(step, spent, value, seed):
        return 0.9 - value * (step > 12) + 0.0 * (spent + seed)

    options = dict(knob="prune.sparsity", values=(0.0, 0.5, 0.8), stage="prune")
    results = planted(pruned, lambda sparsity: 100 * (1 - 0.1 * sparsity), **options)
    (pair,) = matched_compute.matched(of(results)).pairs
    np.testing.assert_allclose(pair.at_compute.values_SxK[0], [0.9, np.nan, 0.9 - 0.8])


def test_nothing_is_matched_where_the_knob_costs_nothing_or_little():
    level = lambda step, spent, value, seed: step / 20 + 0.0 * (spent + seed)  # noqa: E731
    assert matched_compute.matched(of(planted(level, lambda turns: 100 + 0.3 * (turns - 1)))) is None
    assert matched_compute.matched(of(planted(level, lambda turns: 100 + 0.5 * (turns - 1)))) is not None
    results = planted(level)
    assert matched_compute.matched(of(dataclasses.replace(results, costs=None))) is None
    last = slice(len(STEPS) - 1, None)
    single = dataclasses.replace(
        results,
        step=results.step[last],
        stage=results.stage[last],
        columns={name: column[:, last] for name, column in results.columns.items()},
        costs=Costs(*(values[:, last] for values in dataclasses.astuple(results.costs))),
    )
    assert matched_compute.matched(of(single)) is None


def test_diverged_cells_set_no_budget():
    results = planted(lambda step, spent, value, seed: spent / 10_000 + 0.01 * seed)
    results.diverged_at[:] = np.where([cell["loop.turns"] == 1 for cell in results.study.cells], 4, -1)
    results.diverged_at[0] = -1
    one = matched_compute.matched(of(results))
    assert one.budget == 1800.0
    assert (
        np.isfinite(matched_compute.differences(one.pairs[0].at_compute, 1.0)).all(axis=1).tolist()
        == [True] + [False] * 5
    )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule("constant", 4, 18), "constant"),
        (Schedule("wsd", 4, 18), "at 100% of the learning rate"),
        (Schedule("cosine", 4, 18), "at 59% to 93% of the learning rate"),
    ],
)
def test_a_schedule_that_decays_is_pointed_out(schedule, expected):
    results = planted(lambda step, spent, value, seed: spent / 10_000)
    study = dataclasses.replace(results.study, schedule=schedule)
    assert expected in matched_compute.schedule_text(study, matched_compute.matched(of(results)))


@pytest.mark.slow
def test_the_report_has_the_section_where_compute_differs(tmp_path):
    plan, findings = synthetic_study.everything(seeds=5, sparsities=(0.0, 0.4, 0.8))
    results = findings.results
    cells, step = results.study.cells, results.step
    sparsity_Cx1 = np.asarray([[cell["prune.sparsity"]] for cell in cells])
    acting_E = np.asarray([name == "prune" for name in results.stage])
    example = 1e5 * (1 - 0.9 * sparsity_Cx1 * acting_E)
    training = np.cumsum(3 * 96 * example * np.diff(step, prepend=0), axis=1)
    whole = np.full(example.shape, 100_000)
    active = np.round(whole * (1 - sparsity_Cx1 * acting_E)).astype(int)
    shown = dataclasses.replace(results, costs=Costs(whole, active, example, training))
    write.write_views(tmp_path, plan, dataclasses.replace(findings, results=shown), synthetic_study.FACTS)
    html, text = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    assert "| 0.8 | 100,000 | 20,000 | 2.8e+04 |" in text
    assert "### At matched compute" in text
    assert "40% and 80%" in text
    assert "<summary>At matched compute</summary>" in html
    assert html.count("<svg ") == len(figure_list.FIGURES) + 2, "compute and repairs"
    lines = text.splitlines()
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count("|") - above.count("\\|") == line.count("|") - line.count("\\|")


def test_a_stratum_is_not_read_before_what_sets_it_off_acts():
    study = SimpleNamespace(
        stages=[SimpleNamespace(name="train"), SimpleNamespace(name="read")],
        acts_from={"thoughts.control": 1},
        knobs=KNOBS,
    )
    results: Any = SimpleNamespace(study=study, stage=("train", "train", "read"))
    assert matched_compute._acts(results, {"thoughts.control": "own"}).tolist() == [True, True, True]
    assert matched_compute._acts(results, {"thoughts.control": "swapped"}).tolist() == [False, False, True]
    assert matched_compute._acts(results, {"side": "below neutral"}).tolist() == [True, True, True]
