"""Is pruning at equal loss pruning at equal ability? Common facts, rare facts and recall from the context, after a cut.

Claim (fixed before training): a one-shot cut makes latents more compact (lower participation ratio) and better
separated (higher Fisher trace), and as long as the log-probability of facts at their natural frequencies holds, rare
facts hold as well. Gallery case 18.

    python run.py --config=ablations/gallery/equal_loss.py            9 sparsities x 9 seeds, nothing learned after
    python run.py --config=ablations/gallery/equal_loss.py:tuned      the same, cut gradually and trained on

Log-probability on `iid` stands for the loss; `tail` are facts of the rarest half of the entities asked equally often,
`head` those of the commonest. Where the log-probability is shown kept and the tail lost, equal loss hid a loss.

Sources (abstracts read): Jaiswal et al. 2023, arXiv 2310.01382: pruned language models of unchanged perplexity lose
knowledge at 25-30% sparsity at times, and stay robust in-context retrievers at 50% and more. Hooker et al. 2019, arXiv
1911.05248: image classifiers pruned at equal accuracy lose a narrow subset, the underrepresented long tail.
Kept: one-shot magnitude pruning, loss against knowledge against recall from the context; frequencies by a Zipf law.
Left out: language, N:M sparsity, quantization; in `:tuned` Hooker's gradual schedule is 300 steps long.

Expected ability, inferred from the card of composite_facts and the one of two-layer induction: facts .95 at the head,
.6 to .85 in the tail (exponent 1, so that the rarest entity is asked 1 time in 130), induction .9.
Predicted (2026-11-30, before any run): the tail is lost from .2 on, the head from .4, log-probability from .3: the tail
goes before the loss shows it. Induction is kept up to .4, longer than the tail. Directions fall only where facts are
lost; separation falls throughout (*moves against the claim*). In `:tuned` all bounds are .2 higher, in the same order.
Expected on two idle CPU cores: not measured; 21,600 cell-steps, `:tuned` 45,900.
What came out (2026-11-30): Prediction held in part. The tail is kept up to .2, log-probability and head up to .3, and
all three are shown lost from .4 on: at .3 alone the loss is kept and the tail undecided (accuracy .965 of .991), so
that equal loss hardly hides anything (predicted: the tail lost from .2). Induction is kept up to .4 and lost from .5,
longer than any fact, as predicted. Directions fall from .6 on, only where facts are lost, and separation falls
throughout, both as predicted. With `--repair --repair_steps=300` training on under the masks brings back 96% of the
head, 71% of the tail and all of induction. `:tuned`: Prediction held in part. The order is the same and the bounds of
facts are .2 higher, as predicted (tail kept up to .4, log-probability and head up to .5), that of induction .3 (kept up
to .7). At .5 the loss is kept while the tail has fallen from .994 to .936, undecided: again nearly hidden, not shown.
"""

from lab.study import ability, axis, product, study_config


def get_config(variant: str = ""):
    """The study; 'tuned' cuts gradually and trains on."""
    own = dict(sparsities=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), seeds=9)
    config = study_config(variant, variants=("tuned",), own=own)
    config.name = "equal_loss" + (f"_{variant}" if variant else "")
    config.question = "Does a cut that leaves the loss where it was leave rare facts and recall where they were?"
    config.tasks.facts = dict(task="composite_facts", entity_exponent=1.0, examples=16, probe="uniform")
    config.tasks.induction = dict(task="induction", length=10, longer=12, symbols=12, margin=1, examples=32)
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.stages = ("train", "cut")
    config.steps, config.saves = dict(train=2400, cut=0), dict(train=4, cut=1)
    config.claim.knob = "prune.sparsity"
    config.claim.gains = dict(participation_ratio=-1, fisher_trace=1)
    config.claim.abilities = (
        ability("facts", split="iid", measure="logprob"),
        "facts/head",
        "facts/tail",
        "induction/iid",
    )
    if variant == "tuned":
        config.steps = dict(train=2400, cut=300)
        config.knobs.update(prune=dict(over=200))
    return config


def sweep(config):
    """Every sparsity with every seed; the dense model of a seed is trained once."""
    return product(axis("prune.sparsity", config.sparsities, stage="cut"), axis("seed", range(config.seeds)))
