"""Studies with a known answer: does the diagnosis find what was planted, and nothing where nothing was?

    python run.py --config=ablations/planted.py:over_pruning --repair
    python run.py --config=ablations/planted.py:quick    3 sparsities x 3 seeds of it; too few seeds for a verdict
    python -m analysis.simulation.planted_causes    all of them with their repairs: see docs/calibration.md

Each variant is a small study (9 settings x 8 seeds, width 32 or less) whose cause is known because it was planted:

    over_pruning          256 facts at Zipf frequencies, pruned at nine sparsities; rare facts go first, regrowth brings
                          them back (arXiv 1911.05248, 2310.04680)
    over_regularization   facts under decoupled weight decay that outweighs the loss; without it they come back
    collapse              facts under decay that is free or so strong that the latents lose what they were about: rank
                          and information fall together, and the cause is the one above
    posterior_collapse    a penalty on the information in a noisy code, least where its variance is zero (Bowman et
                          al. 2016, arXiv 1511.06349): rank and information fall together, and without it they come back
    elicitation_gap       only the readout is trained, towards ever smoother labels: the hidden states are untouched to
                          the bit, so all that is lost is the readout; training it again brings it back
    undertrained          learning rates down to a sixtieth: neutral cells are at rest when training ends, the others
                          still rise
    bottleneck            one of 16 values must pass through a code of n bits; below 4 bits no network can
                          name more than 2^n of 16, so the break lies at 4 (arXiv 2309.15505)
    linear_image          hidden states stretched along one direction, undone before anything reads them: participation
                          ratio falls and nothing else can change; a latent artefact
    write_only            features written into hidden states, taken out before anything reads them: rank rises and
                          nothing else can change, so no label of harm may hold
    shortcut              a cue that names the answer 97 times in 100 leads every question; a narrow model has no room
                          for 256 facts and reads the cue: `iid` holds where `uncued`, with a meaningless cue, falls
    all_or_nothing        24 answers at once, right only if all are, and pruning that costs each of them little: exact
                          accuracy falls by a third where the log-probability has hardly moved, an artefact of the
                          score (arXiv 2304.15004)
    nothing               the learning rate differs by a tenth of a percent from setting to setting: cells differ by
                          chance alone; 320 seeds are forty studies of eight

The break of `bottleneck` is known from counting; the other variants' truth is a cause.
"""

from lab.study import axis, product, study_config

# variant -> (knob, its settings, the stage from which it acts)
PLANTED = {
    "over_pruning": ("prune.sparsity", (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0), "spoil"),
    "over_regularization": ("weight_decay.rate", (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 100.0), "spoil"),
    "collapse": ("weight_decay.rate", (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 60.0, 100.0), "spoil"),
    "posterior_collapse": ("vib.beta", (0.0, 0.1, 0.3, 0.5, 0.7, 1.0, 2.0, 4.0, 8.0), "spoil"),
    "elicitation_gap": ("label_smoothing.rate", (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.96, 0.99, 1.0), "spoil"),
    "undertrained": ("optimizer.learning_rate", (3e-3, 1e-3, 5e-4, 3e-4, 2e-4, 1.4e-4, 1e-4, 7e-5, 5e-5), None),
    "bottleneck": ("fsq.coordinates", (9, 8, 7, 6, 5, 4, 3, 2, 1), None),
    "linear_image": ("insertion.stretch", tuple(1.0 + step for step in range(9)), "spoil"),
    "write_only": ("insertion.write", tuple(0.25 * step for step in range(9)), "spoil"),
    "shortcut": ("width.active", tuple(width / 9 for width in range(9, 0, -1)), None),
    "all_or_nothing": ("prune.sparsity", (0.0, 0.6, 0.62, 0.64, 0.66, 0.68, 0.7, 0.72, 0.74), "spoil"),
    "nothing": ("optimizer.learning_rate", tuple(2e-3 * (1 + 1e-3 * step) for step in range(9)), None),
}
STEPS = {  # of training, and of the stage that spoils
    "over_pruning": (2000, 50),
    "over_regularization": (2000, 200),
    "collapse": (2000, 200),
    "posterior_collapse": (2000, 400),
    "elicitation_gap": (1000, 1000),
    "undertrained": (800, 0),
    "bottleneck": (2000, 0),
    "linear_image": (1000, 50),
    "write_only": (1000, 50),
    "shortcut": (3000, 0),
    "all_or_nothing": (1500, 50),
    "nothing": (400, 0),
}


def get_config(variant: str = ""):
    """The study of one planted truth, of `over_pruning` where none is named; 'quick' is a small version of that."""
    own = dict(knob="", settings=(), acts_from=None, seeds=8, first_seed=0)
    config, quick = study_config(variant, variants=("quick", *PLANTED), own=own), variant == "quick"
    variant = variant if variant in PLANTED else "over_pruning"
    config.name = f"planted_{variant}"
    config.question = f"Is a planted {variant.replace('_', ' ')} found?"
    config.knob, config.settings, config.acts_from = PLANTED[variant]
    config.model.update(dict(width=32, layers=2, heads=2, mlp_width=64))
    facts = 64 if variant in ("elicitation_gap", "bottleneck") else 256
    config.tasks.facts = dict(task="facts", facts=facts, values=16, examples=32, probe="uniform")
    config.claim.abilities = ("facts/iid",)
    if variant == "shortcut":
        config.tasks.facts = dict(task="facts", facts=256, values=16, examples=32, probe="uniform", spurious=0.97)
        config.model.update(dict(width=18, heads=2, mlp_width=36))
        config.claim.abilities = ("facts/uncued",)
    if variant == "all_or_nothing":
        del config.tasks.facts
        sizes = dict(n=2, least_n=2, larger_n=3, length=26, longer=28, symbols=16)
        config.tasks.recall = dict(task="n_back", examples=32, **sizes)
        config.claim.abilities = ("recall/iid",)
    config.knobs = dict(optimizer=dict(learning_rate=3e-3))
    config.schedule.update(dict(name="wsd", warmup=50))
    config.evaluation.examples = 256
    config.claim.knob = config.knob
    config.claim.gains = dict(participation_ratio=1 if variant == "write_only" else -1)
    train, spoil = STEPS[variant]
    config.stages, config.steps = ("train",), dict(train=train)
    config.saves = dict(train=2 if variant == "nothing" else 4)
    if config.acts_from is not None:
        config.stages = ("train", "spoil")
        config.steps, config.saves = dict(train=train, spoil=spoil), dict(train=4, spoil=1)
    if variant in ("undertrained", "elicitation_gap", "over_regularization", "collapse", "posterior_collapse"):
        config.schedule.name = "constant"
    if variant == "posterior_collapse":
        config.knobs = dict(config.knobs, vib=dict(layer=1))
    if variant == "elicitation_gap":
        config.knobs = dict(config.knobs, tune=dict(only="readout"))
    if variant == "bottleneck":
        config.knobs = dict(config.knobs, fsq=dict(levels=2, coordinates=9, layer=1))
    if variant == "nothing":
        config.knobs = {}
        config.model.update(dict(width=16, layers=1, heads=2, mlp_width=32))
        config.seeds = 320
    if quick:
        config.settings, config.seeds = (0.0, 0.7, 0.95), 3
    return config


def sweep(config):
    """Every setting with every seed."""
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    return product(axis(config.knob, config.settings, stage=config.acts_from), axis("seed", seeds))
