"""Does looping over the same blocks improve reasoning, and what does it do to memory?

Claim (fixed before training): with more turns the latents hold more information about the answer (V-information, probe
accuracy) and the model is better at tasks that take steps (products in Z6), while facts held in weights don't need
turns.

    python run.py --config=ablations/looped_depth.py          1 to 9 turns of one block x 8 seeds
    python run.py --config=ablations/looped_depth.py:quick    3 numbers of turns x 3 seeds; too few seeds for a verdict

Two controls go through blocks of their own in place of the same block again, with the same claim. `:equal_depth` has as
many blocks as there were turns: as much compute, more parameters. `:equal_parameters` makes those blocks narrower, so
that together they have 0.84 to 1.27 times the weights of the one that is looped. Where turns help as blocks of
`:equal_depth` do, depth helps; where narrow blocks help as well, it is the depth alone. `python -m analysis.comparison`
shows studies side by side.

The report compares settings at matched steps and, as a turn costs what a block costs, at matched compute; the learning
rate stays constant, so that both are read off the same runs.

Source: Saunshi et al. 2025 (arXiv 2502.17416): looped models reason better than their perplexity says. Dehghani et al.
2019 (arXiv 1807.03819); input injection: Yang et al. 2024 (arXiv 2311.12424).

Predicted for composite facts before any run with them (2026-11-30): one turn is enough (.9 or more), further turns make
them no better and from five on slightly worse, while Z6 gains up to three turns.

Expected on two CPU cores: about 20 minutes, 2 for `:quick`, from whose rate it is estimated; on a GPU not measured.
What came out (2026-11-30): Prediction held in part. One turn is enough for facts (.99), and further ones make them
no better and a little worse (.96 at nine; by the interval from three turns on, predicted from five): kept to four,
not decided beyond. Z6 gains at no number of turns, where it was predicted to gain up to three: .57 at one turn, .31 at
three, .30 at nine in the mean of eight seeds, of which some learn it and some don't at every number; path-star is not
learned (.08). No latent reading is shown to rise. At equal compute every further turn is behind one turn.
`:equal_depth`, `:equal_parameters`: not run. `:quick`, with one-token facts: docs/studies.md.
"""

from lab.study import axis, conditional, product, study_config

CONTROLS = ("equal_depth", "equal_parameters")


def get_config(variant: str = ""):
    """The study; variant 'quick' is the small version, the others are controls."""
    again = "model.layers" if variant in CONTROLS else "loop.turns"
    own = dict(turns=tuple(range(1, 10)), again=again, seeds=8)
    config = study_config(variant, variants=("quick", *CONTROLS), own=own)
    config.name = "looped_depth" + (f"_{variant}" if variant in CONTROLS else "")
    config.question = "Up to how many turns does looped depth buy ability, and at equal compute?"
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=6, examples=32)
    config.tasks.path_star = dict(task="path_star", direction="reverse", nodes=10, examples=16)
    config.model.update(dict(width=32, layers=1, heads=4, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.steps, config.saves = dict(train=3000), dict(train=10)
    config.claim.knob = again
    config.claim.gains = dict(v_information=1, probe_accuracy=1)
    config.claim.abilities = ("facts/iid", "z6/iid", "path_star/iid")
    if variant in CONTROLS:
        config.question = f"Up to how many blocks, at {variant.replace('_', ' ')}, does depth buy ability?"
    if variant == "quick":
        config.steps, config.saves = dict(train=800), dict(train=6)
        config.turns, config.seeds = (1, 2, 4), 3
    return config


def sweep(config):
    """Every number of turns, or of blocks, with every seed."""
    depth = axis(config.again, config.turns)
    if config.name.endswith("equal_parameters"):
        depth = conditional(depth, lambda point: _narrow(config.model, point["model.layers"]))
    return product(depth, axis("seed", range(config.seeds)))


def _narrow(model, blocks):
    """Widths at which so many blocks have the weights of one: these grow with the square of the width."""
    width = model.heads * max(1, round(model.width / model.heads / blocks**0.5))
    return product(axis("model.width", (width,)), axis("model.mlp_width", (width * model.mlp_width // model.width,)))
