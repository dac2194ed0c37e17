"""Imports go one way: run → analysis → lab → tasks. Studies import the grid helpers only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("tasks", "lab", "analysis", "run", "ablations", "tests")
ALLOWED = {"tasks": {"tasks"}, "lab": {"lab", "tasks"}, "analysis": {"analysis", "lab", "tasks"}}
FILES = [path for room in ALLOWED for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def test_there_are_files_to_look_at():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    rooms = {name.split(".")[0] for name in imported(path)} & set(ROOMS)
    assert rooms <= ALLOWED[room], f"{path.relative_to(ROOT)} imports {sorted(rooms - ALLOWED[room])}"


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").glob("*/*.py")), ids=lambda p: p.parent.name + "/" + p.name)
def test_a_family_of_tasks_imports_no_other(path):
    folders = {f.name for f in (ROOT / "tasks").iterdir() if f.is_dir()} - {path.parent.name}
    assert not {".".join(name.split(".")[:2]) for name in imported(path)} & {f"tasks.{folder}" for folder in folders}


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").glob("*.py")), ids=lambda p: p.name)
def test_analysis_never_imports_the_training_loop(path):
    assert not {"lab.training.step", "lab.engine.trainer"} & set(imported(path))


@pytest.mark.parametrize("path", sorted((ROOT / "ablations").glob("*.py")), ids=lambda p: p.name)
def test_studies_import_the_grid_helpers_only(path):
    ours = {name for name in imported(path) if name.split(".")[0] in ROOMS}
    assert ours <= {"lab.study.grid"}


def test_large_libraries_are_imported_where_they_live_only():
    homes = {
        "orbax": {"lab/storage/checkpoint.py"},
        "flax": {"lab/nn/model.py", "lab/nn/layers.py"},
        "tensorboardX": {"analysis/report/event_files.py"},
    }
    for package, home in homes.items():
        users = {str(p.relative_to(ROOT)) for p in FILES if any(n.split(".")[0] == package for n in imported(p))}
        assert users <= home
