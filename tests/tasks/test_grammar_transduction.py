"""SCAN-like commands: meanings from a dictionary of all commands, what is held out, uniformity, baselines."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, within

WORDS = ["turn", "left", "right", "opposite", "around", "twice", "thrice", "and", "after", "="]
PRIMITIVES = 3
TASKS = {
    hold_out: make("grammar_transduction", primitives=PRIMITIVES, actions=8, longer=48, hold_out=hold_out)
    for hold_out in ("both", "neither")
}
LENGTH = 9 + 1 + 48


def lexicon(primitives) -> dict[tuple[str, ...], list[str]]:
    """command -> actions as words, built bottom-up: every phrase, then every pair of phrases."""
    turns = {"left": ["LTURN"], "right": ["RTURN"]}
    verbs = {f"u{i}": [f"U{i}"] for i in range(primitives)}
    verb_phrases: dict[tuple[str, ...], list[str]] = {(verb,): act for verb, act in verbs.items()}
    for (verb, act), (side, turn) in itertools.product([*verbs.items(), ("turn", [])], turns.items()):
        verb_phrases[verb, side] = turn + act
        verb_phrases[verb, "opposite", side] = turn + turn + act
        verb_phrases[verb, "around", side] = turn + act + turn + act + turn + act + turn + act
    phrases = dict(verb_phrases)
    phrases |= {(*words, "twice"): act + act for words, act in verb_phrases.items()}
    phrases |= {(*words, "thrice"): act + act + act for words, act in verb_phrases.items()}
    found = dict(phrases)
    for (a, first), (b, second) in itertools.product(phrases.items(), repeat=2):
        found[*a, "and", *b] = first + second
        found[*a, "after", *b] = second + first
    return found


def names(primitives):
    verbs = [f"u{i}" for i in range(primitives)]
    return ["", *verbs, *WORDS, *(verb.upper() for verb in verbs), "LTURN", "RTURN", "END"]


LEXICON = lexicon(PRIMITIVES)


def read(example, primitives=PRIMITIVES):
    """(command, answer) in words."""
    called = names(primitives)
    words = [called[t] for t in example.tokens.tolist() if t]
    asked = np.flatnonzero(example.weights)
    return tuple(words[: words.index("=")]), [called[t] for t in example.targets[asked]]


def novelty(command, jump=f"u{PRIMITIVES - 1}"):
    """(whether jump occurs with something else, whether 'around right' does)."""
    return jump in command and command != (jump,), ("around", "right") in itertools.pairwise(command)


def test_the_grammar_is_scan():
    commands = lexicon(4)
    assert len(commands) == 20_910
    assert max(map(len, commands.values())) == 48
    said = {" ".join(words): " ".join(actions) for words, actions in commands.items()}
    assert said["u3 opposite left and u0 thrice"] == "LTURN LTURN U3 U0 U0 U0"
    assert said["u3 opposite left after u0 around left"] == "LTURN U0 LTURN U0 LTURN U0 LTURN U0 LTURN LTURN U3"


@given(
    hold_out=st.sampled_from(sorted(TASKS)),
    actions=st.tuples(st.integers(1, 48), st.integers(1, 48)).map(sorted),
    held_out=st.integers(0, 1),
    single=st.integers(0, 2),
    novel=st.integers(0, 2),
    alone=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_commands_mean_what_the_dictionary_says(hold_out, actions, held_out, single, novel, alone, seed):
    task, (fewest, most) = TASKS[hold_out], actions

    def permitted(command, meaning):
        fits = fewest <= len(meaning) <= most and ({"and", "after"} & set(command) or single in (2, side(command)))
        if hold_out == "neither":
            return fits
        return fits and novelty(command) == (novel == 1, novel == 2) and command != (f"u{PRIMITIVES - 1}",)

    assume(alone == 1 or any(itertools.starmap(permitted, LEXICON.items())))
    difficulty = dict(fewest=fewest, most=most, held_out=held_out, single=single, novel=novel, alone=alone)
    batch = draw(task, difficulty, LENGTH, 8, seed)
    for index in range(8):
        example = one(batch, index)
        command, answer = read(example)
        meaning = LEXICON[command]
        assert answer == [*meaning, "END"]
        assert permitted(command, meaning) if alone == 0 else True
        assert command == (f"u{PRIMITIVES - 1}",) if alone == 1 else True
        asked = np.flatnonzero(example.weights)
        assert asked.tolist() == list(range(len(command), len(command) + len(answer)))
        assert example.read.tolist() == asked[[0, -1]].tolist()
        assert task.check((), example, example.targets)
        first = " ".join(command).replace(" and ", "|").split("|")[0].split(" after ")[-1].split()
        repeats = {"twice": 1, "thrice": 2}.get(first[-1], 0)
        forms = [set(first) & {"opposite"}, set(first) & {"around"}, set(first) & {"left", "right"}]
        assert {name: int(value) for name, value in example.factors.items()} == {
            "verb": PRIMITIVES if first[0] == "turn" else int(first[0][1:]),
            "form": 2 if forms[0] else 3 if forms[1] else 1 if forms[2] else 0,
            "repeats": repeats,
            "conjunction": 1 if "and" in command else 2 if "after" in command else 0,
            "actions": len(meaning),
        }


def side(command):
    """Which of the two halves a single phrase belongs to."""
    if not {"left", "right"} & set(command):
        return 0
    form = 3 if "around" in command else 2 if "opposite" in command else 1
    repeats = 3 if "thrice" in command else 2 if "twice" in command else 1
    return (("right" in command) + form + repeats + ("turn" in command)) % 2


def seen(task, split, seeds=3):
    called, found = names(task.primitives), Counter()
    for seed in range(seeds):
        for tokens in draw_split(task, split, 4096, seed).tokens.tolist():
            words = [called[t] for t in tokens if t]
            found[tuple(words[: words.index("=")])] += 1
    return found


def test_train_has_one_of_two_mates_and_every_undirected_phrase_equally_often():
    task = make("grammar_transduction", primitives=2, actions=4, longer=6, hold_out="primitive", alone=0.25)
    permitted = {c for c, a in lexicon(2).items() if len(a) <= 4 and not novelty(c, "u1")[0]}
    phrases = {c for c in permitted if not {"and", "after"} & set(c)}
    pairs = permitted - phrases
    train, iid = seen(task, "train"), seen(task, "iid")
    assert not set(train) & set(iid)
    assert set(train) | set(iid) == permitted
    undirected = {c for c in phrases if not {"left", "right"} & set(c)}
    assert undirected <= set(train)
    assert len(iid) == (len(pairs) + len(phrases - undirected)) // 2
    conjunctions, directions = {"and": "after", "after": "and"}, {"left": "right", "right": "left"}
    for command in iid:
        mate = conjunctions if command in pairs else directions
        assert tuple(mate.get(word, word) for word in command) in train
    assert {word for command in phrases & set(iid) for word in command} >= {"left", "right", "twice", "turn"}
    others = len(train) - 1  # all but jump
    for command, count in train.items():
        share = 0.25 if command == ("u1",) else 0.75 / others
        assert within(count / train.total(), share, train.total())
    for count in iid.values():
        assert within(count / iid.total(), 1 / len(iid), iid.total())


def test_splits_hold_out_what_they_say():
    task = make("grammar_transduction", primitives=PRIMITIVES, actions=8, longer=12)
    commands = {split: set(seen(task, split, seeds=1)) for split in task.splits}
    wanted = {"train": (False, False), "iid": (False, False), "length": (False, False)}
    wanted |= {"primitive": (True, False), "template": (False, True)}
    for split, expected in wanted.items():
        assert {novelty(command) for command in commands[split]} == {expected}
        lengths = {len(LEXICON[command]) for command in commands[split]}
        assert max(lengths) == (12 if split == "length" else 8)
        assert min(lengths) >= (9 if split == "length" else 1)
    jump = (f"u{PRIMITIVES - 1}",)
    assert jump in commands["train"]
    assert jump not in commands["primitive"] | commands["length"] | commands["iid"]
    for hold_out, splits in (("primitive", {"primitive"}), ("template", {"template"}), ("neither", set())):
        other = make("grammar_transduction", hold_out=hold_out)
        assert set(other.splits) == {"train", "iid", "length"} | splits
        assert (other.splits["train"].difficulty["alone"] > 0) == (hold_out == "primitive")


@pytest.mark.parametrize("split", first_by_default(["train", "primitive", "length"]))
def test_any_verb_baseline_matches_a_simulation(split):
    task, generator = (
        make("grammar_transduction", primitives=PRIMITIVES, actions=8, longer=12),
        np.random.default_rng(0),
    )
    batch, right, nats = draw_split(task, split, 4096), 0, []
    for index in range(4096):
        command, answer = read(one(batch, index))
        verbs = [word for word in command if word[0] == "u"]
        guesses = iter(generator.integers(PRIMITIVES, size=len(verbs)))
        guessed = tuple(f"u{next(guesses)}" if word[0] == "u" else word for word in command)
        right += [*LEXICON[guessed], "END"] == answer
        nats.append(-math.log(PRIMITIVES) * len(verbs) / len(answer))
    baseline = task.baselines(split)["any_verb"]
    assert within(right / 4096, baseline.exact, 4096)
    assert np.mean(nats) == pytest.approx(baseline.logprob, abs=5 * float(np.std(nats)) / 64)


def rewritings(command):
    """The commands with phrases and conjunction exchanged, with left for right, and with both."""
    turn = {"left": "right", "right": "left", "and": "after", "after": "and"}
    mirrored = tuple(turn[word] if word in ("left", "right") else word for word in command)
    found = [mirrored]
    for words in (command, mirrored):
        for at in (i for i, word in enumerate(words) if word in ("and", "after")):
            found.append((*words[at + 1 :], turn[words[at]], *words[:at]))
    return found


@pytest.mark.parametrize("split", first_by_default(["iid", "primitive", "length", "template"]))
def test_rewriting_baseline_matches_a_search_among_trained_commands(split):
    """Of which enough are drawn that hardly one is missing. `template` has 44 commands, whose coins fell unevenly."""
    task, trained = make("grammar_transduction", primitives=2, actions=8, longer=10), set()
    for seed in range(4):
        batch = draw_split(task, "train", 4096, seed)
        trained |= set(map(tuple, batch.tokens[:, :10].tolist()))
    called, right = names(2), 0
    trained = {tuple(called[t] for t in row)[: row.index(called.index("="))] for row in trained}
    batch = draw_split(task, split, 1024)
    for index in range(1024):
        right += any(command in trained for command in rewritings(read(one(batch, index), 2)[0]))
    claimed = task.baselines(split).get("rewriting")
    assert within(right / 1024, claimed.exact if claimed else 0.0, 1024)
    assert (claimed is None) == (split in ("length", "primitive")), "training has nothing of the kind"


def test_rewriting_is_declared_where_it_is_a_guess():
    task = make("grammar_transduction")
    assert "rewriting" not in task.baselines("train")
    assert task.baselines("iid")["rewriting"].exact == pytest.approx(0.83, abs=0.01), ".727 without doing both"


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"hold_out": "verb"}, "hold_out must be one of"),
        ({"actions": 7}, r"actions must be a whole number in \[8, 47\]"),
        ({"actions": 10, "longer": 10}, "longer must be"),
        ({"actions": 41, "longer": 46}, "no command has 42 to 46 actions"),
        ({"primitives": 1}, "primitives must be"),
        ({"alone": 1.5}, "alone must be"),
    ],
)
def test_bad_sizes_are_refused_in_a_sentence(sizes, says):
    with pytest.raises(TaskError, match=says):
        make("grammar_transduction", **sizes)
