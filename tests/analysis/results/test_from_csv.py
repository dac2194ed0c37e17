"""results.csv holds what a study is judged by."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.diagnosis import find
from analysis.report import verdicts_json
from analysis.results import from_csv, to_csv
from analysis.results.from_csv import chosen
from lab.errors import UserError
from tests.analysis import synthetic_study


def test_results_read_back_to_seven_digits():
    results = synthetic_study.results()
    back = from_csv(results.study, to_csv(results))
    assert back.stage == results.stage
    assert back.shared == results.shared
    np.testing.assert_array_equal(back.step, results.step)
    np.testing.assert_array_equal(back.diverged_at, results.diverged_at)
    assert back.columns.keys() == results.columns.keys()
    for name, values in results.columns.items():
        np.testing.assert_allclose(back.columns[name], values, rtol=1e-6, err_msg=name)
        if name.endswith("/exact"):  # counts: ties of the sign-flip tests are ties again
            np.testing.assert_array_equal(back.columns[name], values, err_msg=name)


def test_verdicts_of_the_table_are_those_of_the_study():
    results = synthetic_study.results()
    again, first = (verdicts_json.document(find(one)) for one in (from_csv(results.study, to_csv(results)), results))
    kinds = [
        [(claim["kind"], [s["shown"] for s in claim["settings"]]) for claim in one["claims"]] for one in (again, first)
    ]
    assert kinds[0] == kinds[1]


def test_a_table_of_the_chosen_cells_is_judged_as_these():
    results = synthetic_study.results(diverged=False)
    rows = to_csv(results).splitlines(keepends=True)
    per_cell = len(results.step)
    fewer = from_csv(results.study, "".join(rows[: 1 + 16 * per_cell]))
    assert fewer.study.cells == results.study.cells[:16]
    assert all(values.shape == (16, per_cell) for values in fewer.columns.values())


@pytest.mark.parametrize(
    ("keys", "places"),
    [("aabc", [0, 1, 2, 3]), ("abc", [0, 2, 3]), ("ac", [0, 3]), ("aac", [0, 1, 3]), ("ca", None), ("ax", None)],
)
def test_cells_with_one_key_keep_their_places(keys, places):
    """Cells that differ in a knob that does nothing have one key."""
    assert chosen("aabc", keys) == places


def test_a_table_of_another_study_is_refused():
    results = synthetic_study.results()
    other = replace(results.study, cells=results.study.cells[:-1])
    with pytest.raises(UserError, match="of another study than synthetic"):
        from_csv(other, to_csv(results))
    with pytest.raises(UserError, match="has no column"):
        from_csv(results.study, "a,b\n1,2\n")
