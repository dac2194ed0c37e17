"""The one atomic write: the old file or the new one, never a part; and documents, whose changed bytes are found."""

import errno
import json
import math
from pathlib import Path

import pytest

from lab.storage import DamagedFile, read_document, write_atomically, write_document
from tests.damage import WHOLE, flips, sentence_of


@pytest.mark.parametrize(
    ("content", "expected"),
    [("κ = 1\nα\r\n", b"\xce\xba = 1\n\xce\xb1\r\n"), (b"\x00\xff", b"\x00\xff"), ("", b"")],
)
def test_a_file_is_written_to_the_byte(content, expected, tmp_path):
    write_atomically(tmp_path / "it.json", content)
    assert (tmp_path / "it.json").read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["it.json"]


def test_an_old_file_and_a_partial_one_that_was_left_are_replaced(tmp_path):
    (tmp_path / "it.json").write_text("old, and longer")
    (tmp_path / "it.json.partial").write_text("half of something that is longer still")
    write_atomically(tmp_path / "it.json", "new")
    assert (tmp_path / "it.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["it.json"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    def killed(path, target):
        assert path.read_text() == "new"
        assert target.read_text() == "old"
        raise KeyboardInterrupt

    (tmp_path / "it.json").write_text("old")
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "it.json", "new")
    assert (tmp_path / "it.json").read_text() == "old"


def test_a_full_disk_leaves_the_old_file(tmp_path):
    (tmp_path / "it.json").write_text("old")
    (tmp_path / "it.json.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "it.json", "new")
    assert (tmp_path / "it.json").read_text() == "old"


CONTENT = {"κ": [1, 2.5, -0.0, 1e-300, math.nan], "nested": {"b": None, "a": [True, "text", {}]}, "empty": []}


@pytest.mark.parametrize("compact", [True, False])
def test_a_document_comes_back_as_written(compact, tmp_path):
    write_document(tmp_path / "it.json", CONTENT | {"pair": (1, 2)}, compact)
    expected = json.dumps(CONTENT | {"pair": [1, 2]}, sort_keys=True)
    assert json.dumps(read_document(tmp_path / "it.json"), sort_keys=True) == expected
    assert read_document(tmp_path / "none.json") is None


def test_a_flipped_bit_of_a_document_is_found_or_changes_nothing(tmp_path):
    """What is left where the name of the digest is hit: a field more, and all others as they were."""
    file = tmp_path / "it.json"
    write_document(file, CONTENT, compact=True)
    whole, found = file.read_bytes(), 0
    for changed in flips(whole, 300):
        file.write_bytes(changed)
        if sentence := sentence_of(lambda: read_document(file), DamagedFile):
            assert str(file) in sentence
            found += 1
        else:
            content = read_document(file)
            assert repr(CONTENT) == repr({name: content[name] for name in CONTENT})
    assert found > 240


@pytest.mark.parametrize("content", WHOLE, ids=lambda content: repr(content[:12]))
def test_what_is_no_document_is_damaged_or_comes_back_for_the_caller_to_check(content, tmp_path):
    (tmp_path / "it.json").write_bytes(content)
    if content in (b"[]", b"{}"):
        assert read_document(tmp_path / "it.json") == json.loads(content)
    else:
        with pytest.raises(DamagedFile, match=r"it\.json can't be read \(") as caught:
            read_document(tmp_path / "it.json")
        assert caught.value.content is None


def test_a_document_that_cannot_be_opened_is_damaged(tmp_path):
    (tmp_path / "it.json").mkdir()
    with pytest.raises(DamagedFile, match=r"it\.json can't be read \(Is a directory\)"):
        read_document(tmp_path / "it.json")


def test_an_edited_document_is_damaged_and_says_what_it_holds_now(tmp_path):
    write_document(tmp_path / "it.json", {"a": 1})
    text = (tmp_path / "it.json").read_text()
    (tmp_path / "it.json").write_text(text.replace('"a": 1', '"a": 2'))
    with pytest.raises(DamagedFile, match="edited or damaged") as caught:
        read_document(tmp_path / "it.json")
    assert caught.value.content == {"a": 2}


@pytest.mark.parametrize(("number", "kind"), [("EACCES", OSError), ("EMFILE", OSError), ("EIO", DamagedFile)])
def test_a_document_that_can_not_be_read_now_is_not_damaged(number, kind, tmp_path, monkeypatch):
    def refused(_path):
        raise OSError(getattr(errno, number), "refused")

    write_document(tmp_path / "it.json", {})
    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(kind, match="refused"):
        read_document(tmp_path / "it.json")
