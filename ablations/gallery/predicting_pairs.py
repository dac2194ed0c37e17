"""Does a model know what it does not know, once it has forgotten? Pairs of random answers, pruned at nine sparsities.

Claim (fixed before training): pruning makes latents more compact (fewer directions) and better separated (Fisher
trace by a key's likeliest value), at no cost in the log-probability of what is asked, of all keys and of the rare
half.

    python run.py --config=ablations/gallery/predicting_pairs.py            9 sparsities x 8 seeds, no learning after
    python run.py --config=ablations/gallery/predicting_pairs.py:repaired   100 steps of fine-tuning after the cut

A key's value is drawn from a distribution of its own, and asked for twice. Second-order calibration, which no claim
can name, is read from the finished study (docs/pieces.md):

    import analysis
    from analysis.second_order import second_order
    opened = analysis.open_study("runs/predicting_pairs")
    second_order(opened, {"prune.sparsity": 0.6}, split="tail")   # the error that each cell claims, and the actual one

Source (abstract read): Johnson, Tarlow, Duvenaud & Maddison 2024 (arXiv 2402.08733): a model trained on pairs of
independent answers may look at one to predict the other, and how far it does says how much it does not know; who is
good at that is second-order calibrated, with provable intervals. Reported on ambiguous images, synthetic language,
partially observed navigation, better than other estimates of what is not known. Gallery: "predicting pairs
(second-order calibration)".

Kept: pairs of independent answers, a known distribution for each key, calibration against it. Left out: images and
language, answers of many tokens, intervals. Added: a mechanism that makes a model forget, and the question whether
its claimed error follows its actual one.

Predicted (2026-11-30, before any run): directions fall and separation falls, the latter against the claim.
Log-probability is kept up to .36 and lost from .6 on, of rare keys no earlier than of all: they are hardly known to
begin with. Second order: uncut, claimed and actual errors agree within a third; cut without learning the actual error
rises and the claimed one does not follow (at .6 less than half of it), so a pruned model does not know what it has
lost. In `:repaired` claimed and actual come within a third again up to .6: what was lost is admitted. Exact accuracy
has a ceiling of .58, the favourite drawn twice; on the card it is .48 to .66. Hence log-probability.

Expected: 8 cells x 1,500 steps, then 72 cuts (`:repaired` 72 x 100 steps); minutes not measured.
What came out (2026-11-30): Prediction held in part. Log-probability is kept up to .36 and lost from .6 on, of rare keys
no earlier, as predicted; separation falls, as predicted; directions rise at .6 and from .84 on, where a fall was
predicted. Second order, rare keys (squared error of probabilities, mean over seeds, without intervals): uncut the model
claims .008 and makes .016, so that it is overconfident by half where agreement within a third was predicted; at .6 it
claims .008 and makes .042, at .84 claims .012 and makes .22. The claim does not follow: a pruned model does not know
what it has lost. `:repaired`: Prediction held in part. Second order is within a third up to .6, as predicted, and
beyond: uncut .011 claimed and .015 made, at .6 .011 and .013, at .84 .094 and .089, at .96 .156 and .164. One hundred
steps bring log-probability back up to .6 (lost from .84), and what they do not bring back the model now admits.
Directions rise here, too.
"""

from lab.study import ability, axis, product, study_config


def get_config(variant: str = ""):
    """The study; 'repaired' learns after the cut."""
    own = dict(sparsities=(0.0, 0.12, 0.24, 0.36, 0.48, 0.6, 0.72, 0.84, 0.96), seeds=8)
    config = study_config(variant, variants=("repaired",), own=own)
    config.name = "predicting_pairs" + (f"_{variant}" if variant else "")
    config.question = "Up to which sparsity does a pruned model keep its odds, and does it know what it has lost?"
    config.tasks.pairs = dict(task="iid_pairs", exponent=0.5, examples=64, probe="uniform")
    config.model.update(dict(width=32, heads=4, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.stages = ("train", "cut")
    config.steps = dict(train=1500, cut=100 if variant == "repaired" else 0)
    config.saves = dict(train=3, cut=1)
    config.claim.knob = "prune.sparsity"
    config.claim.gains = dict(participation_ratio=-1, fisher_trace=1)
    config.claim.abilities = tuple(ability("pairs", split=s, measure="logprob") for s in ("uniform", "tail"))
    return config


def sweep(config):
    """Every sparsity with every seed; a seed is trained once."""
    return product(axis("prune.sparsity", config.sparsities, stage="cut"), axis("seed", range(config.seeds)))
