"""Planted results whose views every test of the report may read, written once."""

import pytest

from analysis.diagnosis import find
from analysis.report import write
from tests.analysis import synthetic_study


@pytest.fixture(scope="session")
def views(tmp_path_factory):
    """Everything about one written study."""
    plan, findings = synthetic_study.everything()
    workdir = tmp_path_factory.mktemp("views")
    write.write_views(workdir, plan, findings, synthetic_study.FACTS)
    return workdir, plan, findings


@pytest.fixture(scope="session")
def whole():
    """The findings where no cell diverged."""
    return find(synthetic_study.results(diverged=False))
