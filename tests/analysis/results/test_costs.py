"""What cells cost is counted in their checkpoints."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from analysis.results import Results, costs, density, table, to_csv
from lab.engine.plan import parameters
from lab.study import axis, product
from tests.lab.conftest import carry_out, study_of, tiny_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Cells that are pruned from the last stage on, with pauses or without: one program has room for the pauses."""
    config = tiny_config()
    config.saves = dict(train=2, prune=2)
    grid = product(
        axis("pause.tokens", (0, 1, 3)), axis("prune.sparsity", (0.0, 0.5), stage="prune"), axis("seed", (0,))
    )
    plan, store, _ = carry_out(study_of(config, grid), tmp_path_factory.mktemp("costs"))
    return plan, store, costs.count(plan, store)


@pytest.mark.slow
def test_parameters_are_the_cells_own(finished):
    plan, _, found = finished
    pauses = np.asarray([cell["pause.tokens"] for cell in plan.study.cells])
    # A vector for all pauses, and a position for each.
    width = plan.study.spec.width
    expected = parameters(plan.study.spec) + width * (pauses > 0) + width * pauses
    np.testing.assert_array_equal(found.parameters, np.broadcast_to(expected[:, None], found.parameters.shape))


@pytest.mark.slow
def test_active_parameters_lack_what_was_pruned(finished):
    plan, store, found = finished
    kernels = density.count(plan, store)
    removed = (kernels.size_K - kernels.nonzero_CxK).sum(axis=1)
    assert set(removed) == {0, round(0.5 * kernels.size_K.sum())}
    np.testing.assert_array_equal(found.parameters[:, -1] - found.active_parameters[:, -1], removed)
    before = plan.study.stages[0].saves
    assert (found.active_parameters[:, : len(before)] == found.parameters[:, : len(before)]).all()


@pytest.mark.slow
def test_flops_fall_with_every_pruned_weight_and_rise_with_every_place(finished):
    plan, _, found = finished
    tasks = {use.label: use.task.splits["train"].length + 1 for use in plan.study.tasks}
    assert len({use.examples for use in plan.study.tasks}) == 1
    tokens = np.mean(list(tasks.values()))
    by_setting = {
        (cell["pause.tokens"], cell["prune.sparsity"]): found.flops_per_example[index, -1]
        for index, cell in enumerate(plan.study.cells)
    }
    spec = plan.study.spec
    kernels = spec.layers * (4 * spec.width**2 + 2 * spec.width * spec.mlp_width)
    for pauses in (0, 1, 3):
        saved = by_setting[pauses, 0.0] - by_setting[pauses, 0.5]
        assert saved == pytest.approx(2 * (tokens + pauses) * kernels / 2)
    # One place more goes through all kernels, and looks at each of those before it and at itself.
    more = 2 * kernels + spec.layers * 4 * spec.width * (tokens + 1)
    assert by_setting[1, 0.0] - by_setting[0, 0.0] == pytest.approx(more)


@pytest.mark.slow
def test_training_is_three_passes_over_every_example_of_every_step(finished):
    plan, _, found = finished
    steps = np.diff([0, *(step for stage in plan.study.stages for step in stage.saves)])
    (examples,) = set(plan.study.examples)
    expected = np.cumsum(3 * examples * steps * found.flops_per_example, axis=1)
    np.testing.assert_allclose(found.training_flops, expected)
    assert (np.diff(found.training_flops) > 0).all()


@pytest.mark.slow
def test_the_table_of_results_has_them(finished):
    plan, _, found = finished
    saves = [(stage.name, step) for stage in plan.study.stages for step in stage.saves]
    loss = {"train/loss": np.ones(found.parameters.shape)}
    shared = tuple(("",) * len(saves) for _ in plan.study.cells)
    stages, steps = tuple(name for name, _ in saves), np.asarray([step for _, step in saves])
    results = Results(plan.study, steps, stages, loss, np.full(len(shared), -1), shared, costs=found)
    rows = list(csv.DictReader(io.StringIO(to_csv(results))))
    assert len(rows) == found.parameters.size
    for index, row in enumerate(rows):
        at = divmod(index, len(saves))
        assert int(row["parameters"]) == found.parameters[at]
        assert int(row["active_parameters"]) == found.active_parameters[at]
        assert float(row["flops_per_example"]) == pytest.approx(found.flops_per_example[at])
        assert float(row["training_flops"]) == pytest.approx(found.training_flops[at])


def test_readings_are_printed_as_pandas_prints_them():
    """Each text is made once, however many cells share it."""
    values = np.asarray([0.1, -0.0, 0.0, np.nan, np.inf, -np.inf, 1e-9, 123456789.0, 1 / 3, 0.1])
    expected = pd.DataFrame({"seed": range(len(values)), "a": values}).to_csv(index=False, float_format="%.7g")
    texts = pd.DataFrame({"seed": range(len(values)), "a": table._texts(values)}).to_csv(index=False)
    assert texts == expected
