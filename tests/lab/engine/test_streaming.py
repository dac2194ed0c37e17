"""Grids larger than the devices hold: what is alive on them is bounded by one device round, not by the grid."""

import contextlib
import gc

import jax
import pytest

from lab.engine import make_plan
from lab.engine.trainer import Trainer
from lab.storage import open_store
from tests.lab.conftest import LAYOUT, PROGRAMS, Silent, study_of, tiny_sweep


class Guarded(Silent):
    """Notes whether each call's losses were read where transfers that aren't named are refused."""

    def __init__(self):
        super().__init__()
        self.level, self.levels = "", []

    @contextlib.contextmanager
    def guard(self, level):
        self.level = level
        yield
        self.level = ""

    def advanced(self, cell_steps, cells):
        super().advanced(cell_steps, cells)
        self.levels.append(self.level)


class Watching(Silent):
    """Counts the bytes of all arrays on devices after every call."""

    def __init__(self):
        super().__init__()
        self.bytes = []

    def advanced(self, cell_steps, cells):
        super().advanced(cell_steps, cells)
        self.bytes.append(sum(array.nbytes for array in jax.live_arrays()))


def most_alive(workdir, device_rounds):
    """The most bytes that so many device rounds of full chunks had on the devices, apart from what was there before."""
    cells = device_rounds * LAYOUT.devices * LAYOUT.chunk
    study, watching = study_of(grid=tiny_sweep((0.0,), seeds=cells)), Watching()
    gc.collect()
    before = sum(array.nbytes for array in jax.live_arrays())
    Trainer(make_plan(study, LAYOUT), open_store(workdir, study, print), watching, PROGRAMS).run()
    assert watching.cells == cells
    return max(watching.bytes) - before


@pytest.mark.slow
def test_a_larger_grid_takes_no_more_of_the_devices(tmp_path):
    one, two = most_alive(tmp_path / "one", device_rounds=1), most_alive(tmp_path / "two", device_rounds=2)
    assert 0 < two <= 1.05 * one


@pytest.mark.slow
def test_nothing_crosses_to_the_host_within_a_stage_unnamed(tmp_path, monkeypatch):
    guarded = Guarded()
    monkeypatch.setattr(jax, "transfer_guard", guarded.guard)  # a CPU has nothing to refuse
    study = study_of(grid=tiny_sweep((0.0,), seeds=2))
    Trainer(make_plan(study, LAYOUT), open_store(tmp_path, study, print), guarded, PROGRAMS).run()
    assert guarded.cells == 2
    assert set(guarded.levels) == {"disallow"}
