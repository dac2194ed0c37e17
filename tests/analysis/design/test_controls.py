"""The cells of every stratum, from one pass over them."""

import numpy as np

from analysis.design import cells_in, cells_of_strata, positions, strata
from analysis.results import curve
from lab.mechanisms import NEVER
from tests.analysis import synthetic_study


def test_the_cells_of_strata_are_those_of_each():
    study = synthetic_study.study(seeds=2, sparsities=(0.0, 0.4), strata=True)
    found = cells_of_strata(study)
    assert [stratum for stratum, _ in found] == strata(study) == [{"prune.scope": s} for s in ("global", "layerwise")]
    assert all(inside == cells_in(study, stratum) for stratum, inside in found)


def test_a_curve_is_read_off_the_cells_of_its_stratum_and_nan_once_a_cell_diverged():
    results = synthetic_study.results(synthetic_study.study(seeds=3, sparsities=(0.0, 0.4, 0.8), strata=True))
    column = results.ability("facts", "iid")
    for stratum in (*strata(results.study), {}):
        for evaluation in (0, -1):
            found = curve(results, stratum, column, evaluation)
            expected = np.full(found.values_SxK.shape, np.nan)
            for cell in cells_in(results.study, stratum):
                at, knobs = results.diverged_at[cell], results.study.cells[cell]
                if at < 0 or at >= results.step[evaluation]:
                    place = found.seed_S == knobs["seed"], found.knob_K == knobs["prune.sparsity"]
                    expected[np.ix_(*place)] = column[cell, evaluation]
            np.testing.assert_array_equal(found.values_SxK, expected)


def test_the_step_that_no_study_reaches_is_one_spacing_away():
    for knob_K, wanted_K in [
        ([0.0, 100, 400, NEVER], [0, 100, 400, 700]),
        ([NEVER, 400.0, 100], [700, 400, 100]),
        ([200.0, NEVER], [200, 201]),
        ([NEVER], [NEVER]),
        ([0.0, 0.5, 2.0], [0, 0.5, 2]),
    ]:
        np.testing.assert_array_equal(positions(np.asarray(knob_K, float)), wanted_K)
