"""Why an ability breaks: causes that can be read off a study without further training, each with its evidence.

A cause is tested where an ability is harmed: at the first setting shown harmful, against the neutral cells of the same
seeds (at the last setting where nothing is shown harmful and a latent gain leaves the ability behind). Every statement
is a paired sign-flip test at the claim's α, and joins its parts by intersection–union (Berger 1982). A cause that only
an intervention can show (that relaxing a penalty, fine-tuning under the masks or a new readout brings the ability back)
holds only where that was run (`run.py --repair`, `Records.repairs`), and is at most *suspected* before.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence

from analysis.diagnosis.broken_ability import BrokenAbility, Diagnosis, by_ability, key_of
from analysis.diagnosis.rules import OF_ANY, RULES, UNCUED
from analysis.results import NO_RECORDS, Records, Results
from analysis.verdicts import Bounds, Judged

CAUSES = {
    "metric artefact": "exact accuracy breaks and the accuracy per answer token doesn't, there (arXiv 2304.15004)",
    "latent artefact": "the latents and neutral's are linear images of each other, and what no such map moves stays:"
    " the claimed gain is in how the latents are written down, not in what they hold",
    "ceiling": "the neutral cells leave less than δ of room above them: no gain in ability could be shown",
    "undertrained": "the harmed cells still rise by more than δ at the last interval between checkpoints, where the"
    " neutral ones are at rest, or what is lost comes back with further training at the same setting",
    "collapse": "the effective dimension falls, and what a linear reader extracts about the factor with it, by"
    " V-information and by the probe's accuracy",
    "compression": "the effective dimension falls and what a linear reader extracts stays: not a fault by itself",
    "shortcut": "the split in which the planted cue helps falls by less than δ, the one in which it says nothing by"
    " more",
    "elicitation gap": "what a linear reader extracts about the factor stays, and the model's own readout has lost it",
    "over-pruning": "what pruning took comes back under the masks, fine-tuned or from early weights (optimization), or"
    " only by regrowth (capacity); where facts have frequencies, rare ones fall further than common ones",
    "over-regularization": "the task's own loss on the batches trained on rises with the knob, and relaxing the knob"
    " brings back at least half of what is lost",
    "unresolved": "none of the above is shown",
}


LEFT_BEHIND = "gain for nothing"  # the verdict of latents that gain while the ability does not follow
STALLS = ("stall", "scale-dependent")  # shapes in which the ability stops following
NOT_DIAGNOSED = "Not diagnosed: causes are tested for the exact accuracy of answers after the last step."
STATUSES = ("holds", "suspected", "refuted", "not shown", "not testable")


def diagnose(
    results: Results, claims: Iterable[Judged], bounds: Iterable[Bounds], records: Records = NO_RECORDS
) -> list[Diagnosis]:
    """Every cause of each primary ability that parts from its latents, and `unresolved` where no cause is shown.

    The split in which a planted cue says nothing counts as primary. An ability that is learned parts from its latents
    where it is shown harmful from some setting on, or where a latent gain leaves it behind (a gain for nothing, or a
    stall over the whole range). The rules are about answers at the end: what a probe reads, or an ability by another
    measure or at an earlier step, is left to `undiagnosed`.

    Returns:
      for each such ability a diagnosis of each of `RULES` in their order, what a repair decided first, then perhaps
      `unresolved`.
    """
    diagnoses = []
    for bound in _parting(claims, bounds):
        if bound.reading is None:
            diagnoses += _of_ability(BrokenAbility(results, bound, records))
    return diagnoses


def undiagnosed(claims: Iterable[Judged], bounds: Iterable[Bounds]) -> list[Bounds]:
    """The abilities that part from their latents and that no rule is about: see `NOT_DIAGNOSED`."""
    return [bound for bound in _parting(claims, bounds) if bound.reading is not None]


def _parting(claims: Iterable[Judged], bounds: Iterable[Bounds]) -> Iterator[Bounds]:
    """The abilities that part from their latents; see `diagnose`."""
    claims_of = by_ability(claims)
    for bound in bounds:
        mine = claims_of.get(key_of(bound), ())
        left_behind = any(one.verdict.kind == LEFT_BEHIND or one.shape.kind in STALLS for one in mine)
        asked = bound.primary or bound.split == UNCUED
        if asked and bound.learned and (bound.harmful_from is not None or left_behind):
            yield bound


def _of_ability(broken: BrokenAbility) -> list[Diagnosis]:
    found = [rule(broken) if broken.harmed or rule in OF_ANY else broken.untestable(rule) for rule in RULES]
    found.sort(key=lambda one: not (one.by and one.status == "holds"))
    if not any(one.status in ("holds", "suspected") and one.cause != "compression" for one in found):
        found.append(broken.diagnosis("unresolved", "holds"))
    return found


def paragraphs(
    diagnoses: Sequence[Diagnosis],
    setting: Callable[[float], str],
    ability: Callable[[str, str], str] = "{}/{}".format,
) -> list[tuple[str, str]]:
    """(ability, its diagnoses in words), an item for each ability.

    What a cause means is in `CAUSES`, what was measured in the diagnosis: neither is repeated with every ability.

    Args:
      diagnoses: of any abilities.
      setting: words a value of the knob.
      ability: names an ability, from its task and split.
    """
    abilities = list(dict.fromkeys((one.task, one.split) for one in diagnoses))
    found = []
    for task, split in abilities:
        mine = [one for one in diagnoses if (one.task, one.split) == (task, split)]
        found.append((ability(task, split), _paragraph(mine, setting)))
    return found


def _paragraph(diagnoses: list[Diagnosis], setting: Callable[[float], str]) -> str:
    ((at, _),) = collections.Counter(one.at for one in diagnoses).most_common(1)
    parts = [f"{setting(at)} against neutral."]
    for one in diagnoses:
        if one.status in ("holds", "suspected"):
            cause, far = one.cause.capitalize(), f", but only from {setting(one.at)} on" if one.at != at else ""
            if one.status == "suspected":
                parts.append(f"{cause} is suspected; {one.needs} would show it.")
            elif one.cause == "unresolved":
                parts.append("Unresolved: no cause that was tested is shown.")
            else:
                parts.append(f"{cause} is shown{f' by the repair `{one.by}`' if one.by else ''}{far}.")
    for status in ("refuted", "not shown", "not testable"):
        causes = [one.cause for one in diagnoses if one.status == status]
        if causes:
            parts.append(f"{status.capitalize()}: {', '.join(causes)}.")
    return " ".join(parts)
