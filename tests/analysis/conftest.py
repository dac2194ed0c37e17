"""For tests of the analysis."""

from collections.abc import Iterable
from typing import Any

import jaxtyping
import pytest


def slow_but(kept: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """Parameters of a test, all but a few of them marked slow: the kept ones run by default."""
    kept = list(kept)
    return [
        case if case in kept else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for case in cases
    ]


@pytest.fixture
def unchecked():
    """Calls with shapes and types unchecked, as users make them: a function's own messages are under test."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
