"""Every example of the README and the docs is run by a test, on the study that it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import analysis
from lab.study.loader import load

ROOT = Path(__file__).parent.parent
# page -> the tests that run its Python examples, one for each, in their order
PAGES = "tests/lab/study/test_page_examples.py"
RUN_BY = {
    "README.md": (
        "tests/test_command.py::test_the_readmes_own_study_is_valid",
        "tests/test_examples.py::test_the_readmes_example_runs_on_a_study",
    ),
    "docs/adding_a_task.md": ("tests/tasks/test_gallery.py::test_the_how_to_holds_a_whole_task",),
    "docs/adding_a_mechanism.md": (
        "tests/lab/mechanisms/test_mechanisms.py::test_the_how_to_shows_the_mechanism_as_it_is",
    ),
    "docs/adding_a_metric.md": (
        "tests/analysis/metrics/test_registry.py::test_a_metric_of_any_file_is_found_and_a_name_is_taken_once",
        "tests/analysis/metrics/test_registry.py::test_the_example_of_the_docs_is_a_metric_and_agrees_with_its_reference",
    ),
    "docs/text.md": (
        "tests/lab/study/test_published.py::test_the_example_of_the_page_is_two_stages",
        "tests/tasks/text/test_summary.py::test_the_example_of_the_page_runs",
    ),
    "docs/pretrained.md": ("tests/lab/storage/test_pretrained.py::test_the_example_of_the_page_runs",),
    "docs/claims.md": ("tests/lab/study/test_claim.py::test_the_example_of_the_page_is_a_study",),
    "docs/axes.md": 3 * (f"{PAGES}::test_the_blocks_of_the_page_on_axes_are_studies",),
    "docs/task_knobs.md": (
        f"{PAGES}::test_the_first_block_of_the_page_on_knobs_of_tasks_is_a_study",
        f"{PAGES}::test_the_second_block_of_the_page_on_knobs_of_tasks_is_a_study_of_three_tasks",
        f"{PAGES}::test_the_third_block_of_the_page_on_knobs_of_tasks_declares_a_knob",
    ),
    "docs/pieces.md": (
        *4 * (f"{PAGES}::test_the_blocks_of_the_page_on_pieces_are_studies",),
        f"{PAGES}::test_the_last_block_of_the_page_on_pieces_asks_for_what_there_is",
    ),
    "docs/npz.md": ("tests/test_examples.py::test_the_arrays_of_the_npz_page_are_judged",),
}


def examples(page):
    """The Python code of a page, block by block."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_every_example_is_run_by_a_test(page):
    tests = RUN_BY.get(page, ())
    assert len(examples(page)) == len(tests), f"{page}: name in RUN_BY the test that runs the new example"
    for test in tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), test


def settings_in(code):
    """(knob, value) of every dict literal in a piece of code whose keys are strings."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Dict):
            for key, value in ast.literal_eval(node).items():
                yield from ((key, one) for one in (value if isinstance(value, tuple) else (value,)))


def test_the_readmes_library_example_names_settings_of_the_readmes_study():
    module = load(ROOT / "ablations" / "pruning.py")
    values = {a.knob: a.values for a in module.sweep(module.get_config()).axes}
    named = list(settings_in(examples("README.md")[1]))
    assert len(named) >= 4
    for knob, value in named:
        assert value in values[knob], f"{knob}={value}"


def test_the_arrays_of_the_npz_page_are_judged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise_SxK = np.random.default_rng(0).normal(scale=0.01, size=(2, 8, 9))
    falling_K = np.linspace(0.0, 1.0, 9)
    measured = {"accuracy": 0.9 - 0 * falling_K + noise_SxK[0], "dimension": 9 - falling_K + noise_SxK[1]}
    exec(examples("docs/npz.md")[0], measured)
    with np.load("mine.npz") as arrays:
        judged = analysis.judge_arrays(dict(arrays))
    assert [(gain.metric, gain.sign) for gain in judged.gains] == [("two_nn", -1)]
    assert judged.gains[0].map.n_seeds == 8


@pytest.mark.slow
def test_the_readmes_example_runs_on_a_study(recorded):
    (example,) = re.findall(r"## As a library.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert '"runs/pruning"' in example
    exec(example.replace('"runs/pruning"', repr(str(recorded[2]))).replace("0.84", "0.5"), {})
