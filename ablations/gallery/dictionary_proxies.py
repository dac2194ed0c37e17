"""Do a dictionary's proxies say whether it finds what is there? Ever sparser neurons, read by a top-k dictionary.

Claim (fixed before training): the sparser a model's neurons are pressed to be, the more of its hidden states a sparse
dictionary explains and the better its latents recover the task's known factor, also beyond a dictionary of random
directions; and that costs no ability. Gallery case 17.

    python run.py --config=ablations/gallery/dictionary_proxies.py    9 strengths x 8 seeds

The dictionary (2 x 32 latents, 4 of them active) is trained on half of each cell's probe states and read on the other
half (docs/metrics.md). Explained variance is the proxy, recovery of the factor what it stands for, and the gain over
random directions what is left of that.

Sources (abstracts read): Korznikov et al. 2026, arXiv 2602.14111: sparse autoencoders recover 9% of true features at
71% explained variance on synthetic data, and baselines with random directions match trained ones on real activations
(sparse probing .69 against .72). Kantamneni et al. 2025, arXiv 2502.16681: no consistent advantage over simple probes.
Karvonen et al. 2025, arXiv 2503.09532 (a summary read, not the abstract): gains on proxies do not reliably become
practical ones.
Kept: explained variance against recovery of known features, and the random baseline. Left out: large dictionaries on
language models, interpretability by raters, causal edits. The paper varies the autoencoder, this study the model: what
is asked is whether the proxy follows the features when the model changes.

Expected ability, inferred from isotropy.py's design: Z6 .96 without the penalty and with it less; 448 composite facts
about .9. Recovery of either was never measured.
Predicted (2026-11-30, before any run): explained variance rises on both tasks from .3 on, for sparse neurons write into
fewer directions; recovery is not shown to rise on either and its gain over random directions neither. Facts are kept up
to 1 at least and lost at 16; Z6 likewise. So explained variance is a *gain for nothing*, or a *gain, then loss*.
Expected on two idle CPU cores: not measured; 52,800 cell-steps, the stage before the penalty being shared.
What came out (2026-11-30): Prediction failed. Explained variance falls on facts from .1 on, where a rise was predicted
on both, and on Z6 it falls at 1 and 2 and rises at 16. Recovery is not shown to rise on facts, as predicted, and does
on Z6 (at 1, 8 and 16, where the ability is undecided); its gain over random directions rises nowhere, as predicted.
Facts are kept up to 1 and nothing is shown lost, at 16 neither (facts .96, Z6 .55 against .52 at neutral, predicted
lost). Proxy and recovery part on both tasks.
Refined to 20 seeds on another machine (2026-12-01; the kept files are of that run): recovery and ability go together on
Z6 from 4 on (*transfers*), where eight seeds did not decide; facts are kept at every rate. Explained variance still
falls on facts. The gain over random directions still rises nowhere.
"""

from lab.study import axis, product, study_config


def get_config():
    """The study."""
    own = dict(strengths=(0.0, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0), seeds=8)
    config = study_config(own=own)
    config.name = "dictionary_proxies"
    config.question = "Does a dictionary that explains more of the hidden states recover more of what they are about?"
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.stages = ("train", "sparse")
    config.steps, config.saves = dict(train=1200, sparse=600), dict(train=4, sparse=3)
    config.claim.knob = "activation_l1.rate"
    config.claim.gains = dict(dictionary_explained_variance=1, dictionary_recovery=1, dictionary_recovery_gain=1)
    config.claim.abilities = ("facts/uniform", "z6/iid")
    return config


def sweep(config):
    """Every strength with every seed; what comes before the penalty is trained once a seed."""
    return product(axis("activation_l1.rate", config.strengths, stage="sparse"), axis("seed", range(config.seeds)))
