"""Comparison: answers from the table, which pairs are trained and which never, baselines, mention order."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tasks.reasoning.comparison import _unrank
from tasks.reasoning.comparison_scores import by_scores
from tests.tasks.task_cases import draw, draw_split, one, quick_jit, within, world

SIZES = {"entities": 10, "attributes": 2, "values": 4, "ood": 0.4, "ratio": 2.0, "held_out": 0.3}
TASK = make("comparison", **SIZES)  # 6 ID and 4 OOD entities of each attribute: 30 and 12 pairs


def ood_of(task, attribute):
    """The OOD entities of an attribute."""
    return set(np.asarray(world(task).entity)[attribute, task.entities - round(task.ood * task.entities) :].tolist())


def questions(task, batch):
    """(attribute, entity) or (attribute, first, second) of every example, from 0."""
    asked = []
    for row in batch.tokens.tolist():
        tokens = [t for t in row if t]
        (attribute,) = [t for t in tokens if t > task.entities]
        assert tokens.index(attribute) == (1 if len(tokens) == 2 else 0)
        asked.append((attribute - 1 - task.entities, *(t - 1 for t in tokens if t != attribute)))
    return asked


@given(
    part=st.integers(0, 6),
    ratio=st.sampled_from([0.01, 1.0, 2.0, 50.0]),
    larger_first=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_answers_come_from_the_table_and_entities_from_the_part_asked_for(part, ratio, larger_first, seed):
    batch = draw(TASK, {"part": part, "ratio": ratio, "larger_first": larger_first}, 4, 16, seed)
    value = np.asarray(world(TASK).value)
    for index, (attribute, *entities) in enumerate(questions(TASK, batch)):
        example, ood = one(batch, index), [e in ood_of(TASK, attribute) for e in entities]
        allowed = {
            0: [[False], [True], [False, False]],
            1: [[False], [True]],
            2: [[True]],
            3: [[False, False]],
            4: [[False, False]],
            5: [[True, True]],
            6: [[True, False], [False, True]],
        }[part]
        assert ood in allowed
        first, last = (int(value[attribute, e]) for e in (entities[0], entities[-1]))
        relation = 0 if first < last else 1 if first == last else 2
        answer = 13 + first if len(entities) == 1 else 17 + 3 * attribute + relation
        at = len(entities)
        assert len(set(entities)) == len(entities)
        assert example.targets.tolist() == [answer if place == at else 0 for place in range(4)]
        assert np.flatnonzero(example.weights).tolist() == [at]
        assert example.read.tolist() == [at, at - 1]
        factors = {name: int(value) for name, value in example.factors.items()}
        assert factors == {"first_value": first, "second_value": last, "relation": relation}
        assert len(entities) == 1 or relation == 1 or larger_first not in (0, 1) or (relation == 2) == larger_first
        assert TASK.check(world(TASK), example, example.targets)


@pytest.mark.parametrize("count", [2, 3, 6, 7])
def test_pair_numbers_are_all_the_pairs(count):
    numbers = np.arange(count * (count - 1) // 2, dtype=np.int32)
    pairs = {frozenset(_unrank(number, count).tolist()) for number in numbers}
    assert pairs == set(map(frozenset, itertools.combinations(range(count), 2)))


def test_the_parts_are_all_the_comparisons_both_ways_round():
    found = {name: set(questions(TASK, draw_split(TASK, name, 4096))) for name in TASK.splits}
    ood = [ood_of(TASK, attribute) for attribute in range(2)]
    kinds = {0: set(), 1: set(), 2: set()}
    for a, (e, f) in itertools.product(range(2), itertools.permutations(range(10), 2)):
        kinds[(e in ood[a]) + (f in ood[a])].add((a, e, f))
    assert found["atomic"] == set(itertools.product(range(2), range(10)))
    assert found["atomic_ood"] == {(a, e) for a in range(2) for e in ood[a]}
    assert found["train"] == found["atomic"] | found["seen"]
    assert found["ood"] == kinds[2]
    assert found["mixed"] == kinds[1]
    assert len(found["seen"]) == 2 * 2 * 6, "ratio · attributes · ID entities"
    assert len(found["iid"]) == 2 * round(0.3 * 30)
    assert not found["seen"] & found["iid"]
    for name in ("seen", "iid"):
        assert found[name] <= kinds[0]
        assert found[name] == {(a, f, e) for a, e, f in found[name]}


def test_a_larger_ratio_only_adds_to_training_and_everything_comes_equally_often():
    seen = [
        set(questions(TASK, draw(TASK, {**TASK.splits["seen"].difficulty, "ratio": ratio}, 3, 4096)))
        for ratio in (0.5, 2.0, 100.0)
    ]
    assert seen[0] < seen[1] < seen[2]
    assert len(seen[2]) == 2 * (30 - 9)
    asked = questions(TASK, draw_split(TASK, "train", 4096))
    counts = np.unique([hash(q) for q in asked], return_counts=True)[1] / 4096
    assert len(counts) == 20 + 24
    assert all(within(count, 1 / 44, 4096) for count in counts)


@quick_jit
def worlds_and_samples(seeds, difficulty):
    """A world for each seed, and 40 questions in each."""

    def of(seed):
        table, keys = TASK.world(jax.random.key(seed)), jax.random.split(jax.random.key(seed), 40)
        return table, jax.vmap(lambda key: TASK.sample(key, table, difficulty, 3))(keys)

    return jax.vmap(of)(seeds)


@pytest.mark.slow
@pytest.mark.parametrize(("split", "larger_first"), [("train", 0.8), ("iid", 0.8), ("iid", 0.2), ("atomic", 0.8)])
def test_baselines_match_the_predictors(split, larger_first):
    task = make("comparison", **SIZES, larger_first=0.8)
    split = "counterfactual" if larger_first < 0.5 else split
    difficulty = dict(task.splits[split].difficulty)
    assert difficulty["larger_first"] == pytest.approx(larger_first)
    tables, batch = jax.tree.map(np.asarray, worlds_and_samples(np.arange(200, dtype=np.int32), difficulty))
    right = {"majority": [], "one_entity": []}
    for table, relation, first, tokens in zip(
        tables.value, batch.factors["relation"], batch.factors["first_value"], batch.tokens, strict=True
    ):
        atomic = tokens[:, 2] == 0
        commonest = np.array([np.bincount(row).argmax() for row in table])
        by_value = first == commonest[np.where(atomic, tokens[:, 1] - 11, 0)]
        # In training the larger one of 4 values comes first with 0.8: only above the value 0 is 'larger' the likeliest.
        right["majority"].append(np.where(atomic, by_value, relation == 2))
        right["one_entity"].append(np.where(atomic, by_value, relation == np.where(first == 0, 0, 2)))
    baselines = task.baselines(split)
    for name, hits in right.items():
        assert np.mean(hits) == pytest.approx(baselines[name].exact, abs=0.03), name
    assert baselines["one_entity"].exact >= baselines["majority"].exact


def test_baselines_of_unbiased_comparisons_have_their_closed_form():
    task = make("comparison", values=10)
    found = task.baselines("ood")
    assert found["majority"].exact == pytest.approx((1 - 1 / 10) / 2)
    assert found["one_entity"].exact == pytest.approx(sum(max(v, 9 - v) for v in range(10)) / 100)
    assert task.baselines("atomic")["chance"].exact == pytest.approx(1 / 10)


@pytest.mark.slow
def test_mention_order_tells_the_answer_and_the_counterfactual_exposes_it():
    """Broken on purpose: a 'counterfactual' that kept the order would not tell the two apart."""
    task = make("comparison", larger_first=0.95)

    def first_is_larger(difficulty):
        return np.mean(draw(task, difficulty, 3).factors["relation"] == 2)

    exposed = task.splits["counterfactual"].difficulty
    assert first_is_larger(task.splits["seen"].difficulty) > 0.8
    assert first_is_larger(task.splits["iid"].difficulty) > 0.8
    assert first_is_larger(exposed) < 0.1
    assert first_is_larger({**exposed, "larger_first": task.larger_first}) > 0.8
    assert task.baselines("iid")["majority"].exact > 0.8
    assert task.baselines("counterfactual")["majority"].exact < 0.1
    assert "counterfactual" not in TASK.splits


@pytest.mark.slow
def test_scores_baseline_matches_a_fit_to_the_trained_comparisons():
    """By scikit-learn, on worlds of the task: which of two entities is larger, from indicators of both."""
    from sklearn.linear_model import LogisticRegression

    task, right = make("comparison", attributes=1, entities=24, ratio=6.0), []
    make_world = quick_jit(task.world)
    for seed in range(8):
        table = jax.tree.map(np.asarray, make_world(jax.random.key(seed)))
        seen, asked = (draw(task, {**task.splits[name].difficulty}, 3, 1024, fixed=table) for name in ("seen", "iid"))

        def entities(batch):
            return np.eye(25)[batch.tokens[:, 1]] - np.eye(25)[batch.tokens[:, 2]]

        model = LogisticRegression(C=10.0, max_iter=300).fit(entities(seen), seen.factors["relation"])
        right.append(np.mean(model.predict(entities(asked)) == asked.factors["relation"]))
    assert np.mean(right) == pytest.approx(task.baselines("iid")["scores"].exact, abs=0.05)


def test_scores_are_declared_for_the_pairs_that_training_holds_out():
    """They need a few comparisons of each entity, and then get hardly any wrong."""
    task = make("comparison")
    assert [name for name in task.splits if "scores" in task.baselines(name)] == ["iid"]
    assert task.baselines("iid")["scores"].exact == pytest.approx(0.95, abs=0.02)
    assert task.baselines("iid")["one_entity"].exact == pytest.approx(0.7)
    assert by_scores(2, 12, 65).exact > 0.97
    assert by_scores(10, 12, 1).exact < 0.5
    assert by_scores(10, 1000, 5000) == by_scores(10, 256, 1280), "of many entities a few are simulated"


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"entities": 5}, "entities must be a whole number in"),
        ({"ood": 0.02}, "ood must be at least 0.05"),
        (
            {"entities": 6, "attributes": 1, "ood": 0.4, "held_out": 0.01, "ratio": 2.0},
            "must leave a pair on either side",
        ),
        ({"entities": 5000}, "pairs of ID entities"),
        ({"ratio": 41.0}, "ratio must be a number in"),
        ({"larger_first": 0.4}, "larger_first must be a number in"),
        ({"values": 1}, "values must be a whole number in"),
    ],
)
def test_bad_sizes_are_named(sizes, says):
    with pytest.raises(TaskError, match=says):
        make("comparison", **sizes)
