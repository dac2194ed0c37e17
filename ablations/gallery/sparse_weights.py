"""Does training with sparse weights pull factors apart? Weights that are cut gradually while the model learns.

Claim (fixed before training): the fewer of its weights a model may have while it learns, the better the task's factors
have coordinates of their own and the better a sparse dictionary recovers them, at no cost in ability. Of Gallery's
founding documents: sparse-weight training.

    python run.py --config=ablations/gallery/sparse_weights.py    9 sparsities x 8 seeds

The smallest weights of each layer are removed along a cubic schedule, every tenth step of the first 700, while the
model learns; the other 800 steps train what is left.

Source: Gao et al. 2025, arXiv 2511.13653 (summaries read, not the abstract). Reported, of small transformers of code:
where all but one weight in a thousand is held at zero during training, circuits for single behaviours are far smaller
(about 16 times at an equal loss) and can be understood; sparsity costs capability, which width gives back.
Kept: sparsity enforced during training, annealed, by magnitude; what it does to factors and to ability. Left out:
weights that come back (the paper chooses the largest again after every step), embeddings (not pruned here), sparse
activations, circuits and their size by ablation, wider models at an equal number of weights. Factors with coordinates
of their own stand in for what a reader of circuits would look for.

Expected ability, inferred from Z6 at 1,500 steps and the card of composite_facts: Z6 .7 to .95 and 448 facts .8 to .95
when dense; pruning.py:rigl run small (Z6 .83, .49 and .02 at 0, .3 and .6 after 1,300 steps).
Predicted (2026-11-30, before any run): coordinates gain from .6 on for facts and from .4 on for Z6; recovery is shown
on neither. Z6 is lost from .4 on and facts from .85: coordinates are a *gain, then loss* for facts and a *gain only
after the ability is lost* for Z6.
Expected on two idle CPU cores: not measured; 108,000 cell-steps.
What came out (2026-11-30): Prediction failed. Single coordinates gain nowhere where the ability is kept: on facts they
disentangle less from .2 on (predicted: more from .6 on), on Z6 more at .95 alone, where it is lost. Recovery falls on
facts at .8 and is not shown to rise, as predicted. Facts are kept up to .8 and lost at .95 (predicted from .85), Z6 is
lost from .9 on (predicted .4; at neutral .49, half of the seeds had hardly learned it). Sparse weights pull no factors
apart here.
"""

from lab.study import axis, product, study_config


def get_config():
    """The study."""
    config = study_config(own=dict(sparsities=(0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95), seeds=8))
    config.name = "sparse_weights"
    config.question = "Do weights that are sparse while a model learns pull its factors apart, and at what cost?"
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3), prune=dict(scope="layerwise", over=700))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=1500), dict(train=4)
    config.claim.knob = "prune.sparsity"
    config.claim.gains = dict(disentanglement_coordinates=1, dictionary_recovery=1)
    config.claim.abilities = ("facts/uniform", "z6/iid")
    return config


def sweep(config):
    """Every sparsity with every seed."""
    return product(axis("prune.sparsity", config.sparsities, stage="train"), axis("seed", range(config.seeds)))
