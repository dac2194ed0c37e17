"""The break test's error rates and power on simulated truths, beside the rates expected of it."""

import numpy as np
import pytest

from analysis.simulation.__main__ import (
    COLUMNS_1,
    COLUMNS_2,
    EXPECTED_1,
    EXPECTED_2,
    errors_apart,
    main,
    measure,
    measure_bare,
)
from analysis.simulation.simulator import TRUTHS, simulate
from analysis.stats import segmented
from tests.analysis.conftest import slow_where

REPETITIONS = 100


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED_2)
def test_rates_of_the_full_definitions(name):
    rates = measure(name, REPETITIONS)
    for column, expected in zip(COLUMNS_2, EXPECTED_2[name], strict=True):
        assert abs(errors_apart(rates.rejected[column], REPETITIONS, expected, 300)) < 4, column
    assert rates.free_wrong <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / REPETITIONS)
    assert rates.harmful_wrong <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / REPETITIONS)
    assert sum(rates.verdicts.values()) == REPETITIONS


@pytest.mark.parametrize("name", slow_where(lambda name: name != "fall of .06 after a rise", EXPECTED_1))
def test_rates_of_the_bare_components(name):
    rates = measure_bare(name, REPETITIONS)
    for column, expected in zip(COLUMNS_1, EXPECTED_1[name], strict=True):
        assert abs(errors_apart(rates.rejected[column], REPETITIONS, expected, 1500)) < 4, column


@pytest.mark.parametrize(
    ("name", "kind"),
    slow_where(
        lambda case: case[1] == "reversal",
        [
            ("fall of .20 after a rise", "reversal"),
            ("flat to .5, then -.2", "reversal"),
            ("cliff at .30", "reversal"),
            ("cliff at .50", "reversal"),
            ("plateau", "stall"),
        ],
    ),
)
def test_the_break_is_found_and_its_interval_covers(name, kind):
    u_K, _, abilities = simulate(TRUTHS[name], np.random.default_rng(3), repetitions=REPETITIONS)
    found = [segmented.locate(u_K, ability, kind, draws=200) for ability in abilities]
    truth = TRUTHS[name].break_at
    assert np.median([b.at for b in found if b]) == pytest.approx(truth, abs=0.03)
    coverage = np.mean([b is not None and b.low <= truth <= b.high for b in found])
    assert coverage >= 0.93 - 4 * np.sqrt(0.93 * 0.07 / REPETITIONS)
    assert np.median([b.high - b.low for b in found if b]) < 0.4


def test_a_step_between_two_settings_is_located_to_that_gap():
    u_K = np.linspace(0, 1, 9)
    steps = np.where(u_K > 0.55, 0.3, 0.9) + np.random.default_rng(0).normal(0, 0.01, (8, 9))
    found = segmented.locate(u_K, steps, "reversal")
    assert found is not None
    assert found.at == pytest.approx(0.5, abs=0.02)  # the last setting before the fall
    assert found.low <= 0.5
    assert 0.55 <= found.high <= 0.65


def test_exact_curves_are_fitted_exactly_whatever_the_knob_spacing():
    u_K = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0])
    curve = 0.5 + np.interp(u_K, [0, 0.3, 1], [0, 0.3, -0.4])
    found = segmented.locate(u_K, np.tile(curve, (8, 1)), "reversal")
    assert found is not None
    assert found.at == pytest.approx(0.3)
    filled = np.tile(curve, (4, 1)) + np.arange(4)[:, None]
    holed = filled.copy()
    holed[0, 3] = holed[2, 8] = np.nan
    np.testing.assert_allclose(segmented.fill_missing(holed), filled, atol=1e-6)


def test_a_rise_has_no_reversal_and_bad_arguments_are_named():
    u_K = np.linspace(0, 1, 9)
    rise = np.tile(u_K, (5, 1)) + np.random.default_rng(0).normal(0, 1e-3, (5, 9))
    assert segmented.locate(u_K, rise, "reversal") is None
    with pytest.raises(ValueError, match="kind"):
        segmented.locate(u_K, rise, "break")
    with pytest.raises(ValueError, match="settings"):
        segmented.locate(u_K[:4], rise[:, :4], "stall")


@pytest.mark.slow
def test_the_command_prints_both_tables(capsys):
    main(["--repetitions", "3"])
    printed = capsys.readouterr().out
    assert "table 1" in printed
    assert "cliff at .50" in printed
    assert "coverage" in printed
