"""Strict numerics for every test, and two host devices so that sharding is exercised on any machine.

Compiling is most of what the suite costs. Compiled programs are kept next to pytest's own cache: workers, processes
that a test starts and the next run share them. Only tests marked `as_shipped` compile as users' programs do.
"""

import ctypes
import gc
import os
import resource
import shutil
from pathlib import Path

os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=2",
        "--xla_cpu_use_fusion_emitters=false",  # the older emitters compile more than twice as fast
        "--xla_cpu_parallel_codegen_split_count=1",  # the other core has a worker of its own
    )
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # see device_grid.lapack_on_one_thread
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

gc.set_threshold(50_000, 20, 20)  # tracing makes many objects: the default took an eighth of the time
install_import_hook(["analysis.metrics", "analysis.stats"], "beartype.beartype")  # shapes are checked in every call

hypothesis.settings.register_profile("quick", max_examples=8, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=50, deadline=None)  # of the slow layer
hypothesis.settings.load_profile("quick")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


MEMORY_LIMIT = 2 * 2**30  # bytes at which a process drops what it compiled; one test adds less than 1 GiB


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Optimize for tests marked `as_shipped` only; free the compiled programs of a process that has grown large."""
    jax.config.update("jax_disable_most_optimizations", item.get_closest_marker("as_shipped") is None)
    if memory() > MEMORY_LIMIT:
        forget_programs()


@pytest.fixture(autouse=True)
def as_shipped(request, monkeypatch):
    """Tests marked `as_shipped` compile the lab's programs with the emitters that users' programs are compiled with."""
    if request.node.get_closest_marker("as_shipped"):
        from lab.engine import device_grid

        options = {**device_grid.OPTIONS["cpu"], "xla_cpu_use_fusion_emitters": True}
        monkeypatch.setitem(device_grid.OPTIONS, "cpu", options)


def memory():
    """Bytes of this process that are in memory; 0 where the system doesn't say (no Linux)."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else 0


def forget_programs():
    """Drop all compiled programs, and give their memory back to the system."""
    from tests.lab.conftest import PROGRAMS

    PROGRAMS._programs.clear()
    jax.clear_caches()
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc
        libc.malloc_trim(0)


def pytest_collection_finish():
    """What is loaded and collected stays: the garbage collector needn't look at it again."""
    gc.freeze()


LONGEST = (
    "test_conformance.py",
    "test_neutrality.py",
    "test_trainer.py",
    "test_study.py",
    "test_resume.py",
    "test_latent_computation.py",
    "test_diagnose.py",
    "test_bottlenecks.py",
    "test_regularizers.py",
    "test_device_grid.py",
    "test_pruning.py",
    "test_training_data.py",
    "test_write.py",
    "test_maze.py",
    "test_latent_training.py",
    "test_curriculum.py",
    "test_on_call.py",
    "test_readings.py",
    "test_bad_input.py",
    "test_branch.py",
    "test_recovery_record.py",
    "test_tuning.py",
    "test_command.py",
    "test_evaluate.py",
    "test_reproduce.py",
)


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker is left with one at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


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
