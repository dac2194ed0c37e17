"""The views of planted results: every awkward case appears in words, and the same results give the same bytes."""

import csv
import dataclasses
import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from analysis.design import selection
from analysis.design.interim import document, first
from analysis.design.selection import Choice, Tuning
from analysis.diagnosis import find
from analysis.report import answer, figure_list, map_figure, tables, verdicts_json, wording, write
from analysis.stats import FINDS_NOTHING, VERDICTS, Verdict
from tests.analysis import synthetic_study

DOCUMENT = Path(__file__).parents[3] / "docs" / "verdicts.md"


def contents(workdir):
    return {str(p.relative_to(workdir)): p.read_bytes() for p in sorted(workdir.rglob("*")) if p.is_file()}


def test_every_view_is_written_and_nothing_else(views):
    workdir = views[0]
    assert {p.name for p in workdir.iterdir()} == {
        "report.html", "report.md", "verdicts.json", "results.csv", "figures", "tb", "tb_cells"
    }  # fmt: skip
    files = {f"{name}.{kind}" for name in (*figure_list.FIGURES, "repairs") for kind in ("svg", "csv")}
    assert {p.name for p in (workdir / "figures").iterdir()} == files
    assert len(list((workdir / "tb_cells").iterdir())) == 72


@pytest.mark.slow
def test_rebuilding_gives_the_same_bytes(views, tmp_path):
    workdir, plan, findings = views
    facts = synthetic_study.FACTS | {"seconds": {"train": 1.0}}  # another run of the same results
    write.write_views(tmp_path, plan, findings, facts)
    before, after = contents(workdir), contents(tmp_path)
    pages = [files.pop("report.html") for files in (before, after)]
    assert pages[0] != pages[1]
    assert len({re.sub(rb"\d+ training programs compiled.*|Wall time.*", b"", page) for page in pages}) == 1
    assert before == after


def test_options_that_a_cause_names_are_marked_up_as_code(views):
    _, plan, findings = views
    suspected = findings.with_records(repairs=None)  # what only a repair could decide
    content = write._content(suspected, plan, synthetic_study.FACTS) | {"whole": [], "figures": {0: []}}
    html = write._render("report.html", content, escape=True)
    assert "<code>--repair</code>" in html
    assert "`" not in html


@pytest.mark.slow
def test_a_reading_that_the_claim_names_is_reported_as_any_other(views):
    """The planted participation ratio under the name of a reading that no study has unasked."""
    _, plan, findings = views
    claim = dataclasses.replace(plan.study.claim, gains=(("hessian_trace", -1),), abilities=(("facts", "iid"),))
    study, results = dataclasses.replace(plan.study, claim=claim), findings.results
    renamed = {name.replace("participation_ratio", "hessian_trace"): column for name, column in results.columns.items()}
    found = find(dataclasses.replace(results, study=study, columns={**results.columns, **renamed}))
    plan = dataclasses.replace(plan, study=study)
    content = write._content(found, plan, synthetic_study.FACTS) | {"whole": [], "figures": {0: []}}
    page = write._render("report.md", content, escape=False)
    assert "lowers curvature of the loss (trace of the Hessian)" in page
    assert "trace of the Hessian of the training loss, from 16 random sign vectors" in page
    assert "rescaling weights changes it and no function" in page
    assert "`hessian_trace`" in page


MARKED = "as in [arXiv](x) *1506* `a` <b> &amp; _c_ d_e $x$ ~~f~~ \\ g\n# h \x1b[31m \udcff"
AS_TEXT = r"as in \[arXiv\](x) \*1506\* \`a\` \<b\> \&amp; \_c\_ d_e \$x\$ \~\~f\~\~ \\ g # h ?\[31m ?"


def test_a_users_text_is_no_markup_and_ends_no_page(views):
    _, plan, findings = views
    study = dataclasses.replace(plan.study, name="[bold]", question=MARKED)
    findings = dataclasses.replace(findings, results=dataclasses.replace(findings.results, study=study))
    facts = synthetic_study.FACTS | {"command": "a ``` b", "notes": ["runs/[x](y)\nholds `--config.z`"]}
    plan = dataclasses.replace(plan, study=study)
    content = write._content(findings, plan, facts) | {"whole": [], "figures": {0: []}}
    page = write._render("report.md", content, escape=False)
    assert page.splitlines()[:2] == [rf"# \[bold\]: {AS_TEXT}", ""]
    assert "\n````\na ``` b\n````\n" in page
    assert "\n- runs/\\[x\\](y) holds `--config.z`\n" in page
    assert write._render("verdicts.md", content, escape=False).startswith(f"**{AS_TEXT}**\n")
    page.encode()  # bytes of a path that are no UTF-8 can't be written
    html = write._render("report.html", content, escape=True)
    assert "&lt;b&gt; &amp;amp;" in html


def test_html_is_self_contained_and_names_everything(views):
    html = (views[0] / "report.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!#|figures/)""", html)
    links = re.findall(r'href="(figures/[^"]+)"', html)
    assert len(links) == 2 * (len(figure_list.FIGURES) + 1)
    assert all((views[0] / link).is_file() for link in links)
    assert "url(http" not in html
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?://(?!www\.w3\.org/)", html)
    assert "@import" not in html
    assert html.count("<svg ") == len(figure_list.FIGURES) + 1  # and the repairs
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for text in ("path-star", "not learned", "gain, then loss", "undecided", "exploratory", "Limits", "Reproduce"):
        assert text in html
    assert views[1].study.claim_hash() in html
    assert "312" not in (views[0] / "report.md").read_text(), "seconds belong to the HTML only"
    assert "5 min 12 s" in html


def test_every_series_of_a_figure_is_documented(views):
    text = DOCUMENT.with_name("figures.md").read_text()
    for path in (views[0] / "figures").glob("*.csv"):
        table = list(csv.DictReader(io.StringIO(path.read_text())))
        assert table, path.name
        for name in {line["series"] for line in table}:
            general = re.sub(r"seed \d+", "seed *s*", re.sub(r"prune\.sparsity = .*", "*knob* = *v*", name))
            if path.stem == "repairs" and name not in ("before", "neutral ± δ"):
                general = re.sub("^[^,]+", "*arm*", name)
            assert f"“{general}”" in text, (path.name, name)


def test_answers_are_the_bounds_in_words(views):
    text = " ".join(answer.answers(views[2]))
    assert "In part: 9 of 12 claimed gains are shown at a setting that is shown to keep the ability." in text
    free = "Ability is shown kept on 128 facts and addition mod 31 up to 40% sparsity, and on products in Z6 up to 20%"
    assert free in text
    lost = "on 128 facts from 50% sparsity on, on products in Z6 from 30% sparsity on, and on addition mod"
    assert f"Ability is shown lost {lost} 31 at no setting." in text
    assert (
        "there at most 1 of 8 seeds lost more than 5% of what it had learned (addition mod 31 at 20%), and so few"
        in text
    )
    assert "Not learned: path-star" in text
    assert "Latents look better while the ability is lost: 128 facts from 50% on (every claimed metric);" in text
    assert "2 cells diverged (1 at 50% and 1 at 80%): each counts as the trivial ability." in text


def test_answers_where_no_cell_diverged(whole):
    text = " ".join(answer.answers(whole))
    assert "Ability is shown kept on 128 facts up to 40% sparsity" in text
    assert "on addition mod 31 at every setting" in text
    assert "diverged" not in text
    sentence = tables.verdict_rows(whole)[0]["sentence"]
    assert sentence.endswith("Better latents stop meaning ability between 40% and 50%.")


def test_few_distinct_inputs_are_pointed_out(views):
    (caution,) = wording.cautions(views[2])
    assert "inputs of 128 facts (128 distinct), against 8 × width = 512" in caution
    assert caution in (views[0] / "report.md").read_text()


def test_seeds_that_have_nothing_to_lose_are_pointed_out(whole):
    (bound, *others) = whole.primary
    values_SxK = bound.ability.values_SxK.copy()
    values_SxK[2, 0] = bound.trivial
    low = dataclasses.replace(bound, ability=dataclasses.replace(bound.ability, values_SxK=values_SxK))
    found = dataclasses.replace(whole, bounds=(low, *others))
    (caution,) = [one for one in wording.cautions(found) if "not learned" in one]
    assert caution.startswith("1 of 8 seeds has not learned 128 facts at the neutral setting.")


def test_few_seeds_say_so_and_never_not_learned():
    _, findings = synthetic_study.everything(seeds=3, sparsities=(0.0, 0.3, 0.6))
    text = " ".join(answer.answers(findings))
    assert text.startswith("Does pruning make latents better? There are too few seeds or settings to tell.")
    # path_star is planted at its trivial baseline: its three seeds may fall on either side of it.
    assert re.search(r"Too few seeds: 128 facts, products in Z6(,| and) addition mod 31", text)
    assert not re.search(r"Not learned: [^.]*(facts|Z6|addition)", text)
    rows = tables.verdict_rows(findings)
    said = [row["sentence"] for row in rows if row["ability"] != "path-star"]
    assert said == ["3 seeds are too few for this test (5 are needed)."] * 9


def visible(html):
    """What a reader sees: without style, script, code and attributes."""
    html = re.sub(r"<(style|script|code|pre|metadata)[ >].*?</\1>", " ", html, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", html)


def test_prose_has_no_raw_names_and_no_backticks(views):
    text = visible((views[0] / "report.html").read_text()).partition("About this study")[0]
    raw = [
        "`",
        "fisher_trace",
        "participation_ratio",
        "two_nn",
        *(f"{one.label}/{one.split}" for one in views[2].bounds),
    ]
    assert [name for name in raw if name in text] == []
    assert text.count("what pruning took comes back") == 1, "a definition is given once"


def test_only_what_a_first_reader_needs_is_open(views):
    html = re.sub(r"<svg.*?</svg>", "", (views[0] / "report.html").read_text(), flags=re.DOTALL)
    figures = re.findall(r'<figure id="([a-z_]+)-0">', html)
    opened = re.findall(r'<figure id="([a-z_]+)-0">', re.sub(r"<details>.*?</details>", "", html, flags=re.DOTALL))
    assert set(figures) == {*figure_list.FIGURES, "repairs"}
    assert opened == ["map", "abilities", "latents", "repairs"]
    assert html.index('id="map-0"') < html.index("<h2>Answer</h2>") < html.index("<h2>Verdicts</h2>")
    assert "<details open" not in html


def test_the_answer_says_how_many_findings_do_not_stand(views):
    findings = views[2]
    kinds = [one.verdict.kind for one in findings.claims]
    finding = [index for index, kind in enumerate(kinds) if kind not in FINDS_NOTHING]
    assert 1 < len(finding) < len(kinds)

    def said(fallen):
        p = {index: 0.0625 for index in fallen}
        claims = [dataclasses.replace(one, adjusted_p=p.get(i, 0.02)) for i, one in enumerate(findings.claims)]
        return answer.correction_answer(findings.study, claims)

    assert said([]) == []
    start = "With 12 claims, findings must stand a correction for their number: "
    level = "(adjusted p 0.062 at least, and 0.05 is needed); more seeds would decide."
    assert said(finding[:1]) == [f"{start}1 of {len(finding)} does not {level}"]
    assert said(finding) == [f"{start}none of {len(finding)} does {level}"]
    nothing = [index for index in range(len(kinds)) if index not in finding]
    assert said(nothing) == []


def test_a_verdict_that_does_not_stand_says_so(views):
    _, plan, findings = views
    claims = [dataclasses.replace(one, adjusted_p=0.06 if one.label == "z6" else 0.02) for one in findings.claims]
    findings = dataclasses.replace(findings, claims=tuple(claims))
    content = write._content(findings, plan, synthetic_study.FACTS) | {"whole": [], "figures": {0: []}}
    for name, said in (
        ("report.html", "does not stand after the correction<"),
        ("report.md", "(does not stand after the correction)"),
        ("verdicts.md", "(does not stand after the correction)"),
    ):
        text = write._render(name, content, escape=name.endswith("html"))
        assert text.count(said) == 3
        assert "12 claims are corrected for their number by the false discovery rate" in text
    drawn = [text.get_text() for text in map_figure.draw(findings.in_stratum({})).figure.axes[0].texts]
    assert drawn.count("gain, then loss (does not stand)") == drawn.count("gain, then loss") == 3


@pytest.mark.slow
def test_strata_have_a_section_each_and_html_is_escaped(tmp_path):
    plan, findings = synthetic_study.everything(seeds=5, sparsities=(0.0, 0.4, 0.8), strata=True)
    study = dataclasses.replace(plan.study, question="<script>alert(1)</script> | a & b?")
    findings = dataclasses.replace(findings, results=dataclasses.replace(findings.results, study=study))
    write.write_views(tmp_path, dataclasses.replace(plan, study=study), findings, synthetic_study.FACTS)
    html, markdown = ((tmp_path / name).read_text() for name in ("report.html", "report.md"))
    for text in ("prune scope = global", "prune scope = layerwise"):
        assert f"<h2>Verdicts: {text}</h2>" in html
        assert f"<h2>{text}</h2>" in html
        assert f"## Verdicts: {text}" in markdown
    assert html.count("<svg ") == 2 * (len(figure_list.FIGURES) + 1) + 1, "repairs with each, and one of the whole grid"
    assert html.count("<script") == html.count("</script>") == 1, "the one that shows values"
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | a &amp; b?" in html
    strata = [record["stratum"] for record in json.loads((tmp_path / "verdicts.json").read_text())["bounds"]]
    assert {"prune.scope": "global"} in strata
    assert {"prune.scope": "layerwise"} in strata


def test_markdown_tables_have_whole_rows(views):
    lines = (views[0] / "report.md").read_text().splitlines()
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count("|") - above.count("\\|") == line.count("|") - line.count("\\|")
    assert not any("{{" in line or "{%" in line for line in lines)


def documented():
    """The paths of docs/verdicts.md."""
    return set(re.findall(r"^\| `([^`]+)` \|", DOCUMENT.read_text(), re.MULTILINE))


def paths(value, prefix=""):
    """The paths of every leaf, in the notation of docs/verdicts.md."""
    free_form = prefix.rpartition(".")[2] in (
        "stratum",
        "p_values",
        "components",
        "least_seeds",
        "components.{}",
        "p",
        "evidence",
        "chosen",
        "values",
    )
    if isinstance(value, dict):
        for name, one in value.items():
            step = "{}" if free_form or prefix.endswith("components.{}") else name
            yield from paths(one, f"{prefix}.{step}" if prefix else step)
    elif isinstance(value, list):
        for one in value:
            yield from paths(one, f"{prefix}[]")
    else:
        yield prefix


def test_verdicts_file_is_strict_and_documented(views, whole):
    text = (views[0] / "verdicts.json").read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    # null, where the list itself is missing
    found = {*paths(content), *paths(verdicts_json.document(whole))}
    found -= {"claims[].break_interval", "claims[].shape.break_interval"}
    # empty without further axes
    strata = {f"{each}[].stratum.{{}}" for each in ("claims", "labels", "trajectories", "bounds", "repairs")}
    looks = dataclasses.replace(
        first((0.0, 1.0), (0, 1), 2), added=(({"prune.scope": "global"}, 0.5),)
    )  # null where not refined
    rate = {"optimizer.learning_rate": 0.1}
    tuning = Tuning((*rate,), (Choice({"prune.scope": "global"}, 0.5, rate, (*rate,), ((rate, -1.0, 0),)),), 2)
    extra = {"refinement": document(looks, 0.05), "tuned": selection.document(tuning)}
    found |= set(paths(verdicts_json.plain(extra)))
    assert found | strata == documented()
    assert not any(path.startswith("claims[].shape.shown_") for path in found), "bounds are the map's, of one level"
    names = {field.name for field in dataclasses.fields(Verdict)} - {"shown_free_until", "shown_harmful_from"}
    fields = {f"claims[].shape.{name}" for name in names}
    fields |= {f"claims[].{name}" for name in ("kind", "p", "reason", "break_at", "break_interval", "settings")}
    documented_fields = {re.sub(r"[\[\].{}]+$", "", path) for path in documented()}
    parents = {path.rpartition(".")[0].removesuffix("[]").removesuffix(".{}") for path in documented()}
    assert fields <= documented_fields | parents
    assert content["schema"] == verdicts_json.SCHEMA
    assert {claim["kind"] for claim in content["claims"]} <= set(VERDICTS)
    assert len(content["claims"]) == 12
    assert [one["step"] for one in content["diverged"]] == [2040, 2040]


def test_plain_json_has_no_numpy_and_no_nan():
    given = {"a": np.float32(1 / 3), "b": (np.int64(2), np.nan), "c": np.inf, "d": np.bool_(True), "e": None}
    assert verdicts_json.plain(given) == {"a": 0.3333333, "b": [2, None], "c": None, "d": True, "e": None}


def test_results_table_has_a_row_a_cell_and_evaluation(views):
    rows = list(csv.DictReader(io.StringIO((views[0] / "results.csv").read_text())))
    assert len(rows) == 72 * 7
    assert "nan" not in (views[0] / "results.csv").read_text()


@pytest.mark.slow
def test_a_study_of_diverged_cells_still_has_a_report(tmp_path):
    one = synthetic_study.study(seeds=2, sparsities=(0.0, 0.8))
    results = synthetic_study.results(one)
    nothing = {name: np.where(results.step < 2000, column, np.nan) for name, column in results.columns.items()}
    results = dataclasses.replace(results, columns=nothing, diverged_at=np.full(len(one.cells), 1900))
    plan = synthetic_study.everything(seeds=2, sparsities=(0.0, 0.8))[0]
    write.write_views(tmp_path, plan, find(results), synthetic_study.FACTS)
    assert "4 of 4 cells diverged" in (tmp_path / "report.md").read_text()
