"""Facts of two-token keys: their frequencies, which are asked for where, and that no sum of embeddings holds them."""

import math
from collections import Counter

import jax
import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from tasks import make
from tasks.base import TaskError
from tasks.memory.composite_facts import _drawn
from tests.tasks.task_cases import draw, draw_split, quick_jit, within, world

SIZES = {"entities": 8, "relations": 6, "values": 4, "held_out": 2, "relation_exponent": 1.0}
PLAIN = make("composite_facts", **SIZES)
PHRASED = make("composite_facts", **SIZES, phrasings=3)  # a case of the conformance tests: compiled once
DEFAULT = make("composite_facts")


def pairs(task, batch):
    """(entities, relations, phrasings) that a batch asks for, by its tokens."""
    relation = batch.tokens[:, 1] - 1 - task.entities
    return batch.tokens[:, 0] - 1, relation % task.relations, relation // task.relations


def asked(task, split, count=2048):
    """The pairs that a split asks for, with how often."""
    entity, relation, _ = pairs(task, draw_split(task, split, count))
    return Counter(zip(entity.tolist(), relation.tolist(), strict=True))


@quick_jit
def _worlds(seeds):
    return jax.vmap(lambda seed: DEFAULT.world(jax.random.key(seed)))(seeds)


def default_worlds(count):
    return jax.tree.map(np.asarray, _worlds(np.arange(count, dtype=np.int32)))


@pytest.mark.parametrize("exponents", [(0.0, 0.0), (1.0, 0.5), (0.3, 2.0)])
def test_trained_facts_come_at_their_zipf_frequencies(exponents):
    """A chi-squared test against the law, by rank; exponents are traced, so that one program serves all."""
    known, count = world(PHRASED), 4096
    difficulty = {"entity_exponent": exponents[0], "relation_exponent": exponents[1], "part": 0}
    entity, relation, _ = pairs(PHRASED, batch := draw(PHRASED, difficulty, 2, count, seed=3))
    law = {
        (e, r): (1 + int(known.entity_rank[e])) ** -exponents[0] * (1 + int(known.relation_rank[r])) ** -exponents[1]
        for e in range(8)
        for r in range(6)
        if not known.held_out[e, r]
    }
    found = Counter(zip(entity.tolist(), relation.tolist(), strict=True))
    assert set(found) <= set(law)
    expected = np.array(list(law.values())) / sum(law.values()) * count
    observed = np.array([found[pair] for pair in law])
    rare = expected < 5  # for which the test is not made
    observed, expected = (np.append(x[~rare], x[rare].sum()) for x in (observed, expected))
    used = expected > 0
    assert stats.chisquare(observed[used], expected[used]).pvalue > 1e-3
    flat = np.full_like(expected[used], count / used.sum())
    assert exponents == (0.0, 0.0) or stats.chisquare(observed[used], flat).pvalue < 1e-6, "and the test can fail"
    np.testing.assert_array_equal(batch.factors["value"], np.asarray(known.value)[entity, relation])


def test_unseen_pairs_are_never_trained_and_their_parts_are():
    trained, unseen = (set(asked(PLAIN, split)) for split in ("train", "unseen"))
    held_out = {(int(e), int(r)) for e, r in zip(*np.nonzero(np.asarray(world(PLAIN).held_out)), strict=True)}
    assert unseen == held_out
    assert not trained & unseen
    assert {e for e, _ in trained} == set(range(8))
    assert {r for _, r in trained} == set(range(6))
    held = default_worlds(40).held_out
    assert np.all(held.sum(axis=2) == DEFAULT.held_out)
    assert np.all(held.sum(axis=1) == DEFAULT.held_out * DEFAULT.entities // DEFAULT.relations)
    assert len({each.tobytes() for each in held}) == 40
    value = default_worlds(40).value
    shares = [np.bincount(value[side], minlength=16) / side.sum() for side in (held, ~held)]
    assert all(within(s, 1 / 16, int(held.sum())) for s in np.concatenate(shares)), "drawn alike, trained or not"


def test_no_pair_of_the_head_is_rarer_than_one_of_the_tail_at_any_exponents():
    known = world(PLAIN)
    head, tail = (set(asked(PLAIN, split)) for split in ("head", "tail"))
    assert head
    assert tail
    assert not (head | tail) & set(asked(PLAIN, "unseen"))
    ranks = [[(int(known.entity_rank[e]), int(known.relation_rank[r])) for e, r in part] for part in (head, tail)]
    assert all(a[0] < b[0] and a[1] < b[1] for a in ranks[0] for b in ranks[1])


def one_hot(*columns):
    """[N, sum of sizes] of (int[N], size) pairs."""
    return np.concatenate([np.eye(size)[values] for values, size in columns], axis=1)


def additive(entity, relation):
    """What the sum of two token embeddings can say of a pair, at any width: it is linear in these columns."""
    return one_hot((entity, DEFAULT.entities), (relation, DEFAULT.relations))


def test_no_readout_of_summed_embeddings_holds_the_facts_or_says_a_word_of_unseen_ones():
    """At the default sizes a logistic regression on entity and relation, fitted to all trained facts, reads a third."""
    worlds, everywhere, elsewhere, unseen = default_worlds(3), [], [], []
    for value, held_out in zip(worlds.value, worlds.held_out, strict=True):
        keys, others = np.nonzero(~held_out), np.nonzero(held_out)
        seen, right = additive(*keys), value[keys]
        fitted = LogisticRegression(C=10.0, max_iter=60, tol=1e-2).fit(seen, right)
        everywhere.append(fitted.score(seen, right))
        unseen.append(fitted.score(additive(*others), value[others]))
        half = np.arange(len(right)) % 2 == 0
        fitted = LogisticRegression(C=10.0, max_iter=60, tol=1e-2).fit(seen[half], right[half])
        elsewhere.append(fitted.score(seen[~half], right[~half]))
    floor, chance = DEFAULT.baselines("uniform")["entity_value"].exact, 1 / DEFAULT.values
    assert floor < np.mean(everywhere) < 0.4
    assert within(np.mean(unseen), chance, 3 * 64, sigmas=4)
    assert within(np.mean(elsewhere), chance, 3 * 224, sigmas=4)


def test_a_column_for_each_pair_holds_them_all():
    """The control: a key of one token, as `facts` has it, is read off its own row."""
    value, held_out = (x[0] for x in (default_worlds(3).value, default_worlds(3).held_out))
    keys = np.nonzero(~held_out)
    columns = one_hot((np.arange(DEFAULT.facts), DEFAULT.facts))
    weights, *_ = np.linalg.lstsq(columns, np.eye(DEFAULT.values)[value[keys]], rcond=None)
    assert np.array_equal((columns @ weights).argmax(axis=1), value[keys])
    seen = additive(*keys)
    weights, *_ = np.linalg.lstsq(seen, np.eye(DEFAULT.values)[value[keys]], rcond=None)
    assert np.mean((seen @ weights).argmax(axis=1) == value[keys]) < 0.4, "least squares agrees on sums"


@pytest.mark.parametrize("split", ["train", "paraphrase"])
def test_a_fact_of_one_phrasing_is_asked_in_the_others_by_paraphrase_alone(split):
    entity, relation, phrasing = pairs(PHRASED, batch := draw_split(PHRASED, split, 2048))
    known = world(PHRASED)
    own = np.asarray(known.own_phrasing)[entity, relation]
    np.testing.assert_array_equal(batch.factors["phrasing"], phrasing)
    np.testing.assert_array_equal(batch.targets[:, 1], 1 + 8 + 18 + np.asarray(known.value)[entity, relation])
    alone = own >= 0
    assert split == "train" or alone.all()
    assert np.all((phrasing == own)[alone] == (split == "train"))
    free = phrasing[alone] if split == "paraphrase" else phrasing[~alone]
    assert len(np.unique(free)) == 3
    if split == "train":
        assert all(within(np.mean(free == each), 1 / 3, free.size) for each in range(3))
        assert np.sum(np.asarray(known.own_phrasing) >= 0) == PHRASED.facts - round(0.5 * PHRASED.facts)
    assert "paraphrase" not in PLAIN.splits
    assert PHRASED.splits["paraphrase"].disjoint


def test_phrasings_leave_facts_and_frequencies_as_they_are():
    for split in ("train", "tail", "unseen"):
        bare, phrased = draw_split(PLAIN, split, 512), draw_split(PHRASED, split, 512)
        assert all(
            np.array_equal(a, b) for a, b in zip(pairs(PLAIN, bare)[:2], pairs(PHRASED, phrased)[:2], strict=True)
        )
        np.testing.assert_array_equal(bare.factors["value"], phrased.factors["value"])


def expected_largest(count, values):
    """E[largest of the counts of `values` kinds among `count` uniform draws]: exact.

    Counts are independent Poisson ones given their sum, so that a power of the cut-off law gives P(largest <= m).
    """
    law = stats.poisson.pmf(np.arange(count + 1), count / values)
    expected = 0.0
    for most in range(count):
        cut, power = np.where(np.arange(count + 1) <= most, law, 0.0), np.eye(1, count + 1)[0]
        for _ in range(values):
            power = np.convolve(power, cut)[: count + 1]
        beyond = 1 - power[count] / stats.poisson.pmf(count, count)
        if beyond < 1e-9:
            break
        expected += beyond
    return expected


@pytest.mark.parametrize("sizes", [{}, {"entities": 8, "relations": 6, "values": 4, "held_out": 2}])
def test_baselines_are_the_closed_forms_where_there_are_such(sizes):
    task = make("composite_facts", **sizes, entity_exponent=0.0)
    for split in ("iid", "uniform"):
        found = task.baselines(split)
        each = task.relations - task.held_out
        assert found["chance"].exact == 1 / task.values
        assert found["entity_value"].exact == pytest.approx(expected_largest(each, task.values) / each, abs=0.006)
        whole = expected_largest(task.facts, task.values) / task.facts
        assert found["most_common_value"].exact == pytest.approx(whole, abs=0.006)
    assert set(task.baselines("unseen").values()) == {(1 / task.values, -math.log(task.values))}


@pytest.mark.parametrize(("split", "name"), [("iid", "relation_value"), ("tail", "entity_value")])
def test_baselines_match_worlds_drawn_by_the_task(split, name):
    """Weighted ones, by brute force over the task's own worlds: exact and in nats."""
    drawn, exact, nats = default_worlds(40), [], []
    for value, held, entity_rank, relation_rank in zip(*drawn[:4], strict=True):
        frequency = (1.0 + entity_rank[:, None]) ** -0.5 * (1.0 + 0 * relation_rank)
        known = np.where(held, 0.0, frequency)
        rare = (entity_rank[:, None] >= 16) & (relation_rank >= 8)
        wanted = known if split == "iid" else np.where(rare & ~held, 1.0, 0.0)
        lists = [(known[:, r], wanted[:, r], value[:, r]) for r in range(16)]
        if name == "entity_value":
            lists = list(zip(known, wanted, value, strict=True))
        shares = [np.bincount(v, k, 16) for k, _, v in lists]
        exact.append(sum(w[v == s.argmax()].sum() for s, (_, w, v) in zip(shares, lists, strict=True)) / wanted.sum())
        said = [w[w > 0] @ np.log((s / s.sum())[v[w > 0]]) for s, (_, w, v) in zip(shares, lists, strict=True)]
        nats.append(sum(said) / wanted.sum())
    baseline = DEFAULT.baselines(split)[name]
    assert np.mean(exact) == pytest.approx(baseline.exact, abs=4 * np.std(exact) / 40**0.5)
    assert np.mean(nats) == pytest.approx(baseline.logprob, abs=4 * np.std(nats) / 40**0.5)


def test_what_weighs_nothing_is_never_drawn():
    """Not even where the uniform number rounds up to the total."""
    weights = np.array([0.0, 2.0, 0.0, 1e-9, 0.0], np.float32)
    drawn = quick_jit(jax.vmap(lambda key: _drawn(key, weights)))(jax.random.split(jax.random.key(0), 4096))
    assert set(np.asarray(drawn).tolist()) <= {1, 3}


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"relations": 33}, r"relations must be a whole number in \[4, 32\]"),
        ({"held_out": 8}, r"held_out must be a whole number in \[1, 7\]"),
        ({"entity_exponent": 5.0}, r"entity_exponent must be a number in \[0.0, 4.0\]"),
        ({"phrasings": 0}, "phrasings must be a whole number"),
        ({"rephrased": 1.0}, "rephrased must be a number in"),
        ({"entities": 8192}, "entities must be at most 4096 with 16 relations, not 8192"),
    ],
)
def test_bad_sizes_are_named(sizes, says):
    with pytest.raises(TaskError, match=says):
        make("composite_facts", **sizes)
