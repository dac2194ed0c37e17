"""Tiny files of every format, all made up, and what they hold."""

import json
from pathlib import Path

STORY = """1 Ann is in the attic.
2 Bob is in the barn.
3 Where is Ann? \tattic\t1
4 Ann went to the cellar.
5 How does Ann get to Bob?\tn,w\t4 2
1 Cid sleeps.
2 Is Cid awake?\tno\t1
"""
SCAN = "IN: hop twice OUT: I_HOP I_HOP\nIN: sit OUT: I_SIT\n"
COGS = "A fox sang .\tfox ( x _ 1 ) AND sing . agent ( x _ 2 , x _ 1 )\tin_distribution\n"
CLUTRR = (
    ",story,query,target,target_text,f_comb,task_name\n"
    "0,\"[Ann]'s mother, [Eve], called\nher son [Bob].\",\"('Ann', 'Bob')\",3,brother,mother-son,task_1.2\n"
)
LETTERED = json.dumps(
    [
        {
            "id": "ProofWriter_Made-OWA-D5-1_Q2",
            "context": "Ann is red. Red people are big.",
            "question": "Is it true? Ann is big.",
            "options": ["A) True", "B) False", "C) Unknown"],
            "answer": "A",
        },
        {
            "id": "x",
            "context": "Bob is up.",
            "question": "Is it true? Bob is down.",
            "options": ["A) True", "B) False"],
            "answer": "B",
            "explanation": ["Bob is up.", "Up is not down."],
        },
    ],
    indent=1,
)
THEORIES = "".join(
    json.dumps(record) + "\n"
    for record in (
        {
            "id": "T1",
            "maxD": 2,
            "NFact": 1,
            "NRule": 2,
            "theory": "Ann is red.",
            "questions": {
                "Q1": {"question": "Ann is red.", "answer": True, "QDep": 0, "strategy": "proof"},
                "Q2": {"question": "Ann is big.", "answer": "Unknown", "QDep": 2, "strategy": "random"},
            },
        },
        {
            "id": "T2",
            "context": "Bob is up.",
            "questions": [{"id": "q", "text": "Bob is down.", "label": False, "meta": {"QDep": 1}}],
        },
    )
)
LOGIQA = "\nb\nAll owls hoot.\nWhat hoots?\nA.Cats.\nB.Owls.\nC.Dogs.\nD.Ants.\n\nd\nNo.\nYes?\nA.1\nB.2\nC.3\nD.4\n"
COMMONSENSE = (
    json.dumps(
        {
            "id": "1",
            "answerKey": "B",
            "question": {
                "stem": "Where do owls hoot?",
                "question_concept": "owl",
                "choices": [{"label": "A", "text": "in soup"}, {"label": "B", "text": "at night"}],
            },
        }
    )
    + "\n"
)
LISTOPS = "7\t( ( ( [MAX 7 ) ( ( ( [MIN 2 ) 5 ) ] ) ) ] )\n"
ENTAILMENT = "(p&q),p,1,1,1,0\np,(p>~(q)),0,0,0,1\n"
QUESTIONS = 'question,answer,place,hops\nWho?,Ann,"Ann, Bob",2\n'
CHOICES = json.dumps({"q": {"text": "Which?"}, "options": ["red", "blue"], "key": 1, "story": ["One.", "Two."]}) + "\n"

FILES = {
    "babi": ("en/qa1_made-up_train.txt", STORY),
    "scan": ("simple_split/tasks_train_simple.txt", SCAN),
    "cogs": ("data/train.tsv", COGS),
    "clutrr": ("1.2,1.3_train.csv", CLUTRR),
    "prontoqa": ("dev.json", LETTERED),
    "proofwriter": ("OWA/depth-5/meta-train.jsonl", THEORIES),
    "ruletaker": ("original/depth-5/train.jsonl", THEORIES),
    "logiqa": ("Train.txt", LOGIQA),
    "commonsenseqa": ("train_rand_split.jsonl", COMMONSENSE),
    "listops": ("train_d20s.tsv", LISTOPS),
    "logical_entailment": ("data/train.txt", ENTAILMENT),
    "question_answer": ("train.csv", QUESTIONS),
    "multiple_choice": ("train.jsonl", CHOICES),
}
OPTIONS = {
    "question_answer": {"context": "place", "factors": "hops"},
    "multiple_choice": {
        "question": "q.text",
        "choices": "options",
        "answer": "key",
        "answer_is": "index",
        "context": "story",
    },
}


def put(folder: Path, name: str, text: str) -> Path:
    """A file written below a folder."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="")
    return file


def put_both(folder: Path, name: str) -> None:
    """A format's training file, and the same again as the split that is published next to it."""
    path, text = FILES[name]
    put(folder, path, text)
    other = {"commonsenseqa": "dev", "logical_entailment": "test_easy"}.get(name, "test")
    put(folder, path.replace("Train", "Test").replace("train", other), text)


def write_babi(folder: Path) -> Path:
    """Twelve training stories of bAbI, and five for the test: the first one again, the last with an unknown word."""
    names, places = ("Ann", "Bob", "Cid"), ("attic", "barn", "cellar", "den")
    stories = [
        f"1 {name} went to the {place}.\n2 {names[n - 1]} went to the {places[p - 1]}.\n"
        + ("3 Nobody moved.\n" if p == 3 else "")
        + f"{3 + (p == 3)} Where is {name}? \t{place}\t1\n"
        for p, place in enumerate(places)
        for n, name in enumerate(names)
    ]
    moved = (f"1 Nobody moved.\n2 {name} went to the barn.\n3 Where is {name}? \tbarn\t2\n" for name in names)
    again = [stories[0], *moved]
    new = "1 Ann went to the quay.\n2 Where is Ann? \tquay\t1\n"
    put(folder, "en/qa1_made-up_train.txt", "".join(stories))
    put(folder, "en/qa1_made-up_test.txt", "".join([*again, new]))
    return folder


def write_scan(folder: Path, cut: str = "simple", commands: int = 5) -> Path:
    """Commands of SCAN, one of them twice in train."""
    words = ("hop", "sit", "run", "nap")
    lines = [
        f"IN: {words[n % 4]} and {words[n // 4 % 4]} and {words[n // 16]} OUT: I_{words[n % 4].upper()} I_GO\n"
        for n in range(commands)
    ]
    put(folder, f"tasks_train_{cut}.txt", "".join([*lines, lines[0], *([SCAN] if cut == "simple" else [])]))
    put(folder, f"tasks_test_{cut}.txt", SCAN)
    return folder


def write_choices(folder: Path) -> Path:
    """Questions of CommonsenseQA with three choices."""

    def line(number: int, letter: str) -> str:
        offered = [
            {"label": label, "text": text} for label, text in zip("ABC", ("sofa", "moon", "sea bed"), strict=True)
        ]
        stem = "Where do cats sleep?" if number == 0 else f"Where is cat {number}?"
        return json.dumps({"answerKey": letter, "question": dict(stem=stem, question_concept="cat", choices=offered)})

    put(folder, "train_rand_split.jsonl", "\n".join([line(0, "A"), line(1, "B"), line(2, "B")]) + "\n")
    put(folder, "dev_rand_split.jsonl", "\n".join([line(0, "C"), line(1, "B")]) + "\n")
    return folder
