"""The pages: complete, self-contained, current, and no user's text is markup."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.gallery import __main__ as command
from analysis.gallery import page
from analysis.gallery.cases import CASES, Case, read_cases
from analysis.gallery.kept import GALLERY, folders, load

ROOT = Path(__file__).parents[3]
ABLATIONS = ROOT / "ablations"


@pytest.fixture(scope="module")
def one():
    """The smallest kept study."""
    return load(min(folders(ROOT / GALLERY), key=lambda path: (path / "results.csv.xz").stat().st_size))


def test_every_case_is_on_both_pages(one):
    cases = read_cases(ROOT / CASES)
    markdown, html = (write(cases, {one.run.study: one}, ABLATIONS) for write in (page.markdown, page.html))
    for case in cases:
        assert re.search(rf"^\| {case.number} \| ", markdown, re.MULTILINE)
        assert f">Case {case.number} · " in html
    assert "**1 studies are finished" not in markdown


def test_html_needs_no_network_and_no_other_file(one):
    html = page.html(read_cases(ROOT / CASES), {one.run.study: one}, ABLATIONS)
    assert not re.search(r"""src=["'](?!#)|<link|@import|url\((?!["']?#)""", html)
    assert one.findings.study.question in html


def test_every_colour_of_the_figure_has_one_in_dark_mode():
    found = [load(ROOT / GALLERY / "equal_loss")]
    html = page.html(read_cases(ROOT / CASES), {one.run.study: one for one in found}, ABLATIONS)
    dark = re.search(r"dark\) \{ :root \{ (.*?) \} \}", html)
    assert dark
    used = {*re.findall(r"var\(--c([0-9a-f]{6}),", html)}
    assert used
    assert used == {*re.findall(r"--c([0-9a-f]{6}):", dark[1])}


def test_an_association_has_its_correlations_and_no_map():
    found = [load(path) for path in folders(ROOT / GALLERY) if path.name == "flatness"]
    html = page.html(read_cases(ROOT / CASES), {one.run.study: one for one in found}, ABLATIONS)
    for one in found[0].findings.associations:
        assert f"{one.found.whole.rho:.2f} [" in html
    assert 'table class="map"' not in html


def test_a_map_says_the_mean_ability_at_each_setting():
    found = load(ROOT / GALLERY / "isotropy")
    html = page.html(read_cases(ROOT / CASES), {found.run.study: found}, ABLATIONS)
    rows = re.findall(r'<tr class="ability"><th scope="row">(.*?)</th>(.*?)</tr>', html)
    assert [name for name, _ in rows] == ["256 facts", "products in Z6"] * 2
    results, cells = found.findings.results, found.findings.study.cells
    for (_, row), rates in zip(rows[1::2], ((0, -0.5, -1), (0, 0.5, 1)), strict=True):
        shown = re.findall(r'<td class="mean">([\d.]+)</td>', row)[:3]
        column = results.ability("z6", "iid")[:, -1]
        mean = [column[[cell["isotropy.rate"] == rate for cell in cells]].mean() for rate in rates]
        assert shown == [f"{value:.2f}" for value in mean]


def test_filters_offer_what_cards_hold(one):
    html = page.html(read_cases(ROOT / CASES), {one.run.study: one}, ABLATIONS)
    for name, text in re.findall(r'data-filter="(\w+)">(.*?)</select>', html, re.DOTALL):
        for option in re.findall(r"<option>(.*?)</option>", text):
            assert re.search(rf'data-{name}="[^"]*{re.escape(option)}[^"]*"', html), (name, option)


def test_text_of_a_case_is_no_markup(one):
    case = Case("1", '<b>bold</b> & "quoted" | bar', "1234.5678", (one.run.study,), "a | b")
    html = page.html([case], {one.run.study: one}, ABLATIONS)
    assert "<b>bold" not in html
    assert "&lt;b&gt;bold" in html
    row = next(line for line in page.markdown([case], {}, ABLATIONS).splitlines() if line.startswith("| 1 |"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 7


def test_marked_parts_of_prose_are_code_and_emphasis():
    assert page._prose("a `b*c*` *gain, then loss* 2 * 3 <x>") == (
        "a <code>b*c*</code> <em>gain, then loss</em> 2 * 3 &lt;x&gt;"
    )


def test_without_any_study_the_pages_say_so():
    markdown = page.markdown(read_cases(ROOT / CASES), {}, ABLATIONS)
    assert "No study shows a claimed gain yet." in markdown


def test_a_page_that_is_not_current_is_found(one, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / GALLERY).mkdir(parents=True)
    (tmp_path / CASES).write_text((ROOT / CASES).read_text())
    assert command.main([]) == 0
    assert command.main(["--check"]) == 0
    (tmp_path / "docs" / "gallery.md").write_text("edited")
    assert command.main(["--check"]) == 1
    assert "docs/gallery.md is not what" in capsys.readouterr().out


def test_a_rebuilt_verdict_that_differs_is_found(one, monkeypatch, capsys):
    changed = dict(one.verdicts, claims=[dict(claim, kind="transfers") for claim in one.verdicts.get("claims", [])])
    changed = dict(changed, step=-1)
    monkeypatch.setattr(command, "views", lambda kept: {})
    console = command.Console(width=200)
    assert command.check({one.run.study: replace(one, verdicts=changed)}, console) == 1
    assert "step: rebuilt" in capsys.readouterr().out


def test_what_keep_needs_is_asked_for(capsys):
    assert command.main(["--keep=somewhere"]) == 2
    assert command.main(["--keep=somewhere", "--study=gallery/whitenin.py", "--commit=abc"]) == 2
    assert "gallery/whitening.py" in capsys.readouterr().err
    assert command.main(["--study=gallery/whitening.py"]) == 2
    assert "--study says how a study was made: it needs --keep" in capsys.readouterr().err
    assert command.main(["--check", "--keep=somewhere", "--study=gallery/whitening.py", "--commit=abc"]) == 2


def test_a_directory_without_verdicts_is_no_finished_study(tmp_path, capsys):
    assert command.main([f"--keep={tmp_path}", "--study=gallery/whitening.py", "--commit=abc"]) == 2
    assert "it is no finished study" in capsys.readouterr().err


@pytest.mark.slow
def test_the_pages_are_current(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert command.main(["--check"]) == 0
