"""A knob whose neutral value lies inside its axis: two claims, one on either side, in one family."""

import csv
import io
import json

import numpy as np
import pytest
from scipy import stats

from analysis import repair
from analysis.activations.measure import claim_site
from analysis.design import cells_in, interim, matched_controls, strata, undecidable
from analysis.diagnosis import find
from analysis.metrics.registry import BALANCE, CHECKS, METRICS
from analysis.report import answer, console, figure_list, figures, map_figure, tables, verdicts_json, wording
from analysis.simulation import plan_power
from analysis.stats import setting_map
from analysis.verdicts import bounds, check, claims, refinement
from lab.engine import make_plan
from lab.errors import UserError
from lab.jobs.workdir import Workdir, read_study
from lab.study import axis, product
from tests.analysis.verdicts.test_claims import results_for
from tests.lab.conftest import LAYOUT, study_of, tiny_config

RATES = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
BELOW, ABOVE = {"side": "below neutral"}, {"side": "above neutral"}


def config_of(below=-1):
    config = tiny_config()
    config.claim.knob, config.claim.gains = "isotropy.rate", dict(participation_ratio=1)
    config.claim.below = below
    return config


def study(below=-1, rates=RATES, seeds=8, *more):
    grid = product(*more, axis("isotropy.rate", rates, stage="prune"), axis("seed", range(seeds)))
    return study_of(config_of(below), grid)


def noise(cell):
    return 0.003 * np.sin(12.9898 * cell["seed"] + 78.233 * cell["isotropy.rate"])


def ability(cell):  # lost above 1 and, more slowly, below -2
    rate = cell["isotropy.rate"]
    return 0.9 - 0.3 * max(rate - 1, 0) / 3 - 0.2 * max(-2 - rate, 0) / 2 + noise(cell)


def metric(cell):
    return 9 + cell["isotropy.rate"] + noise(cell)


@pytest.fixture(scope="module")
def results():
    found = results_for(study(), ability, metric)
    site = claim_site(found.study, "facts")
    for name in ("image_r2", *BALANCE, *CHECKS, *METRICS):
        found.columns.setdefault(f"{site}/{name}", np.full((len(found.study.cells), 1), np.nan))
    found.columns["train/loss"] = np.ones((len(found.study.cells), 1))
    return found


@pytest.fixture(scope="module")
def findings(results):
    return find(results)


def test_each_side_is_the_map_of_its_settings_with_neutral_first(results, findings):
    check(results.study)
    assert strata(results.study) == [BELOW, ABOVE]
    below, above = findings.claims
    assert (below.stratum, above.stratum) == (BELOW, ABOVE)
    assert below.map.knob_K.tolist() == [0, -1, -2, -4]
    assert above.map.knob_K.tolist() == [0, 1, 2, 4]
    every = {(cell["isotropy.rate"], cell["seed"]): cell for cell in results.study.cells}
    for one, sign in ((below, -1), (above, 1)):
        values = {
            name: [[reads(every[rate, seed]) for rate in one.map.knob_K] for seed in range(8)]
            for name, reads in (("metric", metric), ("ability", ability))
        }
        alone = setting_map(
            np.abs(one.map.knob_K), sign * np.asarray(values["metric"]), values["ability"], trivial=one.trivial
        )
        for name, p_K in alone.p_K.items():
            np.testing.assert_array_equal(one.map.p_K[name], p_K, err_msg=name)
        assert one.sign == sign
    assert below.verdict.break_between == (-2.0, -4.0)
    assert above.verdict.break_between == (1.0, 2.0)


def test_gains_are_claimed_along_the_axis_or_away_from_neutral(findings):
    kinds = [one.verdict.kind for one in claims.judge(results_for(study(below=1, seeds=5), ability, metric))]
    assert kinds == ["moves against the claim", "gain, then loss"]
    kinds = [one.verdict.kind for one in findings.claims]
    assert kinds == ["gain, then loss", "gain, then loss"]


def test_both_sides_are_one_family(findings):
    found = findings.claims
    expected = stats.false_discovery_control([one.verdict.p for one in found])
    assert [one.adjusted_p for one in found] == pytest.approx(expected.tolist())


def test_bounds_are_free_on_both_sides(findings):
    mine = [(b.stratum["side"], b.free_until, b.harmful_from) for b in findings.primary]
    assert mine == [("below neutral", -2.0, -4.0), ("above neutral", 1.0, 2.0)]


def test_a_cell_is_compared_with_neutral_whichever_side_it_is_on(results):
    cells = results.study.cells
    for index, control in enumerate(matched_controls(results.study)):
        if cells[index]["isotropy.rate"] == 0:
            assert control is None
        else:
            assert (cells[control]["isotropy.rate"], cells[control]["seed"]) == (0, cells[index]["seed"])
    both = [set(cells_in(results.study, stratum)) for stratum in (BELOW, ABOVE)]
    assert {cells[index]["isotropy.rate"] for index in both[0] & both[1]} == {0.0}
    assert len(both[0] | both[1]) == len(cells)


def test_other_axes_have_both_sides_each():
    decay = axis("weight_decay.rate", (0.0, 0.1))
    found = strata(study(-1, RATES, 2, decay))
    assert found == [{"weight_decay.rate": rate, **side} for rate in (0.0, 0.1) for side in (BELOW, ABOVE)]


def test_the_report_names_the_side(findings):
    one = findings.study
    assert tables.claim_text(one).startswith("A higher isotropy penalty raises")
    assert "does the reverse" in tables.claim_text(one)
    assert "claims of their own" in wording.how_tested(findings)
    assert "Both sides of neutral are in that number" in wording.correction(findings)
    assert "times" not in wording.how_tested(findings).split(".")[0]
    below, above = (answer.answers(findings.in_stratum(side)) for side in (BELOW, ABOVE))
    assert below[0].startswith("Below neutral: does the isotropy penalty make latents better? Yes")
    assert above[0].startswith("Above neutral: ")
    assert "kept on 8 facts up to a rate of -2" in " ".join(below)
    assert "lost on 8 facts from a rate of 2 on" in " ".join(above)
    assert wording.stratum_text(one, BELOW) == "below neutral"
    document = verdicts_json.document(findings)
    assert [claim["stratum"] for claim in document["claims"]] == [BELOW, ABOVE]
    json.dumps(document, allow_nan=False)
    shown = console.verdict_table(findings)
    assert next(iter(shown.columns[0].cells)).plain == "8 facts [below neutral]"


def test_one_figure_has_neutral_in_the_middle(findings):
    picture = map_figure.both_sides(findings)
    texts = [tick.get_text() for tick in picture.figure.axes[0].get_xticklabels()]
    assert texts == ["-4", "-2", "-1", "neutral\n0", "1", "2", "4"]
    table = list(csv.DictReader(io.StringIO(picture.to_csv())))
    assert [row["series"] for row in table].count("neutral") == 1
    breaks = [(row["x_low"], row["x_high"]) for row in table if row["series"] == "break"]
    assert breaks == [("-4", "-2"), ("1", "2")]
    drawn = [text.get_text() for text in picture.figure.axes[0].texts]
    assert drawn[-1] == "below neutral: gain, then loss | above neutral: gain, then loss"
    first = next(figure_list.shown(findings))
    assert (first.name, first.stratum, first.title) == ("both_sides", None, "Both sides of neutral")


def test_refinement_adds_settings_on_their_side(findings):
    one = findings.study
    refinement.check_refinable(one, 4)
    looks = interim.begin(one, 4)
    judged, found = claims.judge(findings.results, looks), bounds(findings.results, looks)
    more = refinement.next_round(one, looks, judged, found, 0.01)
    assert sorted(more.settings, key=str) == [({}, -3.0), ({}, 1.5)]
    points = {(dict(point)["isotropy.rate"]) for point in interim.grid_of(more.looks, one).points}
    assert points == {*RATES, -3.0, 1.5}
    with pytest.raises(UserError, match=r"2 settings of isotropy\.rate on one side of neutral"):
        refinement.check_refinable(study(rates=(-1.0, 0.0, 1.0, 2.0)), 4)


def test_a_repair_starts_from_either_side(findings):
    plan = repair.plan_repair(findings, "readout", 6)
    settings = {(stratum["side"], setting) for stratum, setting, _, _ in plan.cells}
    assert settings == {("below neutral", -4.0), ("below neutral", 0.0), ("above neutral", 2.0), ("above neutral", 0.0)}
    make_plan(plan.study, LAYOUT)


def test_the_plan_counts_and_simulates_both_sides(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_power, "REPETITIONS", 2)
    said = plan_power.lines(study(), tmp_path)
    assert [line.split(" show")[0] for line in said] == [
        f"8 seeds × 4 settings {side} (and with it)" for side in ("below neutral", "above neutral")
    ]
    assert ["= -1," in said[0], "= 1," in said[1]] == [True, True]
    assert any("a single finding among 2 claims" in line for line in undecidable(study(seeds=6), tmp_path))


def test_the_field_changes_no_hash_at_its_default_and_older_records_are_taken(tmp_path):
    plain = study_of()
    assert plain.claim_hash() == "b5a05c9a03d6f116"  # as it was before there was the field
    assert study(below=1).claim_hash() != study(below=-1).claim_hash()
    Workdir(tmp_path, plain, tiny_config(), LAYOUT).claim()
    file = tmp_path / "study.json"
    record = json.loads(file.read_text())
    del record["config"]["claim"]["below"], record["digest"]
    file.write_text(json.dumps(record))
    Workdir(tmp_path, plain, tiny_config(), LAYOUT).check()
    assert read_study(tmp_path, METRICS).claim_hash() == plain.claim_hash()


def test_a_sign_below_needs_settings_on_both_sides():
    with pytest.raises(UserError, match=r"config\.claim\.below=-1 is for an axis with settings on both sides"):
        check(study(rates=(-4.0, -2.0, -1.0, 0.0)))


@pytest.mark.parametrize(("side", "way"), [(BELOW, "fall"), (ABOVE, "rise")])
def test_figures_point_where_the_claim_goes_on_their_side(findings, side, way):
    section = findings.in_stratum(side)
    assert f"claimed to {way}" in figures.latents(section).figure.axes[0].get_ylabel()
    assert figures.paths(section).figure.axes[0].xaxis_inverted() == (way == "fall")


def test_a_sign_below_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"config\.claim\.below=0 must be 1 .* or -1"):
        study_of(config_of(below=0))
