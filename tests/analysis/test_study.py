"""A work directory read without its study's file: what comes back is what was trained, and nothing is written."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from scipy.spatial.distance import pdist

import analysis
from analysis.activations.measure import Measurer, hidden_states, probe_sites
from analysis.diagnosis import find
from analysis.metrics.registry import METRICS
from analysis.report import projections, verdicts_json
from analysis.results import collect, to_csv
from analysis.study import OpenStudy
from lab.errors import UserError
from lab.jobs.workdir import Workdir, read_study
from lab.storage import Store, checkpoint
from lab.study import axis, chain, product
from tests.lab.conftest import LAYOUT, PROGRAMS, study_of, tiny_config, tiny_sweep
from tests.tasks.task_cases import first_by_default

NOTEBOOK = Path(__file__).parents[2] / "docs" / "library.ipynb"

# Orbax closes its event loop at the first read that fails; others, still under way in TensorStore's threads, find it
# closed a little later, which Python reports as unraisable. Nothing of ours can wait for them but a moment of rest.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def rest():
    """Keeps what reads that were cut off report within the test that cut them off."""
    yield
    time.sleep(0.5)
    gc.collect()


def files(root):
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(recorded):
    """(plan, store, the tiny study's work directory), only read."""
    return recorded


@pytest.fixture(scope="module")
def results(whole, tmp_path_factory):
    """The results as run.py collects them, kept elsewhere."""
    plan, store, _ = whole
    return collect(plan, store, Measurer(plan.study, PROGRAMS, tmp_path_factory.mktemp("kept")), lambda *_: None)


@pytest.fixture(scope="module")
def opened(whole):
    return analysis.open_study(str(whole[2]))


def test_results_are_those_of_the_study_and_nothing_is_written(whole, results, opened):
    before = files(whole[2])
    table, lines = opened.results, to_csv(results).splitlines()
    names, rows = lines[0].split(","), [line.split(",") for line in lines[1:]]
    assert len(rows) == len(table["cell"]) == 6 * 3
    for name in ("prune.sparsity", "seed", "step", "facts/iid/exact", "word/length/logprob", "train/loss"):
        printed = np.asarray([float(row[names.index(name)]) for row in rows])
        np.testing.assert_allclose(table[name], printed, rtol=1e-6)
    latent = f"{probe_sites(opened.study)[0]}/participation_ratio"
    np.testing.assert_allclose(table[latent], [float(row[names.index(latent)]) for row in rows], rtol=1e-4)
    assert table["stage"].tolist() == ["train", "train", "prune"] * 6
    assert opened.cells[4]["prune.sparsity"] == table["prune.sparsity"][table["cell"] == 4][0]
    assert files(whole[2]) == before


def test_each_row_has_the_time_at_which_its_checkpoint_was_written(whole, results):
    plan, store, _ = whole
    for cell, row in enumerate(plan.nodes_of_cells()):
        saved = [one for node in row for one in store.nodes[node.key][0]]
        assert [one.path.stat().st_mtime for one in saved] == results.written_at[cell].tolist()


def test_verdicts_are_those_of_verdicts_json(results, opened):
    assert opened.verdicts == json.loads(verdicts_json.text(find(results)))


def test_findings_are_computed_once_and_split_into_strata(results, opened):
    findings = opened.findings
    assert findings is opened.findings
    assert findings.strata == [{}]
    assert [one.verdict for one in findings.claims] == [one.verdict for one in find(results).claims]
    mine = findings.in_stratum({})
    assert (mine.claims, mine.bounds, mine.lead_lag) == (findings.claims, findings.bounds, findings.lead_lag)
    assert not findings.in_stratum({"prune.scope": "global"}).claims


@pytest.mark.parametrize(
    ("step", "label", "layer", "read"), first_by_default([(18, "facts", 1, "answer"), (12, "word", 0, "last")])
)
def test_hidden_states_are_those_of_the_checkpoints_parameters(step, label, layer, read, whole, opened):
    """Against a loop over cells without any of the grid's machinery, at the end and where cells share a prefix."""
    plan, store, _ = whole
    study, seen = plan.study, []
    wide = probe_sites(study)
    for block in opened.hidden({"prune.sparsity": 0.5}, label=label, step=step, layer=layer, read=read):
        assert block.states_CxNxD.shape == (len(block.cells), study.probe_examples, study.spec.width)
        assert (block.step, block.place.label, block.place.layer, block.place.read) == (step, label, layer, read)
        for cell, states_NxD, labels_N in zip(block.cells, block.states_CxNxD, block.labels_CxN, strict=True):
            setting, stage = study.cells[cell], 0 if step == 12 else 1
            chunk, row = store.nodes[study.key(setting, stage)]
            saved = next(one for one in chunk if one.step == step)
            params = jax.tree.map(lambda leaf, row=row: leaf[row], checkpoint.load(saved, "params"))
            with jax.default_matmul_precision("highest"):
                expected = jax.jit(lambda s, p: hidden_states(study, s, p))(jnp.int32(setting["seed"]), params)
            if layer in study.probe_layers:
                at = next(i for i, p in enumerate(wide) if (p.label, p.layer, p.read) == (label, layer, read))
                np.testing.assert_allclose(states_NxD, expected[0][at], atol=1e-5)
            at = next(i for i, p in enumerate(wide) if p.label == label)
            np.testing.assert_array_equal(labels_N, expected[1][at])
        seen += block.cells
    assert sorted(seen) == [i for i, cell in enumerate(study.cells) if cell["prune.sparsity"] == 0.5]


def test_embeddings_are_the_planes_of_the_hidden_states(whole, results, opened):
    """A cell a setting, of one seed, at the claim's place after the last step; a task of the claim each."""
    plan, store, _ = whole
    found = projections.read(find(results), plan, store, PROGRAMS)
    assert [one.label for one in found] == list(dict.fromkeys(label for label, _ in plan.study.claim.abilities))
    for one in found:
        assert one.seed == 0
        assert [view.value for view in one.views][:: len(one.views) - 1] == [0.0, 0.5]
        for view in one.views:
            (cell,) = opened.select({"prune.sparsity": view.value, "seed": 0})
            (block,) = opened.hidden(cell, label=one.label)
            plane = projections.principal_plane(block.states_CxNxD[0])
            np.testing.assert_array_equal(one.labels_N, block.labels_CxN[0])
            np.testing.assert_allclose(pdist(view.plane.points_Nx2), pdist(plane.points_Nx2), atol=1e-4)
            assert view.exact == results.ability(one.label, one.split)[cell, -1]


def test_a_layer_that_the_study_does_not_measure(whole, opened):
    """Layer 0 of facts is a row of the embedding plus that of its position: brute force over the vocabulary."""
    plan, store, _ = whole
    (block,) = opened.hidden(0, label="facts", layer=0)
    chunk, row = store.nodes[plan.study.key(plan.study.cells[0], 1)]
    leaves = checkpoint.flat(checkpoint.load(chunk[-1], "params"))
    tables = [leaf[row] for leaf in leaves.values() if leaf[row].ndim == 2 and leaf[row].shape[1] == 16]
    sums = np.concatenate([(a[:, None] + b[None]).reshape(-1, 16) for a in tables for b in tables])
    gaps = [np.abs(sums - one).max(axis=1).min() for one in block.states_CxNxD[0, :20]]
    assert max(gaps) < 1e-5


def test_cells_are_selected_by_knobs(opened):
    assert opened.select() == tuple(range(6))
    assert opened.select({"prune.sparsity": 0.5, "seed": (0, 2)}) == (3, 5)
    assert opened.select({"seed": np.arange(2)}) == (0, 1, 3, 4)
    assert opened.select(np.int64(4)) == (4,)


def test_a_setting_is_selected_as_tables_print_it():
    grid = tiny_sweep((0.0, 0.1 + 0.2, 1 / 3, 0.6), 1)
    unread = analysis.study.OpenStudy(Path("work"), study_of(grid=grid), Store(Path("work")), [])
    for value, index in ((0.3, 1), (0.1 + 0.2, 1), (0.333333, 2), (np.array(0.6), 3)):
        assert unread.select({"prune.sparsity": value}) == (index,)
    assert unread.select({"prune.sparsity": np.array([0, 0.6])}) == (0, 3)
    with pytest.raises(UserError, match=r"no cell has prune\.sparsity=0\.33; there are"):
        unread.select({"prune.sparsity": 0.33})


@pytest.mark.parametrize(
    ("where", "options", "message"),
    [
        ({"prune.sparsty": 0.5}, {}, r"unknown knob 'prune.sparsty'. Nearest: prune.sparsity"),
        ({"prune.sparsity": 0.4}, {}, r"no cell has prune.sparsity=0.4; there are 0.0, 0.5"),
        ({"seed": ()}, {}, r"no cell has seed=\(\) together"),
        (6, {}, "there is no cell 6; there are 6"),
        ("seed", {}, "select cells by a dict"),
        (None, {"step": 7}, "step=7 is not kept; kept are 3, 12, 18"),
        (None, {"layer": 2}, r"layer=2: layer 2 must lie in \[-2, 1\]"),
        (None, {"label": "fact"}, "label='fact': no such task. Nearest: facts"),
        (None, {"label": None}, "label is missing; name one of the tasks facts, word"),
        (None, {"read": "lst"}, "no such read position of 'facts'"),
    ],
)
def test_what_the_study_does_not_have_is_said(where, options, message, opened):
    with pytest.raises(UserError, match=message):
        opened.hidden(where, **{"label": "facts", **options})


def test_a_study_that_is_still_training(whole, results, tmp_path):
    """While another process holds the lock, and where the second stage's chunks are not there yet."""
    plan, _, root = whole
    shutil.copytree(root, tmp_path / "half")
    for chunk in (tmp_path / "half" / "checkpoints").glob("prune-*"):
        shutil.rmtree(chunk)
    half_saved = tmp_path / "half" / "checkpoints" / "prune-0" / "18.orbax-checkpoint-tmp-1"
    half_saved.mkdir(parents=True)
    with Workdir(tmp_path / "half", plan.study, tiny_config(), LAYOUT).locked():
        before = files(tmp_path / "half")
        opened = analysis.open_study(tmp_path / "half")
        table = opened.results
        assert not opened.finished.any()
        assert set(table["step"].tolist()) == {3, 12}
        loss = results.columns["train/loss"][:, :2].ravel()
        np.testing.assert_array_equal(table["train/loss"], loss)
        with pytest.raises(UserError, match="6 of 6 cells are not trained to the end"):
            _ = opened.verdicts
        with pytest.raises(UserError, match=r"cell 0 .* is not trained"):
            opened.hidden(label="facts")
        assert next(opened.hidden(label="facts", step=12)).states_CxNxD.any()
        assert files(tmp_path / "half") == before
    assert half_saved.exists()


def test_a_chunk_under_way_is_read_up_to_where_it_is(whole, tmp_path):
    _, _, root = whole
    shutil.copytree(root, tmp_path / "half")
    for kept in ("prune-*", "train-*/*12"):  # the first stage has saved after step 3, and not yet after 12
        for path in (tmp_path / "half" / "checkpoints").glob(kept):
            shutil.rmtree(path)
    opened, complete = analysis.open_study(tmp_path / "half"), analysis.open_study(root)
    assert not opened.finished.any()
    for mine, theirs in zip(opened.hidden(label="facts", step=3), complete.hidden(label="facts", step=3), strict=True):
        assert mine.cells == theirs.cells
        np.testing.assert_array_equal(mine.states_CxNxD, theirs.states_CxNxD)
    with pytest.raises(UserError, match=r"cell 0 .* is not trained to step 12 yet"):
        opened.hidden(label="facts", step=12)


def damaged_copy(root, copy):
    """A copy of a work directory whose last checkpoints are cut in half."""
    shutil.copytree(root, copy)
    for part in (copy / "checkpoints").glob("prune-*/*/params"):
        for file in (p for p in part.rglob("*") if p.is_file() and "d" in p.parts):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return copy


def test_a_damaged_checkpoint_is_named(whole, tmp_path, rest):
    opened = analysis.open_study(damaged_copy(whole[2], tmp_path / "work"))
    with pytest.raises(UserError, match=r"params .*rerunning the study's command"):
        list(opened.hidden(label="facts"))


def test_the_record_alone_gives_the_study_back(tmp_path):
    """Axes in order and with their stages; a value that does nothing in a cell is still that cell's."""
    grid = chain(
        product(
            axis("prune.method", ("magnitude", "random"), stage="prune"), axis("prune.sparsity", (0.0, 0.5), "prune")
        ),
        product(axis("prune.sparsity", (0.9,), "prune"), axis("seed", (1, 2))),
    )
    config = tiny_config()
    config.knobs.weight_decay = dict(rate=0.3)
    study = study_of(config, grid)
    Workdir(tmp_path, study, config, LAYOUT).claim()
    assert read_study(tmp_path, METRICS) == study


def test_records_of_earlier_versions(tmp_path):
    study = study_of()
    workdir = Workdir(tmp_path, study, tiny_config(), LAYOUT)
    workdir.claim()
    record = json.loads((tmp_path / "study.json").read_text())
    del record["grid"], record["digest"]
    (tmp_path / "study.json").write_text(json.dumps(record))
    assert read_study(tmp_path, METRICS) == study
    assert workdir.claim() == []  # which completes it
    assert "grid" in json.loads((tmp_path / "study.json").read_text())

    record["axes"]["prune.method"] = "prune"  # which method an unpruned cell has was not written down
    (tmp_path / "study.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"study\.json .*'prune.method'.*rerun the study's command once"):
        read_study(tmp_path, METRICS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: "{", "is not a study's record"),
        (lambda r: "[1]", "is not a study's record"),
        (lambda r: json.dumps(r | {"grid": 3}), "is not a study's record"),
        (lambda r: json.dumps(r | {"claim_hash": "0"}), "another claim"),
        (lambda r: json.dumps(r).replace("prune.sparsity", "prune.gone"), r"can't be read back .*prune\.gone"),
    ],
)
def test_a_broken_record_is_one_sentence(change, message, tmp_path):
    Workdir(tmp_path, study_of(), tiny_config(), LAYOUT).claim()
    file = tmp_path / "study.json"
    file.write_text(change(json.loads(file.read_text())))
    with pytest.raises(UserError, match=message):
        analysis.open_study(tmp_path)


def test_no_work_directory_and_another_versions_checkpoints(whole, tmp_path):
    with pytest.raises(UserError, match=r"has no study\.json"):
        analysis.open_study(tmp_path)
    config = tiny_config()
    config.evaluation.examples = 32  # other keys: as if these checkpoints were another version's
    Workdir(tmp_path, study_of(config), config, LAYOUT).claim()
    shutil.copytree(whole[2] / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(UserError, match="another version of the lab"):
        analysis.open_study(tmp_path)


@pytest.mark.slow
def test_on_another_number_of_devices(whole, opened):
    """The five lines of the README, in a process that has used one device before."""
    code = (
        "import sys, analysis; assert 'jax' not in sys.modules\n"
        "import jax; jax.devices()\n"
        f"study = analysis.open_study({str(whole[2])!r})\n"
        "block = next(study.hidden({'seed': 1, 'prune.sparsity': 0.5}, label='word'))\n"
        "import jax; assert jax.device_count() == 1\n"
        "print(block.cells, float(abs(block.states_CxNxD).sum()), block.labels_CxN.sum())"
    )
    env = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    here = next(opened.hidden(4, label="word"))
    assert done.stdout.startswith("(4,)"), done.stderr
    assert float(done.stdout.split()[1]) == pytest.approx(float(np.abs(here.states_CxNxD).sum()), rel=1e-4)
    assert int(done.stdout.split()[2]) == here.labels_CxN.sum()


@pytest.mark.slow
def test_what_is_measured_again_has_the_studys_bits(whole):
    """A library in a process of its own rounds as the command, which makes every core a device; or else it says so."""
    code = (
        "import sys, jax, analysis\n"
        "if sys.argv[1]: jax.config.update('jax_num_cpu_devices', int(sys.argv[1])); jax.devices()\n"
        f"results = analysis.open_study({str(whole[2])!r}).results\n"
        "print({name: column.tobytes() for name, column in results.items() if '/' in name})"
    )
    cache = os.environ["JAX_COMPILATION_CACHE_DIR"]  # the two that should agree share their programs
    env = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PATH": "", "JAX_COMPILATION_CACHE_DIR": cache}
    library, command, other = (
        subprocess.run([sys.executable, "-c", code, n], capture_output=True, text=True, env=env, timeout=120)
        for n in ("", "2", "1")
    )
    assert library.stderr == command.stderr == ""
    assert library.stdout == command.stdout != ""
    assert "are measured on another device layout (1 cpu device, chunk 4, width 1)" in other.stderr


@pytest.mark.parametrize(("here", "said"), [(LAYOUT, False), (dataclasses.replace(LAYOUT, devices=1), True)])
def test_readings_of_another_layout_are_named(here, said, whole, opened, monkeypatch):
    """Only those that are measured: kept ones are the study's own."""
    plan, store, root = whole
    reader = OpenStudy(root, plan.study, store, [], [LAYOUT])
    vars(reader)["_plan"] = dataclasses.replace(plan, layout=here)
    measured = []
    monkeypatch.setattr("analysis.study.collect", lambda plan, store, measurer, _: measured.append(measurer))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        reader._collect(plan)
        assert not warned
        monkeypatch.setattr("analysis.study.collect", lambda plan, store, measurer, _: measurer.put(root / "no", []))
        reader._collect(plan)
    assert ["on another device layout" in str(one.message) for one in warned] == [True] * said


def test_the_notebook_runs(opened, monkeypatch, capsys):
    """Its code cells in their order, with the tiny study in place of the one that they name."""
    asked = []
    monkeypatch.setattr(analysis, "open_study", lambda path: asked.append(path) or opened)
    matplotlib.use("Agg")
    names = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    (axes,) = names["plt"].gcf().axes
    drawn = np.stack(axes.lines[0].get_data(), axis=1)
    names["plt"].close("all")
    assert asked == ["runs/pruning-quick"]
    assert drawn.shape == (6, 2)
    assert set(drawn[:, 0]) == {0.0, 0.5}
    assert "facts/iid participation_ratio undecided" in capsys.readouterr().out
    assert np.isfinite(names["spread"]).all()


def test_the_notebook_is_small_and_names_no_machine():
    text = NOTEBOOK.read_text()
    outputs = [each for cell in json.loads(text)["cells"] for each in cell.get("outputs", [])]
    assert not any(each["output_type"] == "error" for each in outputs)
    assert len(text) < 40_000
    assert not re.search(r"/(tmp|home|root|Users|work)/", text)
