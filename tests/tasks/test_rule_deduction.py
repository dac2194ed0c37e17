"""Rule deduction: what follows, statistics that say nothing, shortcuts that say what they claim, what is held out."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.task_cases import draw, draw_split, one, within, world

WIDE = make("rule_deduction", deeper=4, more_distractors=4, extra=2, atoms=20, scratchpad="valid")
LENGTH = 3 * 16 + 2 + 14 + 1  # 16 statements of the largest theory, the question, its scratchpad, the answer
SMALL = make("rule_deduction", depth=2, deeper=3, distractors=0, more_distractors=1, atoms=16)
AGREED = make("rule_deduction", depth=2, deeper=3, distractors=0, more_distractors=1, atoms=16, agreement=1.0)


def parse(task, example):
    """(statements as (premises, conclusion), the atom asked about, scratchpad, answer), by looking at the weights."""
    written = np.flatnonzero(example.weights)
    tokens = [token - 1 for token in example.tokens.tolist()]
    names = task.atoms + task.reserved
    statement, asked = tokens[: written[0] - 1], tokens[written[0] - 1]
    assert len(statement) % 3 == 0
    statements = [
        ([t for t in statement[i : i + 2] if t < names], statement[i + 2]) for i in range(0, len(statement), 3)
    ]
    targets = (example.targets[written] - 1).tolist()
    return statements, asked, targets[:-2], {names + 3: True, names + 4: False}[targets[-1]]


def rounds(statements, given=()):
    """Atom -> the round of forward chaining in which it is known, in the order in which they become known."""
    known = dict.fromkeys([head for premises, head in statements if not premises] + list(given), 0)
    for number in range(1, len(statements) + 1):
        new = [h for premises, h in statements if h not in known and premises and all(p in known for p in premises)]
        known |= dict.fromkeys(new, number)
    return known


@given(
    depths=st.tuples(st.integers(1, 4), st.integers(1, 4)).map(sorted),
    distractors=st.integers(0, 4),
    shares=st.tuples(*[st.sampled_from([0.0, 0.4, 1.0])] * 2),
    signs=st.tuples(*[st.sampled_from([-1.0, 0.0, 0.5, 1.0])] * 2),
    unseen=st.integers(0, 4),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_what_follows_is_what_forward_chaining_derives(depths, distractors, shares, signs, unseen, held_out, seed):
    difficulty = dict(least_depth=depths[0], depth=depths[1], distractors=distractors, extra=2, unseen=unseen)
    difficulty |= dict(held_out=held_out, conjunctions=shares[0], scratchpad=shares[1])
    difficulty |= dict(agreement=signs[0], shortcut=signs[1])
    batch = draw(WIDE, difficulty, LENGTH, 16, seed)
    for index in range(16):
        example = one(batch, index)
        statements, asked, steps, answer = parse(WIDE, example)
        factors = {name: int(value) for name, value in example.factors.items()}
        depth, known = factors["depth"], rounds(statements)
        assert depths[0] <= depth <= depths[1]
        assert answer == (asked in known) == bool(factors["label"])
        more = len(statements) - 2 * depth - 2 - distractors
        assert more in ((2,) if signs[1] == (1 if answer else -1) else (0,) if abs(signs[1]) == 1 else (0, 2))
        assert len({a for premises, head in statements for a in [*premises, head]}) == len(statements) + 1
        assert [len(premises) for premises, _ in statements].count(0) == 2
        doubles = [len(premises) for premises, _ in statements].count(2)
        assert shares[0] not in (0, 1) or doubles == shares[0] * (len(statements) - 2)
        assert known[factors["frontier"]] == factors["reached"]
        assert any(head == asked and factors["premise"] in premises for premises, head in statements)
        if answer:
            assert known[asked] == depth == factors["reached"]
        else:
            assert factors["reached"] < max(depth, 2) - 1 + (depth == 1)
            atoms = {p for premises, _ in statements for p in premises} - {asked} - set(known)
            proofs = [rounds(statements, [a]).get(asked) for a in atoms]
            assert {*proofs} & {depth, depth - factors["reached"]}, "one atom more and it would follow"
        wanted = [a for a, number in known.items() if number > 0]
        assert steps == (wanted if example.weights.sum() > 1 else [])
        assert example.read.tolist() == np.flatnonzero(example.weights)[[-1, 0]].tolist()
        assert WIDE.check((), example, example.targets)
    assert shares[1] == 0.4 or np.all((batch.weights.sum(axis=1) > 1) == bool(shares[1]))


def statistics(task, example):
    """What can be counted without chaining."""
    statements, asked, _, _ = parse(task, example)
    heads = Counter(head for _, head in statements)
    uses = Counter(p for premises, _ in statements for p in premises)
    (last, _), *_ = [s for s in statements[::-1] if s[1] == asked]
    return [
        len(statements),
        sum(len(premises) == 2 for premises, _ in statements),
        heads[asked],
        uses[asked],
        max(heads.values()),
        max(uses.values()),
        len(set(uses) - set(heads)),
        len(set(heads) - set(uses)),
        [head for _, head in statements].index(asked),
        sum(uses[p] for p in last),
    ]


def gap(task, difficulty):
    """How many standard errors the statistics of true and false examples lie apart, at most."""
    batch, count = draw(task, difficulty, 38, 4096), 4096
    table = np.array([statistics(task, one(batch, index)) for index in range(count)], float)
    true = batch.factors["label"] == 1
    assert within(np.mean(true), 0.5, count)
    means = table[true].mean(axis=0) - table[~true].mean(axis=0)
    return np.max(np.abs(means) / (table.std(axis=0) * 2 / np.sqrt(count) + 1e-9))


@pytest.mark.slow
def test_no_count_says_anything_about_the_answer_unless_it_is_planted():
    """From proofs of two rules on: a broken chain of one rule shows its unsupported premise at once."""
    task = make("rule_deduction", depth=2, distractors=1, conjunctions=0.3)
    difficulty = {**task.splits["train"].difficulty, "least_depth": 2}
    assert gap(task, difficulty) < 5
    assert gap(task, {**difficulty, "shortcut": 0.5}) > 20


def predictions(task, batch):
    """Right or wrong, for each predictor that `baselines` names and each example; None is a coin."""
    names = np.asarray(world(task).names)
    place_of, height = np.argsort(names), task.atoms // 4
    for index in range(len(batch.tokens)):
        statements, asked, _, answer = parse(task, one(batch, index))
        concluded = {head for _, head in statements}
        lives = any(head == asked and set(premises) <= concluded for premises, head in statements)
        place = int(place_of[asked])
        line = (place // 2 // height, place % 2)
        below = {int(names[2 * (line[0] * height + rank) + line[1]]) for rank in range(place // 2 % height)}
        facts = {head for premises, head in statements if not premises}
        many = len(statements) % 2 == 0  # 2·depth + 2 + 1 + (0 or 1)
        yield {
            "last_rule": lives == answer,
            "rule_count": many == answer,
            "memory": (place < task.atoms and bool(below & facts)) == answer,
        }


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "iid", "distractors", "names", "contrary", "counterfactual"])
def test_baselines_match_the_predictors(split):
    sizes = dict(distractors=1, more_distractors=3, extra=1, conjunctions=0.3, agreement=0.6, shortcut=0.4)
    task = make("rule_deduction", depth=2, deeper=3, atoms=16, **sizes)
    baselines, batch = task.baselines(split), draw_split(task, split, 4096)
    right = [*predictions(task, batch)]
    for name in ("last_rule", "rule_count", "memory"):
        if name != "rule_count" or split != "distractors":  # there the parity means something else
            assert within(np.mean([r[name] for r in right]), baselines[name].exact, 4096), name


def test_baselines_say_how_far_a_shortcut_goes():
    plain, planted = make("rule_deduction"), make("rule_deduction", shortcut=0.8, agreement=0.9)
    assert plain.baselines("counterfactual")["rule_count"].exact == plain.baselines("contrary")["memory"].exact == 0.5
    assert planted.baselines("iid")["rule_count"].exact == pytest.approx(0.9)
    assert planted.baselines("counterfactual")["rule_count"].exact == pytest.approx(0.0)
    assert planted.baselines("iid")["memory"].exact == pytest.approx(0.95)
    assert planted.baselines("contrary")["memory"].exact == pytest.approx(0.0)
    share = 0.9
    nats = share * np.log(share) + (1 - share) * np.log(1 - share)
    assert planted.baselines("iid")["rule_count"].logprob == pytest.approx(nats)


def theory(task, example):
    statements, asked, _, _ = parse(task, example)
    return frozenset((frozenset(premises), head) for premises, head in statements), asked


def mate(task, instance):
    names = np.asarray(world(task).names)
    other = {int(names[place]): int(names[place ^ 1]) for place in range(task.atoms)}
    statements, asked = instance
    return frozenset((frozenset(other[p] for p in premises), other[h]) for premises, h in statements), other[asked]


def test_train_has_one_of_two_mates_and_iid_the_other_in_whatever_order():
    found = {
        split: {theory(AGREED, one(draw_split(AGREED, split, 4096, seed), i)) for seed in range(2) for i in range(4096)}
        for split in ("train", "iid")
    }
    mates = {mate(AGREED, instance) for instance in found["train"]}
    assert not found["train"] & found["iid"]
    assert not found["train"] & mates
    assert len(found["iid"] & mates) > 200, "both halves were met"
    assert within(len(found["train"]) / sum(map(len, found.values())), 0.5, sum(map(len, found.values())))


def test_names_shows_reserved_names_only_where_it_says():
    reserved = set(np.asarray(world(SMALL).names)[SMALL.atoms :].tolist())
    for split in ("train", "iid", "depth", "distractors", "contrary", "counterfactual", "names"):
        batch = draw_split(SMALL, split, 256)
        for index in range(256):
            statements, asked, _, _ = parse(SMALL, one(batch, index))
            shown = {a for premises, head in statements for a in [*premises, head]} & reserved
            assert len(shown) == (4 if split == "names" else 0)
            assert (asked in reserved) == (split == "names")


def test_splits_do_what_they_say():
    depths = {split: set(draw_split(SMALL, split).factors["depth"].tolist()) for split in ("train", "iid", "depth")}
    assert depths == {"train": {1, 2}, "iid": {1, 2}, "depth": {3}}
    assert SMALL.splits["distractors"].length == SMALL.splits["train"].length + 3
    direct = make("rule_deduction", scratchpad="wrong", scratchpad_share=0.5).splits
    assert [direct[name].difficulty["scratchpad"] for name in ("train", "iid", "direct")] == [0.5, 1.0, 0.0]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"atoms": 18}, "multiple of 4"),
        ({"deeper": 6}, "atoms must be a multiple of 4 in [28"),
        ({"depth": 4, "deeper": 4}, "deeper must be"),
        ({"agreement": 1.5}, "agreement must be a number in [-1.0, 1.0]"),
        ({"scratchpad": "long"}, "scratchpad must be one of"),
        ({"more_distractors": 1}, "more_distractors must be"),
    ],
)
def test_bad_sizes_are_refused(sizes, words):
    with pytest.raises(TaskError, match=words.replace("[", r"\[")):
        make("rule_deduction", **sizes)
