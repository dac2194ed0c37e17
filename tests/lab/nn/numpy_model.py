"""The transformer once more, in float64 NumPy, one head at a time: it shares no code with lab.nn.model."""

from __future__ import annotations

import numpy as np


def normal(x, weights):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weights["scale"] + weights["bias"]


def forward(params, tokens, heads, kept=None):
    """Logits [B, L, V] of a relu model with learned positions, and what every kernel reads, by its path.

    `kept` is (heads, neurons) of each block, lists of indices: the others are cut out; None skips a block.
    """
    blocks = sorted(name for name in params if name.startswith("block_"))
    x, read = params["embedding"][tokens] + params["positions"][: tokens.shape[1]], {}
    causal = np.tril(np.ones((tokens.shape[1],) * 2, bool))
    for index, name in enumerate(blocks):
        block = params[name]
        size = block["attention"]["out"]["kernel"].shape[0] // heads
        stay = (range(heads), range(block["mlp_in"]["kernel"].shape[1])) if kept is None else kept[index]
        if stay is None:
            continue
        z, mixed = normal(x, block["norm_attention"]), np.zeros((*x.shape[:2], heads * size))
        qkv = np.split(block["attention"]["qkv"]["kernel"], 3, axis=1)
        for h in stay[0]:
            mine = slice(h * size, (h + 1) * size)
            q, k, v = (z @ kernel[:, mine] for kernel in qkv)
            scores = np.where(causal, q @ np.swapaxes(k, 1, 2) / np.sqrt(size), -np.inf)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            mixed[..., mine] = shares / shares.sum(-1, keepdims=True) @ v
        x = x + mixed @ block["attention"]["out"]["kernel"]
        y, neurons = normal(x, block["norm_mlp"]), list(stay[1])
        after = np.maximum(y @ block["mlp_in"]["kernel"][:, neurons], 0)
        x = x + after @ block["mlp_out"]["kernel"][neurons]
        read |= {f"['{name}']['attention']['qkv']['kernel']": z, f"['{name}']['attention']['out']['kernel']": mixed}
        read |= {f"['{name}']['mlp_in']['kernel']": y, f"['{name}']['mlp_out']['kernel']": after}
    return normal(x, params["norm_final"]) @ params["unembedding"]["kernel"], read


def loss(params, batch, heads):
    """The mean over examples of the mean cross-entropy of their answer tokens."""
    logits = forward(params, batch.tokens, heads)[0]
    peak = logits.max(-1, keepdims=True)
    logprob = logits - peak - np.log(np.exp(logits - peak).sum(-1, keepdims=True))
    losses = []
    for b, (answers, there) in enumerate(zip(batch.answers, batch.answer_mask, strict=True)):
        at = answers[there]
        losses.append(-logprob[b, at, batch.targets[b, at]].mean())
    return np.mean(losses)
