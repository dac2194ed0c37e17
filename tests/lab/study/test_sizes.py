"""Sizes of the model as axes: keys as of the model's own, layers counted in each cell, and what is refused."""

import numpy as np
import pytest

from analysis.activations.measure import claim_site
from analysis.design import neutral_value, strata
from analysis.results.density import Density, table, to_csv
from lab.engine import flops, make_plan
from lab.engine.branch import can_change
from lab.errors import UserError
from lab.study import axis, product, sizes, zipped
from tests.lab.conftest import LAYOUT, study_of, tiny_config


def sized_config(knob="model.layers", **probe):
    config = tiny_config()
    config.stages, config.steps, config.saves = ("train",), dict(train=12), dict(train=2)
    config.claim.knob = knob
    config.probe.update(probe)
    return config


def swept(*axes):
    return product(*axes, axis("seed", range(2)))


@pytest.fixture(scope="module")
def deep():
    return study_of(sized_config(), swept(axis("model.layers", (1, 2))))


def test_a_cell_has_the_key_of_a_study_whose_config_says_its_size(deep):
    for layers in (1, 2):
        config = sized_config("weight_decay.rate")
        config.model.layers = layers
        plain = study_of(config, swept(axis("weight_decay.rate", (0.0, 0.1))))
        mine = [key for key, cell in zip(deep.cell_keys, deep.cells, strict=True) if cell["model.layers"] == layers]
        assert mine == [k for k, c in zip(plain.cell_keys, plain.cells, strict=True) if not c["weight_decay.rate"]]
    assert len({*deep.cell_keys}) == 4
    assert deep.key(deep.cells[-1], 0) == deep.cell_keys[-1]


def test_each_size_is_a_program_of_its_own(deep):
    plan = make_plan(deep, LAYOUT)
    assert [group.program.spec.layers for group in plan.program_groups] == [2, 1]  # the largest first
    assert plan.compiles_of_axes() == {"model.layers": 1}
    assert neutral_value(deep) == 1
    assert not can_change(deep, "model.layers")


@pytest.mark.slow
def test_costs_are_those_of_the_cells_own_model():
    deep = study_of(sized_config(), swept(axis("model.layers", (1, 2, 3))))
    costs = dict(zip((cell["model.layers"] for cell in deep.cells), flops.planned(deep), strict=True))
    block = 4 * 16 * 16 + 2 * 16 * 32  # kernels; biases and scales come on top
    assert 0 <= costs[2][0] - costs[1][0] - block < 0.15 * block
    assert costs[3][0] - costs[2][0] == costs[2][0] - costs[1][0]
    assert costs[3][1] - costs[2][1] == costs[2][1] - costs[1][1] > 0


def test_negative_layers_are_counted_in_each_cell(deep):
    assert deep.probe_layers == (-1,)
    assert str(claim_site(deep, "facts")).startswith("facts/layer-1/")
    assert study_of(sized_config("model.width"), swept(axis("model.width", (16, 8)))).probe_layers == (1,)
    assert sizes.layers((0, -1, 1, -2), (1, 3), "f") == (-2, -1, 0, 1)
    assert sizes.layers((0, -1, 1, -2), (2, 2), "f") == (0, 1, 2)


def test_zipped_sizes_are_one_claim():
    pair = zipped(axis("model.width", (16, 8)), axis("model.mlp_width", (32, 16)))
    study = study_of(sized_config("model.width"), swept(pair))
    assert strata(study) == [{}]
    assert [(spec.width, spec.mlp_width) for spec in study.bare_specs] == [(16, 32), (8, 16)]
    assert (study.size_text("width"), study.size_text("layers")) == ("8 to 16", "1")


@pytest.mark.parametrize(
    ("config", "axes", "message"),
    [
        ({}, [axis("model.layers", (1, 65))], r"model\.layers=65 is out of range; it must lie in \[1, 64\]"),
        ({}, [axis("model.layers", (1, 1.5))], r"model\.layers=1\.5 must be a whole number"),
        ({}, [axis("model.depth", (1, 2))], r"'model\.depth' can't be an axis; of the model, model\.layers, .* can\."),
        ({}, [axis("model.layers", (1, 2), stage="train2")], r"unknown stage 'train2'"),
        (
            {"layers": (2,)},
            [axis("model.layers", (1, 2))],
            r"layers: layer 2 must .*, for there is a cell of model\.layers=1",
        ),
        ({"layers": (-3, -1)}, [axis("model.layers", (1, 2))], r"probe\.layers: layer -3 must lie in \[-2, 1\]"),
        (
            {},
            [axis("model.layers", (1, 2)), axis("model.heads", (2, 3))],
            r"sweep\(\): model\.heads=3 must divide model\.width=16",
        ),
        ({}, [axis("model.layers", (1, 2)), axis("model.width", (16, 256))], r"too few for width 256: .* = 2048"),
    ],
)
def test_what_a_cell_cannot_have_is_refused(config, axes, message):
    with pytest.raises(UserError, match=message):
        study_of(sized_config(**config), swept(*axes))


def test_sizes_are_set_in_the_model_and_not_among_the_knobs():
    config = sized_config()
    config.knobs = {"model": {"layers": 2}}
    with pytest.raises(UserError, match=r"config\.knobs\.model\.layers: .* is set as config\.model\.layers"):
        study_of(config, swept(axis("model.layers", (1, 2))))


def test_what_mechanisms_object_to_depends_on_the_cells_own_size():
    config = sized_config()
    config.knobs = {"fsq": {"levels": 5, "layer": 2}}
    with pytest.raises(UserError, match=r"fsq\.layer=2"):
        study_of(config, swept(axis("model.layers", (1, 2))))


def test_densities_of_models_that_are_not_equally_deep(deep):
    kernels = ("block_0/out", "block_1/out")
    size_CxK = np.asarray([[4, 0], [4, 0], [4, 4], [4, 4]])
    density = Density(kernels, size_CxK, size_CxK // 2)
    assert density.size_K.tolist() == [4, 4]
    lines = {line["kernel"]: line for line in table(deep, density, {})["lines"]}
    assert lines["block_1/out"]["shares"] == ["—", "50%"]
    assert (lines["all"]["weights"], lines["all"]["shares"]) == ("4 to 8", ["50%"] * 2)
    assert len(to_csv(deep, density).splitlines()) == 1 + 2 + 2 * 2
