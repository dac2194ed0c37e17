"""For tests of the analysis."""

import jaxtyping
import pytest


@pytest.fixture
def unchecked():
    """Calls with shapes and types unchecked, as users make them: a function's own messages are under test."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
