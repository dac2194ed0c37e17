"""Do positions to compute in before the answer help, when nothing is written there?

Claim (fixed before training): with more pauses the latents, read at the answer's position, hold more information about
the answer (V-information, probe accuracy), and the model is better.

    python run.py --config=ablations/pause_tokens.py            0 to 8 pauses x 8 seeds
    python run.py --config=ablations/pause_tokens.py:registers  learned vectors in front, which see nothing of the
                                                                question: the control for mere parameters
    python run.py --config=ablations/pause_tokens.py:quick      3 numbers of pauses x 3 seeds; too few to say

The report compares settings at matched steps and at matched compute (a pause costs a position); the learning rate stays
constant, so that both are read off the same runs.

Sources: Goyal et al. 2023 (arXiv 2310.02226); Pfau et al. 2024 (arXiv 2404.15758), who find that filler tokens help
only where they were supervised densely.

Predicted for composite facts before any run with them (2026-11-30): no number of pauses makes them better by more than
.05, and eight cost some of the rare ones at the same number of steps.

Expected on two CPU cores: about 15 minutes, 2 for `:quick`, from whose rate it is estimated; on a GPU not measured.
What came out (2026-11-30): Prediction held in part. Facts are kept at every number of pauses and nowhere better (.98
without a pause, .97 at eight), as predicted; that eight cost some of the rare ones is not shown (.93 of .97). Of Z6
nothing was predicted: it is lost from five pauses on (.94 without, .33 at five, .21 at eight), and V-information and
probe accuracy fall with it, against the claim. Path-star is not learned (.09). Places to compute in cost the ability
that takes steps at the same number of training steps, and buy none. `:quick`, with one-token facts: docs/studies.md;
`registers` was only tried (one seed, 100 steps).
"""

from lab.study import axis, product, study_config

KNOBS = {"": ("pauses", "pause.tokens"), "registers": ("registers", "registers.tokens")}


def get_config(variant: str = ""):
    """The study; variant 'quick' is the small version."""
    what, knob = KNOBS.get(variant, KNOBS[""])
    own = dict(knob=knob, tokens=tuple(range(9)), seeds=8)
    config = study_config(variant, variants=("quick", "registers"), own=own)
    config.name = "pause_tokens" + ("_registers" if variant == "registers" else "")
    config.question = f"Up to how many {what} does thinking without words become ability?"
    config.tasks.z6 = dict(task="group_word", group="Z6", length=6, examples=32)
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.path_star = dict(task="path_star", direction="reverse", nodes=10, examples=16)
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.steps, config.saves = dict(train=3000), dict(train=10)
    config.claim.knob = config.knob
    config.claim.gains = dict(v_information=1, probe_accuracy=1)
    config.claim.abilities = ("z6/iid", "facts/iid", "path_star/iid")
    if variant == "quick":
        config.steps, config.saves = dict(train=800), dict(train=6)
        config.tokens, config.seeds = (0, 2, 8), 3
    return config


def sweep(config):
    """Every number of tokens with every seed."""
    return product(axis(config.knob, config.tokens), axis("seed", range(config.seeds)))
