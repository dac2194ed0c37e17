"""A branch continues from a study's checkpoints: nothing trained twice, equal where nothing changed, masks lifted."""

import jax
import numpy as np
import pytest

from lab.engine import device_grid, make_plan
from lab.engine.branch import STAGE, branch
from lab.engine.trainer import Trainer
from lab.errors import UserError
from lab.mechanisms.pruning_masks import prunable
from lab.storage import checkpoint, open_store
from lab.study.spec import WEIGHTS
from lab.training.step import Schedule
from tests.lab.conftest import LAYOUT, PROGRAMS, Silent, study_of, tiny_config


def carry_on(study, parent_store, workdir, programs=PROGRAMS):
    """Train a branch in a directory of its own, from the parents in another."""
    plan, progress = make_plan(study, LAYOUT), Silent()
    store = open_store(workdir, study, progress.note)
    store.nodes |= parent_store.nodes
    Trainer(plan, store, progress, programs).run()
    return plan, store, progress


@pytest.fixture(scope="module")
def arms(trained, tmp_path_factory):
    """The sparsest cell of seed 0 continued, and with its masks lifted; the dense cell continued."""
    parent, store, _ = trained
    cells = parent.study.cells
    dense, sparse = (
        next(i for i, c in enumerate(cells) if c["seed"] == 0 and c["prune.sparsity"] == s) for s in (0.0, SPARSEST)
    )
    study = branch(parent.study, [(dense, {}), (sparse, {}), (sparse, {"prune.sparsity": 0.0})], 6)
    return carry_on(study, store, tmp_path_factory.mktemp("branch"))


SPARSEST = 0.5


def final_params(arms, index):
    plan, store, _ = arms
    node = plan.nodes_of_cells()[index][-1]
    saved, row = store.final(node.key)
    return saved.step, checkpoint.rows(checkpoint.load(saved, "params"), [row])


def zeros(params):
    return sum(int((np.asarray(kernel) == 0).sum()) for kernel in prunable(params).values())


@pytest.mark.slow
def test_what_cells_did_before_is_not_trained_again(trained, arms):
    parent, _, _ = trained
    plan, _, progress = arms
    assert progress.cell_steps == 3 * 6
    before = {n.key for b in parent.program_groups for n in b.nodes}
    assert {n.key for b in plan.program_groups for n in b.nodes if n.stage < len(parent.study.stages)} < before
    assert plan.study.stages[-1].name == STAGE
    assert plan.study.stages[-1].end == parent.study.stages[-1].end + 6


@pytest.mark.slow
def test_masks_hold_where_a_cell_goes_on_and_are_lifted_where_its_sparsity_changes(arms):
    (step, sparse), (_, lifted) = final_params(arms, 1), final_params(arms, 2)
    total = sum(kernel.size for kernel in prunable(sparse).values())
    assert step == arms[0].study.stages[-1].end
    assert zeros(sparse) == round(SPARSEST * total)
    assert zeros(lifted) < 0.05 * total


class Watched:
    """The compiled programs, and every cell's state as rewinding returned it."""

    def __init__(self):
        self.layout, self.started = PROGRAMS.layout, []

    def get(self, name, content, function, arguments, **options):
        program = PROGRAMS.get(name, content, function, arguments, **options)

        def watched(*given):
            state = jax.device_get(program(*given))
            rows = len(jax.tree.leaves(state.params)[0])
            self.started += [jax.tree.map(lambda leaf, row=row: leaf[row], state) for row in range(rows)]
            return device_grid.to_devices(state, LAYOUT)

        return watched if name.startswith("rewinding") else program


@pytest.fixture(scope="module")
def rewound(trained, tmp_path_factory):
    """The sparsest cells of two seeds from the weights of step 3, and the first of them unchanged beside."""
    parent, store, _ = trained
    cells, programs = parent.study.cells, Watched()
    first, second = (cells.index({**cells[0], "prune.sparsity": SPARSEST, "seed": seed}) for seed in (0, 1))
    study = branch(parent.study, [(first, {WEIGHTS: EARLY}), (second, {WEIGHTS: EARLY}), (first, {})], 6)
    return *carry_on(study, store, tmp_path_factory.mktemp("rewound"), programs), programs.started


EARLY = 3  # of the steps 3 and 12 that are kept


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_rewound_cells_begin_with_the_early_weights_under_the_masks_of_the_harmed_setting(trained, rewound, seed):
    _, store, _ = trained
    plan, _, _, started = rewound
    first, *_, last = plan.nodes_of_cells()[seed]
    saved, row = store.final(last.parent)
    kept = checkpoint.rows(checkpoint.load(saved, "state"), [row])
    early, row = store.at(first.key, EARLY)
    expected = checkpoint.flat(checkpoint.rows(checkpoint.load(early, "params"), [row]))
    for path in prunable(started[0].params):
        expected[path] = np.where(kept[f"['extra']['prune'][{path!r}]"], expected[path], np.float32(0))
    masked = sum(int((expected[path] == 0).sum()) for path in prunable(started[0].params))
    assert masked == round(SPARSEST * sum(kernel.size for kernel in prunable(started[0].params).values()))
    found = [{path: leaf.tobytes() for path, leaf in checkpoint.flat(state.params).items()} for state in started]
    assert {path: leaf[0].tobytes() for path, leaf in expected.items()} in found
    for state in started:
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.moments))


@pytest.mark.slow
def test_rewound_cells_train_on_under_the_masks(rewound):
    plan, store, _, _ = rewound
    (step, rewound_end), (_, unchanged) = (final_params((plan, store, None), index) for index in (0, 2))
    assert step == plan.study.stages[-1].end
    for path, kernel in prunable(rewound_end).items():
        beside = np.asarray(prunable(unchanged)[path])
        np.testing.assert_array_equal(np.asarray(kernel) == 0, beside == 0)
        assert np.any(np.asarray(kernel) != beside)


@pytest.mark.slow
def test_a_branch_that_changes_nothing_is_the_study_with_a_longer_stage(trained, tmp_path):
    """Under a constant rate: 12 + 6 + 6 steps end in the same bits as 12 + 12."""
    parent, store, _ = trained
    study = branch(parent.study, [(0, {}), (1, {})], 6)
    plan, here, _ = carry_on(study, store, tmp_path / "branch")
    config = tiny_config()
    config.steps.prune = 12
    longer = study_of(config)
    longer_plan = make_plan(longer, LAYOUT)
    there = open_store(tmp_path / "longer", longer, print)
    Trainer(longer_plan, there, Silent(), PROGRAMS).run()
    for index in (0, 1):
        mine = checkpoint.gather([here.final(plan.nodes_of_cells()[index][-1].key)], "params")
        long = checkpoint.gather([there.final(longer_plan.nodes_of_cells()[index][-1].key)], "params")
        jax.tree.map(np.testing.assert_array_equal, mine, long)


def test_a_schedule_begins_again_over_the_branch():
    config = tiny_config()
    config.schedule = dict(name="wsd", warmup=2)
    study = study_of(config)
    end = study.stages[-1].end
    again = branch(study, [(0, {})], 60).schedule_at(len(study.stages))
    rates = [float(again(np.int32(end + step))) for step in (0, 1, 2, 30, 47, 54, 59)]
    assert again == Schedule("wsd", 2, 60, end)
    np.testing.assert_allclose(rates, [0.5, 1, 1, 1, 1, 0.5, 1 / 12], atol=1e-6)
    assert branch(study, [(0, {})], 60).schedule_at(0) == study.schedule


@pytest.mark.parametrize(
    ("then", "steps", "message"),
    [
        ({"prune.method": "random"}, 6, "prune.method can't change"),
        ({"memory.tokens": 2}, 6, "memory.tokens can't change"),
        ({"prune.sparsity": 2.0}, 6, "out of range"),
        ({"prune.sparity": 0.0}, 6, "unknown knob"),
        ({WEIGHTS: 4}, 6, "the weights of step 4 are not kept; those of 3, 12 are"),
        ({}, 5, "--repair_steps=5 must be a multiple of"),
    ],
)
def test_what_a_branch_cannot_be_is_said_in_a_sentence(then, steps, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        branch(study_of(), [(0, then)], steps)
