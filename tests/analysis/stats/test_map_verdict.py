"""Every verdict of a map on the curve that it is for, and that every map has one."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats import FINDS_NOTHING, MISMATCHES, VERDICTS, MapVerdict, family, map_verdict, setting_map

K = 9
U = np.linspace(0, 1, K)
HUMP = np.interp(U, [0, 0.4, 1], [0, 1, 0])
CLIFF = np.where(U < 0.55, 0.9, 0.2)
FLAT = 0.9 + 0 * U
# verdict -> (metric, ability), curves of u
CURVES = {
    "not learned": (U, 0.1 + 0 * U),
    "moves against the claim": (-U, FLAT),
    "no gain shown": (0 * U, CLIFF),
    "gain, then loss": (U, CLIFF),
    "gain only after the ability is lost": (np.where(U > 0.9, 2.0, 0.0), CLIFF),
    "harmed from the start": (U, np.where(U > 0, 0.2, 0.9)),
    "transfers": (U, 0.5 + 0.4 * U),
    "gains, then loses the gain": (HUMP, np.where(U < 0.95, 0.9, 0.2)),
    "gain for nothing": (U, FLAT),
}


def judged(metric, ability, n_seeds=8, sd=0.01, rng_seed=0, **options):
    rng = np.random.default_rng(rng_seed)
    metric = np.asarray(metric, float) + rng.normal(0, sd, (n_seeds, K))
    ability = np.asarray(ability, float) + rng.normal(0, sd, (n_seeds, K))
    found = setting_map(U, metric, ability, **{"trivial": 0.1, **options})
    return found, map_verdict(found)


@pytest.mark.parametrize("kind", CURVES)
def test_each_verdict_on_its_own_curve(kind):
    metric, ability = CURVES[kind]
    if kind == "not learned":
        found, verdict = judged(metric, ability - 0.01)
    elif kind == "no gain shown":
        found, verdict = judged(metric, ability, sd=1e-14)
    else:
        found, verdict = judged(metric, ability)
    assert verdict.kind == kind
    assert (verdict.p <= found.alpha) == (kind not in FINDS_NOTHING)
    assert (verdict.break_between is not None) == (kind == "gain, then loss")
    zone = (found.shown("gain") & found.shown("harmed")).any()
    assert zone == (kind in MISMATCHES)


def test_what_is_harmed_from_the_start_is_nowhere_shown_free():
    """A gain that comes with the loss, after settings at which the ability is kept: nothing was harmed before."""
    found, verdict = judged(np.where(U > 0.55, U, 0.0), CLIFF)
    assert found.shown("free")[1:5].all()
    assert verdict.kind == "gain only after the ability is lost"


def test_the_break_lies_between_the_last_free_gain_and_the_first_harmed_one():
    _, verdict = judged(*CURVES["gain, then loss"])
    assert verdict.break_between == (0.5, 0.625) == verdict.break_interval
    assert verdict.break_at == 0.5625


def test_a_gain_whose_ability_is_open_breaks_from_neutral_on():
    """The ability loses about δ at the settings before: neither free nor harmed, so the break starts at neutral."""
    _, verdict = judged(U + 0.5 * (U > 0), np.where(U < 0.55, 0.9 - 0.04 * (U > 0), 0.2))
    assert verdict.kind == "gain, then loss"
    assert verdict.break_between == (0.0, 0.625)


def test_an_ability_neither_kept_nor_lost_under_a_gain_is_open():
    found, verdict = judged(U + 0.5 * (U > 0), 0.9 - 0.04 * (U > 0), sd=0.02, rng_seed=1)
    assert (verdict.kind, verdict.reason, verdict.p) == ("undecided", "ability open", 1.0)
    assert found.shown("gain").any()


def test_a_gain_neither_there_nor_gone_where_the_ability_is_lost_is_open():
    found, _ = judged(*CURVES["gains, then loses the gain"])
    verdict = map_verdict(dataclasses.replace(found, p_K=found.p_K | {"gain lost": np.ones(K)}))
    assert (verdict.kind, verdict.reason, verdict.p) == ("undecided", "gain open", 1.0)


def test_too_few_seeds_decide_nothing():
    _, verdict = judged(*CURVES["gain, then loss"], n_seeds=4)
    assert (verdict.kind, verdict.reason) == ("undecided", "too few seeds")


def test_no_neutral_cell_decides_nothing():
    ability = np.tile(CLIFF, (8, 1))
    ability[:, 0] = np.nan
    found = setting_map(U, np.tile(U, (8, 1)), ability, trivial=0.1)
    assert map_verdict(found).reason == "no neutral cell"


def test_only_designed_settings_decide_which_verdict_it_is():
    """A gain at a setting that was added where the answer lay is drawn, and makes no verdict."""
    bump = np.where(U == 0.5, 1.0, 0.0)
    designed = U != 0.5
    _, with_it = judged(bump, FLAT, sd=1e-14)
    _, without = judged(bump, FLAT, sd=1e-14, designed_K=designed)
    assert (with_it.kind, without.kind) == ("gain for nothing", "no gain shown")


def test_family_is_benjamini_hochberg_over_all_claims():
    clear, unclear = MapVerdict("gain, then loss", 2 / 256), MapVerdict("undecided", 1.0)
    assert family([]).shape == (0,)
    np.testing.assert_allclose(family([clear, unclear, clear]), [3 / 256, 1.0, 3 / 256])


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_every_map_has_a_verdict_that_agrees_with_it(rng_seed, n_seeds):
    rng = np.random.default_rng(rng_seed)
    steps = rng.normal(0, 1, (2, K)).cumsum(axis=1) * rng.choice([0, 0.1, 1], (2, 1))
    found, verdict = judged(steps[0], 0.6 + 0.2 * steps[1], n_seeds, sd=rng.choice([0.001, 0.1]))
    assert verdict.kind in VERDICTS
    gain, harmed, free, better = (found.shown(name) for name in ("gain", "harmed", "free", "better"))
    if verdict.kind in MISMATCHES:
        assert (gain & harmed).any()
    if verdict.kind == "gain for nothing":
        assert free[gain].all()
        assert not (better & gain).any()
        assert not harmed.any()
    if verdict.kind == "transfers":
        assert (gain & better).any()
        assert not (gain & harmed).any()
    if verdict.kind in ("moves against the claim", "no gain shown"):
        assert not gain.any()
