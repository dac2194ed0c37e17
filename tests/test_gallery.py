"""The gallery: every case names a study whose plan can conclude something, or says why there is none."""

import re
from pathlib import Path

import pytest

from analysis.activations.claimable import READINGS
from analysis.design.outlook import undecidable
from analysis.report import console
from lab.engine import make_plan
from lab.storage import Store
from lab.study import loader
from lab.study.parse import parse
from tests.lab.conftest import LAYOUT

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "gallery.md").read_text()
NAMED = sorted({*re.findall(r"`((?:gallery/)?\w+\.py(?::\w+)?)`", PAGE)})
REFUSALS = 6  # so many of the 48 cases may have no study


def test_every_case_has_a_row_with_a_study_or_a_reason():
    rows = [line for line in PAGE.splitlines() if re.match(r"\| (\d+|F\d+) \|", line)]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [
        *map(str, range(1, 26)),
        *(f"F{n}" for n in range(1, 24)),
    ]
    assert sum(".py" not in row and "case " not in row for row in rows) <= REFUSALS


def test_every_study_of_the_gallery_is_on_the_page():
    files = {f"gallery/{path.name}" for path in (ROOT / "ablations" / "gallery").glob("[!_]*.py")}
    assert files <= {name.partition(":")[0] for name in NAMED}


def test_every_name_on_the_page_is_a_file():
    """The page names a study as `run.py --config` takes it, wherever it does."""
    for name in NAMED:
        assert (ROOT / "ablations" / name.partition(":")[0]).is_file(), name


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_every_study_that_the_page_names_plans(name):
    config = loader.get_config(str(ROOT / "ablations" / name))
    file, _ = loader.split(str(ROOT / "ablations" / name))
    study = parse(config, loader.load(file).sweep(config), READINGS)
    plan = make_plan(study, LAYOUT)
    assert f"= {len(study.cells)} cells" in console.plan_text(plan, Store(Path("nowhere")), Path("nowhere"))
    assert not undecidable(study, Path("nowhere"))
