"""What is read from a file of each format is what its lines say, plain or gzipped."""

import dataclasses
import gzip

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tasks.base import TaskError
from tasks.text import READERS, read
from tasks.text.babi import read_stories
from tasks.text.items import Item, apart, blanks, characters
from tasks.text.sequences import read_cogs, read_scan
from tests.tasks.text.made_up import CLUTRR, COGS, FILES, LETTERED, LISTOPS, OPTIONS, SCAN, STORY, THEORIES, put

HELD = {
    "babi": [
        Item(("Ann is in the attic.", "Bob is in the barn."), "Where is Ann?", "attic", (),
             {"supporting_facts": 1, "support": "1", "sentences": 2}, "", 3),
        Item(("Ann is in the attic.", "Bob is in the barn.", "Ann went to the cellar."), "How does Ann get to Bob?",
             "n,w", (), {"supporting_facts": 2, "support": "3 2", "sentences": 3}, "", 5),
        Item(("Cid sleeps.",), "Is Cid awake?", "no", (),
             {"supporting_facts": 1, "support": "1", "sentences": 1}, "", 7),
    ],
    "scan": [
        Item((), "hop twice", "I_HOP I_HOP", (), {"command_words": 2, "actions": 2}, "", 1),
        Item((), "sit", "I_SIT", (), {"command_words": 1, "actions": 1}, "", 2),
    ],
    "cogs": [
        Item((), "A fox sang .", "fox ( x _ 1 ) AND sing . agent ( x _ 2 , x _ 1 )", (),
             {"type": "in_distribution", "form_words": 19}, "", 1),
    ],
    "clutrr": [
        Item(("[Ann]'s mother, [Eve], called\nher son [Bob].",), "Ann Bob", "brother", (),
             {"noise": 1, "hops": 2, "rule": "mother-son"}, "", 2),
    ],
    "prontoqa": [
        Item(("Ann is red. Red people are big.",), "Is it true? Ann is big.", "True", ("True", "False", "Unknown"),
             {"letter": "A", "world": "OWA", "max_depth": 5}, "", 2, 0),
        Item(("Bob is up.",), "Is it true? Bob is down.", "False", ("True", "False"),
             {"letter": "B", "proof_sentences": 2}, "", 13, 1),
    ],
    "proofwriter": [
        Item(("Ann is red.",), "Ann is red.", "True", (),
             {"depth": 0, "max_depth": 2, "facts": 1, "rules": 2, "strategy": "proof"}, "", 1),
        Item(("Ann is red.",), "Ann is big.", "Unknown", (),
             {"depth": 2, "max_depth": 2, "facts": 1, "rules": 2, "strategy": "random"}, "", 1),
        Item(("Bob is up.",), "Bob is down.", "False", (), {"depth": 1}, "", 2),
    ],
    "logiqa": [
        Item(("All owls hoot.",), "What hoots?", "Owls.", ("Cats.", "Owls.", "Dogs.", "Ants."), {"letter": "B"}, "", 1,
             1),
        Item(("No.",), "Yes?", "4", ("1", "2", "3", "4"), {"letter": "D"}, "", 9, 3),
    ],
    "commonsenseqa": [
        Item((), "Where do owls hoot?", "at night", ("in soup", "at night"), {"letter": "B", "concept": "owl"}, "", 1,
             1),
    ],
    "listops": [
        Item((), "( ( ( [MAX 7 ) ( ( ( [MIN 2 ) 5 ) ] ) ) ] )", "7", (), {"depth": 2, "operators": 2}, "", 1),
    ],
    "logical_entailment": [
        Item(("(p&q)",), "p", "1", (), {"longer": 1, "variables_within": 1, "literals_within": 0}, "", 1),
        Item(("p",), "(p>~(q))", "0", (), {"longer": 0, "variables_within": 0, "literals_within": 1}, "", 2),
    ],
    "question_answer": [Item(("Ann, Bob",), "Who?", "Ann", (), {"hops": 2}, "", 2)],
    "multiple_choice": [Item(("One.", "Two."), "Which?", "blue", ("red", "blue"), {}, "", 1, 1)],
}  # fmt: skip
HELD["ruletaker"] = HELD["proofwriter"]


@pytest.mark.parametrize("name", READERS)
def test_what_is_read_is_what_the_file_says(name, tmp_path):
    file = put(tmp_path, *FILES[name])
    (items,) = read(name, tmp_path, **OPTIONS.get(name, {})).splits.values()
    assert list(items) == [dataclasses.replace(item, file=str(file)) for item in HELD[name]]


@pytest.mark.parametrize("name", READERS)
def test_a_gzipped_file_reads_like_the_plain_one(name, tmp_path):
    path, text = FILES[name]
    put(tmp_path / "plain", path, text)
    zipped = put(tmp_path / "zipped", f"{path}.gz", "")
    zipped.write_bytes(gzip.compress(text.encode()))
    plain, unzipped = (read(name, tmp_path / kind, **OPTIONS.get(name, {})) for kind in ("plain", "zipped"))
    assert plain.splits.keys() == unzipped.splits.keys()
    for split, items in plain.splits.items():
        assert [dataclasses.replace(item, file="") for item in unzipped.splits[split]] == [
            dataclasses.replace(item, file="") for item in items
        ]
        assert {item.file for item in unzipped.splits[split]} == {str(zipped)}


def test_line_ends_and_a_mark_of_byte_order_change_nothing(tmp_path):
    plain = read_stories(put(tmp_path, "plain.txt", STORY))
    other = read_stories(put(tmp_path, "other.txt", "\ufeff" + STORY.replace("\n", "\r\n") + "\r\n\r\n"))
    assert [dataclasses.replace(item, file="") for item in other] == [dataclasses.replace(i, file="") for i in plain]


def test_babi_reads_either_distribution_and_the_test_file_published_once(tmp_path):
    put(tmp_path, "en/qa3_some-name_test.txt", STORY)
    put(tmp_path, "en-10k/qa3_some-name_train.txt", STORY)
    put(tmp_path, "en-valid/qa3_valid.txt", STORY)
    assert list(read("babi", tmp_path, part="3", version="en-10k").splits) == ["train", "test"]
    assert list(read("babi", tmp_path, part=3, version="en-valid").splits) == ["valid"]
    assert list(read("babi", tmp_path, part=3).splits) == list(read("babi", tmp_path / "en", part=3).splits) == ["test"]
    with pytest.raises(TaskError, match=r"there is no folder .*en-valid-10k; give"):
        read("babi", tmp_path, part=3, version="en-valid-10k")


def test_splits_out_of_distribution_are_named(tmp_path):
    for part in ("train", "test"):
        put(tmp_path / "scan", f"length_split/tasks_{part}_length.txt", SCAN)
        put(tmp_path / "scan", f"simple_split/tasks_{part}_simple.txt", SCAN)
        put(tmp_path / "cogs", f"{part}.tsv", COGS)
    put(tmp_path, "cogs/gen.tsv", COGS)
    assert read("scan", tmp_path / "scan", split="length").out_of_distribution == ("test",)
    assert read("scan", tmp_path / "scan").out_of_distribution == ()
    assert read("cogs", tmp_path / "cogs").out_of_distribution == ("gen",)


def test_clutrr_has_a_test_for_each_number_of_clauses(tmp_path):
    for name, task in {"1.2,1.3_train": "1.2", "1.2_test": "1.2", "1.10_test": "1.10", "1.9_test": "1.9"}.items():
        put(
            tmp_path,
            f"{name}.csv",
            CLUTRR.replace("1.2", task).replace(",target_text", "").replace("3,brother", "brother"),
        )
    dataset = read("clutrr", tmp_path)
    assert list(dataset.splits) == ["train", "test_1.2", "test_1.9", "test_1.10"]
    assert dataset.out_of_distribution == ("test_1.9", "test_1.10")
    assert {item.answer for items in dataset.splits.values() for item in items} == {"brother"}


def test_proofs_are_cut_by_depth_and_tested_deeper(tmp_path):
    shallow = "\n".join(THEORIES.splitlines()[1:])  # depth 1 only
    put(tmp_path, "CWA/depth-1/meta-train.jsonl", shallow)
    put(tmp_path, "CWA/depth-1/meta-test.jsonl", shallow)
    put(tmp_path, "CWA/depth-2/meta-test.jsonl", THEORIES)
    plain = read("proofwriter", tmp_path, assumption="CWA", depth=1, test_depth="2")
    assert {split: len(items) for split, items in plain.splits.items()} == {"train": 1, "test": 3}
    assert plain.out_of_distribution == ("test",)
    cut = read("proofwriter", tmp_path, assumption="CWA", depth=1, test_depth=2, by_depth="yes")
    assert list(cut.splits) == ["train", "test_depth_0", "test_depth_1", "test_depth_2"]
    assert cut.out_of_distribution == ("test_depth_0", "test_depth_2")


def test_listops_without_its_binary_bracketing(tmp_path):
    put(tmp_path, "test_d20s.tsv", LISTOPS)
    (item,) = read("listops", tmp_path, brackets="no").splits["test"]
    assert item.question == "[MAX 7 [MIN 2 5 ] ]"


@pytest.mark.parametrize(("kind", "key"), [("text", "blue"), ("letter", "B"), ("index", "1"), ("number", "2")])
def test_a_choice_is_named_in_four_ways_in_columns_of_a_table(kind, key, tmp_path):
    put(tmp_path, "a.tsv", f'question\tone\ttwo\tanswer\nSay "no\tred\tblue\t{key}\n')
    dataset = read("multiple_choice", tmp_path, choices="one,two", answer_is=kind, files="train=a.tsv")
    assert dataset.splits["train"][0].answer == "blue"
    assert dataset.splits["train"][0].question == 'Say "no'


def test_json_arrays_with_choices_as_objects(tmp_path):
    record = '[\n {"question": "Which?",\n  "choices": [{"text": "a b"}, {"text": "c"}], "answer": "c"}]'
    put(tmp_path, "dev.json", record)
    (item,) = read("multiple_choice", tmp_path).splits["dev"]
    assert (item.choices, item.answer, item.line) == (("a b", "c"), "c", 2)


def test_words_of_each_rule():
    assert apart("Ann's son-in-law said: s,s.") == ("Ann's", "son-in-law", "said", ":", "s", ",", "s", ".")
    assert blanks("x _ 1 ( I_HOP") == ("x", "_", "1", "(", "I_HOP")
    assert characters("(p > ~(q))") == ("(", "p", ">", "~", "(", "q", ")", ")")


WORDS = st.text("abcdeFGH.,?!'ßé\u2028", min_size=1, max_size=6)
TEXTS = st.lists(WORDS, min_size=1, max_size=5).map(" ".join).filter(lambda text: text == text.strip())


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_commands_and_sentences_come_back_as_written(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("pairs")
    scan = put(folder, "scan.txt", "".join(f"IN: {one} OUT: {two}\n" for one, two in pairs))
    cogs = put(folder, "cogs.tsv", "".join(f"{one}\t{two}\tmade_up\n" for one, two in pairs))
    for items in (read_scan(scan), read_cogs(cogs)):
        assert [(item.question, item.answer) for item in items] == pairs


@given(
    st.lists(st.tuples(st.lists(TEXTS, min_size=1, max_size=4), TEXTS, TEXTS, st.booleans()), min_size=1, max_size=5)
)
def test_stories_come_back_as_written(tmp_path_factory, parts):
    """Each part tells sentences and asks a question, supported by all that was told, in a new story or the last."""
    lines, expected, told, number = [], [], {}, 0
    for sentences, question, answer, anew in parts:
        told, number = ({}, 0) if anew else (told, number)
        for sentence in sentences:
            number += 1
            told[number] = sentence
            lines.append(f"{number} {sentence}")
        number += 1
        lines.append(f"{number} {question}\t{answer}\t{' '.join(map(str, told))}")
        expected.append(
            (tuple(told.values()), question, answer, " ".join(str(i + 1) for i in range(len(told))), len(lines))
        )
    file = put(tmp_path_factory.mktemp("stories"), "qa1_train.txt", "\n".join(lines))
    read_back = [(i.context, i.question, i.answer, i.factors["support"], i.line) for i in read_stories(file)]
    assert read_back == expected


def test_the_lettered_subset_is_found_by_its_files(tmp_path):
    put(tmp_path, "train.json", LETTERED)
    assert len(read("proofwriter", tmp_path).splits["train"]) == 2
    with pytest.raises(TaskError, match=r"train\.json:2: the question has no QDep"):
        read("proofwriter", tmp_path, by_depth=True)
