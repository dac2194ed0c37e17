"""R² between a cell's states and its neutral cell's, from checkpoints: the right pair, kept, and read again."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.activations import extract, linear_maps
from analysis.activations.measure import Measurer, claim_site, hidden_states, probe_sites
from analysis.design import matched_controls
from analysis.metrics.similarity import linear_image
from analysis.results import collect
from lab.storage import checkpoint
from lab.study import axis, product
from tests.lab.conftest import PROGRAMS, study_of


def test_a_cell_is_compared_with_the_neutral_one_of_its_seed_and_stratum():
    study = study_of(
        grid=product(
            axis("prune.scope", ("global", "layerwise"), stage="prune"),
            axis("prune.sparsity", (0.0, 0.5, 0.8), stage="prune"),
            axis("seed", range(2)),
        )
    )
    for cell, twin in zip(study.cells, matched_controls(study), strict=True):
        if cell["prune.sparsity"] == 0.0:
            assert twin is None
        else:
            assert study.cells[twin] == {**cell, "prune.sparsity": 0.0}


def states_of(study, saved, row, seed):
    params = checkpoint.rows(checkpoint.load(saved, "params"), [row])
    one = jax.tree.map(lambda leaf: leaf[0], params)
    return jax.jit(lambda s, p: hidden_states(study, s, p))(jnp.int32(seed), one)[0]


@pytest.mark.slow
def test_the_table_has_r2_against_the_neutral_cell_at_the_end(trained, tmp_path):
    plan, store, _ = trained
    study, nodes = plan.study, plan.nodes_of_cells()
    results = collect(plan, store, Measurer(study, PROGRAMS, tmp_path), lambda *_: None)
    names = {f"{claim_site(study, use.label)}/image_r2" for use in study.tasks}
    assert {name for name in results.columns if name.endswith("image_r2")} == names
    for name in names:
        assert np.isnan(results.columns[name][:, :-1]).all()

    cell = next(i for i, twin in enumerate(matched_controls(study)) if twin is not None and study.cells[i]["seed"] == 1)
    pair = [store.final(nodes[i][-1].key) for i in (cell, matched_controls(study)[cell])]
    at = [str(place) for place in probe_sites(study)].index(str(claim_site(study, "word")))
    ours, neutral = (states_of(study, saved, row, 1)[at] for saved, row in pair)
    expected = float(min(jax.jit(linear_image)(ours, neutral)))
    column = results.columns[f"{claim_site(study, 'word')}/image_r2"][:, -1]
    assert column[cell] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(column[[i for i, twin in enumerate(matched_controls(study)) if twin is None]]).all()


def test_what_was_read_is_kept_and_a_damaged_file_is_read_again(trained, tmp_path):
    plan, store, _ = trained
    nodes = plan.nodes_of_cells()
    knobs = {n.key: n.knobs for row in nodes for n in row}
    ends = [store.final(row[-1].key) for row in nodes]
    pairs = [(ends[i], ends[twin]) for i, twin in enumerate(matched_controls(plan.study)) if twin is not None]
    measurer = Measurer(plan.study, PROGRAMS, tmp_path)
    first = linear_maps.read(measurer, pairs, knobs)
    (file,) = (tmp_path / "readings").iterdir()
    whole = file.read_text()
    file.write_text(json.dumps([[0.25] * len(first)] * len(pairs)))
    assert all((values == 0.25).all() for values in linear_maps.read(measurer, pairs, knobs).values())
    file.write_text(whole[:20])
    with pytest.warns(UserWarning, match=rf"{file.name} can't be read .*: measured again\."):
        again = linear_maps.read(measurer, pairs, knobs)
    for name, values in again.items():
        np.testing.assert_array_equal(values, first[name])
    assert file.read_text() == whole
    silent = Measurer(plan.study, PROGRAMS, tmp_path / "other", keep=False)
    assert linear_maps.read(silent, pairs, knobs).keys() == first.keys()
    assert not (tmp_path / "other").exists()
    assert all(values.shape == (0,) for values in linear_maps.read(silent, [], knobs).values())


def test_pictures_read_states_by_the_program_of_linear_images(trained, tmp_path):
    plan, store, _ = trained
    study, nodes = plan.study, plan.nodes_of_cells()
    knobs = {n.key: n.knobs for row in nodes for n in row}
    cell, twin = next((i, t) for i, t in enumerate(matched_controls(study)) if t is not None)
    ends = [store.final(nodes[i][-1].key) for i in (cell, twin)]
    linear_maps.read(Measurer(study, PROGRAMS, tmp_path, keep=False), [(ends[0], ends[1])], knobs)
    compiled = len(PROGRAMS.compiled)
    members = extract.find(study, store, [cell], study.stages[-1].end)
    sites = tuple(claim_site(study, use.label) for use in study.tasks)
    (block,) = extract.read(study, PROGRAMS, knobs, members, sites)
    assert block.cells == (cell,)
    assert len(PROGRAMS.compiled) == compiled
