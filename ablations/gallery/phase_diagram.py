"""Does the phase of a cell in its model zoo predict its abilities? Four learning rates times four widths.

Claim (fixed before training): over the whole grid a flatter loss (lower trace of its Hessian) and hidden states that
are more alike between seeds (debiased linear CKA) go with more ability, of reasoning and of memory.

    python run.py --config=ablations/gallery/phase_diagram.py    4 rates x 4 widths x 6 seeds

The claim is an association over cells (docs/claim_shapes.md): rank correlations over all cells, between settings,
along each knob, between seeds, and beyond the training loss. The learning rate is what the sources call temperature,
the width a load. The report's scatter, coloured by each knob, is the phase diagram of this zoo.

Sources: Schürholt, Meynent, Zhou et al. 2025 (arXiv 2504.18072, abstract read): twelve zoos of models over
temperature and load, in vision, language and physics, their phases distinguished by metrics of the loss landscape;
phases matter to transfer, averaging of weights and sparsification. Yang et al. 2021 (arXiv 2107.11228, recalled, not
checked): test accuracy is best where the loss is flat, minima are connected and models are alike. Gallery: "phase
diagrams of model zoos".

Kept: temperature times load, a metric of local sharpness and one of similarity, abilities. Left out: connectivity of
minima between seeds, by which the sources distinguish phases, too; zoos of thousands of models; other data; averaging
of weights.

Predicted (2026-11-30, before any run): similarity between seeds predicts both abilities over all cells, and is not
shown to beyond the training loss; it rises with width. The Hessian's trace predicts the reverse or nothing on Z6, for
models that have not learned yet are flat; on facts it predicts nothing. Along the learning rate it falls while
abilities have their best in the middle. Abilities are expected from .1 (a quarter of the width, the lowest rate) to
.95: Z6 of length 4 is at .96 after 2,250 steps at full width and a rate of .002; most cells should be in the
measurable band.

Expected: 96 cells x 1,200 steps, and 16 products with the Hessian a saved cell; minutes not measured.
What came out (2026-11-30): Prediction failed. Similarity between seeds is not shown to go with either ability
(correlation .15 with Z6, .05 with facts). A flatter loss *goes* with Z6 (.68 [.56, .83]; among cells of equal training
loss .71), where the reverse or nothing was predicted: low rates leave Z6 unlearned (.04 to .15) and sharp. On facts
curvature predicts nothing, as predicted. Z6 is best at a rate of .0045 and full width (.82), facts at .0015 (.95).
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; it has no variants."""
    own = dict(rates=(5e-4, 1.5e-3, 4.5e-3, 1.35e-2), widths=(0.25, 0.5, 0.75, 1.0), seeds=6)
    config = study_config(variant, variants=(), own=own)
    config.name = "phase_diagram"
    config.question = "Do flatness and similarity between seeds predict ability over a zoo of rates and widths?"
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.model.update(dict(width=32, heads=4, mlp_width=128))
    config.steps, config.saves = dict(train=1200), dict(train=2)
    config.claim.kind = "association"
    config.claim.gains = dict(hessian_trace=-1, debiased_linear_cka_between_seeds=1)
    config.claim.abilities = ("z6/iid", "facts/uniform")
    return config


def sweep(config):
    """Every rate with every width and seed."""
    return product(
        axis("optimizer.learning_rate", config.rates),
        axis("width.active", config.widths),
        axis("seed", range(config.seeds)),
    )
