"""The one atomic write: the old file or the new one, never a part."""

from pathlib import Path

import pytest

from lab.storage import write_atomically


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
