"""How narrow may a bottleneck in the residual stream be? One model with facts, reasoning and planning in it.

Claim (fixed before training): the bottleneck makes latents more compact (lower participation ratio, and TwoNN where
latents are continuous) at no cost in ability. It acts from the first step, so the model is trained around it. The
report's table has the entropy of the code in nats, or the rate.

    python run.py --config=ablations/bottleneck.py          a code of 18 down to 2 bits after the first block (FSQ with
                                                            two levels; 9 sizes x 8 seeds)
    python run.py --config=ablations/bottleneck.py:vib      the variational bottleneck, beta from 0 to 0.08
    python run.py --config=ablations/bottleneck.py:rank     rank of every kernel, from full down to 1/9
    python run.py --config=ablations/bottleneck.py:heads    dimensions of queries and keys, from 9 a head down to 1
    python run.py --config=ablations/bottleneck.py:quick    3 code sizes x 3 seeds; too few seeds for a verdict

Sources: Mentzer et al. 2023 (arXiv 2309.15505), Alemi et al. 2016 (arXiv 1612.00410), Bhojanapalli et al. 2020 (arXiv
2002.07028).

Expected on two CPU cores: about 15 minutes (1203 s next to other work), 1.5 for `:quick`; on a GPU not measured.
Predicted for composite facts before any run with them (2026-11-30): free down to 12 bits only and harmful from 8, where
one-token facts were free to 10: after the first block the code has to hold the pair, or the value that it found there.
With one-token facts, predicted before the map judged it (2026-11-30): facts and copying are a gain, then a loss for
participation ratio (breaks between 10 and 6 bits for facts, 12 and 6 for copying); Z6 stays undecided, or loses from 8
bits on.
What came out with composite facts (2026-11-30): kept down to 14 bits and lost from 10, a step earlier than predicted;
directions fall only where facts or copying are lost. Figures: docs/studies.md.
What came out with one-token facts in full: 10 bits are free for 256 facts, 12 for copying; latents grow compact from
where abilities break (reversals at 6 and 6.8 bits). Z6 is hardly learned. `vib` and `rank` were run small, `heads` was
only tried (one seed, 100 steps).
"""

from lab.study import axis, product, study_config

NINTHS = tuple(number / 9 for number in range(9, 0, -1))
# variant -> (what is narrow, knob, its nine settings, the loosest first)
BOTTLENECKS = {
    "": ("a code in the residual stream", "fsq.coordinates", (18, 16, 14, 12, 10, 8, 6, 4, 2)),
    "vib": ("a noisy code in the residual stream", "vib.beta", tuple(step / 100 for step in range(9))),
    "rank": ("the rank of every kernel", "low_rank.rank", NINTHS),
    "heads": ("queries and keys", "head_dim.active", NINTHS),
}


def get_config(variant: str = ""):
    """The study; a variant names another bottleneck, 'quick' the small version."""
    own = dict(knob="", settings=(), seeds=8)
    config = study_config(variant, variants=("quick", *filter(None, BOTTLENECKS)), own=own)
    config.name = "bottleneck" + (f"_{variant}" if variant in BOTTLENECKS and variant else "")
    what, config.knob, config.settings = BOTTLENECKS.get(variant, BOTTLENECKS[""])
    config.question = f"How narrow may {what} be, and are compact latents free?"
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=16)
    config.tasks.copy = dict(task="copy", length=6, examples=32)
    config.model.update(dict(width=36, heads=4, mlp_width=144))
    fsq = dict(levels=2, coordinates=config.settings[0], layer=1) if config.knob == "fsq.coordinates" else {}
    config.knobs = dict(optimizer=dict(learning_rate=3e-3), fsq=fsq)
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=4000), dict(train=5)
    config.probe.layers = (1, -1)  # the bottleneck's layer, where its code is read, and the claim's
    config.claim.knob = config.knob
    # A code of a few bits has too few distinct values for TwoNN.
    config.claim.gains = dict(participation_ratio=-1) if fsq else dict(participation_ratio=-1, two_nn=-1)
    config.claim.abilities = ("facts/iid", "z6/iid", "copy/iid")
    if variant == "quick":
        config.steps, config.saves = dict(train=1000), dict(train=3)
        config.settings, config.seeds = (18, 10, 2), 3
    return config


def sweep(config):
    """Every setting with every seed."""
    return product(axis(config.knob, config.settings), axis("seed", range(config.seeds)))
