"""`run.py` on a frozen study of a tiny model: what is written, what is read again, and what is refused."""

import json
import math
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ablations.pretrained import VARIANTS
from analysis import judge_arrays
from analysis.external.judge import read as read_arrays
from analysis.frozen import measure
from analysis.frozen.views import ALONG
from analysis.metrics import METRICS, geometry
from analysis.metrics.noisy_mutual_information import noise_information
from analysis.metrics.spectra import isotropy
from lab.frozen.embed import Embedder, read_questions
from lab.storage import pretrained
from tests.analysis.frozen.conftest import VIEWS, content, rows_of
from tests.tiny_pretrained import write_folder, write_questions

SETTINGS = ("0", "0.5", "1")


def test_every_view_is_written_and_the_map_is_in_the_report(once):
    for name in VIEWS:
        assert (once / name).stat().st_size > 0
    for name in ("map", "curves"):
        assert (once / "figures" / f"{name}.svg").read_text().startswith("<")
        assert len((once / "figures" / f"{name}.csv").read_text().splitlines()) > 3
    assert len(list((once / "settings").glob("*.json"))) == 3
    html = (once / "report.html").read_text()
    assert html.count("<svg") == 2
    assert not list(once.rglob("*.partial"))
    for line in json.loads((once / "verdicts.json").read_text())["answers"]:
        assert line in (once / "report.md").read_text()


def test_accuracy_in_the_table_is_that_of_a_loop_over_questions(once, study):
    questions = read_questions(study)
    embedder = Embedder(study, pretrained.read(study.model_dir), questions)
    rows, expected = rows_of(once), []
    for power in (0.0, 0.5, 1.0):
        vectors = embedder.vectors(power).tolist()
        answered = [[] for _ in range(12)]
        for asked, choices, answer, fold in zip(
            questions.question_Q, questions.choices, questions.answer_Q, questions.fold_Q, strict=True
        ):
            cosines = [cosine(vectors[asked], vectors[choice]) for choice in choices]
            answered[fold].append(max(cosines) == cosines[answer] and cosines.index(max(cosines)) == answer)
        expected += [(sum(fold) / len(fold), len(fold)) for fold in answered]
    assert [int(row["fold"]) for row in rows] == [*range(12)] * 3
    assert [row["whitening.power"] for row in rows] == [power for power in SETTINGS for _ in range(12)]
    assert [int(row["questions"]) for row in rows] == [count for _, count in expected]
    np.testing.assert_allclose([float(row["accuracy"]) for row in rows], [share for share, _ in expected], rtol=1e-6)


def cosine(one, other):
    sizes = math.sqrt(math.fsum(x * x for x in one)) * math.sqrt(math.fsum(x * x for x in other))
    return round(math.fsum(x * y for x, y in zip(one, other, strict=True)) / sizes, 12)


def test_readings_in_the_table_are_of_the_vectors_of_a_folds_questions(once, study):
    questions = read_questions(study)
    vectors_NxD = pretrained.vectors(pretrained.read(study.model_dir), questions.texts).astype(float)
    for fold, row in enumerate(rows_of(once)[:12]):
        mine = np.stack([vectors_NxD[index] for index in questions.question_Q[questions.fold_Q == fold]])
        unit, centred = mine / np.linalg.norm(mine, axis=1, keepdims=True), mine - mine.mean(axis=0)
        cosines, sigma = unit @ unit.T, np.linalg.svd(centred, compute_uv=False)
        share, count = sigma / sigma.sum(), len(mine)
        expected = {
            "isotropy_mean_cosine": (cosines.sum() - np.trace(cosines)) / (count * (count - 1)),
            "participation_ratio": (sigma**2).sum() ** 2 / (sigma**4).sum(),
            "rank_me": np.exp(-(share * np.log(share)).sum()),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(float(row[name]), value, rtol=1e-4)


@pytest.mark.slow
def test_every_reading_that_a_claim_may_name_is_that_of_its_metric():
    states_NxD = jnp.asarray(np.random.default_rng(0).normal(size=(100, 8)), jnp.float32)
    found = measure.read_states(measure.READINGS_OF_STATES, np.asarray(states_NxD))
    assert found.keys() == {*measure.READINGS_OF_STATES}
    assert all(np.isfinite(value) for value in found.values())
    np.testing.assert_allclose(found["rank_me"], jax.jit(geometry.rank_me)(states_NxD), rtol=1e-5)
    np.testing.assert_allclose(found["two_nn"], jax.jit(geometry.two_nn)(states_NxD).dimension, rtol=1e-5)
    np.testing.assert_allclose(found["isotropy_mean_cosine"], isotropy.function(states_NxD).mean_cosine, atol=1e-6)
    lower, upper = jax.jit(noise_information)(states_NxD, jnp.float32(0.1))  # at its default size of noise
    np.testing.assert_allclose(found["noise_information_lower"], lower, rtol=1e-5)
    np.testing.assert_allclose(found["noise_information_upper"], upper, rtol=1e-5)
    assert not any(METRICS[name].needs_labels for name in measure.ALWAYS)


def test_a_rerun_reads_nothing_and_changes_no_byte(once, workdir, start, monkeypatch):
    def never(self, value):
        raise AssertionError(f"{value} is read again")

    monkeypatch.setattr(Embedder, "vectors", never)
    # The command is part of a report: that of the copy names another directory.
    before = {name: data.replace(str(once).encode(), str(workdir).encode()) for name, data in content(workdir).items()}
    status, out, err = start(workdir)
    assert (status, err) == (0, "")
    assert "0 of 3 settings to read, 0 passes over the texts" in out
    assert "Everything is read; only the views are rebuilt." in out
    for line in json.loads((workdir / "verdicts.json").read_text())["answers"]:
        assert f"· {line}" in out
    after = content(workdir)
    assert after.keys() == before.keys()
    for name in before:
        if not name.startswith("tb/"):  # whose text holds the command, too, and its own checksums
            assert after[name] == before[name], name


def test_settings_that_are_gone_or_damaged_are_read_again_to_the_same_numbers(once, workdir, start, unread):
    gone, cut, edited = files = sorted((workdir / "settings").glob("*.json"))
    kept = [file.read_bytes() for file in files]
    gone.unlink()
    cut.write_bytes(kept[1][: len(kept[1]) // 2])
    record = json.loads(kept[2])
    record["accuracy"][3] = 1 - record["accuracy"][3]
    edited.write_text(json.dumps(record))
    for name in ("results.csv", "verdicts.json"):
        (workdir / name).unlink()
    status, out, err = start(workdir)
    assert (status, err) == (0, "")
    assert "3 of 3 settings to read" in out
    assert unread == [0.0, 0.5, 1.0]
    assert [file.read_bytes() for file in files] == kept
    for name in ("results.csv", "verdicts.json"):
        assert (workdir / name).read_bytes() == (once / name).read_bytes()


@pytest.mark.parametrize(
    "record",
    [
        {"accuracy": [], "latent": {}},
        {"accuracy": ["a"] * 12, "latent": {}},
        {"accuracy": [0.5] * 12, "latent": {"rank_me": [1.0] * 12}},
    ],
)
def test_a_setting_of_another_shape_counts_as_none(record, workdir, start, unread):
    """A document without its digest comes back as it is: who reads it checks what is in it."""
    file = sorted((workdir / "settings").glob("*.json"))[1]
    kept = file.read_bytes()
    file.write_text(json.dumps(record))
    status, _, err = start(workdir)
    assert (status, err) == (0, "")
    assert len(unread) == 1
    assert file.read_bytes() == kept


def test_a_further_setting_is_read_alone(once, workdir, start, unread):
    status, _, _ = start(workdir, settings="(0, 0.25, 0.5, 1)")
    assert status == 0
    assert unread == [0.25]
    rows, before = rows_of(workdir), rows_of(once)
    assert [row for row in rows if row["whitening.power"] != "0.25"] == before
    assert len(rows) == 48


@pytest.mark.slow
def test_a_reading_at_neutral_serves_another_knob(once, tmp_path, start, unread):
    """Of the same claimed readings; the directory is another one, as another knob is another claim."""
    shutil.copytree(once / "settings", tmp_path / "work" / "settings")
    status, _, _ = start(tmp_path / "work", variant="layers", settings="(0, 1)")
    assert status == 0
    assert unread == [1.0]


@pytest.mark.parametrize(
    "change",
    [
        "--config.claim.delta=0.2",
        "--config.claim.alpha=0.01",
        "--config.claim.gains.rank_me=-1",
        "--config.claim.gains.two_nn=-1",
        "--config.seed=1",
    ],
)
def test_a_directory_of_another_claim_is_refused_and_left_as_it_is(change, workdir, start, unread):
    before = content(workdir)
    status, _, err = start(workdir, change)
    assert status == 2
    assert re.search(
        r"holds a study of another claim \(\w+, not \w+\), which was fixed before it was read; name ano", err
    )
    assert len(err.strip().splitlines()) == 1
    assert content(workdir) == before
    assert not unread


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "study.json can't be read (it is cut off, or no JSON); name another directory with --workdir."),
        ('{"config": {}}', "holds a study that trains; name another directory with --workdir."),
        ("[]", "holds a study that trains; name another directory with --workdir."),
    ],
)
def test_a_directory_of_something_else_is_refused(record, message, tmp_path, start, unread):
    (tmp_path / "study.json").write_text(record)
    status, _, err = start(tmp_path)
    assert status == 2
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]
    assert not unread


@pytest.mark.parametrize(
    ("model", "questions"),
    [("model", "others"), ("another", "questions")],
)
def test_a_directory_of_another_model_or_benchmark_does_not_lose_its_report(
    model, questions, folder, tmp_path, workdir, start
):
    """The claim is the same, and was fixed for the files that it was read on."""
    for name in ("model", "questions"):
        (tmp_path / name).symlink_to(folder / name)
    write_questions(tmp_path / "others", ask=1200)
    write_folder(tmp_path / "another", num_hidden_layers=1)
    before = content(workdir)
    dirs = f"--config.model_dir={tmp_path / model}", f"--config.data_dir={tmp_path / questions}"
    status, _, err = start(workdir, *dirs)
    assert status == 2
    assert "name another directory with --workdir" in err
    assert content(workdir) == before


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--repair", "repair"),
        ("--refine", "refine"),
        ("--shard=1/2", "shard"),
        ("--chunk=4", "chunk"),
        ("--only=train", "only"),
        ("--reproduce=whitening.power=0", "reproduce"),
        ("--full_views", "full_views"),
        ("--save_minutes=2", "save_minutes"),
    ],
)
def test_an_option_for_training_is_refused(option, name, tmp_path, start):
    status, _, err = start(tmp_path / "work", option)
    assert status == 2
    assert err == f"error: --{name}: a frozen study trains nothing and has no use for it; leave it out.\n"
    assert not (tmp_path / "work").exists()


def test_the_plan_says_what_will_be_read_and_writes_nothing(tmp_path, start, unread):
    status, out, err = start(tmp_path / "work", "--plan")
    assert (status, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "2 blocks, width 8, 1,608 parameters; as published, never trained here" in lines["model"]
    assert "multiple_choice, split 'dev': 1,205 questions" in lines["benchmark"]
    assert "guessing gets 25.0%" in lines["benchmark"]
    assert lines["settings"].split(maxsplit=1)[1] == "0, 0.5, 1"
    assert "3 of 3 settings to read, 1 pass over the texts" in lines["to"]
    assert not (tmp_path / "work").exists()
    assert not unread


def test_the_plan_of_a_study_that_is_read_writes_nothing(workdir, start, unread):
    before = content(workdir)
    status, out, _ = start(workdir, "--plan")
    assert status == 0
    assert "0 of 3 settings to read, 0 passes over the texts" in out
    assert content(workdir) == before
    assert not unread


def test_the_arrays_are_judged_alike_from_outside(once):
    document = json.loads((once / "verdicts.json").read_text())
    arrays = read_arrays(once / "arrays.npz")
    found = judge_arrays(arrays)
    assert {one.metric: one.verdict.kind for one in found.gains} == {
        one["metric"]: one["kind"] for one in document["claims"]
    }
    assert {one.metric: one.sign for one in found.gains} == VARIANTS["whitening"][2]
    assert found.learned
    assert found.free_until == document["bounds"]["shown_free_until"]
    assert found.harmful_from == document["bounds"]["shown_harmful_from"]
    rows = rows_of(once)
    np.testing.assert_allclose(arrays["ability_SxK"].T.ravel(), [float(row["accuracy"]) for row in rows], rtol=1e-6)
    np.testing.assert_allclose(arrays["rank_me_SxK"].T.ravel(), [float(row["rank_me"]) for row in rows], rtol=1e-6)
    assert arrays["trivial"] == 0.25


def test_tensorboard_has_a_run_a_setting_with_the_means_over_folds_and_one_with_the_curves(once):
    runs = [f"whitening.power={value}" for value in SETTINGS]
    assert sorted(path.name for path in (once / "tb").iterdir()) == sorted([ALONG, *runs])
    found = {}
    for name in (ALONG, *runs):
        found[name] = EventAccumulator(str(once / "tb" / name))
        found[name].Reload()
        assert ("map" in found[name].Tags()["images"]) == (name == ALONG)
    for tag in ("accuracy", "rank_me", "isotropy_partition"):
        along = found[ALONG].Scalars(tag)
        assert [one.step for one in along] == [0, 1, 2]
        for step, (value, run_of) in enumerate(zip(SETTINGS, runs, strict=True)):
            mean = np.mean([float(row[tag]) for row in rows_of(once) if row["whitening.power"] == value])
            (one,) = found[run_of].Scalars(tag)
            assert one.step == step
            np.testing.assert_allclose([one.value, along[step].value], mean, rtol=1e-5)


def test_no_page_and_no_sentence_speaks_of_seeds(once):
    for name in ("report.html", "report.md"):
        text = (once / name).read_text()
        assert "folds" in text
        assert not re.search(r"\bseeds\b", text)
    document = json.loads((once / "verdicts.json").read_text())
    for text in [*document["answers"], *(one["sentence"] for one in document["claims"])]:
        assert "seed" not in text


@pytest.mark.slow
def test_the_same_study_elsewhere_gives_the_same_bytes(folder, once, tmp_path, start):
    """Where its files lie is no part of it."""
    shutil.copytree(folder / "model", tmp_path / "copy")
    status, _, _ = start(tmp_path / "work", f"--config.model_dir={tmp_path / 'copy'}")
    assert status == 0
    mine, other = content(tmp_path / "work"), content(once)
    assert mine.keys() == other.keys()
    for name in mine:
        if name not in ("report.html", "report.md") and not name.startswith("tb/"):  # which state the command
            assert mine[name] == other[name], name


def test_a_plan_refuses_a_file_in_the_directorys_place(tmp_path, start, unread):
    (tmp_path / "file").write_text("")
    status, _, err = start(tmp_path / "file", "--plan")
    assert status == 2
    assert "it is no directory" in err
