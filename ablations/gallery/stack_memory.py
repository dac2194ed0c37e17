"""Does a recurrent state serve as a stack? Dyck words read by attention and by two recurrences.

Claim (fixed before training): with a recurrence in place of attention the innermost open bracket and the number of open
ones can be read better off words deeper than those of training (V-information of either), and deeper words are closed
more often. Categorical: each mixer against softmax attention. Of Gallery's founding documents: stack memory and
recursive syntax.

    python run.py --config=ablations/gallery/stack_memory.py          3 mixers x 8 seeds
    python run.py --config=ablations/gallery/stack_memory.py:state    the selective mixer with states of 16 down to 1
                                                                      dimensions a head x 8 seeds. Claim: a smaller
                                                                      state makes latents more compact at no cost

Sources: DuSell & Chiang 2023, arXiv 2310.01749 (abstract read): attention with a differentiable stack learns
context-free languages on which plain transformers struggle. Murty et al. 2023, arXiv 2310.19089 (a summary read, not
the abstract): layers with a stack tape generalize syntax from 3 to 5 times fewer examples at a similar perplexity. Dyck
words of bounded depth with two layers of attention: Yao et al. 2021, arXiv 2105.11115 (recalled, not checked).
Kept: Dyck words of four types with their depth bounded in training, the top of the stack and its height as factors,
deeper words. Left out: an explicit stack, which the lab does not have: the state of a recurrence stands in for it;
natural language.

Expected ability, inferred from the card dyck/dyck4 (width 64, 4,000 steps of 64: iid .95, depth .6 and more): deeper
words .5 to .8 (floor .42), longer ones .85 (floor .81, which leaves little to see).
Predicted (2026-11-30, before any run): the height can be read better off the selective mixer, the top as well as off
attention; deeper words are closed less often: height is a *gain with loss*, the top *no gain shown*. Linear attention
loses both. `:state`: deeper words are kept down to 8 dimensions a head and lost at 2; directions fall only there.
Expected on two idle CPU cores: not measured; 48,000 cell-steps of 460 tokens, `:state` 72,000.
What came out (2026-11-30): Prediction failed. The top of the stack is read better off the selective mixer (undecided:
.56 of the deeper words are closed, .68 with attention) and the height worse, the reverse of what was predicted; linear
attention reads the top worse. Deeper words are closed less often by all but attention (.62, .56), as predicted, but
eight seeds do not show it. Longer words of the trained depth (.86 to .95) do not count as learned, because guessing
does nearly as well. `:state`: Prediction failed. Deeper words are hardly learned at any state (.43 at neutral, .38 at
one dimension a head, floor .42), so nothing is kept or lost there; longer words fall from two dimensions on (.88 to
.85), which does not stand the correction; directions are not shown to fall, and the effective rank rises.
Refined to 20 seeds on another machine (2026-12-01; the kept files are of that run): deeper words are still undecided
(selective .58, linear .61, attention .61), and the height is nowhere shown to be read differently.
"""

from lab.study import axis, gain, product, study_config

SIXTEENTHS = (16, 12, 10, 8, 6, 4, 3, 2, 1)


def get_config(variant: str = ""):
    """The study; 'state' narrows the selective mixer's state."""
    own = dict(mixers=("softmax", "linear", "selective"), sixteenths=SIXTEENTHS, seeds=8)
    config = study_config(variant, variants=("state",), own=own)
    config.name = "stack_memory" + (f"_{variant}" if variant else "")
    config.question = "Does a recurrent state serve as a stack, on words deeper than those of training?"
    config.tasks.dyck = dict(
        task="dyck", types=4, pairs=10, depth=4, deeper=6, longer=14, factor=("top", "depth"), examples=24
    )
    config.model.update(dict(width=32, heads=2, mlp_width=128, positions="rotary"))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=2000), dict(train=4)
    config.claim.knob = "mixer.kind"
    config.claim.gains = (
        gain("v_information", split="depth", factor="top"),
        gain("v_information", split="depth", factor="depth"),
    )
    config.claim.abilities = ("dyck/depth", "dyck/length")
    if variant == "state":
        config.question = "How small may the state of a recurrence be that serves as a stack?"
        config.knobs = dict(optimizer=dict(learning_rate=2e-3), mixer=dict(kind="selective"))
        config.model.positions = "none"  # rotary ones turn pairs of dimensions, which a narrower state has not
        config.steps = dict(train=1000)
        config.claim.knob = "head_dim.active"
        config.claim.gains = dict(participation_ratio=-1, rank_me=-1)
    return config


def sweep(config):
    """Every mixer, or every size of the state, with every seed."""
    if config.claim.knob == "mixer.kind":
        return product(axis("mixer.kind", config.mixers), axis("seed", range(config.seeds)))
    sizes = [sixteenths / 16 for sixteenths in config.sixteenths]
    return product(axis("head_dim.active", sizes), axis("seed", range(config.seeds)))
