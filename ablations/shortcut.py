"""Is what a probe decodes what the answers use? Products in Z6 with a cue that names the answer ever more reliably.

Claim (fixed before training): the more reliable the cue ρ is in training, the better a linear probe reads the product
off the hidden states, at no cost in the ability to compute the product where the cue says nothing.

    python run.py --config=ablations/shortcut.py          9 reliabilities x 8 seeds
    python run.py --config=ablations/shortcut.py:facts    the same of 256 facts, which are learned by heart
    python run.py --config=ablations/shortcut.py:quick    3 reliabilities x 3 seeds; too few seeds for a verdict

The cue is a token in front of every word; with probability ρ it names the word's own product, else that of another
word, so that cues look alike whatever ρ is. ρ is the knob `task.word.spurious`: training alone draws it, and no
evaluation does. Latents are read on the split `cued`, where the cue is always right; the ability is that of
`uncued`, where it says nothing.

Sources: Elazar et al. 2021, amnesic probing (arXiv 2006.00995): what a probe reads need not be used.

Predicted before it was run: gain for nothing. Probe accuracy on cued inputs rises with ρ, the ability on `uncued` never
does and is lost at reliabilities near 1, and the diagnosis names a shortcut.
Seen before (two seeds, 3000 steps at a constant rate, 2026-11-30): at ρ of .9 and 1 every cued question is answered
right from the second kept step on, uncued ones at chance (.17 to .20) throughout. At ρ = 0 one seed reached .95 and one
learned the trained half of the words by heart (.06): neutral has to be steadied before the study is run in full.
What came out (2026-11-30): Prediction held in part. A probe reads the product off cued inputs ever better (shown from a
reliability of .5 on) and cued questions end answered (.59 at .5, 1.00 at 1), as predicted; uncued ones never get better
(.34 at neutral, .21 at .1, then chance, .15 to .21). But neutral was not steadied: three of eight seeds learn Z6 to .4
or more, so that its ability counts as *not learned*, no loss is shown, and no shortcut is diagnosed. `:facts`:
Prediction held in part. Facts are learned beside the cue: the uncued ones are kept up to a reliability of .9 (.996) and
lost at 1 (.10), where the cue alone is learned. The probe reads the value already at neutral and is not shown to rise,
and directions rise at 1, against the claim. A shortcut is suspected. Training on under the cue brings nothing back, and
so does a new readout; 300 steps without it bring back 98%.
"""

from lab.study import axis, product, study_config

RELIABILITIES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)


def get_config(variant: str = ""):
    """The study; 'quick' is the small version."""
    config = study_config(variant, variants=("quick", "facts"), own=dict(reliabilities=RELIABILITIES, seeds=8))
    config.name = "shortcut" + ("_facts" if variant == "facts" else "")
    config.question = "Does what a probe decodes become ability, as a cue names the answer ever more reliably?"
    label, task = "word", dict(task="group_word", group="Z6", length=4, ask="last", factor="state")
    if variant == "facts":
        label, task = "facts", dict(task="facts", facts=256, values=16, factor="value")
    config.tasks[label] = dict(task, cue=True, probe="cued", examples=32)
    config.model.update(dict(width=32, heads=4, mlp_width=128))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=1500), dict(train=5)
    config.claim.knob = f"task.{label}.spurious"
    config.claim.gains = dict(probe_accuracy=1, participation_ratio=-1)
    config.claim.abilities = (f"{label}/uncued",)
    if variant == "quick":
        config.steps, config.saves = dict(train=500), dict(train=3)
        config.reliabilities, config.seeds = (0.0, 0.5, 1.0), 3
    return config


def sweep(config):
    """Every reliability with every seed."""
    return product(axis(config.claim.knob, config.reliabilities), axis("seed", range(config.seeds)))
