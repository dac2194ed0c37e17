"""A frozen study of a tiny model: the command, its directory, and what is in it."""

import csv
import re
import shutil
from pathlib import Path

import pytest

import run
from ablations.pretrained import VARIANTS
from lab.frozen.embed import Embedder
from tests.tiny_pretrained import tiny_study, write_folder, write_questions

ROOT = Path(__file__).parents[3]
SETTINGS = ("0", "0.5", "1")
VIEWS = ("report.html", "report.md", "verdicts.json", "results.csv", "arrays.npz", "study.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("frozen")
    write_folder(path / "model")
    write_questions(path / "questions", ask=1205)
    return path


@pytest.fixture
def start(folder, capsys):
    """Runs the shipped study with some arguments on the tiny model; returns status, output and errors."""

    def started(workdir, *further, variant="whitening", settings="(0, 0.5, 1)", questions="questions"):
        found = command(folder, workdir, *further, variant=variant, settings=settings, questions=questions)
        printed = capsys.readouterr()
        return found, printed.out, printed.err

    return started


def command(folder, workdir, *further, variant="whitening", settings="(0, 0.5, 1)", questions="questions"):
    given = {
        "config": f"{ROOT / 'ablations' / 'pretrained.py'}:{variant}",
        "config.model_dir": folder / "model",
        "config.data_dir": folder / questions,
        "config.data.format": "multiple_choice",
        "config.data.options.answer_is": "letter",
        "config.settings": settings,
        "workdir": workdir,
    }
    return run.main(["run.py", *(f"--{name}={value}" for name, value in given.items()), *further])


@pytest.fixture(scope="module")
def once(folder):
    """The directory of a study that was read once; only to be read."""
    assert command(folder, folder / "once") == 0
    return folder / "once"


@pytest.fixture
def workdir(once, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(once, tmp_path / "work"))


@pytest.fixture
def unread(monkeypatch):
    """The settings that are read from here on."""
    seen, vectors = [], Embedder.vectors

    def watched(self, value):
        seen.append(value)
        return vectors(self, value)

    monkeypatch.setattr(Embedder, "vectors", watched)
    return seen


@pytest.fixture(scope="module")
def study(folder):
    return tiny_study(folder, gains=VARIANTS["whitening"][2])


def content(root):
    """Every file below a directory by its path, without the wall time that a report states."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    for name in ("report.html",):
        found[name] = re.sub(rb"Wall time of this run:[^<]*", b"", found[name])
    return found


def rows_of(root):
    with open(root / "results.csv", newline="") as file:
        return list(csv.DictReader(file))
