"""The layouts of a study are read from its record, whatever its version, and whatever damage was done to it."""

import json

import pytest

from lab.engine import Layout
from lab.jobs.layouts import described, read_layouts
from lab.jobs.workdir import FILE, Workdir
from tests.lab.conftest import study_of, tiny_config

SEVERAL, ONE = Layout("cpu", 8, 1, 4), Layout("cpu", 1, 1, 4)


def test_layouts_that_round_differently_are_read_back(tmp_path):
    for layout in (SEVERAL, Layout("cpu", 3, 1, 2), ONE):
        Workdir(tmp_path, study_of(), tiny_config(), layout).claim()
    assert read_layouts(tmp_path / FILE) == [SEVERAL, ONE]
    assert described([SEVERAL, ONE]) == "8 cpu devices, chunk 4, width 1; 1 cpu device, chunk 4, width 1"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (json.dumps({"layout": {"platform": "cpu", "devices": 8, "width": 1, "chunk": 4}}), [SEVERAL]),
        *((text, []) for text in ("", "[1]", "{}", '{"layout": 3, "layouts": {"a": 1}}', '{"layouts": [[], null]}')),
    ],
)
def test_records_without_layouts(content, found, tmp_path):
    (tmp_path / FILE).write_text(content)
    assert read_layouts(tmp_path / FILE) == found
