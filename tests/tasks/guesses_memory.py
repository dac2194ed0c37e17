"""What the baselines of the memory tasks answer."""

from collections import Counter

import numpy as np

from tests.tasks.guesses import of


def whole_blind_and_ends(q, string, answer_of=lambda string: string):
    """`shuffled` and `ends` of a string that is to be written down."""
    first, *middle, last = string if len(string) > 1 else [*string, 0]
    ends = [first, *q.shuffled(middle), last][: len(string)]
    return {"shuffled": q.shuffled(string), "ends": answer_of(ends)}


@of("copy")
def _(q):
    string = q.read[:-1]
    return whole_blind_and_ends(q, string, lambda s: s if q.task.direction == "copy" else s[::-1])


@of("compression")
def _(q):
    return whole_blind_and_ends(q, q.read[:-1])


@of("selective_copy")
def _(q):
    return whole_blind_and_ends(q, [t for t in q.read[:-1] if t <= q.task.symbols])


@of("facts")
def _(q):
    weights = (1.0 + np.arange(q.task.facts)) ** -q.task.splits[q.split].difficulty["exponent"]
    share = np.zeros(q.task.values)
    np.add.at(share, np.asarray(q.world.value_of_key)[np.asarray(q.world.key_of_rank)], weights)
    return {"most_common_value": [1 + q.task.facts + int(share.argmax())]}


@of("iid_pairs")
def _(q):
    difficulty = q.task.splits[q.split].difficulty
    ranks = np.arange(difficulty["first"], difficulty["last"])
    odds = np.asarray(q.world.odds_KxV, np.float64)[np.asarray(q.world.key_of_rank)[ranks]]
    pairs = np.einsum("k,kv,kw->vw", (1.0 + ranks) ** -difficulty["exponent"], odds, odds)
    best = np.unravel_index(pairs.argmax(), pairs.shape)
    return {"commonest_pair": [1 + q.task.firsts + q.task.seconds + int(value) for value in best]}


@of("mqar", "noisy_recall")
def _(q):
    if q.task.name == "mqar":
        values = q.tokens[1 : 2 * int(q.task.splits[q.split].difficulty["pairs"]) : 2]
    else:
        values = [t for t in q.tokens[: q.asked[0]] if t <= q.task.values]
    return {"context_value": q.shuffled(values), "in_order": values}


@of("fuzzy_recall")
def _(q):
    pairs, most = [], q.task.values
    ask = q.read.index(1 + most + q.task.keys)
    for index, token in enumerate(q.read[:ask]):
        if token > most and (index == 0 or q.read[index - 1] <= most):
            pairs.append(([], []))
        pairs[-1][token <= most].append(token)
    cut = len(q.asked)
    alike = [value for key, value in pairs if key[-1] == q.read[-1]]
    return {"any_pair": q.choice([v for _, v in pairs])[:cut], "last_token": q.choice(alike)[:cut]}


@of("overwrite_recall")
def _(q):
    written, first = {}, q.asked[0]
    for key, value in zip(q.tokens[:first:2], q.tokens[1:first:2], strict=True):
        written.setdefault(key, []).append(value)
    queries = q.tokens[first:]
    every = q.shuffled([value for values in written.values() for value in values])
    return {
        "context_value": every[: len(queries)],
        "any_write": [q.choice(written[key]) for key in queries],
        "first_write": [written[key][0] for key in queries],
    }


@of("induction")
def _(q):
    *context, trigger = q.tokens
    margin, count = q.task.margin, len(context)
    middle = Counter(t for t in context[margin + 1 : count - margin] if t != trigger)
    best = [t for t, number in middle.items() if number == max(middle.values())]
    return {
        "context_token": [q.choice([t for t in context if t != trigger])],
        "fixed_place": [context[q.task.fixed_place + 1]],
        "last_token": [context[-1]],
        "commonest_middle": [q.choice(best)],
    }


@of("n_back")
def _(q):
    back = q.tokens.count(1 + q.task.symbols)
    cards, lag = q.tokens[back:], (q.task.least_n + q.task.n) // 2
    return {
        "seen": [q.choice(cards[: t + 1]) for t in range(back, len(cards))],
        "fixed_lag": [
            cards[t - lag] if t >= lag else 1 + q.generator.integers(q.task.symbols) for t in range(back, len(cards))
        ],
    }


@of("count_recall")
def _(q):
    rows = q.fitted.targets
    return {"step": [Counter(rows[:, place].tolist()).most_common(1)[0][0] for place in q.asked]}
