"""The density that a person is shown is what the checkpoints hold."""

import csv
import dataclasses
import io

import numpy as np
import pytest

from analysis.report import write
from analysis.results import density
from lab.engine import local_layout, make_plan
from lab.study import axis, product
from tests.analysis import synthetic_study
from tests.lab.conftest import carry_out, study_of, tiny_config, tiny_sweep


@pytest.mark.slow
def test_counts_are_those_of_the_masks(tmp_path):
    config = tiny_config()
    config.knobs = dict(prune=dict(scope="layerwise"))
    plan, store, _ = carry_out(study_of(config, tiny_sweep((0.0, 0.3), 1)), tmp_path)
    found = density.count(plan, store)
    assert found.kernels[0] == "block_0/attention/out"
    assert found.size_K.tolist() == [16 * 16, 16 * 48, 16 * 32, 16 * 32]
    removed = [[round(cell["prune.sparsity"] * size) for size in found.size_K] for cell in plan.study.cells]
    np.testing.assert_array_equal(found.size_K - found.nonzero_CxK, removed)
    rows = list(csv.DictReader(io.StringIO(density.to_csv(plan.study, found))))
    assert len(rows) == 2 * 4
    assert {int(row["weights"]) - int(row["nonzero"]) for row in rows} == {n for row in removed for n in row}


@pytest.mark.slow
def test_settings_are_printed_as_the_study_has_them(tmp_path):
    """A whole number stays one next to fractions, and a name is no number."""
    study = study_of(grid=product(axis("prune.scope", ("global", "layerwise"), stage="prune"), tiny_sweep((0, 0.3), 1)))
    found = density.Density(("a", "b"), np.asarray([[4, 5]] * 4), np.asarray([[4, 5], [3, 4]] * 2))
    lines = density.to_csv(study, found).splitlines()
    assert lines[0] == "cell,prune.scope,prune.sparsity,seed,kernel,nonzero,weights"
    cells = [(cell["prune.scope"], cell["prune.sparsity"], cell["seed"]) for cell in study.cells]
    assert [line.split(",")[1:4] for line in lines[1::2]] == [[str(value) for value in cell] for cell in cells]


def test_a_study_that_does_not_prune_has_none():
    config = tiny_config()
    config.claim.knob = "l2.rate"
    study = study_of(config, product(axis("l2.rate", (0.0, 0.1)), axis("seed", (0,))))
    assert density.count(make_plan(study, local_layout()), None) is None


@pytest.mark.slow
def test_the_views_show_it(tmp_path):
    plan, findings = synthetic_study.everything()
    cells = findings.study.cells
    kept = [[round((1 - cell["prune.sparsity"]) * 1000) - cell["seed"], 500] for cell in cells]
    weights = np.asarray([[1000, 500]] * len(kept))
    planted = density.Density(("block_0/mlp_in", "block_0/mlp_out"), weights, np.asarray(kept))
    shown = dataclasses.replace(findings, results=dataclasses.replace(findings.results, density=planted))
    write.write_views(tmp_path, plan, shown, synthetic_study.FACTS)
    text = (tmp_path / "report.md").read_text()
    assert "| block_0/mlp_in | 1,000 | 99.3% to 100% | 89.3% to 90% |" in text
    assert "| block_0/mlp_out | 500 | 100% |" in text
    assert text.count("| all | 1,500 |") == 1
    assert "<summary>Density</summary>" in (tmp_path / "report.html").read_text()
    assert len((tmp_path / "density.csv").read_text().splitlines()) == 1 + 2 * len(cells)
