"""Latent computation in float64 NumPy: one example, one token, one expert at a time.

A reference that shares no code with lab. What comes between question and answer is a plainly longer list of tokens, a
thought is a pass over what stands before it, a linear mixer carries its state from token to token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tests.lab.nn.numpy_model import normal


@dataclass(frozen=True)
class Cell:
    """A model of relu neurons, and what it computes with."""

    heads: int
    positions: str = "learned"
    mixer: str = "softmax"
    turns: int = 1
    injection: float = 1.0
    registers: int = 0
    thoughts: int = 0
    memories: int = 0
    pauses: int = 0
    compress: bool = False
    experts: int = 0
    top_k: int = 1
    temperature: float = 1.0
    codes: int = 0
    code_layer: int = 1
    canon: str = ""  # points of a block
    canon_strength: float = 0.0


class Item(NamedTuple):
    """One token of the longer list: what it is, where it stands, what it holds."""

    kind: str  # 'register', 'question', 'thought', 'memory', 'pause' or 'later'
    place: int
    vector: np.ndarray


class Answer(NamedTuple):
    """What a model of L tokens gives: logits [L, V], hidden [layers + 1, L, D], neurons, routing and cost likewise."""

    logits: np.ndarray
    hidden: np.ndarray
    neurons: np.ndarray
    routing: np.ndarray
    cost: np.ndarray
    thoughts: list


def answer(params, tokens, question, cell, thoughts=None):
    """One example; with thoughts of its own, or those it is given."""
    begin = [("register", params["registers"]["vectors"][number]) for number in range(cell.registers)]
    begin += [("question", params["embedding"][token]) for token in tokens[: question + 1]]
    if thoughts is None:
        thoughts = []
        for _ in range(cell.thoughts):
            _, last, *_ = through(params, placed(params, begin + [("thought", x) for x in thoughts], cell), cell)
            thoughts.append(normal(last[-1], params["norm_final"]) / np.sqrt(last.shape[1]))
    everything = begin + [("thought", x) for x in thoughts]
    everything += [("memory", params["memories"]["vectors"][number]) for number in range(cell.memories)]
    everything += [("pause", params["pause"]["vectors"][0])] * (cell.pauses + bool(cell.compress and cell.memories))
    first = len(everything) - 1  # where the first answer is read
    everything += [("later", params["embedding"][token]) for token in tokens[question + 1 :]]
    hidden, last, neurons, routing, cost = through(params, placed(params, everything, cell), cell)
    read = [*range(cell.registers, cell.registers + question), *range(first, len(everything))]
    logits = normal(last, params["norm_final"]) @ params["unembedding"]["kernel"]
    return Answer(logits[read], hidden[:, read], neurons[:, read], routing[:, read], cost[read], thoughts)


def placed(params, everything, cell):
    """Registers stand nowhere; the others in a row."""
    items = []
    for kind, vector in everything:
        place = sum(item.kind != "register" for item in items) if kind != "register" else 0
        if cell.positions == "learned" and kind != "register":
            vector = vector + params["positions"][place]
        items.append(Item(kind, place, vector))
    return items


def through(params, items, cell):
    """(hidden, what the final norm takes over, neurons, routing, cost) of all tokens, after the last turn."""
    start = np.stack([item.vector for item in items])
    hidden, last, neurons, routing, cost = turn(params, start, items, cell)
    for _ in range(1, cell.turns):
        hidden, last, neurons, routing, more = turn(params, last + cell.injection * start, items, cell)
        cost = cost + more
    return np.stack([start, *hidden[1:]]), last, np.stack(neurons), np.stack(routing), cost


def turn(params, x, items, cell):
    """Once through the blocks."""
    blocks = sorted(name for name in params if name.startswith("block_"))
    hidden, neurons, routing, cost = [x], [], [], np.zeros(len(items))
    for layer in range(len(blocks) + 1):
        if cell.codes and cell.code_layer == layer:
            x, cost = coded(x, params["codebook"]["vectors"][: cell.codes])
        if layer == len(blocks):
            return hidden, x, neurons, routing, cost
        block = params[blocks[layer]]
        z = nearby("A", normal(x, block["norm_attention"]), block, items, cell)
        x = x + attention(z, block["attention"], items, cell)
        z = nearby("C", normal(x, block["norm_mlp"]), block, items, cell)
        written, after, probabilities = feed_forward(z, block, items, cell)
        x = x + written
        for found, one in ((hidden, x), (neurons, after), (routing, probabilities)):
            found.append(one)
    raise AssertionError


def coded(x, codebook):
    """Each vector's nearest code, and 1.25 times the squared distance to it."""
    found = [codebook[min(range(len(codebook)), key=lambda c, row=row: ((row - codebook[c]) ** 2).sum())] for row in x]
    return np.stack(found), 1.25 * ((x - np.stack(found)) ** 2).sum(1)


def hides(items, reader, key, cell):
    """Whether the memories stand between a later token and the question, with what was thought about it."""
    behind = items[reader].kind in ("pause", "later") and items[key].kind in ("question", "thought")
    return bool(cell.compress and cell.memories and behind)


def attention(z, kernels, items, cell):
    """[T, D] -> [T, D], head by head."""
    size, mixed = z.shape[1] // cell.heads, np.zeros_like(z)
    qkv = nearby("B", z @ kernels["qkv"]["kernel"], kernels, items, cell)
    if cell.mixer == "selective":
        qkv = silu(convolved(qkv, kernels["selection"]["taps"], items))
    for head in range(cell.heads):
        mine = slice(head * size, (head + 1) * size)
        q, k, v = (part[:, mine] for part in np.split(qkv, 3, axis=1))
        if cell.positions == "rotary":
            q, k = (np.stack([turned(row, item.place) for row, item in zip(x, items, strict=True)]) for x in (q, k))
        if cell.mixer == "selective":
            mixed[:, mine] = selective(z, q, k, v, kernels["selection"], head, items)
        else:
            mixed[:, mine] = (recurrent if cell.mixer == "linear" else softmax)(q, k, v, items, cell)
    if cell.mixer == "selective":
        mixed = mixed * silu(z @ kernels["selection"]["gate"]["kernel"])
    return mixed @ kernels["out"]["kernel"]


def turned(x, place):
    """Rotary positions, as complex numbers."""
    half = len(x) // 2
    z = (x[:half] + 1j * x[half:]) * np.exp(1j * place * 10000.0 ** (-np.arange(half) / half))
    return np.concatenate([z.real, z.imag])


def softmax(q, k, v, items, cell):
    """Each token gathers from those at or before it."""
    rows = []
    for i in range(len(q)):
        seen = [j for j in range(i + 1) if not hides(items, i, j, cell)]
        share = np.exp(np.array([q[i] @ k[j] for j in seen]) / np.sqrt(q.shape[1]))
        rows.append(share / share.sum() @ v[seen])
    return np.stack(rows)


def recurrent(q, k, v, items, cell):
    """The linear mixer with a state; a second state leaves out what is hidden from later tokens."""
    feature = lambda x: np.where(x > 0, x + 1, np.exp(x))  # noqa: E731  (elu + 1)
    whole, short = ([np.zeros((q.shape[1], v.shape[1])), np.zeros(q.shape[1])] for _ in range(2))
    rows = []
    for i, item in enumerate(items):
        for state in [whole] if item.kind in ("question", "thought") else [whole, short]:
            state[0] += np.outer(feature(k[i]), v[i])
            state[1] += feature(k[i])
        gist = cell.compress and cell.memories and item.kind in ("pause", "later")
        numerator, divisor = short if gist else whole
        rows.append(feature(q[i]) @ numerator / (feature(q[i]) @ divisor + 1e-6))
    return np.stack(rows)


def silu(x):
    return x / (1 + np.exp(-x))


def convolved(x, taps, items):
    """Each token with the three before it, weighted; registers alone."""
    found, first = np.zeros_like(x), sum(item.kind == "register" for item in items)
    for i in range(len(x)):
        for back in range(len(taps)):
            if back == 0 or i - back >= first:
                found[i] += taps[back] * x[i - back]
    return found


def selective(z, q, k, v, weights, head, items):
    """The state space, token by token: the state decays, the token is written to it, and it is read."""
    state, rows = np.zeros((q.shape[1], v.shape[1])), []
    for i, item in enumerate(items):
        step = np.log1p(np.exp(z[i] @ weights["step"][:, head] + weights["bias"][head]))
        if item.kind != "register":  # these stand nowhere: no time passes at them
            state = np.exp(-step * np.exp(weights["rate"][head])) * state
        state = state + np.outer(k[i], v[i]) * step
        rows.append(q[i] @ state / np.sqrt(q.shape[1]) + weights["skip"][head] * v[i])
    return np.stack(rows)


def nearby(point, x, weights, items, cell):
    """With what the Canon layer of a point adds."""
    if point not in cell.canon:
        return x
    return x + cell.canon_strength * convolved(x, weights[f"canon_{point.lower()}"]["taps"], items)


def feed_forward(y, block, items, cell):
    """(what is written [T, D], neurons [T, M], the router's probabilities [T, E])."""
    if not cell.experts:
        after = np.maximum(nearby("D", y @ block["mlp_in"]["kernel"], block, items, cell), 0)
        return after @ block["mlp_out"]["kernel"], after, np.zeros((len(y), 0))
    experts = block["mixture"]
    written, neurons, routing = np.zeros_like(y), np.zeros((len(y), experts["experts_in"].shape[2])), []
    for i, x in enumerate(y):
        odds = np.exp([x @ experts["router"]["kernel"][:, e] / cell.temperature for e in range(cell.experts)])
        probability = odds / odds.sum()
        for e in sorted(range(cell.experts), key=lambda e, p=probability: -p[e])[: cell.top_k]:
            after = np.maximum(x @ experts["experts_in"][e], 0)
            neurons[i] += probability[e] * after
            written[i] += probability[e] * after @ experts["experts_out"][e]
        routing.append(probability)
    return written, neurons, np.stack(routing)
