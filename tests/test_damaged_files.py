"""Whatever is damaged in a work directory: its numbers stay, or a sentence says what is left out; nothing is believed.

A reader of the whole directory stands for a rerun of the study's command, which trains and measures again what the
reader leaves out.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from unittest.mock import Mock

import numpy as np
import pytest

from analysis.activations.inference_model import model_of
from analysis.activations.measure import Measurer, claim_site, probe_sites
from analysis.design import interim, undecidable
from analysis.metrics import BALANCE, CHECKS, METRICS
from analysis.results import collect, intervention_record, records, recovery_record, to_csv
from analysis.results.recovery_record import Repairs
from lab.errors import UserError
from lab.jobs.workdir import FILE, Workdir, read_study
from lab.storage import Store, checkpoint, open_store, read_document
from lab.storage.files import DIGEST
from tests.analysis.synthetic_study import outcome
from tests.damage import WHOLE, flips, replaced
from tests.lab.conftest import LAYOUT, PROGRAMS, study_of, tiny_config

RECORDS = (FILE, interim.FILE, intervention_record.FILE, str(recovery_record.FILE))


@pytest.fixture(scope="module")
def kept(recorded, tmp_path_factory):
    """(plan, a copy of the tiny study's work directory with every record that is read back, without checkpoints)."""
    plan, _, root = recorded
    study, work = plan.study, tmp_path_factory.mktemp("kept") / "work"
    work.mkdir()
    shutil.copy(root / FILE, work)
    interim.write(work, interim.begin(study, 3))
    values = {"dimension": np.arange(len(study.cells)) / 7, "remove/none/exact": np.ones(len(study.cells))}
    intervention_record.save(work, study, claim_site(study, "facts"), "value", values)
    (work / recovery_record.FILE).parent.mkdir()
    parents = (study.key(study.cells[0], len(study.stages) - 1),)
    recovery_record.write(work, Repairs(50, {"continue": "unchanged"}, (outcome("continue"),), parents))
    return plan, work


def read_back(plan, root):
    """(results.csv, records, notes) of a work directory, or the sentence of its refusal."""
    notes = []
    try:
        workdir = Workdir(root, plan.study, tiny_config(), LAYOUT)
        notes += workdir.check()
        store = open_store(root, plan.study, notes.append)
        measurer = Measurer(plan.study, PROGRAMS, root, keep=False, note=notes.append)
        results = to_csv(collect(plan, store, measurer, lambda *_: None))
        return results, repr(records.read(root, plan.study, None, notes.append)), notes
    except UserError as error:
        return str(error)


def records_back(plan, root):
    """The same of the records alone, which need no checkpoint, and of the study that is read from its record."""
    notes = []
    try:
        notes += Workdir(root, plan.study, tiny_config(), LAYOUT).check()
        return repr(read_study(root, METRICS)), repr(records.read(root, plan.study, None, notes.append)), notes
    except UserError as error:
        return str(error)


def assert_said(found, expected, file, root):
    """What was read is the same, or a sentence names the file, or the checkpoint that it is part of."""
    named = [str(path) for path in (file, *file.parents) if root in path.parents and path.name != "checkpoints"]
    if isinstance(found, str):
        assert any(name in found for name in named), found
        assert "\n" not in found
    elif found[:2] != expected[:2]:
        assert any(name in note for note in found[2] for name in named), (file, found[2])


def assert_never_silent(plan, root, file, contents, read, expected=None):
    """Each content of a file is said, or changes nothing; the file is then as it was."""
    expected, before = expected or read(plan, root), file.read_bytes()
    assert expected[2] == [], expected
    try:
        for content in contents:
            file.write_bytes(content)
            assert_said(read(plan, root), expected, file, root)
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("name", RECORDS)
def test_no_flipped_bit_of_a_record_is_believed(kept, name):
    plan, root = kept
    file = root / name
    assert_never_silent(plan, root, file, flips(file.read_bytes(), 15), records_back)


@pytest.mark.parametrize("name", RECORDS)
def test_no_other_content_of_a_record_is_a_traceback(kept, name):
    """Among them records of earlier versions, without a digest, whose values have other types."""
    plan, root = kept
    file = root / name
    old = {field: value for field, value in json.loads(file.read_bytes()).items() if field != DIGEST}
    expected = records_back(plan, root)
    before = file.read_bytes()
    try:
        file.write_text(json.dumps(old))
        assert records_back(plan, root)[:2] == expected[:2]
        for content in [*WHOLE, before[:-9], *replaced(old, 15)]:
            file.write_bytes(content)
            records_back(plan, root)
            with contextlib.suppress(UserError):  # which the command may refuse before
                read_study(root, METRICS)
    finally:
        file.write_bytes(before)


class MeasuredAgainError(Exception):
    pass


def test_no_flipped_bit_of_a_kept_reading_is_believed(trained, tmp_path, monkeypatch):
    plan, store, _ = trained
    saved, notes = store.final(plan.program_groups[-1].nodes[0].key)[0], []
    measurer = Measurer(plan.study, PROGRAMS, tmp_path, note=notes.append)
    row = {name: [0.5] * len(probe_sites(plan.study)) for name in (*METRICS, *CHECKS, *BALANCE)}
    file = measurer._path(saved, model_of(plan.study, saved, plan.knobs))
    measurer.put(file, [row] * len(saved.meta["cells"]))

    def read():
        try:
            return repr(measurer.read([saved], plan.knobs, lambda *_: None))
        except MeasuredAgainError:
            return ""

    monkeypatch.setattr(Measurer, "_measured", Mock(side_effect=MeasuredAgainError))
    whole, expected = file.read_bytes(), read()
    assert expected
    others = file.read_bytes().replace(file.name.encode(), b"another.json"), json.dumps([row]).encode()
    for content in (*flips(whole, 40), *replaced(json.loads(whole), 20), *WHOLE, *others):
        file.write_bytes(content)
        notes.clear()
        if found := read():
            assert found == expected
            assert not notes
        else:
            assert f"{file.name} " in notes[0]
            assert "measured again" in notes[0]
    file.write_text(json.dumps(json.loads(whole)["readings"]))  # as earlier versions kept them
    assert read() == expected


def checkpoints(root):
    """chunk/step -> its index, and the paths of damaged checkpoints."""
    found, damaged = checkpoint.scan(root)
    return {f"{chunk}/{saved.step}": saved.meta for chunk, saves in found.items() for saved in saves}, damaged


@pytest.fixture
def one_chunk(recorded, tmp_path):
    """(a work directory that holds the checkpoints of one chunk of the first stage only, their paths)."""
    chunk = sorted((recorded[2] / "checkpoints").glob("train-*"))[0]
    copy = shutil.copytree(chunk, tmp_path / "checkpoints" / chunk.name)
    return tmp_path, sorted(copy.iterdir())


@pytest.mark.slow
def test_no_flipped_bit_of_a_checkpoints_index_is_believed(one_chunk):
    root, (path, *others) = one_chunk
    for other in others:
        shutil.rmtree(other)
    found = checkpoints(root)
    assert len(found[0]) == 1
    file = path / "_CHECKPOINT_METADATA"
    for content in (*flips(file.read_bytes(), 10), b"{}", b""):
        file.write_bytes(content)
        assert checkpoints(root) in (found, ({}, [str(path)]))


@pytest.mark.slow
def test_another_checkpoint_in_its_place_is_damaged(one_chunk):
    """Another step's of the same chunk, and another chunk's of the same step."""
    root, (early, late) = one_chunk
    shutil.rmtree(late)
    shutil.copytree(early, late)
    moved = shutil.copytree(early, early.parent.with_name("train-0123456789abcdef") / early.name)
    found, damaged = checkpoints(root)
    assert list(found) == [f"{early.parent.name}/{int(early.name)}"]
    assert damaged == sorted([str(moved), str(late)])


@pytest.fixture(scope="module")
def whole(kept, recorded, tmp_path_factory):
    """(plan, a copy of the tiny study's work directory with every file that is read back)."""
    plan, records_only = kept
    root = shutil.copytree(records_only, tmp_path_factory.mktemp("whole") / "work")
    shutil.copytree(recorded[2] / "checkpoints", root / "checkpoints")
    collect(plan, open_store(root, plan.study, pytest.fail), Measurer(plan.study, PROGRAMS, root), lambda *_: None)
    return plan, root


# Orbax leaves reads of its own behind when a load fails, which complain of a closed event loop when they end.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(1))  # 100 flips a seed
def test_no_flipped_bit_of_any_file_is_believed(whole, seed):
    """A hundred, spread over the kinds of files as evenly as over the files of each kind."""
    plan, root = whole
    files = [file for file in sorted(root.rglob("*")) if file.is_file() and file.stat().st_size]
    kinds = {}
    for file in files:
        inside = file.relative_to(root).parts
        kinds.setdefault((inside[0], inside[3] if inside[3:] else "", file.name if inside[3:] else ""), []).append(file)
    rng, expected = np.random.default_rng(seed), read_back(plan, root)
    for index in range(100):
        chosen = list(kinds.values())[index % len(kinds)]
        file = chosen[rng.integers(len(chosen))]
        assert_never_silent(plan, root, file, flips(file.read_bytes(), 1, 100 * seed + index), read_back, expected)


@pytest.mark.parametrize("damage", ["gone", "cut off", "another study's"])
def test_a_record_is_made_again_where_every_checkpoint_is_the_studys(recorded, tmp_path, damage):
    plan, _, root = recorded
    work = shutil.copytree(root, tmp_path / "work")
    file, before = work / FILE, read_document(work / FILE)
    workdir = Workdir(work, plan.study, tiny_config(), LAYOUT)
    if damage == "gone":
        file.unlink()
    elif damage == "cut off":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        file.write_text(file.read_text().replace('"train": 12', '"train": 15'))
    said, note = workdir.claim()
    assert "every checkpoint is of this study" in said
    assert "(hash lost)" in note
    assert read_document(file) == before | {"other_claims": ["lost"]}
    assert workdir.claim() == [note]

    (config := tiny_config()).evaluation.examples = 32  # the checkpoints are another study's
    file.unlink()
    with pytest.raises(UserError, match=r"holds checkpoints but no study\.json; restore it"):
        Workdir(work, study_of(config), config, LAYOUT).claim()


def test_a_stage_counts_once_those_before_it_are_there(trained, tmp_path):
    """As the library sees a study whose first stage has a damaged checkpoint until the command trains it again."""
    plan, store, _ = trained
    first = {row[0].key for row in plan.nodes_of_cells()}
    left = Store(store.workdir, {key: place for key, place in store.nodes.items() if key not in first})
    results = collect(plan, left, Measurer(plan.study, PROGRAMS, tmp_path, keep=False), lambda *_: None)
    assert all(np.isnan(column).all() for column in results.columns.values())
    assert {key for row in results.shared for key in row} == {""}


def test_no_content_of_earlier_verdicts_is_a_traceback_in_the_plan(kept, tmp_path):
    plan, _ = kept
    file = tmp_path / "verdicts.json"
    document = {"claims": [{"ability": "facts/iid", "neutral_ability": 1.0, "delta": 0.05}]}
    expected = undecidable(plan.study, tmp_path)
    for content in (*WHOLE, *replaced(document, 60), *flips(json.dumps(document).encode(), 60)):
        file.write_bytes(content)
        assert undecidable(plan.study, tmp_path)[: len(expected)] == expected
