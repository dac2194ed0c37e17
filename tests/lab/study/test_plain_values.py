"""NumPy's and JAX's numbers in a study mean what Python's do; values that training can't tell apart are named."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from lab.errors import UserError
from lab.jobs.workdir import Workdir
from lab.mechanisms.knobs import alike
from lab.study import axis, product, zipped
from tests.lab.conftest import LAYOUT, study_of, tiny_config, tiny_sweep

SEEDS = ([0, 1], np.arange(2), np.arange(2, dtype=np.uint8), [np.int64(0), np.array(1)], jnp.arange(2), range(2))
SPARSITIES = ((0.0, 0.5), np.linspace(0.0, 0.5, 2), np.array([0, 0.5], np.float32), [0, jnp.float32(0.5)])


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("sparsities", SPARSITIES)
def test_axes_take_numbers_of_numpy_and_jax(seeds, sparsities):
    grid = product(axis("prune.sparsity", sparsities, stage="prune"), axis("seed", seeds))
    assert grid.points == tiny_sweep((0.0, 0.5), 2).points
    types = {type(value) for point in grid.points for _, value in point}
    assert types <= {int, float}


def record(path, config, grid):
    study = study_of(config, grid)
    return json.dumps(Workdir(path, study, config, LAYOUT).record), [study.key(cell, 1) for cell in study.cells]


def test_fields_take_numbers_of_numpy_and_jax(tmp_path):
    config, plain = tiny_config(), tiny_config()
    for fields, of in ((config, np.float64), (plain, float)):
        fields.claim.alpha = of(0.05)
        fields.knobs = dict(weight_decay=dict(rate=of(0.25)))
    config.steps = dict(train=np.int64(12), prune=jnp.int32(6))
    config.tasks.facts = dict(task="facts", facts=np.int16(8), values=np.array(4), examples=np.int64(4))
    config.probe.layers, plain.probe.layers = np.array([0, -1]), (0, -1)
    config.evaluation.examples = np.uint16(16)
    assert record(tmp_path, config, tiny_sweep()) == record(tmp_path, plain, tiny_sweep())


@pytest.mark.parametrize("value", [None, [0.5], {}, np.ones(2), 1j])
def test_what_is_no_value_is_refused(value):
    with pytest.raises(UserError, match=r"axis 'prune\.sparsity' has a value of type \w+; every value must be one"):
        axis("prune.sparsity", (0.0, value))


def test_one_value_is_no_axis():
    with pytest.raises(UserError, match=r"axis 'seed' has 8; give it several values"):
        axis("seed", 8)


def test_a_numpy_bool_is_no_number():
    with pytest.raises(UserError, match=r"prune\.sparsity=True must be a number in \[0, 1\]"):
        study_of(grid=product(axis("prune.sparsity", (0.0, np.True_)), axis("seed", (0,))))


def test_values_that_are_one_number_to_training_are_named():
    rates = axis("weight_decay.rate", (0.0, 0.3, 0.1 + 0.2))
    (note,) = study_of(grid=product(rates, tiny_sweep())).notes
    assert "axis 'weight_decay.rate': 0.3 and 0.30000000000000004 are one number to training (float32)" in note
    large = axis("label_smoothing.relax_from", (0, 2**29, 2**29 + 1, 2**28, 2**28 + 1))
    smoothed = zipped(axis("label_smoothing.rate", (0.0, 0.1, 0.2, 0.3, 0.4)), large)
    (note,) = study_of(grid=product(smoothed, tiny_sweep())).notes
    assert "536870912 and 536870913 are one number to training (float32), as are others of its values" in note


def test_seeds_are_told_apart():
    assert study_of(grid=product(axis("prune.sparsity", (0.0, 0.5)), axis("seed", (20240101, 20240102)))).notes == ()
    assert alike("seed", (2**31 - 1, 2**31 - 2)) == []
    assert alike("prune.scope", ("global", "layerwise")) == []


@pytest.mark.parametrize("name", ["a" * 101, "..", "a/b", "-a", ".a", "a\n", "a b", "", "\x1b"])
def test_a_tasks_label_fits_a_files(name):
    config = tiny_config()
    config.tasks = ConfigDict({name: dict(task="facts", facts=8, values=4)}, allow_dotted_keys=True)
    with pytest.raises(UserError, match=r"^config\.tasks: the name [^\n]*$"):
        study_of(config)


@pytest.mark.parametrize(("name", "taken"), [("s" * 100, True), ("s" * 101, False), ("é" * 51, False)])
def test_a_stages_name_fits_a_files(name, taken):
    config = tiny_config()
    config.stages = ("train", name)
    config.steps, config.saves = {"train": 12, name: 6}, {"train": 2, name: 1}
    grid = product(axis("prune.sparsity", (0.0, 0.5), stage=name), axis("seed", (0,)))
    if taken:
        assert study_of(config, grid).stages[1].name == name
        return
    with pytest.raises(UserError, match=r"^config\.stages[^\n]*(takes 102 bytes, too many for a file|must be a tuple)"):
        study_of(config, grid)
