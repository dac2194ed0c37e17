"""Shares over studies against counts that are made from verdicts.json alone."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.diagnosis import find
from analysis.gallery import across
from analysis.gallery.kept import GALLERY, Kept, Run, load
from analysis.report import verdicts_json
from tests.analysis import synthetic_study

ROOT = Path(__file__).parents[3]


def kept(name, rng_seed):
    findings = find(synthetic_study.results(rng_seed=rng_seed))
    return Kept(Path(name), Run(name, "abc", "2026-11-30", 60.0, ""), findings, verdicts_json.document(findings))


@pytest.fixture(scope="module")
def studies():
    return [kept(f"gallery/{seed}.py", seed) for seed in range(2)]


def brute_force(studies, metric):
    """{outcome: mean over studies of the share} and the share lost elsewhere, from the documents."""
    shares, elsewhere = defaultdict(list), []
    for one in studies:
        counts, lost = dict.fromkeys(across.OUTCOMES, 0), []
        for claim in one.verdicts["claims"]:
            if claim["metric"] != metric or claim["kind"] == "not learned":
                continue
            for setting in claim["settings"][1:]:
                shown = set(setting["shown"])
                if "gain" not in shown:
                    lost.append("harmed" in shown)
                elif "harmed" in shown:
                    counts["lost"] += 1
                elif "better" in shown:
                    counts["better"] += 1
                else:
                    counts["kept" if "free" in shown else "undecided"] += 1
        total = sum(counts.values())
        for name, count in counts.items():
            shares[name].append(count / total)
        elsewhere += [np.mean(lost)] if lost else []
    return {name: np.mean(values) for name, values in shares.items()}, np.mean(elsewhere) if elsewhere else np.nan


@pytest.mark.parametrize(("metric", "arrow"), [("participation_ratio", "↓"), ("fisher_trace", "↑")])
def test_shares_are_those_counted_from_the_documents(studies, metric, arrow):
    (row,) = [one for one in across.by_metric(studies) if one.metric.endswith(arrow) and _is(one.metric, metric)]
    shares, elsewhere = brute_force(studies, metric)
    np.testing.assert_allclose(row.share_O, [shares[name] for name in across.OUTCOMES])
    np.testing.assert_allclose(row.lost_elsewhere, elsewhere)
    assert row.share_O.sum() == pytest.approx(1)
    assert (row.studies, row.gaining) == (2, 2)
    assert np.isnan(row.interval_O).all()  # two studies give no interval


def test_losses_where_the_metric_does_not_gain_are_those_of_two_finished_studies():
    finished = [load(ROOT / GALLERY / name) for name in ("equal_loss", "weight_count")]
    (row,) = [one for one in across.by_metric(finished) if one.metric.endswith("(participation ratio) ↓")]
    shares, elsewhere = brute_force(finished, "participation_ratio")
    assert 0 < elsewhere < 1
    np.testing.assert_allclose(row.lost_elsewhere, elsewhere)
    np.testing.assert_allclose(row.share_O, [shares[name] for name in across.OUTCOMES])


def _is(title, metric):
    return {"participation_ratio": "directions", "fisher_trace": "Fisher"}[metric] in title


def test_intervals_are_the_bootstrap_of_scipy():
    rng = np.random.default_rng(0)
    share_Nx2 = rng.dirichlet((2.0, 5.0), size=9)
    low, high = across.interval(share_Nx2)
    expected = stats.bootstrap((share_Nx2[:, 0],), np.mean, method="percentile", rng=1).confidence_interval
    np.testing.assert_allclose((low[0], high[0]), expected, atol=0.01)


def test_metrics_that_part_are_counted_setting_by_setting(studies):
    one = studies[0]
    assert across.contradictions(studies) == []  # all three move as claimed
    first = one.findings.claims[0]
    flipped = {
        name: p for name, p in zip(("gain", "against"), (first.map.p_K["against"], first.map.p_K["gain"]), strict=True)
    }
    against = replace(first, map=replace(first.map, p_K={**first.map.p_K, **flipped}))
    other = next(c for c in one.findings.claims[1:] if (c.label, c.split) == (first.label, first.split))
    findings = replace(one.findings, claims=(against, other))
    (row,) = across.contradictions([replace(one, findings=findings)])
    both = first.map.shown("gain") & other.map.shown("gain")
    assert (row.studies, row.settings, row.of_settings) == (1, both.sum(), both.sum())


def test_what_parts_on_one_task_is_not_hidden_by_another(studies):
    """Settings of two tasks are two, also where only the first shows the contradiction."""
    one = studies[0]
    facts, other = [
        next(c for c in one.findings.claims if (c.label, c.metric) == ("facts", metric))
        for metric in ("participation_ratio", "fisher_trace")
    ]
    z6 = [
        next(c for c in one.findings.claims if (c.label, c.metric) == ("z6", metric))
        for metric in ("participation_ratio", "fisher_trace")
    ]
    swapped = {**facts.map.p_K, "gain": facts.map.p_K["against"], "against": facts.map.p_K["gain"]}
    against = replace(facts, map=replace(facts.map, p_K=swapped))
    (row,) = across.contradictions([replace(one, findings=replace(one.findings, claims=(against, other, *z6)))])
    of_facts = (facts.map.shown("gain") & other.map.shown("gain")).sum()
    of_z6 = (z6[0].map.shown("gain") & z6[1].map.shown("gain")).sum()
    assert of_facts > 0
    assert (row.settings, row.of_settings) == (of_facts, of_facts + of_z6)


def test_the_table_and_the_figure_hold_the_same_numbers(studies):
    rows = across.by_metric(studies)
    table = across.to_csv(rows).splitlines()
    assert len(table) == len(rows) + 1
    drawn = across.draw(rows).points
    bars = [point.x for point in drawn if point.series in across.OUTCOMES]
    np.testing.assert_allclose(bars, np.concatenate([row.share_O for row in rows if row.gaining]))
