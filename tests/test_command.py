"""What `run.py` and the lab's own commands print."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from analysis import listing
from analysis.activations.claimable import READINGS
from analysis.metrics.on_call import ON_CALL
from analysis.metrics.registry import METRICS
from analysis.report import console
from analysis.verdicts import claims
from lab.engine import make_plan
from lab.engine.progress import Meter, PlainProgress, duration
from lab.errors import UserError
from lab.frozen.knobs import KNOBS as FROZEN
from lab.mechanisms.knob_table import OWN
from lab.mechanisms.knobs import KNOBS
from lab.storage import Store
from lab.study import sizes
from lab.study.parse import parse
from tasks import TASKS
from tasks.text import READERS
from tests.lab.conftest import LAYOUT, study_of

ROOT = Path(__file__).parent.parent
STUDIES = sorted((ROOT / "ablations").glob("[!_]*.py"))
TRAINED = [path for path in STUDIES if path.stem != "pretrained"]  # that one: tests/lab/frozen/test_study.py
GALLERY = sorted((ROOT / "ablations" / "gallery").glob("[!_]*.py"))


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("tasks", {*TASKS, *READERS}),
        ("knobs", {*KNOBS, *OWN, *sizes.KNOBS, *FROZEN}),
        ("metrics", {*READINGS, *ON_CALL}),
    ],
)
def test_listings_have_a_line_each(what, names):
    lines = listing.listing(what, ROOT / "ablations").splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(names)
    assert all(len(line.split()) > 3 for line in lines)


def test_studies_are_listed_with_their_question():
    lines = listing.listing("studies", ROOT / "ablations").splitlines()
    own = [f"ablations/{path.name}" for path in STUDIES]
    assert [line.split()[0] for line in lines] == own + [f"ablations/gallery/{path.name}" for path in GALLERY]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", TRAINED, ids=lambda p: p.stem)
@pytest.mark.parametrize("variant", ["", "quick"])
def test_every_shipped_study_is_valid_and_enough_seeds_for_its_claims(path, variant):
    module = load(path)
    config = module.get_config(variant)
    with pytest.raises(UserError, match="unknown variant"):
        module.get_config("no such variant")
    study = parse(config, module.sweep(config), METRICS)
    plan = make_plan(study, LAYOUT)
    text = console.plan_text(plan, Store(Path("nowhere")), Path("nowhere"))
    assert f"= {len(study.cells)} cells" in text
    seeds = len({cell["seed"] for cell in study.cells})
    answers = variant == "" or path.stem == "pruning"  # every other `quick` is for a look
    assert (seeds >= 8) == answers


def test_the_readme_counts_what_the_study_trains():
    module = load(ROOT / "ablations" / "pruning.py")
    config = module.get_config()
    plan = make_plan(parse(config, module.sweep(config), METRICS), LAYOUT)
    text = (ROOT / "README.md").read_text().replace("\n", " ")
    assert f"{plan.steps_shared():,} model-steps in place of {plan.steps_alone():,}" in text
    assert f"{len(plan.study.cells)} cells" in text
    assert plan.study.tasks[0].task.title in text


def test_the_readmes_own_study_is_valid(tmp_path):
    text = (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    (tmp_path / "decay.py").write_text(text)
    module = load(tmp_path / "decay.py")
    config = module.get_config()
    study = parse(config, module.sweep(config), METRICS)
    assert len(study.cells) == 72
    claims.check(study)


def test_a_study_that_cant_be_read_is_listed_as_such(tmp_path):
    (tmp_path / "broken.py").write_text("def x(:")
    assert "can't be read: line 1" in listing.listing("studies", tmp_path)


def test_the_plan_says_what_will_happen():
    plan = make_plan(study_of(), LAYOUT)
    text = console.plan_text(plan, Store(Path("nowhere")), Path("nowhere"))
    assert "2 prune.sparsity × 3 seed = 6 cells" in text
    assert "cells trained in each: 3 → 6" in text
    assert f"{3 * 12 + 6 * 6} with shared prefixes, {6 * 18} without" in text
    assert "2 training programs" in text
    assert "least that can show a bound 5" in text


def test_the_meter_counts_this_run_only():
    meter = Meter(cell_steps=100, cells=4, cells_done=1)
    meter.resumed(20)
    meter.advanced(20, 0, now=10.0)
    assert "…" in meter.line()  # no rate before there is a stretch to measure
    meter.advanced(20, 1, now=12.0)
    assert meter.line() == "2/4 cells, 10 cell-steps/s, 4 s left"
    meter.paused()  # a compilation
    meter.advanced(20, 1, now=100.0)
    assert meter.line() == "3/4 cells, 10 cell-steps/s, 2 s left"


@pytest.mark.parametrize(("seconds", "text"), [(4, "4 s"), (59.6, "1 min 00 s"), (3725, "1 h 02 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_plain_progress_prints_lines(capsys):
    import sys

    with PlainProgress(Meter(10, 1, 0), sys.stdout) as progress:
        progress.compiled("training", 1.23)
        progress.advanced(10, 1)
    assert "compiled training in 1.2 s" in capsys.readouterr().out
