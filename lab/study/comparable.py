"""Along a claim everything is compared with neutral, so the tasks that it reads must be the same at every setting."""

from __future__ import annotations

from lab.errors import UserError
from lab.study.kinds import ASSOCIATION
from lab.study.spec import Study


def follows(study: Study, knob: str) -> bool:
    """Whether an axis takes one value for each value of the claim's knob, and several over the grid."""
    if knob in ("seed", study.claim.knob, *study.tuned) or study.claim.kind == ASSOCIATION:
        return False
    pairs = {(cell[study.claim.knob], cell[knob]) for cell in study.cells}
    settings = {claimed for claimed, _ in pairs}
    return len(pairs) == len(settings) and len({value for _, value in pairs}) > 1


def changing(study: Study) -> dict[str, str]:
    """label -> the static field that changes along the claim: settings learn another task under that label."""
    along = {study.claim.knob, *study.claim.knobs}
    return {name.split(".")[1]: name for name in study.task_sizes if name in along or follows(study, name)}


def check(study: Study) -> None:
    """Refuse a claim that reads a task which changes along it.

    Raises:
      UserError: in one sentence.
    """
    claim = study.claim
    read = {label for label, _ in claim.abilities} | {one.task for one in claim.placed_gains}
    for label, name in changing(study).items():
        if label in read:
            raise UserError(
                f"config.claim: the claim reads '{label}', and along it {name} makes another task of '{label}', with"
                f" other answers to guess; claim another task's ability, or make {name} an axis next to the claim's"
                " knob: each of its values is then judged by itself."
            )
