"""Planted truths: the studies are what they say, their verdicts are read right, nothing is invented elsewhere."""

import importlib.util

import numpy as np
import pytest

from analysis.diagnosis import CAUSES
from analysis.metrics.registry import METRICS
from analysis.report.verdicts_json import document
from analysis.simulation import planted_causes
from analysis.verdicts import bounds, check, judge
from lab.study.parse import parse
from tests.analysis import synthetic_study


def study_file():
    spec = importlib.util.spec_from_file_location("planted_study", planted_causes.STUDY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("variant", [*planted_causes.TRUTHS, "bottleneck", planted_causes.NOTHING])
def test_every_truth_is_a_study_that_can_be_judged(variant):
    module = study_file()
    config = module.get_config(variant)
    study = parse(config, module.sweep(config), METRICS)
    check(study)
    assert len({cell[study.claim.knob] for cell in study.cells}) == 9
    seeds = len({cell["seed"] for cell in study.cells})
    assert seeds == (
        40 * planted_causes.SEEDS_OF_ONE if variant == planted_causes.NOTHING else planted_causes.SEEDS_OF_ONE
    )
    assert variant in module.__doc__


def test_truths_are_named_as_causes_are():
    assert {cause for names in planted_causes.TRUTHS.values() for cause in names} <= set(CAUSES)


def verdicts(**options):
    _, findings = synthetic_study.everything(**options)
    return document(findings)


def test_what_verdicts_say_of_primary_abilities_is_read():
    found = planted_causes.found_in("over_pruning", verdicts())
    assert "over-pruning" in found.holds + found.suspected
    assert len(found.harmful) == 2  # facts and Z6 break
    assert found.right == ("over-pruning" in found.holds)


def test_what_can_only_be_suspected_and_what_must_not_be_said():
    assert planted_causes.Found("shortcut", (0.4,), (), ("shortcut",)).right
    assert not planted_causes.Found("collapse", (0.4,), (), ("collapse",)).right
    assert planted_causes.Found("write_only", (), ("ceiling",), ()).right
    assert not planted_causes.Found("write_only", (), ("collapse",), ()).right
    assert not planted_causes.Found("write_only", (2.0,), (), ()).right


def test_the_matrix_counts_what_holds_and_what_is_suspected():
    rows = [
        planted_causes.Found("collapse", (0.5,), ("collapse",), ("over-regularization",)),
        planted_causes.Found("collapse", (), (), ()),
        planted_causes.Found("undertrained", (0.5,), ("collapse",), ()),
    ]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in planted_causes.matrix(rows).splitlines()]
    assert table[0] == ["planted", "studies", "harm shown", "collapse", "over-regularization"]
    assert table[2] == ["collapse", "2", "1", "**1 holds**", "1 suspected"]
    assert table[3] == ["undertrained", "1", "1", "1 holds", "·"]
    assert [row.right for row in rows] == [True, False, False]


def test_a_known_breaks_error_is_its_mean_distance_and_coverage_counts_intervals():
    rows = [
        planted_causes.Found("bottleneck", (4.0,), (), (), ((4.25, 3.9, 4.5),)),
        planted_causes.Found("bottleneck", (5.0,), (), (), ((3.25, 3.0, 3.5),)),
        planted_causes.Found("bottleneck", (), (), ()),
    ]
    text = planted_causes.located(rows, 4.0)
    assert "| 0 | 4 | 4.25 [3.90, 4.50] | +0.25 |" in text
    assert "| 2 | — | — | — |" in text
    assert "error of the break: 0.50 (2 located)" in text
    assert "error of the first setting shown harmful: 0.50 (2 located)" in text
    assert "Intervals that cover 4: 1 of 2." in text
    assert "cover 4: 0 of 0" in planted_causes.located(rows[2:], 4.0)


def test_breaks_that_verdicts_locate_are_read():
    said = verdicts()
    expected = [one["break_at"] for one in said["claims"] if one["break_at"] is not None]
    assert expected
    assert [at for at, *_ in planted_causes.found_in("over_pruning", said).breaks] == expected


def test_blocks_of_seeds_are_studies_of_their_own():
    results = synthetic_study.results(synthetic_study.study(seeds=7), diverged=False)
    first, second = planted_causes.blocks(results, 3)  # the seventh seed is left out
    assert {cell["seed"] for cell in second.study.cells} == {3, 4, 5}
    column = "facts/iid/exact"
    mine = [i for i, cell in enumerate(results.study.cells) if cell["seed"] in (3, 4, 5)]
    np.testing.assert_array_equal(second.columns[column], results.columns[column][mine])
    assert first.study.cells != second.study.cells


@pytest.mark.slow
def test_a_tally_counts_each_study_once():
    results = synthetic_study.results(synthetic_study.study(seeds=16), diverged=False)
    number, counts = planted_causes.tally(planted_causes.blocks(results, 8))
    assert number == 2
    assert counts["harm shown at some setting"] == 2
    assert max(counts.values()) <= 2
    one = next(planted_causes.blocks(results, 8))
    assert f"verdict: {judge(one)[0].verdict.kind}" in counts
    assert bounds(one)
    table = planted_causes.nulls_table(number, counts)
    assert "| harm shown at some setting | 2 of 2 | 1.000 | 0.342 to 1.000 |" in table


@pytest.mark.parametrize("wrong", [["--only=overpruning"], ["--replicates=0"]])
def test_a_wrong_flag_is_one_sentence(wrong, capsys):
    assert planted_causes.main(wrong) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
