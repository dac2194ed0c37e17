"""Studies side by side: every number is the one in its verdicts.json, and a bad directory gets one sentence."""

import csv
import io
import json

import pytest
from rich.console import Console

from analysis.comparison import __main__ as compare
from analysis.comparison import read
from analysis.plots import style
from analysis.report import verdicts_json
from lab.errors import UserError
from tests.analysis import synthetic_study
from tests.damage import WHOLE, flips, replaced, sentence_of


@pytest.fixture(scope="module")
def document():
    """The verdicts of the planted study, as JSON values."""
    _, findings = synthetic_study.everything()
    return json.loads(verdicts_json.text(findings))


def written(folder, document, cells=None):
    folder.mkdir(parents=True)
    (folder / "verdicts.json").write_text(json.dumps(document))
    (folder / "study.json").write_text(json.dumps({"cells": [{}] * (cells or document["cells"])}))
    return folder


def downwards(document):
    """The same study of a knob that is neutral at 9 and swept down to 1, as a width is."""

    def turned(value):
        return None if value is None else 9 - 10 * value

    changed = json.loads(json.dumps(document))
    changed["knob"] = {"name": "width.active", "neutral": 9.0, "values": [float(v) for v in range(1, 10)]}
    for one in changed["bounds"]:
        for name in ("shown_free_until", "shown_harmful_from"):
            one[name] = turned(one[name])
    for one in changed["claims"]:
        one["break_at"] = turned(one["break_at"])
        one["break_interval"] = one["break_interval"] and [turned(v) for v in reversed(one["break_interval"])]
    return changed


@pytest.fixture
def rows(document, tmp_path):
    paths = [written(tmp_path / "up", document), written(tmp_path / "down", downwards(document))]
    return read.read(paths)


def test_every_number_is_the_one_in_verdicts_json(rows, document):
    table = list(csv.DictReader(io.StringIO(compare.to_csv(rows))))
    assert len(rows) == 8
    assert len(table) == 24
    bounds = {one["ability"]: one for one in document["bounds"] if one["primary"]}
    for line, claim in zip(table[:12], document["claims"], strict=True):
        bound = bounds[claim["ability"]]
        assert (line["study"], line["ability"], line["metric"]) == ("up", claim["ability"], claim["metric"])
        assert line["verdict"] == claim["kind"]
        for field in ("shown_free_until", "shown_harmful_from"):
            expected = bound[field] if bound["learned"] else None
            assert (float(line[field]) if line[field] else None) == expected
            share = line[field.split("_")[1] + "_share"]
            assert (float(share) if share else None) == (None if expected is None else pytest.approx(expected / 0.8))
        if claim["break_at"] is not None:
            assert [float(line["break_low"]), float(line["break_high"])] == claim["break_interval"]
            assert float(line["break_share"]) == pytest.approx(claim["break_at"] / 0.8)
    assert any(line["break_at"] for line in table), "the planted study has a break"


def test_a_knob_swept_downwards_has_the_same_shares(rows):
    table = list(csv.DictReader(io.StringIO(compare.to_csv(rows))))
    for up, down in zip(table[:12], table[12:], strict=True):
        for name in ("free_share", "harmful_share", "break_share"):
            assert bool(up[name]) == bool(down[name])
            assert not up[name] or float(down[name]) == pytest.approx(float(up[name]), abs=1e-5)
    assert (table[12]["neutral_value"], table[12]["far_value"]) == ("9", "1")


def test_texts_say_what_is_shown_and_what_is_not(rows):
    facts, z6, addition, path_star = (dict(zip(compare.COLUMNS, compare.texts(row), strict=True)) for row in rows[:4])
    assert facts["knob"] == "prune.sparsity, 0 to 0.8"
    assert (facts["free until"], facts["harmful from"]) == ("0.4 (50%)", "0.5 (62%)")
    assert "↘ gain, then loss between 0.4 (50%) and 0.5 (62%): " in facts["verdicts"]
    assert (addition["free until"], addition["harmful from"]) == ("0.4 (50%)", "nowhere")
    assert (path_star["free until"], path_star["harmful from"]) == ("not learned", "—")
    assert z6["labels"] != "unknown"
    markdown = compare.to_markdown(rows)
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 8
    assert len({line.count("|") for line in lines}) == 1


def test_values_spread_over_scales_count_settings(document, tmp_path):
    changed = json.loads(json.dumps(document))
    values = [0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 2.0, 4.0, 8.0]
    changed["knob"] = {"name": "weight_decay.rate", "neutral": 0.0, "values": values}
    for one in changed["bounds"]:
        one["shown_free_until"], one["shown_harmful_from"] = 1e-2, 4.0
    row = read.read([written(tmp_path / "decay", changed)])[0]
    assert (row.share(1e-2), row.share(4.0)) == (3 / 8, 7 / 8)
    assert "of weight_decay.rate, spread over scales, the share of settings" in compare.notes([row])[0]


@pytest.mark.slow
def test_few_seeds_old_files_and_strata_are_named(document, tmp_path):
    _, findings = synthetic_study.everything(seeds=3, sparsities=(0.0, 0.4, 0.8), strata=True)
    few = json.loads(verdicts_json.text(findings))
    old = {name: value for name, value in document.items() if name != "labels"}
    rows = read.read([written(tmp_path / "few", few), written(tmp_path / "old", old)])
    assert [row.stratum for row in rows[:8]] == [{"prune.scope": s} for s in ("global", "layerwise") for _ in range(4)]
    assert rows[0].unlearned == "too few seeds"
    assert compare.texts(rows[0])[2] == "facts/iid [prune.scope = global]"
    console = Console(width=200, file=io.StringIO())
    console.print(compare.table(rows))
    assert "facts/iid [prune.scope = layerwise]" in console.file.getvalue()
    assert compare.texts(rows[-1])[-1] == "unknown"
    assert "No labels yet in old" in compare.notes(rows)[1]
    assert style.svg(compare.figure(rows).figure, "comparison", "all").count("too few seeds") >= 6


def test_the_command_writes_four_files_that_repeat(document, tmp_path, capsys):
    study = written(tmp_path / "one", document)
    assert compare.main([str(study), f"--out={tmp_path / 'a'}"]) == 0
    assert "facts/iid" in capsys.readouterr().out
    assert compare.main([str(study), f"--out={tmp_path / 'b'}"]) == 0
    names = {"comparison.md", "comparison.csv", "comparison.svg", "comparison.png"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_a_directory_of_any_name_is_named_as_it_is(document, tmp_path, capsys):
    study = written(tmp_path / "[nested] $x$ |y| *z*\n\udcff", document)
    assert compare.main([str(study), f"--out={tmp_path / 'out'}"]) == 0
    assert "[nested] $x$ |y| *z* ?" in capsys.readouterr().out
    assert r"| \[nested\] \$x\$ \|y\| \*z\* ? |" in (tmp_path / "out" / "comparison.md").read_text()
    assert "[nested] $x$ |y| *z* ?" in (tmp_path / "out" / "comparison.svg").read_text()


def test_two_directories_of_one_name_are_distinguished(document, tmp_path):
    paths = [written(tmp_path / parent / "pruning", document) for parent in ("a", "b")]
    assert [row.study for row in read.read(paths)[::4]] == [str(path) for path in paths]


def test_bad_directories_get_one_sentence(document, tmp_path, capsys):
    whole = written(tmp_path / "whole", document)
    growing = written(tmp_path / "growing", document, cells=document["cells"] + 9)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "study.json").write_text("{}")
    broken = written(tmp_path / "broken", document)
    (broken / "verdicts.json").write_text("{")
    later = written(tmp_path / "later", document | {"schema": verdicts_json.SCHEMA + 1})
    for given, message in (
        ([tmp_path / "none"], "there is no directory"),
        ([tmp_path], "is no work directory"),
        ([unfinished], "is not finished, it has no verdicts.json"),
        ([growing], "has grown to 81 cells since 72 were judged"),
        ([broken], "can't be read"),
        ([later], "not laid out as docs/verdicts.md says"),
        ([whole, whole], "named twice"),
    ):
        with pytest.raises(UserError, match=message):
            read.read(given)
        assert compare.main([str(path) for path in given]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert compare.main([str(whole), f"--out={whole / 'verdicts.json'}"]) == 2
    assert "--out=" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["other files", "flipped bits", "other values"])
def test_malformed_verdicts_get_one_sentence_or_are_read(document, tmp_path, kind):
    study = written(tmp_path / "one", document)
    file = study / "verdicts.json"
    whole = file.read_bytes()
    contents = {
        "other files": lambda: [*WHOLE, whole[:-9]],
        "flipped bits": lambda: flips(whole, 60),
        "other values": lambda: replaced(document, 60),
    }
    for content in contents[kind]():
        file.write_bytes(content)
        if sentence := sentence_of(lambda: read.read([study]), UserError):
            assert str(study) in sentence
            assert "\n" not in sentence
        else:
            rows = read.read([study])
            compare.to_csv(rows)
            compare.to_markdown(rows)
