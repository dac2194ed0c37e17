"""What people look at: `python -m tasks`, the gallery, and the how-to's example."""

import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from tasks import TASKS, gallery
from tasks.__main__ import main, read
from tasks.__main__ import show as shown_by_command
from tasks.base import NO_ANSWER, Baseline, Task
from tests.tasks import claims
from tests.tasks.task_cases import draw, one, world

ROOT = Path(__file__).parent.parent.parent


def test_the_gallery_is_what_the_command_writes(monkeypatch):
    """All of its text, and the examples and floors of a few tasks: those of all take most of a minute."""
    written = (ROOT / gallery.GALLERY).read_text()
    for name in ("modular", "hanoi", "copy"):
        assert "\n".join(gallery._entry(TASKS[name])) in written, "run `python -m tasks gallery`"
    monkeypatch.setattr(gallery, "examples", lambda *_, **__: [None])
    monkeypatch.setattr(gallery, "shown", lambda *_: "")
    monkeypatch.setattr(gallery, "trivial", lambda *_: Baseline(0.0, 0.0))

    def text(page):
        page = re.sub(r"--count=1\n.*?```", "", page, flags=re.DOTALL)
        return re.sub(r"\| (yes|no) \| [^|]* \|", r"| \1 |", page)  # without the floors

    assert text(written).splitlines() == text(gallery.gallery()).splitlines(), "run `python -m tasks gallery`"


def test_list_names_every_task_once(capsys):
    assert main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(TASKS)


def test_show_draws_the_split_and_sizes_that_were_asked_for():
    def show(*arguments):
        return shown_by_command(read(["show", *arguments]))

    shown = show("group_word", "group=S3", "length=4", "longer=9", "--split=length", "--count=5")
    assert shown.startswith("group_word (reasoning), length: words of 9 elements")
    assert "length 9" in shown
    assert len(re.findall(r"S3: (\d ){9}→( \d){9}", shown)) == 5
    assert len(set(shown.split("\n\n"))) == 6
    assert "state" in shown
    assert show("modular", "--count=1") != show("modular", "--count=1", "--seed=1")
    assert show("modular", "--count=1", "p=7") == show("modular", "p=7", "--count=1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "mqa"], "unknown task 'mqa'. Nearest: mqar"),
        (["show", "mqar", "pair=3"], "no field 'pair'. Nearest: pairs"),
        (["show", "mqar", "pairs=x"], "pairs must be a whole number"),
        (["show", "mqar", "--split=idd"], "no split 'idd'. Nearest: iid"),
        (["show", "mqar", "--count=none"], "--count=none must be a whole number in [1, 1000]"),
        (["show", "mqar", "--seed=99999999999999999999"], "must be a whole number in [0, 2147483647]"),
        (["show", "defaults", "names=abc"], "defaults: names must be a whole number"),
        (["show", "mqar", "--colour=red"], "unknown argument '--colour=red'"),
        (["show"], "the following arguments are required: NAME"),
        (["show", "mqar", "copy"], "'copy': show takes one task"),
        (["list", "mqar"], "unknown argument 'mqar'"),
        (["shw"], "invalid choice: 'shw'"),
    ],
)
def test_a_mistake_gets_one_sentence(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def how_to():
    """The task of docs/adding_a_task.md, as a class."""
    text = (ROOT / "docs" / "adding_a_task.md").read_text()
    module = types.ModuleType("how_to")
    sys.modules["how_to"] = module  # where dataclass looks for the module of its fields
    exec(text.partition("```python\n")[2].partition("```")[0], module.__dict__)
    yield module.Larger
    del sys.modules["how_to"]


def test_the_how_to_holds_a_whole_task(how_to):
    task = how_to()
    assert isinstance(task, Task)
    trained = set()
    for split, chosen in task.splits.items():
        batch = draw(task, chosen.difficulty, chosen.length)
        pairs = set(map(tuple, batch.tokens.tolist()))
        trained |= pairs if split == "train" else set()
        assert not chosen.disjoint or not trained & pairs
        for index in range(50):
            example = one(batch, index)
            right = np.where(example.weights > 0, example.targets, NO_ANSWER)
            assert task.check(world(task), example, right)
            assert bool(task.score(jax.tree.map(np.asarray, example), right))
            assert f"= {right[1] - 1}" in task.render(example)
        assert claims.faults(task, split, 512) == []


@pytest.mark.parametrize(
    ("claimed", "fault"),
    [
        ({"either": Baseline(0.9, -0.7)}, "'either' claims 0.900 and reaches 0.5"),
        ({"either": Baseline(0.2, -0.7)}, "'either' claims 0.200 and reaches 0.5"),
        ({"wiser": Baseline(0.6, -0.7)}, "'wiser' has no predictor"),
        ({"chance": Baseline(0.9, -3.5)}, "'chance' claims 0.900, its log-probability says 0.030"),
        ({"chance": Baseline(0.9, -0.105)}, "'chance' claims 0.900 and the best predictor reaches 0.5"),
        ({"either": None}, "the last token reaches 0.5"),
    ],
)
def test_a_task_that_claims_what_its_predictors_do_not_reach_is_seen(how_to, claimed, fault, monkeypatch):
    honest = how_to.baselines

    def baselines(task, split):
        found = {**honest(task, split), **claimed}
        return {name: baseline for name, baseline in found.items() if baseline}

    assert not claims.faults(how_to(), "iid", 512)
    monkeypatch.setattr(how_to, "baselines", baselines)
    assert any(fault in said for said in claims.faults(how_to(), "iid", 512)), claims.faults(how_to(), "iid", 512)
