"""Which part of --config is the file, and which the variant."""

from pathlib import Path

import pytest

from lab.study import loader


@pytest.mark.parametrize(
    ("given", "file", "variant"),
    [
        ("a/b.py", "a/b.py", ""),
        ("a/b.py:quick", "a/b.py", "quick"),
        ("dir:with/colon.py:quick", "dir:with/colon.py", "quick"),
        ("dir:with/colon.py", "dir:with/colon.py", ""),
        ("dir.py:x/colon:.py:a:b", "dir.py:x/colon:.py", "a:b"),
        ("line\nbreak/a.py:quick", "line\nbreak/a.py", "quick"),
        ("a.py:x.py", "a.py", "x.py"),
    ],
)
def test_a_path_may_hold_colons(given, file, variant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text("")
    assert loader.split(given) == (Path(file), variant)


@pytest.mark.parametrize(
    ("given", "file", "variant"),
    [("none.py:quick", "none.py", "quick"), ("README.md:quick", "README.md", "quick"), ("", ".", "")],
)
def test_of_a_file_that_is_not_there(given, file, variant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert loader.split(given) == (Path(file), variant)
