"""Strict numerics for every test, and two host devices so that sharding is exercised on any machine.

Compiled programs are kept beside pytest's own cache: workers, processes that a test starts and the next run share them.
"""

import os
import shutil
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # see population.lapack_on_one_thread
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook(["analysis.metrics", "analysis.stats"], "beartype.beartype")  # shapes are checked in every call

hypothesis.settings.register_profile("quick", max_examples=8, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=50, deadline=None)  # of the slow layer
hypothesis.settings.load_profile("quick")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Compiling is most of what the suite costs: only tests marked `as_shipped` optimize as users' programs do."""
    jax.config.update("jax_disable_most_optimizations", item.get_closest_marker("as_shipped") is None)


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left with one at the end."""
    longest = ("test_population.py", "test_kill.py", "test_study.py")
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The tiny study, trained once for all tests of a process that only read it: (plan, store, progress)."""
    from tests.lab.conftest import carry_out, study_of

    return carry_out(study_of(), tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def recorded(trained, tmp_path_factory):
    """(plan, store, a copy of the tiny study's work directory with its record), for tests that only read it."""
    from lab.jobs.workdir import Workdir
    from tests.lab.conftest import LAYOUT, tiny_config

    plan, store, _ = trained
    root = tmp_path_factory.mktemp("recorded") / "work"
    root.mkdir()
    Workdir(root, plan.study, tiny_config(), LAYOUT).claim()
    shutil.copytree(store.workdir / "checkpoints", root / "checkpoints")
    return plan, store, root
