"""Whatever characters a path has, its checkpoints are kept; what is deleted is gone or named."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lab.errors import UserError
from lab.storage import DamagedCheckpoint, checkpoint
from lab.storage.paths import PLAIN, plain, remove

ITEMS = {name: {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3)} for name in checkpoint.ITEMS}
META = {"cells": ["one", "two"], "stage": "train", "abilities": []}
HARD = "w [16,16] [!a] \\ * ? {a,b} \n % # : ~ \udcff"


def saved_in(root, step=3):
    return checkpoint.save(root / "checkpoints" / "train-0" / f"{step:08d}", ITEMS, META)


def test_checkpoints_are_kept_below_any_name(tmp_path):
    root = tmp_path / HARD
    first, second = saved_in(root), saved_in(root, 6)
    second = saved_in(root, 6)  # in place of the one before
    checkpoint.read_back(second)
    found, damaged = checkpoint.scan(root)
    assert not damaged
    assert [(one.step, one.resumable, one.meta["cells"]) for one in found["train-0"]] == [
        (3, True, ["one", "two"]),
        (6, True, ["one", "two"]),
    ]
    for item in checkpoint.ITEMS:
        np.testing.assert_array_equal(checkpoint.load(second, item)["a"], ITEMS[item]["a"])
    assert not checkpoint.drop_state(second).resumable
    checkpoint.drop(first)
    found, damaged = checkpoint.scan(root)
    assert [(one.step, one.resumable) for one in found["train-0"]] == [(6, False)]
    assert os.listdir(root / "checkpoints" / "train-0") == ["00000006"]
    moved = tmp_path / "plain"
    root.rename(moved)
    (again,) = checkpoint.scan(moved)[0]["train-0"]
    np.testing.assert_array_equal(checkpoint.load(again, "params")["a"], ITEMS["params"]["a"])


@pytest.mark.parametrize(
    "text", ["/a/[b]", "/a/b*", "/a?", "/{a}", "/a\\b", "/a\nb", "/\udcff", "/gs/a", "/s3", "/a:b", "/a%20"]
)
def test_what_orbax_would_take_for_something_else_is_not_plain(text):
    assert not PLAIN.fullmatch(text)


@pytest.mark.parametrize("text", ["/a/b", "/a b/c-d_e.f", "/größe/数", "/a,b=c@d+e", "/gsa/b"])
def test_what_orbax_takes_as_it_is_goes_as_it_is(text, tmp_path):
    assert PLAIN.fullmatch(text)
    with plain(tmp_path / text[1:]) as place:
        assert place == str(tmp_path / text[1:])


def test_where_no_link_can_be_made_it_is_said_before_anything_is_lost(tmp_path, monkeypatch):
    def refused(*_args, **_kwargs):
        raise OSError(errno.EROFS, "")

    monkeypatch.setattr(Path, "symlink_to", refused)
    with pytest.raises(UserError, match=r"\[a\].*takes for a pattern.*Read-only.*name a --workdir of letters"):
        saved_in(tmp_path / "[a]")


def test_a_checkpoint_that_is_not_as_it_was_saved_is_no_place_to_keep_any(tmp_path):
    saved = saved_in(tmp_path)
    checkpoint.read_back(saved)
    shutil.rmtree(saved.path / "params")
    with pytest.raises(UserError, match=r"00000003/params can't be read: .*, right after it was saved: nothing"):
        checkpoint.read_back(saved)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ESTALE])
def test_what_can_not_be_read_now_is_not_damaged(number, tmp_path, monkeypatch):
    saved = saved_in(tmp_path)

    def refused(*_args, **_kwargs):
        raise OSError(number, "")

    monkeypatch.setattr(checkpoint.ocp, "metadata", refused)
    monkeypatch.setattr(checkpoint.ocp, "load", refused)
    with pytest.raises(UserError, match=f"00000003 can't be read: {os.strerror(number)}; "):
        checkpoint.scan(tmp_path)
    with pytest.raises(UserError, match=f"can't be read: {os.strerror(number)}; "):
        checkpoint.load(saved, "params")


def test_a_disk_that_fails_in_one_place_leaves_the_other_checkpoints(tmp_path, monkeypatch):
    saved = saved_in(tmp_path)

    def refused(*_args, **_kwargs):
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(checkpoint.ocp, "load", refused)
    with pytest.raises(DamagedCheckpoint, match=os.strerror(errno.EIO)):
        checkpoint.load(saved, "params")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, ""), r"No space left on device; free some space there\. .*the same command then"),
        (ValueError("RESOURCE_EXHAUSTED: [OS error 28: ENOSPC]"), r"No space left on device; .*then continues"),
        (OSError(errno.ENAMETOOLONG, ""), r"File name too long; .*shorter path\. Nothing saved earlier is lost\.$"),
    ],
)
def test_a_save_that_is_refused_says_why_and_what_helps(error, said, tmp_path, monkeypatch):
    def refused(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(checkpoint.ocp, "save_checkpointables", refused)
    with pytest.raises(UserError, match=f"could not save .*00000003: {said}"):
        saved_in(tmp_path)


def test_what_could_not_be_deleted_is_in_the_way_of_nothing(tmp_path, monkeypatch):
    saved = saved_in(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_args, **_kwargs: None)
        thinned = checkpoint.drop_state(saved)
        checkpoint.drop(thinned)
    assert checkpoint.scan(tmp_path) == ({}, [])
    assert len(os.listdir(saved.path.parent)) == 2
    checkpoint.sweep_up(tmp_path)
    assert not os.listdir(saved.path.parent)


def test_remove_takes_links_files_and_directories_and_says_what_it_can_not(tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "file").write_text("")
    shutil.copytree(tmp_path / "kept", tmp_path / "directory")
    for name in ("link", "nowhere", "file", "directory", "never there"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "file"]

    def refused(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "", "kept")

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(PermissionError):
        remove(tmp_path / "kept")
