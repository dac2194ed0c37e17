"""For tests of the analysis."""

from collections.abc import Callable, Iterable
from typing import Any

import jaxtyping
import pytest


def slow_where(is_slow: Callable[[Any], bool], cases: Iterable[Any]) -> list[Any]:
    """Parameters of a test; those for which `is_slow` holds are marked so."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) if is_slow(case) else case
        for case in cases
    ]


def of_another_shape(kind: str) -> bool:
    """Whether a nasty cloud has another shape than the clean one, so that every program is compiled again."""
    return kind in ("N below D", "two widths", "few examples")


@pytest.fixture
def unchecked():
    """Calls with shapes and types unchecked, as users make them: a function's own messages are under test."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
