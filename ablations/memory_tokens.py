"""How few memory tokens are enough? Answers that see the question through memory tokens alone.

Claim (fixed before training): the fewer memories, the more compact the latents (lower participation ratio and TwoNN),
at no cost in ability.

    python run.py --config=ablations/memory_tokens.py        9 down to 1 memories, the only way from question to answer
    python run.py --config=ablations/memory_tokens.py:beside 0 to 8 memories next to the question. Claim: with more of
                                                             them the latents hold more information about the
                                                             answer and the model is better
    python run.py --config=ablations/memory_tokens.py:quick  3 numbers of memories x 3 seeds; too few seeds to say

Sources: Burtsev et al. 2020 (arXiv 2006.11527); gist tokens: Mu et al. 2023 (arXiv 2304.08467); compression into one
token: Poli et al. 2024 (arXiv 2403.17844).

Expected on two CPU cores: about 12 minutes (710 s next to other work), 2 for `:quick`; on a GPU not measured.
Predicted before the map judged it (2026-11-30): no gain shown or a gain for nothing for facts; undecided for Z6; a gain
in compression, if there is one, comes with at most one or two memories.
What came out in full (2026-11-30): as predicted for facts and compression; one memory is enough for facts, three for
six symbols of eight, and no gain is shown where an ability is kept. Figures: docs/studies.md. `beside` was only tried
(one seed, 100 steps).
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; variant 'quick' is the small version."""
    beside = variant == "beside"
    own = dict(tokens=tuple(range(9)) if beside else tuple(range(9, 0, -1)), seeds=8)
    config = study_config(variant, variants=("quick", "beside"), own=own)
    config.name = "memory_tokens" + ("_beside" if beside else "")
    config.question = "How few memory tokens may carry a question to its answer?"
    config.tasks.compression = dict(task="compression", length=6, longer=8, symbols=8, examples=32)
    config.tasks.facts = dict(task="facts", facts=256, values=16, examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=16)
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(
        optimizer=dict(learning_rate=2e-3), memory=dict(compress=int(not beside), tokens=config.tokens[0])
    )
    config.steps, config.saves = dict(train=3000), dict(train=6)
    config.claim.knob = "memory.tokens"
    config.claim.gains = dict(v_information=1, probe_accuracy=1) if beside else dict(participation_ratio=-1, two_nn=-1)
    config.claim.abilities = ("compression/iid", "facts/iid", "z6/iid")
    if variant == "quick":
        config.steps, config.saves = dict(train=800), dict(train=4)
        config.tokens, config.seeds = (9, 5, 1), 3
    return config


def sweep(config):
    """Every number of memories with every seed."""
    return product(axis("memory.tokens", config.tokens), axis("seed", range(config.seeds)))
