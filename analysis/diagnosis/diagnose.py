"""Why an ability breaks: labels that can be read off a study without further training, each with its evidence.

A label is tested where an ability is harmed: at the first setting shown harmful, against the neutral cells of the same
seeds (at the last setting where nothing is shown harmful and a latent gain leaves the ability behind). Every statement
is a paired sign-flip test at the claim's α, and joins its parts by intersection–union (Berger 1982). What only an
intervention can show (that relaxing a penalty, fine-tuning under the masks or a new readout brings the ability back) is
concluded only where one was run (`run.py --intervene`, `Results.repairs`): such labels are at most *suspected* before.
"""

from __future__ import annotations

import collections
from collections.abc import Callable

from analysis.diagnosis.rules import OF_ANY, RULES, UNCUED, BrokenAbility, Label, ability_of
from analysis.results.table import Results
from analysis.verdicts.claims import Bounds, Judged

LABELS = {
    "metric artefact": "exact accuracy breaks and the log-probability of the answers doesn't, there (arXiv 2304.15004)",
    "latent artefact": "the latents and neutral's are linear images of each other, and what no such map moves stays:"
    " the claimed gain is in how the latents are written down, not in what they hold",
    "ceiling": "the neutral cells leave less than δ of room above them: no gain in ability could be shown",
    "undertrained": "the neutral cells are still rising by more than δ at the last interval between checkpoints, or"
    " what is lost comes back with further training at the same setting",
    "collapse": "the effective dimension and what a linear reader extracts about the factor both fall",
    "compression": "the effective dimension falls and what a linear reader extracts stays: not a fault by itself",
    "shortcut": "the split where the planted cue tells falls by less than δ, the one where it tells nothing by more",
    "elicitation gap": "what a linear reader extracts about the factor stays, and the model's own readout has lost it",
    "over-pruning": "what pruning took comes back under the masks, fine-tuned or from early weights (optimization), or"
    " only by regrowth (capacity); where facts have frequencies, rare ones fall further than common ones",
    "over-regularization": "the task's own loss on the batches trained on rises with the knob",
    "unresolved": "none of the above is shown",
}


LEFT_BEHIND = ("stall", "scale-dependent", "never transferred")
STATUSES = ("holds", "suspected", "refuted", "not shown", "not testable")


def diagnose(results: Results, judged: list[Judged], bounds: list[Bounds]) -> list[Label]:
    """Every label of every primary ability that parts from its latents; `unresolved` where none holds or is suspected.

    The split in which a planted cue tells nothing counts as primary. An ability that is learned parts from its latents
    where it is shown harmful from some setting on, or where a latent gain leaves it behind (a stall, scale-dependent or
    not, or `never transferred`).

    Returns:
      for each such ability all of `RULES` in their order, what interventions decided first, then perhaps `unresolved`.
    """
    found = []
    for bound in bounds:
        mine = [one for one in judged if (one.label, one.split, one.stratum) == ability_of(bound)]
        left_behind = any(one.verdict.kind in LEFT_BEHIND for one in mine)
        asked = bound.primary or bound.split == UNCUED
        if not (asked and bound.learned and (bound.harmful_from is not None or left_behind)):
            continue
        case = BrokenAbility(results, bound)
        labels = [rule(case) if case.harmed or rule in OF_ANY else case.untestable(rule) for rule in RULES]
        labels.sort(key=lambda one: not (one.by and one.status == "holds"))
        if not any(one.status in ("holds", "suspected") and one.name != "compression" for one in labels):
            labels.append(case.label_of("unresolved", "holds"))
        found += labels
    return found


def told(labels: list[Label], setting: Callable[[float], str]) -> list[tuple[str, str]]:
    """(ability, what its labels say), an item for each ability; `setting` words a value of the knob."""
    abilities = list(dict.fromkeys((one.label, one.split) for one in labels))
    return [
        (f"{label}/{split}", _told([one for one in labels if (one.label, one.split) == (label, split)], setting))
        for label, split in abilities
    ]


def _told(labels: list[Label], setting: Callable[[float], str]) -> str:
    ((at, _),) = collections.Counter(one.at for one in labels).most_common(1)
    parts = [f"{setting(at)} against neutral."]
    for one in labels:
        if one.status in ("holds", "suspected"):
            name = one.name.capitalize() + (" suspected" if one.status == "suspected" else "")
            numbers = ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in one.evidence.items())
            told = f"{name}: {LABELS[one.name]}" + (f" ({numbers})" if numbers else "")
            shown = f", from {setting(one.at)} on" if one.at != at else ""
            shown += f"; shown by the arm '{one.by}'." if one.by else "."
            parts.append(told + (f"; {one.needs} would show it." if one.status == "suspected" else shown))
    for status in ("refuted", "not shown", "not testable"):
        names = [one.name for one in labels if one.status == status]
        if names:
            parts.append(f"{status.capitalize()}: {', '.join(names)}.")
    return " ".join(parts)
