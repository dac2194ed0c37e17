"""Settings that differ in the last bit, and more axes than a file's name holds: every name is unique and bounded."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from analysis.design import name_of
from analysis.diagnosis import find
from analysis.metrics.registry import METRICS
from analysis.report import figure_list, heatmaps, names, tables, tensorboard, verdicts_json, wording
from analysis.results import to_csv
from analysis.simulation import pilot_noise
from lab.errors import UserError
from lab.mechanisms import NEVER
from lab.mechanisms.knobs import KNOBS
from lab.study import axis, product, sizes, zipped
from lab.study.parse import parse
from tests.analysis import synthetic_study
from tests.lab.conftest import tiny_config

RATES = (0.3, 0.1 + 0.2)
SPARSITIES = (0.0, 0.3, 0.1 + 0.2, 0.6)
LONGEST = 200  # bytes of a file's name, suffixes included


@pytest.fixture(scope="module")
def near():
    """Findings along near settings, in near strata, of near seeds."""
    study = synthetic_study.study(seeds=2, sparsities=SPARSITIES, further=(axis("weight_decay.rate", RATES),))
    return find(synthetic_study.results(study, diverged=False))


def test_the_step_that_no_study_reaches_is_called_never():
    study = parse(never_config(), product(axis("budget.steps", (NEVER, 3)), axis("seed", (0, 1))), METRICS)
    words = wording.phrase(study)
    assert [words.short(float(value)) for value in (NEVER, 3)] == ["never", "3"]
    assert name_of(study, float(NEVER)) == f"never ({NEVER})"


def never_config():
    config = tiny_config()
    config.claim.knob = "budget.steps"
    return config


def unique(names):
    return len(set(names)) == len(names)


def test_runs_series_and_charts_are_unique(near, monkeypatch):
    few = list(tensorboard._readings(near.study))
    monkeypatch.setattr(tensorboard, "_readings", lambda _: [few[0], few[-2]])
    cells, settings = tensorboard.cells(near), tensorboard.settings(near, {}, {})
    assert unique([cell.name for cell in cells])
    assert unique([run.name for run in settings])
    assert [run.name for run in settings[:-1]] == sorted(run.name for run in settings[:-1])
    assert len(settings) == len(RATES) * len(SPARSITIES) + 1
    assert all(unique([series.tag for series in run.series]) for run in settings)
    assert unique([chart.value for chart in settings[-1].charts])
    assert cells[0].name == "weight_decay.rate=0.3 prune.sparsity=0 seed=0"


def drawn_names(findings, monkeypatch):
    """(file, tag) of every figure, without the figures."""
    monkeypatch.setattr(figure_list, "_of_stratum", lambda *_: [("ranges", ("", ""), None)])
    monkeypatch.setattr(heatmaps, "phases", lambda *_: None)
    settings = [*findings.strata, {}]
    shown = list(figure_list.shown(findings))
    return [(one.file, figure_list.tag(one, settings[-1 if one.stratum is None else one.stratum])) for one in shown]


def test_figures_are_unique(near, monkeypatch):
    files, tags = zip(*drawn_names(near, monkeypatch), strict=True)
    assert len(files) == len(RATES) + 1
    assert unique(files)
    assert unique(tags)
    assert files[1] == "ranges-weight_decay.rate=0.3"


def test_tables_and_sentences_tell_settings_apart(near):
    words = wording.phrase(near.study)
    assert unique([words.setting(value) for value in SPARSITIES])
    assert words.short(0.6) == "60%"
    assert unique([wording.settings_text(stratum) for stratum in near.strata])
    assert "70%" not in str(tables.bounds_rows(near))


def test_a_knob_with_an_act_has_a_noun():
    assert set(wording.PHRASES) <= set(names.KNOBS) <= {*KNOBS, *sizes.KNOBS}
    assert names.knob("optimizer.learning_rate") == "optimizer learning rate"


def test_files_hold_settings_exactly(near):
    rows = list(csv.DictReader(io.StringIO(to_csv(near.results))))
    assert {float(row["weight_decay.rate"]) for row in rows} == {*RATES}
    assert {float(row["prune.sparsity"]) for row in rows} == {*SPARSITIES}
    document = verdicts_json.document(near)
    assert document["knob"]["values"] == [*SPARSITIES]
    assert {one["stratum"]["weight_decay.rate"] for one in document["bounds"]} == {*RATES}


@pytest.mark.parametrize("stratum", RATES)
def test_a_pilot_of_any_stratum_is_read(near, stratum, tmp_path):
    document = verdicts_json.document(near)
    document["claims"] = [one for one in document["claims"] if one["stratum"] == {"weight_decay.rate": stratum}]
    (tmp_path / "verdicts.json").write_text(json.dumps(document))
    (tmp_path / "results.csv").write_text(to_csv(near.results))
    assert pilot_noise.read(tmp_path, "addition/iid", "participation_ratio").n_seeds == 2


def test_what_earlier_versions_rounded_is_found_unless_it_may_be_several():
    assert pilot_noise._texts_of(1 / 3, {"0.3333333", "0.25"}) == {"0.3333333"}
    assert pilot_noise._texts_of(0.3333333, {"0.3333333333333333", "0.25"}) == {"0.3333333333333333"}
    assert pilot_noise._texts_of(0.3, {"0.3", "0.30000000000000004"}) == {"0.3"}
    assert pilot_noise._texts_of(2**30, {"1.073742e+09", "5"}) == {"1.073742e+09"}
    assert pilot_noise._texts_of("global", {"global", "layerwise"}) == {"global"}
    rows, document = [{"rate": "0.3333333"}, {"rate": "0.33333331"}], {"knob": {"name": "prune.sparsity"}}
    with pytest.raises(UserError, match=r"rate = 0\.333333 .* has 0\.3333333 and 0\.33333331; rerun"):
        pilot_noise._tables(Path("work"), rows, document, {"rate": 0.333333}, ("a", "b"))


OTHERS = [
    name
    for name, knob in KNOBS.items()
    if knob.neutral is not None and not (knob.choices or knob.integer or knob.needs) and name != "prune.sparsity"
][:10]


@pytest.mark.parametrize("combine", [zipped, product])
def test_names_are_bounded_however_many_axes_there_are(combine, near, monkeypatch):
    """Ten axes that go together, or one with a value and nine without a choice."""
    values = np.random.default_rng(0).random((len(OTHERS), 2))
    if combine is product:
        values[1:, 1] = values[1:, 0]
    cells = tuple(
        {**near.study.base, "prune.sparsity": sparsity, "seed": seed, **dict(zip(OTHERS, row, strict=True))}
        for row in values.T.tolist()
        for sparsity in SPARSITIES
        for seed in range(2)
    )
    names = (*OTHERS, "prune.sparsity", "seed")
    study = dataclasses.replace(
        near.study,
        cells=cells,
        axes=tuple(axis(name, dict.fromkeys(cell[name] for cell in cells)).axes[0] for name in names),
    )
    results = dataclasses.replace(near.results, study=study)
    findings = dataclasses.replace(near, results=results)
    files = [file for file, _ in drawn_names(findings, monkeypatch)]
    monkeypatch.setattr(tensorboard, "_readings", lambda _: [])
    runs = [one.name for one in (*tensorboard.cells(findings), *tensorboard.settings(findings, {}, {}))]
    for found in (files, runs):
        assert unique(found)
        assert max(len(f"{name}.svg.partial".encode()) for name in found) < LONGEST


def test_every_knob_that_has_words_exists():
    assert wording.PHRASES.keys() <= KNOBS.keys()


def test_the_numbers_behind_a_diagnosis_are_in_words():
    """Also those that every rule reports for a broken ability: none of a synthetic study's is a raw name."""
    assert names.evidence({"probe": -0.5, "p_information_stays": 1.0}) == (
        "change of probe accuracy -0.5; p of V-information staying 1"
    )
    assert names.evidence({}) == "—"
    found = {key for one in synthetic_study.everything()[1].diagnoses for key in one.evidence}
    free = {key for key in found if key.startswith(("recovered by", "p of")) or key.endswith("falls_from")}
    assert found - free - {"p", "margin", "steps"} <= {*names.EVIDENCE}
