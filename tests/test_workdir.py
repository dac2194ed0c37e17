"""A work directory that can't be this study's, or that the system refuses: one sentence, and nothing is lost."""

from __future__ import annotations

import errno
import fcntl
import json
import os

import pytest

from lab.checks import kill_test
from lab.engine import Layout, local_layout
from lab.errors import UserError
from lab.jobs.shards import Shard
from lab.jobs.workdir import Workdir
from lab.study import axis
from tests.damage import sentence_of
from tests.lab.conftest import study_of, tiny_config, tiny_sweep
from tests.test_bad_input import changed


def open_workdir(path, study=None, config=None):
    return Workdir(path, study or study_of(), config or tiny_config(), local_layout())


def test_another_study_in_the_work_directory_is_refused_with_the_difference(tmp_path):
    open_workdir(tmp_path).claim()
    config = changed(steps__train=15, model__width=32)
    with pytest.raises(
        UserError, match=r"config\.model\.width is 16 there and 32 here.*steps\.train is 12 there and 15"
    ):
        open_workdir(tmp_path, study_of(config), config).claim()


def test_a_question_in_other_words_is_the_same_study(tmp_path):
    open_workdir(tmp_path).claim()
    config = changed(question="The same in other words?")
    assert open_workdir(tmp_path, study_of(config), config).claim() == []
    assert json.loads((tmp_path / "study.json").read_text())["config"]["question"] == config.question


def test_removed_values_are_refused_and_added_ones_taken(tmp_path):
    open_workdir(tmp_path).claim()
    with pytest.raises(UserError, match=r"2 of its cells are not in this grid, such as seed=2"):
        open_workdir(tmp_path, study_of(grid=tiny_sweep(seeds=2))).claim()
    more = study_of(grid=tiny_sweep((0.0, 0.2, 0.5), 4))
    assert open_workdir(tmp_path, more).claim() == []
    assert len(json.loads((tmp_path / "study.json").read_text())["cells"]) == 12


def test_a_study_that_moved_says_on_which_layouts_it_has_been(tmp_path):
    def claim(**layout):
        here = Layout(**{"platform": "cpu", "devices": 8, "width": 1, "chunk": 4, **layout})
        return Workdir(tmp_path, study_of(), tiny_config(), here).claim()

    assert claim() == []
    assert claim(chunk=2) == []  # rounds as before
    assert claim(devices=3) == []
    (note,) = claim(devices=1)
    assert "8 cpu devices, chunk 4, width 1; 1 cpu device, chunk 4, width 1" in note
    assert claim(chunk=2) == [note]  # back again: it has been elsewhere all the same


def test_checkpoints_of_another_version_are_reported_and_its_layouts_kept(tmp_path):
    open_workdir(tmp_path).claim()
    file = tmp_path / "study.json"
    record = json.loads(file.read_text())
    old = record["layout"] | {"devices": 1}
    file.write_text(
        json.dumps({k: v for k, v in record.items() if k not in ("format", "earlier", "digest")} | {"layouts": [old]})
    )
    (note,) = open_workdir(tmp_path).claim()  # none on layouts: what was trained there isn't used
    assert "checkpoints of an earlier version of the lab" in note
    assert "so that the study trains again" in note
    assert open_workdir(tmp_path).claim() == [note]
    record = json.loads(file.read_text())
    assert record["layouts"] == [record["layout"]]
    assert record["earlier"] == {"format": None, "layouts": [old]}


def test_a_changed_claim_is_refused(tmp_path):
    open_workdir(tmp_path).claim()
    config = changed(claim__gains={"two_nn": -1})
    with pytest.raises(UserError, match=r"config\.claim\.gains"):
        open_workdir(tmp_path, study_of(config), config).claim()


def test_a_record_of_another_claim_is_said_and_stays_known(tmp_path):
    open_workdir(tmp_path).claim()
    file, claimed = tmp_path / "study.json", study_of().claim_hash()
    file.write_text(file.read_text().replace(claimed, "0" * 16))
    edited, note = open_workdir(tmp_path).claim()
    assert "study.json was edited or damaged after it was written; it agrees with this study" in edited
    assert f"written for another claim (hash {'0' * 16}) than this one (hash {claimed})" in note
    assert "the claim was changed after training started, or the file was edited" in note
    assert open_workdir(tmp_path).claim() == [note]


def test_an_edited_record_of_another_study_is_said_to_be_edited(tmp_path):
    open_workdir(tmp_path).claim()
    file = tmp_path / "study.json"
    file.write_text(file.read_text().replace('"train": 12', '"train": 15'))
    with pytest.raises(UserError, match=r"study\.json was edited or damaged .*steps\.train is 15 there and 12 here"):
        open_workdir(tmp_path).claim()


@pytest.mark.parametrize("value", [None, 3, [], {}, "x", [None], {"platform": 3}])
def test_a_record_with_a_field_of_another_type_is_named(value, tmp_path):
    open_workdir(tmp_path).claim()
    file = tmp_path / "study.json"
    record = {name: one for name, one in json.loads(file.read_text()).items() if name != "digest"}
    for field in ("config", "axes", "cells", "claim_hash", "layout", "layouts", "earlier", "format"):
        file.write_text(json.dumps(record | {field: value}))
        if sentence := sentence_of(lambda: open_workdir(tmp_path).check(), UserError):
            assert str(tmp_path) in sentence
        else:  # said, or what these fields may be, too
            may_be = [("layouts", []), ("earlier", None), ("earlier", {}), ("cells", [])]
            assert open_workdir(tmp_path).check() or (field, value) in may_be


def test_a_second_process_on_one_work_directory_is_refused(tmp_path):
    with (
        open_workdir(tmp_path).locked(),
        pytest.raises(UserError, match="in use by another process"),
        open_workdir(tmp_path).locked(),
    ):
        pass
    with open_workdir(tmp_path).locked():  # free again
        pass


def test_checkpoints_of_nobody_are_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"holds checkpoints but no study\.json"):
        open_workdir(tmp_path).claim()


@pytest.mark.parametrize("content", ["{}", "[1]", "{", "\x00"])
def test_a_broken_record_is_named(content, tmp_path):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(UserError, match=r"study\.json .* name another --workdir"):
        open_workdir(tmp_path).claim()


@pytest.fixture
def without_locks(monkeypatch):
    """A file system without flock."""

    def refused(*_args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)


def test_without_locks_one_process_goes_on_and_says_so(tmp_path, without_locks):
    with open_workdir(tmp_path).locked() as notes:
        (note,) = notes
        assert note.startswith(f"The file system of {tmp_path} has no locks (No locks available): start no second")
    with pytest.raises(KeyError), open_workdir(tmp_path).locked():
        raise KeyError  # a fault of what is done meanwhile is not taken for one of the lock


def test_without_locks_parts_are_refused(tmp_path, without_locks):
    with (
        pytest.raises(UserError, match=r"without locks \(No locks available\), where parts can"),
        open_workdir(tmp_path).shared(Shard(1, 2), "0"),
    ):
        pass


def test_another_fault_of_a_lock_is_no_lack_of_locks(tmp_path, monkeypatch):
    def refused(*_args):
        raise OSError(errno.EIO, "", "lock")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(OSError, match="lock"), open_workdir(tmp_path).locked():
        pass


def test_a_loop_of_kills_without_a_directory_is_one_sentence(capsys):
    assert kill_test.main(["--config=tests/tiny_study.py", "--workdir=--"]) == 2
    assert "--workdir needs a value" in capsys.readouterr().err


def test_an_axis_of_several_names_is_refused():
    with pytest.raises(UserError, match="must be named by one knob"):
        axis(["prune.sparsity"], (0.0, 0.5))  # pyright: ignore[reportArgumentType]
