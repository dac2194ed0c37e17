"""A published benchmark as a task: its examples are the items of its files, all of them, and nothing else."""

import dataclasses
import gzip
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import identity_of, make, sizes_of, with_sizes
from tasks.base import ROW, Guessing, Listed, Task, TaskError, problem, trivial, tuning_split
from tasks.fields import knob_fields
from tasks.mixture import Mixture
from tasks.text import read, summaries
from tasks.text.encoding import UNKNOWN
from tasks.text.published import PUBLISHED, Published
from tests.tasks.text.made_up import FILES, LETTERED, OPTIONS, put, put_both, write_babi, write_choices, write_scan

BABI = {"part": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve training stories, five for the test: one of them is a training story, one tells of an unknown place."""
    return write_babi(tmp_path_factory.mktemp("babi"))


@pytest.fixture(scope="module")
def babi(folder):
    return make("babi", data_dir=str(folder), **BABI)


def shown(task, split, row=-1, seed=0, **difficulty):
    """One example, drawn, or the one with a number."""
    chosen = task.splits[split]
    values = {**chosen.difficulty, ROW: row, **difficulty}
    return jax.tree.map(np.asarray, task.sample(jax.random.key(seed), (), values, chosen.length))


def due(example):
    return np.where(example.weights > 0, example.targets, -1)


def test_it_keeps_the_contract_of_tasks(babi):
    assert isinstance(babi, Task)
    assert isinstance(babi, Listed)
    assert isinstance(babi, Guessing)
    assert list(babi.splits) == ["train", "iid"]
    assert len({frozenset(s.difficulty) for s in babi.splits.values()}) == 1
    assert babi.title == "bAbI"
    assert make("babi", data_dir=babi.data_dir, part=1, version="en").title == "bAbI (version en)"


@pytest.mark.parametrize("split", ["train", "iid"])
def test_each_item_of_the_files_is_shown_word_for_word(babi, folder, split):
    items = read("babi", folder, **BABI).splits["test" if split == "iid" else "train"]
    known = set(babi.render(shown(babi, "train", row)) for row in range(babi.splits["train"].difficulty["count"]))
    for row, item in enumerate(items):
        example = shown(babi, split, row)
        words = " ".join(item.words(read("babi", folder, **BABI).words))
        assert babi.render(example).replace("<unknown>", "quay") == f"{words} → {item.answer}"
        assert int(example.read[0]) == len(words.split())
        assert (babi.render(example) in known) == (split == "train" or row == 0)
        assert list(example.tokens[example.read[0] + 1 :]) == [0] * (len(example.tokens) - example.read[0] - 1)


def test_the_checker_agrees_with_the_score(babi):
    generator = np.random.default_rng(0)
    for row in range(5):
        example = shown(babi, "iid", row)
        right = due(example)
        unknown = UNKNOWN in right
        assert bool(babi.score(example, right)) is babi.check((), example, right) is (not unknown)
        wrong = np.where(right >= 0, generator.integers(2, babi.vocab_size, len(right)), -1)
        assert bool(babi.score(example, wrong)) is babi.check((), example, wrong)


def test_an_answer_that_training_never_shows_is_never_right(babi):
    unknown = [row for row in range(5) if UNKNOWN in due(shown(babi, "iid", row))]
    assert unknown == [4]
    example = shown(babi, "iid", 4)
    assert not babi.score(example, due(example))
    assert babi.notes == (
        "words of 'test' that train lacks: 2 (1 different)",
        "questions of 'test' that train has, too: 1",
    )
    assert not babi.splits["iid"].disjoint


@pytest.mark.parametrize(("count", "each"), [(5, [1]), (10, [2]), (7, [1, 2]), (3, [1])])
def test_an_evaluation_asks_every_item_once_before_any_twice(babi, count, each):
    mixture = Mixture((("babi", babi),))
    drawn = mixture.each_once(jax.random.key(1), "babi", "iid", count)
    examples = mixture.sample(jax.random.key(1), "babi", (), drawn, count, babi.splits["iid"].length)
    texts = Counter(map(bytes, np.asarray(examples.tokens)))
    assert sorted(set(texts.values())) == each
    assert len(texts) == min(count, 5)


def test_training_draws_every_item_evenly_and_no_other(babi):
    keys = jax.random.split(jax.random.key(0), 2400)
    difficulty, length = dict(babi.splits["train"].difficulty), babi.splits["train"].length
    examples = jax.jit(jax.vmap(lambda key: babi.sample(key, (), difficulty, length)))(keys)
    found = Counter(map(bytes, np.asarray(examples.tokens)))
    assert set(found) == {shown(babi, "train", row).tokens.tobytes() for row in range(12)}
    assert min(found.values()) > 140
    assert max(found.values()) < 260


def test_a_study_may_train_on_the_first_items_only(babi):
    assert set(knob_fields(babi)) == {"count"}
    assert knob_fields(babi)["count"].high == 12
    seen = {shown(babi, "train", seed=seed, count=jnp.float32(2)).tokens.tobytes() for seed in range(40)}
    assert seen == {shown(babi, "train", row).tokens.tobytes() for row in range(2)}


def test_the_floors_are_those_of_the_summary(babi, folder):
    found = summaries(read("babi", folder, **BABI), 100)
    assert babi.baselines("iid")["commonest"].exact == pytest.approx(found["test"].floor)
    assert babi.baselines("train")["commonest"].exact == pytest.approx(found["train"].floor)
    right = [
        babi.score(example, np.where(example.weights > 0, guess[0], -1))
        for example in (shown(babi, "iid", row) for row in range(5))
        for guess in [babi.guess((), example, np.random.default_rng(0))["commonest"]]
    ]
    assert np.mean(right) == pytest.approx(babi.baselines("iid")["commonest"].exact)
    assert trivial(babi, "iid").exact == max(found["test"].floor, 1 / found["train"].answers)


def test_answers_of_several_words_end(tmp_path):
    scan = make("scan", data_dir=str(write_scan(tmp_path)))
    example = shown(scan, "iid", 0)
    assert scan.render(example) == "hop twice → I_HOP I_HOP <end>"
    read_at = int(example.read[0])
    assert list(example.tokens[read_at + 1 : read_at + 3]) == list(example.targets[read_at : read_at + 2])
    assert scan.splits["iid"].decode_steps == scan.splits["iid"].answer_tokens == 3
    assert bool(scan.score(example, due(example)))
    assert scan.check((), example, due(example))
    early = due(example).copy()
    early[read_at + 1] = example.targets[read_at + 2]
    assert not scan.score(example, early)
    assert not scan.check((), example, early)
    assert problem(scan, example) == problem(scan, example._replace(tokens=example.tokens * (example.weights < 1)))


def test_a_choice_is_answered_by_its_letter(tmp_path):
    task = make("commonsenseqa", data_dir=str(write_choices(tmp_path)))
    assert task.render(shown(task, "iid", 0)) == "Where do cats sleep ? (A) sofa (B) moon (C) sea bed → (C)"
    assert task.splits["iid"].answer_tokens == 1
    assert task.baselines("iid")["chance"].exact == pytest.approx(1 / 3)


def test_of_two_choices_with_the_same_words_the_published_letter_is_right(tmp_path):
    write_choices(tmp_path)
    for split in ("train", "dev"):
        file = tmp_path / f"{split}_rand_split.jsonl"
        file.write_text(file.read_text().replace("sea bed", "sofa"))
    task = make("commonsenseqa", data_dir=str(tmp_path))
    assert task.render(shown(task, "iid", 0)) == "Where do cats sleep ? (A) sofa (B) moon (C) sofa → (C)"


def test_an_option_is_of_its_kind_however_it_is_written(folder):
    one, two, three = (make("babi", data_dir=str(folder), part=part) for part in (1, "1", "01"))
    assert one == two == three
    assert one.part == two.part == 1
    with pytest.raises(TaskError, match=r"babi: part must be a whole number, not 1.0"):
        make("babi", data_dir=str(folder), part=1.0)


@pytest.mark.parametrize(("share", "held"), [(0.1, 4), (0.3, 12), (0.4, 16), (0.5, 20)])
def test_the_share_that_is_held_back_is_the_one_asked_for(tmp_path, share, held):
    write_scan(tmp_path, cut="length", commands=40)
    task = make("scan", data_dir=str(tmp_path), split="length", held_back=share)
    questions = {task.render(shown(task, "iid", row)) for row in range(task.splits["iid"].difficulty["count"])}
    assert len(questions) == held


def test_longer_items_are_left_out_and_counted(folder):
    whole = make("babi", data_dir=str(folder), **BABI)
    longest = whole.splits["train"].length
    task = make("babi", data_dir=str(folder), limit=longest - 1, **BABI)
    left = {split: whole.splits[split].difficulty["count"] - task.splits[split].difficulty["count"] for split in
            ("train", "iid")}  # fmt: skip
    assert sum(left.values()) > 0
    assert [note for note in task.notes if "left out" in note] == [
        f"items of '{split}' with more than limit={longest - 1} words, left out: {count:,}"
        for split, count in left.items()
        if count
    ]
    with pytest.raises(TaskError, match=r"every item of 'train' has more than limit=3 words; raise it"):
        make("babi", data_dir=str(folder), limit=3, **BABI)


def test_a_share_of_train_is_held_back_only_where_no_test_is_like_it(tmp_path):
    write_scan(tmp_path, cut="length", commands=40)
    task = make("scan", data_dir=str(tmp_path), split="length", held_back=0.25)
    assert list(task.splits) == ["train", "iid", "test"]
    counts = {split: one.difficulty["count"] for split, one in task.splits.items()}
    assert counts["train"] + counts["iid"] == 41
    assert counts["iid"] == 10
    texts = {
        split: {task.render(shown(task, split, row)) for row in range(counts[split])} for split in ("train", "iid")
    }
    assert not texts["train"] & texts["iid"]
    assert task.splits["iid"].disjoint
    assert task.notes[0].startswith("no test is published that is drawn as train: 10 of its 41 items")
    assert tuning_split(task) == ""


def test_a_published_validation_split_is_what_is_tuned_on(tmp_path):
    for split in ("train", "dev", "test"):
        put(tmp_path, f"{split}.json", LETTERED)
    task = make("proofwriter", data_dir=str(tmp_path))
    assert (list(task.splits), tuning_split(task)) == (["train", "iid", "dev"], "dev")
    assert "published 'test'" in task.splits["iid"].about


def test_what_it_is_depends_on_what_the_files_say_not_where_they_lie(folder, tmp_path):
    inner = tmp_path / "elsewhere" / "babi"
    inner.mkdir(parents=True)
    for file in (folder / "en").iterdir():
        (inner / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    one, two = (make("babi", data_dir=str(place), **BABI) for place in (folder, inner.parent))
    assert identity_of(one) == identity_of(two)
    assert sizes_of(one) != sizes_of(two)
    assert str(folder) not in str(identity_of(one))
    assert with_sizes(one, {"limit": 60}) == make("babi", data_dir=str(folder), limit=60, **BABI)
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in (folder / "en").iterdir():
        (changed / file.name).write_text(file.read_text().replace("attic", "den"))
    assert identity_of(make("babi", data_dir=str(changed), **BABI)) != identity_of(one)
    for file in (folder / "en").iterdir():  # the sentences that an answer rests on are what factors are made of
        (changed / file.name).write_text(file.read_text().replace("attic\t1", "attic\t2"))
    assert identity_of(make("babi", data_dir=str(changed), **BABI)) != identity_of(one)


def test_files_that_change_are_read_again(tmp_path):
    write_babi(tmp_path)
    one = make("babi", data_dir=str(tmp_path), **BABI)
    file = tmp_path / "en" / "qa1_made-up_train.txt"
    file.write_text(file.read_text().replace("attic", "pantry"))
    two = make("babi", data_dir=str(tmp_path), **BABI)
    assert one != two
    assert "pantry" in two.render(shown(two, "train", 0))
    assert "attic" in one.render(shown(one, "train", 0))
    with pytest.raises(TaskError, match=r"task 'babi' has no field 'content'"):
        make("babi", data_dir=str(tmp_path), content="x")


def test_a_cue_and_wrong_labels_come_from_another_item(babi, folder):
    cued = make("babi", data_dir=str(folder), cue=True, noise=True, **BABI)
    mixture = Mixture((("babi", cued),))
    drawn = mixture.each_once(jax.random.key(0), "babi", "uncued", 5)
    assert sorted(np.asarray(drawn[ROW]).tolist()) == [0, 1, 2, 3, 4]
    keys = jax.random.split(jax.random.key(2), 200)
    difficulty = {**cued.splits["uncued"].difficulty, ROW: 0}
    examples = jax.vmap(lambda key: cued.sample(key, (), difficulty, cued.splits["uncued"].length))(keys)
    assert 0 < np.mean(np.asarray(examples.factors["cue_agrees"])) < 1


def test_no_option_of_a_format_hides_a_part_of_the_contract():
    for name, kind in PUBLISHED.items():
        options = {field.name for field in dataclasses.fields(kind)} - {
            field.name for field in dataclasses.fields(Published)
        }
        assert not options & {*vars(Published)}
        assert kind.name == name
        assert kind.source
        assert kind.__doc__


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("babi", {}, r"babi: no folder of its files; give it as --config.data_dir=DIR"),
        ("babi", {"data_dir": "nowhere"}, r"nowhere"),
        ("babi", {"data_dir": ".", "part": 77}, r"part"),
        ("babi", {"data_dir": ".", "parts": 1}, r"task 'babi' has no field 'parts'. Nearest: part"),
        ("babi", {"data_dir": ".", "limit": -1}, r"limit must be a whole number in \[0"),
        ("scan", {"data_dir": ".", "held_back": 0.9}, r"held_back must be a number in \[0.001, 0.5\]"),
        ("bab", {}, r"unknown task 'bab'. Nearest: babi"),
    ],
)
def test_mistakes_get_a_sentence(name, fields, sentence):
    with pytest.raises(TaskError, match=sentence):
        make(name, **fields)


def test_a_test_file_alone_can_not_be_trained_on(tmp_path):
    put(tmp_path, "test_d20s.tsv", "7\t( ( ( [MAX 7 ) 3 ) ] )\n")
    with pytest.raises(TaskError, match=r"listops: .* holds no training file, only test"):
        make("listops", data_dir=str(tmp_path))


@pytest.mark.parametrize("name", sorted({*FILES} - {"prontoqa"}))  # which is published as a test alone
def test_every_format_becomes_a_task(name, tmp_path):
    put_both(tmp_path, name)
    task = make(name, data_dir=str(tmp_path), **OPTIONS.get(name, {}))
    for split in task.splits:
        example = shown(task, split, 0)
        right = due(example)
        assert bool(task.score(example, right)) is task.check((), example, right) is (UNKNOWN not in right)
        assert set(example.factors) == set(task.factor_sizes)
        assert all(0 <= example.factors[n] < size for n, size in task.factor_sizes.items())
