"""Every variant, and models and readings that say nothing, from the command to the report."""

import json

import pytest

from ablations.pretrained import VARIANTS
from tests.analysis.frozen.conftest import VIEWS, rows_of
from tests.tiny_pretrained import write_questions


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_runs_to_its_report(variant, tmp_path, start):
    few = {
        "quantization": "(32, 8, 2)",
        "layers": "(0, 1, 2)",
        "top_directions": "(0, 1, 7)",
        "noise": "(0, 0.1, 1)",
        "state_noise": "(0, 0.1, 1)",
    }
    status, _, err = start(tmp_path / "work", variant=variant, settings=few.get(variant, "(0, 0.5, 1)"))
    assert (status, err) == (0, "")
    for name in VIEWS:
        assert (tmp_path / "work" / name).is_file()
    rows = rows_of(tmp_path / "work")
    assert len(rows) == 36
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
    neutral = "32" if variant == "quantization" else "0"
    assert {row[VARIANTS[variant][0]] for row in rows[:12]} == {neutral}


@pytest.mark.slow
@pytest.mark.parametrize("score", ["wanda", "neurons"])
def test_every_score_of_pruning_runs_to_its_report(score, tmp_path, start):
    status, out, _ = start(
        tmp_path / "work", f"--config.knobs.prune.score={score}", variant="pruning", settings="(0, 0.5)"
    )
    assert status == 0
    assert f"prune.amount, score {score}" in out
    assert json.loads((tmp_path / "work" / "verdicts.json").read_text())["knob"]["chosen"] == {"score": score}


@pytest.mark.slow
def test_a_model_that_answers_nothing_has_nothing_to_lose(folder, tmp_path, start):
    write_questions(folder / "guesses", noise=1.0)
    status, out, _ = start(tmp_path / "work", questions="guesses")
    assert status == 0
    assert "which is not shown to beat guessing (25.0%): there is nothing to lose." in out
    document = json.loads((tmp_path / "work" / "verdicts.json").read_text())
    assert {one["kind"] for one in document["claims"]} == {"not learned"}


@pytest.mark.slow
def test_a_claimed_reading_that_is_not_defined_at_neutral_is_shown_nowhere(tmp_path, start):
    status, _, _ = start(tmp_path / "work", "--config.claim.gains.alpha_req=1")
    assert status == 0
    (claim,) = (
        one
        for one in json.loads((tmp_path / "work" / "verdicts.json").read_text())["claims"]
        if one["metric"] == "alpha_req"
    )
    assert claim["kind"] in ("no gain shown", "undecided")
    assert {row["alpha_req"] for row in rows_of(tmp_path / "work")[:24]} == {""}
