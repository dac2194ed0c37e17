"""Two hops: the graph's law, which facts are trained and which are never composed, baselines, the favourite facts."""

from collections import Counter

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import PROCESS, TaskError
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, quick_jit, within, world

SMALL = {"entities": 20, "relations": 6, "degree": 4, "ood": 0.25, "ratio": 1.2, "held_out": 0.25}
PLAIN = make("two_hop", **SMALL)
RICH = make("two_hop", **SMALL, favoured=0.6, scratchpad="valid")
NAMES = [
    "train",
    "atomic",
    "atomic_ood",
    "seen",
    "iid",
    "composition",
    "ood_id",
    "id_ood",
]  # values of `part`, in order


def facts_of(task, graph=None):
    """{(head, relation): tail} and the set of OOD (head, relation)."""
    graph = graph or world(task)
    relation, tail, order = (np.asarray(x).tolist() for x in (graph.relation, graph.tail, graph.facts))
    known = {(f // task.degree, relation[f]): tail[f] for f in range(task.facts)}
    first_ood = task.facts - round(task.ood * task.facts)
    return known, {(f // task.degree, relation[f]) for f in order[first_ood:]}


def questions(task, batch):
    """Tuples (head, relations …) of a batch."""
    entities, relations = range(1, 1 + task.entities), range(1 + task.entities, 1 + task.entities + task.relations)
    asked = [[t for t in row if t in relations] for row in batch.tokens.tolist()]
    assert all(row[0] in entities for row in batch.tokens)
    return [
        (int(row[0]) - 1, *(r - 1 - task.entities for r in rs)) for row, rs in zip(batch.tokens, asked, strict=True)
    ]


@pytest.mark.slow
def test_the_graph_is_drawn_by_its_law():
    task = make("two_hop", entities=60, relations=12, degree=6, ratio=3.6, ood=0.15)
    graphs = quick_jit(jax.vmap(lambda s: task.world(jax.random.key(s))))(np.arange(40, dtype=np.int32))
    relation = np.asarray(graphs.relation).reshape(-1, task.degree)
    assert all(len(set(row)) == task.degree for row in relation.tolist()), "relations of an entity differ"
    for values, size in ((relation, task.relations), (np.asarray(graphs.tail), task.entities)):
        share = np.bincount(values.ravel(), minlength=size) / values.size
        assert all(within(s, 1 / size, values.size, 6) for s in share)
    ends = np.asarray(graphs.ends)
    assert np.all(ends[:, -1] == task.hops)
    assert np.all(np.diff(ends, axis=1, prepend=0) > 0), "no kind is empty"
    kinds = np.diff(ends, axis=1, prepend=0).mean(axis=0) / task.hops
    assert kinds == pytest.approx([0.85**2 * 0.9, 0.85**2 * 0.1, 0.15**2, 0.85 * 0.15, 0.85 * 0.15], abs=0.012)


@given(
    part=st.integers(0, 7),
    ratio=st.sampled_from([0.01, 0.5, 1.2, 4.0]),
    favoured=st.sampled_from([0.0, 0.5, 1.0]),
    scratchpad=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_answers_follow_the_facts_and_come_from_the_part_asked_for(part, ratio, favoured, scratchpad, seed):
    known, ood = facts_of(RICH)
    difficulty = {"part": part, "ratio": ratio, "favoured": favoured, "scratchpad": scratchpad}
    batch = draw(RICH, difficulty, 7, 16, seed)
    think, answer = RICH.vocab_size - 2, RICH.vocab_size - 1
    for index, (head, *relations) in enumerate(questions(RICH, batch)):
        example = one(batch, index)
        way = [head]
        for relation in relations:
            way.append(known[way[-1], relation])
        hops = [step in ood for step in zip(way[:-1], relations, strict=True)]
        allowed = {
            0: [[False], [True], [False, False]],
            1: [[False], [True]],
            2: [[True]],
            3: [[False, False]],
            4: [[False, False]],
            5: [[True, True]],
            6: [[True, False]],
            7: [[False, True]],
        }[part]
        assert hops in allowed
        question = 1 + len(relations)
        thinks = example.tokens[question] == think
        assert not thinks or (len(relations) == 2 and scratchpad > 0)
        assert thinks or len(relations) == 1 or scratchpad < 1
        expected = [1 + way[1], answer, 1 + way[2]] if thinks else [1 + way[-1]]
        assert example.targets[question : question + len(expected)].tolist() == expected
        assert np.flatnonzero(example.weights).tolist() == list(range(question, question + len(expected)))
        assert example.read.tolist() == [question + len(expected) - 1, 1]
        factors = {name: int(value) for name, value in example.factors.items()}
        assert factors == {"bridge": way[1], "answer": way[-1], "head": head, "last_relation": relations[-1]}
        assert RICH.check(world(RICH), example, example.targets)


def test_the_parts_are_all_the_compositions_and_the_ratio_counts():
    known, ood = facts_of(PLAIN)
    found = {name: set(questions(PLAIN, draw_split(PLAIN, name, 4096))) for name in PLAIN.splits}
    compositions = {(h, r, s) for (h, r), b in known.items() for (e, s) in known if e == b}
    inner = {q for q in compositions if q[:2] not in ood and (known[q[:2]], q[2]) not in ood}
    assert found["atomic"] == set(known)
    assert found["atomic_ood"] == ood
    assert found["train"] == found["atomic"] | found["seen"]
    assert found["seen"] <= inner
    assert found["iid"] <= inner - found["seen"]
    assert len(found["seen"]) == round(1.2 * (len(known) - len(ood)))
    assert len(found["iid"]) == round(0.25 * len(inner))
    outer = [found["composition"], found["ood_id"], found["id_ood"]]
    assert set.union(*outer) == compositions - inner
    assert sum(map(len, outer)) == len(compositions - inner)
    assert found["composition"] == {q for q in compositions if q[:2] in ood and (known[q[:2]], q[2]) in ood}


def test_a_larger_ratio_only_adds_to_training_and_every_fact_comes_equally_often():
    seen = []
    for ratio in (0.5, 1.2, 100.0):
        difficulty = {**PLAIN.splits["seen"].difficulty, "ratio": ratio}
        seen.append(set(questions(PLAIN, draw(PLAIN, difficulty, 4, 4096))))
    assert seen[0] < seen[1] < seen[2]
    assert len(seen[2]) == int(world(PLAIN).ends[0])
    asked = questions(PLAIN, draw_split(PLAIN, "train", 4096))
    atomic = sum(len(q) == 2 for q in asked) / 4096
    assert within(atomic, 80 / (80 + 72), 4096)
    counts = np.unique([hash(q) for q in asked], return_counts=True)[1] / 4096
    assert len(counts) == 152
    assert all(within(count, 1 / 152, 4096) for count in counts)


def favourites(known, ood):
    """{(head, relation)} of the ID fact of each relation that most two-hop facts of ID facts end with."""
    inner, of = [fact for fact in known if fact not in ood], {}
    for head, relation in inner:
        of.setdefault(head, []).append((head, relation))
    ends = Counter(second for first in inner for second in of.get(known[first], []))
    # Of facts that as many end with, the last.
    return set({relation: (head, relation) for head, relation in sorted(inner, key=lambda fact: ends[fact])}.values())


def predicted(task, graph, batch):
    """Exact accuracy of both informed baselines on a graph, by weighing all rivals of an answer as training does."""
    known, ood = facts_of(task, graph)
    special, heads, right = favourites(known, ood) if task.favoured else set(), {}, np.zeros((2, len(batch.tokens)))
    for (head, relation), tail in known.items():
        heads.setdefault(head, []).append((relation, tail))
    ends = [(h, r, t, (b, r) in special) for h in heads for _, b in heads[h] for r, t in heads[b]]
    plain, more = (1 - task.favoured) / len(ends), task.favoured / max(sum(end[-1] for end in ends), 1)
    ends = [(h, r, t, plain + more * favourite) for h, r, t, favourite in ends]
    for index, (head, *relations) in enumerate(questions(task, batch)):
        answer, last = batch.factors["answer"][index], relations[-1]
        if len(relations) == 1:
            rivals = (
                [(tail, 1.0) for (_, r), tail in known.items() if r == last],
                [(tail, 1.0) for _, tail in heads[head]],
            )
        else:
            rivals = (
                [(t, weight) for _, r, t, weight in ends if r == last],
                [(t, weight) for h, r, t, weight in ends if (h, r) == (head, last)],
            )
        for row, weighed in enumerate(rivals):
            mass = np.bincount([tail for tail, _ in weighed], [weight for _, weight in weighed])
            tied = np.flatnonzero(mass > mass.max() - 1e-9)
            right[row, index] = (answer in tied) / len(tied)
    return right.mean(axis=1)


@quick_jit
def graphs_and_samples(seeds, difficulty):
    """A graph for each seed, and 100 questions on each."""

    def of(seed):
        graph, keys = PLAIN.world(jax.random.key(seed)), jax.random.split(jax.random.key(seed), 100)
        return graph, jax.vmap(lambda key: PLAIN.sample(key, graph, difficulty, 4))(keys)

    return jax.vmap(of)(seeds)


@pytest.mark.parametrize("split", first_by_default(["train", "iid", "atomic", "composition"]))
def test_baselines_match_the_predictors_on_graphs_of_the_task(split):
    drawn = graphs_and_samples(np.arange(16, dtype=np.int32), dict(PLAIN.splits[split].difficulty))
    found = [predicted(PLAIN, *one(jax.tree.map(np.asarray, drawn), index)) for index in range(16)]
    baselines = PLAIN.baselines(split)
    for name, exact in zip(("last_relation", "any_fact"), np.mean(found, axis=0), strict=True):
        assert exact == pytest.approx(baselines[name].exact, abs=0.06), name
    assert baselines["chance"].exact == pytest.approx(1 / 20)


@pytest.mark.slow
def test_a_favourite_fact_tells_the_answer_and_the_counterfactual_exposes_it():
    """Broken on purpose: a 'counterfactual' that kept the favourites would not tell the two apart."""
    task = make("two_hop", held_out=0.3, favoured=0.9)
    favourite = {}
    for (_, *relations), answer in zip(
        questions(task, batch := draw_split(task, "train")), batch.factors["answer"], strict=True
    ):
        if len(relations) == 2:
            favourite.setdefault(relations[-1], []).append(int(answer))
    favourite = {relation: max(set(answers), key=answers.count) for relation, answers in favourite.items()}

    def by_last_relation(difficulty):
        factors = draw(task, difficulty, 4).factors
        said = [favourite.get(int(r), -1) for r in factors["last_relation"]]
        return np.mean(np.array(said) == factors["answer"])

    exposed = task.splits["counterfactual"].difficulty
    assert by_last_relation(task.splits["seen"].difficulty) > 0.85
    assert by_last_relation(task.splits["iid"].difficulty) > 0.85
    assert by_last_relation(exposed) < 0.4
    assert by_last_relation({**exposed, "favoured": task.favoured}) > 0.85
    assert task.baselines("iid")["last_relation"].exact > 0.85
    assert task.baselines("counterfactual")["last_relation"].exact < 0.4
    assert "counterfactual" not in PLAIN.splits


def test_atomic_questions_never_think_and_direct_questions_do_not_either():
    wrong = make("two_hop", **SMALL, scratchpad="wrong", scratchpad_share=0.5)
    train, iid, direct = (draw(wrong, wrong.splits[name].difficulty, 6) for name in ("train", "iid", "direct"))
    composed = np.array([len(q) == 3 for q in questions(wrong, train)])
    thinks = np.any(train.weights == PROCESS, axis=1)
    assert not np.any(thinks[~composed])
    assert within(np.mean(thinks[composed]), 0.5, int(composed.sum()))
    assert np.all(np.any(iid.weights == PROCESS, axis=1))
    assert within(np.mean(iid.targets[:, 3] == 1 + iid.factors["bridge"]), 1 / 20, 2048)
    assert not np.any(direct.weights == PROCESS)
    assert wrong.splits["direct"].length == 4


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"entities": 8}, "the expected number of OOD compositions"),
        ({"degree": 13}, "degree must be a whole number in"),
        ({"ood": 0.0}, "ood must be a number in"),
        ({"ratio": 11.0}, "ratio must be a number in"),
        ({"favoured": 1.0}, "favoured must be a number in"),
        ({"entities": 60000, "relations": 20, "degree": 20}, "must be at most"),
        ({"scratchpad": "some"}, "scratchpad must be one of"),
    ],
)
def test_bad_sizes_are_named(sizes, says):
    with pytest.raises(TaskError, match=says):
        make("two_hop", **sizes)
