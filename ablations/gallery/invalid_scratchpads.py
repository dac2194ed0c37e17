"""Is it the content of a scratchpad that helps, or its form? Products in Z6, at nine shares of examples with steps.

Claim (fixed before training): the more training examples show their steps, the more the hidden states tell of the
product (V-information), after the steps and before them, at no cost in the answers after steps or in direct ones.

    python run.py --config=ablations/gallery/invalid_scratchpads.py            valid steps: 9 shares x 8 seeds
    python run.py --config=ablations/gallery/invalid_scratchpads.py:shuffled   the right states in random order
    python run.py --config=ablations/gallery/invalid_scratchpads.py:wrong      as many random states

`python -m analysis.comparison` shows the three side by side. The model writes its own steps when it is asked; only
its answer is judged. The kind of a scratchpad is a static field, so it is a variant and no axis.

Sources: Stechly, Valmeekam, Kambhampati et al. 2025 (arXiv 2505.13775, abstract read): transformers trained from
scratch on traces of A* search do much better than on solutions alone; with corrupted traces, which have nothing to do
with their problem, about as well as with right ones, and better out of distribution. Wang et al. 2022 (arXiv
2212.10001, recalled, not checked): prompts with invalid steps keep most of what valid ones give. Gallery: "form
without substance".

Kept: training from scratch on right, permuted and irrelevant steps of one form and length, answers judged alone. Left
out: traces of a search, which are long and varied; prompted language models; problems out of distribution.

Predicted (2026-11-30, before any run): valid steps: V-information after them has no room to rise, for their last
token is the product; before them it falls, since nothing asks for the product there. Answers after steps get better,
direct ones worse from .8 on. Wrong steps: V-information after them rises with the share, answers after them get
better as they are trained on more, and end no better than direct ones at a share of .25: form alone is worth nothing
here, against the source. Shuffled steps, in which the product stands somewhere, are in between. So the two readings
disagree in each variant.
Neutral, a quarter of examples with steps, is expected at .6 to .9 (after valid steps, each of which is one lookup);
direct answers at this length were .95 or .06 by seed (ablations/shortcut.py).

Expected: 72 cells x 1,500 steps a variant; minutes not measured.
What came out (2026-11-30): Prediction held in part. Valid steps: answers after them are at .99 at a quarter already and
at 1.00 from then on, so that there was no room to get better (predicted better; neutral at .6 to .9); direct ones are
lost from .72 on (.43) and at .16 at 1 (predicted: from .8 on). V-information before the steps rises from .81 on, where
a fall was predicted: the state before the first step tells more of the product just where direct answers no longer can:
*gain for nothing* after steps, *gain only after the ability is lost* directly. After the steps it does not move, as
predicted. `:shuffled`: not run. `:wrong`: not run.
"""

from lab.study import ability, axis, gain, product, study_config

KINDS = ("shuffled", "wrong")


def get_config(variant: str = ""):
    """The study; a variant names the kind of scratchpad."""
    own = dict(shares=(0.25, 0.34375, 0.4375, 0.53125, 0.625, 0.71875, 0.8125, 0.90625, 1.0), seeds=8)
    config = study_config(variant, variants=KINDS, own=own)
    config.name = "invalid_scratchpads" + (f"_{variant}" if variant else "")
    config.question = f"Do {variant or 'valid'} steps in a scratchpad help because of what they say?"
    word = dict(task="group_word", group="Z6", length=4, longer=5, ask="last", factor="state", examples=32)
    config.tasks.word = dict(word, scratchpad=variant or "valid", scratchpad_share=0.25)
    config.model.update(dict(width=32, heads=4, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3), weight_decay=dict(rate=0.3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=1500), dict(train=3)
    config.claim.knob = "task.word.scratchpad"
    config.claim.gains = (gain("v_information", position="answer"), gain("v_information", position="question"))
    config.claim.abilities = (ability("word"), ability("word", split="direct"))
    return config


def sweep(config):
    """Every share with every seed."""
    return product(axis(config.claim.knob, config.shares), axis("seed", range(config.seeds)))
