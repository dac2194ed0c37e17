"""What docs/gallery keeps can be judged again, and says so where it can't."""

import lzma
import shutil
from pathlib import Path

import pytest

from analysis.gallery.kept import GALLERY, RUN, differences, folders, keep, load
from lab.errors import UserError

ROOT = Path(__file__).parents[3]
FOLDERS = folders(ROOT / GALLERY)
SMALL = min(FOLDERS, key=lambda one: (one / "results.csv.xz").stat().st_size)


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(SMALL, tmp_path / "copied")
    return tmp_path / "copied"


def test_verdicts_are_rebuilt_from_the_table():
    assert differences(load(SMALL)) == []


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda one: one.name)
def test_every_kept_study_is_rebuilt(folder):
    assert differences(load(folder)) == []


def test_a_changed_number_is_found(copied):
    table = copied / "results.csv.xz"
    lines = lzma.decompress(table.read_bytes()).decode().splitlines()
    heads = lines[0].split(",")
    kept = load(copied)
    claim = kept.findings.claims[0] if kept.findings.claims else kept.findings.associations[0]
    at = heads.index(f"{claim.label}/{claim.split}/exact")
    changed = [",".join("0.5" if i == at else text for i, text in enumerate(line.split(","))) for line in lines[1:]]
    table.write_bytes(lzma.compress("\n".join([lines[0], *changed, ""]).encode()))
    assert differences(load(copied))


def test_damaged_and_missing_files_are_one_sentence(copied):
    (copied / "results.csv.xz").write_bytes(b"not compressed")
    with pytest.raises(UserError, match="keep its study again"):
        load(copied)
    (copied / "results.csv.xz").unlink()
    with pytest.raises(UserError, match="keep its study again"):
        load(copied)


def test_a_record_that_was_edited_is_refused(copied):
    record = copied / "study.json.xz"
    text = lzma.decompress(record.read_bytes()).decode().replace('"delta": 0.05', '"delta": 0.5')
    record.write_bytes(lzma.compress(text.encode()))
    with pytest.raises(UserError, match="copied"):
        load(copied)


def test_only_a_finished_study_is_kept(tmp_path):
    with pytest.raises(UserError, match="no finished study"):
        keep(tmp_path, tmp_path / "there", load(SMALL).run)
    assert not (tmp_path / "there").exists()


def test_what_is_kept_is_small():
    for folder in FOLDERS:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert size < 700_000, folder.name
        assert (folder / RUN).is_file()
