"""One object holds what a study found: computed once, split into strata, diagnosed again after a repair."""

import dataclasses

import pytest

from analysis.design.interim import first
from analysis.diagnosis import find
from analysis.results import Records
from tests.analysis import synthetic_study


@pytest.fixture(scope="module")
def findings():
    _, found = synthetic_study.everything(seeds=8, sparsities=(0.0, 0.4, 0.8), strata=True)
    return found


def test_strata_share_the_results_and_nothing_else(findings):
    assert findings.strata == [{"prune.scope": "global"}, {"prune.scope": "layerwise"}]
    parts = [findings.in_stratum(stratum) for stratum in findings.strata]
    for name in ("claims", "bounds", "diagnoses", "lead_lag", "repairs"):
        whole = getattr(findings, name)
        assert whole, name
        split = [one for part in parts for one in getattr(part, name)]
        assert len(split) == len(whole)
        assert all(any(one is each for each in whole) for one in split)
    for part, stratum in zip(parts, findings.strata, strict=True):
        assert part.strata == [stratum]
        assert part.results is findings.results
        assert {str(one.stratum) for one in (*part.claims, *part.bounds, *part.repairs)} == {str(stratum)}
        assert [bound for bound in findings.primary if bound.stratum == stratum] == part.primary


def test_a_further_record_changes_diagnoses_only(findings):
    without = findings.with_records(repairs=None)
    assert without.repairs == ()
    assert all(not one.by for one in without.diagnoses)
    for name in ("results", "claims", "bounds", "lead_lag"):
        assert getattr(without, name) is getattr(findings, name)
    again = without.with_records(repairs=findings.records.repairs)
    assert [(one.cause, one.status, one.by) for one in again.diagnoses] == [
        (one.cause, one.status, one.by) for one in findings.diagnoses
    ]
    assert {one.by for one in again.diagnoses} != {""}


def test_looks_set_the_level_of_every_verdict_and_bound(findings):
    """With eight seeds p is at least 1/256 = .0039, which a look at a twentieth of α = .05 can't reach."""
    study = findings.study
    settings = tuple(sorted({float(cell["prune.sparsity"]) for cell in study.cells}))
    looks = dataclasses.replace(first(settings, tuple(range(8)), 2), shares=(0.05, 0.95))
    strict = find(findings.results, Records(looks=looks))
    assert any(bound.learned for bound in findings.bounds)
    assert not any(bound.learned for bound in strict.bounds)
    assert {(one.verdict.kind, one.verdict.reason) for one in strict.claims} == {("undecided", "too few seeds")}
