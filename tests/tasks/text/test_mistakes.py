"""Every malformed line is named by file and line, in a sentence that says what to do."""

import gzip
import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tasks.base import TaskError
from tasks.text import READERS, read, summaries
from tests.tasks.text.made_up import (
    CHOICES,
    CLUTRR,
    COMMONSENSE,
    FILES,
    LETTERED,
    LOGIQA,
    OPTIONS,
    QUESTIONS,
    STORY,
    THEORIES,
    put,
)

MALFORMED = [  # format, text of its file, line, part of the sentence
    ("babi", STORY.replace("2 Bob is", "Bob is"), 2, "must begin with its number"),
    ("babi", STORY.replace("4 Ann", "5 Ann"), 4, "number 5 must be 4, or 1"),
    ("babi", STORY.replace("\tattic\t1", "\tattic"), 3, "not 2 columns"),
    ("babi", STORY.replace("\tattic", "\t"), 3, "the answer is empty"),
    ("babi", STORY.replace("4 2\n", "4 3\n"), 5, "supporting fact '3' is no sentence"),
    ("babi", STORY.replace("4 2\n", "9\n"), 5, "supporting fact '9'"),
    ("babi", STORY.replace("1 Cid sleeps.", "1 "), 6, "the sentence is empty"),
    ("babi", STORY.replace("1 Cid sleeps.\n", "1 Cid sleeps.\n\n"), 7, "must begin with its number"),
    ("babi", "1 Ann is here.\n", 1, "holds no item"),
    ("babi", "", 1, "holds no item"),
    ("scan", "IN: hop OUT: I_HOP\nIN: hop\n", 2, "must be 'IN: command OUT: actions'"),
    ("scan", "hop OUT: I_HOP\n", 1, "must be 'IN: command OUT: actions'"),
    ("scan", "IN: OUT: I_HOP\n", 1, "the command is empty"),
    ("scan", "IN: hop OUT:\n", 1, "the list of actions is empty"),
    ("cogs", "A fox sang .\tsing\n", 1, "not 2 columns"),
    ("cogs", "A fox sang .\t\tprimitive\n", 1, "the logical form is empty"),
    ("clutrr", CLUTRR.replace("('Ann', 'Bob')", "Ann"), 2, "query Ann must be a pair"),
    ("clutrr", CLUTRR.replace("task_1.2", "two"), 2, "task_name 'two'"),
    ("clutrr", CLUTRR.replace("story,", "tale,"), 2, "no field 'story'"),
    ("clutrr", CLUTRR + "1,too,few\n", 4, "3 columns, where the first row names 7"),
    ("clutrr", CLUTRR + '1,"never closed', 4, "can't be read"),
    ("prontoqa", LETTERED.replace('"answer": "B"', '"answer": "D"'), 13, "answer 'D' must be one of A, B"),
    ("prontoqa", LETTERED.replace('"B) False"', '"A) False"', 1), 2, "each with its own letter"),
    ("prontoqa", LETTERED.replace('"question"', '"ask"'), 2, "no field 'question'"),
    ("prontoqa", LETTERED.replace('"A) True"', "1", 1), 2, "must hold texts"),
    ("prontoqa", LETTERED.replace('"id": "x",', '"id" "x",'), 14, "no JSON"),
    ("prontoqa", LETTERED.rstrip("]"), 27, "is missing"),
    ("prontoqa", LETTERED + "x", 27, "nothing may follow"),
    ("prontoqa", "{}", 1, "JSON array"),
    ("prontoqa", "[1]", 1, "object"),
    ("prontoqa", "[]", 1, "holds no item"),
    ("prontoqa", "[" * 100_000, 1, "too deep"),
    ("proofwriter", THEORIES.replace("true", '"maybe"'), 1, "must be true, false or Unknown"),
    ("proofwriter", THEORIES.replace('"context"', '"tale"'), 2, "no field 'context'"),
    ("proofwriter", THEORIES.replace("[{", "[1, {"), 2, "a question must be an object"),
    ("proofwriter", THEORIES + "{} {}\n", 3, "something follows"),
    ("ruletaker", THEORIES + "{\n", 3, "no JSON"),
    ("logiqa", LOGIQA.replace("\nb\n", "\ne\n", 1), 2, "must be a, b, c or d"),
    ("logiqa", LOGIQA.replace("D.Ants.\n", ""), 8, "is empty"),
    ("logiqa", LOGIQA.replace("D.4\n", ""), 9, "has 7 of its eight lines"),
    ("logiqa", LOGIQA[1:], 1, "begins with a blank line"),
    ("commonsenseqa", COMMONSENSE.replace('"B", "question"', '"C", "question"'), 1, "answerKey 'C'"),
    ("commonsenseqa", COMMONSENSE.replace('"answerKey"', '"key"'), 1, "no field 'answerKey'"),
    ("commonsenseqa", COMMONSENSE.replace('"stem"', '"text"'), 1, "no field 'question.stem'"),
    ("commonsenseqa", COMMONSENSE.replace("[{", '["x", {'), 1, "a choice must be an object"),
    ("listops", "x\t[MIN 1 ]\n", 1, "a digit, a tab"),
    ("listops", "1\t[MIN 1 ]\n1\t[MOD 1 ]\n", 2, "'.MOD' is no symbol"),
    ("listops", "1\t[MIN 1\n", 1, "does not close"),
    ("listops", "1\t] [MIN 1\n", 1, "closes nothing"),
    ("logical_entailment", "p,q,1,0,0\n", 1, "A,B,E,H1,H2,H3"),
    ("logical_entailment", "p,q,2,0,0,0\n", 1, "A,B,E,H1,H2,H3"),
    ("logical_entailment", ",q,1,0,0,0\n", 1, "formula A is empty"),
    ("question_answer", QUESTIONS + "Why?,,x,1\n", 3, "the answer is empty"),
    ("question_answer", QUESTIONS.replace("hops", "jumps"), 2, "no field 'hops'"),
    ("multiple_choice", CHOICES.replace('"key": 1', '"key": 2'), 1, "answer '2' must be one of 0, 1"),
    ("multiple_choice", CHOICES.replace('"key": 1', '"key": null'), 1, "must be text"),
    ("multiple_choice", CHOICES.replace('"blue"', "[]"), 1, "a choice must be text"),
]


@pytest.mark.parametrize(("name", "text", "line", "part"), MALFORMED)
def test_a_malformed_line_is_named(name, text, line, part, tmp_path):
    assert text != FILES[name][1], "the case changes nothing"
    file = put(tmp_path, FILES[name][0], text)
    with pytest.raises(TaskError, match=part) as caught:
        read(name, tmp_path, **OPTIONS.get(name, {}))
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("name", READERS)
def test_files_that_are_none_are_named(name, tmp_path):
    file = put(tmp_path, FILES[name][0], "")
    options = OPTIONS.get(name, {})
    file.write_bytes(b"\n\n1 \xff\n")
    with pytest.raises(TaskError, match=r":3: the text isn't UTF-8"):
        read(name, tmp_path, **options)
    file.unlink()
    zipped = put(tmp_path, f"{FILES[name][0]}.gz", "no gzip")
    with pytest.raises(TaskError, match="no complete gzip file"):
        read(name, tmp_path, **options)
    zipped.write_bytes(gzip.compress(FILES[name][1].encode())[:-9])
    with pytest.raises(TaskError, match="no complete gzip file"):
        read(name, tmp_path, **options)
    zipped.unlink()
    with pytest.raises(TaskError, match="holds no"):
        read(name, tmp_path, **options)
    with pytest.raises(TaskError, match=r"there is no folder|holds no"):
        read(name, tmp_path / "elsewhere", **options)


def test_names_and_options_that_cannot_be(tmp_path):
    put(tmp_path, *FILES["babi"])
    for name, options, part in (
        ("babbi", {}, "Nearest: babi"),
        ("babi", {"parts": 1}, "no option 'parts'. Nearest: part"),
        ("babi", {"part": 21}, r"part must be in \[1, 20\], not 21"),
        ("babi", {"part": "one"}, "must be a whole number, not 'one'"),
        ("babi", {"part": True}, "must be a whole number, not True"),
        ("babi", {"version": False}, "must be text, not False"),
        ("listops", {"brackets": "perhaps"}, "must be yes or no"),
        ("prontoqa", {"part": 1}, "Nearest: none"),
        ("multiple_choice", {"answer_is": "colour"}, "answer_is must be one of"),
        ("question_answer", {"files": "a.csv"}, "must be like train=a.csv"),
        ("question_answer", {"files": "train=a.csv"}, "there is no file"),
        ("question_answer", {"files": "train=a.txt"}, "must end in"),
        ("scan", {"split": "*"}, "holds no tasks_train_"),
    ):
        with pytest.raises(TaskError, match=part):
            read(name, tmp_path, **options)


def test_two_files_for_one_split_are_not_chosen_between(tmp_path):
    for folder in ("one", "two"):
        put(tmp_path, f"{folder}/tasks_train_simple.txt", FILES["scan"][1])
        put(tmp_path, "clutrr/" + {"one": "train.csv", "two": "1.2_train.csv"}[folder], CLUTRR)
        put(tmp_path, "tables/" + {"one": "train.csv", "two": "train.jsonl"}[folder], QUESTIONS)
    with pytest.raises(TaskError, match="several files for one split"):
        read("scan", tmp_path)
    with pytest.raises(TaskError, match="two files of train"):
        read("clutrr", tmp_path / "clutrr")
    with pytest.raises(TaskError, match="two files of train"):
        read("question_answer", tmp_path / "tables")


def test_a_plain_file_goes_before_its_gzipped_copy(tmp_path):
    for name in ("scan", "clutrr", "question_answer"):
        path, text = FILES[name]
        put(tmp_path / name, path, text)
        put(tmp_path / name, f"{path}.gz", "").write_bytes(gzip.compress(text.encode() + text.encode()))
        (items,) = read(name, tmp_path / name).splits.values()
        assert not items[0].file.endswith(".gz")


def test_a_number_too_long_for_json_is_refused(tmp_path):
    put(tmp_path, "train.jsonl", json.dumps({"question": "q", "answer": "A"}).replace('"A"', "1" * 5000))
    with pytest.raises(TaskError, match=r"train\.jsonl:1: .*too long"):
        read("question_answer", tmp_path)


@given(st.sampled_from(list(READERS)), st.data())
def test_whatever_breaks_a_file_is_answered_in_a_sentence(tmp_path_factory, name, data):
    """One stretch of a file is replaced by another, or by what formats treat apart."""
    path, text = FILES[name]
    start, end, new = (data.draw(st.integers(0, len(text))) for _ in range(3))
    odd = st.sampled_from(
        ["", "\n", "\t", '"', ",", "\0", "\r", "{}", "[]", "null", "1e999", "NaN", "-1", "²", text[new:][:9]]
    )
    broken = text[:start] + data.draw(odd) + text[max(start, end if end - start < 20 else start) :]
    folder = tmp_path_factory.mktemp("broken")
    put(folder, path, broken)
    said = ""
    try:
        summaries(read(name, folder, **OPTIONS.get(name, {})), 9)
    except TaskError as error:
        said = str(error)
    assert not said or said.startswith(str(folder))
