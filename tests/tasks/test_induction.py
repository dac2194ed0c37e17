"""Induction: the trigger occurs once, its places, the leak and its counterfactual, baselines."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.memory_cases import agrees, drawn, factors_of, halves, read_and_answered
from tests.tasks.task_cases import draw_split, first_by_default, one, within

LONGEST, SYMBOLS = 11, 6
SIZES = dict(length=9, longer=LONGEST, symbols=SYMBOLS, margin=2)
TASKS = {trigger: make("induction", trigger=trigger, **SIZES) for trigger in ("any", "special")}


@given(
    trigger=st.sampled_from(sorted(TASKS)),
    sizes=st.sampled_from([(n, m) for n in range(2, LONGEST + 1) for m in range(n) if n - 1 - 2 * m >= 1]),
    where=st.sampled_from(["within", "outside", "elsewhere"]),
    leak=st.sampled_from([0.0, 0.5, 1.0]),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_answer_followed_the_only_earlier_trigger(trigger, sizes, where, leak, held_out, seed):
    count, margin = sizes
    inside = list(range(margin, count - 1 - margin))
    where = where if (margin and where == "outside") or (len(inside) > 1 and where == "elsewhere") else "within"
    difficulty = dict(length=count, margin=margin, leak=leak, held_out=held_out)
    difficulty |= dict(outside=int(where == "outside"), elsewhere=int(where == "elsewhere"))
    fixed = min(max(TASKS[trigger].fixed_place, inside[0]), inside[-1])
    for example in drawn(TASKS[trigger], difficulty, LONGEST + 1, seed=seed):
        tokens, asked, answer = read_and_answered(example)
        assert (len(tokens), asked) == (count + 1, [count])
        *context, last = tokens
        assert context.count(last) == 1
        assert (last == SYMBOLS + 1) == (trigger == "special")
        place = context.index(last)
        assert answer == [context[place + 1]]
        assert (place in inside) == (where != "outside")
        if where == "elsewhere":
            assert place != fixed
        if where == "within" and leak == 1:
            assert place == fixed
        assert factors_of(example) == {"follower": answer[0] - 1, "place": place, "last": context[-1] - 1}
        assert example.read.tolist() == [count]
        assert TASKS[trigger].check((), example, example.targets)


def place_of(example):
    tokens, *_ = read_and_answered(example)
    return tokens.index(tokens[-1])


@pytest.mark.parametrize(
    ("split", "places"),
    [("iid", {2, 3, 4, 5}), ("position", {0, 1, 6, 7}), ("length", {2, 3, 4, 5, 6, 7}), ("counterfactual", {2, 4, 5})],
)
def test_places_are_uniform_where_the_split_says(split, places):
    found = np.array([place_of(one(draw_split(TASKS["any"], split), i)) for i in range(2048)])
    assert set(found.tolist()) == places
    assert all(within(np.mean(found == place), 1 / len(places), 2048) for place in places)


@pytest.mark.parametrize("trigger", first_by_default(["any", "special"]))
def test_train_and_iid_halve_the_contexts(trigger):
    task = make("induction", trigger=trigger, length=6, longer=7, symbols=4, margin=1)
    difficulty = {**task.splits["iid"].difficulty, "length": 5}
    train, iid = halves(task, difficulty, 6, lambda e: tuple(read_and_answered(e)[0]), seeds=2)
    triggers, others = (4, 3) if trigger == "any" else (1, 4)
    everything = 2 * triggers * others**4
    assert not train & iid
    assert len(train | iid) > 0.9 * everything
    assert max(len(train), len(iid)) <= everything / 2


def fixed_place_right(task, difficulty):
    """The shortcut at work: answer with what follows the fixed place."""
    examples = drawn(task, difficulty, task.splits["iid"].length, 1024)
    parts = [read_and_answered(e) for e in examples]
    return np.mean([tokens[task.fixed_place + 1] == answer[0] for tokens, _, answer in parts])


@pytest.mark.slow
def test_the_leak_is_a_shortcut_that_the_counterfactual_exposes():
    task = make("induction", leak=0.9, **SIZES)
    inside = 0.9 + 0.1 / 4
    iid, exposed = (task.splits[split].difficulty for split in ("iid", "counterfactual"))
    assert within(fixed_place_right(task, iid), inside + (1 - inside - 0.1 / 4) / 5, 1024)
    assert within(fixed_place_right(task, exposed), task.baselines("counterfactual")["fixed_place"].exact, 1024)
    assert fixed_place_right(task, exposed) < 0.25
    broken = {**exposed, "elsewhere": 0, "leak": 0.9}
    assert fixed_place_right(task, broken) > 0.85, "a counterfactual that kept the leak would be seen"


@pytest.mark.slow
@pytest.mark.parametrize("trigger", ["any", "special"])
@pytest.mark.parametrize("split", ["iid", "position", "length", "counterfactual"])
def test_baselines_match_a_simulation(trigger, split):
    task = make("induction", trigger=trigger, leak=0.3, **SIZES)
    generator, others = np.random.default_rng(0), SYMBOLS - (trigger == "any")
    reached = task.baselines(split)["fixed_place"].exact
    batch, by_context, by_place, behind = draw_split(task, split, 4096), [], [], 0
    for index in range(4096):
        tokens, _, (answer,) = read_and_answered(one(batch, index))
        candidates = [t for t in tokens[:-1] if t != tokens[-1]]
        by_context.append(
            (generator.choice(candidates) == answer, math.log(candidates.count(answer) / len(candidates)))
        )
        guess = tokens[task.fixed_place + 1]
        behind += guess == tokens[-1]
        by_place.append((guess == answer, guess == tokens[-1]))
    baselines, behind = task.baselines(split), behind / 4096
    assert agrees(by_context, baselines["context_token"], 4096)
    share = reached / (1 - behind)
    nats = {True: math.log(share), False: math.log((1 - share) / (others - 1))}
    measured = [(right, -math.log(others) if lost else nats[bool(right)]) for right, lost in by_place]
    assert agrees(measured, baselines["fixed_place"], 4096)


@pytest.mark.parametrize("sizes", [{"length": 6, "margin": 1}, {"length": 16, "margin": 6}])
def test_no_trivial_rule_solves_a_split_at_the_fewest_places(sizes):
    """With two places, `counterfactual` has one: whoever reads what follows it is always right."""
    task = make("induction", **sizes, leak=0.5)
    for split in task.splits:
        assert all(baseline.exact < 0.9 for baseline in task.baselines(split).values()), split


@pytest.mark.parametrize(
    ("split", "trigger"), first_by_default([("iid", "any"), ("position", "special"), ("length", "any")])
)
def test_commonest_middle_baseline_matches_a_simulation(split, trigger):
    generator, measured, last = np.random.default_rng(0), [], []
    reached = TASKS[trigger].baselines(split)["commonest_middle"]
    batch, others = draw_split(TASKS[trigger], split, 4096), SYMBOLS - (trigger == "any")
    nats = {True: math.log(reached.exact), False: math.log((1 - reached.exact) / (others - 1))}
    for index in range(4096):
        tokens, _, (answer,) = read_and_answered(one(batch, index))
        middle = [t for t in tokens[3 : len(tokens) - 3] if t != tokens[-1]]
        best = [t for t in set(middle) if middle.count(t) == max(map(middle.count, middle))]
        right = generator.choice(best) == answer
        measured.append((right, nats[bool(right)]))
        last.append(tokens[-2] == answer)
    assert agrees(measured, reached, 4096)
    assert within(np.mean(last), TASKS[trigger].baselines(split)["last_token"].exact, 4096)
    assert make("induction").baselines("iid")["commonest_middle"].exact == pytest.approx(0.28, abs=0.02)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"symbols": 5}, "even"),
        ({"margin": 7}, r"margin must be a whole number in \[1, 6\]"),
        ({"length": 7, "margin": 2}, r"margin must be a whole number in \[1, 1\]"),
        ({"leak": 1.5}, "leak must be"),
        ({"longer": 16}, "longer must be"),
        ({"trigger": "none"}, "one of any, special"),
    ],
)
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("induction", **sizes)
