"""The break test: exact small cases, invariances, bounds, and that every input has a verdict."""

import itertools
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.simulation.simulator import TRIVIAL, TRUTHS, simulate
from analysis.stats.break_test import VERDICTS, Verdict, least_seeds, verdict
from analysis.stats.sign_flip import Contrasts, log_metric, rank_metric, seed_slopes, sign_flip_p, sign_flips


def judged(metric, ability, *, trivial=0.1, knob=None, **options) -> Verdict:
    knob = np.linspace(0.0, 1.0, np.shape(metric)[1]) if knob is None else knob
    return verdict(knob, metric, ability, trivial=trivial, draws=100, **options)


def claim(name: str, n_seeds: int = 8, n_settings: int = 9, rng_seed: int = 5):
    rng = np.random.default_rng(rng_seed)
    _, metric, ability = simulate(TRUTHS[name], rng, repetitions=1, n_seeds=n_seeds, n_settings=n_settings)
    return metric[0], ability[0]


def exact(curve, n_seeds: int = 8, spread: float = 1e-3) -> np.ndarray:
    """A curve seen by every seed with hardly any noise."""
    curve = np.asarray(curve, float)
    return curve + spread * np.random.default_rng(1).normal(size=(n_seeds, len(curve)))


def naive_t(values) -> float:
    mean, n = sum(values) / len(values), len(values)
    variance = sum((v - mean) ** 2 for v in values) / (n - 1)
    return mean / math.sqrt(variance / n)


def naive_flip_p(columns) -> list[float]:
    """Westfall–Young by the book: Student's t, every flip written out, columns of one length; rivals recentred.

    A rival of negative mean is moved to mean 0, where there is another column that it could outdo.
    """
    seen = [naive_t(c) for c in columns]
    if len(columns) > 1:
        columns = [[v - min(sum(c) / len(c), 0.0) for v in c] for c in columns]
    reached = [0] * len(columns)
    flips = list(itertools.product([1, -1], repeat=len(columns[0])))
    for flip in flips:
        largest = max(naive_t([f * v for f, v in zip(flip, c, strict=True)]) for c in columns)
        for b, t in enumerate(seen):
            reached[b] += largest >= t - 1e-9
    return [r / len(flips) for r in reached]


@pytest.mark.parametrize("n_seeds", [3, 6])
def test_sign_flip_p_is_the_enumerated_westfall_young(n_seeds):
    contrasts = np.random.default_rng(n_seeds).normal(0.4, 1.0, (n_seeds, 4))
    np.testing.assert_allclose(sign_flip_p(contrasts), naive_flip_p(contrasts.T.tolist()))
    alone = [naive_flip_p([column])[0] for column in contrasts.T.tolist()]
    np.testing.assert_allclose(sign_flip_p(contrasts, corrected=False), alone)


def test_sign_flip_p_of_three_seeds_by_hand():
    # Sums over the 8 flips of (1, 2, 3): only the identity reaches 6, the identity and one other reach 4.
    assert sign_flip_p(np.array([[1.0], [2.0], [3.0]]))[0] == 1 / 8
    assert sign_flip_p(np.array([[-1.0], [2.0], [3.0]]))[0] == 2 / 8
    assert sign_flip_p(np.array([[0.0], [0.0], [0.0]]))[0] == 1.0
    assert sign_flip_p(np.array([[2.0], [2.0], [2.0]]))[0] == 1 / 8


def test_a_missing_seed_counts_as_absent():
    contrasts = np.array([[1.0], [2.0], [3.0], [np.nan]])
    assert sign_flip_p(contrasts)[0] == sign_flip_p(contrasts[:3])[0]


def test_flips_are_all_of_them_up_to_fourteen_seeds_and_drawn_beyond():
    assert {tuple(f) for f in sign_flips(4)} == set(itertools.product([1.0, -1.0], repeat=4))
    assert sign_flips(14).shape == (2**14, 14)
    assert sign_flips(15).shape == (10_000, 15)
    assert (sign_flips(15)[0] == 1).all()
    assert sign_flip_p(np.ones((20, 1)))[0] == pytest.approx(1e-4)


def test_seed_slopes_are_numpys_line_fits_with_missing_cells_left_out():
    rng = np.random.default_rng(0)
    u, values = np.sort(rng.random(7)), rng.normal(5, 1, (4, 7))
    values[0, 2] = values[3, 0] = np.nan
    segments = np.array([[True] * 4 + [False] * 3, [True] * 7])
    for s, b in itertools.product(range(4), range(2)):
        keep = segments[b] & np.isfinite(values[s])
        expected = np.polyfit(u[keep], values[s, keep], 1)[0]
        assert seed_slopes(u, values, segments)[s, b] == pytest.approx(expected)
    one_cell = np.array([[True] + [False] * 6])
    assert np.isnan(seed_slopes(u, values, one_cell)).all()


def test_breaks_keep_three_settings_on_each_side():
    metric, ability = claim("plateau")
    assert Contrasts.of(np.linspace(0, 1, 9), metric, ability).breaks == (2, 3, 4, 5, 6)
    ability[:, 1] = np.nan  # a setting that is wholly lost moves the first break outwards
    assert Contrasts.of(np.linspace(0, 1, 9), metric, ability).breaks == (3, 4, 5, 6)


def test_reversal_p_is_the_enumerated_intersection_union():
    metric, ability = claim("fall of .06 after a rise", n_seeds=6)
    u = np.linspace(0, 1, 9)
    delta = 0.05 * (ability[:, 0].mean() - TRIVIAL)
    columns = {"non-inferior": [], "falls": [], "drops": [], "rises": [], "rises without the last": []}
    for b in range(2, 7):
        lines = [
            (
                *(np.polyfit(u[part], a[part], 1)[0] for part in (slice(b + 1), slice(b, None))),
                *(np.polyfit(u[part], m[part], 1)[0] for part in (slice(b, None), slice(b, -1))),
            )
            for m, a in zip(metric, ability, strict=True)
        ]
        columns["non-inferior"].append([before * u[b] + delta for before, _, _, _ in lines])
        columns["falls"].append([-after * (1 - u[b]) - delta for _, after, _, _ in lines])
        columns["drops"].append([before - after for before, after, _, _ in lines])
        columns["rises"].append([rise for _, _, rise, _ in lines])
        columns["rises without the last"].append([inner for _, _, _, inner in lines])
    p_parts = [naive_flip_p(c) for c in columns.values()]
    expected = min(max(p) for p in zip(*p_parts, strict=True))
    assert judged(metric, ability).p_values["reversal"] == pytest.approx(expected)


U = np.linspace(0, 1, 9)
CURVES = {
    "reversal": (U, 0.4 + 0.4 * np.where(U < 0.5, U, 1 - U)),
    "stall": (1 + U, 0.4 + 0.4 * np.minimum(U, 0.5)),
    "transfers": (U, 0.4 + 0.4 * U),
    "never transferred": (U, np.full(9, 0.5)),
    "no latent gain": (-U, 0.4 + 0.4 * U),
    "harms from the start": (U, 0.9 - 0.6 * U),
    "not learned": (U, np.full(9, 0.05)),
    # Efficiency that is constant against log M but falls tenfold against M.
    "scale-dependent": (np.exp(6 * U), 0.4 + 0.4 * U),
}


@pytest.mark.parametrize("kind", CURVES)
def test_each_verdict_on_its_own_curve(kind):
    metric, ability = (exact(c) for c in CURVES[kind])
    found = judged(metric, ability)
    assert found.kind == kind
    assert found.deciding_p <= 0.05 or kind in ("no latent gain", "not learned")
    assert (found.break_at is not None) == (kind in ("reversal", "stall"))
    if found.break_at is not None:
        assert found.break_interval is not None
        assert found.break_interval[0] <= 0.5 <= found.break_interval[1]
        assert found.break_at == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("change", ["metric unit", "ability unit", "seeds", "knob", "descending", "neutral last"])
def test_verdicts_do_not_depend_on_units_or_order(kind, change):
    metric, ability = (exact(c, spread=0.02) for c in CURVES[kind])
    base = judged(metric, ability)
    knob, trivial, neutral_index = U, 0.1, 0
    if change == "metric unit":
        metric = metric * 1e-7
    elif change == "ability unit":
        ability, trivial = ability * 300 - 50, 0.1 * 300 - 50
    elif change == "seeds":
        metric, ability = metric[::-1], ability[::-1]
    elif change == "knob":
        knob = 3 + 20 * U
    elif change == "descending":
        knob = 8 - 6 * U
    else:
        knob, metric, ability, neutral_index = -U[::-1], metric[:, ::-1], ability[:, ::-1], 8
    other = verdict(knob, metric, ability, trivial=trivial, neutral_index=neutral_index)
    assert other.kind == base.kind
    for name in base.p_values:
        assert other.p_values[name] == pytest.approx(base.p_values[name], abs=1e-9), name
    if base.shown_free_until is not None:
        back = {"knob": lambda x: (x - 3) / 20, "descending": lambda x: (8 - x) / 6, "neutral last": lambda x: -x}
        assert back.get(change, lambda x: x)(other.shown_free_until) == pytest.approx(base.shown_free_until)


def test_a_fall_within_delta_is_no_reversal():
    """Without a margin on the fall, a loss of .003 at a δ of .04 was a reversal."""
    fall = 0.9 - 0.003 * np.clip(U - 0.5, 0, None) / 0.5
    found = judged(exact(U), exact(fall, spread=1e-4), delta=0.04)
    assert found.kind == "never transferred"
    assert found.p_values["reversal"] > 0.5


def test_one_dead_setting_at_the_far_end_carries_no_reversal():
    """The whole gain lies at the last setting, where the ability is gone: the metric does not keep rising."""
    metric, ability = np.append(np.zeros(8), 5.0), [0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.6, 0.4, 0.1]
    found = judged(exact(metric, spread=0.05), exact(ability, spread=0.01))
    assert found.p_values["latent gain"] <= 0.05
    assert found.components["reversal"]["metric rises after"] <= 0.05
    assert found.p_values["reversal"] > 0.05
    assert found.kind == "underpowered"


def test_five_seeds_find_a_cliff():
    """At breaks past the cliff non-inferiority is strongly negative, and the flip of all its signs outdid the rest."""
    found = judged(*claim("cliff at .50", n_seeds=5))
    assert (found.kind, found.p_values["reversal"]) == ("reversal", 2.0**-5)


def test_diverged_abilities_count_where_the_metric_is_missing():
    metric, ability = (exact(c, 8) for c in CURVES["transfers"])
    metric[:5, 6:], ability[:5, 6:] = np.nan, 0.1  # five of eight seeds diverge at the far end
    lost = judged(metric, ability)
    ability[:5, 6:] = np.nan
    survivors = judged(metric, ability)
    assert survivors.kind == "transfers"
    assert lost.kind != "transfers"


def test_a_monotone_rescaling_of_the_metric_leaves_a_reversal_and_rescaled_stalls():
    metric, ability = (exact(c) for c in CURVES["reversal"])
    for rescaled in (np.exp(3 * metric), np.cbrt(metric), rank_metric(metric), -np.exp(-metric)):
        assert judged(rescaled, ability).kind == "reversal"


def test_log_metric_increases_and_is_free_of_units_for_either_sign():
    rng = np.random.default_rng(2)
    for metric in (rng.random((3, 5)) + 0.1, -rng.random((3, 5)) - 0.1, rng.normal(size=(3, 5))):
        order = metric.ravel().argsort()
        logs = log_metric(metric).ravel()
        assert (np.diff(logs[order]) > 0).all()
        shift = log_metric(7.0 * metric).ravel() - logs
        np.testing.assert_allclose(shift, shift[0], atol=1e-12)
    np.testing.assert_allclose(log_metric(np.array([[-2.0, -1.0]])), [[-np.log(2), 0.0]])
    assert (log_metric(np.zeros((2, 2))) == 0).all()
    assert np.isnan(log_metric(np.array([[np.nan, 1.0, 2.0]]))[0, 0])


def test_bounds_on_a_cliff():
    curve = np.array([0.9, 0.9, 0.9, 0.9, 0.87, 0.5, 0.2, 0.2, 0.2])  # δ = .04: the fifth setting is still within it
    found = judged(exact(U), exact(curve))
    assert found.delta == pytest.approx(0.04, abs=1e-3)
    assert found.shown_free_until == 0.5
    assert found.shown_harmful_from == 0.625
    assert found.neutral_ability == pytest.approx(0.9, abs=1e-3)


def test_bounds_leave_a_gap_where_nothing_is_known():
    ability = exact(np.array([0.9, 0.9, 0.9, 0.86, 0.86, 0.86, 0.5, 0.5, 0.5]), spread=0.02)
    found = judged(exact(U), ability)
    assert found.shown_free_until == 0.25
    assert found.shown_harmful_from == 0.75


def test_a_dip_that_recovers_ends_the_free_stretch_and_is_not_harm_for_good():
    found = judged(exact(U), exact(np.array([0.9, 0.9, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])))
    assert found.shown_free_until == 0.125
    assert found.shown_harmful_from is None


def test_the_floor_of_p_sets_the_least_seeds():
    assert least_seeds(0.05) == {"reversal": 5, "stall": 5, "bounds": 5, "all": 5}
    assert least_seeds(0.05, strict=True) == {"reversal": 6, "stall": 7, "bounds": 5, "all": 7}
    fall, stall = CURVES["reversal"], CURVES["stall"]
    for n_seeds in range(1, 9):
        reversed_ = judged(exact(fall[0], n_seeds), exact(fall[1], n_seeds), strict=True)
        stalled = judged(exact(stall[0], n_seeds), exact(stall[1], n_seeds), strict=True)
        assert (reversed_.kind == "reversal") == (n_seeds >= 6)
        assert (stalled.kind == "stall") == (n_seeds >= 7)
        if n_seeds < 5:
            assert reversed_.kind == stalled.kind == "underpowered"
            assert reversed_.shown_free_until is reversed_.shown_harmful_from is None
    assert reversed_.alpha_rule == "alpha/2"
    assert stalled.alpha_rule == "alpha/4"
    assert stalled.deciding_p == pytest.approx(4 * stalled.p_values["stall"])
    assert stalled.deciding_p <= 0.05


def test_transfer_is_not_claimed_where_a_stall_could_not_have_been_shown():
    six = [exact(c, 6) for c in CURVES["transfers"]]
    assert judged(*six, strict=True).kind == "underpowered"
    assert judged(*six).kind == "transfers"


def test_too_few_settings_are_underpowered():
    metric, ability = (exact(c[:8]) for c in CURVES["reversal"])
    found = judged(metric, ability)
    assert found.kind == "underpowered"
    assert "settings" in found.sentence


def test_harm_at_the_last_setting_alone_is_not_called_transfer():
    ability = np.append(0.4 + 0.4 * U[:-1], 0.2)
    found = judged(exact(U), exact(ability))
    assert found.shown_harmful_from == 1.0
    assert found.kind in ("underpowered", "reversal")


def test_diverged_cells_are_left_out_and_reported():
    metric, ability = (exact(c, 10) for c in CURVES["reversal"])
    metric[0, 8] = ability[0, 8] = np.nan
    ability[3, 2] = np.inf
    found = judged(metric, ability)
    assert found.kind == "reversal"
    assert found.removed == ((0, 8), (3, 2))
    assert "2 cells" in found.sentence
    whole = metric.copy()
    whole[:, 7:] = np.nan  # the metric is undefined at the end: ability's bounds still see those settings
    assert judged(whole, ability).n_settings == 7
    assert judged(whole, ability).shown_free_until == found.shown_free_until


def test_few_neutral_cells_never_guess():
    metric, ability = (exact(c, 3) for c in CURVES["transfers"])
    assert judged(metric, ability).kind == "underpowered"
    assert judged(metric, ability, trivial=0.9).kind == "not learned"
    ability[:, 0] = np.nan
    assert judged(metric, ability).kind == "underpowered"


def test_equal_numbers_are_not_evidence():
    metric, ability = np.full((8, 9), 0.1), np.full((8, 9), 0.3)
    found = judged(metric, ability)
    assert found.kind == "no latent gain"
    assert found.p_values["latent gain"] == 1.0
    at_the_margin = judged(exact(U), np.tile(np.append(0.3, np.full(8, 0.29)), (8, 1)), delta=0.01)
    assert at_the_margin.shown_free_until == 0.0
    assert at_the_margin.shown_harmful_from is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"knob": np.r_[0.0, 0.0, U[2:]]}, "strict order"),
        ({"knob": np.r_[U[:8], np.nan]}, "finite"),
        ({"neutral_index": 4}, "neutral_index"),
        ({"trivial": np.nan}, "trivial"),
        ({"alpha": 0.0}, "alpha"),
        ({"rho": 1.0}, "rho"),
        ({"metric": np.zeros((8, 8)), "knob": U}, "one shape"),
        ({"ability": np.zeros(9)}, "ability"),
        ({"delta": -1.0}, "delta"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_named(change, message):
    metric, ability = (exact(c) for c in CURVES["reversal"])
    with pytest.raises(ValueError, match=message):
        judged(**({"metric": metric, "ability": ability} | change))


@st.composite
def any_claim(draw):
    shape = (draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 5, 9, 10])))
    values = draw(
        st.sampled_from(
            [
                st.floats(-1, 1) | st.just(math.nan),
                st.floats(allow_nan=True, allow_infinity=True),
                st.sampled_from([0.0, 1.0, 0.1, -0.1]),
            ]
        )
    )
    metric, ability = (draw(hnp.arrays(float, shape, elements=values)) for _ in range(2))
    return metric, ability, draw(st.sampled_from([0.0, -0.5, 0.1, 1e300])), draw(st.booleans())


@hypothesis.given(any_claim(), st.booleans())
@hypothesis.settings(max_examples=30, deadline=None)
def test_every_input_has_one_verdict(data, strict):
    check_one_verdict(data, strict)


@pytest.mark.slow
@hypothesis.given(any_claim(), st.booleans())
@hypothesis.settings(max_examples=150, deadline=None)
def test_every_input_has_one_verdict_of_many(data, strict):
    check_one_verdict(data, strict)


def check_one_verdict(data, strict):
    metric, ability, trivial, trend = data
    if trend:  # push random inputs past the first gates
        with np.errstate(all="ignore"):
            slope = np.linspace(0, 1, metric.shape[1])
            metric, ability = metric + 3 * slope, ability + 1.5 + np.minimum(slope, 0.5)
    found = judged(metric, ability, trivial=trivial, strict=strict)
    assert found.kind in VERDICTS
    assert 0 <= found.deciding_p <= 1
    assert all(0 < p <= 1 for p in found.p_values.values())
    assert found.sentence.endswith(".")
    if found.break_at is not None:
        assert found.break_interval is not None
        assert found.break_interval[0] <= found.break_at <= found.break_interval[1]
