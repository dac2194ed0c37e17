"""What the baselines of the reasoning tasks answer."""

import itertools
from functools import cache

import jax
import numpy as np

from tasks.draw import hash_bit
from tasks.reasoning.comparison import HELD_OUT
from tasks.reasoning.grammar_transduction import interpret
from tasks.reasoning.group_word import elements
from tasks.reasoning.scan import phrases
from tests.tasks import (
    test_defaults,
    test_dyck,
    test_grammar_transduction,
    test_k_hop,
    test_nested_expression,
    test_rule_deduction,
    test_two_hop,
)
from tests.tasks.guesses import of
from tests.tasks.task_cases import draw_split, one, quick_jit


@of("modular")
def _(q):
    task, (a, b, _) = q.task, q.tokens
    columns = task.p - (task.operation == "div")
    trained = np.asarray(q.world.pairs)[: max(round(task.fraction * (task.p - task.reserved_rows) * columns), 1)]
    pairs = {(int(i) // columns, int(i) % columns + task.p - columns) for i in trained}
    combine = {"add": lambda a, b: a + b, "mul": lambda a, b: a * b}.get(task.operation)
    common = 1  # zero is the commonest of a product; of a sum every result is as common
    if combine is None:
        return {"majority": [common], "operand": [a]}
    known = (b - 1, a - 1) in pairs
    return {"majority": [common], "operand": [a], "swapped": [1 + combine(b - 1, a - 1) % task.p if known else common]}


@of("group_word")
def _(q):
    if q.task.ask == "every":
        return {"copy": q.tokens}
    odd = [sum(a > b for a, b in itertools.combinations(row, 2)) % 2 for row in elements(q.task.group).tolist()]
    word = q.read[: int(q.task.splits[q.split].difficulty["length"])]
    sign = sum(odd[token - 1] for token in word) % 2
    return {"copy": [word[-1]], "sign": [1 + q.choice([i for i, parity in enumerate(odd) if parity == sign])]}


@cache
def trained_commands(task):
    """The commands that training has, as words."""
    rows, permitted, spoken = phrases(), task._permitted(task.splits["train"].difficulty), []
    called = task._names()
    for phrase in range(len(rows.turns)):
        seen, held_out = range(task.primitives - 1), [task.primitives - 1]
        verbs = [task.primitives] if rows.turns[phrase] else held_out if rows.held_out[phrase] else seen
        words = rows.words[phrase, : rows.word_count[phrase]].tolist()
        spoken += [
            (phrase, v, tuple(called[1 + v if w < 0 else 1 + task.primitives + w] for w in words)) for v in verbs
        ]
    found = {words for phrase, _, words in spoken if permitted[phrase, 0]}
    pairs = list(itertools.product(spoken, repeat=2))
    shared = np.array([(s[0], s[1], t[0], t[1]) for s, t in pairs], np.int32)
    after = np.asarray(quick_jit(jax.vmap(lambda words: hash_bit(words, np.ones(4, bool))))(shared))
    for (first, second), turned in zip(pairs, after.tolist(), strict=True):
        if permitted[first[0], 1 + second[0]]:
            found.add((*first[2], "after" if turned else "and", *second[2]))
    return found


@of("grammar_transduction")
def _(q):
    names = q.task._names()
    code = {name: token for token, name in enumerate(names)}
    command, verbs = tuple(names[t] for t in q.read[:-1]), names[1 : 1 + q.task.primitives]
    guessed = [q.choice(verbs) if word in verbs else word for word in command]

    def said(words):
        return [code[word] for word in [*interpret(words), "END"]]

    known = any(other in trained_commands(q.task) for other in test_grammar_transduction.rewritings(command))
    return {"any_verb": said(guessed), "rewriting": said(command) if known else []}


@of("dyck")
def _(q):
    types, said = q.task.types, {"adjacent": [], "latest": [], "unpaired": []}
    for place in q.asked:
        read = q.tokens[: place + 1]
        opens = read[-1] <= types
        for name in ("latest", "unpaired"):
            kind = read[-1] if opens else test_dyck.latest_type(read, types, name == "unpaired")
            said[name].append(types + kind)
        said["adjacent"].append(read[-1] + types if opens else types + 1 + q.generator.integers(types))
    return said


@of("regular_language")
def _(q):
    return {
        "majority": [q.commonest()],
        "last_symbol": [q.commonest(lambda read: (len(read), read[-2]))],
        "count": [q.commonest(lambda read: read.count(2) % 2) if q.read.count(2) <= q.task.length else q.commonest()],
    }


@of("addition")
def _(q):
    plus, base = q.tokens.index(q.task.base + 1), q.task.base
    a, b = (np.array(q.tokens[at : at + plus]) - 1 for at in (0, plus + 1))
    said = {}
    for name, carry in (("no_carry", 0), ("all_carry", 1)):
        into = np.array([carry] * (plus - 1) + [0])
        number = (1 + np.array([carry, *((a + b + into) % base)])).tolist()
        said[name] = number if q.task.order == "plain" else number[::-1]
    return said


@of("nested_expression")
def _(q):
    text, kept, level = test_nested_expression.words(q.task, q.example.tokens), [], 0
    for word in text:
        level += word.startswith("[")
        kept += [word] * (level == 1)
        level -= word == "]"
    by_root = q.commonest(lambda read: read[0])
    own = 1 + test_nested_expression.read(kept, q.task.modulus)[0] if len(kept) > 2 else by_root
    return {"majority": [q.commonest()], "root_operation": [by_root], "root_digits": [own]}


@of("k_hop")
def _(q):
    count = int(q.task.splits[q.split].difficulty["nodes"])
    edges, start, k, _ = test_k_hop.read(q.task, q.example.tokens, count)
    sources, ends = zip(*edges, strict=True)
    place = sources.index(start)
    others = [n for n in sources if n not in (start, ends[place])]
    return {
        "any_node": [q.choice([n for n in sources if n != start])],
        "first_hop": [ends[place] if k == 1 else q.choice(others)],
        "position": [ends[(place + k - 1) % count]],
    }


def alone(example):
    """A batch of one."""
    return jax.tree.map(lambda leaf: leaf[None], example)


@of("two_hop")
def _(q):
    shares = test_two_hop.predicted(q.task, q.world, alone(q.example))
    return {"last_relation": float(shares[0]), "any_fact": float(shares[1])}


@of("comparison")
def _(q):
    task, row = q.task, np.asarray(q.world.value)
    entities = [t - 1 for t in q.tokens if t <= task.entities]
    (attribute,) = [t - 1 - task.entities for t in q.tokens if t > task.entities]
    values_from = 1 + task.entities + task.attributes
    if len(entities) == 1:
        commonest = [values_from + int(np.bincount(row[attribute]).argmax())]
        return {"majority": commonest, "one_entity": commonest}
    relations_from, first = values_from + task.values + 3 * attribute, int(row[attribute, entities[0]])
    above, below = task.larger_first * first, (1 - task.larger_first) * (task.values - 1 - first)
    said = {
        "majority": [relations_from + (2 if task.larger_first > 0.5 else q.choice([0, 2]))],
        "one_entity": [relations_from + int(np.argmax([2 * below, 1, 2 * above]))],
    }
    if task.splits[q.split].difficulty["part"] == HELD_OUT:
        score, cut = scores(task, q.world, attribute)
        gap = score[entities[0]] - score[entities[1]]
        said["scores"] = [relations_from + (1 if abs(gap) <= cut else 2 if gap > 0 else 0)]
    return said


SCORES = {}


def scores(task, world, attribute):
    """(a number for each entity, the gap below which two are taken for equal), from the trained comparisons alone."""
    if (id(world), attribute) not in SCORES:
        inside = task.entities - round(task.ood * task.entities)
        per, value = inside * (inside - 1) // 2, np.asarray(world.value)[attribute]
        listed = len(world.pairs) - round(task.held_out * per * task.attributes)
        trained = np.asarray(world.pairs)[: min(max(round(task.ratio * task.attributes * inside / 2), 1), listed)]
        rows, relations = [], []
        for pair in trained[trained // per == attribute] % per:
            one, two = pair % inside, (pair % inside + 1 + pair // inside) % inside
            one, two = (int(np.asarray(world.entity)[attribute, rank]) for rank in (one, two))
            rows.append(np.eye(task.entities)[one] - np.eye(task.entities)[two])
            relations.append(np.sign(value[one] - value[two]))
        # Least squares, every difference as large as its sign says.
        design, wanted = np.array(rows).reshape(-1, task.entities), np.array(relations, float)
        score = np.linalg.lstsq(np.vstack([design, 0.1 * np.eye(task.entities)]), np.pad(wanted, (0, task.entities)))[0]
        gaps = np.abs(design @ score)
        cuts = [0.0, *np.sort(gaps)]
        right = [np.mean(np.where(gaps <= cut, 0, np.sign(design @ score)) == wanted) for cut in cuts]
        SCORES[id(world), attribute] = world, (score, cuts[int(np.argmax(right))] if gaps.size else 0.0)
    return SCORES[id(world), attribute][1]


@of("rule_deduction")
def _(q):
    statements, _, _, answer = test_rule_deduction.parse(q.task, q.example)
    counted, recalled = met_in_training(q.task)
    right = next(test_rule_deduction.predictions(q.task, alone(q.example)))
    said = counted.get(len(statements))
    return {
        "last_rule": float(right["last_rule"]),
        "rule_count": 0.5 if said is None else float(said == answer),
        "memory": float(right["memory"]) if recalled else 0.5,
    }


@cache
def met_in_training(task):
    """{number of statements: the answer of most such questions}, but where it is a coin; and whether memory helps."""
    batch, answers, helped = draw_split(task, "train", 2048), {}, []
    for index, right in enumerate(test_rule_deduction.predictions(task, batch)):
        statements, _, _, answer = test_rule_deduction.parse(task, one(batch, index))
        answers.setdefault(len(statements), []).append(answer)
        helped.append(right["memory"])
    share = {count: np.mean(found) for count, found in answers.items()}
    return {c: bool(s > 0.5) for c, s in share.items() if abs(s - 0.5) > 0.05}, np.mean(helped) > 0.55


@of("defaults")
def _(q):
    return {n: float(r) for n, r in next(test_defaults.predictions(q.task, alone(q.example), q.generator)).items()}
