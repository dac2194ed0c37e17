"""Values of a categorical axis against a control: brute-force sign flips, verdicts, rates under no effect."""

import numpy as np
import pytest

from analysis.simulation import shape_rates
from analysis.stats import CATEGORICAL_VERDICTS, InterimLook, categorical_map, categorical_verdict, value_verdicts
from analysis.stats.setting_map import STATEMENTS, error_bounds, level_divisors
from tests.analysis.stats.test_setting_map import naive_step_down

TRIVIAL = 0.1


def planted(metric, ability, n_seeds=8, sd=0.01, rng_seed=0):
    rng = np.random.default_rng(rng_seed)
    level, size = rng.normal(0, 0.05, (n_seeds, 1)), (n_seeds, len(metric))
    return np.asarray(metric) + level + rng.normal(0, sd, size), np.asarray(ability) + level + rng.normal(0, sd, size)


def mapped(metric, ability, **options):
    return categorical_map(*planted(metric, ability), trivial=TRIVIAL, **options)


def naive_weights(contrasts):
    """Of two contrasts, which is too few to tell how variances differ: limma's moments by hand."""
    from analysis.stats.sign_flip import _borrowed

    return _borrowed(np.asarray(contrasts), np.isfinite(contrasts))


@pytest.mark.parametrize("n_seeds", [5, 6])
def test_every_statement_is_the_enumerated_step_down(n_seeds):
    metric, ability = planted((1.0, 1.05, 0.9, 1.0), (0.8, 0.79, 0.5, 0.83), n_seeds, sd=0.05, rng_seed=n_seeds)
    found = categorical_map(metric, ability, trivial=TRIVIAL)
    of_metric, of_ability = level_divisors(n_seeds, 0.05)
    change, gained = ability[:, 1:] - ability[:, :1], metric[:, 1:] - metric[:, :1]
    delta = 0.05 * (ability[:, 0].mean() - TRIVIAL)
    contrasts = {
        "gain": (gained, of_metric),
        "against": (-gained, of_metric),
        "better": (change, of_ability),
        "free": (change + delta, of_ability),
        "harmed": (-change - delta, of_ability),
    }
    for name, (values, divisor) in contrasts.items():
        weights, common = naive_weights(values)
        expected = [min(1.0, divisor * p) for p in naive_step_down(values, list(weights), common)]
        np.testing.assert_allclose(found.p_K[name][1:], expected, atol=1e-12, err_msg=name)
    assert (found.p_K["gain lost"] == 1).all()
    assert all(found.p_K[name][0] == 1 for name in STATEMENTS)


def test_the_order_of_the_values_means_nothing():
    """A value after a lost one is shown free all the same, and results move with their columns."""
    metric, ability = planted((1.0, 1.2, 1.2, 1.2), (0.8, 0.4, 0.8, 0.9))
    found = categorical_map(metric, ability, trivial=TRIVIAL)
    assert found.shown("free").tolist() == [False, False, True, True]
    assert found.shown("harmed").tolist() == [False, True, False, False]
    assert (found.free_until, found.harmed_from) == (None, None)
    order = [0, 3, 1, 2]
    moved = categorical_map(metric[:, order], ability[:, order], trivial=TRIVIAL)
    for name in STATEMENTS:
        np.testing.assert_allclose(moved.p_K[name], found.p_K[name][order], err_msg=name)


@pytest.mark.parametrize(
    ("metric", "ability", "kind", "of_values"),
    [
        ((1, 1.3, 1.3), (0.8, 0.8, 0.5), "gain with loss", ("gain for nothing", "gain with loss")),
        ((1, 1.3, 1.3), (0.7, 0.8, 0.7), "transfers", ("transfers", "gain for nothing")),
        ((1, 1.3, 1.0), (0.7, 0.7, 0.5), "gain for nothing", ("gain for nothing", "no gain shown")),
        ((1, 0.7, 1.0), (0.7, 0.7, 0.7), "moves against the claim", ("moves against the claim", "no gain shown")),
        ((1, 1.0, 1.0), (0.7, 0.5, 0.7), "no gain shown", ("no gain shown",) * 2),
        ((1, 1.3, 1.0), (0.7, 0.67, 0.7), "undecided", ("undecided", "no gain shown")),
        ((1, 1.3, 1.3), (0.02, 0.02, 0.3), "not learned", ("not learned",) * 2),
    ],
)
def test_a_verdict_says_what_is_shown_at_the_values(metric, ability, kind, of_values):
    found = mapped(metric, ability)
    verdict, each = categorical_verdict(found), value_verdicts(found)
    assert verdict.kind == kind in CATEGORICAL_VERDICTS
    assert tuple(one.kind for one in each[1:]) == of_values
    assert (verdict.p <= 0.05) == (kind not in ("no gain shown", "undecided", "not learned"))
    assert verdict.break_between is None
    assert {one.kind for one in each} <= set(CATEGORICAL_VERDICTS)


def test_too_few_seeds_or_values_are_undecided():
    few = categorical_map(*planted((1, 1.3), (0.8, 0.5), n_seeds=4), trivial=TRIVIAL)
    assert (categorical_verdict(few).kind, categorical_verdict(few).reason) == ("undecided", "too few seeds")
    alone = categorical_map(*planted((1.0,), (0.8,)), trivial=TRIVIAL)
    assert categorical_verdict(alone).reason == "one setting"
    metric, ability = planted((1, 1.3), (0.8, 0.5))
    without = categorical_map(metric, np.where([True, False], np.nan, ability), trivial=TRIVIAL)
    assert categorical_verdict(without).reason == "no neutral cell"


def test_a_diverged_value_has_lost_its_ability_and_looks_share_alpha():
    metric, ability = planted((1, 1.3, 1.3), (0.8, 0.8, 0.8))
    diverged = np.zeros(ability.shape, bool)
    diverged[:, 2] = True
    found = categorical_map(metric, ability, trivial=TRIVIAL, diverged_SxK=diverged)
    assert found.shown("harmed").tolist() == [False, False, True]
    assert not found.shown("gain")[2]
    look = InterimLook(np.ones(8, bool), 0.5)
    spent = categorical_map(metric, ability, trivial=TRIVIAL, looks=(look,))
    assert spent.p_K["gain"][1] >= categorical_map(metric, ability, trivial=TRIVIAL).p_K["gain"][1]


@pytest.mark.slow
@pytest.mark.parametrize("values", [3, 5])
def test_what_is_wrongly_shown_stays_within_the_bound(values):
    """Three standard errors above the bound; the full rates are in docs/calibration.md."""
    repetitions = 150
    mismatch, statement = error_bounds(8, 0.05)
    rates = shape_rates.categorical_rates(shape_rates.alike(values, 0.0, 0.0), repetitions, 8)
    edge = shape_rates.categorical_rates(shape_rates.alike(values, 0.2, -shape_rates.LOSS), repetitions, 8)

    def most(bound):
        return bound + 3 * (bound * (1 - bound) / repetitions) ** 0.5

    assert {"false gain", "false against", "false better", "false harmed"} <= set(rates)
    assert max(rates[f"false {name}"] for name in ("gain", "against", "better", "harmed")) <= most(statement)
    assert max(edge[f"false {name}"] for name in ("free", "harmed")) <= most(statement)
    assert edge["false mismatch"] <= most(mismatch)
