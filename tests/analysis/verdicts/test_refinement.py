"""A study that grows: what is asked for, what each look spends, and that nothing else is tested."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from analysis.activations.measure import ProbeSite
from analysis.design import interim
from analysis.design.interim import InterimAnalyses, first
from analysis.metrics.registry import METRICS
from analysis.results import Curve
from analysis.simulation.map_rates import measure_looks
from analysis.simulation.map_truths import WORST
from analysis.simulation.refinement_rates import KNOB, measure
from analysis.stats import InterimLook, MapVerdict, verdict
from analysis.verdicts import Bounds, Judged, ability_map, bounds, judge, judge_curves, refinement
from lab.errors import UserError
from lab.mechanisms import NEVER
from lab.mechanisms.knobs import KNOBS
from lab.study import axis, chain, grown, product
from lab.study.parse import parse
from tests.analysis import synthetic_study
from tests.lab.conftest import tiny_config

U = np.linspace(0, 1, 9)


def claim(n_seeds, rng_seed=0, settings=U):
    """A fall after one half while the metric rises."""
    rng = np.random.default_rng(rng_seed)
    metric = settings + rng.normal(0, 0.1, (n_seeds, len(settings)))
    ability = 0.9 - 0.5 * np.clip(settings - 0.5, 0, None) + rng.normal(0, 0.03, (n_seeds, len(settings)))
    return metric, ability


def rows(n_seeds, *counts):
    return [np.arange(n_seeds) < count for count in counts]


def test_one_look_at_the_whole_alpha_is_the_plain_verdict():
    metric, ability = claim(8)
    plain = verdict(U, metric, ability, trivial=0.1)
    assert (
        verdict(U, metric, ability, trivial=0.1, looks=[InterimLook(np.ones(8, bool), 1.0)], designed_K=U >= 0) == plain
    )


def test_a_p_value_is_over_its_looks_share_and_the_smallest_of_all():
    metric, ability = claim(12)
    shares = (0.4, 0.6)
    found = verdict(
        U, metric, ability, trivial=0.1,
        looks=[InterimLook(mask, share) for mask, share in zip(rows(12, 8, 12), shares, strict=True)],
    )  # fmt: skip
    alone = [verdict(U, metric[:n], ability[:n], trivial=0.1).p_values for n in (8, 12)]
    for name, p in found.p_values.items():
        assert p == pytest.approx(min(1.0, alone[0][name] / 0.4, alone[1][name] / 0.6))
    assert found.p_values["learned"] == pytest.approx(2.0**-12 / 0.6)  # neutral beats trivial in every seed


def test_what_was_shown_at_a_look_stays_shown():
    metric, ability = claim(8)
    ability = np.concatenate([ability, ability])
    metric = np.concatenate([metric, metric[:, ::-1]])  # eight more seeds in which it gains nothing
    looks = [InterimLook(mask, 0.5) for mask in rows(16, 8, 16)]
    assert verdict(U, metric, ability, trivial=0.1).kind != "reversal"
    assert verdict(U, metric, ability, trivial=0.1, looks=looks).kind == "reversal"


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_a_look_rejects_at_its_share_only(share):
    """With 8 seeds p is at least 1/256 = .0039, above .05 times .05 and below .05 times .1."""
    metric, ability = claim(8)
    metric, ability = 10 * U + 0 * metric, ability + 0 * metric
    found = verdict(U, metric, ability, trivial=0.1, looks=[InterimLook(np.ones(8, bool), share)])
    assert (found.shown_free_until is None) == (share < 0.078)
    assert (found.kind == "underpowered") == (share < 0.078)


def test_settings_that_were_added_serve_bounds_only():
    settings = np.sort([*U, 0.5625, 0.6875])
    metric, ability = claim(8, settings=settings)
    designed = np.isin(settings, U)
    for at in np.flatnonzero(~designed):  # added settings that would make it another verdict
        metric[:, at], ability[:, at] = -50.0, 0.12
    found = verdict(settings, metric, ability, trivial=0.1, designed_K=designed)
    plain = verdict(U, metric[:, designed], ability[:, designed], trivial=0.1)
    assert (found.kind, found.p_values) == (plain.kind, plain.p_values)
    assert found.shown_free_until == 0.5


def test_looks_spend_alpha_and_not_more():
    for seeds, count in itertools.product((5, 6, 8, 11), (2, 4, 9)):
        looks = first((0.0, 1.0), tuple(range(seeds)), count)
        assert sum(looks.shares) == pytest.approx(1.0)
        sizes = [len(looks.seeds[0])]
        while looks.left:
            looks = replace(looks, seeds=(*looks.seeds, interim.next_seeds(looks)))
            sizes.append(len(looks.seeds[-1]))
            assert {*looks.seeds[-2]} < {*looks.seeds[-1]}
        # Kim & DeMets with exponent 1: spent so far is the share of the seeds so far.
        assert np.cumsum(looks.shares) == pytest.approx(np.asarray(sizes) / sizes[-1])


def test_the_record_is_read_back(tmp_path):
    looks = InterimAnalyses((0.0, 0.5), (0.6, 0.4), ((0, 1), (0, 1, 2)), (({"prune.scope": "global"}, 0.25),), True)
    assert interim.read(tmp_path) is None
    interim.write(tmp_path, looks)
    assert interim.read(tmp_path) == looks
    (tmp_path / interim.FILE).write_text("{")
    with pytest.raises(UserError, match=r"looks\.json can't be read"):
        interim.read(tmp_path)


def points(grid):
    return {tuple(sorted(point)) for point in grid.points}


def test_a_grid_grows_in_its_strata():
    knob, other = "prune.sparsity", "prune.scope"
    grid = product(axis(other, ("global", "layerwise")), axis(knob, (0.0, 0.5)), axis("seed", range(2)))
    more = grown(grid, knob, [({other: "global"}, 0.25)], range(3))
    wanted = {"global": (0.0, 0.25, 0.5), "layerwise": (0.0, 0.5)}
    assert points(more) == {
        tuple(sorted({knob: value, other: scope, "seed": seed}.items()))
        for scope, values in wanted.items()
        for value in values
        for seed in range(3)
    }
    assert more.points[: len(grid.points)] == grid.points
    assert [a.knob for a in more.axes] == [a.knob for a in grid.axes]
    assert points(grown(grid, knob, (), ())) == points(grid)


def parsed(grid):
    return parse(tiny_config(), grid, METRICS)


def test_a_study_that_was_refined_refuses_another_design():
    knob = "prune.sparsity"
    looks = replace(first((0.0, 0.5), (0, 1), 4), added=(({}, 0.25),), seeds=((0, 1), (0, 1, 2)))
    grid = chain(axis("seed", range(2)), product(axis(knob, (0.5,)), axis("seed", range(2))))  # 0 is not named
    again = interim.grid_of(looks, parsed(grid))
    assert points(again) == points(product(axis(knob, (0.0, 0.25, 0.5)), axis("seed", range(3))))
    for settings, seeds in (((0.0, 0.6), 2), ((0.0, 0.5), 3)):
        with pytest.raises(UserError, match="was refined"):
            interim.grid_of(looks, parsed(product(axis(knob, settings), axis("seed", range(seeds)))))


def test_looks_that_a_killed_study_did_not_come_to_are_not_counted():
    looks = replace(first((0.0, 0.5), (0, 1), 4), seeds=((0, 1), (0, 1, 2)))
    grid = product(axis("prune.sparsity", (0.0, 0.5)), axis("seed", range(2)))
    assert interim.of(looks, parsed(grid)).seeds == ((0, 1),)
    assert interim.of(None, parsed(grid)) is None


def bound(free, harmful, ability_K=None, knob_K=U, neutral=0.0):
    ability = np.broadcast_to(1 - knob_K if ability_K is None else ability_K, (8, len(knob_K)))
    curve = Curve(knob_K, np.arange(8), ability)
    mapped = ability_map(curve, 0.1, neutral_index=0 if neutral == knob_K[0] else len(knob_K) - 1)
    return Bounds("facts", "iid", {}, True, curve, curve, 0.1, True, free, harmful, 0.05, neutral, mapped)


NEW = first(tuple(U), tuple(range(8)), 4)


def test_neighbours_far_apart_get_a_setting_between_and_no_seeds():
    ability = np.where(U > 0.5, 0.2, 0.9)
    more = refinement.grow(KNOB, NEW, [], [bound(0.5, 0.625, ability)], 0.05)
    assert more is not None
    assert (more.settings, more.seeds, more.looks.left) == ((({}, 0.5625),), 0, 3)
    assert refinement.grow(KNOB, NEW, [], [bound(0.5, 0.625, ability)], 0.2) is None


def test_a_setting_neither_free_nor_harmful_asks_for_seeds_while_looks_are_left():
    between = bound(0.25, 0.625)
    more = refinement.grow(KNOB, NEW, [], [between], 0.5)
    assert more is not None
    assert (more.settings, more.seeds, more.looks.seeds[-1]) == ((), 4, tuple(range(12)))
    spent = replace(NEW, seeds=tuple(tuple(range(8 + 4 * i)) for i in range(4)))
    assert refinement.grow(KNOB, spent, [], [between], 0.5) is None
    assert refinement.grow(KNOB, NEW, [], [bound(1.0, None, 0 * U + 0.9)], 0.05) is None  # free everywhere


def test_a_knob_swept_downwards_in_whole_numbers():
    knob = KNOBS["fsq.coordinates"]
    sizes = np.asarray([2.0, 4, 6, 8, 10, 12, 14, 16, 18])
    ability = np.where(sizes < 8, 0.2, 0.9)
    more = refinement.grow(knob, NEW, [], [bound(8.0, 6.0, ability, sizes, 18.0)], 0.05)
    assert more is not None
    assert more.settings == (({}, 7),)
    assert type(more.settings[0][1]) is int
    finest = np.asarray([1.0, 2, 3, 4, 5, 6, 7, 8, 9])
    found = bound(8.0, 7.0, np.where(finest < 8, 0.2, 0.9), finest, 9.0)
    assert refinement.grow(knob, NEW, [], [found], 0.05) is None  # nothing lies between 7 and 8


def test_a_gap_to_the_step_that_no_study_reaches_ends_one_spacing_on():
    steps = np.asarray([0.0, 250, 500, 750, 1000, NEVER])
    lost_early = bound(500.0, 250.0, np.where(steps < 400, 0.2, 0.9), steps, NEVER)
    more = refinement.grow(KNOBS["rewind.to"], NEW, [], [lost_early], 0.05)
    assert more is not None
    assert more.settings == (({}, 375),)  # a gap of 250 is narrow next to 2**30, and wide next to 1,250
    lost_at_once = bound(float(NEVER), 1000.0, np.where(steps < NEVER, 0.2, 0.9), steps, NEVER)
    more = refinement.grow(KNOBS["rewind.to"], NEW, [], [lost_at_once], 0.05)
    assert more is not None
    assert more.settings == (({}, 1125),)


def test_the_shape_along_a_knob_does_not_rest_on_the_number_of_never():
    steps, (metric, ability) = np.asarray([*np.arange(8) * 100.0, NEVER]), claim(8)
    as_numbers = np.asarray([*np.arange(8) * 100.0, 800.0])
    shapes = []
    for knob_K in (steps, as_numbers):
        curves = [Curve(knob_K, np.arange(8), values[:, ::-1]) for values in (metric, ability)]
        shapes.append(judge_curves(curves[0], 1, curves[1], 0.1, neutral_index=8)[2])
    assert shapes[0].p_values == shapes[1].p_values
    assert shapes[0].break_at == shapes[1].break_at


def test_an_axis_that_follows_the_knob_gets_no_settings():
    study = synthetic_study.study()
    follower = axis("label_smoothing.rate", synthetic_study.SPARSITIES).axes
    cells = tuple({**cell, "label_smoothing.rate": cell["prune.sparsity"]} for cell in study.cells)
    both = replace(study, axes=(*study.axes, *follower), cells=cells)
    results = synthetic_study.results(study)
    claims, found = judge(results), bounds(results)
    assert refinement.next_round(study, NEW, claims, found, 0.01).settings
    assert not refinement.next_round(both, NEW, claims, found, 0.01).settings


def test_a_setting_that_cant_be_had_or_was_added_is_not_asked_for():
    ability = np.where(U > 0.5, 0.2, 0.9)
    neighbours = bound(0.5, 0.625, ability)
    assert refinement.grow(KNOB, NEW, [], [neighbours], 0.05, lambda stratum, value: value != 0.5625) is None
    assert refinement.grow(KNOB, replace(NEW, added=(({}, 0.5625),)), [], [neighbours], 0.05) is None
    ninths = tuple(width / 9 for width in range(9, 0, -1))
    config = tiny_config()
    config.model.update(dict(width=18, heads=2, mlp_width=36))
    config.claim.knob = "width.active"
    study = parse(config, product(axis("width.active", ninths), axis("seed", range(8))), METRICS)
    assert refinement._admits(study, {}, 4 / 9)
    assert not refinement._admits(study, {}, 0.5)  # 4.5 dimensions a head


@pytest.mark.parametrize(("between", "wanted"), [(None, 0.5625), ((0.375, 1.0), 0.875), ((1.0, 0.375), 0.875)])
def test_a_break_is_looked_for_in_the_widest_gap_between_its_settings(between, wanted):
    """From the last setting of gain for nothing to the first of gain and harm; the map's own is from .5 to .625."""
    knob_K = np.delete(U, 7)  # .75 and 1 are farther apart than the others
    metric, _ = claim(8, settings=knob_K)
    ability = np.where(knob_K < 0.55, 0.9, 0.2) + np.random.default_rng(1).normal(0, 0.01, (8, 8))
    gain, curve = Curve(knob_K, np.arange(8), metric), Curve(knob_K, np.arange(8), ability)
    mapped, found, shape = judge_curves(gain, 1, curve, 0.1, neutral_index=0)
    assert found.break_between == (0.5, 0.625)
    found = replace(found, break_between=between or found.break_between)
    site = ProbeSite("facts", 0, "answer")
    one = Judged("two_nn", 1, site, "facts", "iid", {}, gain, curve, curve, 0.1, mapped, found, shape, 0.01)
    more = refinement.grow(KNOB, NEW, [one], [bound(1.0, None, 0 * U + 0.9)], 0.05)
    assert [value for _, value in more.settings] == [wanted]


@pytest.mark.parametrize(
    ("kind", "p_learned", "is_open"),
    [
        ("undecided", 0.01, True),
        ("gain for nothing", 0.01, False),
        ("not learned", 0.2, True),
        ("not learned", 1.0, False),
    ],
)
def test_what_more_seeds_could_decide_is_open(kind, p_learned, is_open):
    (one,) = [one for one in judge(synthetic_study.results()) if (one.label, one.metric) == ("facts", "two_nn")]
    one = replace(one, map=replace(one.map, p_learned=p_learned), verdict=MapVerdict(kind, 1.0))
    assert refinement.is_open(one) == is_open


def test_what_cant_be_refined_is_said_at_once():
    uneven = synthetic_study.study()
    with pytest.raises(UserError, match="every setting with every seed"):
        refinement.check_refinable(replace(uneven, cells=uneven.cells[1:]), 4)
    with pytest.raises(UserError, match="has 2 settings"):
        refinement.check_refinable(synthetic_study.study(sparsities=(0.0, 0.8)), 4)
    with pytest.raises(UserError, match="start with more seeds"):
        refinement.check_refinable(synthetic_study.study(seeds=5), 4)
    refinement.check_refinable(synthetic_study.study(), 4)


def test_a_clear_cliff_is_found_finer_at_once():
    cliff = measure("cliff at .50", 1, precision=0.1)
    assert cliff.right == cliff.right_before == cliff.covered[0] == 1
    assert cliff.gap < cliff.gap_before
    assert cliff.seeds == 8
    assert cliff.false == 0


@pytest.mark.slow
def test_a_flat_curve_is_not_made_a_cliff_by_looking_often():
    flat = measure("both flat", 3, precision=0.1)
    assert flat.seeds <= 20
    assert flat.false == 0


@pytest.mark.slow
def test_looks_keep_the_error_of_the_map_where_it_is_largest():
    wrong, repetitions = measure_looks(WORST, 200, 8, 4, 9, 0), 200
    assert wrong <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / repetitions)
