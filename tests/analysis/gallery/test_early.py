"""The early warning on kept studies is the forecast's own, on the same cases."""

from pathlib import Path

import numpy as np
import pytest

from analysis.diagnosis import find
from analysis.forecast.features import cases
from analysis.forecast.predictors import NONE, left_out, lost_errors
from analysis.gallery.early import SHARE, early_warning
from analysis.gallery.kept import Kept, Run
from tests.analysis import synthetic_study


@pytest.fixture(scope="module")
def studies():
    found = []
    for index, knob in enumerate(("prune.sparsity", "hidden_noise.sigma", "weight_decay.rate")):
        results = synthetic_study.results(synthetic_study.study(knob=knob), rng_seed=index)
        run = Run(f"gallery/{index}.py", "abc", "2026-11-30", None, "")
        found.append(Kept(Path(str(index)), run, find(results), {}))
    return found


@pytest.mark.slow
def test_with_two_mechanisms_nothing_is_scored(studies):
    found = early_warning(studies[:2])
    assert found.rows == ()
    assert found.studies == 2


@pytest.mark.slow
def test_scores_are_those_of_the_forecast(studies):
    found = early_warning(studies)
    assert len(found.mechanisms) == 3
    every = [
        case
        for one in studies
        for case in cases(one.run.study, one.findings.results, SHARE)
        if case.learned and np.isfinite(case.lost_K).any()
    ]
    assert found.abilities == len(every)
    (row,) = [one for one in found.rows if one.predictor == NONE]
    assert row.lost == pytest.approx(lost_errors(every, left_out(every, NONE)).mean())
