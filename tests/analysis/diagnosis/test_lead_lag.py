"""A known order in time comes back, and so does its opposite; no order is claimed where checkpoints can't show one."""

import dataclasses
import functools

import numpy as np
import pytest
from scipy import stats

from analysis.activations.measure import claim_site
from analysis.diagnosis import Findings, lead_lag
from analysis.report import tables
from analysis.verdicts import bounds, judge
from tests.analysis import synthetic_study

STEPS = np.asarray([10, 20, 40, 80, 160, 320, 640, 1280, 2560])


def risen(at_S, steps=STEPS, sharpness=3.0):
    """A rise from 0 to 1 whose middle is at a step: [S, E]."""
    return 1 / (1 + np.exp(-sharpness * np.log(steps / np.asarray(at_S)[:, None])))


def jitter(rng, n=8, spread=0.15):
    return np.exp(spread * rng.normal(size=n))


def compare(other, ability, against="two_nn", steps=STEPS, **options):
    return lead_lag.compare(other, ability, steps, options.pop("start", 0), 0.05, against, **options)


@pytest.mark.parametrize(
    ("other_at", "ability_at", "pattern"),
    [(60, 500, "latents first"), (500, 60, "ability first"), (200, 200, "together"), (200, 230, "together")],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_planted_order_comes_back_and_so_does_the_opposite(other_at, ability_at, pattern, sign):
    rng = np.random.default_rng(0)
    seed_S, own_S = jitter(rng, spread=0.3), jitter(rng, spread=0.03)
    one = compare(20 + 5 * sign * risen(other_at * seed_S), 0.9 * risen(ability_at * seed_S * own_S))
    assert one.pattern == pattern
    assert one.ratio == pytest.approx(other_at / ability_at, rel=0.2)
    assert one.low <= one.ratio <= one.high
    middle = np.exp(np.log(seed_S).mean())
    assert one.against_half == pytest.approx(other_at * middle, rel=0.2)
    assert one.ability_half == pytest.approx(ability_at * middle, rel=0.2)
    assert one.n_seeds == 8


@pytest.mark.parametrize(
    ("against", "trained_at", "pattern"),
    [
        ("seen", 40, "grokking"),
        ("seen", 250, "training problems first"),
        (lead_lag.LOGPROB, 40, "log-probability first"),
    ],
)
def test_named_patterns(against, trained_at, pattern):
    rng = np.random.default_rng(1)
    one = compare(risen(trained_at * jitter(rng, spread=0.05), sharpness=6),
                  risen(480 * jitter(rng, spread=0.05), sharpness=6), against)  # fmt: skip
    assert one.pattern == pattern
    assert one.pattern in lead_lag.PATTERNS


def test_what_does_not_move_or_disagrees_is_not_shown():
    rng = np.random.default_rng(2)
    rises, flat = risen(100 * jitter(rng)), 0.5 + 0.01 * rng.normal(size=(8, 9))
    assert compare(flat, rises).pattern == "not shown"
    assert compare(rises, flat).pattern == "not shown"
    assert compare(rises, 1 - rises).pattern == "not shown", "the ability falls"
    assert compare(np.full((8, 9), np.nan), rises).pattern == "not shown"
    wild = risen(np.asarray([20, 1500, 20, 1500, 20, 1500, 20, 1500]))
    assert compare(wild, risen(200 * jitter(rng))).pattern == "not shown"
    few = compare(risen(60 * jitter(rng, 4)), risen(500 * jitter(rng, 4)))
    assert few.pattern == "not shown", "four seeds can reject nothing at .05 in two directions"


def test_too_few_checkpoints_are_said():
    rng = np.random.default_rng(3)
    late, early = risen(500 * jitter(rng)), risen(60 * jitter(rng))
    assert compare(early[:, ::4], late[:, ::4], steps=STEPS[::4]).pattern == "too few checkpoints"
    steps = STEPS[3:]  # the ability has mostly risen before the first of them
    assert compare(late[:, 3:], early[:, 3:], steps=steps, trivial=0.0).pattern == "too few checkpoints"
    assert compare(late, early, trivial=0.0).pattern == "ability first"


def test_a_missing_cell_drops_its_seed():
    rng = np.random.default_rng(4)
    early, late = risen(60 * jitter(rng)), risen(500 * jitter(rng))
    early[2, 5] = np.nan
    one = compare(early, late)
    assert (one.pattern, one.n_seeds) == ("latents first", 7)


def test_half_way_is_where_interpolation_by_hand_says():
    rng = np.random.default_rng(5)
    values = np.cumsum(rng.normal(size=(20, 9)), axis=1)
    steps_S, _, _ = lead_lag.half_way(values, STEPS, 0)
    fine = np.linspace(STEPS[0], STEPS[-1], 200_001)
    for step, row in zip(steps_S, values, strict=True):
        if row[-1] <= row[0]:
            assert np.isnan(step)
            continue
        reached = np.interp(fine, STEPS, row) >= (row[0] + row[-1]) / 2
        assert step == pytest.approx(fine[np.argmax(reached)], abs=0.02)
    shifted, _, _ = lead_lag.half_way(values, STEPS, 10)
    np.testing.assert_allclose(shifted, steps_S - 10)


@pytest.mark.parametrize("n_seeds", [6, 8, 11])
def test_the_interval_holds_what_sign_flips_do_not_reject(n_seeds):
    """Against SciPy's one-sample permutation test: just inside an end it doesn't reject, just outside it does."""
    values = np.random.default_rng(n_seeds).normal(0.3, 1, n_seeds)
    low, high = lead_lag.flip_interval(values, 0.05)

    def p(mean, alternative):
        test = stats.permutation_test(((values - mean),), np.mean, permutation_type="samples",
                                      n_resamples=np.inf, alternative=alternative)  # fmt: skip
        return test.pvalue

    assert p(low - 1e-6, "greater") <= 0.025 < p(low + 1e-6, "greater")
    assert p(high + 1e-6, "less") <= 0.025 < p(high - 1e-6, "less")


def test_the_interval_of_few_seeds_is_infinite():
    assert lead_lag.flip_interval(np.arange(5.0), 0.05) == (-np.inf, np.inf)
    assert lead_lag.flip_interval(np.zeros(0), 0.05) == (-np.inf, np.inf)
    assert lead_lag.flip_interval(np.zeros(8), 0.05) == (0, 0)


@pytest.mark.slow
def test_an_order_is_rarely_claimed_where_there_is_none():
    """2·α/2 of the time at most; 400 repetitions of seeds that differ, with noise in every reading."""
    rng = np.random.default_rng(6)
    claimed = 0
    for _ in range(400):
        pair = [risen(200 * jitter(rng, spread=1.0)) + 0.02 * rng.normal(size=(8, 9)) for _ in range(2)]
        claimed += compare(*pair).pattern in ("latents first", "ability first")
    assert stats.binomtest(claimed, 400, 0.05, alternative="greater").pvalue > 0.01


def test_the_plateau_is_the_share_of_steps_at_trivial():
    rng = np.random.default_rng(7)
    values = np.cumsum(rng.normal(size=(5, 9)), axis=1)
    fine = np.linspace(0, STEPS[-1], 400_001)
    expected = np.mean([(np.interp(fine, STEPS, row) <= 0.4).mean() for row in values])
    assert lead_lag.plateau_share(values, STEPS, 0.4) == pytest.approx(expected, abs=1e-4)
    assert lead_lag.plateau_share(np.zeros((3, 9)), STEPS, 0.0) == 1.0
    assert lead_lag.plateau_share(np.ones((3, 9)), STEPS, 0.0) == 0.0
    assert np.isnan(lead_lag.plateau_share(np.full((3, 9), np.nan), STEPS, 0.0))


def planted(shared_up_to, ability_at=500, latent_at=60):
    """Results whose addition/iid and two_nn rise at known steps; `seen` early, for grokking."""
    table = synthetic_study.results(diverged=False)
    one, n_cells = table.study, len(table.study.cells)
    rng = np.random.default_rng(8)
    by_seed = jitter(rng)[[cell["seed"] for cell in one.cells]]
    columns = {name: np.repeat(column[:, -1:], len(STEPS), axis=1) for name, column in table.columns.items()}
    columns["addition/iid/exact"] = 0.03 + 0.9 * risen(ability_at * by_seed)
    columns["addition/iid/logprob"] = -4 + 4 * risen(ability_at * by_seed)
    columns["addition/seen/exact"] = 0.03 + 0.9 * risen(30 * by_seed, sharpness=8)
    columns[f"{claim_site(one, 'addition')}/two_nn"] = 20 - 9 * risen(latent_at * by_seed)
    # Cells of a seed have one key up to the fork, and each its own after it.
    shared = tuple(
        tuple(f"{cell['seed']}" if e < shared_up_to else f"{i}" for e in range(len(STEPS)))
        for i, cell in enumerate(one.cells)
    )
    nothing = np.full(n_cells, -1)
    return dataclasses.replace(
        table, step=STEPS, stage=("train",) * len(STEPS), columns=columns, shared=shared, diverged_at=nothing
    )


@functools.cache
def claims():
    """(claims, bounds) of the planted study, once: what is read of them is the same wherever the fork is."""
    table = planted(0)
    return judge(table), bounds(table)


def found_in(table):
    return [one for one in lead_lag.trajectories(table, *claims()) if one.label == "addition"]


@pytest.mark.slow
def test_a_study_without_a_shared_prefix_is_read_at_every_setting():
    found = found_in(planted(0))
    assert [one.setting for one in found] == list(synthetic_study.SPARSITIES)
    for one in found:
        patterns = {each.against: each.pattern for each in one.orders}
        assert patterns["two_nn"] == "latents first"
        assert patterns["participation_ratio"] == "not shown"
        assert patterns[lead_lag.LOGPROB] == "together"
        assert patterns["seen"] == "grokking"
        assert (one.start, one.end, one.checkpoints) == (0, 2560, 9)
    assert {each.pattern for each in found_in(planted(0, 60, 500))[0].orders if each.against == "two_nn"} == {
        "ability first"
    }


def test_the_plateau_of_a_study_ends_where_the_ability_leaves_trivial():
    late, early = (found_in(planted(0, ability_at=at))[0].plateau for at in (500, 30))
    assert 0.15 < late < 0.25  # the floor, .82, is reached after half of the ability at step 500 of 2560
    assert early < 0.02


def test_a_shared_prefix_is_evidence_once():
    found = found_in(planted(6))
    first, *rest = found
    assert (first.setting, first.start, first.end, first.checkpoints) == (None, 0, 320, 6)
    assert [one.setting for one in rest] == list(synthetic_study.SPARSITIES)
    assert {(one.start, one.end, one.checkpoints) for one in rest} == {(320, 2560, 4)}
    assert np.isfinite(first.plateau)
    assert all(np.isnan(one.plateau) for one in rest)
    own = {each.against: each for each in rest[0].orders}
    assert own[lead_lag.LOGPROB].pattern == "together"
    assert own[lead_lag.LOGPROB].ability_half < 2560 - 320, "steps count from where the settings part"
    late = found_in(planted(7))
    assert {each.pattern for one in late[1:] for each in one.orders} == {"too few checkpoints"}


def test_a_report_prints_what_is_shared_and_both_ends():
    def findings(shared_up_to):
        table = planted(shared_up_to)
        return Findings(table, (), (), (), tuple(found_in(table)), stratum={})

    assert [one.setting for one in lead_lag.shown(findings(6).lead_lag, 0.0)] == [None, 0.0, 0.8]
    rows = tables.order_rows(findings(6))
    shared = next(row for row in rows if row["against"] == "seen")
    assert (shared["setting"], shared["steps"], shared["pattern"]) == (
        "all, before the knob acts",
        "0 to 320",
        "grokking",
    )
    own = next(row for row in rows if (row["setting"], row["against"]) == ("80%", "log-probability"))
    assert (own["pattern"], own["ratio"][:4]) == ("together", "1.00")
    rows = tables.order_rows(findings(7))
    assert [row["setting"] for row in rows].count("each on its own") == 1
    assert rows[-1]["pattern"] == "too few checkpoints (3)"
