"""What a study's docstring says of it, and the list of cases."""

from pathlib import Path

import pytest

from analysis.gallery.cases import CASES, NOT_RUN, STATUS, about, folder_of, read_cases
from lab.errors import UserError

ROOT = Path(__file__).parents[3]
TEXT = '''"""Does it work? A study.

Claim (fixed before training): it works.

Source (abstract read): Someone 2025 (arXiv 1234.56789): it worked.
Kept: the idea. Left out: everything
else.

Predicted (2026-11-30, before any run): it does not
work. `:plain` works.

Expected: 3 minutes. What came out (2026-11-30): {outcome}
"""
'''


def written(tmp_path, outcome):
    file = tmp_path / "study.py"
    file.write_text(TEXT.format(outcome=outcome))
    return file


def test_paragraphs_are_found_by_how_they_begin(tmp_path):
    found = about(written(tmp_path, "not run yet."))
    assert found.title == "Does it work? A study."
    assert found.source == "Someone 2025 (arXiv 1234.56789): it worked."
    assert (found.kept, found.left_out) == ("the idea.", "everything else.")
    assert found.predicted == "it does not work. `:plain` works."
    assert (found.outcome, found.status) == ("", NOT_RUN)


@pytest.mark.parametrize("status", STATUS)
def test_an_outcome_begins_with_how_the_prediction_fared(tmp_path, status):
    found = about(written(tmp_path, f"Prediction {status}. Seen: it\nworks."))
    assert (found.outcome, found.status) == ("Seen: it works.", status)


def test_each_variant_has_its_own_outcome(tmp_path):
    file = written(tmp_path, "Prediction held. It works. `:plain`: Prediction failed. It does not.")
    assert about(file).outcome == "It works."
    assert (about(file, "plain").outcome, about(file, "plain").status) == ("It does not.", "failed")
    assert about(file, "other").status == NOT_RUN


def test_a_file_that_is_no_python_is_one_sentence(tmp_path):
    (tmp_path / "broken.py").write_text("def")
    with pytest.raises(UserError, match="can't be read"):
        about(tmp_path / "broken.py")


def test_a_list_of_cases_with_an_unknown_field_is_refused(tmp_path):
    (tmp_path / "cases.toml").write_text('[[case]]\nnumber = "1"\nclaims = "x"\n')
    with pytest.raises(UserError, match="is no list of cases"):
        read_cases(tmp_path / "cases.toml")
    with pytest.raises(UserError, match="there is no file"):
        read_cases(tmp_path / "other.toml")


def test_every_study_of_a_case_has_its_own_folder():
    studies = [study for case in read_cases(ROOT / CASES) for study in case.studies]
    assert len({folder_of(study) for study in studies}) == len(set(studies))
    assert folder_of("gallery/emergence.py:plain") == "emergence-plain"
